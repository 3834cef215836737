"""CSV files, plain or gzipped: comma-separated, UTF-8, with or without a header, cells quoted or not.

Python's csv module cuts the text into cells, a block of rows at a time; a memo turns cells into numbers, since most
tables repeat few different cells. Only when something does not fit is the place looked for, so a clean file is fast."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Layout, Places
from twolayer.data.faults import fault, shown
from twolayer.data.files import read_bytes
from twolayer.data.labels import MAX_CLASSES, Labels, labels_of_cells, require_few

Array = NDArray[Any]
Cells = tuple[str, ...]

MISSING_CELLS = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"))
MAX_CATEGORIES = 1000

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_BLOCK = 4096  # rows
_MEMO = 1 << 16  # different cells remembered


@dataclass(frozen=True, eq=False)
class Table:
    """A parsed table of N rows.

    Attributes:
        numbers: (N, numeric features) float64, NaN where a cell is missing.
        categories: position in the layout -> the column's codes and distinct values; the code -1 where missing.
        labels: of the rows; None where the file has no label column.
        place: words for where row i stands, `file:line`.
    """

    numbers: Array
    categories: dict[int, Labels]
    labels: Labels | None
    place: Callable[[int], str]


class CsvText:
    """The text of a CSV file and its first row.

    Attributes:
        where: the file, for messages.
        first: the cells of the first row.
        is_number: for each of them, whether it is a number.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._text = _decode(read_bytes(path), self.where)
        rows = self._rows()
        self.first: list[str] = next(rows, [])
        if not self.first:
            raise fault(self.where, "an empty file", "rows of comma-separated cells")
        if len(self.first) == 1 and (other := next((mark for mark in ";\t|" if mark in self.first[0]), None)):
            raise fault(f"{self.where}:1", f"no commas, but {other!r}", "cells separated by commas")
        self.is_number = [_NUMBER.fullmatch(cell) is not None for cell in self.first]

    def parse(self, layout: Layout, places: Places) -> Table:
        """The rows of the table.

        Args:
            layout: the training table's columns.
            places: where they stand in this file.

        Raises:
            DataError: for a row that is too short or too long, a cell that is no number, or no rows at all.
        """
        numeric = [at for position, at in zip(layout.features, places.features, strict=True)
                   if position not in layout.categorical]  # fmt: skip
        coded = {position: at for position, at in zip(layout.features, places.features, strict=True)
                 if position in layout.categorical}  # fmt: skip
        if places.label is not None:
            coded[-1] = places.label
        memo = _Numbers()
        codes: dict[int, _Codes] = {position: _Codes() for position in coded}
        number_blocks: list[Array] = []
        code_blocks: dict[int, list[NDArray[np.int32]]] = {position: [] for position in coded}
        start = 0
        for rows in self._blocks(places):
            number_blocks.append(self._numbers(rows, start, numeric, memo, layout, places))
            for position, at in coded.items():
                column = map(codes[position].__getitem__, map(itemgetter(at), rows))
                code_blocks[position].append(np.fromiter(column, np.int32, len(rows)))
                self._require_few(len(codes[position]), layout, position)
            start += len(rows)
        if not start:
            found = "a header and no rows" if places.has_header else "no rows"
            raise fault(self.where, found, "at least one row")
        columns = {
            position: labels_of_cells(np.concatenate(code_blocks[position]), list(codes[position]), MISSING_CELLS)
            for position in coded
        }
        labels = columns.pop(-1, None)
        return Table(
            np.concatenate(number_blocks),
            columns,
            labels,
            lambda row: f"{self.where}:{self._line(row, places.has_header)}",
        )

    def _rows(self) -> Iterator[list[str]]:
        """All rows that are not blank, the header too."""
        return (row for row, _ in self._numbered_rows())

    def _numbered_rows(self) -> Iterator[tuple[list[str], int]]:
        """(row, its first line) for all rows that are not blank."""
        reader = csv.reader(io.StringIO(self._text, newline=""), strict=True)
        line = 1
        try:
            for row in reader:
                if row:
                    yield row, line
                line = reader.line_num + 1
        except csv.Error as error:
            raise fault(f"{self.where}:{line}", f"{error}", "cells, quoted ones closed by one quote") from None

    def _blocks(self, places: Places) -> Iterator[list[list[str]]]:
        """The rows in blocks, each row with as many cells as the first."""
        reader = csv.reader(io.StringIO(self._text, newline=""), strict=True)
        skip = places.has_header
        try:
            while block := list(islice(reader, _BLOCK)):
                widths = set(map(len, block))
                if 0 in widths:
                    block = [row for row in block if row]
                    widths.discard(0)
                if widths - {places.width}:
                    self._raise_ragged(places.width)
                if skip and block:
                    del block[0]
                    skip = False
                yield block
        except csv.Error:
            for _ in self._numbered_rows():  # meets the same fault again, and names its line
                pass
            raise

    def _raise_ragged(self, width: int) -> None:
        for row, line in self._numbered_rows():
            if len(row) != width:
                found = f"{len(row)} cell" + "s" * (len(row) != 1)
                raise fault(f"{self.where}:{line}", found, f"{width}, as in the first row")

    def _numbers(
        self, rows: list[list[str]], start: int, numeric: list[int], memo: _Numbers, layout: Layout, places: Places
    ) -> Array:
        """(B, numeric features) of a block of rows."""
        if not numeric:
            return np.empty((len(rows), 0))
        if len(numeric) == 1:
            cells: Iterator[str] = map(itemgetter(numeric[0]), rows)
        elif numeric == list(range(places.width)):
            cells = chain.from_iterable(rows)
        else:
            cells = chain.from_iterable(map(itemgetter(*numeric), rows))
        try:
            flat = np.fromiter(map(memo.__getitem__, cells), np.float64, len(rows) * len(numeric))
        except _NotNumberError:
            self._raise_not_number(rows, start, numeric, memo, layout, places)
        return flat.reshape(len(rows), len(numeric))

    def _raise_not_number(
        self, rows: list[list[str]], start: int, numeric: list[int], memo: _Numbers, layout: Layout, places: Places
    ) -> None:
        titles = {at: layout.title(position) for position, at in zip(layout.features, places.features, strict=True)}
        for i, row in enumerate(rows):
            for at in numeric:
                try:
                    memo[row[at]]
                except _NotNumberError:
                    place = f"{self.where}:{self._line(start + i, places.has_header)}: {titles[at]}"
                    infinite = _NUMBER.fullmatch(row[at]) or row[at].strip().lower().lstrip("+-") in ("inf", "infinity")
                    wanted = "a finite number" if infinite else "a number; name the column in 'categorical' or 'ignore'"
                    raise fault(place, shown(row[at]), wanted) from None

    def _require_few(self, count: int, layout: Layout, position: int) -> None:
        if position == -1:
            require_few(count - len(MISSING_CELLS), self.where)
        elif count > MAX_CATEGORIES + len(MISSING_CELLS):
            found = f"more than {MAX_CATEGORIES:,} different values"
            raise fault(f"{self.where}: {layout.title(position)}", found, "few categories, or the column in 'ignore'")

    def _line(self, row: int, has_header: bool) -> int:
        """The line in which data row number `row` begins."""
        return next(islice(self._numbered_rows(), row + has_header, None))[1]


