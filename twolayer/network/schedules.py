"""Learning-rate schedules: pure functions from the step to the rate. `plateau` alone looks at the results: the
solver counts its drops, and their product belongs to the checkpoint.

Time is measured in epochs, e = step / steps_per_epoch, where `step` counts the updates already made. A warm-up
multiplies the rate by (step + 1) / (warmup steps + 1) while it lasts, and the schedule's own clock starts after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twolayer.network.model import Array


@dataclass(frozen=True)
class Schedule:
    """What the rate depends on, besides the step.

    Attributes:
        name: a key of `SCHEDULES`, or `plateau`.
        learning_rate: the rate at the start (after the warm-up).
        epochs: the horizon of `cosine`, in epochs, the warm-up included.
        warmup_epochs: length of the linear warm-up, in epochs; 0 for none.
        min_learning_rate: floor under the scheduled rate (the warm-up may go below).
        factor: what the rate is multiplied by: per `step_epochs` (step), per epoch (exponential), when the monitored
            value stops improving (plateau).
        step_epochs: epochs between two drops of `step`.
        plateau_patience: `plateau` drops after this many epochs without improvement (0 counts as 1).
    """

    name: str = "constant"
    learning_rate: float = 0.1
    epochs: float = 1.0
    warmup_epochs: float = 0.0
    min_learning_rate: float = 0.0
    factor: float = 0.1
    step_epochs: float = 10.0
    plateau_patience: int = 5

    @property
    def has_horizon(self) -> bool:
        """Whether the rate depends on how many epochs were planned, so that more of them make another run."""
        return self.name == "cosine"


def constant(schedule: Schedule, e: Array) -> Array:
    """rate = learning_rate."""
    return np.full(len(e), schedule.learning_rate)


def step(schedule: Schedule, e: Array) -> Array:
    """rate = learning_rate * factor ^ floor(e / step_epochs)."""
    return schedule.learning_rate * np.power(schedule.factor, np.floor(e / schedule.step_epochs))


def exponential(schedule: Schedule, e: Array) -> Array:
    """rate = learning_rate * factor ^ e, falling at every step."""
    return schedule.learning_rate * np.power(schedule.factor, e)


def cosine(schedule: Schedule, e: Array) -> Array:
    """rate = min + (learning_rate - min) (1 + cos(pi e / E)) / 2 over the E epochs after the warm-up.

    Half a cosine wave from the full rate down to the smallest (Loshchilov and Hutter, 2017, without restarts).
    """
    horizon = schedule.epochs - schedule.warmup_epochs
    done = np.minimum(e / horizon, 1.0) if horizon > 0 else np.ones(len(e))
    span = schedule.learning_rate - schedule.min_learning_rate
    return schedule.min_learning_rate + span * (1 + np.cos(np.pi * done)) / 2


SCHEDULES: dict[str, Callable[[Schedule, Array], Array]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "cosine": cosine,
    "plateau": constant,  # times `plateau_scale`
}


def learning_rates(schedule: Schedule, steps: Array, steps_per_epoch: int, plateau_scale: float = 1.0) -> Array:
    """The rates of some updates.

    Args:
        schedule: which schedule, with its numbers.
        steps: (K,) for each update, how many updates came before it.
        steps_per_epoch: updates in an epoch, the short last batch counted.
        plateau_scale: the product of the drops of `plateau`, which the solver counts; 1 for the other schedules.

    Returns:
        (K,) rates, float64.

    Example:
        >>> learning_rates(Schedule("step", 0.1, step_epochs=2, factor=0.5), np.array([0, 20]), steps_per_epoch=10)
        array([0.1 , 0.05])
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    e = np.maximum(steps - warmup_steps, 0) / steps_per_epoch
    rates = np.maximum(SCHEDULES[schedule.name](schedule, e) * plateau_scale, schedule.min_learning_rate)
    rising = schedule.learning_rate * plateau_scale * (steps + 1) / (warmup_steps + 1)
    return np.where(steps < warmup_steps, rising, rates)
