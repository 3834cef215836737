"""history.csv and steps.csv: rows are appended and, on resume, cut back to the checkpoint, so that the file of an
interrupted run equals that of a run that never stopped.

A row is whole, torn (without its end) or damaged; readers bound the length of a row and of the file."""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.network.settings import MONITORS
from twolayer.utils import files
from twolayer.utils.errors import RunError
from twolayer.utils.files import explained, read_at_most
from twolayer.utils.text import shown

_MAX_BYTES = 64 << 20
_MAX_LINE_BYTES = 4096  # several times what the widest row takes
_REMEDY = "put the file back as it was, or start the run again in a new folder"

_FIRST = ("epoch", "step", "learning_rate", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
HISTORY_COLUMNS = (*_FIRST, *(name for name in MONITORS if name not in _FIRST), "seconds")
SINCE_0_2 = ("val_f1", "val_balanced_accuracy", "val_auc")  # columns that the histories of version 0.1 lack
STEPS_COLUMNS = ("step", "epoch", "learning_rate", "loss")


def read_history(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a history.csv by name, NaN for an empty cell or a column that version 0.1 lacked; a last
    row without its end is left out. Raise RunError if it cannot be read, a column is missing, or a row is damaged."""
    data = read_at_most(Path(path), _MAX_BYTES)
    end = data.find(b"\n", 0, _MAX_LINE_BYTES)
    columns = data[: max(end, 0)].decode("utf-8", "replace").strip().split(",")
    missing = [column for column in HISTORY_COLUMNS if column not in {*columns, *SINCE_0_2}]
    if missing or len(set(columns)) < len(columns):
        got = f"no {missing[0]}" if missing else "a column twice"
        raise RunError(f"{path}:1: expected the columns {', '.join(HISTORY_COLUMNS)}, each once, got {got}")
    numbers = array("d")
    for line_number, line, _ in _lines(data, end + 1):
        values = row_values(line, len(columns))
        if values is None:
            raise RunError(f"{path}:{line_number}: expected {len(columns)} numbers or empty cells, got a damaged row")
        numbers.extend(values)
    table = np.frombuffer(numbers, np.float64).reshape(-1, len(columns))
    found = {column: table[:, k].copy() for k, column in enumerate(columns)}
    return found | {column: np.full(len(table), np.nan) for column in SINCE_0_2 if column not in found}


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
    """A csv file that only grows once it is open. Rows wait in memory until `flush` or `sync`."""

    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()  # columns that an older file may lack; it then continues without them

    def __init__(self, path: str | Path, step: int = 0, rows: int = 0) -> None:
        """Open the file, creating it if absent, with the `rows` that it had at the checkpoint of a `step`, byte for
        byte: later rows are cut off, which needs no space on the disk.

        Raises:
            RunError: if the system refuses, or the file is not this log, is damaged before that step or has lost rows.
        """
        self.path, self.rows = Path(path), rows
        with ExitStack() as opened:
            with explained(self.path):
                self._descriptor = files.disk.open(self.path, os.O_APPEND)
            opened.callback(os.close, self._descriptor)
            data = read_at_most(self.path, _MAX_BYTES)
            self._size = self._end_of_rows(data, step)
            if self._size < len(data):
                with explained(self.path):
                    files.disk.truncate(self._descriptor, self._size)
                    files.disk.sync(self._descriptor)
            self._waiting = [] if self._size else [_line(self.columns)]
            self.flush()
            opened.pop_all()

    def _end_of_rows(self, data: bytes, step: int) -> int:
        """Return where the last of the rows up to `step` ends, 0 if nothing is kept.

        Nothing is asked of what follows: a power cut can leave anything at the end of a file.
        """
        older = tuple(column for column in self.columns if column not in self.optional)
        if data.startswith(_line(older).encode()):
            self.columns = older
        header = _line(self.columns).encode()
        if not data.startswith(header) and not header.startswith(data):
            raise RunError(f"{self.path}:1: expected the columns {header.decode().strip()}, got others; {_REMEDY}")
        kept, size, previous = 0, len(header) if data.startswith(header) else 0, 0.0
        for number, line, end in islice(_lines(data, size), self.rows if size else 0):
            values = row_values(line, len(self.columns))
            at = 0.0 if values is None else values[self.columns.index("step")]
            if not at > previous:
                expected = f"{len(self.columns)} cells and rising steps"
                raise RunError(f"{self.path}:{number}: expected {expected}, got a damaged row; {_REMEDY}")
            if at > step:
                break
            kept, size, previous = kept + 1, end, at
        if kept < self.rows:
            where = f"{self.rows:,} rows up to step {step:,} (as in last.npz)"
            raise RunError(f"{self.path}: expected {where}, got {kept:,}; {_REMEDY}")
        return size

    def append(self, row: Mapping[str, float | None]) -> None:
        """Take one row: a value for every column, None for an empty cell.

        Floats are written in the shortest form that reads back as the same float64.
        """
        if row.keys() != set(type(self).columns):
            raise ValueError(f"expected a row with {self.columns}, got {tuple(row)}")
        self._waiting.append(_line(_cell(row[column]) for column in self.columns))
        self.rows += 1

    def flush(self) -> None:
        """Hand the waiting rows to the system: other processes see them, and a killed process loses none.

        Raises:
            RunError: if the system refuses; the file is then as it was before, and the rows still wait.
        """
        if not (data := "".join(self._waiting).encode()):
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
    """Return how many rows the logs had at a checkpoint, as `history_rows` and `steps_rows`, by the header of `path`;
    raise RunError if it does not say."""
    rows: dict[str, int] = {}
    for name in ("history_rows", "steps_rows"):
        count = checkpoint.get(name)
        if type(count) is not int or count < 0:
            raise RunError(f"{path}: {name}: expected the number of rows of a log, got {shown(count)}")
        rows[name] = count
    return rows


def _cell(value: float | np.floating[Any] | np.integer[Any] | None) -> str:
    if value is None:
        return ""
    return repr(int(value) if isinstance(value, int | np.integer) else float(value))


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"
