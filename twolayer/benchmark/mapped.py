"""Training from a file larger than one wants in memory: how much memory it takes beyond the mapped pages, and how much
longer its steps are than those from the same rows in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

D, H, C, B = 784, 128, 10, 128
STEPS = 1500


def measure_mapped(gigabytes: float, folder: Path | None = None) -> dict[str, float]:
    """Makes a .npy file of random bytes, trains from it in one process and from all its rows in memory in another.

    Args:
        gigabytes: GiB of the file; it is removed afterwards.
        folder: where to make it; None for the system's folder of temporary files.

    Returns:
        mapped_us and memory_us, microseconds per step; anonymous_mib, the peak of memory that is not pages of a
        mapped file, start-up included; rows.
    """
    with TemporaryDirectory(dir=folder) as name:
        path, labels = Path(name) / "features.npy", Path(name) / "labels.npy"
        rows = int(gigabytes * 2**30) // D
        block = np.random.default_rng(0).integers(0, 256, (65_536, D), np.uint8)
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(rows, D))
        for first in range(0, rows, len(block)):
            mapped[first : first + len(block)] = block[: rows - first]
        mapped.flush()
        del mapped
        np.save(labels, (np.arange(rows) % C).astype(np.int64))
        answers = [_in_process(path, labels, kind) for kind in ("mapped", "memory")]
    return {
        "rows": rows,
        "mapped_us": answers[0]["us"],
        "memory_us": answers[1]["us"],
        "anonymous_mib": answers[0]["anonymous_mib"],
    }


def _in_process(path: Path, labels: Path, kind: str) -> dict[str, float]:
    command = [sys.executable, "-m", "twolayer.benchmark.mapped", str(path), str(labels), kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _train(path: str, labels: str, kind: str) -> dict[str, float]:
    """STEPS steps over randomly chosen rows of the whole file, as an epoch makes them, and the memory they took."""
    from twolayer.data import ScaledRows, load_dataset
    from twolayer.events import EpochEnd
    from twolayer.model import init_params
    from twolayer.solver import Solver

    dataset = load_dataset(
        train={"features": path, "labels": labels}, validation=None, scale="max", dtype="float32", seed=0
    )
    X: Any = dataset.train.X
    y = dataset.train.y
    if kind == "memory":
        X = ScaledRows(np.load(path), X.scaling)
    solver = Solver(
        init_params(D, H, C, rng=np.random.default_rng(0)), X, y, batch_size=B, learning_rate=0.001, epochs=1000
    )
    events = solver.run()
    peak, done, times = 0.0, 0, []
    while done < STEPS:
        began = time.perf_counter()
        event = next(events)
        stretch = event.stretch if isinstance(event, EpochEnd) else event
        times.append((time.perf_counter() - began) / len(stretch.losses) * 1e6)
        done += len(stretch.losses)
        if done % 50 < len(stretch.losses):
            peak = max(peak, _anonymous_mib())
    return {"us": float(np.median(times)), "anonymous_mib": peak}


def _anonymous_mib() -> float:
    """Resident memory that is not pages of a file, by the kernel's own account (Linux)."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


if __name__ == "__main__":
    print(json.dumps(_train(*sys.argv[1:])))
