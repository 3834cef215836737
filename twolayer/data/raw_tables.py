"""Raw rows handed over in Python (data frames, arrays, lists of lists) as the table a CSV file would have given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Layout
from twolayer.data.csv_table import Table
from twolayer.data.csv_text import MISSING_CELLS, number_of
from twolayer.data.labels import labels_of_cells
from twolayer.utils.text import fault, nearest, shown, some

Array = NDArray[Any]


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
                    raise fault(
                        "rows", f"column {shown(name)} {names.count(name)} times", f"it once{nearest(name, names)}"
                    )
            return [np.asarray(X[X.columns[names.index(name)]]) for name in wanted]
        if len(names) != len(wanted):
            raise fault("rows", f"{len(names)} columns", f"{len(wanted)}, the features in the order of the training")
        return [np.asarray(X[name]) for name in X.columns]
    cells = np.asarray(X, None if isinstance(X, np.ndarray) else object)
    if cells.ndim != 2 or cells.shape[1] != len(layout.features):
        names_wanted = some(layout.name(position) for position in layout.features)
        raise fault("rows", f"shape {cells.shape}", f"(N, {len(layout.features)}): {names_wanted}")
    return [cells[:, j] for j in range(cells.shape[1])]


def _numbers(column: Array, title: str) -> Array:
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    numbers = np.empty(len(column))
    for row, value in enumerate(column):
        number = number_of(_cell(value))
        if number is None:
            raise fault(f"row {row}: {title}", shown(value), "a finite number")
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
