"""CSV files: the text into rows of cells, and rows of cells into numbers.

Clean numeric columns are parsed in one go. Where that fails, the cells are looked at one by one, which is slow, and
finds the line and column to name."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.packed import open_limited
from twolayer.errors import DataError

Array = NDArray[Any]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def is_missing(cell: str) -> bool:
    """Whether a cell says that its value is not known: empty, NA, N/A, NaN, null, none or ?."""
    return cell.strip().lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether a cell is a decimal number."""
    return _NUMBER.fullmatch(cell.strip()) is not None


@dataclass(frozen=True)
class Table:
    """A CSV file's text, split into its header and the rest.

    Attributes:
        path: the file.
        names: the columns' names, or None for a file without a header.
        width: columns.
        text: the file without its header line.
        first_line: number of the text's first line in the file.
    """

    path: Path
    names: tuple[str, ...] | None
    width: int
    text: str
    first_line: int

    def where(self, line: int, column: int | None = None) -> str:
        """`file:line: column 'name'`, for a message."""
        if column is None:
            return f"{self.path}:{line}"
        name = f"'{self.names[column]}'" if self.names else str(column)
        return f"{self.path}:{line}: column {name}"

    def place(self, row: int, column: int | None = None) -> str:
        """`where` for the row of this number, from 0."""
        return self.where(self.line(row) if self.text else row, column)

    @cached_property
    def cells(self) -> list[list[str]]:
        """The cells of each row; blank lines are passed over.

        Raises:
            DataError: for a row of another width, or text that is no CSV.
        """
        if '"' in self.text:
            return [cells for _, cells in self._numbered_rows()]
        rows = [line.split(",") for line in self.text.split("\n") if line]
        if any(len(cells) != self.width for cells in rows):
            return [cells for _, cells in self._numbered_rows()]
        return rows

    def line(self, row: int) -> int:
        """The line in the file on which a row begins."""
        return next(itertools.islice(self._numbered_rows(), row, None))[0]

    def _numbered_rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self.text, newline=""), strict=True)
        line = self.first_line
        try:
            for cells in reader:
                if len(cells) != self.width and cells:
                    raise DataError(f"{self.where(line)}: {len(cells)} cells, wanted {self.width} as in the first line")
                if cells:
                    yield line, cells
                line = self.first_line + reader.line_num
        except csv.Error as error:
            raise DataError(f"{self.where(line)}: not CSV: {error}") from None

    def numbers(self, columns: Sequence[int]) -> Array | None:
        """The columns as float64 (N, len(columns)) if all their cells are finite numbers, None otherwise."""
        if "_" in self.text:  # float() would take 1_000
            return None
        chosen = map(itemgetter(*columns), self.cells)
        cells = itertools.chain.from_iterable(chosen) if len(columns) > 1 else chosen
        try:
            values = np.fromiter(map(float, cells), np.float64).reshape(-1, len(columns))
        except ValueError:
            return None
        return values if np.isfinite(values).all() else None

    def strings(self, column: int) -> list[str]:
        """The cells of one column, trimmed."""
        return [cells[column].strip() for cells in self.cells]


def read_table(path: Path, label: str | int | None) -> Table:
    """Reads a CSV file (.csv, or .gz): UTF-8 with or without a mark, any line ends.

    The first line is a header if `label` is a name in it, or if it has no number and the second line has one or
    differs from it in kind; in a file with a header no two columns may have one name.

    Raises:
        DataError: if the file cannot be read, is empty, or has a header only.
    """
    with open_limited(path) as file:
        data = file.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not UTF-8 text: byte {data[error.start]:#04x}; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: has NUL bytes: not a CSV file")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    skipped = len(text) - len(text.lstrip("\n"))
    text = text[skipped:]
    if not text.strip():
        raise DataError(f"{path}: empty: rows of data are wanted")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        first = next(reader)
    except csv.Error as error:
        raise DataError(f"{path}:1: not CSV: {error}") from None
    if len(first) == 1 and any(mark in first[0] for mark in ";\t"):
        raise DataError(
            f"{path}:1: one column only; cells must be separated by commas, these seem to be by ';' or tabs"
        )
    names = tuple(cell.strip() for cell in first)
    if not (isinstance(label, str) and label in names) and any(is_number(cell) for cell in first):
        return Table(path, None, len(first), text, 1 + skipped)
    _require_distinct(path, names)
    rest = _after_lines(text, reader.line_num)
    if not rest.strip():
        raise DataError(f"{path}: a header only: rows of data are wanted")
    return Table(path, names, len(first), rest, 1 + skipped + reader.line_num)


def _after_lines(text: str, count: int) -> str:
    at = 0
    for _ in range(count):
        at = text.find("\n", at) + 1
        if at == 0:
            return ""
    return text[at:]


def _require_distinct(path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            raise DataError(f"{path}:1: columns {first} and {second} are both named '{name}'; give each its own name")


def number_in(table: Table, row: int, column: int, cell: str) -> float:
    """A cell as a number, NaN if it is missing.

    Raises:
        DataError: for anything else, naming the place.
    """
    if is_missing(cell):
        return math.nan
    if not is_number(cell):
        raise DataError(
            f"{table.place(row, column)}: {cell[:50]!r} is not a number; if the column has names for values, put it into "
            "data.categorical, or leave it out by data.ignore"
        )
    value = float(cell)
    if not math.isfinite(value):
        raise DataError(f"{table.place(row, column)}: {cell[:50]!r} is too large for a number")
    return value
