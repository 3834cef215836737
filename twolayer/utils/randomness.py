"""Randomness is counted, not carried: every use has its own generator, made from (seed, purpose, index).

So nothing depends on how often something else drew before: reporting options cannot change a training, and a
resumed run draws what the uninterrupted one would have drawn."""

from typing import Literal, get_args

import numpy as np

# A purpose's place is its number, which never changes its meaning, or old runs could not be repeated.
Purpose = Literal["init", "split", "shuffle", "evaluate", "generate", "check", "test_split", "fuzz", "folds"]
PURPOSES: dict[Purpose, int] = {purpose: number for number, purpose in enumerate(get_args(Purpose))}


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Return the generator for one purpose of the run with this seed; `index` is, for instance, a shuffle's epoch."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(PURPOSES[purpose], index))
    return np.random.Generator(np.random.PCG64(sequence))
