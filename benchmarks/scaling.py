"""How the time of an epoch grows with N, D, H, C and the batch: whole epochs by `Solver`, shuffled and gathered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from twolayer.network.model import init_params
from twolayer.network.settings import EngineName
from twolayer.solver.solver import Solver
from twolayer.solver.state import Record

BASE = {"N": 20_000, "D": 64, "H": 64, "C": 10, "B": 64}
AXES = {
    "N": (5_000, 10_000, 20_000, 40_000, 80_000),
    "D": (16, 64, 256, 1024),
    "H": (16, 64, 256, 1024),
    "C": (2, 10, 50, 200),
    "B": (8, 32, 128, 512),
}
EPOCHS = 15  # timed, after a first one


class Point(NamedTuple):
    """N rows, D features, H hidden units, C classes, B rows in a batch."""

    N: int
    D: int
    H: int
    C: int
    B: int


class LinearFit(NamedTuple):
    """seconds = intercept + slope N, by least squares, and the share of the variance it explains."""

    intercept: float
    slope: float
    r_squared: float


def measure_scaling(engine: EngineName, quick: bool = False) -> dict[str, list[tuple[int, float]]]:
    """For each axis, (value, seconds of the quickest epoch), everything else as in `BASE`.

    All trainings take turns, so that a slow moment of the machine does not fall on one of them alone.
    """
    chosen = {axis: values[:3] if quick else values for axis, values in AXES.items()}
    points = {(axis, value): Point(**{**BASE, axis: value}) for axis, values in chosen.items() for value in values}
    trainings = {point: iter(_solver(engine, *point)) for point in points.values()}
    turns = [{point: _timed_epoch(training) for point, training in trainings.items()} for _ in range(1 + EPOCHS)]
    quickest = {point: min(turn[point] for turn in turns[1:]) for point in trainings}
    return {axis: [(value, quickest[points[axis, value]]) for value in values] for axis, values in chosen.items()}


def _solver(engine: EngineName, N: int, D: int, H: int, C: int, B: int) -> Solver:
    """A training on random rows; evaluation on at most 1,000 of them."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, D), np.float32), rng.integers(0, C, N)
    return Solver(
        init_params(D, H, C, rng=rng), X, y, engine=engine, optimizer="momentum", learning_rate=0.001, batch_size=B,
        epochs=1 + EPOCHS, evaluate_rows=1000,
    )  # fmt: skip


def _timed_epoch(training: Iterator[Record]) -> float:
    began = time.perf_counter()
    next(training)
    return time.perf_counter() - began


def fit_line(points: list[tuple[int, float]]) -> LinearFit:
    """The line through (N, seconds)."""
    N, seconds = np.array(points, float).T
    slope, intercept = np.polyfit(N, seconds, 1)
    residuals = seconds - (intercept + slope * N)
    return LinearFit(float(intercept), float(slope), float(1 - residuals.var() / seconds.var()))
