"""Which BLAS NumPy multiplies with, with which processor kernels, and on how many threads; SciPy brings its own.

OpenBLAS itself is asked and set, since its threads can change while the process runs; for another library the
environment variables count."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

Package = Literal["numpy", "scipy"]

# In the order in which OpenBLAS, MKL, BLIS and Accelerate look for them; the first that is set counts.
_VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    "accelerate": ("VECLIB_MAXIMUM_THREADS",),
}
THREAD_VARIABLES = tuple(dict.fromkeys(name for names in _VARIABLES.values() for name in names))
# How builds decorate the names: NumPy's own wheels prefix them, 64-bit-integer builds suffix them.
_DECORATIONS = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]


def blas_facts() -> dict[str, Any]:
    """Name, version, kernels and threads of NumPy's BLAS; None for what cannot be known.

    Cheap (under a millisecond): nothing is imported, no process started.
    """
    config: Any = np.show_config(mode="dicts")
    found = config.get("Build Dependencies", {}).get("blas", {})
    name = str(found.get("name", "unknown"))
    openblas = _openblas_of("numpy")
    return {
        "name": name,
        "version": found.get("version"),
        "kernels": openblas.kernels().decode("ascii", "replace") if openblas else None,
        "threads": _unlimited_threads(openblas) if openblas else _threads_by_variables(name),
    }


def usable_threads() -> int:
    """Return on how many threads NumPy's OpenBLAS may multiply now, limits entered here aside: what it was started
    with, the processors this process may run on and a container's quota considered; 1 for another BLAS, which cannot
    be asked."""
    openblas = _openblas_of("numpy")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else sys.maxsize
    return max(1, min(_cores_of_container(), allowed, _unlimited_threads(openblas))) if openblas else 1


@functools.cache
def _cores_of_container() -> int:
    """Return the whole cores that control groups (Linux) leave to this process, which sees all of the machine's."""
    cores = sys.maxsize
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
                root = Path("/sys/fs/cgroup", controllers)
                group = root / name.strip("/")
                for folder in (group, *group.parents[: len(group.parts) - len(root.parts)]):
                    cores = min(cores, _cores_of_group(folder))
    return cores


def _cores_of_group(folder: Path) -> int:
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):
            text = " ".join((folder / name).read_text(encoding="ascii") for name in names)
            quota, period = map(int, text.split())
            if quota > 0:
                return max(1, quota // period)
    return sys.maxsize


class AdaptiveThreads:
    """Choose how many BLAS threads the next chunk of steps gets, all or one, by how fast the last chunks were.

    One thread is tried after the first chunk, and again when chunks on all threads become slower by a quarter; all
    threads are tried again after RETRY chunks on one. If more than one are not `worth_it`, it is always one.
    """

    RETRY = 16

    def __init__(self, worth_it: bool = True) -> None:
        self._worth_it = worth_it
        self._seconds: dict[bool, float] = {}  # of a step in the last chunk on all threads (True), on one (False)
        self._quickest = math.inf  # since all threads are in use
        self._all, self._chunks_on_one = True, 0

    @contextlib.contextmanager
    def chunk(self, n_steps: int) -> Iterator[None]:
        """Limit BLAS for a chunk of steps, and measure it."""
        on_all = self._worth_it and self._all and usable_threads() > 1
        began = time.perf_counter()
        with at_most_threads(None if on_all else 1):
            yield
        self.measured(on_all, (time.perf_counter() - began) / n_steps)

    def measured(self, on_all: bool, seconds: float) -> None:
        """Choose for the next chunk, after one that took `seconds` for each step."""
        self._seconds[on_all] = seconds
        if on_all:
            self._quickest = min(self._quickest, seconds)
            if not seconds < min(self._seconds.get(False, 0), 1.25 * self._quickest):
                self._all, self._chunks_on_one, self._quickest = False, 0, math.inf
        else:
            self._chunks_on_one += 1
            self._all = self._seconds.get(True, 0) < seconds or self._chunks_on_one >= self.RETRY


_lock = threading.Lock()
_limits: dict[object, tuple[int, int]] = {}  # of each limit entered now: threads, and the Python thread it is of
_unlimited: dict[Package, int] = {}  # threads before the first of them


@contextlib.contextmanager
def at_most_threads(limit: int | None) -> Iterator[None]:
    """Has products run on at most `limit` threads while it is entered, where NumPy's and SciPy's BLAS are OpenBLAS.

    Small products gain nothing from a second thread, and wait long for it when the machine has other work.

    Args:
        limit: threads, at least 1; None leaves things as they are.
    """
    if limit is None:
        yield
        return
    entered = object()
    try:
        with _lock:
            _limits[entered] = limit, threading.get_ident()
            _apply_limits()
        yield
    finally:
        with _lock:
            _limits.pop(entered, None)  # not there if Ctrl-C came first
            _apply_limits()


def _apply_limits() -> None:
    for package in get_args(Package):
        if openblas := _openblas_of(package):
            before = _unlimited.setdefault(package, int(openblas.get_threads()))
            openblas.set_threads(min([before, *(threads for threads, _ in _limits.values())]))
    if not _limits:
        _unlimited.clear()


def _forget_other_threads() -> None:
    """In a forked process, drop the limits of other threads: only the one that forked lives on."""
    global _lock
    _lock = threading.Lock()
    gone = [entered for entered, (_, owner) in _limits.items() if owner != threading.get_ident()]
    for entered in gone:
        del _limits[entered]
    if gone:
        _apply_limits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


def _unlimited_threads(openblas: _OpenBLAS) -> int:
    """On how many threads NumPy's OpenBLAS multiplies where no limit is entered."""
    with _lock:
        return _unlimited.get("numpy") or int(openblas.get_threads())


def gemm_of_numpy(dtype: np.dtype[Any]) -> int | None:
    """Where the function with which NumPy multiplies matrices of this float type (Fortran's xGEMM) begins in memory;
    None where NumPy has another BLAS than OpenBLAS."""
    openblas = _openblas_of("numpy")
    function = openblas and (openblas.sgemm if dtype == np.float32 else openblas.dgemm)
    return ctypes.cast(function, ctypes.c_void_p).value if function else None


class _OpenBLAS(NamedTuple):
    """Functions of the loaded library; None for those it does not have."""

    get_threads: Any
    set_threads: Any
    kernels: Any
    sgemm: Any
    dgemm: Any


def _openblas_of(package: Package) -> _OpenBLAS | None:
    return _find_openblas(package) if package in sys.modules else None


@functools.cache
def _find_openblas(package: Package) -> _OpenBLAS | None:
    for path in _openblas_libraries(Path(sys.modules[package].__file__ or "").parent):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(str(path))  # loaded already: this gives the same one again
            for prefix, suffix in _DECORATIONS:
                names = ["openblas_get_num_threads", "openblas_set_num_threads", "openblas_get_corename"]
                names += ["sgemm_", "dgemm_"]
                functions = [getattr(library, f"{prefix}{name}{suffix}", None) for name in names]
                if None not in functions[:3]:
                    found = _OpenBLAS(*functions)
                    found.kernels.restype = ctypes.c_char_p
                    return found
    return None


def _openblas_libraries(folder: Path) -> Iterator[Path]:
    """The OpenBLAS that came with a package, or else those the process has loaded (where the system lists them)."""
    for libraries in (folder.parent / f"{folder.name}.libs", folder / ".dylibs"):
        yield from libraries.glob("*openblas*")
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
