"""Whole processes on the handwritten digits, from the shell's Enter to the saved curve: the command `train` against
equal short scripts for scikit-learn and PyTorch."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

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
_SCRIPTS = {"scikit-learn": _SKLEARN, "PyTorch eager": _PYTORCH}


def time_processes(
    config: Path, rows: Path, peers: bool, rounds: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Seconds of each whole process, medians over `rounds`, in turn after one to warm the file cache.

    Args:
        config: what `train` is given.
        rows: the gzipped CSV of the same rows, the label last, for the scripts.
        peers: whether to run the scripts of those peers that are installed.
        rounds: how often.
        say: called when it begins.
    """
    say(f"whole processes on {rows.name}")
    with TemporaryDirectory() as folder:
        commands: dict[str, list[str]] = {}
        for index in range(rounds + 1):
            run_dir = str(Path(folder) / f"run-{index}")
            train = module_command("twolayer", "train", str(config), "--run-dir", run_dir, "--quiet")
            commands[f"twolayer {index}"] = train
        scripts = {}
        for name, middle in _SCRIPTS.items():
            if peers and not ENTRIES[name].missing:
                script = Path(folder) / f"{name.split()[0]}.py"
                script.write_text(SCRIPT_BEGIN + middle + SCRIPT_END)
                scripts[name] = [sys.executable, str(script), str(rows), str(Path(folder) / "curve.png")]
        times: dict[str, list[float]] = {"twolayer": [], **{name: [] for name in scripts}}
        for index in range(rounds + 1):
            for name in times:
                seconds = _run(scripts.get(name) or commands[f"twolayer {index}"])
                if index:
                    times[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _run(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=module_environment(), check=True, capture_output=True)
    return time.perf_counter() - began
