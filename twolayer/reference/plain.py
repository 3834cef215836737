"""The forward pass and the loss, equations (1) to (6) as they are written, and the gradients (7) to (12) as they are
derived: with two loops, with one, as outer products row by row, as a chain of dense Jacobians, in matrices, where
broadcasting is written out by a vector of ones, and by the complex step, without any derivation.

Nothing here shares code with model.py's forward pass or with backprop.py."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array, Params
from twolayer.utils.errors import TwoLayerError

LossAndGradients = Callable[[Params, Array, Array, float], tuple[float, Params]]
MEMORY_LIMIT = 512 * 2**20  # bytes of Jacobians
COMPLEX_STEP = 1e-20  # nothing is subtracted, so nothing is lost, however small


class Pass(NamedTuple):
    """The arrays of one forward pass; without a hidden layer Z1 is None and A1 is X, (N, D)."""

    Z1: Array | None  # (N, H)
    A1: Array  # (N, H)
    S: Array  # (N, C) scores
    P: Array  # (N, C) probabilities


def softmax(S: Array) -> Array:
    """Return equation (4), row by row: P_ij = exp(S_ij - m_i) / sum_j exp(S_ij - m_i), m_i the largest of row i."""
    exps = np.exp(S - S.real.max(axis=1, keepdims=True))  # (N, C)
    return np.asarray(exps / exps.sum(axis=1, keepdims=True))


def forward_pass(params: Params, X: Array) -> Pass:
    """Compute equations (1) to (4) for X (N, D) and real or complex parameters."""
    Z1, A1 = None, X
    if params.W1 is not None:
        Z1 = X @ params.W1 + params.b1  # (1), (N, H)
        A1 = np.where(Z1.real > 0, Z1, 0)  # (2)
    S = A1 @ params.W2 + params.b2  # (3), (N, C)
    return Pass(Z1, A1, S, softmax(S))


def loss(params: Params, X: Array, y: Array, reg: float = 0.0) -> Any:
    """Return (5) and (6): the mean of logsumexp(S_i) - S_i,y_i, plus r/2 times the sum of squared weights. The result
    is a float, or a complex number for complex parameters."""
    S = forward_pass(params, X).S
    largest = S.real.max(axis=1, keepdims=True)  # (N, 1)
    logsumexp = np.log(np.exp(S - largest).sum(axis=1)) + largest[:, 0]  # (N,)
    L = logsumexp - (one_hot(y, params.n_classes) * S).sum(axis=1)  # (5), (N,)
    squares = sum((W**2).sum() for W in (params.W1, params.W2) if W is not None)
    return L.mean() + reg / 2 * squares  # (6)


def one_hot(y: Array, n_classes: int) -> Array:
    """Return Y (N, C) from class indices (N,); rows (N, C) are returned as they are."""
    y = np.asarray(y)
    return y if y.ndim == 2 else np.eye(n_classes)[y]


def class_indices(y: Array) -> NDArray[np.intp]:
    """Return y (N,) from class indices (N,) or one-hot rows (N, C); raise ValueError for a row that is not one-hot."""
    y = np.asarray(y)
    if y.ndim == 1:
        return y.astype(np.intp)
    if not (np.sort(y, axis=1) == np.eye(y.shape[1])[-1]).all():
        raise ValueError(
            "y: expected one class per row, as the cases y_i = j and y_i != j need; give class indices or one-hot rows"
        )
    return np.asarray(y.argmax(axis=1))


def in_float64(params: Params, X: Array) -> tuple[Params, Array]:
    """Return the same numbers in float64, in which every reference computes."""
    return params.map(lambda array: np.asarray(array, np.float64)), np.asarray(X, np.float64)


def add_penalty(data_gradients: Params, params: Params, reg: float) -> Params:
    """Add r W to the gradients of the two weight matrices; the biases are not penalised."""
    dW1, db1, dW2, db2 = data_gradients
    if dW1 is not None and params.W1 is not None:
        dW1 = dW1 + reg * params.W1
    return Params(dW1, db1, dW2 + reg * params.W2, db2)


def two_loops(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients, one sample and one class at a time:

        dL/dS_ij = (P_ij - 1) / N   where y_i = j
        dL/dS_ij =  P_ij      / N   where y_i != j

    Every dS_ij then goes to column j of dW2 times A1_i, to db2_j, and to dA1_i times column j of W2; every hidden unit
    above 0 passes its dA1 on to dW1 and db1. This is Matt Luther's first listing, continued to the first layer.

    y holds class indices or one-hot rows; any other y is a ValueError.
    """
    params, X = in_float64(params, X)
    W2 = params.W2
    labels = class_indices(y)
    Z1, A1, _, P = forward_pass(params, X)
    N, C = P.shape
    dW1, db1, dW2, db2 = params.map(np.zeros_like)

    for i in range(N):
        dA1_i = np.zeros(len(W2))  # (H,)
        for j in range(C):
            dS_ij = (P[i, j] - 1) / N if labels[i] == j else P[i, j] / N
            dW2[:, j] += dS_ij * A1[i]
            db2[j] += dS_ij
            dA1_i += dS_ij * W2[:, j]
        if Z1 is None or dW1 is None or db1 is None:
            continue
        for h in range(len(db1)):
            if Z1[i, h] > 0:  # ReLU' is 1 here, 0 elsewhere
                dW1[:, h] += dA1_i[h] * X[i]
                db1[h] += dA1_i[h]

    return float(loss(params, X, y, reg)), add_penalty(Params(dW1, db1, dW2, db2), params, reg)


