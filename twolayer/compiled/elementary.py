"""e^x and ln x without a call into a library, so that loops around them can use the processor's vector registers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twolayer.compiled.jit import numba

LOG2_E = 1 / math.log(2)
LN2_HIGH = round(math.log(2) * 2**9) / 2**9  # few bits, so that n LN2_HIGH is exact
LN2_LOW = math.log(2) - LN2_HIGH
LN2_HIGH_64 = float.fromhex("0x1.62e42feep-1")  # 31 bits
LN2_LOW_64 = 1.9082149292705877e-10  # ln 2 less those, to full precision
TAYLOR = tuple(1 / math.factorial(k) for k in range(14))


def exp_of_nonpositive(x: Any) -> Any:
    """e^x for x <= 0, for compiled code.

    x = n ln 2 + f with |f| <= ln(2)/2; e^f is its Taylor series as far as the float type can tell, and 2^n is made by
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
