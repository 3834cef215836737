"""The network's elementwise work in as few passes as it takes: bias and ReLU, softmax with its loss, and the ReLU's
mask. The passes on the way forward also say whether all they saw was `bounded`, so that no gradient has to be read
again to know that it is finite.

e^x and ln x without a call into a library, so that loops around them can use the processor's vector registers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twolayer.network.model import Array
from twolayer.solver.compiled.jit import compiled, numba

LOG2_E = 1 / math.log(2)
LN2_HIGH = round(math.log(2) * 2**9) / 2**9  # few bits, so that n LN2_HIGH is exact
LN2_LOW = math.log(2) - LN2_HIGH
LN2_HIGH_64 = float.fromhex("0x1.62e42feep-1")  # 31 bits
LN2_LOW_64 = 1.9082149292705877e-10  # ln 2 less those, to full precision
TAYLOR = tuple(1 / math.factorial(k) for k in range(14))


def exp_of_nonpositive(x: Any) -> Any:
    """e^x for x <= 0, for compiled code.

    x = n ln 2 + f with |f| <= ln(2)/2; e^f is its Taylor series to the float type's precision, and 2^n is made by
    writing n into the exponent's bits. Where e^x would be subnormal or 0 the result is about the smallest normal
    number; a NaN stays one.
    """
    raise NotImplementedError("for compiled code only")


# Reordering these sums would lose the very digits that LN2_LOW is for: fused multiply-adds are allowed, no more.
@numba.extending.overload(exp_of_nonpositive, jit_options={"fastmath": {"contract"}})  # type: ignore[untyped-decorator]
def _choose(x: Any) -> Any:
    return _exp32 if x == numba.types.float32 else _exp64


def _exp32(x: Any) -> Any:
    x = np.float32(-87) if x < np.float32(-87) else x
    n = np.floor(x * np.float32(LOG2_E) + np.float32(0.5))
    f = (x - n * np.float32(LN2_HIGH)) - n * np.float32(LN2_LOW)
    p = np.float32(TAYLOR[7])
    for k in (6, 5, 4, 3, 2, 1, 0):
        p = p * f + np.float32(TAYLOR[k])
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


def _exp64(x: Any) -> Any:
    x = -708.0 if x < -708.0 else x
    n = np.floor(x * LOG2_E + 0.5)
    f = (x - n * LN2_HIGH_64) - n * LN2_LOW_64
    p = TAYLOR[13]
    for k in (12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0):
        p = p * f + TAYLOR[k]
    return p * np.int64((np.int64(n) + 1023) << 52).view(np.float64)


def log_of_at_least_one(x: Any) -> Any:
    """ln x for x >= 1, for compiled code; infinity and NaN stay what they are.

    x = 2^n m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 (z + z^3/3 + z^5/5 + ...) with z = (m - 1) / (m + 1).
    """
    raise NotImplementedError("for compiled code only")


@numba.extending.overload(log_of_at_least_one, jit_options={"fastmath": {"contract"}})  # type: ignore[untyped-decorator]
def _choose_log(x: Any) -> Any:
    return _log32 if x == numba.types.float32 else _log64


def _log32(x: Any) -> Any:
    bits = np.float32(x).view(np.int32)
    n = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = np.int32(bits - (n << np.int32(23))).view(np.float32)
    z = (m - np.float32(1)) / (m + np.float32(1))
    z2 = z * z
    p = np.float32(2 / 9)
    for k in (7, 5, 3, 1):
        p = p * z2 + np.float32(2 / k)
    y = p * z + np.float32(n) * np.float32(math.log(2))
    return y if x < np.float32(np.inf) else x


def _log64(x: Any) -> Any:
    bits = np.float64(x).view(np.int64)
    n = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = np.int64(bits - (n << 52)).view(np.float64)
    z = (m - 1) / (m + 1)
    z2 = z * z
    p = 2 / 21
    for k in (19, 17, 15, 13, 11, 9, 7, 5, 3, 1):
        p = p * z2 + 2 / k
    y = p * z + n * math.log(2)
    return y if x < np.inf else x


BOUND = 1e15  # |x| and |dz| below it: no sum of fewer than 1e8 of their products overflows, even in float32


@compiled
def bounded(v: Array) -> bool:
    """Check that the sum of the absolute values is below BOUND; false for NaN."""
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
        True if the scores are bounded.
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
