"""Matrix products: small ones by loops and tiles, the others by BLAS, called by its address.

A matrix is given as BLAS takes it: its sizes, a flat array that begins with its first element, and `ld`, how far apart
its rows begin; so the same code takes a whole matrix, some of its rows or some of its columns. BLAS works column after
column, so a product is computed as its transpose, C^T = B^T A^T; nothing is copied for that.

A tile keeps its sums in vector registers from the first to the last product. Compilers do not find that arrangement by
themselves, so it is written as LLVM vectors; how a processor without them does it, LLVM knows."""

from functools import partial
from typing import Any

import numpy as np

from twolayer.network.model import Array
from twolayer.solver.compiled.jit import Function, compiled, compiled_apart, numba, prefetch
from twolayer.utils.blas import gemm_of_numpy
from twolayer.utils.errors import import_extra

WIDTH_BYTES = 64  # of a row of a tile, or half of it
AVX_512 = "+avx512f" in numba.core.codegen.get_host_cpu_features()
# Rows of a tile and its width: its sums take 20 of the 32 vector registers of AVX-512, or 10 of the 16 of AVX2.
ROWS, WIDE, LOW = (10, 2, 5) if AVX_512 else (5, 1, 3)
PART = 5  # rows of a tile of less than a vector
SMALL = 4096  # multiplications up to which such tiles beat BLAS
TILES = 2_000_000  # multiplications up to which tiles beat BLAS
# With AVX-512 also above: the most bytes of B, so that it stays in the second cache; and the most terms of A^T, as each
# is in a page of its own.
CACHED_BYTES, PAGES = (1 << 19, 128) if AVX_512 else (0, 0)
NARROW = 16  # terms of each sum up to which tiles beat BLAS at any size
# To Numba 1, False and True are types of their own, for each of which a function is compiled again; these are not.
ADJACENT = np.int64(1)  # how far apart the numbers of a row are
PLAIN, TRANSPOSED = np.bool_(False), np.bool_(True)

ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils


def _everywhere(builder: Any, lanes: int, x: Any) -> Any:
    """A vector of x, `lanes` times."""
    undefined = ir.Constant(ir.VectorType(x.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, x, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))


def _access(builder: Any, vector: Any, itemsize: int, m: Any) -> tuple[Function, Function]:
    """How a vector is loaded and stored: whole, or only its first m numbers."""
    if m is None:
        return partial(builder.load, align=itemsize), partial(builder.store, align=itemsize)
    numbers = ir.Constant(ir.VectorType(m.type, vector.count), list(range(vector.count)))
    mask = builder.icmp_signed("<", numbers, _everywhere(builder, vector.count, m))

    def masked(name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [each.type for each in arguments])
        name = f"llvm.masked.{name}.v{vector.count}f{8 * itemsize}.p0"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    align, zeros = ir.IntType(32)(itemsize), ir.Constant(vector, None)
    return (
        lambda place: masked("load", vector, place, align, mask, zeros),
        lambda x, place: masked("store", ir.VoidType(), x, place, align, mask),
    )


