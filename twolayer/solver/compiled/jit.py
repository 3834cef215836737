"""How functions are compiled here: with LLVM's freedom to reorder sums and fuse multiply-adds, so that loops use the
processor's vector registers, but never to assume that numbers are finite, since a step must see when they are not.

What Numba has no word for: numbers that threads tell each other, cache lines fetched ahead, arrays at an address."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from twolayer.utils.errors import import_extra

numba: Any = import_extra("numba", "numba", "engine: numba")
import_extra("numba.extending", "numba", "engine: numba")
AppDirs: Any = import_extra("numba.misc.appdirs", "numba", "engine: numba").AppDirs

Function = Callable[..., Any]

_EXACT = {"error_model": "numpy", "nogil": True, "_nrt": False}
_FLAGS = {**_EXACT, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}


def compiled(function: Function) -> Function:
    """`function`, compiled into whatever calls it.

    Always inlined: if it were not, code fresh from the compiler could call another copy of it, optimised otherwise,
    than the same code loaded from disk, and give other last bits.
    """
    inlined: Function = numba.njit(forceinline=True, **_FLAGS)(function)
    return inlined


def compiled_within(function: Function) -> Function:
    """`function`, for use in one place: it becomes a part of what calls it before anything is compiled.

    So the compiler sees its code once, not at each level; but each such use takes time of its own.
    """
    within: Function = numba.njit(inline="always", **_FLAGS)(function)
    return within


def compiled_apart(function: Function) -> Function:
    """`function`, compiled once and called: for what is long and stands in several places.

    Without LLVM's freedom to reorder sums, so that every copy of it gives the same bits.
    """
    apart: Function = numba.njit(**_EXACT)(function)
    return apart


def compiled_and_kept(function: Function) -> Function:
    """`function`, compiled, with the machine code kept on disk for the next process.

    It is kept under `NUMBA_CACHE_DIR`, in this package's `__pycache__` or in the user's cache folder: in the first that
    is there and can be written. Where none can, it is compiled in each process. Numba would notice a change in the
    function's own file only, so the folder is named after all the files here.
    """
    asked = numba.config.CACHE_DIR
    here = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(here.glob("*.py")))
    bases = [asked, here / "__pycache__", AppDirs("numba", appauthor=False).user_cache_dir]
    folders = [Path(base) / hashlib.sha256(sources).hexdigest()[:16] for base in bases if base]
    folder = next(filter(_can_be_written, folders), None)
    numba.config.CACHE_DIR = str(folder or "")  # read when the decorator runs
    try:
        kept: Function = numba.njit(cache=folder is not None, **_FLAGS)(function)
        return kept
    finally:
        numba.config.CACHE_DIR = asked


def _can_be_written(folder: Path) -> bool:
    """Whether files can be made in the folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils
arrayobj: Any = import_extra("numba.np.arrayobj", "numba", "engine: numba")

CACHE_LINE = 64  # bytes

_void, _byte, _int32 = ir.VoidType(), ir.IntType(8), ir.IntType(32)


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Where values[1] stands in the array values[0]."""
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=values[0])
    return builder.gep(array.data, [values[1]])


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def publish(typingctx: Any, array: Any, i: Any, value: Any) -> Any:
    """array[i] <- value, for int64: who sees it by `published` also sees all that was stored before it."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[2], _place(context, builder, signature, values), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def published(typingctx: Any, array: Any, i: Any) -> Any:
    """array[i], for int64."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, values), "acquire", 8)

    return types.int64(array, types.intp), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def pause(typingctx: Any) -> Any:
    """Tells the processor that this loop waits, so that it leaves its units to others meanwhile."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(_void, [])), [])
        return context.get_dummy_value()

    return types.void(), codegen


def _fetching(to_write: bool) -> Any:
    """An intrinsic that has the processor fetch a cache line while it goes on."""

    def fetch_line(typingctx: Any, array: Any, i: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = builder.bitcast(_place(context, builder, signature, values), _byte.as_pointer())
            kinds = ir.FunctionType(_void, [_byte.as_pointer(), _int32, _int32, _int32])
            fetch = builder.module.declare_intrinsic("llvm.prefetch", [_byte.as_pointer()], kinds)
            builder.call(
                fetch, [place, _int32(int(to_write)), _int32(2), _int32(1)]
            )  # into the second-level cache; it is data
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    return numba.extending.intrinsic(fetch_line)


fetch, fetch_to_write = _fetching(to_write=False), _fetching(to_write=True)


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def array_at(typingctx: Any, address: Any, size: Any, like: Any) -> Any:
    """The 1-dimensional array of `size` numbers, of the type of the array `like`, that begins at an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = arrayobj.make_array(like)(context, builder)
        itemsize = context.get_constant(types.intp, like.dtype.bitwidth // 8)
        data = builder.inttoptr(values[0], array.data.type)
        arrayobj.populate_array(
            array, data=data, shape=[values[1]], strides=[itemsize], itemsize=itemsize, meminfo=None
        )
        return array._getvalue()

    return like(types.int64, types.intp, like), codegen
