"""`twolayer.plot`: the loss curve of a history at hand, for a notebook or a script that trains on arrays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twolayer.views import style
from twolayer.views.loss_curve import loss_curve_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture:
    """A figure that a notebook shows and a script saves.

    Attributes:
        figure: matplotlib's, to change what you like.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def save(self, path: str | Path) -> None:
        """Writes a .png, .svg or .pdf file."""
        style.save(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        style.save(self.figure, buffer)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return "Picture of a loss curve; .save('curve.png') writes it, .figure is matplotlib's"


def plot(history: Any, path: str | Path | None = None, *, best_epoch: int | None = None, title: str = "") -> Picture:
    """Draws loss and accuracy over the epochs.

    Args:
        history: the records that iterating over a Solver gave, one dictionary for each epoch; or columns by name; or
            what `train` returned.
        path: a .png, .svg or .pdf file to write as well.
        best_epoch: an epoch to mark.
        title: a line above the panels.

    Raises:
        ValueError: if there is no epoch in it.

    Example:
        >>> solver = Solver(params, X, y, epochs=20)
        >>> plot(list(solver), "curve.png")
        Picture of a loss curve; .save('curve.png') writes it, .figure is matplotlib's
    """
    if hasattr(history, "history"):
        best_epoch = best_epoch or history.summary.get("best_epoch")
        history = history.history
    columns = history if isinstance(history, Mapping) else _columns(history)
    if not len(columns.get("epoch", ())):
        raise ValueError("the history holds no epoch to plot")
    picture = Picture(loss_curve_figure(columns, best_epoch, title))
    if path is not None:
        picture.save(path)
    return picture


def _columns(records: Iterable[Mapping[str, float | None]]) -> dict[str, NDArray[np.float64]]:
    """Records of the epochs as columns, NaN where there is no value."""
    rows = list(records)
    return {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)
        for name in (rows[0] if rows else ())
    }