class _NotNumberError(ValueError):
    """A cell that is neither a number nor missing."""


def number_of(cell: str) -> float | None:
    """A cell as a finite number, NaN if it is missing, None if it is neither."""
    if _NUMBER.fullmatch(cell):
        value = float(cell)
        return None if math.isinf(value) else value
    return math.nan if cell.strip() in MISSING_CELLS else None


class _Numbers(dict[str, float]):
    """Cells as numbers, each parsed when it is first met; NaN for the missing ones."""

    def __missing__(self, cell: str) -> float:
        value = number_of(cell)
        if value is None:
            raise _NotNumberError
        if len(self) < _MEMO:
            self[cell] = value
        return value


class _Codes(dict[str, int]):
    """Different cells, numbered in the order in which they are met."""

    def __missing__(self, cell: str) -> int:
        if len(self) > MAX_CLASSES + _BLOCK:
            return 0  # far too many already; the caller is about to say so
        code = self[cell] = len(self)
        return code


def _decode(content: bytes, where: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise fault(where, "UTF-16 text", "UTF-8; save it as 'CSV UTF-8'")
    if b"\0" in content[:4096] or b"\0" in content:
        raise fault(where, "binary data", "a CSV file in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise fault(
            f"{where}:{line}", f"byte 0x{content[error.start]:02x}", "UTF-8 text; save it as 'CSV UTF-8'"
        ) from None
