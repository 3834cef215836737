"""Gradients with no loop, and broadcasting written out: biases are added and differentiated by a vector of ones."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import add_penalty, in_float64, loss, one_hot, softmax


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
