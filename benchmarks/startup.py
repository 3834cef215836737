"""Start-up: CPU seconds and peak memory of whole processes, beside a bare script with NumPy and matplotlib."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.processes import SCRIPT_BEGIN, SCRIPT_END
from twolayer.utils.process import module_command, module_environment

# What `train configs/optdigits.yaml` does, as one would write it in a script: momentum, cosine, the same epochs.
SCRIPT_NUMPY = """
rng = np.random.default_rng(0)
W1, b1 = (rng.standard_normal((64, H)) * np.sqrt(2 / 64)).astype(np.float32), np.zeros(H, np.float32)
W2, b2 = (rng.standard_normal((H, 10)) * np.sqrt(1 / H)).astype(np.float32), np.zeros(10, np.float32)
parameters = [W1, b1, W2, b2]
velocities = [np.zeros_like(array) for array in parameters]
def probabilities(X):
    A1 = np.maximum(X @ W1 + b1, 0)
    S = A1 @ W2 + b2
    P = np.exp(S - S.max(axis=1, keepdims=True))
    return A1, P / P.sum(axis=1, keepdims=True)
steps = -(-len(X) // B)
for step in range(epochs * steps):
    if step % steps == 0:
        order = rng.permutation(len(X))
    rows = order[step % steps * B : (step % steps + 1) * B]
    a = rate * (1 + np.cos(np.pi * step / (epochs * steps))) / 2
    A1, dS = probabilities(X[rows])
    dS[np.arange(len(rows)), y[rows]] -= 1
    dS /= len(rows)
    dZ1 = dS @ W2.T * (A1 > 0)
    gradients = [X[rows].T @ dZ1 + reg * W1, dZ1.sum(0), A1.T @ dS + reg * W2, dS.sum(0)]
    for q, g, v in zip(parameters, gradients, velocities):
        v *= momentum
        v -= a * g
        q += v
    if step % steps == steps - 1:
        curve.append([cross_entropy(probabilities(rows)[1], labels) for rows, labels in ((X, y), (X_val, y_val))])
"""


class Used(NamedTuple):
    """CPU seconds and peak MiB of a process."""

    seconds: float
    mib: float


def measure_startup(
    config: Path, rows: Path, rounds: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, list[Used]]:
    """Measure whole processes, in turn after one to warm the file cache.

    Args:
        config: what `train` is given.
        rows: the gzipped CSV of the same rows, the label last, for the script.
        rounds: how often.
        say: called when it begins.

    Raises:
        subprocess.CalledProcessError: if a process fails.
    """
    say(f"whole processes: {config.name}, {rounds} rounds")
    with TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "bare.py"
        script.write_text(SCRIPT_BEGIN + SCRIPT_NUMPY + SCRIPT_END)
        found: dict[str, list[Used]] = {}
        for turn in range(rounds + 1):
            commands = {
                "train": module_command("twolayer", "train", str(config), "--run-dir", f"{folder}/{turn}", "--quiet"),
                "bare script": [sys.executable, str(script), str(rows), str(folder / "curve.png")],
                "--help": module_command("twolayer", "--help"),
                "import twolayer": [sys.executable, "-c", "import twolayer; twolayer.Solver"],
                "import numpy": [sys.executable, "-c", "import numpy"],
            }
            for key, command in commands.items():
                used = _use(command)
                if turn:
                    found.setdefault(key, []).append(used)
    return found


def _use(command: list[str]) -> Used:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=module_environment(), stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20))


def startup_lines(found: dict[str, list[Used]]) -> list[str]:
    """Return the table, and the ratio of `train` to the bare script, pair by pair."""
    lines = [
        f"{key:<16} {statistics.median(u.seconds for u in used):6.2f} CPU s"
        f" {statistics.median(u.mib for u in used):6.0f} MiB at most"
        for key, used in found.items()
    ]
    pairs = [a.seconds / b.seconds for a, b in zip(found["train"], found["bare script"], strict=True)]
    ratios = ", ".join(f"{each:.2f}" for each in pairs)
    return [*lines, f"train / bare script, pair by pair: {ratios}; median {statistics.median(pairs):.2f}"]
