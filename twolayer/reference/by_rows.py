"""Gradients row by row, as sums of outer products: the gradient of a weight matrix is input (x) error."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import add_penalty, in_float64, loss, one_hot, softmax


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
