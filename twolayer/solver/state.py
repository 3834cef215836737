"""What a solver yields while it trains, how far it has come, and what it says when it diverges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array, Params
from twolayer.network.settings import MONITORS, SolverSettings, larger_is_better, needs_hidden_layer, needs_validation
from twolayer.solver.engine import NonFiniteStepError
from twolayer.utils.errors import DivergedError, MonitorError
from twolayer.utils.text import did_you_mean, expected_got

_MOST = 10**15  # epochs or steps: more than any training can have done

Record = dict[str, float | None]


@dataclass(frozen=True)
class Best:
    """The best epoch so far by one column of the history, ties by another; and how long the column has not improved.

    The two are separate. The best parameters follow every better value, and at an equal value the lower tie breaker.
    `bad_epochs` looks at the monitor alone: an equal value is no improvement, nor is one within `min_delta`.
    """

    monitor: str  # the column that decides
    tie_breaker: str  # the loss that decides between equal values
    value: float | None = None  # the best value of `monitor`; None before the first epoch
    tie_value: float | None = None  # the value of `tie_breaker` there
    epoch: int = 0  # in which it was reached; 0 before the first, when the best parameters are the initial ones
    step: int = 0  # updates made by then
    reference: float | None = None  # the value of the last improvement; the next must be better by over `min_delta`
    bad_epochs: int = 0  # epochs since that improvement

    def after_epoch(self, record: Mapping[str, float | None], min_delta: float = 0.0) -> Best:
        """Return the state after an epoch. A value that is missing or not finite is never an improvement, and a
        MonitorError in the first epoch."""
        value, tie_value = record[self.monitor], record[self.tie_breaker]
        after = replace(self, bad_epochs=self.bad_epochs + 1)
        if value is None or not math.isfinite(value):
            if self.value is None:
                raise MonitorError(
                    f"monitor {self.monitor!r}: expected a number after the first epoch, got {value}, so it cannot "
                    "pick the best parameters; choose another monitor, or rows for which it is defined"
                )
            return after
        sign = 1 if larger_is_better(self.monitor) else -1

        def rank(value: float, tie_value: float | None) -> tuple[float, float]:
            return sign * value, -math.inf if tie_value is None else -tie_value

        if self.reference is None or sign * (value - self.reference) > min_delta:
            after = replace(after, reference=value, bad_epochs=0)
        if self.value is None or rank(value, tie_value) > rank(self.value, self.tie_value):
            epoch, step = int(record["epoch"] or 0), int(record["step"] or 0)
            after = replace(after, value=value, tie_value=tie_value, epoch=epoch, step=step)
        return after


def require_monitor(monitor: str, *, validation: bool, hidden: bool, score: bool, n_classes: int) -> None:
    """Raise ValueError for a column that no record has, or that has no values in a training without validation rows,
    a hidden layer or a custom score."""
    if monitor not in MONITORS and not (monitor == "score" and score):
        expected = f"one of {', '.join(MONITORS)}, or score with a custom metric"
        raise ValueError(f"monitor: {expected_got(expected, repr(monitor), did_you_mean(monitor, MONITORS))}")
    if needs_validation(monitor) and not validation:
        raise ValueError(f"monitor {monitor!r} needs validation rows")
    if monitor == "val_auc" and n_classes != 2:
        raise ValueError(f"monitor 'val_auc' needs two classes, got {n_classes}; use val_balanced_accuracy or val_f1")
    if needs_hidden_layer(monitor) and not hidden:
        raise ValueError(f"monitor {monitor!r} needs a hidden layer")


class Chunk(NamedTuple):
    """What happened in K consecutive steps."""

    epoch: int  # the epoch they belong to, from 1
    first_step: int  # number of the first step, from 1
    rates: Array  # (K,) learning rates
    losses: Array  # (K,) each batch's loss before its update; NaN for a batch of zero weight
    batch_rows: NDArray[np.intp]  # (K,) rows in each batch
    record: Record | None = None  # the figures of the epoch, if these steps ended it


@dataclass(frozen=True)
class SolverProgress:
    """How far a training has come: all of its state that is not arrays."""

    epoch: int  # epochs finished
    step: int  # steps done, those of the current epoch included
    best: Best
    plateau_scale: float = 1.0  # the product of the drops of schedule `plateau`
    stopped_early: bool = False  # patience has run out

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> SolverProgress:
        """Return what `dataclasses.asdict` wrote into the header of a checkpoint, an untrusted file; raise KeyError,
        TypeError or ValueError for anything else. One of version 0.1 lacks some fields: there `bad_epochs` did not
        count ties, and the plateau had a count and a best value of its own."""
        values, best = dict(header), {"reference": header["best"]["value"], **header["best"]}
        if "plateau" in values:
            values["plateau_scale"] = values.pop("plateau")["scale"]
        progress: SolverProgress = _made(cls, {**values, "best": _made(Best, best)})
        return progress


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a dataclass of all its values, each of its declared type, whole numbers 0 or more; else raise ValueError."""
    types = get_type_hints(kind)
    if set(values) != set(types):
        raise ValueError(f"{kind.__name__} needs {sorted(types)}")
    for name, value in values.items():
        allowed = get_args(types[name]) if isinstance(types[name], UnionType) else (types[name],)
        fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        fits = fits or (float in allowed and type(value) is int)
        if not fits or (type(value) is int and not 0 <= value <= _MOST):
            raise ValueError(f"{name} is {value!r}")
    return kind(**values)


LARGE_FEATURE = 50.0  # standardised rows stay far below this
LARGE_GRADIENT = 10.0  # ordinary ones are around 1


def divergence(
    step: int, rate: float, error: NonFiniteStepError, params: Params, X: Array, settings: SolverSettings
) -> DivergedError:
    """Return the error that says where it was, with which numbers, and what to try as far as they point. `step`, from
    1, went wrong, or after it the training loss was not finite; X (n, D) are some rows of the training."""
    weights = {name: W for name, W in params.named().items() if name.startswith("W")}
    with np.errstate(over="ignore", invalid="ignore"):
        norms = ", ".join(f"|{name}| = {np.linalg.norm(W):.3g}" for name, W in weights.items())
    message = (
        f"diverged at step {step}: loss {error.loss:.3g}, gradient norm {error.gradient_norm:.3g} "
        f"at learning rate {rate:.3g} ({norms})"
    )
    before = error.losses[np.isfinite(error.losses)]
    if len(before) and before[-1] > before[0]:
        message += f"; the loss rose from {before[0]:.3g} to {before[-1]:.3g} in the {len(before)} steps before"
    remedies = [f"a lower solver.learning_rate, such as {settings.learning_rate / 10:.1g}"]
    if settings.warmup_epochs == 0:
        remedies.append("solver.warmup_epochs: 1")
    largest = float(np.abs(X).max())
    if not largest < LARGE_FEATURE:
        remedies.insert(0, f"data.scale: standardize (a feature reaches {largest:.3g})")
    if settings.max_grad_norm is None and not error.gradient_norm < LARGE_GRADIENT:
        remedies.append("solver.max_grad_norm: 1")
    return DivergedError(f"{message}. Try {', or '.join(remedies)}")
