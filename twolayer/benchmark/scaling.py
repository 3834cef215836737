"""How the time of an epoch grows with N, D, H, C and the batch: whole epochs by `Solver`, shuffled and gathered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twolayer.engine import EngineName
from twolayer.model import init_params
from twolayer.solver import Solver

BASE = {"N": 20_000, "D": 64, "H": 64, "C": 10, "B": 64}
AXES = {
    "N": (5_000, 10_000, 20_000, 40_000, 80_000),
    "D": (16, 64, 256, 1024),
    "H": (16, 64, 256, 1024),
    "C": (2, 10, 50, 200),
    "B": (8, 32, 128, 512),
}


class LinearFit(NamedTuple):
    """seconds = intercept + slope N, by least squares, and the share of the variance it explains."""

    intercept: float
    slope: float
    r_squared: float


def epoch_seconds(engine: EngineName, N: int, D: int, H: int, C: int, B: int, repeats: int = 3) -> float:
    """The quickest of `repeats` epochs after a first one; evaluation on at most 1,000 rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D), np.float32)
    y = rng.integers(0, C, N)
    solver = Solver(
        init_params(D, H, C, rng=rng), X, y, engine=engine, optimizer="momentum", learning_rate=0.001, batch_size=B,
        epochs=1 + repeats, evaluate_rows=1000,
    )  # fmt: skip
    times = []
    records = iter(solver)
    for _ in range(1 + repeats):
        began = time.perf_counter()
        next(records)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def measure_scaling(
    engine: EngineName, quick: bool = False, say: Callable[[str], None] = lambda _: None
) -> dict[str, list[tuple[int, float]]]:
    """For each axis, (value, seconds of an epoch), everything else as in `BASE`."""
    table = {}
    for axis, values in AXES.items():
        say(f"growth with {axis}, {engine} engine")
        chosen = values[:3] if quick else values
        table[axis] = [(value, epoch_seconds(engine, **{**BASE, axis: value})) for value in chosen]
    return table


def fit_line(points: list[tuple[int, float]]) -> LinearFit:
    """The line through (N, seconds)."""
    N, seconds = np.array(points, float).T
    slope, intercept = np.polyfit(N, seconds, 1)
    residuals = seconds - (intercept + slope * N)
    return LinearFit(float(intercept), float(slope), float(1 - residuals.var() / seconds.var()))
