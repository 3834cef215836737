"""history.csv and steps.csv: rows are appended and, on resume, cut back to the checkpoint, so that the file of an
interrupted run equals that of a run that never stopped.

A row is whole, torn (without its end) or damaged; readers bound the length of a row and of the file."""

from __future__ import annotations

import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.utils import files
from twolayer.utils.columns import MONITORS
from twolayer.utils.errors import RunError
from twolayer.utils.files import explained, read_at_most
from twolayer.utils.text import shown

_MAX_BYTES = 64 << 20
_MAX_LINE_BYTES = 4096  # several times what the widest row takes
_MAX_DAMAGED_LINES = 1000  # at the end of a file, after a power cut
_REMEDY = "put the file back as it was, or start the run again in a new folder"

_FIRST = ("epoch", "step", "learning_rate", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
HISTORY_COLUMNS = (*_FIRST, *(name for name in MONITORS if name not in _FIRST), "seconds")
SINCE_0_2 = ("val_f1", "val_balanced_accuracy", "val_auc")  # columns that the histories of version 0.1 lack
STEPS_COLUMNS = ("step", "epoch", "learning_rate", "loss")


def read_columns(
    path: Path, required: tuple[str, ...], optional: Collection[str] = ()
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a log by name, NaN for an empty cell or an absent `optional` column; a last row without its
    end is left out.

    Raises:
        RunError: if the file cannot be read, a required column is missing, or a row is damaged.
    """
    data = read_at_most(path, _MAX_BYTES)
    end = data.find(b"\n", 0, _MAX_LINE_BYTES)
    columns = data[: max(end, 0)].decode("utf-8", "replace").strip().split(",")
    at = {column: k for k, column in enumerate(columns)}
    absent = [column for column in optional if column not in at]
    missing = [column for column in required if column not in at and column not in absent]
    if missing or len(at) < len(columns):
        got = f"no {missing[0]}" if missing else "a column twice"
        raise RunError(f"{path}:1: expected the columns {', '.join(required)}, each once, got {got}")
    numbers = array("d")
    for line_number, line, _ in _lines(data, end + 1):
        values = row_values(line, len(columns))
        if values is None:
            raise RunError(f"{path}:{line_number}: expected {len(columns)} numbers or empty cells, got a damaged row")
        numbers.extend(values)
    table = np.frombuffer(numbers, np.float64).reshape(-1, len(columns))
    found = {column: table[:, k].copy() for column, k in at.items()}
    return found | {column: np.full(len(table), np.nan) for column in absent}


def _rows_up_to(data: bytes, start: int, step: int, columns: tuple[str, ...], path: Path) -> tuple[int, int]:
    """Count the whole rows in `data` from `start` up to `step`; return their number and where the last one ends."""
    kept, size, previous, damaged = 0, start, 0.0, 0
    at = columns.index("step")
    for number, line, end in _lines(data, start):
        values = row_values(line, len(columns))
        if values is None:  # a power cut can leave anything at the end of a file, so look at what follows
            damaged = damaged or number
            if number - damaged <= _MAX_DAMAGED_LINES:
                continue
        elif values[at] > step:
            break
        elif not damaged and values[at] > previous:
            kept, size, previous = kept + 1, end, values[at]
            continue
        where, expected = f"{path}:{damaged or number}", f"{len(columns)} cells and rising steps"
        raise RunError(f"{where}: expected {expected}, got a damaged row; {_REMEDY}")
    return kept, size


def _lines(data: bytes, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield number, content and end of every line from `start`, where line 2 begins; not of one without an end."""
    number = 2
    while (newline := data.find(b"\n", start)) >= 0:
        yield number, data[start:newline], newline + 1
        number, start = number + 1, newline + 1


def row_values(line: bytes, count: int) -> list[float] | None:
    """Return the numbers of a row, NaN for an empty cell; None if it is damaged."""
    cells = line.split(b",", count)
    if len(cells) != count or len(line) > _MAX_LINE_BYTES:
        return None
    try:
        return [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError:
        return None


class _Log:
    """A csv file that only grows, except in `cut_back`. Rows wait in memory until `flush` or `sync`."""

    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()  # columns that an older file may lack; it then continues without them

    def __init__(self, path: str | Path) -> None:
        """Open the file, creating it if absent. One with rows in it takes no more before `cut_back`."""
        self.path = Path(path)
        self.rows = 0
        with explained(self.path):
            self._descriptor = files.disk.open(self.path, os.O_APPEND)
            self._size = os.fstat(self._descriptor).st_size
        self._ready = self._size == 0
        self._waiting = [_line(self.columns)] if self._ready else []
        try:
            self.flush()
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, row: Mapping[str, float | None]) -> None:
        """Take one row: a value for every column, None for an empty cell.

        Floats are written in the shortest form that reads back as the same float64.
        """
        if row.keys() != set(type(self).columns):
            raise ValueError(f"expected a row with {self.columns}, got {tuple(row)}")
        if not self._ready:
            raise ValueError(f"{self.path} has rows; call cut_back first")
        self._waiting.append(_line(_cell(row[column]) for column in self.columns))
        self.rows += 1

    def flush(self) -> None:
        """Hand the waiting rows to the system: other processes see them, and a killed process loses none.

        Raises:
            RunError: if the system refuses; the file is then as it was before, and the rows still wait.
        """
        data = "".join(self._waiting).encode()
        if not data:
            return
        with explained(self.path):
            try:
                files.disk.write(self._descriptor, data)
            except BaseException:
                with suppress(OSError):  # the next row must not be glued to a torn one
                    files.disk.truncate(self._descriptor, self._size)
                raise
        self._size += len(data)
        self._waiting.clear()

    def sync(self) -> None:
        """Flush, and wait until the rows are on the device. Call it before last.npz is written: the log must never
        end before the checkpoint does."""
        self.flush()
        with explained(self.path):
            files.disk.sync(self._descriptor)

    def cut_back(self, step: int, rows: int) -> None:
        """Drop the rows after `step`, and a last row that was not written to its end.

        What stays is byte for byte what was there. Cutting needs no space on the disk.

        Args:
            step: the step of the checkpoint.
            rows: how many rows there were when it was written (`rows` of the log).

        Raises:
            RunError: if the file is not this log, is damaged before that step or has lost rows.
        """
        data = read_at_most(self.path, _MAX_BYTES)
        older = tuple(column for column in self.columns if column not in self.optional)
        if data.startswith(_line(older).encode()):
            self.columns = older
        header = _line(self.columns).encode()
        kept, size = 0, 0
        if data.startswith(header):
            kept, size = _rows_up_to(data, len(header), step, self.columns, self.path)
        elif not header.startswith(data):
            raise RunError(f"{self.path}:1: expected the columns {header.decode().strip()}, got others; {_REMEDY}")
        if kept != rows:
            raise RunError(
                f"{self.path}: expected {rows:,} rows up to step {step:,} (as in last.npz), got {kept:,}; {_REMEDY}"
            )
        if size < len(data):
            with explained(self.path):
                files.disk.truncate(self._descriptor, size)
                files.disk.sync(self._descriptor)
        self._size, self.rows, self._ready = size, kept, True
        self._waiting = [] if size else [_line(self.columns)]
        self.flush()

    def close(self) -> None:
        """Flush and close; the log takes nothing after that."""
        try:
            self.flush()
        finally:
            os.close(self._descriptor)


class HistoryLog(_Log):
    """history.csv: one row per epoch, handed to the system at once so that the curves can be drawn from it."""

    columns = HISTORY_COLUMNS
    optional = SINCE_0_2

    def append(self, row: Mapping[str, float | None]) -> None:
        super().append(row)
        self.flush()


class StepsLog(_Log):
    """steps.csv: the loss of the batches, for the steps that `keeps` chooses."""

    columns = STEPS_COLUMNS

    @staticmethod
    def keeps(step: int) -> bool:
        """Check whether step 1, 2, ... is logged: all of the first 1,000, then 900 evenly spaced per power of ten.

        It depends on the step alone, so an interrupted run logs the same steps.
        """
        return step <= 1000 or step % 10 ** (len(str(step)) - 3) == 0


def logged_rows(checkpoint: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Return how many rows the logs had at a checkpoint, as `history_rows` and `steps_rows`.

    Args:
        checkpoint: the header of a last.npz, not yet trusted.
        path: that file, for the message.

    Raises:
        RunError: if it does not say.
    """
    rows: dict[str, int] = {}
    for name in ("history_rows", "steps_rows"):
        count = checkpoint.get(name)
        if type(count) is not int or count < 0:
            raise RunError(f"{path}: {name}: expected the number of rows of a log, got {shown(count)}")
        rows[name] = count
    return rows


def read_history(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a history.csv; see `read_columns`."""
    return read_columns(Path(path), HISTORY_COLUMNS, SINCE_0_2)


def _cell(value: float | np.floating[Any] | np.integer[Any] | None) -> str:
    if value is None:
        return ""
    return repr(int(value) if isinstance(value, int | np.integer) else float(value))


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"
