"""Matrix products for compiled code: C <- alpha A B + beta C by SciPy's BLAS, called by its address.

NumPy's arrays go row after row and BLAS wants column after column, so each product is computed as its transpose,
C^T = B^T A^T, for which nothing has to be copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from twolayer.compiled.jit import compiled, numba
from twolayer.errors import import_extra
from twolayer.model import Array

SMALL = 4096  # multiplications below which a plain loop is done before BLAS has begun
NARROW = 16  # columns up to which a loop over the transpose beats BLAS ...
ONE_THREAD = 1 << 18  # ... as long as BLAS would not use a second thread


ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils


def gemm_address(dtype: np.dtype[Any]) -> int:
    """Where the function that multiplies matrices of this float type begins in memory."""
    name = "sgemm" if dtype == np.float32 else "dgemm"
    return int(numba.extending.get_cython_function_address("scipy.linalg.cython_blas", name))


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


@compiled
def product(gemm: int, A: Array, B: Array, alpha: float, beta: float, C: Array) -> None:
    """C <- alpha A B + beta C, for A (n, k), B (k, m), C (n, m)."""
    n, k = A.shape
    m = B.shape[1]
    if n * k * m > SMALL:
        _gemm(gemm, _N, _N, m, n, k, alpha, B, m, A, k, beta, C, m)
        return
    for i in range(n):
        for j in range(m):
            C[i, j] = beta * C[i, j] if beta != 0 else 0
        for p in range(k):
            a = alpha * A[i, p]
            for j in range(m):
                C[i, j] += a * B[p, j]


@compiled
def product_at(gemm: int, A: Array, B: Array, alpha: float, beta: float, C: Array, scratch: Array) -> None:
    """C <- alpha A^T B + beta C, for A (k, n), B (k, m), C (n, m), scratch (m, n) at least."""
    k, n = A.shape
    m = B.shape[1]
    if n * k * m > SMALL and (m > NARROW or n * k * m > ONE_THREAD):
        _gemm(gemm, _N, _T, m, n, k, alpha, B, m, A, n, beta, C, m)
        return
    transpose = scratch.reshape(-1)[: m * n].reshape((m, n))
    transpose[:] = 0
    whole = k - k % 4
    for p in range(0, whole, 4):
        for j in range(m):
            for i in range(n):
                transpose[j, i] += (
                    B[p, j] * A[p, i]
                    + B[p + 1, j] * A[p + 1, i]
                    + B[p + 2, j] * A[p + 2, i]
                    + B[p + 3, j] * A[p + 3, i]
                )
    for p in range(whole, k):
        for j in range(m):
            for i in range(n):
                transpose[j, i] += B[p, j] * A[p, i]
    for i in range(n):
        for j in range(m):
            C[i, j] = alpha * transpose[j, i] + (beta * C[i, j] if beta != 0 else 0)


@compiled
def product_bt(gemm: int, A: Array, B: Array, C: Array) -> None:
    """C <- A B^T, for A (n, k), B (m, k), C (n, m)."""
    n, k = A.shape
    m = len(B)
    if n * k * m > SMALL:
        one, zero = A.dtype.type(1), A.dtype.type(0)
        _gemm(gemm, _T, _N, m, n, k, one, B, k, A, k, zero, C, m)
        return
    for i in range(n):
        for j in range(m):
            total = A.dtype.type(0)
            for p in range(k):
                total += A[i, p] * B[j, p]
            C[i, j] = total
