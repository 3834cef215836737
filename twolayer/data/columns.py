"""From the columns of a table to features: which are numbers, which become one-hot, which is the label, which are left
out. Decided on the training file, stored with the model, and found again by name in any later file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.table import Table, is_missing, number_in
from twolayer.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """How the columns of a table are used.

    Attributes:
        names: the training file's columns, or None if it has no header.
        width: how many there are.
        label: position of the label.
        features: positions of the columns that become features, in order.
        categories: for each categorical position, its values; each becomes a feature that is 1 or 0.
    """

    names: tuple[str, ...] | None
    width: int
    label: int | None
    features: tuple[int, ...]
    categories: dict[int, tuple[str, ...]]

    @property
    def n_features(self) -> int:
        """D."""
        return sum(len(self.categories.get(column, ("",))) for column in self.features)

    @property
    def feature_names(self) -> list[str]:
        """D names: a column's, or `column=value`."""
        names = []
        for column in self.features:
            name = self.names[column] if self.names else f"column {column}"
            names += [f"{name}={value}" for value in self.categories[column]] if column in self.categories else [name]
        return names

    def positions_in(self, table: Table, *, label_needed: bool) -> tuple[list[int], int | None]:
        """Where this file has the feature columns and the label (None if it has none).

        By name if both files have headers; else by position, where a file without the label column may be one narrower.

        Raises:
            DataError: for columns that are missing.
        """
        if self.names and table.names:
            missing = [self.names[c] for c in self.features if self.names[c] not in table.names]
            if missing:
                raise DataError(
                    f"{table.path}:1: column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing[:5]))} not found; "
                    f"the file has {', '.join(map(repr, table.names[:10]))}{', ...' * (len(table.names) > 10)}"
                )
            label_name = self.names[self.label] if self.label is not None else None
            label = table.names.index(label_name) if label_name in table.names else None
            if label is None and label_needed:
                raise DataError(f"{table.path}:1: label column {label_name!r} not found")
            return [table.names.index(self.names[c]) for c in self.features], label
        if table.width == self.width:
            return list(self.features), self.label
        if table.width == self.width - 1 and self.label is not None and not label_needed:
            return [c - (c > self.label) for c in self.features], None
        raise DataError(
            f"{table.path}:{table.first_line}: {table.width} columns, wanted {self.width} as in training"
            + ("" if label_needed else f", or {self.width - 1} without the label")
        )

    def encode(self, table: Table, positions: Sequence[int]) -> Array:
        """The features (N, D) of a table, float64, NaN where a number is missing.

        Raises:
            DataError: for a cell that is no number, or no known category.
        """
        if not self.categories:
            values = table.numbers(positions)
            if values is not None:
                return values
        rows = []
        for number, cells in enumerate(table.cells):
            row: list[float] = []
            for column, position in zip(self.features, positions, strict=True):
                if column in self.categories:
                    row += self._one_hot(table, number, position, column, cells[position].strip())
                else:
                    row.append(number_in(table, number, position, cells[position]))
            rows.append(row)
        return np.array(rows, np.float64).reshape(len(rows), self.n_features)

    def encode_cells(self, X: Any) -> Array:
        """The features (N, D) of rows in memory, float64, NaN where a number is missing.

        Args:
            X: a data frame with the training columns by name, or (N, columns) cells without the label's, left out
                columns in or not.

        Raises:
            DataError: as `encode`.
        """
        if hasattr(X, "columns") and self.names:
            missing = [self.names[c] for c in self.features if self.names[c] not in X.columns]
            if missing:
                raise DataError(
                    f"the frame has no column {', '.join(map(repr, missing[:5]))}; it has {list(X.columns)[:10]}"
                )
            cells = [np.asarray(X[self.names[c]]) for c in self.features]
        else:
            array = np.asarray(X)
            width = array.shape[1] if array.ndim == 2 else None
            without_label = [c - (self.label is not None and c > self.label) for c in self.features]
            positions = {len(self.features): range(len(self.features)), self.width - 1: without_label}.get(width or 0)
            if positions is None:
                raise DataError(
                    f"rows of shape {array.shape}; wanted {len(self.features)} columns: {self.feature_names[:10]}"
                )
            cells = [array[:, position] for position in positions]
        blocks = []
        for column, values in zip(self.features, cells, strict=True):
            if column in self.categories:
                blocks.append(self._one_hot_column(column, values))
            else:
                blocks.append(self._number_column(column, values)[:, None])
        return np.concatenate(blocks, axis=1)

    def _number_column(self, column: int, values: Array) -> Array:
        if values.dtype.kind in "uifb":
            return values.astype(np.float64)
        table = Table(Path("rows"), self.names, self.width, "", 1)
        return np.array([np.nan if v is None else number_in(table, i, column, str(v)) for i, v in enumerate(values)])

    def _one_hot_column(self, column: int, values: Array) -> Array:
        table = Table(Path("rows"), self.names, self.width, "", 1)
        rows = [
            self._one_hot(table, i, column, column, "" if v is None else str(v).strip()) for i, v in enumerate(values)
        ]
        return np.array(rows, np.float64)

    def _one_hot(self, table: Table, row: int, position: int, column: int, cell: str) -> list[float]:
        values = self.categories[column]
        if is_missing(cell) and cell not in values:
            return [np.nan] * len(values)
        if cell not in values:
            raise DataError(
                f"{table.place(row, position)}: category {cell[:50]!r} was not seen in training; known: "
                f"{', '.join(map(repr, values[:10]))}{', ...' * (len(values) > 10)}"
            )
        return [float(cell == value) for value in values]


def choose_columns(
    table: Table, label: str | int | None, ignore: Sequence[str | int], categorical: Sequence[str | int]
) -> Columns:
    """How a training table's columns are used.

    Raises:
        DataError: for a column that is not there or is named twice.
    """
    if label is None:
        raise DataError(f"{table.path}: which column is the label? Set data.label to its name or position")
    at = position_of(table, label, "data.label")
    left_out = {position_of(table, column, "data.ignore") for column in ignore}
    as_categories = {position_of(table, column, "data.categorical") for column in categorical}
    for column in sorted((left_out | as_categories) & {at}) + sorted(left_out & as_categories):
        raise DataError(f"{table.where(1, column)}: has two uses among label, ignore and categorical")
    features = tuple(c for c in range(table.width) if c != at and c not in left_out)
    if not features:
        raise DataError(f"{table.path}: no column is left to be a feature")
    categories = {
        column: tuple(sorted({cell for cell in table.strings(column) if not is_missing(cell)}))
        for column in sorted(as_categories)
    }
    return Columns(table.names, table.width, at, features, categories)


def position_of(table: Table, column: str | int, key: str) -> int:
    """The position of a column given by name, or by position from the front or (negative) the back.

    Raises:
        DataError: if there is no such column.
    """
    if isinstance(column, int):
        if not -table.width <= column < table.width:
            raise DataError(f"{table.path}: {key}: no column {column}; the file has {table.width}, from 0")
        return column % table.width
    if table.names is None:
        raise DataError(
            f"{table.path}: {key}: no column {column!r}: the file has no header; give the position, from 0 (-1: last)"
        )
    if column not in table.names:
        close = difflib.get_close_matches(column, table.names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(map(repr, table.names[:10]))}"
        raise DataError(f"{table.path}:1: {key}: no column {column!r}; {hint}")
    return table.names.index(column)
