"""The plain forward pass and loss that the references share: equations (1) to (6) as they are written.

This shares no code with model.py's forward pass or with backprop.py. It also runs on complex numbers, so that the
complex step, the derivative without any derivation, can differentiate it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array, Params

LossAndGradients = Callable[[Params, Array, Array, float], tuple[float, Params]]
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
    """Return (5) and (6): the mean of logsumexp(S_i) - S_i,y_i, plus r/2 times the sum of squared weights.

    The result is a float, or a complex number for complex parameters.
    """
    S = forward_pass(params, X).S
    largest = S.real.max(axis=1, keepdims=True)  # (N, 1)
    logsumexp = np.log(np.exp(S - largest).sum(axis=1)) + largest[:, 0]  # (N,)
    L = logsumexp - (one_hot(y, params.n_classes) * S).sum(axis=1)  # (5), (N,)
    squares = sum((W**2).sum() for W in (params.W1, params.W2) if W is not None)
    return L.mean() + reg / 2 * squares  # (6)


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


def one_hot(y: Array, n_classes: int) -> Array:
    """Return Y (N, C) from class indices (N,); rows (N, C) are returned as they are."""
    y = np.asarray(y)
    return y if y.ndim == 2 else np.eye(n_classes)[y]


def class_indices(y: Array) -> NDArray[np.intp]:
    """Return y (N,) from class indices (N,) or from one-hot rows (N, C).

    Raises:
        ValueError: if a row of y is not one-hot.
    """
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


def gradient_step(params: Params, gradients: Params, alpha: float) -> Params:
    """Return equation (13), Q - alpha dQ for every array Q, as new arrays."""
    slopes = gradients.named()
    stepped = {name: Q - alpha * slopes[name] for name, Q in params.named().items()}
    return Params(stepped.get("W1"), stepped.get("b1"), stepped["W2"], stepped["b2"])
