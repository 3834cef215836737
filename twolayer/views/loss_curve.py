"""loss_curve.png: training and validation loss at the same weights, the accuracies beside them, the best epoch marked.
Drawn at the end of a training, and now and then during it, within a budget of time.

Curves thinned to what a screen can show: the lowest and the highest value of each stretch stay, so no spike is
lost and none is made up.

`twolayer.plot`: a history's curves where one works with it: shown by a notebook, or saved."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twolayer.network.model import Array
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.utils.errors import RunError
from twolayer.views import style
from twolayer.views.run_data import read_summary


def thinned(x: Array, y: Array, points: int = 800) -> tuple[Array, Array]:
    """At most `points` points of a curve, in their order: first, last, and each stretch's extremes.

    Args:
        x: (N,) positions, rising.
        y: (N,) values. Extremes are those of the finite ones; a stretch without any keeps one NaN, so that the gap
            is seen.
        points: how many points may remain, 4 at least.

    Returns:
        (x, y) of what remains; the arrays themselves if they are short enough.
    """
    N = len(y)
    if points >= N:
        return x, y
    stretches = max(1, (points - 2) // 2)
    edges = np.linspace(0, N, stretches + 1).astype(np.intp)
    lowest = _extremes(np.where(np.isfinite(y), y, np.inf), edges)
    highest = _extremes(np.where(np.isfinite(y), -y, np.inf), edges)
    keep = np.unique(np.concatenate([[0], lowest, highest, [N - 1]]))
    return x[keep], y[keep]


def _extremes(y: Array, edges: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the lowest value in each stretch edges[k] <= i < edges[k + 1]."""
    return np.array([a + int(y[a:b].argmin()) for a, b in pairwise(edges)], np.intp)


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


if TYPE_CHECKING:
    from matplotlib.figure import Figure
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
        folder.require_box()
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
