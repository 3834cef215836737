"""The arrays a solver is given, in whatever form people have them: checked, and made ready."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.rows import ArrayRows
from twolayer.network.checks import numbers, require_classes, require_shape, require_weights
from twolayer.network.model import Array, Params
from twolayer.solver.metrics import RowSource


def fitting_rows(X: Any | RowSource, y: Any, params: Params, what: str = "") -> tuple[RowSource, NDArray[Any]]:
    """Return the rows and their classes as the solver reads them.

    X (N, D) is an array, nested lists or a DataFrame, converted to the parameters' float type, or a `RowSource`; y (N,)
    are class indices. `what` goes before X and y in the messages.

    Raises:
        ValueError: if they do not fit, or a number of X is not finite in the parameters' float type.
    """
    is_source = hasattr(X, "take") and not hasattr(X, "__array__") and not hasattr(X, "toarray")
    rows: Any = X if is_source else numbers(f"{what}X", X)
    require_shape(f"{what}X", rows.shape, params)
    y = require_classes(f"{what}y", y, rows.shape[0], params.n_classes)
    source: RowSource = X if is_source else ArrayRows(finite_rows(rows, params.dtype, f"{what}X"))
    return source, y if np.can_cast(y.dtype, np.intp) else y.astype(np.intp)


def finite_rows(X: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Return numbers X (N, D) in another float type, in C order; raise ValueError for one that is not finite there."""
    with np.errstate(over="ignore", invalid="ignore"):
        ready = np.ascontiguousarray(X, dtype)
    if not np.isfinite(ready).all():
        row, column = np.argwhere(~np.isfinite(ready))[0]
        raise ValueError(f"{name}: expected finite {dtype} numbers, got {X[row, column]} in row {row}, column {column}")
    return ready


def fitting_weights(
    row_weights: Any, class_weights: Any, y: NDArray[Any], n_classes: int
) -> tuple[Array | None, Array | None]:
    """Return the weights as arrays, both near 1 by powers of two: only their ratios count, and any float type has room
    for such numbers; warn if together they leave no row above 0.

    Raises:
        ValueError: for a wrong shape, a weight that is negative or not finite, or weights that are all 0.
    """

    def near_one(name: str, weights: Any, n: int) -> Array | None:
        if weights is None:
            return None
        weights = require_weights(name, weights, n)
        scaled: Array = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
        return scaled

    by_row = near_one("row_weights", row_weights, len(y))
    by_class = near_one("class_weights", class_weights, n_classes)
    if by_class is not None and not by_class[y if by_row is None else y[by_row > 0]].any():
        warnings.warn("class_weights: no row has a weight above 0, so the training changes nothing", stacklevel=3)
    return by_row, by_class
