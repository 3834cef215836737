"""Gradients with loops: first over samples and classes with the two cases of the derivation, then over samples only."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import add_penalty, class_indices, forward_pass, in_float64, loss


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
