"""What a solver yields while it trains, and how far it has come, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.network.schedules import PlateauState
from twolayer.utils.columns import Best

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
