"""From a CSV file's text to a table of numbers, codes of categories and labels.

Blocks of plain lines are parsed as bytes (`digits`). What is not plain goes through Python's csv module and a memo of
cells already met, since most tables repeat few different cells. A place is sought only for a cell that does not fit.

Plain decimal numbers out of bytes, a whole block of cells at once: the quick way through a clean table.

What is not plain (quotes, exponents, blanks, more than 15 digits) is left to the careful way. Up to 15 digits, they and
the power of ten are both exact in float64, so their quotient is the number that float() gives, to the last bit.

A CSV file as text: comma-separated, UTF-8, with or without a header, cells quoted or not; and its rows' lines."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Layout, Places
from twolayer.data.files import read_bytes
from twolayer.data.labels import MAX_CLASSES, Labels, labels_of_cells, require_few
from twolayer.network.model import Array
from twolayer.utils.text import data_error, shown

Positions = NDArray[np.integer[Any]]

MOST_DIGITS = 15

_BLOCK_BYTES = 1 << 17  # bytes; what is made of a block fits a core's cache
_COMMA, _NEWLINE, _MINUS, _POINT, _ZERO = b",\n-.0"
_POWERS = 10.0 ** np.arange(MOST_DIGITS + 2)


def line_blocks(content: bytes, start: int) -> Iterator[bytes]:
    """The content from `start` on in pieces of whole lines, each line ended by a line feed."""
    while start < len(content):
        stop = content.find(b"\n", start + _BLOCK_BYTES) + 1 or len(content)
        yield content[start:stop] if content[stop - 1] == _NEWLINE else content[start:stop] + b"\n"
        start = stop


def cut_cells(block: bytes, width: int) -> tuple[Positions, Positions] | None:
    """Where the cells of a block of lines without quotes begin and end, each (rows, width).

    None if a line has another number of cells, or is blank.
    """
    letters = np.frombuffer(block, np.uint8)
    marks = np.flatnonzero((letters == _COMMA) | (letters == _NEWLINE))
    if len(marks) % width:
        return None
    ends = marks.reshape(-1, width)
    starts = np.empty_like(marks)
    starts[:1], starts[1:] = 0, marks[:-1] + 1
    if not (letters[ends[:, -1]] == _NEWLINE).all() or int((letters == _NEWLINE).sum()) != len(ends):
        return None
    if width == 1 and (starts == marks).any():
        return None
    return starts.reshape(-1, width), ends


def plain_numbers(block: bytes, starts: Positions, ends: Positions) -> Array | None:
    """The numbers in cells of the form [-]digits[.digits], float64 in the shape of `starts`; None if one is not so.

    Args:
        block: the bytes.
        starts: where each cell begins.
        ends: where it ends.
    """
    letters = np.frombuffer(block, np.uint8)
    signed, pointed = _MINUS in block, _POINT in block
    minus = letters.take(starts) == _MINUS if signed else np.zeros((), np.bool_)
    first = starts + minus
    longest = int((ends - first).max(initial=0))
    if longest > MOST_DIGITS + pointed or (ends <= first).any():
        return None
    value = np.zeros(starts.shape)
    passed = np.zeros(starts.shape, np.bool_)  # whether the cell's point has been met
    decimals = np.zeros(starts.shape, np.int8)
    for k in range(longest):  # from the last letter of each cell to the left
        at = ends - (k + 1)
        inside = at >= first
        letter = letters.take(at, mode="clip")
        digit = (letter - np.uint8(_ZERO)) * inside  # a letter below "0" wraps around to above 9
        if pointed:
            is_point = (letter == _POINT) & inside
            if (is_point & passed).any():
                return None
            digit[is_point] = 0
            passed |= is_point
            decimals[is_point] = k
            value += digit * _POWERS[k - passed]
        else:
            value += digit * _POWERS[k]
        if digit.max(initial=0) > 9:
            return None
    if pointed:
        n_digits = ends - first - passed
        if n_digits.min(initial=1) < 1 or n_digits.max(initial=1) > MOST_DIGITS:
            return None
        value /= _POWERS[decimals]
    return np.negative(value, out=value, where=minus) if signed else value


MISSING_CELLS = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"))

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_BOM = b"\xef\xbb\xbf"
_BLOCK_ROWS = 4096


def number_of(cell: str) -> float | None:
    """A cell as a finite number, NaN if it is missing, None if it is neither."""
    if _NUMBER.fullmatch(cell):
        value = float(cell)
        return None if math.isinf(value) else value
    return math.nan if cell.strip() in MISSING_CELLS else None


class CsvText:
    """The text of a CSV file.

    Attributes:
        where: the file, for messages.
        first: the cells of the first row.
        is_number: for each of them, whether it is a number.

    Raises:
        DataError: if it is empty, or no text of comma-separated cells.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._content = _checked(read_bytes(path), self.where)
        self.first, _, self._lines_of_first = next(self._records(), ([], 0, 0))
        if not self.first:
            raise data_error(self.where, "rows of comma-separated cells", "an empty file")
        if len(self.first) == 1 and (other := next((mark for mark in ";\t|" if mark in self.first[0]), None)):
            how = f"sep={other!r}" + (", decimal=','" if other == ";" else "")
            way = f"pandas.read_csv({path.name!r}, {how}).to_csv('commas.csv', index=False) writes such a file"
            raise data_error(f"{self.where}:1", "cells separated by commas", f"no commas, but {other!r}", way)
        self.is_number = [_NUMBER.fullmatch(cell) is not None for cell in self.first]

    def line_blocks(self, has_header: bool) -> Iterator[bytes] | None:
        """The lines behind the header, in blocks; None if they may hold quoted cells or other line ends."""
        content = self._content
        returns = content.count(b"\r")
        if returns and returns != content.count(b"\r\n"):  # a line may end at a lone one, and below only \n counts
            return None
        start = 0
        for _ in range(self._lines_of_first if has_header else 0):
            start = content.find(b"\n", start) + 1 or len(content)
        if content.find(b'"', start) >= 0:
            return None
        if returns:
            content, start = content[start:].replace(b"\r\n", b"\n"), 0
        return line_blocks(content, start)

    def row_blocks(self, width: int, has_header: bool) -> Iterator[list[list[str]]]:
        """The rows behind the header, cut by the csv module, in blocks.

        Raises:
            DataError: for a row that has not `width` cells, or a quote that is not closed.
        """
        reader = csv.reader(self._text(), strict=True)
        skip = has_header
        try:
            while block := list(islice(reader, _BLOCK_ROWS)):
                rows = [row for row in block if row]
                if set(map(len, rows)) - {width}:
                    self.raise_fault(width)
                if skip and rows:
                    del rows[0]
                    skip = False
                yield rows
        except csv.Error:
            self.raise_fault(width)

    def rows_of(self, block: bytes, width: int) -> list[list[str]]:
        """The rows of a block of lines without quotes; faults as for `row_blocks`."""
        try:
            rows = [row for row in csv.reader(io.StringIO(block.decode(), newline=""), strict=True) if row]
        except csv.Error:
            self.raise_fault(width)
        if set(map(len, rows)) - {width}:
            self.raise_fault(width)
        return rows

    def raise_fault(self, width: int) -> None:
        """Raises DataError for the first row that has not `width` cells, or cannot be cut into cells."""
        for row, line, _ in self._records():
            if len(row) != width:
                found = f"{len(row)} cell{'s' if len(row) != 1 else ''}"
                raise data_error(f"{self.where}:{line}", f"{width} cells, as in the first row", found)

    def place(self, row: int, has_header: bool) -> str:
        """`file:line`, where row number `row` behind the header begins."""
        _, line, _ = next(islice(self._records(), row + has_header, None))
        return f"{self.where}:{line}"

    def _records(self) -> Iterator[tuple[list[str], int, int]]:
        """(row, its first line, its last line) for all rows that are not blank, the header too."""
        reader = csv.reader(self._text(), strict=True)
        line = 1
        try:
            for row in reader:
                if row:
                    yield row, line, reader.line_num
                line = reader.line_num + 1
        except csv.Error as error:
            raise data_error(f"{self.where}:{line}", "cells, quoted ones closed by one quote", f"{error}") from None

    def _text(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self._content), encoding="utf-8", newline="")


