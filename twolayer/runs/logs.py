"""history.csv and steps.csv: rows are appended and, when a run goes on, cut back to where its checkpoint stands,
so that the file of an interrupted run is the file of one never stopped.

The rows of a csv log: how they are found in its bytes, whole, torn or damaged."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.utils import files as seam
from twolayer.utils.columns import MONITORS
from twolayer.utils.errors import RunError
from twolayer.utils.files import CANNOT_READ, explained
from twolayer.utils.text import shown

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


def read_columns(path: Path, wanted: tuple[str, ...], optional: Collection[str] = ()) -> dict[str, NDArray[np.float64]]:
    """The columns of a log by name, NaN for an empty cell or an absent `optional` column; a last row without its end is
    left out.

    Raises:
        RunError: if the file cannot be read, a wanted column is missing, or a row is damaged.
    """
    data = read_log(path)
    end = data.find(b"\n", 0, _MAX_HEADER_BYTES)
    columns = data[: max(end, 0)].decode("utf-8", "replace").strip().split(",")
    absent = [column for column in optional if column not in columns]
    missing = [column for column in wanted if columns.count(column) != 1 and column not in absent]
    if missing:
        raise RunError(f"{path}:1: column {missing[0]} not found, or found twice; wanted: {', '.join(wanted)}")
    numbers = array("d")
    for line_number, line, _ in _lines(data, end + 1):
        values = _values(line, len(columns))
        if values is None:
            raise RunError(f"{path}:{line_number}: damaged row; wanted: {len(columns)} numbers or empty cells")
        numbers.extend(values)
    table = np.array(numbers, np.float64).reshape(-1, len(columns))
    found = {column: table[:, columns.index(column)].copy() for column in columns}
    return found | {column: np.full(len(table), np.nan) for column in absent}


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


_FIRST = ("epoch", "step", "learning_rate", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
HISTORY_COLUMNS = (*_FIRST, *(name for name in MONITORS if name not in _FIRST), "seconds")
SINCE_0_2 = ("val_f1", "val_balanced_accuracy", "val_auc")  # columns that the histories of version 0.1 lack
STEPS_COLUMNS = ("step", "epoch", "learning_rate", "loss")

Row = Mapping[str, float | None]


class _Log:
    """A csv file that only grows, but for `cut_back`. Rows wait in memory until `flush` or `sync`."""

    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()  # columns that an older file may lack; it then goes on without them

    def __init__(self, path: str | Path) -> None:
        """Opens the file, making it if need be. One with rows in it takes no more before `cut_back`."""
        self.path = Path(path)
        self.rows = 0
        self._names = frozenset(self.columns)
        self._waiting: list[str] = []
        with explained(self.path):
            self._descriptor = seam.disk.open_to_append(self.path)
            self._size = os.fstat(self._descriptor).st_size
        self._ready = self._size == 0
        if self._ready:
            self._waiting.append(_line(self.columns))
            try:
                self.flush()
            except BaseException:
                os.close(self._descriptor)
                raise

    def append(self, row: Row) -> None:
        """Takes one row: a value for every column, None for an empty cell.

        Floats are written in the shortest form that reads back as the same float64.
        """
        if row.keys() != self._names:
            raise ValueError(f"a row needs {self.columns}; got {tuple(row)}")
        if not self._ready:
            raise ValueError(f"{self.path} has rows; cut_back says where to go on")
        self._waiting.append(_line([_cell(row[column]) for column in self.columns]))
        self.rows += 1

    def flush(self) -> None:
        """Hands the waiting rows to the system: other processes see them, and a killed process loses none.

        Raises:
            RunError: if the system refuses; the file is then as it was before, and the rows go on waiting.
        """
        if not self._waiting:
            return
        data = "".join(self._waiting).encode()
        with explained(self.path):
            try:
                seam.disk.write(self._descriptor, data)
            except BaseException:
                with contextlib.suppress(OSError):  # a torn row would stand in the way of the next one
                    seam.disk.truncate(self._descriptor, self._size)
                raise
        self._size += len(data)
        self._waiting.clear()

    def sync(self) -> None:
        """`flush`, and waits until the rows are on the device. To be called before last.npz is written: the log
        must never end before the checkpoint does."""
        self.flush()
        with explained(self.path):
            seam.disk.sync(self._descriptor)

    def cut_back(self, step: int, rows: int | None = None) -> None:
        """Drops the rows after `step`, and a last row that was not written to its end.

        What stays is byte for byte what was there. Cutting needs no space on the disk.

        Args:
            step: the step of the checkpoint.
            rows: how many rows there were when it was written (`rows` of the log), to be checked.

        Raises:
            RunError: if the file is not this log, is damaged before that step or has lost rows.
        """
        data = read_log(self.path)
        older = tuple(column for column in self.columns if column not in self.optional)
        if self.optional and data.startswith(_line(older).encode()):
            self.columns = older
        header = _line(self.columns).encode()
        kept, size = 0, 0
        if data.startswith(header):
            kept, size = rows_up_to(data, len(header), step, self.columns, self.path)
        elif not header.startswith(data):
            raise RunError(f"{self.path}:1: other columns than this twolayer writes; wanted: {header.decode().strip()}")
        if rows is not None and kept != rows:
            raise RunError(
                f"{self.path}: holds {kept:,} rows up to step {step:,} where the checkpoint counts {rows:,}: "
                "put the file back as it was, or start the run again in a new folder"
            )
        if size < len(data):
            with explained(self.path):
                seam.disk.truncate(self._descriptor, size)
                seam.disk.sync(self._descriptor)
        self._size, self.rows, self._ready = size, kept, True
        self._waiting = [] if size else [_line(self.columns)]
        self.flush()

    def close(self) -> None:
        """Flushes and closes; the log takes nothing after that."""
        try:
            self.flush()
        finally:
            os.close(self._descriptor)


class HistoryLog(_Log):
    """history.csv: one row per epoch, handed to the system at once so that the curves can be drawn from it."""

    columns = HISTORY_COLUMNS
    optional = SINCE_0_2

    def append(self, row: Row) -> None:
        super().append(row)
        self.flush()


class StepsLog(_Log):
    """steps.csv: the loss of the batches, for the steps that `wants` names."""

    columns = STEPS_COLUMNS

    @staticmethod
    def wants(step: int) -> bool:
        """Whether step 1, 2, ... is logged: all of the first 1,000, then 900 evenly spaced per power of ten.

        It depends on the step alone, so an interrupted run logs what one never stopped does.
        """
        return step <= 1000 or step % 10 ** (len(str(step)) - 3) == 0


def logged_rows(checkpoint: Mapping[str, Any], path: Path) -> dict[str, int]:
    """How many rows history.csv and steps.csv had at a checkpoint, as `history_rows` and `steps_rows`.

    Args:
        checkpoint: the header of a last.npz, which may be anybody's.
        path: that file, for the message.

    Raises:
        RunError: if it does not say.
    """
    rows: dict[str, int] = {}
    for name in ("history_rows", "steps_rows"):
        count = checkpoint.get(name)
        if type(count) is not int or count < 0:
            raise RunError(f"{path}: {name} is {shown(count)}; wanted: the number of rows of a log, as a run writes it")
        rows[name] = count
    return rows


def read_history(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a history.csv by name, NaN for an empty cell; a last row still being written is left out.

    Raises:
        RunError: if the file cannot be read or is no history, naming the line.
    """
    return read_columns(Path(path), HISTORY_COLUMNS, SINCE_0_2)


def read_steps(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a steps.csv by name; see `read_history`."""
    return read_columns(Path(path), STEPS_COLUMNS)


def _cell(value: float | np.floating[Any] | np.integer[Any] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return float.__repr__(value)  # that of np.float64, a float too, would read `np.float64(0.1)`
    return str(int(value)) if isinstance(value, int | np.integer) else repr(float(value))


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"
