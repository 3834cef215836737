"""Gradients by the chain rule and nothing else: one dense Jacobian per step of the network, from left to right."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import add_penalty, forward_pass, in_float64, loss, one_hot
from twolayer.utils.errors import TwoLayerError

MEMORY_LIMIT = 512 * 2**20  # bytes of Jacobians


class JacobianError(TwoLayerError):
    """The chain of dense Jacobians is too large, or would divide by a probability of 0."""


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

    Raises:
        JacobianError: if the Jacobians would take more than `MEMORY_LIMIT`, or a needed P_ij is 0.
    """
    N, D, H, C = len(X), params.n_features, params.n_hidden, params.n_classes
    numbers = (N * C) ** 2 + N * C * (len(params.W2) * C + C) + N * C * N * H + (N * H) ** 2 + N * H * (D * H + H)
    size = 8 * numbers  # bytes
    if size > MEMORY_LIMIT:
        raise JacobianError(
            f"the Jacobians of {N} rows through {params!r}: expected at most {MEMORY_LIMIT / 2**20:,.0f} MiB, got"
            f" {size / 2**20:,.0f} MiB; give fewer rows or a smaller network"
        )
    params, X = in_float64(params, X)
    Z1, A1, _, P = forward_pass(params, X)
    Y = one_hot(y, params.n_classes)
    if (P[Y != 0] == 0).any():
        raise JacobianError(
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
