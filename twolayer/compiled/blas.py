"""Matrix products for compiled code: small ones by loops and tiles, the others by SciPy's BLAS, called by its address.

NumPy's arrays go row after row and BLAS wants column after column, so each product is computed as its transpose,
C^T = B^T A^T, for which nothing has to be copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from twolayer.compiled.jit import compiled_apart, numba
from twolayer.compiled.tiles import WIDTH_BYTES, tile_width, tiled, transposed
from twolayer.errors import import_extra
from twolayer.model import Array

SMALL = 4096  # multiplications up to which a plain loop is quickest
ONE_THREAD = 2_000_000  # multiplications up to which tiles beat BLAS, which gains little by a second thread before
NARROW = 16  # terms of each sum up to which tiles beat BLAS at any size


ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils


def gemm_address(dtype: np.dtype[Any]) -> int:
    """Where the function that multiplies matrices of this float type begins in memory."""
    name = "sgemm" if dtype == np.float32 else "dgemm"
    return int(numba.extending.get_cython_function_address("scipy.linalg.cython_blas", name))


def scratch_room(D: int, H: int, C: int, B: int, dtype: np.dtype[Any]) -> int:
    """How many numbers the transposes of `product_at` and `product_tt` take in a step with B rows."""
    width = WIDTH_BYTES // dtype.itemsize
    return max(((H or D) + B + C) * max(C, width), D * min(H, width))


def _gemm_at(typingctx, address, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    """Fortran's xGEMM at `address`; transa and transb are the character codes of N or T."""
    number = c.dtype
    signature = types.void(
        types.intp, types.uint8, types.uint8, *[types.int32] * 3, number, a, types.int32, b, types.int32, number, c,
        types.int32,
    )  # fmt: skip

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        pointers = []
        for kind, value in zip(signature.args[1:], values[1:], strict=True):
            if isinstance(kind, types.Array):
                pointers.append(cgutils.create_struct_proxy(kind)(context, builder, value=value).data)
            else:
                pointers.append(cgutils.alloca_once_value(builder, value))
        function = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in pointers])
        builder.call(builder.inttoptr(values[0], function.as_pointer()), pointers)
        return context.get_dummy_value()

    return signature, codegen


_gemm: Any = numba.extending.intrinsic(_gemm_at)
_N, _T = np.uint8(ord("N")), np.uint8(ord("T"))


@compiled_apart
def product(gemm: int, A: Array, B: Array, C: Array) -> None:
    """C <- A B, for A (n, k), B (k, m), C (n, m)."""
    n, k = A.shape
    m = B.shape[1]
    one, zero = A.dtype.type(1), A.dtype.type(0)
    if n * k * m > ONE_THREAD or (n * k * m > SMALL and m < tile_width(C)):
        _gemm(gemm, _N, _N, m, n, k, one, B, m, A, k, zero, C, m)
    elif n * k * m > SMALL:
        tiled(A, k, 1, B, one, C)
    else:
        for i in range(n):
            for j in range(m):
                C[i, j] = zero
            for p in range(k):
                for j in range(m):
                    C[i, j] += A[i, p] * B[p, j]


@compiled_apart
def product_at(gemm: int, A: Array, B: Array, alpha: float, beta: float, C: Array, scratch: Array) -> None:
    """C <- alpha A^T B + beta C, for A (k, n), B (k, m), C (n, m), scratch (m n,) at least."""
    k, n = A.shape
    m = B.shape[1]
    width = tile_width(C)
    if n * k * m > ONE_THREAD or beta != 0 or (n * k * m > SMALL and max(n, m) < width):
        _gemm(gemm, _N, _T, m, n, k, alpha, B, m, A, n, beta, C, m)
    elif n * k * m > SMALL and m >= width:
        tiled(A, 1, n, B, alpha, C)
    elif n * k * m > SMALL:
        result = scratch[: m * n].reshape((m, n))
        tiled(B, 1, m, A, alpha, result)
        transposed(result, C)
    else:
        for i in range(n):
            for j in range(m):
                C[i, j] = 0
        for p in range(k):
            for i in range(n):
                a = alpha * A[p, i]
                for j in range(m):
                    C[i, j] += a * B[p, j]


@compiled_apart
def product_tt(gemm: int, A: Array, B: Array, alpha: float, beta: float, C: Array, scratch: Array) -> None:
    """C <- alpha A^T B^T + beta C, for A (k, n), B (m, k), C (n, m), scratch for a transpose."""
    k, n = A.shape
    m = len(B)
    width = tile_width(C)
    large = n * k * m > ONE_THREAD and (k > NARROW or m < width)
    if large or beta != 0:
        _gemm(gemm, _T, _T, m, n, k, alpha, B, k, A, n, beta, C, m)
    elif n * k * m <= SMALL:
        for i in range(n):
            for j in range(m):
                total = A.dtype.type(0)
                for p in range(k):
                    total += A[p, i] * B[j, p]
                C[i, j] = alpha * total
    elif k <= n and m >= width:
        B_t = scratch[: k * m].reshape((k, m))
        transposed(B, B_t)
        tiled(A, 1, n, B_t, alpha, C)
    else:
        wide = max(n, width)
        result = scratch[: m * wide].reshape((m, wide))
        if n < width:
            padded = scratch[m * wide : (m + k) * wide].reshape((k, wide))  # what stands beyond n goes into no result
            for p in range(k):
                for i in range(n):
                    padded[p, i] = A[p, i]
            A = padded
        tiled(B, k, 1, A, alpha, result)
        transposed(result, C)
