"""The loss and its gradients by hand: equations (5) to (12), in the NumPy code that also does the training.

One convention throughout: the loss is the mean over the batch plus r/2 times the sum of squared weights; biases are
not penalised. Everything is written into a `Workspace`, so a training step allocates nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from twolayer.network.model import Array, Params, flat_zeros, forward


class Workspace:
    """The arrays that one pass forward and back fills, for batches of up to `n_rows` rows.

    Attributes:
        gradients: Params, the result; views of `vector`.
        vector: (n,) all gradients in one piece, see `model.FlatParams`.
        n_weights: where the biases begin in `vector`.
    """

    def __init__(self, n_rows: int, n_features: int, n_hidden: int, n_classes: int, dtype: DTypeLike) -> None:
        self.vector, self.gradients, self.n_weights = flat_zeros(n_features, n_hidden, n_classes, dtype)
        self.A1 = np.empty((n_rows, n_hidden), dtype)
        self.dZ1 = np.empty((n_rows, n_hidden), dtype)
        self.fired = np.empty((n_rows, n_hidden), np.bool_)  # [Z1 > 0]
        self.S = np.empty((n_rows, n_classes), dtype)  # becomes P, then dS
        self.column = np.empty((n_rows, 1), dtype)
        self.share = np.empty((n_rows, 1), dtype)  # each row's part of the mean: 1/N, or w / sum w
        self.scale = np.empty((n_rows, 1), dtype)
        self.picked = np.empty(n_rows, dtype)  # S_i,y_i
        self.at = np.empty(n_rows, np.intp)  # where S_i,y_i is when S is read as one long row
        self.row_starts = np.arange(n_rows, dtype=np.intp) * n_classes
        self.ones_N = np.ones(n_rows, dtype)
        self.ones_C = np.ones((n_classes, 1), dtype)


def data_loss_and_gradients(params: Params, X: Array, y: Array, work: Workspace, weights: Array | None = None) -> float:
    """Return the mean cross-entropy of a batch; its gradients, (1)-(12) with r = 0, go into `work.gradients`.

    Args:
        params: Params of a D-H-C network.
        X: (N, D) rows, of the parameters' float type; N at most the workspace's rows.
        y: (N,) class indices, or (N, C) one-hot rows (any rows that sum to 1).
        work: where everything is written.
        weights: (N,) row weights w, in the same float type: the objective is then sum w L / sum w. Their sum
            must not be 0.

    Returns:
        The mean of (5), summed in float64.
    """
    N = len(X)
    A1, dZ1, fired, S = work.A1[:N], work.dZ1[:N], work.fired[:N], work.S[:N]
    column, share, ones_N = work.column[:N], work.share[:N], work.ones_N[:N]
    gradients = work.gradients

    forward(params, X, A1=A1, out=S)  # (1), (2), (3)
    if params.W1 is None:
        A1 = X  # without a hidden layer W2 multiplies the rows themselves

    S -= S.max(axis=1, keepdims=True, out=column)  # (N, C), the shift of (4)
    if y.ndim == 1:
        at = np.add(work.row_starts[:N], y, out=work.at[:N])
        right = S.reshape(-1).take(at, out=work.picked[:N], mode="clip")  # (N,)
    else:
        right = np.einsum("ij,ij->i", y, S, out=work.picked[:N])
    np.exp(S, out=S)
    total = np.matmul(S, work.ones_C, out=column)  # (N, 1)
    if weights is None:
        share[...] = 1 / N
    else:
        np.divide(weights[:, None], weights.sum(dtype=np.float64), out=share, casting="same_kind")

    S *= np.divide(share, total, out=work.scale[:N])  # (4) times each row's share: P / N
    if y.ndim == 1:
        S.reshape(-1)[at] -= share[:, 0]
    else:
        S -= y * share
    dS = S  # (7), (N, C)

    np.matmul(A1.T, dS, out=gradients.W2)  # (8)
    np.matmul(ones_N, dS, out=gradients.b2)  # (9)
    if params.W1 is not None:
        np.matmul(dS, params.W2.T, out=dZ1)
        dZ1 *= np.greater(A1, 0, out=fired)  # (10)
        np.matmul(X.T, dZ1, out=gradients.W1)  # (11)
        np.matmul(ones_N, dZ1, out=gradients.b1)  # (12)

    losses = np.subtract(np.log(total, out=column)[:, 0], right, out=right)  # (5): logsumexp(S_i) - S_i,y_i
    if weights is None:
        return float(losses.mean(dtype=np.float64))
    return float(np.average(losses.astype(np.float64), weights=weights))


def penalty(params: Params, reg: float) -> float:
    """Return the second term of (6), r/2 sum W^2, in float64; infinite where that overflows."""
    if reg == 0:
        return 0.0
    weights = [W.ravel() for W in (params.W1, params.W2) if W is not None]
    with np.errstate(over="ignore"):
        return reg / 2 * sum(float(np.square(W, dtype=np.float64).sum()) for W in weights)


def loss_and_gradients(
    params: Params, X: Array, y: Array, reg: float = 0.0, *, weights: Array | None = None
) -> tuple[float, Params]:
    """Return the loss (6) of a batch and its gradients (7)-(12), both with the penalty.

    Args:
        params: Params of a D-H-C network.
        X: (N, D) rows, N >= 1.
        y: (N,) class indices in 0..C-1, or (N, C) one-hot rows (any rows that sum to 1).
        reg: r, the L2 strength.
        weights: (N,) row weights w >= 0, not all 0; the data's part is then sum w L / sum w.

    Returns:
        (loss, gradients), the gradients as Params of new arrays.

    Raises:
        ValueError: for an array of another shape or type, by name; a class index outside 0..C-1; a wrong weight.

    Example:
        >>> params = init_params(2, 3, 2, rng=np.random.default_rng(0))
        >>> loss, gradients = loss_and_gradients(params, np.ones((4, 2)), np.array([0, 1, 1, 0]), reg=0.1)
        >>> gradients.W1.shape
        (2, 3)
    """
    params = require_params(params)
    X = numbers("X", X)
    require_shape("X", X.shape, params)
    y = require_classes("y", y, len(X), params.n_classes, one_hot=True)
    if numbers("reg", reg).ndim:
        raise ValueError(f"reg: expected one number, got {np.shape(reg)}")
    dtype = np.result_type(params.dtype, X.dtype, np.float32)
    params = params.map(lambda array: array.astype(dtype))
    y = y.astype(dtype if y.ndim == 2 else np.intp, copy=False)
    row_weights = None if weights is None else require_weights("weights", weights, len(X)).astype(dtype)
    work = Workspace(len(X), *params.sizes, dtype)
    loss = data_loss_and_gradients(params, X.astype(dtype, copy=False), y, work, row_weights)
    for dW, W in ((work.gradients.W1, params.W1), (work.gradients.W2, params.W2)):
        if dW is not None and W is not None:
            dW += reg * W  # the penalty's part of (8) and (11)
    return loss + penalty(params, reg), work.gradients


def require_params(params: Any) -> Params:
    """Return `params` as Params of arrays of numbers that fit each other.

    Raises:
        ValueError: for anything else, with the name of the array, the expected shape and the one it has.
    """
    if not (isinstance(params, tuple) and len(params) == 4):
        raise ValueError(f"params: expected Params(W1, b1, W2, b2), got {type(params).__name__}")
    checked = Params(*params).map(np.asarray)
    if (checked.W1 is None) != (checked.b1 is None):
        raise ValueError("params: expected both W1 and b1 (a hidden layer) or neither, got one of them")
    for name, array in checked.named().items():
        dimensions = {"W1": "(D, H)", "b1": "(H,)", "W2": "(H, C)", "b2": "(C,)"}[name]
        if array.ndim != 1 + name.startswith("W"):
            raise ValueError(f"params.{name}: expected {dimensions}, got {array.shape}")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"params.{name}: expected numbers, got {array.dtype}")
    H, C = checked.W2.shape
    for name, shape in {"W1": (checked.n_features, H), "b1": (H,), "b2": (C,)}.items():
        found = checked.named().get(name)
        if found is not None and found.shape != shape:
            raise ValueError(f"params.{name}: expected {shape} beside W2 {checked.W2.shape}, got {found.shape}")
    return checked


def checked_params(params: Any) -> Params:
    """Return `require_params(params)` if the arrays are finite, none is empty, and all are float32 or all float64.

    Raises:
        ValueError: for anything else, with the name of the array.
    """
    checked = require_params(params)
    for name, array in checked.named().items():
        if array.dtype not in (np.float32, np.float64) or array.dtype != checked.W2.dtype:
            raise ValueError(
                f"params.{name}: expected float32 or float64, the same for all arrays, got {array.dtype} "
                f"(W2 is {checked.W2.dtype})"
            )
        if 0 in array.shape:
            raise ValueError(f"params.{name}: expected at least one feature, unit and class, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"params.{name}: expected finite numbers, got {array[~np.isfinite(array)][0]}")
    return checked


def require_weights(name: str, weights: Any, n: int) -> Array:
    """Return the weights (n,) in float64.

    Raises:
        ValueError: for another shape, a weight that is negative or not finite, or weights that are all 0.
    """
    checked = numbers(name, weights).astype(np.float64)
    if checked.shape != (n,):
        raise ValueError(f"{name}: expected ({n},), got {checked.shape}")
    if not np.isfinite(checked).all() or checked.min() < 0 or not checked.any():
        raise ValueError(f"{name}: expected finite numbers, zero or more and not all zero")
    return checked


def require_shape(name: str, shape: tuple[int, ...], params: Params) -> None:
    """Raise ValueError if a shape is not (N, D), N >= 1, with the D of the parameters."""
    D = params.n_features
    if len(shape) != 2 or shape[0] == 0 or shape[1] != D:
        raise ValueError(f"{name}: expected (N, {D}) with N >= 1, as the parameters have {D} features; got {shape}")


def require_classes(name: str, y: Any, n_rows: int, n_classes: int, *, one_hot: bool = False) -> Array:
    """Return the class indices (N,) of N rows, of a whole-number type, or with `one_hot` perhaps rows (N, C).

    Raises:
        ValueError: for another shape or type, or an index outside 0..C-1.
    """
    classes = numbers(name, y)
    if one_hot and classes.shape == (n_rows, n_classes) and n_classes != 1:
        return classes
    if classes.shape != (n_rows,):
        rows = f" or ({n_rows}, {n_classes}) one-hot rows" if one_hot else ", one for each row of X"
        raise ValueError(f"{name}: expected ({n_rows},) class indices{rows}, got {classes.shape}")
    if not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0 or classes.max() >= n_classes:
        found = f"{classes.dtype} from {classes.min()} to {classes.max()}"
        raise ValueError(f"{name}: expected whole numbers from 0 to {n_classes - 1}, got {found}")
    return classes


def refuse_masked(name: str, values: Any) -> None:
    """Raise ValueError for a masked array: its mask would be lost without a word."""
    if np.ma.isMaskedArray(values):
        raise ValueError(f"{name}: expected an array, got a masked array; fill it or drop the masked rows")


def numbers(name: str, values: Any) -> Array:
    """Return an array of numbers; raise ValueError for anything else, masked and sparse arrays among them."""
    refuse_masked(name, values)
    if hasattr(values, "toarray"):
        raise ValueError(f"{name}: expected a dense array, got {type(values).__name__}; call its toarray()")
    try:
        array: Array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: expected numbers in rows of equal length, got {type(values).__name__}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    return array
