"""What picks an estimator's best parameters: a column of the history, or any of scikit-learn's scorers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sklearn.metrics import get_scorer, get_scorer_names  # type: ignore[import-untyped]

from twolayer.utils.columns import MONITORS, needs_validation

Scorer = Callable[[Any, Any, Any], float]


class Monitor(NamedTuple):
    """How the best epoch is chosen.

    Attributes:
        column: the column of the records that decides; None keeps the last epoch's parameters.
        scorer: scorer(estimator, X, y) that fills the column `score`; None where the solver has the column.
    """

    column: str | None
    scorer: Scorer | None


def resolve_monitor(monitor: str | Scorer | None, patience: int | None, has_validation: bool) -> Monitor:
    """What the parameters `monitor` and `patience` of the estimator mean.

    Args:
        monitor: a column of the history, the name of a scorer, a scorer, or None: val_accuracy with validation rows;
            without, nothing is chosen unless there is a patience, which then looks at train_loss.
        patience: as the estimator's.
        has_validation: whether there are validation rows.

    Raises:
        ValueError: for an unknown name, or a column of validation rows where there are none.
    """
    if monitor is None:
        return Monitor("val_accuracy" if has_validation else None if patience is None else "train_loss", None)
    if callable(monitor):
        return Monitor("score", monitor)
    if monitor in MONITORS:
        if needs_validation(monitor) and not has_validation:
            raise ValueError(
                f"monitor={monitor!r} needs validation rows: set validation=0.15, or give fit X_val, y_val"
            )
        return Monitor(monitor, None)
    if monitor in get_scorer_names():
        return Monitor("score", get_scorer(monitor))
    raise ValueError(
        f"monitor must be a column of the history ({', '.join(MONITORS)}), the name of one of scikit-learn's scorers, "
        f"a scorer or None; got {monitor!r}"
    )
