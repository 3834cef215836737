"""The gradients (7) to (12) as they are derived: with two loops, with one, as outer products row by row, and with none,
where broadcasting is written out by a vector of ones."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import add_penalty, class_indices, forward_pass, in_float64, loss, one_hot, softmax


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
