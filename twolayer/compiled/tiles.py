"""Matrix products of a size at which BLAS is still getting ready: C <- A B, a tile of C at a time.

A tile's sums stay in the processor's vector registers from the first to the last product. Compilers do not find that
arrangement by themselves, so it is written as LLVM vectors; what the processor has instead of them, LLVM knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from twolayer.compiled.jit import compiled, compiled_apart, numba
from twolayer.network.model import Array
from twolayer.utils.errors import import_extra

ROWS = 5  # of a tile: 10 of the 16 vector registers of AVX2 then hold its sums
WIDTH_BYTES = 64  # of a row of a tile

ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils


def _tile_of(rows_of_tile: int, width_bytes: int) -> Any:
    """The tile of so many rows of so many bytes, compiled into whatever calls it."""

    def _tile(typingctx, i, j, n, k, A, row, column, B, ldb, C, ldc):  # type: ignore[no-untyped-def]
        """The tile of `tiled`'s C whose first element is (i, j). Below C's last row it does that row again."""
        signature = types.void(i, j, n, k, A, row, column, B, ldb, C, ldc)
        itemsize = C.dtype.bitwidth // 8

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            i, j, n, k, A, row, column, B, ldb, C, ldc = values
            A, B, C = (
                cgutils.create_struct_proxy(signature.args[at])(context, builder, value=value).data
                for at, value in ((4, A), (7, B), (9, C))
            )
            last = builder.sub(n, n.type(1))
            vector = ir.VectorType(A.type.pointee, width_bytes // itemsize)
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
            undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(vector, None)

            def everywhere(x: Any) -> Any:
                return builder.shuffle_vector(
                    builder.insert_element(undefined, x, lanes.type.element(0)), undefined, lanes
                )

            def place(matrix: Any, row: Any, ld: Any) -> Any:
                offset = builder.add(builder.mul(row, ld), j)
                return builder.bitcast(builder.gep(matrix, [offset]), vector.as_pointer())

            rows, sums = [], []
            for below in range(rows_of_tile):
                at = builder.add(i, i.type(below))
                rows.append(builder.select(builder.icmp_signed("<", at, last), at, last))
                sums.append(cgutils.alloca_once_value(builder, zeros))
                builder.store(zeros, sums[-1])
            with cgutils.for_range(builder, k) as loop:
                b = builder.load(place(B, loop.index, ldb), align=itemsize)
                for at, total in zip(rows, sums, strict=True):
                    offset = builder.add(builder.mul(at, row), builder.mul(loop.index, column))
                    a = everywhere(builder.load(builder.gep(A, [offset])))
                    product = builder.fmul(a, b, flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            for at, total in zip(rows, sums, strict=True):
                builder.store(builder.load(total), place(C, at, ldc), align=itemsize)
            return context.get_dummy_value()

        return signature, codegen

    return numba.extending.intrinsic(_tile)


_tile, _narrow_tile = _tile_of(ROWS, WIDTH_BYTES), _tile_of(2 * ROWS, WIDTH_BYTES // 2)


@compiled
def tile_width(C: Array) -> int:
    """Numbers in a row of a tile."""
    return WIDTH_BYTES // C.itemsize


@compiled_apart
def tiled(n: int, k: int, m: int, A: Array, row: int, column: int, B: Array, ldb: int, C: Array, ldc: int) -> None:
    """C <- A B, for A (n, k), B (k, m), C (n, m); element (i, p) of A is at i row + p column in memory.

    m must be a tile's width at least. The last tile of a row may lie over the one before; both give the same sums.
    Where half a tile's width is left of each row, or less, it is done by tiles of that width and twice the height.
    """
    width = tile_width(C)
    narrow = width // 2 if 0 < m % width <= width // 2 else 0
    for i in range(0, n, ROWS):
        for j in range(0, m - narrow, width):
            _tile(i, min(j, m - width), n, k, A, row, column, B, ldb, C, ldc)
    if narrow:
        for i in range(0, n, 2 * ROWS):
            _narrow_tile(i, m - narrow, n, k, A, row, column, B, ldb, C, ldc)


@compiled
def unsigned(n: int) -> Any:
    """For loops that fill vector registers: none can where an index might be negative and count from the end."""
    return np.uintp(n)


@compiled
def transposed(n: int, m: int, A: Array, lda: int, target: Array, ldt: int) -> None:
    """target (m, n) <- A^T, for A (n, m)."""
    lda, ldt = unsigned(lda), unsigned(ldt)
    for j in range(unsigned(m)):
        for i in range(unsigned(n)):
            target[j * ldt + i] = A[i * lda + j]
