"""Learning-rate schedules: pure functions from the step to the rate. `plateau` alone looks at the results: the
solver counts its drops, and their product belongs to the checkpoint.

Time is measured in epochs, e = step / steps_per_epoch, where `step` counts the updates already made. A warm-up
multiplies the rate by (step + 1) / (warmup steps + 1) while it lasts, and the schedule's own clock starts after it."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np

from twolayer.network.checks import count, setting
from twolayer.network.model import Array


@dataclass(frozen=True)
class Schedule:
    """What the rate depends on, besides the step; the rows of `SCHEDULES` say which numbers each schedule uses."""

    schedule: str = "constant"  # a key of `SCHEDULES`
    learning_rate: float = 0.1  # the rate at the start (after the warm-up)
    epochs: float = 1.0  # the horizon of `cosine`, the warm-up included
    _: KW_ONLY
    step_epochs: float = setting(10.0, "epochs between two drops", gt=0)
    factor: float = setting(None, "multiplies the rate: per drop, or per epoch for exponential", gt=0, le=1)
    plateau_patience: int = count(5, "lower the rate after this many epochs without improvement of monitor", ge=0)
    min_learning_rate: float = setting(0.0, "floor under the scheduled rate, not under the warm-up", ge=0)
    warmup_epochs: float = setting(0.0, "epochs over which the rate first rises to learning_rate", ge=0)


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


class ScheduleKind(NamedTuple):
    """A row of the table."""

    rate: Callable[[Schedule, Array], Array]  # from the epochs since the warm-up, (K,) -> (K,)
    uses: tuple[str, ...] = ()  # the numbers of `Schedule` that it reads; each schedule may have a warm-up
    factor: float = 0.1  # the default of `factor`
    has_horizon: bool = False  # whether it depends on the planned epochs, so that a run cannot resume for more


SCHEDULES: dict[str, ScheduleKind] = {
    "constant": ScheduleKind(constant),
    "step": ScheduleKind(step, uses=("step_epochs", "factor", "min_learning_rate")),
    "exponential": ScheduleKind(exponential, uses=("factor", "min_learning_rate"), factor=0.95),
    "cosine": ScheduleKind(cosine, uses=("min_learning_rate",), has_horizon=True),
    # times `plateau_scale`
    "plateau": ScheduleKind(constant, uses=("factor", "plateau_patience", "min_learning_rate"), factor=0.5),
}


@np.errstate(over="ignore")  # of a rate near the largest float: the training then diverges
def learning_rates(schedule: Schedule, steps: Array, steps_per_epoch: int, plateau_scale: float = 1.0) -> Array:
    """Return the rates (K,), float64, of updates before which `steps` (K,) others came, `steps_per_epoch` in an epoch
    with its short last batch; `plateau_scale` is the product of the drops of `plateau`, which the solver counts.

    Example:
        >>> learning_rates(Schedule("step", 0.1, step_epochs=2, factor=0.5), np.array([0, 20]), steps_per_epoch=10)
        array([0.1 , 0.05])
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    e = np.maximum(steps - warmup_steps, 0) / steps_per_epoch
    rates = np.maximum(SCHEDULES[schedule.schedule].rate(schedule, e) * plateau_scale, schedule.min_learning_rate)
    rising = schedule.learning_rate * plateau_scale * (steps + 1) / (warmup_steps + 1)
    return np.where(steps < warmup_steps, rising, rates)
