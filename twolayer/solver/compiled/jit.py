"""How functions are compiled: LLVM may reorder sums and fuse multiply-adds, so that loops use vector registers, but may
not assume that numbers are finite, since a step must detect when they are not.

Also the instructions that Numba lacks: stores and loads between threads, a pause, yielding the processor, a clock."""

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from twolayer.utils.errors import TwoLayerError, import_extra

if os.path.lexists(".numba_config.yaml"):  # it can name a folder of machine code to load
    raise TwoLayerError(
        ".numba_config.yaml: Numba would take settings from this file in the current folder; move it, or start in "
        "another folder and set the environment variables NUMBA_..."
    )
try:
    numba: Any = import_extra("numba", "numba", "engine: numba")
except ValueError as error:  # such as NUMBA_NUM_THREADS=0
    raise TwoLayerError(f"engine: numba: an environment variable NUMBA_... has a wrong value: {error}") from None
if numba.config.DISABLE_JIT:
    raise TwoLayerError("engine: numba: NUMBA_DISABLE_JIT=1 forbids compiling; unset it, or use engine: numpy")
import_extra("numba.extending", "numba", "engine: numba")
AppDirs: Any = import_extra("numba.misc.appdirs", "numba", "engine: numba").AppDirs

Function = Callable[..., Any]

_EXACT = {"error_model": "numpy", "nogil": True, "_nrt": False}
_FAST = {**_EXACT, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
_PART = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # cannot be called from Python: compiles twice as fast

# Compiled into whatever calls it. Always inlined: if it were not, code fresh from the compiler could call another copy
# of it, optimised otherwise, than the same code loaded from disk, and give other last bits.
compiled: Callable[[Function], Function] = numba.njit(forceinline=True, **_FAST, **_PART)

# For use in one place: it becomes a part of what calls it before anything is compiled. So the compiler sees its code
# once, not at each level; but each such use takes time of its own.
compiled_within: Callable[[Function], Function] = numba.njit(inline="always", **_FAST, **_PART)

# Compiled once and called: for what is long and used in several places. Without LLVM's freedom to reorder sums, so that
# every copy of it gives the same bits.
compiled_apart: Callable[[Function], Function] = numba.njit(**_EXACT, **_PART)


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
        kept: Function = numba.njit(cache=folder is not None, no_cfunc_wrapper=True, **_FAST)(function)
        return kept
    finally:
        numba.config.CACHE_DIR = asked


def kept_form(function: Any, arguments: tuple[Any, ...]) -> str:
    """Return how a function of `compiled_and_kept` is available for these arguments: "ready", "on disk", "to keep"
    (compiled and kept at the first call) or "to compile" (in each process)."""
    signature = tuple(map(numba.typeof, arguments))
    if signature in function.overloads:
        return "ready"
    folder = getattr(function._cache, "cache_path", None)
    if folder is None:
        return "to compile"
    with contextlib.suppress(Exception):  # internals of Numba, and a file that may be damaged
        key = function._cache._index_key(signature, function.targetctx.codegen())
        if key in function._cache._cache_file._load_index():
            return "on disk"
    return "to keep"


def _can_be_written(folder: Path) -> bool:
    """Check that files can be made in the folder, which is made if need be, and that what is in it can be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return all(os.access(path, os.R_OK | os.W_OK) for path in folder.rglob("*"))
    except OSError:
        return False


ir: Any = import_extra("llvmlite.ir", "numba", "engine: numba")
types, cgutils = numba.types, numba.core.cgutils

CACHE_LINE = 64  # bytes

_void, _int64 = ir.VoidType(), ir.IntType(64)
_X86 = platform.machine() in ("x86_64", "AMD64")

# Called by name, so that the machine code can be kept on disk; "SwitchToThread" is its name on Windows.
_YIELD = "sched_yield" if os.name == "posix" else "SwitchToThread"
yield_processor: Any = types.ExternalFunction(_YIELD, types.int32())


def _element(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The address of element values[1] of the array values[0]."""
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=values[0])
    return builder.gep(array.data, [values[1]])


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def publish(typingctx: Any, array: Any, i: Any, value: Any) -> Any:
    """array[i] <- value, for int64: a thread that sees it by `published` also sees all that was stored before it."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[2], _element(context, builder, signature, values), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def published(typingctx: Any, array: Any, i: Any) -> Any:
    """array[i], for int64."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_element(context, builder, signature, values), "acquire", 8)

    return types.int64(array, types.intp), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def prefetch(typingctx: Any, array: Any, i: Any) -> Any:
    """Begin to load the cache line of array[i], which may lie beyond the array."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.bitcast(_element(context, builder, signature, values), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(_void, [place.type, *[ir.IntType(32)] * 3])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [place, *map(ir.IntType(32), (0, 3, 1))])  # to read, into all caches, as data
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def pause(typingctx: Any) -> Any:
    """Tell the processor that this loop waits, so that it leaves its units to others meanwhile."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if _X86:
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(_void, [])), [])
        return context.get_dummy_value()

    return types.void(), codegen


FLUSH = 1 << 15  # of x86's float control: results too small for a normal number become 0


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def float_control(typingctx: Any, keep: Any, more: Any) -> Any:
    """Change how the processor computes floats in this thread: the bits `keep` stay as they are, `more` are set.

    Returns:
        The bits before; 0 on other processors than x86, which are left as they are.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if not _X86:
            return ir.IntType(32)(0)
        place = cgutils.alloca_once(builder, ir.IntType(32))
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(_void, [pointer.type])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.stmxcsr"), [pointer])
        before = builder.load(place)
        builder.store(builder.or_(builder.and_(before, values[0]), values[1]), place)
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.ldmxcsr"), [pointer])
        return before

    return types.int32(types.int32, types.int32), codegen


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def ticks(typingctx: Any) -> Any:
    """The processor's time-stamp counter: 1 to 5 a nanosecond on x86, fewer on ARM; only ratios of them count here."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(_int64, [])
        if _X86:
            return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", (), kind), [])
        if platform.machine() in ("aarch64", "arm64", "ARM64"):
            return builder.asm(kind, "mrs $0, cntvct_el0", "=r", [], side_effect=True)
        return _int64(0)

    return types.int64(), codegen
