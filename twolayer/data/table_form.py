"""From a table's columns to the network's features: numbers as they are, each category as a feature of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import ColumnChoice, Labelling, Layout, find_columns, is_header, lay_out
from twolayer.data.csv_table import Table, parse_table
from twolayer.data.csv_text import CsvText
from twolayer.data.labels import MISSING
from twolayer.utils.text import fault, nearest, shown, some

Array = NDArray[Any]

MAX_ENCODED = 1 << 25  # numbers, 256 MiB of float64; a table that holds more by itself may have eight times its own


@dataclass(frozen=True)
class TableForm:
    """The columns of a training table, and the categories found in them.

    Attributes:
        layout: the columns.
        categories: for each categorical column, by position, its values; each becomes a feature that is 1 or 0.
    """

    layout: Layout
    categories: Mapping[int, tuple[str, ...]]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The D features' names; `column=value` for a category."""
        return tuple(name if value is None else f"{name}={value}" for name, value in self.origins)

    @property
    def origins(self) -> tuple[tuple[str, str | None], ...]:
        """The column that each of the D features comes from, and its category, None for a number."""
        found: list[tuple[str, str | None]] = []
        for position in self.layout.features:
            name = self.layout.name(position)
            found += [(name, value) for value in self.categories.get(position, (None,))]
        return tuple(found)

    def encode(self, table: Table, where: str) -> Array:
        """The table's rows as (N, D) float64, NaN where a cell is missing (in all features of a missing category).

        Raises:
            DataError: for a category that training did not know.
        """
        if not self.categories:
            return table.numbers
        n_rows, n_numbers = table.numbers.shape
        D = n_numbers + sum(map(len, self.categories.values()))
        if n_rows * D > max(MAX_ENCODED, 8 * n_rows * len(self.layout.features)):
            widest = max(self.categories, key=lambda position: len(self.categories[position]))
            found = f"{D:,} features for {n_rows:,} rows, {len(self.categories[widest]):,} of them for one column"
            raise fault(f"{where}: {self.layout.title(widest)}", found, "fewer categories, or the column in 'ignore'")
        X = np.zeros((n_rows, D))
        at, number = 0, 0
        for position in self.layout.features:
            if position not in self.categories:
                X[:, at] = table.numbers[:, number]
                at, number = at + 1, number + 1
                continue
            width = len(self.categories[position])
            self._encode_column(table, position, X[:, at : at + width], where)
            at += width
        return X

    def _encode_column(self, table: Table, position: int, out: Array, where: str) -> None:
        """Fills `out` (N, values) with the one-hot rows of a categorical column."""
        known = {value: code for code, value in enumerate(self.categories[position])}
        column = table.categories[position]
        mapping = np.array([known.get(str(value), MISSING) for value in column.values], np.int64)
        rows = np.flatnonzero(column.codes != MISSING)
        codes = mapping[column.codes[rows]]
        unknown = np.flatnonzero(codes == MISSING)
        if len(unknown):
            row = int(rows[unknown[0]])
            value = str(column.values[column.codes[row]])
            place = f"{table.place(row)}: {self.layout.title(position)}"
            raise fault(place, shown(value), f"a category known from training: {some(known)}{nearest(value, known)}")
        out[rows, codes] = 1
        out[column.codes == MISSING] = np.nan


def read_training_table(path: Path, choice: ColumnChoice) -> tuple[Table, TableForm]:
    """A training table and what its columns are; categories are those of all its rows."""
    text = CsvText(path)
    has_header = is_header(choice, text.is_number)
    layout = lay_out(text.where, text.first, has_header, choice)
    table = parse_table(text, layout, find_columns(text.where, layout, text.first, text.is_number, need_label=True))
    known = {position: tuple(map(str, labels.values)) for position, labels in table.categories.items()}
    for position, values in known.items():
        if not values:
            place = f"{text.where}: {layout.title(position)}"
            raise fault(place, "a missing cell in every row", "some categories, or the column in 'ignore'")
    return table, TableForm(layout, known)


def read_table(path: Path, layout: Layout, labels: Labelling) -> Table:
    """A table whose columns are those of a training table; its label may be absent unless it is needed."""
    text = CsvText(path)
    places = find_columns(text.where, layout, text.first, text.is_number, need_label=labels == "needed")
    return parse_table(text, layout, replace(places, label=None) if labels == "left" else places)
