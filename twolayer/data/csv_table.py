"""From a CSV file's text to a table of numbers, codes of categories and labels.

Blocks of plain lines are parsed as bytes (`digits`). What is not plain goes through Python's csv module and a memo of
cells already met, since most tables repeat few different cells. A place is sought only for a cell that does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Layout, Places
from twolayer.data.csv_text import MISSING_CELLS, CsvText, number_of
from twolayer.data.digits import cut_cells, plain_numbers
from twolayer.data.labels import MAX_CLASSES, Labels, labels_of_cells, require_few
from twolayer.utils.text import fault, shown

Array = NDArray[Any]

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
        raise fault(text.where, "a header and no rows" if places.has_header else "no rows", "at least one row")
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
            raise fault(
                place, f"more than {MAX_CATEGORIES:,} different values", "few categories, or the column in 'ignore'"
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
        wanted = "a finite number" if infinite else "a number; name the column in 'categorical' or 'ignore'"
        raise fault(f"{place}: {title}", shown(cell), wanted)


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
