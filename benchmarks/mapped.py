"""Training from a file larger than memory: how much memory it takes beyond the mapped pages, and how much
longer its steps are than those from the same rows in memory."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np

from benchmarks.race import PAUSE_SECONDS, Contestant
from twolayer.utils.errors import TwoLayerError

D, H, C, B = 784, 128, 10, 128
TURNS, STEPS = 12, 1500  # steps in a turn
KINDS = "mapped", "memory"


def measure_mapped(gigabytes: float, folder: Path | None = None) -> dict[str, float]:
    """Makes a .npy file of random bytes, trains from it in one process and from all its rows in memory in another, in
    turn, as `race` does.

    Args:
        gigabytes: GiB of the file; it is removed afterwards.
        folder: where to make it; None for the system's folder of temporary files.

    Returns:
        mapped_us and memory_us, microseconds per step, the median over the turns; anonymous_mib, the peak of memory
        that is not pages of a mapped file, start-up included; rows.

    Raises:
        TwoLayerError: if one of the processes dies, as it does when memory runs out.
    """
    with TemporaryDirectory(dir=folder) as name, ExitStack() as stack:
        path, labels = Path(name) / "features.npy", Path(name) / "labels.npy"
        rows = int(gigabytes * 2**30) // D
        block = np.random.default_rng(0).integers(0, 256, (65_536, D), np.uint8)
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(rows, D))
        for first in range(0, rows, len(block)):
            mapped[first : first + len(block)] = block[: rows - first]
        mapped.flush()
        del mapped
        np.save(labels, (np.arange(rows) % C).astype(np.int64))
        processes = [
            stack.enter_context(Contestant(kind, "benchmarks.mapped", str(path), str(labels), kind)) for kind in KINDS
        ]
        turns = [[_turn(process) for process in processes] for _ in range(TURNS)]
    times = {kind: float(np.median([turn[i]["us"] for turn in turns])) for i, kind in enumerate(KINDS)}
    return {
        "rows": rows,
        "mapped_us": times["mapped"],
        "memory_us": times["memory"],
        "anonymous_mib": max(mapped_turn["anonymous_mib"] for mapped_turn, _ in turns),
    }


def _turn(process: Contestant) -> dict[str, float]:
    time.sleep(PAUSE_SECONDS)
    answer = process.ask({"steps": STEPS})
    if not answer:
        raise TwoLayerError(f"The process that trains from {process.name} died; a smaller file takes less memory")
    return answer


def _serve(path: str, labels: str, kind: str, requests: IO[str], answers: IO[str]) -> None:
    """Answers each line of `requests` with the time of that many more steps, over randomly chosen rows of the whole
    file as an epoch makes them, and the memory they took."""
    from twolayer.data import ScaledRows, load_dataset
    from twolayer.network.model import init_params
    from twolayer.solver.solver import Solver

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
    chunks = solver.run()
    for line in requests:
        asked, done, peak, times = json.loads(line)["steps"], 0, 0.0, []
        while done < asked:
            began = time.perf_counter()
            chunk = next(chunks)
            times.append((time.perf_counter() - began) / len(chunk.losses) * 1e6)
            done += len(chunk.losses)
            peak = max(peak, _anonymous_mib())
        answers.write(json.dumps({"us": float(np.median(times)), "anonymous_mib": peak}) + "\n")
        answers.flush()


def _anonymous_mib() -> float:
    """Resident memory that is not pages of a file, by the kernel's own account (Linux)."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


if __name__ == "__main__":
    _, path, labels, kind = sys.argv
    _serve(path, labels, kind, sys.stdin, sys.stdout)
