"""Several runs in one picture: a colour for each setting, bands where only the seed differs, the legend showing just
the config keys that set them apart; and the table of final and best values that belongs beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np

from twolayer.network.model import Array
from twolayer.views import style
from twolayer.views.loss_curve import thinned
from twolayer.views.run_data import Group, RunData, grouped

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

By = Literal["epoch", "step", "seconds"]

_BAND_POINTS = 400


class Curve(NamedTuple):
    """One curve of a group of runs.

    Attributes:
        x: (M,) epochs, steps or seconds.
        y: (M,) the mean over the runs, or the one run's values.
        low: (M,) lowest of the runs; None for one run.
        high: (M,) highest of the runs; None for one run.
    """

    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


def group_curve(group: Group, column: str, by: By, points: int = 800) -> Curve | None:
    """A history column of one run or the mean of several, over the stretch that all of them reached.

    Args:
        group: the runs.
        column: of history.csv.
        by: what stands on the x axis. Seconds differ from run to run, so the runs are then read off, by straight
            lines between the epochs, on one grid.
        points: how many points may remain; extremes stay.

    Returns:
        The curve, or None if a run has no values in the column or no stretch is common to all.
    """
    pairs = [(style.within_reach(run.column(by)), style.within_reach(run.column(column))) for run in group.runs]
    if any(not len(x) or len(x) != len(y) for x, y in pairs):
        return None
    if len(pairs) == 1:
        return Curve(*thinned(*pairs[0], points))
    start, end = max(x[0] for x, _ in pairs), min(x[-1] for x, _ in pairs)
    if end < start:
        return None
    grid = pairs[0][0]
    grid = grid[(grid >= start) & (grid <= end)]
    if len(grid) > _BAND_POINTS or len(grid) < 2:
        grid = np.linspace(start, end, _BAND_POINTS if end > start else 1)
    values = np.array([np.interp(grid, x, y) for x, y in pairs])  # (runs, M)
    return Curve(grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def draw_curves(
    runs: Sequence[RunData],
    target: Path | BinaryIO,
    *,
    by: By = "epoch",
    scale: str | None = None,
    bands: bool = True,
) -> None:
    """Overlays runs in two panels, loss and accuracy: validation thick, training thin.

    Args:
        runs: at least one.
        target: a .png, .svg or .pdf file, or an open one to get a PNG.
        by: the x axis.
        scale: `linear`, `log` or None (whichever shows more) for the losses.
        bands: runs that differ in the seed alone become one curve, their mean, in a band from lowest to highest.
    """
    groups = grouped(runs, by_seed=bands)
    handles, labels = _legend(groups)
    columns = max(1, min(4, 105 // (max(map(len, labels)) + 6)))
    below = 0.6 + 0.2 * -(-len(labels) // columns)  # inches for the axis and the legend
    height = 3.5 + below
    figure = style.new_figure(9, height)
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.088, right=0.985, bottom=below / height, top=1 - 0.2 / height, wspace=0.22)
    drawn: dict[str, list[Array]] = {"loss": [], "accuracy": []}
    for axes, quantity in zip(panels, drawn, strict=True):
        for index, group in enumerate(groups):
            drawn[quantity] += _draw_group(axes, group, quantity, by, style.line_look(index))
    style.tidy(panels[0], style.AXIS_LABELS[by], "cross-entropy (nats)")
    style.tidy(panels[1], style.AXIS_LABELS[by], "accuracy (share of rows)")
    style.scale_losses(panels[0], drawn["loss"], scale)
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.06, 0.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
    )
    style.save(figure, target)


def _draw_group(axes: Axes, group: Group, quantity: str, by: By, look: tuple[str, style.Dash]) -> list[Array]:
    """Draws a group's training and validation curve; returns their values, the band's among them."""
    color, dash = look
    values = []
    for kind, width, alpha in (("train", 0.9, 0.75), ("val", 2.0, 1.0)):
        curve = group_curve(group, f"{kind}_{quantity}", by)
        if curve is None:
            continue
        marker = "o" if len(curve.x) == 1 else None
        axes.plot(curve.x, curve.y, linestyle=dash, color=color, linewidth=width, alpha=alpha, marker=marker)
        values.append(curve.y)
        if curve.low is not None and curve.high is not None and kind == "val":
            axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.18, linewidth=0)
            values += [curve.low, curve.high]
    return values


def _legend(groups: Sequence[Group]) -> tuple[list[Artist], list[str]]:
    """One entry for each group, and what thick, thin and shaded stand for."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = []
    for index in range(len(groups)):
        color, dash = style.line_look(index)
        handles.append(Line2D([], [], color=color, linestyle=dash, linewidth=2))
    labels = [style.legend_name(group.label) for group in groups]
    handles += [Line2D([], [], color=style.MARK, linewidth=2), Line2D([], [], color=style.MARK, linewidth=0.9)]
    labels += ["thick: validation", "thin: training"]
    if any(len(group.runs) > 1 for group in groups):
        handles.append(Patch(color=style.MARK, alpha=0.18))
        labels.append("band: lowest to highest run")
    return handles, labels


TABLE_HEADER = (
    "run",
    "epochs",
    "best epoch",
    "final train loss",
    "final val loss",
    "lowest val loss",
    "final val accuracy",
    "best val accuracy",
    "test accuracy",
    "seconds",
)


def table_rows(runs: Sequence[RunData]) -> list[tuple[str, ...]]:
    """Final and best values of each run, as text, in the order of `TABLE_HEADER`; empty where there is no value."""
    labels = [group.label for group in grouped(runs, by_seed=False)]
    rows: list[tuple[str, ...]] = []
    for run, label in zip(runs, labels, strict=True):
        val_loss, val_accuracy = run.column("val_loss"), run.column("val_accuracy")
        test = run.summary.get("test_accuracy")
        best = run.best_epoch
        cells = (
            _last(run.column("train_loss"), ".4f"),
            _last(val_loss, ".4f"),
            f"{np.nanmin(val_loss):.4f}" if val_loss.size else "",
            _last(val_accuracy, ".4f"),
            f"{np.nanmax(val_accuracy):.4f}" if val_accuracy.size else "",
            f"{test:.4f}" if isinstance(test, int | float) else "",
            _last(run.column("seconds"), ".2f"),
        )
        rows.append((label, str(len(run.column("epoch"))), "" if best is None else str(best), *cells))
    return rows


def table_text(runs: Sequence[RunData]) -> str:
    """The table with aligned columns, for a terminal."""
    rows = [TABLE_HEADER, *table_rows(runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE_HEADER))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    )


def table_csv(runs: Sequence[RunData]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([TABLE_HEADER, *table_rows(runs)])
    return text.getvalue()


def _last(values: Array, form: str) -> str:
    return format(values[-1], form) if values.size else ""
