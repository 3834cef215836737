"""From a table's columns to the network's features: numbers as they are, each category as a feature of its own.

Raw rows handed over in Python (data frames, arrays, lists of lists) as the table a CSV file would have given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.columns import ColumnChoice, Labelling, Layout, find_columns, is_header, lay_out
from twolayer.data.csv_reader import MISSING_CELLS, CsvText, Table, number_of, parse_table
from twolayer.data.labels import MISSING, labels_of_cells
from twolayer.network.model import Array
from twolayer.utils.text import data_error, did_you_mean, shown, some


def table_of(X: Any, layout: Layout) -> Table:
    """The feature columns of X (N, columns), by name where it and the layout have names, else by position.

    Raises:
        DataError: for a missing column, another number of columns, or a cell that is no number.
    """
    columns = _columns(X, layout)
    n_rows = len(columns[0])
    numeric = [position for position in layout.features if position not in layout.categorical]
    numbers = np.empty((n_rows, len(numeric)))
    for j, position in enumerate(numeric):
        numbers[:, j] = _numbers(columns[layout.features.index(position)], layout.title(position))
    categories = {}
    for position in sorted(layout.categorical):
        cells = [_cell(value) for value in columns[layout.features.index(position)]]
        codes: dict[str, int] = {}
        numbered = np.array([codes.setdefault(cell, len(codes)) for cell in cells], np.int32)
        categories[position] = labels_of_cells(numbered, list(codes), MISSING_CELLS)
    return Table(numbers, categories, None, place=lambda row: f"row {row}")


def _columns(X: Any, layout: Layout) -> list[Any]:
    """The features' columns in the layout's order, each of one length."""
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        wanted = [layout.name(position) for position in layout.features]
        if layout.names:
            for name in wanted:
                if names.count(name) != 1:
                    raise data_error(
                        "rows", f"column {shown(name)} once", f"it {names.count(name)} times", did_you_mean(name, names)
                    )
            return [np.asarray(X[X.columns[names.index(name)]]) for name in wanted]
        if len(names) != len(wanted):
            raise data_error(
                "rows", f"{len(wanted)} columns, the features in the order of the training", str(len(names))
            )
        return [np.asarray(X[name]) for name in X.columns]
    cells = np.asarray(X, None if isinstance(X, np.ndarray) else object)
    if cells.ndim != 2 or cells.shape[1] != len(layout.features):
        names_wanted = some(layout.name(position) for position in layout.features)
        raise data_error("rows", f"(N, {len(layout.features)}): {names_wanted}", f"shape {cells.shape}")
    return [cells[:, j] for j in range(cells.shape[1])]


def _numbers(column: Array, title: str) -> Array:
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    numbers = np.empty(len(column))
    for row, value in enumerate(column):
        number = number_of(_cell(value))
        if number is None:
            raise data_error(f"row {row}: {title}", "a finite number", shown(value))
        numbers[row] = number
    return numbers


def _cell(value: Any) -> str:
    """A value as a CSV file would write it."""
    # pandas' NA is known by its name, for it is neither equal to itself nor not; NaN and NaT are not.
    if value is None or repr(value) == "<NA>" or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


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
            raise data_error(
                f"{where}: {self.layout.title(widest)}", "fewer categories, or the column in 'ignore'", found
            )
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
            raise data_error(
                place, f"a category known from training: {some(known)}", shown(value), did_you_mean(value, known)
            )
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
            raise data_error(place, "some categories, or the column in 'ignore'", "a missing cell in every row")
    return table, TableForm(layout, known)


def read_table(path: Path, layout: Layout, labels: Labelling) -> Table:
    """A table whose columns are those of a training table; its label may be absent unless it is needed."""
    text = CsvText(path)
    places = find_columns(text.where, layout, text.first, text.is_number, need_label=labels == "needed")
    return parse_table(text, layout, replace(places, label=None) if labels == "left" else places)
