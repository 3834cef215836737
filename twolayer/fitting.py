"""Whether the arrays a training is given fit each other, said in the words of the one who gave them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.rows import ArrayRows
from twolayer.metrics import Rows
from twolayer.network.backprop import require_weights
from twolayer.network.model import Array, Params


def fitting_rows(X: Array | Rows, y: Array, params: Params) -> tuple[Rows, NDArray[Any]]:
    """The rows and their classes as the solver reads them.

    Args:
        X: (N, D) an array, converted to the parameters' float type, or anything like `metrics.Rows`.
        y: (N,) class indices.
        params: Params of a D-H-C network.

    Raises:
        ValueError: where they do not fit, or X has a NaN or an infinity.
    """
    y = np.asarray(y)
    D, C = params.n_features, params.n_classes
    if isinstance(X, np.ndarray):
        if X.ndim != 2 or X.shape[1] != D:
            raise ValueError(f"X must be (N, {D}), as the parameters have {D} features; got {X.shape}")
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            raise ValueError(f"X must be finite; row {row}, column {column} is {X[row, column]}")
        rows: Rows = ArrayRows(np.ascontiguousarray(X, params.dtype))
    else:
        rows = X
    n = rows.shape[0]
    if n == 0 or rows.shape[1] != D:
        raise ValueError(f"X must be (N, {D}) with N >= 1; got {rows.shape}")
    if y.shape != (n,) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y must be ({n},) whole numbers, one for each row of X; got {y.dtype} {y.shape}")
    if y.min() < 0 or y.max() >= C:
        raise ValueError(f"y must be class indices from 0 to {C - 1}; got {y.min()} to {y.max()}")
    return rows, y if np.can_cast(y.dtype, np.intp) else y.astype(np.intp)


def fitting_weights(
    row_weights: Array | None, class_weights: Array | None, n_rows: int, n_classes: int
) -> tuple[Array | None, Array | None]:
    """The weights as arrays, both brought near 1 by powers of two: only their ratios count, and so any float type has
    room for them.

    Raises:
        ValueError: for a wrong shape, a weight that is negative or not finite, or weights that are all 0.
    """
    checked: list[Array | None] = []
    for name, weights, n in (("row_weights", row_weights, n_rows), ("class_weights", class_weights, n_classes)):
        if weights is not None:
            weights = require_weights(name, weights, n)
            weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
        checked.append(weights)
    return checked[0], checked[1]
