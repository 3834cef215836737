"""`twolayer.plot`: a history's curves where one works with it: shown by a notebook, or saved."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.utils.errors import RunError
from twolayer.views import style
from twolayer.views.loss_curve import loss_curve_figure
from twolayer.views.run_data import read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = dict[str, NDArray[np.float64]]


class Picture:
    """A figure that a notebook shows as the value of its cell.

    Attributes:
        figure: matplotlib's, to change as one likes.
    """

    def __init__(self, figure: Figure, what: str) -> None:
        self.figure = figure
        self._what = what

    def save(self, path: str | Path) -> None:
        """Writes it as .png, .svg or .pdf, as the name says."""
        style.save(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        style.save(self.figure, buffer)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"Picture({self._what}; a notebook shows it, .save(path) writes it)"


def plot(
    history: Any, *, best_epoch: int | None = None, title: str = "", by: str = "epoch", scale: str | None = None
) -> Picture:
    """Draws training and validation loss and accuracy.

    Args:
        history: what `train` returns or its `history`; the records that a `Solver` yields; a fitted TwoLayerClassifier
            or its `history_`; or a run folder.
        best_epoch: the epoch to mark; None takes the one that `history` knows of, if it does.
        title: a line above the panels.
        by: the x axis: `epoch`, `step`, or for runs `seconds`.
        scale: `linear`, `log` or None (whichever shows more) for the losses.

    Raises:
        ValueError: if there is no epoch to draw.
        RunError: for a folder that holds no run, or a damaged one.
    """
    columns, known_best = _columns_of(history)
    if not len(columns.get("epoch", ())):
        raise ValueError("no epoch to draw: the history is empty")
    if by not in columns:
        raise ValueError(f"by must be a column of the history ({', '.join(columns)}); got {by!r}")
    figure = loss_curve_figure(columns, best_epoch or known_best, title, by=by, scale=scale)
    n_epochs = len(columns["epoch"])
    return Picture(figure, f"loss and accuracy over {n_epochs} epoch{'s' * (n_epochs > 1)}")


def _columns_of(history: Any) -> tuple[Columns, int | None]:
    """The columns by name, and the best epoch where it is known."""
    if isinstance(history, str | Path):
        folder = RunFolder(Path(history))
        if not folder.history.is_file():
            raise RunError(f"{history}: no history.csv in it; a run folder is wanted")
        return dict(read_history(folder.history)), read_summary(folder.summary).get("best_epoch")
    if hasattr(history, "history_"):
        return _arrays(history.history_), history.best_epoch_
    if hasattr(history, "history"):
        return _arrays(history.history), history.summary.get("best_epoch")
    if isinstance(history, Mapping):
        return _arrays(history), None
    if isinstance(history, Sequence):
        names = dict.fromkeys(name for record in history for name in record)
        return _arrays({name: [record.get(name) for record in history] for name in names}), None
    raise TypeError(
        f"wanted a history, records, a training's result, an estimator or a run folder; got {type(history)}"
    )


def _arrays(columns: Mapping[str, Any]) -> Columns:
    """Lists as arrays, NaN for None."""
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