def one_loop(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients with the loop over classes removed: each row of dS as if no class were right, then

        dS_i = P_i / N,   dS_i,y_i -= 1 / N

    and matrix products for the rest. This is Matt Luther's second listing.
    """
    params, X = in_float64(params, X)
    labels = class_indices(y)
    Z1, A1, _, P = forward_pass(params, X)
    N = len(X)

    dS = np.zeros_like(P)  # (N, C)
    for i in range(N):
        dS[i] = P[i] / N
        dS[i, labels[i]] -= 1 / N

    dW2, db2 = A1.T @ dS, dS.sum(axis=0)
    dW1 = db1 = None
    if Z1 is not None:
        dZ1 = np.where(Z1 > 0, dS @ params.W2.T, 0)  # (N, H)
        dW1, db1 = X.T @ dZ1, dZ1.sum(axis=0)

    return float(loss(params, X, y, reg)), add_penalty(Params(dW1, db1, dW2, db2), params, reg)


def outer_products(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients as means over the rows of

        dW2_i = a (x) (p - y)      db2_i = p - y
        dW1_i = x (x) dz           db1_i = dz = [z > 0] * (W2 (p - y))

    with x, z, a, p, y the vectors of one row and (x) the outer product, (u (x) v)_kl = u_k v_l. This is Jesse Waite's
    form of the gradient, one layer deeper, with his sum over the rows divided by N at the end.
    """
    params, X = in_float64(params, X)
    W1, b1, W2, b2 = params
    dW1, db1, dW2, db2 = params.map(np.zeros_like)

    for x, y_row in zip(X, one_hot(y, params.n_classes), strict=True):  # (D,), (C,)
        z = None if W1 is None else x @ W1 + b1  # (H,)
        a = x if z is None else np.maximum(z, 0)  # (H,)
        p = softmax((a @ W2 + b2)[None, :])[0]  # (C,)
        error = p - y_row  # (C,)
        dW2 += np.outer(a, error)
        db2 += error
        if z is not None and dW1 is not None and db1 is not None:
            dz = np.where(z > 0, W2 @ error, 0)  # (H,)
            dW1 += np.outer(x, dz)
            db1 += dz

    gradients = Params(dW1, db1, dW2, db2).map(lambda total: total / len(X))
    return float(loss(params, X, y, reg)), add_penalty(gradients, params, reg)


def softmax_jacobian(p: Array) -> Array:
    """Return dp_i/ds_j = p_i (delta_ij - p_j), (C, C), for the probabilities p (C,) of one row."""
    return np.asarray(np.diag(p) - np.outer(p, p))


def jacobian_chain(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients as products of Jacobians, each array read as one long vector, row by row:

        dL/dP   (1, NC)    -Y_ij / (N P_ij)
        dP/dS   (NC, NC)   the softmax Jacobian of each row along the diagonal
        dS/dW2  (NC, HC)   A1 (x) I_C          dS/db2  (NC, C)   1_N (x) I_C
        dS/dA1  (NC, NH)   I_N (x) W2^T        dA1/dZ1 (NH, NH)  [Z1 > 0] along the diagonal
        dZ1/dW1 (NH, DH)   X (x) I_H           dZ1/db1 (NH, H)   1_N (x) I_H

    with (x) the Kronecker product. Nothing is cancelled beforehand: p - y comes out of the product. The two texts that
    derive dp/ds first ("The Softmax Function", "Derivative of Cross Entropy Loss ...") go this way.

    A TwoLayerError says that the Jacobians would take more than `MEMORY_LIMIT`, or that a needed P_ij is 0.
    """
    N, D, H, C = len(X), params.n_features, params.n_hidden, params.n_classes
    numbers = (N * C) ** 2 + N * C * (len(params.W2) * C + C) + N * C * N * H + (N * H) ** 2 + N * H * (D * H + H)
    size = 8 * numbers  # bytes
    if size > MEMORY_LIMIT:
        raise TwoLayerError(
            f"the Jacobians of {N} rows through {params!r}: expected at most {MEMORY_LIMIT / 2**20:,.0f} MiB, got"
            f" {size / 2**20:,.0f} MiB; give fewer rows or a smaller network"
        )
    params, X = in_float64(params, X)
    Z1, A1, _, P = forward_pass(params, X)
    Y = one_hot(y, params.n_classes)
    if (P[Y != 0] == 0).any():
        raise TwoLayerError(
            "a right class has probability 0 in float64, and dL/dP divides by it; p - y, which backprop uses, does not"
        )
    ones = np.ones((N, 1))

    dL_dP = np.divide(-Y, N * P, out=np.zeros((N, C)), where=Y != 0).reshape(1, N * C)
    dP_dS = np.zeros((N * C, N * C))
    for i in range(N):
        row = slice(i * C, (i + 1) * C)
        dP_dS[row, row] = softmax_jacobian(P[i])
    dL_dS = dL_dP @ dP_dS  # (1, NC)
    dW2 = (dL_dS @ np.kron(A1, np.eye(C))).reshape(params.W2.shape)
    db2 = (dL_dS @ np.kron(ones, np.eye(C))).reshape(C)

    dW1 = db1 = None
    if Z1 is not None and params.W1 is not None:
        dL_dA1 = dL_dS @ np.kron(np.eye(N), params.W2.T)  # (1, NH)
        dL_dZ1 = dL_dA1 @ np.diag((Z1 > 0).ravel().astype(float))  # (1, NH)
        dW1 = (dL_dZ1 @ np.kron(X, np.eye(H))).reshape(params.W1.shape)
        db1 = (dL_dZ1 @ np.kron(ones, np.eye(H))).reshape(H)

    return float(loss(params, X, y, reg)), add_penalty(Params(dW1, db1, dW2, db2), params, reg)


def ones_vectors(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients in matrices, with 1_N the (N, 1) matrix of ones and biases (1, C) and (1, H):

        S  = A1 W2 + 1_N b2     so     dW2 = A1^T dS,   db2 = 1_N^T dS
        Z1 = X W1 + 1_N b1      so     dW1 = X^T dZ1,   db1 = 1_N^T dZ1

    What multiplies a parameter on the way forward multiplies its gradient, transposed, on the way back. This is Matt
    Luther's remark on broadcasting; the (1, C) it gives is reshaped to the (C,) of the bias.
    """
    params, X = in_float64(params, X)
    W1, b1, W2, b2 = params
    N = len(X)
    ones = np.ones((N, 1))

    Z1 = None if W1 is None or b1 is None else X @ W1 + ones @ b1.reshape(1, -1)  # (1), (N, H)
    A1 = X if Z1 is None else np.maximum(0, Z1)  # (2)
    S = A1 @ W2 + ones @ b2.reshape(1, -1)  # (3), (N, C)
    dS = (softmax(S) - one_hot(y, params.n_classes)) / N  # (4), (7)

    dW2 = A1.T @ dS  # (8)
    db2 = (ones.T @ dS).reshape(b2.shape)  # (9)
    dW1 = db1 = None
    if Z1 is not None and b1 is not None:
        dZ1 = (dS @ W2.T) * (Z1 > 0)  # (10)
        dW1 = X.T @ dZ1  # (11)
        db1 = (ones.T @ dZ1).reshape(b1.shape)  # (12)

    return float(loss(params, X, y, reg)), add_penalty(Params(dW1, db1, dW2, db2), params, reg)


def complex_step(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients by dL/dq = Im L(q + ih) / h, one number q after the other, exact to float64's rounding.

    From Taylor's L(q + ih) = L(q) + ih L'(q) - h^2/2 L''(q) - ...: the imaginary part holds the derivative with no
    difference taken. It needs a loss that runs on complex numbers, as `loss` does (Squire and Trapp, 1998).
    """
    params, X = in_float64(params, X)
    changed = params.map(lambda array: array.astype(np.complex128))

    def slopes(array: Array) -> Array:
        found = np.zeros(array.shape)
        for at in np.ndindex(array.shape):
            array[at] += 1j * COMPLEX_STEP
            found[at] = loss(changed, X, y, reg).imag / COMPLEX_STEP
            array[at] = array[at].real
        return found

    return float(loss(params, X, y, reg)), changed.map(slopes)


def gradient_step(params: Params, gradients: Params, alpha: float) -> Params:
    """Return equation (13), Q - alpha dQ for every array Q, as new arrays."""
    slopes = gradients.named()
    stepped = {name: Q - alpha * slopes[name] for name, Q in params.named().items()}
    return Params(stepped.get("W1"), stepped.get("b1"), stepped["W2"], stepped["b2"])
