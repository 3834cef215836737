"""The network's elementwise work in as few passes as it takes: bias and ReLU, softmax with its loss, and the ReLU's
mask. The passes on the way forward also say whether all they saw was `bounded`, so that no gradient has to be read
again to know that it is finite.

e^x and ln x without a call into a library, so that loops around them can use the processor's vector registers."""

import math
from typing import Any

import numpy as np

from twolayer.network.model import Array
from twolayer.solver.compiled.jit import compiled, numba


def exp_of_nonpositive(x: Any) -> Any:
    """e^x for x <= 0, for compiled code.

    x = n ln 2 + f with |f| <= ln(2)/2; e^f is its Taylor series to the float type's precision, and 2^n is made by
    writing n into the exponent's bits. Where e^x would be subnormal or 0 the result is about the smallest normal
    number; a NaN stays one.
    """
    raise NotImplementedError("for compiled code only")


# Reordering these sums would lose the very digits that ln2_low is for: fused multiply-adds are allowed, no more.
@numba.extending.overload(exp_of_nonpositive, jit_options={"fastmath": {"contract"}})  # type: ignore[untyped-decorator]
def _exp_for(x: Any) -> Any:
    number, integer, digits, single = _format(x)
    bias, lowest = integer(127 if single else 1023), number(-87 if single else -708)
    log2_e, half = number(1 / math.log(2)), number(0.5)
    # ln 2 as a number of few bits, so that n times it is exact, and the rest.
    ln2_high = number(355 / 512 if single else 0xB17217F7 / 2**32)
    ln2_low = number(math.log(2) - 355 / 512 if single else 1.9082149292705877e-10)
    first, *rest = (number(1 / math.factorial(k)) for k in range(7 if single else 13, -1, -1))
    terms = tuple(rest)

    def exp(x: Any) -> Any:
        x = lowest if x < lowest else x
        n = np.floor(x * log2_e + half)
        f = (x - n * ln2_high) - n * ln2_low
        p = first
        for term in terms:
            p = p * f + term
        return p * integer((integer(n) + bias) << digits).view(number)

    return exp


def _format(x: Any) -> tuple[Any, Any, Any, bool]:
    """Return the float type of x, the integer type of its size, the bits of its fraction; whether it is float32."""
    if x == numba.types.float32:
        return np.float32, np.int32, np.int32(23), True
    return np.float64, np.int64, np.int64(52), False


def log_of_at_least_one(x: Any) -> Any:
    """ln x for x >= 1, for compiled code; infinity and NaN stay what they are.

    x = 2^n m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 (z + z^3/3 + z^5/5 + ...) with z = (m - 1) / (m + 1).
    """
    raise NotImplementedError("for compiled code only")


@numba.extending.overload(log_of_at_least_one, jit_options={"fastmath": {"contract"}})  # type: ignore[untyped-decorator]
def _log_for(x: Any) -> Any:
    number, integer, digits, single = _format(x)
    sqrt_half, one, ln2, infinity = number(math.sqrt(0.5)).view(integer), number(1), number(math.log(2)), number(np.inf)
    first, *rest = (number(2 / k) for k in range(9 if single else 21, 0, -2))
    terms = tuple(rest)

    def log(x: Any) -> Any:
        bits = number(x).view(integer)
        n = (bits - sqrt_half) >> digits
        m = integer(bits - (n << digits)).view(number)
        z = (m - one) / (m + one)
        z2 = z * z
        p = first
        for term in terms:
            p = p * z2 + term
        y = p * z + number(n) * ln2
        return y if x < infinity else x

    return log


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
    """(1) and (2): Z (N H,) <- max(0, Z + b), row after row; a NaN stays one. Returns whether Z and b were bounded."""
    zero, safe = Z.dtype.type(0), bounded(Z) and bounded(b)
    for i in range(Z.size // b.size):
        row = Z[i * b.size : (i + 1) * b.size]
        for j in range(b.size):
            z = row[j] + b[j]
            row[j] = zero if z < zero else z
    return bool(safe)


@compiled
def relu_gradient(dZ: Array, A: Array) -> None:
    """(10): dZ (N, H) <- dZ * [A > 0], both flat."""
    zero = dZ.dtype.type(0)
    for p in range(dZ.size):
        dZ[p] = dZ[p] if A[p] > zero else zero


@compiled
def softmax_gradient(
    S: Array, n: int, y: Array, weights: Array, total_weight: float, scratch: Array, losses: Array
) -> bool:
    """(4) to (7): transposed scores become dS^T.

    Class by class, so that the loops over rows use whole vector registers however few the classes are.

    Args:
        S: (C n,) the scores, class after class; filled with dS^T.
        n: rows of the batch.
        y: (n,) labels.
        weights: (n,) their weights; (0,) where all rows weigh the same.
        total_weight: the sum of the weights.
        scratch: (3 n,) at least.
        losses: (n,) filled with each row's part of the mean loss.

    Returns:
        True if the scores are bounded.
    """
    C = S.size // n
    top, total, part = scratch[:n], scratch[n : 2 * n], scratch[2 * n : 3 * n]  # row by row: the largest score, the sum
    for i in range(n):  # under (4)'s fraction line, and the row's part in the mean
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
