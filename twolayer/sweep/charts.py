"""Pictures of a sweep: the metric against each key, and the curves of the best points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twolayer.network.model import Array
from twolayer.sweep.points import PointResult
from twolayer.views.style import (
    MARK,
    TRAINING,
    VALIDATION,
    default_look,
    line_look,
    new_figure,
    plain,
    plain_number,
    save,
    tidy,
)

if TYPE_CHECKING:
    from twolayer.views.style import Axes

PANELS_PER_ROW = 3
MAX_LEGEND = 110  # characters of a curve's name


@default_look()
def draw_against_keys(points: Sequence[PointResult], keys: Mapping[str, bool], metric: str, path: Path) -> None:
    """Draw a panel for each key: the metric of every finished point, best first, against its value, with its spread;
    `keys` says whether each key's scale is logarithmic."""
    columns = min(PANELS_PER_ROW, len(keys))
    rows = -(-len(keys) // columns)
    figure = new_figure(4.2 * columns, 3.2 * rows)
    metrics = np.array([point.mean for point in points], float)
    spreads = np.array([point.spread or 0.0 for point in points])
    for i, (key, logarithmic) in enumerate(keys.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        positions, ticks = _positions([point.values[key] for point in points], logarithmic)
        if spreads.any():
            axes.errorbar(positions, metrics, spreads, fmt="none", ecolor=MARK, elinewidth=0.8)
        axes.plot(positions[1:], metrics[1:], "o", color=TRAINING, markersize=4, alpha=0.7)
        axes.plot(positions[:1], metrics[:1], "*", color=VALIDATION, markersize=12)
        tidy(axes, key, metric if i % columns == 0 else "")
        axes.set_xticks(list(ticks), list(ticks.values()))
    figure.suptitle(f"{metric} of {len(points)} points; the star is the best", fontsize=10)
    figure.tight_layout()
    save(figure, path)


@default_look()
def draw_best_curves(curves: Sequence[tuple[str, Array, Array]], metric: str, path: Path) -> None:
    """Draw the metric over the epochs for the best points, the best first: name, epochs and values of each."""
    figure = new_figure(8, 5.2)
    axes = figure.add_subplot()
    for i, (name, epochs, values) in enumerate(curves):
        colour, dash = line_look(i)
        shown = name if len(name) <= MAX_LEGEND else f"{name[: MAX_LEGEND - 3]}..."
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, values, color=colour, linestyle=dash, linewidth=1.5, marker=marker, label=plain(shown))
    tidy(axes, "epoch", metric)
    _look_at_the_end(axes, [values for _, _, values in curves])
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.13))
    figure.tight_layout()
    save(figure, path)


def _look_at_the_end(axes: Axes, curves: Sequence[Array]) -> None:
    """Cut the view to the later epochs, whose values the first ones would press together."""
    ends = np.concatenate([curve[len(curve) // 4 :] for curve in curves] or [np.empty(0)])
    ends = ends[np.isfinite(ends)]
    if len(ends) < 2 or np.ptp(ends) == 0:
        return
    low, high = float(ends.min()), float(ends.max())
    margin = (high - low) / 10
    axes.set_ylim(low - margin, high + margin)


def _positions(values: Sequence[Any], logarithmic: bool) -> tuple[Array, dict[float, str]]:
    """Return the places of values on an axis, and its ticks: numbers or their logarithms, other values side by side."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        names = sorted({str(value) for value in values})
        ticks = {float(i): plain(name) for i, name in enumerate(names)}
        return np.array([float(names.index(str(v))) for v in values]), ticks
    numbers = np.array(values, float)
    distinct = np.unique(numbers)
    if len(distinct) <= 5:
        marks = distinct
    elif logarithmic:
        marks = np.geomspace(distinct[0], distinct[-1], 4)
    else:
        marks = np.linspace(distinct[0], distinct[-1], 5)
    place = np.log10 if logarithmic else np.asarray
    names = [
        plain_number(float(f"{mark:.2g}" if len(distinct) > 5 and logarithmic else f"{mark:.4g}")) for mark in marks
    ]
    return place(numbers), dict(zip(place(marks).tolist(), names, strict=True))
