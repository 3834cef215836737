"""Which parameters are the best so far, and when to stop waiting for better ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Monitor = Literal[
    "val_accuracy",
    "val_loss",
    "train_accuracy",
    "train_loss",
    "penalty",
    "gradient_norm",
    "update_ratio_W1",
    "update_ratio_W2",
    "weight_norm_W1",
    "weight_norm_W2",
    "dead_share",
    "activation_min",
    "activation_median",
    "activation_max",
]

MONITORS: tuple[str, ...] = get_args(Monitor)


def larger_is_better(column: str) -> bool:
    """Whether a column of the history is an accuracy or a score of one's own; of all others, less is better."""
    return column.endswith(("accuracy", "score"))


def needs_validation(column: str) -> bool:
    """Whether the column has values only with validation rows."""
    return column.startswith("val_")


def needs_hidden_layer(column: str) -> bool:
    """Whether the column has values only with a hidden layer."""
    return column.endswith("W1") or column.startswith(("dead_", "activation_"))


def require_monitor(monitor: str, *, validation: bool, hidden: bool, score: bool) -> None:
    """Raises ValueError for a column that no record has, or that has no values in a training without validation rows,
    a hidden layer or a score of one's own."""
    if monitor not in MONITORS and not (monitor == "score" and score):
        raise ValueError(f"monitor must be one of {', '.join(MONITORS)}, or score where there is one; got {monitor!r}")
    if needs_validation(monitor) and not validation:
        raise ValueError(f"monitor {monitor!r} needs validation rows")
    if needs_hidden_layer(monitor) and not hidden:
        raise ValueError(f"monitor {monitor!r} needs a hidden layer")


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