def _checked(content: bytes, where: str) -> bytes:
    """The content without a byte order mark, if it is UTF-8 text."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise data_error(where, "UTF-8", "UTF-16 text", "save it as 'CSV UTF-8'")
    if b"\0" in content:
        raise data_error(where, "a CSV file in UTF-8", "binary data")
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise data_error(
                f"{where}:{line}", "UTF-8 text", f"byte 0x{content[error.start]:02x}", "save it as 'CSV UTF-8'"
            ) from None
    return content.removeprefix(_BOM)


MAX_CATEGORIES = 1000

_LABEL = -1  # stands for the label's column among the positions of the layout
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


def parse_table(text: CsvText, layout: Layout, places: Places) -> Table:
    """The rows of a CSV file.

    Args:
        text: the file.
        layout: the training table's columns.
        places: where they stand in this file.

    Raises:
        DataError: for a row that is too short or too long, a cell that is no number, or no rows at all.
    """
    columns = dict(zip(layout.features, places.features, strict=True))
    numeric = [at for position, at in columns.items() if position not in layout.categorical]
    coded = {position: at for position, at in columns.items() if position in layout.categorical}
    if places.label is not None:
        coded[_LABEL] = places.label
    parser = _Parser(text, layout, places, numeric, coded)
    numbers: list[Array] = []
    codes: dict[int, list[NDArray[np.int32]]] = {position: [] for position in coded}
    for block, cells in parser.blocks():
        numbers.append(block)
        for position, column in cells.items():
            codes[position].append(parser.coded(position, column, len(block)))
        parser.done += len(block)
    if not parser.done:
        raise data_error(text.where, "at least one row", "a header and no rows" if places.has_header else "no rows")
    categories = {
        position: labels_of_cells(np.concatenate(codes[position]), list(parser.codes[position]), MISSING_CELLS)
        for position in coded
    }
    labels = categories.pop(_LABEL, None)
    return Table(np.concatenate(numbers), categories, labels, lambda row: text.place(row, places.has_header))


class _Parser:
    """Parses one file block by block, and remembers the cells it has met."""

    def __init__(
        self, text: CsvText, layout: Layout, places: Places, numeric: list[int], coded: dict[int, int]
    ) -> None:
        self._text, self._layout, self._places = text, layout, places
        self._numeric, self._coded = numeric, coded
        self._memo = _Numbers()
        self.codes: dict[int, _Codes] = {position: _Codes() for position in coded}
        self.done = 0

    def blocks(self) -> Iterator[tuple[Array, dict[int, Iterable[str]]]]:
        """(numbers (B, numeric features), cells of each coded column) of consecutive blocks of rows."""
        width = self._places.width
        line_blocks = self._text.line_blocks(self._places.has_header)
        if line_blocks is None:
            for rows in self._text.row_blocks(width, self._places.has_header):
                yield self._careful(rows)
            return
        for block in line_blocks:
            yield self._quick(block, width) or self._careful(self._text.rows_of(block, width))

    def coded(self, position: int, cells: Iterable[str], count: int) -> NDArray[np.int32]:
        """(B,) codes of a column's cells.

        Raises:
            DataError: if by now it has far too many different ones.
        """
        codes = np.fromiter(map(self.codes[position].__getitem__, cells), np.int32, count)
        distinct = len(self.codes[position]) - len(MISSING_CELLS)
        if position == _LABEL:
            require_few(distinct, self._text.where)
        elif distinct > MAX_CATEGORIES:
            place = f"{self._text.where}: {self._layout.title(position)}"
            raise data_error(
                place, "few categories, or the column in 'ignore'", f"more than {MAX_CATEGORIES:,} different values"
            )
        return codes

    def _quick(self, block: bytes, width: int) -> tuple[Array, dict[int, Iterable[str]]] | None:
        """A block of lines as bytes; None if it is not plain."""
        cells = cut_cells(block, width)
        if cells is None:
            return None
        starts, ends = cells
        everything = self._numeric == list(range(width))
        numeric = slice(None) if everything else self._numeric
        numbers = plain_numbers(block, starts[:, numeric], ends[:, numeric])
        if numbers is None:
            return None
        columns: dict[int, Iterable[str]] = {}
        for position, at in self._coded.items():
            bounds = zip(starts[:, at].tolist(), ends[:, at].tolist(), strict=True)
            if block.isascii():
                letters = block.decode("ascii")
                columns[position] = [letters[start:stop] for start, stop in bounds]
            else:
                columns[position] = [block[start:stop].decode() for start, stop in bounds]
        return numbers, columns

    def _careful(self, rows: list[list[str]]) -> tuple[Array, dict[int, Iterable[str]]]:
        """A block of rows of cells."""
        numeric = self._numeric
        if len(numeric) > 1:
            cells: Iterable[str] = chain.from_iterable(map(itemgetter(*numeric), rows))
        else:
            cells = (row[at] for row in rows for at in numeric)
        try:
            flat = np.fromiter(map(self._memo.__getitem__, cells), np.float64, len(rows) * len(numeric))
        except _NotNumberError:
            self._raise_not_number(rows)
        columns: dict[int, Iterable[str]] = {
            position: list(map(itemgetter(at), rows)) for position, at in self._coded.items()
        }
        return flat.reshape(len(rows), len(numeric)), columns

    def _raise_not_number(self, rows: list[list[str]]) -> NoReturn:
        row, at = next((i, at) for i, row in enumerate(rows) for at in self._numeric if number_of(row[at]) is None)
        cell = rows[row][at]
        title = self._layout.title(self._layout.features[self._places.features.index(at)])
        place = self._text.place(self.done + row, self._places.has_header)
        try:
            infinite = math.isinf(float(cell))
        except ValueError:
            infinite = False
        wanted = "a finite number" if infinite else "a number"
        hint = "" if infinite else "name the column in 'categorical' or 'ignore'"
        raise data_error(f"{place}: {title}", wanted, shown(cell), hint)


class _NotNumberError(ValueError):
    """A cell that is neither a number nor missing."""


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
        if len(self) > 2 * MAX_CLASSES:
            return 0  # far too many already; whoever counts them is about to say so
        code = self[cell] = len(self)
        return code
