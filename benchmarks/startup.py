"""Start-up: seconds and peak memory of whole processes, from the shell's Enter to the saved curve: the command `train`
beside equal short scripts with NumPy, scikit-learn and PyTorch."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.entries import ENTRIES
from twolayer.utils.process import module_command, module_environment

# What all scripts share: the rows split and scaled as `train` does, and the curve drawn at the end.
SCRIPT_BEGIN = """
import sys
import numpy as np
rows = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, dtype=np.float32)
rows = rows[np.random.default_rng(0).permutation(len(rows))]
X, y = rows[:, :-1], rows[:, -1].astype(np.int64)
n = round(.85 * len(X))
center, scale = X[:n].mean(0), X[:n].std(0)
scale[scale == 0] = 1
X = (X - center) / scale
X_val, y_val, X, y = X[n:], y[n:], X[:n], y[:n]
H, B, epochs, rate, momentum, reg = 64, 64, 40, .1, .9, 1e-4
curve = []
def cross_entropy(P, y):
    return -np.log(np.maximum(P[np.arange(len(y)), y], 1e-30)).mean()
"""
SCRIPT_END = """
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
figure = Figure()
FigureCanvasAgg(figure)
figure.subplots().plot(curve)
figure.savefig(sys.argv[2])
"""
_SKLEARN = """
from sklearn.neural_network import MLPClassifier
model = MLPClassifier((H,), solver="sgd", batch_size=B, alpha=reg * B, learning_rate_init=rate, momentum=momentum,
                      nesterovs_momentum=False, random_state=0)
for epoch in range(epochs):
    model.learning_rate_init = rate * (1 + np.cos(np.pi * epoch / epochs)) / 2
    model.partial_fit(X, y, classes=np.arange(10))
    model._optimizer.learning_rate = model._optimizer.learning_rate_init = model.learning_rate_init
    curve.append((cross_entropy(model.predict_proba(X), y), cross_entropy(model.predict_proba(X_val), y_val)))
"""
_PYTORCH = """
import torch
from torch.nn import functional
torch.manual_seed(0)
X, y, X_val, y_val = map(torch.from_numpy, (X, y, X_val, y_val))
model = torch.nn.Sequential(torch.nn.Linear(64, H), torch.nn.ReLU(), torch.nn.Linear(H, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=reg, fused=True)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
for epoch in range(epochs):
    for batch in torch.randperm(len(X)).split(B):
        optimizer.zero_grad()
        functional.cross_entropy(model(X[batch]), y[batch]).backward()
        optimizer.step()
    schedule.step()
    with torch.no_grad():
        curve.append([functional.cross_entropy(model(a), b).item() for a, b in ((X, y), (X_val, y_val))])
"""
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


_PEERS = {"scikit-learn": _SKLEARN, "PyTorch eager": _PYTORCH}


class Used(NamedTuple):
    """CPU seconds, seconds of the clock and peak MiB of a process."""

    cpu: float
    seconds: float
    mib: float


def measure_startup(
    config: Path, rows: Path, rounds: int, peers: bool = False, say: Callable[[str], None] = lambda _: None
) -> dict[str, list[Used]]:
    """Measure whole processes, in turn after one to warm the file cache.

    Args:
        config: what `train` is given.
        rows: the gzipped CSV of the same rows, the label last, for the scripts.
        rounds: how often.
        peers: whether to run the scripts of those peers that are installed.
        say: called when it begins.

    Raises:
        subprocess.CalledProcessError: if a process fails.
    """
    say(f"whole processes: {config.name}, {rounds} rounds")
    scripts = {"bare script": SCRIPT_NUMPY}
    scripts |= {name: middle for name, middle in _PEERS.items() if peers and not ENTRIES[name].missing}
    with TemporaryDirectory() as name:
        folder = Path(name)
        commands = {
            "--help": module_command("twolayer", "--help"),
            "import twolayer": [sys.executable, "-c", "import twolayer; twolayer.Solver"],
            "import numpy": [sys.executable, "-c", "import numpy"],
        }
        for key, middle in scripts.items():
            script = folder / f"{key.split()[0]}.py"
            script.write_text(SCRIPT_BEGIN + middle + SCRIPT_END)
            commands[key] = [sys.executable, str(script), str(rows), str(folder / "curve.png")]
        found: dict[str, list[Used]] = {}
        for turn in range(rounds + 1):
            train = module_command("twolayer", "train", str(config), "--run-dir", f"{folder}/{turn}", "--quiet")
            for key, command in {"train": train, **commands}.items():
                used = _use(command)
                if turn:
                    found.setdefault(key, []).append(used)
    return found


def _use(command: list[str]) -> Used:
    quiet, began = subprocess.DEVNULL, time.perf_counter()
    process = subprocess.Popen(command, env=module_environment(), stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    mib = usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    return Used(usage.ru_utime + usage.ru_stime, seconds, mib)


def startup_lines(found: dict[str, list[Used]]) -> list[str]:
    """Return the table, and the ratios of `train` to the scripts in CPU time, pair by pair."""
    lines = []
    for key, used in found.items():
        cpu, seconds, mib = (statistics.median(each) for each in zip(*used, strict=True))
        lines.append(f"{key:<16} {cpu:6.2f} CPU s {seconds:6.2f} s {mib:6.0f} MiB at most")
    for key in ("bare script", *_PEERS):
        pairs = [ours.cpu / theirs.cpu for ours, theirs in zip(found["train"], found.get(key, ()), strict=False)]
        if pairs:
            ratios = ", ".join(f"{each:.2f}" for each in pairs)
            lines.append(f"train / {key}, pair by pair: {ratios}; median {statistics.median(pairs):.2f}")
    return lines
