"""Matrix products of a size at which BLAS is still getting ready: C <- alpha A B, a tile of C at a time.

A tile's sums stay in the processor's vector registers from the first to the last product. Compilers do not find that
arrangement by themselves, so it is written as LLVM vectors; what the processor has instead of them, LLVM knows."""

from __future__ import annotations

from typing import Any

from twolayer.compiled.jit import compiled, compiled_apart, numba
from twolayer.errors import import_extra
from twolayer.model import Array

ROWS = 5  # of a tile: 10 of the 16 vector registers of AVX2 then hold its sums
WIDTH_BYTES = 64  # of a row of a tile

ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def _tile(typingctx: Any, i: Any, j: Any, A: Any, row: Any, column: Any, B: Any, alpha: Any, C: Any) -> Any:
    """The tile of `tiled`'s C whose first element is (i, j). Below C's last row it does that row again."""
    signature = types.void(i, j, A, row, column, B, C.dtype, C)
    itemsize = C.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i, j, A, row, column, B, alpha, C = values
        A, B, C = (
            cgutils.create_struct_proxy(signature.args[at])(context, builder, value=value)
            for at, value in ((2, A), (5, B), (7, C))
        )
        (k, m), (n, _) = cgutils.unpack_tuple(builder, B.shape), cgutils.unpack_tuple(builder, C.shape)
        last = builder.sub(n, n.type(1))
        vector = ir.VectorType(alpha.type, WIDTH_BYTES // itemsize)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
        undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(vector, None)

        def everywhere(x: Any) -> Any:
            return builder.shuffle_vector(builder.insert_element(undefined, x, lanes.type.element(0)), undefined, lanes)

        def place(array: Any, row: Any) -> Any:
            offset = builder.add(builder.mul(row, m), j)
            return builder.bitcast(builder.gep(array.data, [offset]), vector.as_pointer())

        rows, sums = [], []
        for below in range(ROWS):
            at = builder.add(i, i.type(below))
            rows.append(builder.select(builder.icmp_signed("<", at, last), at, last))
            sums.append(cgutils.alloca_once_value(builder, zeros))
            builder.store(zeros, sums[-1])
        with cgutils.for_range(builder, k) as loop:
            b = builder.load(place(B, loop.index), align=itemsize)
            for at, total in zip(rows, sums, strict=True):
                offset = builder.add(builder.mul(at, row), builder.mul(loop.index, column))
                a = everywhere(builder.load(builder.gep(A.data, [offset])))
                product = builder.fmul(a, b, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        for at, total in zip(rows, sums, strict=True):
            builder.store(builder.fmul(everywhere(alpha), builder.load(total)), place(C, at), align=itemsize)
        return context.get_dummy_value()

    return signature, codegen


@compiled
def tile_width(C: Array) -> int:
    """Numbers in a row of a tile."""
    return WIDTH_BYTES // C.itemsize


@compiled_apart
def tiled(A: Array, row: int, column: int, B: Array, alpha: float, C: Array) -> None:
    """C <- alpha A B, for A (n, k), B (k, m), C (n, m); element (i, p) of A is at i row + p column in memory.

    m must be a tile's width at least. The last tile of a row may lie over the one before; both give the same sums.
    """
    n, m = C.shape
    width = tile_width(C)
    for i in range(0, n, ROWS):
        for j in range(0, m, width):
            _tile(i, min(j, m - width), A, row, column, B, alpha, C)


@compiled
def transposed(A: Array, target: Array) -> None:
    """target (m, n) <- A^T, for A (n, m); of a wider A its first m columns."""
    m, n = target.shape
    for j in range(m):
        for i in range(n):
            target[j, i] = A[i, j]
