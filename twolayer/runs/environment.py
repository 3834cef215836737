"""What a run's numbers depend on besides its config: versions, BLAS and its threads, the machine, the commit, the
data. Recorded with the run, and compared before it goes on: the last bits of a product change with any of them."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.utils.blas import blas_facts, usable_threads
from twolayer.utils.text import printable
from twolayer.utils.version import __version__

Environment = dict[str, Any]

_THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# What must be the same for the same bits: where it stands in the environment, and the word for it.
_BITS = (
    (("twolayer",), "twolayer"),
    (("numpy",), "numpy"),
    (("blas", "name"), "BLAS"),
    (("blas", "version"), "BLAS version"),
    (("blas", "kernels"), "BLAS kernels"),
    (("blas", "threads"), "BLAS threads"),
    (("numba",), "numba"),
    (("numba_threads",), "numba threads"),
    (("machine", "architecture"), "architecture"),
    (("machine", "processor"), "processor"),
    (("machine", "simd"), "processor features"),
    (("machine", "libc"), "C library"),
)


def describe_environment(data: Mapping[str, str] | None = None) -> Environment:
    """The content of environment.json; nothing in it names the person or the host.

    To be called once the engine is loaded: numba and scipy are recorded if they are imported.

    Args:
        data: SHA-256 of each data file by its path.
    """
    numba = sys.modules.get("numba")
    return {
        "twolayer": __version__,
        "commit": commit_of(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": getattr(numba, "__version__", None),
        "scipy": getattr(sys.modules.get("scipy"), "__version__", None),
        "blas": blas_facts(),
        "numba_threads": usable_threads() if numba else None,
        "thread_variables": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        "machine": _machine(),
        "data": dict(data or {}),
    }


def differences_that_change_bits(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Where two environments differ so that a resumed run need not equal one never stopped, bit for bit.

    Args:
        old: the environment of the run, as read from its environment.json.
        new: the environment of now.

    Returns:
        One phrase for each difference, e.g. `"BLAS threads: 2 then, 1 now"`; none if there is none. What only one
        of them knows (such as a package that was not imported) is no difference.
    """
    found = []
    for keys, word in _BITS:
        then, now = _at(old, keys), _at(new, keys)
        if then is not None and now is not None and then != now:
            found.append(f"{word}: {_in_words(then)} then, {_in_words(now)} now")
    then, now = old.get("data"), new.get("data")
    if isinstance(then, dict) and isinstance(now, dict):
        found += [f"data: {path} has changed" for path in now if path in then and then[path] != now[path]]
        if then.keys() != now.keys() and sorted(map(str, then.values())) != sorted(map(str, now.values())):
            found.append("data: other files than then")
    return found


def commit_of(checkout: Path) -> str | None:
    """The commit that is checked out in a folder, read from its .git without running git; None if there is none.

    Args:
        checkout: the folder that holds .git, a folder or (in a linked working tree) a file that names one.
    """
    try:
        found = _read_head(checkout)
    except (OSError, ValueError):
        return None
    return found if re.fullmatch("[0-9a-f]{40,64}", found) else None


def _read_head(checkout: Path) -> str:
    git = checkout / ".git"
    if git.is_file():
        git = checkout / git.read_text("utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref:"):
        return head
    branch = head.removeprefix("ref:").strip()
    shared = git / "commondir"
    folders = [git, git / shared.read_text("utf-8").strip()] if shared.is_file() else [git]
    for folder in folders:
        if (folder / branch).is_file():
            return (folder / branch).read_text("utf-8").strip()
    packed = (folders[-1] / "packed-refs").read_text("utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {branch}")), "")


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "simd": _simd(),
        "libc": _libc(),
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _processor() -> str | None:
    """The processor's model name, where the system keeps it in a file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file.read(4096).splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return None


def _simd() -> list[str] | None:
    """The processor features that NumPy found and uses."""
    try:
        config: Any = np.show_config(mode="dicts")
        extensions = config["SIMD Extensions"]
        return [*extensions.get("baseline", ()), *extensions.get("found", ())]
    except (KeyError, TypeError, AttributeError):
        return None


def _libc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        return None


def _at(environment: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = environment
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _in_words(value: Any) -> str:
    return printable(" ".join(map(str, value)) if isinstance(value, list) else str(value))[:60]
