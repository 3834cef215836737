"""The network's elementwise work in as few passes as it takes: bias and ReLU, softmax with its loss, and the ReLU's
mask. Each pass also says whether all it saw was `bounded`, so that no gradient has to be read again to know that it
is finite."""

from __future__ import annotations

import numpy as np

from twolayer.compiled.exponential import exp_of_nonpositive
from twolayer.compiled.jit import compiled
from twolayer.model import Array

BOUND = 1e15  # |x| and |dz| below it: no sum of fewer than 1e8 of their products overflows, even in float32


@compiled
def bounded(X: Array) -> bool:
    """Whether the sum of |X|, X (N, D), is below BOUND; false for NaN."""
    total = X.dtype.type(0)
    flat = X.reshape(-1)
    for p in range(flat.size):
        total += abs(flat[p])
    return bool(total < X.dtype.type(BOUND))


@compiled
def bias_relu(Z: Array, b: Array) -> bool:
    """(1) and (2): Z (N, H) <- max(0, Z + b); a NaN stays one. Returns whether Z + b is bounded."""
    zero = total = Z.dtype.type(0)
    for i in range(len(Z)):
        for j in range(len(b)):
            z = Z[i, j] + b[j]
            total += abs(z)
            Z[i, j] = zero if z < zero else z
    return bool(total < Z.dtype.type(BOUND))


@compiled
def relu_gradient(dZ: Array, A: Array, db: Array) -> bool:
    """(10) and (12): dZ (N, H) <- dZ * [A > 0], and its column sums into db (H,). Returns whether dZ is bounded."""
    zero = total = dZ.dtype.type(0)
    db[:] = zero
    for i in range(len(dZ)):
        for j in range(len(db)):
            d = dZ[i, j] if A[i, j] > zero else zero
            total += abs(d)
            dZ[i, j] = d
            db[j] += d
    return bool(total < dZ.dtype.type(BOUND))


@compiled
def softmax_gradient(S: Array, b: Array, y: Array, weights: Array, rows: Array, db: Array) -> tuple[float, bool]:
    """(3) to (7) and (9): transposed scores without bias S (C, N) become dS^T; the sums over rows go into db (C,).

    Class by class, so that the loops over a batch's rows use whole vector registers however few the classes are.
    `weights` (N,), or (0,) where all rows weigh the same; `rows` (3, N) is scratch. Returns the mean loss, summed in
    float64, and whether the scores are bounded.
    """
    C, n = S.shape
    # Of each row: its largest score, the sum under (4)'s fraction line, its part of the mean.
    top, total, share = rows[0, :n], rows[1, :n], rows[2, :n]
    total_weight = sum_of(weights) if weights.size else float(n)
    for i in range(n):
        share[i] = (weights[i] if weights.size else S.dtype.type(1)) / total_weight
        total[i] = 0
        top[i] = -np.inf
    size = S.dtype.type(0)
    for j in range(C):
        for i in range(n):
            s = S[j, i] + b[j]
            size += abs(s)
            top[i] = max(top[i], s)
            S[j, i] = s
    loss = 0.0
    for i in range(n):
        loss -= share[i] * (S[y[i], i] - top[i])
    for j in range(C):
        for i in range(n):
            e = exp_of_nonpositive(S[j, i] - top[i])
            total[i] += e
            S[j, i] = e
    for i in range(n):
        loss += share[i] * np.log(total[i])
        total[i] = share[i] / total[i]
    for j in range(C):
        for i in range(n):
            S[j, i] *= total[i]
    for i in range(n):
        S[y[i], i] -= share[i]
    for j in range(C):
        db[j] = 0
        for i in range(n):
            db[j] += S[j, i]
    return loss, size < S.dtype.type(BOUND)


@compiled
def sum_of(v: Array) -> float:
    """In float64."""
    total = 0.0
    for x in v:
        total += x
    return total
