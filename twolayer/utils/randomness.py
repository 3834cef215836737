"""Randomness is counted, not carried: every use has its own generator, made from (seed, purpose, index).

So nothing depends on how often something else drew before: reporting options cannot change a training, and a
resumed run draws what the uninterrupted one would have drawn."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["init", "split", "shuffle", "evaluate", "generate", "check", "test_split", "fuzz", "folds"]

# A fixed table: a number, once given, never changes its meaning, or old runs could not be repeated.
PURPOSES: dict[Purpose, int] = {
    "init": 0,
    "split": 1,
    "shuffle": 2,
    "evaluate": 3,
    "generate": 4,
    "check": 5,
    "test_split": 6,
    "fuzz": 7,
    "folds": 8,
}


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Return the generator for one purpose of the run with this seed.

    Args:
        seed: the run's seed, a non-negative integer.
        purpose: what the numbers are for, a key of `PURPOSES`.
        index: which one of several, e.g. the epoch of a shuffle.
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(PURPOSES[purpose], index))
    return np.random.Generator(np.random.PCG64(sequence))