def _tile_of(rows_of_tile: int, vectors: int, part: bool = False) -> Any:
    """Return a tile of this height, this many vectors wide, compiled into its callers; of a `part` of one vector, only
    the first m numbers."""

    def _tile(typingctx, i, j, n, k, m, A, row, column, B, ldb, C, ldc):  # type: ignore[no-untyped-def]
        """The tile of `tiled`'s C whose first element is (i, j). Below C's last row it does that row again."""
        signature = types.void(i, j, n, k, m, A, row, column, B, ldb, C, ldc)
        itemsize = C.dtype.bitwidth // 8

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            i, j, n, k, m, A, row, column, B, ldb, C, ldc = values
            A, B, C = (
                cgutils.create_struct_proxy(signature.args[at])(context, builder, value=value).data
                for at, value in ((5, A), (8, B), (10, C))
            )
            last = builder.sub(n, n.type(1))
            vector = ir.VectorType(A.type.pointee, WIDTH_BYTES // itemsize)
            zeros = ir.Constant(vector, None)
            load, store = _access(builder, vector, itemsize, m if part else None)

            def places(matrix: Any, row: Any, ld: Any) -> list[Any]:
                first = builder.gep(matrix, [builder.add(builder.mul(row, ld), j)])
                first = builder.bitcast(first, vector.as_pointer())
                return [builder.gep(first, [j.type(v)]) for v in range(vectors)]

            rows, sums = [], []
            for below in range(rows_of_tile):
                at = builder.add(i, i.type(below))
                rows.append(builder.select(builder.icmp_signed("<", at, last), at, last))
                sums.append([cgutils.alloca_once_value(builder, zeros) for _ in range(vectors)])
                for total in sums[-1]:
                    builder.store(zeros, total)
            with cgutils.for_range(builder, k) as loop:
                b = [load(place) for place in places(B, loop.index, ldb)]
                for at, totals in zip(rows, sums, strict=True):
                    offset = builder.add(builder.mul(at, row), builder.mul(loop.index, column))
                    a = _everywhere(builder, vector.count, builder.load(builder.gep(A, [offset])))
                    for total, each in zip(totals, b, strict=True):
                        product = builder.fmul(a, each, flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            for at, totals in zip(rows, sums, strict=True):
                for total, place in zip(totals, places(C, at, ldc), strict=True):
                    store(builder.load(total), place)
            return context.get_dummy_value()

        return signature, codegen

    return numba.extending.intrinsic(_tile)


_tile, _wide_tile, _low_tile = _tile_of(ROWS, 1), _tile_of(ROWS, WIDE), _tile_of(LOW, WIDE)
_part_tile = _tile_of(PART, 1, part=True)


@compiled
def tile_width(C: Array) -> int:
    """Numbers in a vector; a power of two, without a division at run time."""
    return WIDTH_BYTES // 4 if C.itemsize == 4 else WIDTH_BYTES // 8


@compiled_apart
def tiled(
    n: int, k: int, m: int, A: Array, row: int, column: int, B: Array, ldb: int, C: Array, ldc: int, soon: Array
) -> None:
    """C <- A B, for A (n, k), B (k, m), C (n, m); element (i, p) of A is at i row + p column in memory.

    The last tile of a row may lie over the one before; both give the same sums. Each row of tiles fetches a part of the
    array `soon` into the cache.
    """
    width = tile_width(C)
    if m < width:
        for i in range(0, n, PART):
            _part_tile(i, 0, n, k, m, A, row, column, B, ldb, C, ldc)
        return
    step = WIDE * width
    wide = m & -step  # the largest multiple in m
    fetched, share = 0, soon.size * ROWS // n
    for i in range(0, n, ROWS):
        for p in range(fetched, fetched + share, width):
            prefetch(soon, p)
        fetched += share
        for j in range(0, wide, step):
            if n - i > LOW:
                _wide_tile(i, j, n, k, m, A, row, column, B, ldb, C, ldc)
            else:
                _low_tile(i, j, n, k, m, A, row, column, B, ldb, C, ldc)
        for j in range(wide, m, width):
            _tile(i, min(j, m - width), n, k, m, A, row, column, B, ldb, C, ldc)


@compiled
def unsigned(n: int) -> Any:
    """For loops over vector registers, which an index that might count from the end prevents."""
    return np.uintp(n)


@compiled
def transposed(n: int, m: int, A: Array, lda: int, target: Array, ldt: int) -> None:
    """target (m, n) <- A^T, for A (n, m)."""
    lda, ldt = unsigned(lda), unsigned(ldt)
    for j in range(unsigned(m)):
        for i in range(unsigned(n)):
            target[j * ldt + i] = A[i * lda + j]


def gemm_address(dtype: np.dtype[Any]) -> int:
    """Where the function that multiplies matrices of this float type begins in memory: NumPy's own or, where that
    cannot be called by address, SciPy's.

    Raises:
        MissingExtraError: if SciPy is needed and not installed.
    """
    numpys = gemm_of_numpy(dtype)
    if numpys is not None:
        return numpys
    import_extra("scipy.linalg.cython_blas", "numba", "engine: numba")
    name = "sgemm" if dtype == np.float32 else "dgemm"
    return int(numba.extending.get_cython_function_address("scipy.linalg.cython_blas", name))


def scratch_room(D: int, H: int, C: int, B: int, dtype: np.dtype[Any]) -> int:
    """How many numbers the transposes of `product` and `product_tt` take in a step with B rows."""
    width = WIDTH_BYTES // dtype.itemsize
    return max(((H or D) + B + C) * max(C, width), D * min(H, width))


def _gemm_at(typingctx, address, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    """Fortran's xGEMM at `address`; transa and transb are the character codes of N or T.

    It is given the addresses of the sizes. They have 64 bits, as some builds of BLAS want; others read the first 32 of
    them, which on all processors of today (little-endian) hold the same number.
    """
    number, size = c.dtype, types.int64
    signature = types.void(types.intp, types.uint8, types.uint8, *[size] * 3, number, a, size, b, size, number, c, size)

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
def product(
    gemm: int, at: bool, n: int, k: int, m: int, A: Array, lda: int, B: Array, ldb: int, C: Array, ldc: int,
    scratch: Array, soon: Array,
) -> None:  # fmt: skip
    """C <- A B, for B (k, m), C (n, m) and A (n, k) or, where `at`, A^T (k, n) in its place.

    Tiles fetch `soon` meanwhile, which the next step will read.
    """
    width, one, zero = tile_width(C), A.dtype.type(1), A.dtype.type(0)
    row, column = (ADJACENT, lda) if at else (lda, ADJACENT)
    tiles = m >= width and (k <= PAGES if at else k * m * C.itemsize <= CACHED_BYTES)
    if (n * k * m > TILES and not tiles) or (n * k * m > SMALL and m < width and not (at and n >= width)):
        _gemm(gemm, _N, _T if at else _N, m, n, k, one, B, ldb, A, lda, zero, C, ldc)
    elif at and m < width <= n:
        tiled(m, k, n, B, ADJACENT, ldb, A, lda, scratch, n, soon)
        transposed(m, n, scratch, n, C, ldc)
    else:
        tiled(n, k, m, A, row, column, B, ldb, C, ldc, soon)


@compiled_apart
def product_tt(
    gemm: int, n: int, k: int, m: int, A: Array, lda: int, B: Array, ldb: int, C: Array, ldc: int,
    scratch: Array,
) -> None:  # fmt: skip
    """C <- A^T B^T, for A (k, n), B (m, k), C (n, m)."""
    width, one, zero = tile_width(C), A.dtype.type(1), A.dtype.type(0)
    if n * k * m > TILES and (k > NARROW or m < width):
        _gemm(gemm, _T, _T, m, n, k, one, B, ldb, A, lda, zero, C, ldc)
    elif k <= n and (m >= width or n <= width):
        transposed(m, k, B, ldb, scratch, m)
        tiled(n, k, m, A, ADJACENT, lda, scratch, m, C, ldc, A[:0])
    else:
        tiled(m, k, n, B, ldb, ADJACENT, A, lda, scratch, n, A[:0])
        transposed(m, n, scratch, n, C, ldc)
