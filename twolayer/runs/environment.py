"""What a run's numbers depend on besides its config: versions, BLAS and its threads, the machine, the data.

Recorded with the run, and compared before it is resumed: the last bits of a product change with any of them."""

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.utils.blas import THREAD_VARIABLES, blas_facts
from twolayer.utils.files import read_json
from twolayer.utils.text import plain
from twolayer.utils.version import __version__

Environment = dict[str, Any]

COMPILED_SUMS = 2
"""The order in which the compiled engine sums: 1, by threads, in version 0.1, which did not record it; 2, by shape."""

# What must be the same for the same bits: its place in the environment, and its name in messages.
_BITS = {
    "twolayer": "twolayer",
    "numpy": "numpy",
    "blas.name": "BLAS",
    "blas.version": "BLAS version",
    "blas.kernels": "BLAS kernels",
    "blas.threads": "BLAS threads",
    "numba": "numba",
    "compiled_sums": "order of sums of the compiled engine",
    "machine.architecture": "architecture",
    "machine.processor": "processor",
    "machine.simd": "processor features",
    "machine.libc": "C library",
}


def recorded_digests(environment: Path) -> dict[str, str]:
    """Return the SHA-256 of the data files that a run recorded, by their path; empty without a record."""
    recorded = read_json(environment).get("data") if environment.exists() else None
    return {path: str(digest) for path, digest in recorded.items()} if isinstance(recorded, dict) else {}


def describe_environment(data: Mapping[str, str] | None = None, engine: str = "numpy") -> Environment:
    """Return the content of environment.json, with the SHA-256 of each data file; nothing names the person or the host.

    Call it once the engine is loaded: numba and scipy are recorded if they are imported.
    """
    config: Any = np.show_config(mode="dicts")
    numba, simd = sys.modules.get("numba"), config.get("SIMD Extensions", {})
    return {
        "twolayer": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": getattr(numba, "__version__", None),
        "scipy": getattr(sys.modules.get("scipy"), "__version__", None),
        "blas": blas_facts(),
        "engine": engine,
        "compiled_sums": COMPILED_SUMS if engine == "numba" else None,
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "architecture": platform.machine(),
            "processor": _processor(),
            "simd": [*simd.get("baseline", ()), *simd.get("found", ())],  # what NumPy found and uses
            "libc": " ".join(platform.libc_ver()).strip() or None,
            "cpus": os.cpu_count(),
            "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "data": dict(data or {}),
    }


def differences_that_change_bits(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each difference that can change the bits of a resumed run: `"BLAS threads: 2 then, 1 now"`.

    An entry that only one of the environments has, such as a package that was not imported, is no difference.
    """
    found = []
    compiled = new.get("engine") == "numba"
    for place, word in _BITS.items():
        then, now = _at(old, place), _at(new, place)
        if compiled and place == "blas.threads":
            continue  # the compiled engine gives the same bits on any number
        if compiled and place == "compiled_sums":
            then = then or 1
        if then is not None and now is not None and then != now:
            words = [plain(" ".join(map(str, each)) if isinstance(each, list) else each) for each in (then, now)]
            found.append(f"{word}: {words[0]} then, {words[1]} now")
    then, now = old.get("data"), new.get("data")
    if isinstance(then, dict) and isinstance(now, dict):
        found += [f"data: {path} has changed" for path in now if path in then and then[path] != now[path]]
        if then.keys() != now.keys() and sorted(map(str, then.values())) != sorted(map(str, now.values())):
            found.append("data: other files than before")
    return found


def _processor() -> str | None:
    """Return the processor's model name, if the system keeps it in a file."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file.read(4096).splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return None


def _at(environment: Mapping[str, Any], place: str) -> Any:
    value: Any = environment
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
