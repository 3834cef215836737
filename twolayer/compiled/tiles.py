"""Matrix products of a size at which BLAS is still getting ready: C <- alpha A B, a tile of C at a time.

A tile's sums stay in the processor's vector registers from the first to the last product. Compilers do not find that
arrangement by themselves, so it is written as LLVM vectors; what the processor has instead of them, LLVM knows."""

from __future__ import annotations

from typing import Any

from twolayer.compiled.jit import compiled, numba
from twolayer.errors import import_extra
from twolayer.model import Array

ROWS = 5  # of a tile: 10 of the 16 vector registers of AVX2 then hold its sums
WIDTH_BYTES = 64  # of a row of a tile
REORDER: Any = ("reassoc", "contract", "nsz")  # as in `jit`

ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils


def _tile_of(rows: int) -> Any:
    """The intrinsic for tiles of so many rows."""

    def tile(
        typingctx: Any, k: Any, A: Any, a: Any, row: Any, column: Any, B: Any, b: Any, n_columns: Any, alpha: Any,
        C: Any, c: Any,
    ) -> Any:  # fmt: skip
        """The tile of C that begins at its element c, from the row of A that begins at a and the column of B at b."""
        width = WIDTH_BYTES * 8 // C.dtype.bitwidth
        signature = types.void(k, A, a, row, column, B, b, n_columns, C.dtype, C, c)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            k, A, a, row, column, B, b, n_columns, alpha, C, c = values
            number, itemsize = context.get_value_type(signature.args[8]), signature.args[8].bitwidth // 8
            vector, first = ir.VectorType(number, width), ir.IntType(32)(0)
            undefined = ir.Constant(vector, ir.Undefined)

            def data(at: int, value: Any) -> Any:
                return cgutils.create_struct_proxy(signature.args[at])(context, builder, value=value).data

            def spread(x: Any) -> Any:
                """A vector with x everywhere."""
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), None)
                return builder.shuffle_vector(builder.insert_element(undefined, x, first), undefined, lanes)

            def vector_at(base: Any, offset: Any) -> Any:
                return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

            A, B, C = data(1, A), data(5, B), data(9, C)
            zero = ir.Constant(vector, None)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows)]
            for total in sums:
                builder.store(zero, total)
            with cgutils.for_range(builder, k) as loop:
                b_p = builder.load(vector_at(B, builder.add(b, builder.mul(loop.index, n_columns))), align=itemsize)
                at = builder.add(a, builder.mul(loop.index, column))
                for total in sums:
                    product = builder.fmul(spread(builder.load(builder.gep(A, [at]))), b_p, flags=REORDER)
                    builder.store(builder.fadd(builder.load(total), product, flags=REORDER), total)
                    at = builder.add(at, row)
            for i, total in enumerate(sums):
                place = vector_at(C, builder.add(c, builder.mul(n_columns, c.type(i))))
                builder.store(builder.fmul(spread(alpha), builder.load(total)), place, align=itemsize)
            return context.get_dummy_value()

        return signature, codegen

    return numba.extending.intrinsic(tile)


_tile, _tile_row = _tile_of(ROWS), _tile_of(1)


@compiled
def tile_width(C: Array) -> int:
    """Numbers in a row of a tile."""
    return WIDTH_BYTES // C.itemsize


@compiled
def tiled(A: Array, row: int, column: int, n: int, B: Array, alpha: float, C: Array) -> None:
    """C <- alpha A B, for A (n, k), B (k, m), C (n, m); element (i, p) of A is at i row + p column in memory.

    m must be a tile's width at least. Tiles at the edges lie over others and give the same sums again.
    """
    k, m = B.shape
    width = tile_width(C)
    for i in range(0, n, ROWS):
        i = min(i, n - ROWS)  # below 0 where C is lower than a tile
        for j in range(0, m, width):
            j = min(j, m - width)
            if i >= 0:
                _tile(k, A, i * row, row, column, B, j, m, alpha, C, i * m + j)
            else:
                for i_single in range(n):
                    _tile_row(k, A, i_single * row, row, column, B, j, m, alpha, C, i_single * m + j)


@compiled
def transposed(A: Array, target: Array) -> None:
    """target (m, n) <- A^T, for A (n, m)."""
    n, m = A.shape
    for i in range(n):
        for j in range(m):
            target[j, i] = A[i, j]
