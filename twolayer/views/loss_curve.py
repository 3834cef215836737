"""loss_curve.png: training and validation loss at the same weights, the accuracies beside them, the best epoch marked.
Drawn at the end of a training, and now and then during it, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twolayer.views import style
from twolayer.views.thin import thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


class RedrawBudget:
    """Says when the picture may be drawn again while training: not before `seconds` have passed, and not before
    the training has run for so long that all drawing so far is at most `share` of it.

    Args:
        seconds: least time between two drawings; `run.redraw_seconds`.
        share: largest part of the training time that drawing may take.
        first_cost: seconds that the first drawing is expected to take; it loads matplotlib.
        clock: a clock in seconds.
    """

    def __init__(
        self,
        seconds: float,
        share: float = 0.02,
        first_cost: float = 0.5,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds, self.share, self.clock = seconds, share, clock
        self.spent = 0.0  # seconds of drawing so far
        self.next_cost = first_cost
        self.started = self.last = clock()

    def due(self) -> bool:
        """Whether the picture may be drawn now."""
        now = self.clock()
        trained = now - self.started - self.spent
        return now - self.last >= self.seconds and self.spent + self.next_cost <= self.share * trained

    def draw(self, draw: Callable[[], object]) -> None:
        """Calls `draw` and takes its time into account."""
        began = self.clock()
        draw()
        self.last = self.clock()
        self.next_cost = self.last - began
        self.spent += self.next_cost


def draw_loss_curve(
    history: Mapping[str, ArrayLike],
    path: Path,
    best_epoch: int | None = None,
    title: str = "",
    *,
    by: str = "epoch",
    scale: str | None = None,
) -> None:
    """Draws `loss_curve_figure` into a PNG file (or .svg, .pdf, by the name's ending), replaced whole."""
    style.save(loss_curve_figure(history, best_epoch, title, by=by, scale=scale), path)


def loss_curve_figure(
    history: Mapping[str, ArrayLike],
    best_epoch: int | None = None,
    title: str = "",
    *,
    by: str = "epoch",
    scale: str | None = None,
) -> Figure:
    """The two panels, loss and accuracy.

    Args:
        history: columns of history.csv by name, each with one value per epoch, NaN where there is none: epoch,
            train_loss, val_loss (nats), train_accuracy, val_accuracy (shares of the rows, 0 to 1).
        best_epoch: the epoch to mark, the one whose parameters were kept.
        title: a line above the panels, such as the run's name.
        by: the x axis: `epoch`, `step` or `seconds`, a column of the history.
        scale: `linear`, `log` or None (whichever shows more) for the losses.
    """
    columns = {
        name: style.within_reach(np.asarray(history[name], float)) for name in (*_COLUMNS, by) if name in history
    }
    x = columns[by]
    figure = style.new_figure(9, 3.7)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.088, right=0.985, bottom=0.14, top=0.83, wspace=0.22)
    for axes, quantity in ((left, "loss"), (right, "accuracy")):
        for name, label, color, dash in _LINES:
            curve = columns.get(f"{name}_{quantity}")
            if curve is not None and np.isfinite(curve).any():
                marker = "o" if len(curve) == 1 else None
                axes.plot(*thinned(x, curve), dash, color=color, label=label, marker=marker, linewidth=1.8)
        _mark_best(axes, columns, quantity, best_epoch, x)
    style.tidy(left, style.AXIS_LABELS[by], "cross-entropy (nats)")
    style.tidy(right, style.AXIS_LABELS[by], "accuracy (share of rows)")
    style.scale_losses(left, [columns[name] for name in ("train_loss", "val_loss") if name in columns], scale)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="upper right", ncols=3, frameon=False, bbox_to_anchor=(0.99, 0.955))
    if title:
        figure.text(0.02, 0.93, title, fontsize=12, fontweight="bold", parse_math=False)
    return figure


_COLUMNS = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
_LINES = (("train", "training", style.TRAINING, "--"), ("val", "validation", style.VALIDATION, "-"))


def _mark_best(axes: Axes, columns: dict[str, Array], quantity: str, best_epoch: int | None, x: Array) -> None:
    """A thin line at the best epoch and a dot on the curve it was picked from."""
    at = np.flatnonzero(columns["epoch"] == best_epoch)
    if not at.size:
        return
    k = at[0]
    axes.axvline(x[k], color=style.MARK, linewidth=1, linestyle=":")
    for name in (f"val_{quantity}", f"train_{quantity}"):
        curve = columns.get(name)
        if curve is not None and np.isfinite(curve[k]):
            axes.plot(x[k], curve[k], "o", color=style.MARK, markersize=6, label=f"best epoch {best_epoch}")
            return
