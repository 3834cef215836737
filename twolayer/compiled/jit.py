"""How functions are compiled here: with LLVM's freedom to reorder sums and fuse multiply-adds, so that loops use the
processor's vector registers, but never to assume that numbers are finite, since a step must see when they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from twolayer.errors import import_extra

numba: Any = import_extra("numba", "numba", "engine: numba")
import_extra("scipy.linalg.cython_blas", "numba", "engine: numba")

Function = TypeVar("Function", bound=Callable[..., Any])

_FLAGS = {"error_model": "numpy", "nogil": True, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}


def compiled(function: Function) -> Function:
    """`function`, compiled into whatever calls it."""
    return cast(Function, numba.njit(forceinline=True, **_FLAGS)(function))


def compiled_and_kept(function: Function) -> Function:
    """`function`, compiled, with the machine code kept on disk for the next process.

    It is kept under `NUMBA_CACHE_DIR` if that is set, else in this package's `__pycache__`, else, where that cannot be
    written, in the user's cache folder; and where nothing can be written it is compiled in each process. Numba would
    notice a change in the function's own file only, so the folder is named after all the files here.
    """
    base = numba.config.CACHE_DIR
    here = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(here.glob("*.py")))
    folder = Path(base or here / "__pycache__") / hashlib.sha256(sources).hexdigest()[:16]
    numba.config.CACHE_DIR = str(folder)  # read when the decorator runs
    try:
        return cast(Function, numba.njit(cache=True, **_FLAGS)(function))
    except RuntimeError:  # "no locator available": no folder can be written
        return compiled(function)
    finally:
        numba.config.CACHE_DIR = base
