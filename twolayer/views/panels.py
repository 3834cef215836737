"""The one list of what a run has to show, and how many points of it a screen needs.

`curves`, `report` and `watch` draw from `PANELS`: the name, label, unit and axis of a figure are written here only."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.utils.text import did_you_mean
from twolayer.views import style
from twolayer.views.run_data import RunGroup

By = Literal["epoch", "step", "seconds"]

X_AXES = {"epoch": "epoch", "step": "step (updates)", "seconds": "training time (s)"}
THIN, MEDIUM, THICK = 1.0, 1.6, 2.2
_BAND_POINTS = 400


class Panel(NamedTuple):
    """One pair of axes.

    Attributes:
        name: what `--show` calls it.
        axis: label of the y axis, with the unit.
        lines: by column of history.csv, what the line shows and its width: training is thin, validation thick.
        log: whether a logarithmic scale is chosen where the values span a large factor.
    """

    name: str
    axis: str
    lines: dict[str, tuple[str, float]]
    log: bool = False


def _held_out(name: str, axis: str) -> Panel:
    return Panel(name, axis, {f"val_{name}": ("validation", THICK)})


def _both(name: str, axis: str, log: bool = False) -> Panel:
    return Panel(name, axis, {f"train_{name}": ("training", THIN), f"val_{name}": ("validation", THICK)}, log)


def _layers(name: str, axis: str, log: bool = False) -> Panel:
    return Panel(name, axis, {f"{name}_{layer}": (layer, width) for layer, width in (("W1", THIN), ("W2", THICK))}, log)


PANELS = {
    panel.name: panel
    for panel in (
        _both("loss", "cross-entropy (nats)", log=True),
        _both("accuracy", "accuracy (share of rows)"),
        _held_out("balanced_accuracy", "balanced accuracy (mean recall)"),
        _held_out("f1", "macro F1"),
        _held_out("auc", "area under the ROC curve"),
        Panel("learning_rate", "learning rate", {"learning_rate": ("learning rate", MEDIUM)}),
        Panel("gradient_norm", "norm of the gradient", {"gradient_norm": ("gradient", MEDIUM)}, log=True),
        _layers("update_ratio", "|update| / |weights|, one step", log=True),
        _layers("weight_norm", "norm of the weights"),
        Panel("dead_share", "units that fire for no row (share)", {"dead_share": ("dead units", MEDIUM)}),
        Panel(
            "activation",
            "mean activation of a unit",
            {
                f"activation_{name}": (name, width)
                for name, width in (("min", THIN), ("median", MEDIUM), ("max", THICK))
            },
        ),
        Panel("penalty", "L2 penalty (nats)", {"penalty": ("penalty", MEDIUM)}),
    )
}
MAIN_PANELS = (PANELS["loss"], PANELS["accuracy"])


def panels_named(names: Iterable[str]) -> list[Panel]:
    """Return the panels of these names; the name of a column means its panel.

    Raises:
        ValueError: for a name that is neither.
    """
    by_column = {column: panel for panel in PANELS.values() for column in panel.lines}
    found = {}
    for name in names:
        panel = PANELS.get(name) or by_column.get(name)
        if panel is None:
            raise ValueError(f"expected names out of {', '.join(PANELS)}, got {name!r}{did_you_mean(name, PANELS)}")
        found[panel.name] = panel
    return list(found.values())


def downsample(x: Array, y: Array, points: int = 800) -> tuple[Array, Array]:
    """Keep at most `points` points of a curve, in their order: first, last, and the extremes of equal parts.

    No spike is lost and none is made up. A part without a finite value keeps one NaN, so that the gap is seen.

    Args:
        x: (N,) positions, rising.
        y: (N,) values.
        points: 4 or more.

    Returns:
        (x, y) of what remains; the arrays themselves if they are short enough.
    """
    N = len(y)
    if points >= N:
        return x, y
    edges = np.linspace(0, N, max(1, (points - 2) // 2) + 1).astype(np.intp)
    lowest = _lowest(np.where(np.isfinite(y), y, np.inf), edges)
    highest = _lowest(np.where(np.isfinite(y), -y, np.inf), edges)
    keep = np.unique(np.concatenate([[0], lowest, highest, [N - 1]]))
    return x[keep], y[keep]


def _lowest(y: Array, edges: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the lowest value in each part edges[k] <= i < edges[k + 1]."""
    return np.array([a + int(y[a:b].argmin()) for a, b in pairwise(edges)], np.intp)


def downsample_window(x: Array, y: Array, start: float, end: float, points: int = 800) -> tuple[Array, Array]:
    """Downsample a curve for a screen that shows `start` to `end`: every point in there if they are few enough,
    and half as many points of the rest, so that zooming out finds a curve."""
    # One point more on each side: the line continues to the edge of the screen.
    a, b = max(0, int(np.searchsorted(x, start)) - 1), int(np.searchsorted(x, end, "right")) + 1
    if b - a >= len(x):
        return downsample(x, y, points)
    parts = [
        downsample(x[:a], y[:a], points // 4),
        downsample(x[a:b], y[a:b], points),
        downsample(x[b:], y[b:], points // 4),
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


class GroupCurve(NamedTuple):
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


def group_curve(group: RunGroup, column: str, by: By, points: int = 800) -> GroupCurve | None:
    """Return a history column of one run, or the mean of several over the range that all of them reached.

    Seconds differ from run to run, so several runs are interpolated linearly on one grid.

    Args:
        group: the runs.
        column: of history.csv.
        by: the x axis.
        points: the most points that remain; extremes stay.

    Returns:
        The curve, or None if a run has no values in the column or the runs share no range.
    """
    pairs = [(style.within_reach(run.column(by)), style.within_reach(run.column(column))) for run in group.runs]
    if any(not len(x) or len(x) != len(y) for x, y in pairs):
        return None
    if len(pairs) == 1:
        return GroupCurve(*downsample(*pairs[0], points))
    start, end = max(x[0] for x, _ in pairs), min(x[-1] for x, _ in pairs)
    if end < start:
        return None
    grid = pairs[0][0]
    grid = grid[(grid >= start) & (grid <= end)]
    if len(grid) > _BAND_POINTS or len(grid) < 2:
        grid = np.linspace(start, end, _BAND_POINTS if end > start else 1)
    values = np.array([np.interp(grid, x, y) for x, y in pairs])  # (runs, M)
    return GroupCurve(grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0))
