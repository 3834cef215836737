"""The loss and its gradients by hand: equations (5) to (12), in the NumPy code that also does the training.

One convention throughout: the loss is the mean over the batch plus r/2 times the sum of squared weights; biases are
not penalised. Everything is written into a `Workspace`, so a training step allocates nothing."""

import numpy as np
from numpy.typing import DTypeLike

from twolayer.network.checks import numbers, require_classes, require_params, require_shape, require_weights
from twolayer.network.model import Array, Params, flat_zeros, forward


class Workspace:
    """The arrays that one pass forward and back fills, for batches of up to `n_rows` rows: the result in `gradients`,
    whose arrays are views of one `vector` (n,)."""

    def __init__(self, n_rows: int, n_features: int, n_hidden: int, n_classes: int, dtype: DTypeLike) -> None:
        self.vector, self.gradients, _ = flat_zeros(n_features, n_hidden, n_classes, dtype)
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
