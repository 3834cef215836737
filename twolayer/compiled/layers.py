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
def softmax_gradient(S: Array, b: Array, y: Array, weights: Array, right: Array, db: Array) -> tuple[float, bool]:
    """(3) to (7) and (9): scores without bias S (N, C) become dS, its column sums go into db (C,).

    `weights` (N,), or (0,) where all rows weigh the same; `right` (N,) is scratch. Returns the mean loss, summed in
    float64, and whether the scores are bounded.
    """
    n, C = S.shape
    size = S.dtype.type(0)
    for i in range(n):
        top = S[i, 0] + b[0]
        for j in range(C):
            S[i, j] += b[j]
            size += abs(S[i, j])
            top = max(top, S[i, j])
        for j in range(C):
            S[i, j] -= top
        right[i] = S[i, y[i]]
    flat = S.reshape(-1)
    for p in range(flat.size):
        flat[p] = exp_of_nonpositive(flat[p])

    db[:] = 0
    loss = 0.0
    total_weight = float(n)
    if weights.size:
        total_weight = 0.0
        for i in range(n):
            total_weight += weights[i]
    for i in range(n):
        total = S[i, 0]
        for j in range(1, C):
            total += S[i, j]
        w = weights[i] if weights.size else S.dtype.type(1)
        share = S.dtype.type(w / total_weight)
        loss += w * (np.log(total) - right[i])
        scale = share / total
        for j in range(C):
            S[i, j] *= scale
        S[i, y[i]] -= share
        for j in range(C):
            db[j] += S[i, j]
    return loss / total_weight, size < S.dtype.type(BOUND)
