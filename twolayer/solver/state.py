"""What a solver yields while it trains, and how far it has come, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.network.schedules import PlateauState
from twolayer.utils.columns import larger_is_better


@dataclass(frozen=True)
class Best:
    """The best epoch so far by one column of the history, ties by another.

    Attributes:
        monitor: the column that decides.
        tie_breaker: the loss that decides between equals.
        value: the best value of `monitor`; None before the first epoch.
        tie_value: the value of `tie_breaker` there.
        epoch: the epoch it was reached in; 0 before the first, when the best parameters are the initial ones.
        step: updates made by then.
        bad_epochs: epochs since.
    """

    monitor: str
    tie_breaker: str
    value: float | None = None
    tie_value: float | None = None
    epoch: int = 0
    step: int = 0
    bad_epochs: int = 0

    def after_epoch(self, record: Mapping[str, float | None]) -> Best:
        """The state after an epoch; `bad_epochs` is 0 if, and only if, it was the best so far.

        A value that is missing or not finite is never an improvement.
        """
        value, tie_value = record[self.monitor], record[self.tie_breaker]
        if value is None or tie_value is None or not math.isfinite(value):
            return replace(self, bad_epochs=self.bad_epochs + 1)
        if not self._improves(value, tie_value):
            return replace(self, bad_epochs=self.bad_epochs + 1)
        epoch, step = int(record["epoch"] or 0), int(record["step"] or 0)
        return replace(self, value=value, tie_value=tie_value, epoch=epoch, step=step, bad_epochs=0)

    def _improves(self, value: float, tie_value: float) -> bool:
        if self.value is None or self.tie_value is None:
            return True
        if value == self.value:
            return tie_value < self.tie_value
        return value > self.value if larger_is_better(self.monitor) else value < self.value


Record = dict[str, float | None]


class Stretch(NamedTuple):
    """What happened in some consecutive steps.

    Attributes:
        epoch: the epoch they belong to, from 1.
        first_step: number of the first step, from 1.
        rates: (K,) learning rates.
        losses: (K,) each batch's loss before its update; NaN for a batch of zero weight.
        batch_rows: (K,) rows in each batch.
    """

    epoch: int
    first_step: int
    rates: Array
    losses: Array
    batch_rows: NDArray[np.intp]


class EpochEnd(NamedTuple):
    """The end of an epoch: its record, and the stretch that ended it."""

    record: Record
    stretch: Stretch


@dataclass(frozen=True)
class Progress:
    """How far a training has come: all of its state that is not arrays.

    Attributes:
        epoch: epochs finished.
        step: steps done, those of the current epoch included.
        best: the best epoch so far.
        plateau: the state of the schedule `plateau`.
        stopped_early: whether patience has run out.
    """

    epoch: int
    step: int
    best: Best
    plateau: PlateauState
    stopped_early: bool
