"""What is raced: networks from tiny to large, with the rows, labels and first parameters that every contestant gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twolayer.network.model import Array, Params, forward, init_params

REG = 1e-4
MOMENTUM = 0.9
DATA_BYTES = 32 << 20  # of rows in a pass: more than a second-level cache, as real data are
MAX_STEPS = 2000  # in a pass


class Shape(NamedTuple):
    """D features, H hidden units, C classes, B rows in a batch."""

    D: int
    H: int
    C: int
    B: int

    def __str__(self) -> str:
        return "-".join(map(str, self))


SHAPES = (
    Shape(4, 10, 3, 5),
    Shape(64, 32, 10, 64),
    Shape(64, 100, 10, 32),
    Shape(784, 128, 10, 128),
    Shape(3072, 50, 10, 200),
    Shape(784, 1024, 10, 512),
    Shape(3072, 500, 10, 200),
)


@dataclass(frozen=True)
class Case:
    """One race.

    Attributes:
        shape: D, H, C, B.
        optimizer: `sgd` or `momentum`.
    """

    shape: Shape
    optimizer: str = "sgd"

    @property
    def steps(self) -> int:
        """Batches in a pass over the rows; all are full."""
        return int(np.clip(DATA_BYTES // (4 * self.shape.B * self.shape.D), 8, MAX_STEPS))

    @property
    def learning_rate(self) -> float:
        """The rate of each step: small enough that rounding does not grow into another result."""
        return 0.01 if self.optimizer == "sgd" else 0.001


class Work(NamedTuple):
    """What a contestant is handed: rows X (K B, D) and labels y (K B,) in the order of the batches, and Params."""

    case: Case
    X: Array
    y: Array
    params: Params


def make_work(case: Case) -> Work:
    """The same numbers in every process: rows from a normal distribution, labelled by a random linear teacher."""
    D, H, C, B = case.shape
    rng = np.random.default_rng(0)
    X = rng.standard_normal((case.steps * B, D), np.float32)
    y = (X @ rng.standard_normal((D, C), np.float32)).argmax(axis=1)
    return Work(case, X, y, init_params(D, H, C, rng=rng))


def loss_at(work: Work, params: Params) -> float:
    """Mean cross-entropy over the rows of the first batches (at most 10,000)."""
    X, y = work.X[:10_000], work.y[:10_000]
    S = forward(params, X).astype(np.float64)
    S -= S.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(S).sum(axis=1)) - S[np.arange(len(y)), y]))
