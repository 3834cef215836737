"""The rows of a csv log: how they are found in its bytes, whole, torn or damaged."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twolayer.utils.errors import RunError
from twolayer.utils.files import CANNOT_READ, explained

_MAX_BYTES = 64 << 20
_MAX_HEADER_BYTES = 4096


def read_log(path: Path) -> bytes:
    """The bytes of a log.

    Raises:
        RunError: if it cannot be read or is larger than any log.
    """
    with explained(path, CANNOT_READ), path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise RunError(f"{path}: larger than {_MAX_BYTES:,} bytes: not a log that a run wrote")
    return data


def read_columns(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """The columns of a log by name, NaN for an empty cell; a last row without its end is left out.

    Raises:
        RunError: if the file cannot be read, a wanted column is missing, or a row is damaged.
    """
    data = read_log(path)
    end = data.find(b"\n", 0, _MAX_HEADER_BYTES)
    columns = data[: max(end, 0)].decode("utf-8", "replace").strip().split(",")
    missing = [column for column in wanted if columns.count(column) != 1]
    if missing:
        raise RunError(f"{path}:1: column {missing[0]} not found, or found twice; wanted: {', '.join(wanted)}")
    numbers = array("d")
    for line_number, line, _ in _lines(data, end + 1):
        values = _values(line, len(columns))
        if values is None:
            raise RunError(f"{path}:{line_number}: damaged row; wanted: {len(columns)} numbers or empty cells")
        numbers.extend(values)
    table = np.array(numbers, np.float64).reshape(-1, len(columns))
    return {column: table[:, columns.index(column)].copy() for column in columns}


def rows_up_to(data: bytes, start: int, step: int, columns: tuple[str, ...], path: Path) -> tuple[int, int]:
    """How many whole rows stand in `data` from `start` on up to `step`, and where the last of them ends.

    Raises:
        RunError: if one among them is damaged.
    """
    kept, size, previous, damaged = 0, start, 0.0, 0
    at = columns.index("step")
    for line_number, line, end in _lines(data, start):
        values = _values(line, len(columns))
        if values is None:  # a power failure can leave anything at the end of a file, so look what follows
            damaged = damaged or line_number
        elif values[at] > step:
            break
        elif damaged or not values[at] > previous:
            raise RunError(
                f"{path}:{damaged or line_number}: damaged row; wanted: {len(columns)} cells, steps that rise; "
                "put the file back as it was, or start the run again in a new folder"
            )
        else:
            kept, size, previous = kept + 1, end, values[at]
    return kept, size


def _lines(data: bytes, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Line number, content and end of every line from `start`, where line 2 begins; not of one without an end."""
    number = 2
    while (newline := data.find(b"\n", start)) >= 0:
        yield number, data[start:newline], newline + 1
        number, start = number + 1, newline + 1


def _values(line: bytes, count: int) -> list[float] | None:
    cells = line.split(b",", count)
    if len(cells) != count:
        return None
    try:
        return [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError:
        return None
