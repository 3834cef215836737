"""The network's elementwise work in as few passes as it takes: bias and ReLU, softmax with its loss, and the ReLU's
mask. The passes on the way forward also say whether all they saw was `bounded`, so that no gradient has to be read
again to know that it is finite."""

from __future__ import annotations

import numpy as np

from twolayer.compiled.elementary import exp_of_nonpositive, log_of_at_least_one
from twolayer.compiled.jit import compiled
from twolayer.network.model import Array

BOUND = 1e15  # |x| and |dz| below it: no sum of fewer than 1e8 of their products overflows, even in float32


@compiled
def bounded(v: Array) -> bool:
    """Whether the sum of the absolute values is below BOUND; false for NaN."""
    total = v.dtype.type(0)
    for p in range(v.size):
        total += abs(v[p])
    return bool(total < v.dtype.type(BOUND))


@compiled
def bias_relu(Z: Array, b: Array) -> bool:
    """(1) and (2): Z (N H,) <- max(0, Z + b), row after row; a NaN stays one. Returns whether Z + b is bounded."""
    zero = total = Z.dtype.type(0)
    for i in range(Z.size // b.size):
        row = Z[i * b.size : (i + 1) * b.size]
        for j in range(b.size):
            z = row[j] + b[j]
            total += abs(z)
            row[j] = zero if z < zero else z
    return bool(total < Z.dtype.type(BOUND))


@compiled
def relu_gradient(dZ: Array, A: Array) -> None:
    """(10): dZ (N, H) <- dZ * [A > 0], both flat."""
    zero = dZ.dtype.type(0)
    for p in range(dZ.size):
        dZ[p] = dZ[p] if A[p] > zero else zero


@compiled
def softmax_gradient(
    S: Array, n: int, y: Array, weights: Array, total_weight: float, top: Array, total: Array, part: Array,
    losses: Array,
) -> bool:  # fmt: skip
    """(4) to (7): transposed scores become dS^T.

    Class by class, so that the loops over rows use whole vector registers however few the classes are.

    Args:
        S: (C n,) the scores, class after class; filled with dS^T.
        n: rows of the batch.
        y: (n,) labels.
        weights: (n,) their weights; (0,) where all rows weigh the same.
        total_weight: the sum of the weights.
        top, total, part: (n,) scratch: of each row its largest score, the sum under (4)'s fraction line, and its part
            in the mean.
        losses: (n,) filled with each row's part of the mean loss.

    Returns:
        Whether the scores are bounded.
    """
    C = S.size // n
    for i in range(n):
        part[i] = (weights[i] if weights.size else S.dtype.type(1)) / total_weight
        total[i] = 0
        top[i] = -np.inf
    size = S.dtype.type(0)
    for j in range(C):
        scores = S[j * n : (j + 1) * n]
        for i in range(n):
            size += abs(scores[i])
            top[i] = max(top[i], scores[i])
    for i in range(n):
        losses[i] = part[i] * (top[i] - S[y[i] * n + i])
    for j in range(C):
        scores = S[j * n : (j + 1) * n]
        for i in range(n):
            e = exp_of_nonpositive(scores[i] - top[i])
            total[i] += e
            scores[i] = e
    for i in range(n):
        losses[i] += part[i] * log_of_at_least_one(total[i])
        total[i] = part[i] / total[i]
    for j in range(C):
        scores = S[j * n : (j + 1) * n]
        for i in range(n):
            scores[i] *= total[i]
    for i in range(n):
        S[y[i] * n + i] -= part[i]
    return bool(size < S.dtype.type(BOUND))


@compiled
def add_to_rows(A: Array, m: int, b: Array) -> None:
    """(3)'s bias: b[i] is added to each of the m numbers of A's row i."""
    for i in range(b.size):
        row = A[i * m : (i + 1) * m]
        for j in range(m):
            row[j] += b[i]


@compiled
def row_sums(A: Array, m: int, sums: Array) -> None:
    """(9): the sums of each row of A, rows of m numbers, into `sums`."""
    for i in range(sums.size):
        row = A[i * m : (i + 1) * m]
        total = A.dtype.type(0)
        for j in range(m):
            total += row[j]
        sums[i] = total


@compiled
def column_sums(A: Array, n: int, sums: Array) -> None:
    """(12): the sums of A's columns, n rows, into `sums`."""
    m = sums.size
    for j in range(m):
        sums[j] = 0
    for i in range(n):
        row = A[i * m : (i + 1) * m]
        for j in range(m):
            sums[j] += row[j]


@compiled
def sum_of(v: Array) -> float:
    """In float64."""
    total = 0.0
    for x in v:
        total += x
    return total
