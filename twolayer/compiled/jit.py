"""How functions are compiled here: with LLVM's freedom to reorder sums and fuse multiply-adds, so that loops use the
processor's vector registers, but never to assume that numbers are finite, since a step must see when they are not."""

from __future__ import annotations

import hashlib
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
