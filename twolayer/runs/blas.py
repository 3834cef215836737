"""Which BLAS NumPy multiplies with, with how many threads and which processor kernels. OpenBLAS is asked itself,
since threads can be set while the process runs; of another library the environment variables tell."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# In the order in which OpenBLAS, MKL, BLIS and Accelerate look for them; the first that is set counts.
_VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    "accelerate": ("VECLIB_MAXIMUM_THREADS",),
}
# How builds decorate the names: NumPy's own wheels prefix them, 64-bit-integer builds suffix them.
_DECORATIONS = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]


def blas_facts() -> dict[str, Any]:
    """Name, version, kernels and threads of NumPy's BLAS; None for what cannot be known.

    Cheap (under a millisecond): nothing is imported, no process started.
    """
    config: Any = np.show_config(mode="dicts")
    found = config.get("Build Dependencies", {}).get("blas", {})
    name = str(found.get("name", "unknown"))
    asked = _ask_openblas()
    return {
        "name": name,
        "version": found.get("version"),
        "kernels": asked.get("kernels"),
        "threads": asked.get("threads") or _threads_by_variables(name),
    }


def _ask_openblas() -> dict[str, Any]:
    for path in _openblas_libraries():
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(str(path))  # loaded already: this gives the same one again
            for prefix, suffix in _DECORATIONS:
                threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
                kernels = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
                if threads is not None and kernels is not None:
                    kernels.restype = ctypes.c_char_p
                    return {"threads": int(threads()), "kernels": kernels().decode("ascii", "replace")}
    return {}


def _openblas_libraries() -> Iterator[Path]:
    """The OpenBLAS that came with NumPy, or else those the process has loaded (where the system lists them)."""
    numpy_folder = Path(np.__file__).parent
    for folder in (numpy_folder.parent / "numpy.libs", numpy_folder / ".dylibs"):
        yield from folder.glob("*openblas*")
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        yield from {Path(line[line.index("/") :].strip()) for line in maps if "blas" in line and "/" in line}


def _threads_by_variables(name: str) -> int | None:
    for library, variables in _VARIABLES.items():
        if library in name.lower():
            for variable in variables:
                value = os.environ.get(variable, "")
                if value.isdigit() and int(value) > 0:
                    return int(value)
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return None
