"""Pictures of a sweep: the metric against each key, all points as lines across the keys, the curves of the best."""

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
    color_map,
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
def draw_parallel_coordinates(
    points: Sequence[PointResult], keys: Mapping[str, bool], metric: str, path: Path, *, larger: bool
) -> None:
    """Draw every finished point, the best first, as a line across one axis for each key and one for the metric; better
    ones are darker, and `larger` says which these are."""
    figure = new_figure(2.2 * (len(keys) + 1) + 1, 4)
    axes = figure.add_subplot()
    metrics = np.array([point.mean for point in points], float)
    columns = [_positions([point.values[key] for point in points], log) for key, log in keys.items()]
    columns.append(_positions(metrics.tolist(), False))
    heights = np.column_stack([_unit(positions, ticks) for positions, ticks in columns])  # (points, axes)
    goodness = heights[:, -1] if larger else 1 - heights[:, -1]
    colours = color_map("cividis_r")(0.1 + 0.9 * goodness)
    for line, colour, z in zip(heights[::-1], colours[::-1], goodness[::-1], strict=True):
        axes.plot(range(len(columns)), line, color=colour, linewidth=1, alpha=0.8, zorder=2 + z)
    axes.plot(range(len(columns)), heights[0], color=VALIDATION, linewidth=2.2, zorder=4)
    for x, (_, ticks) in enumerate(columns):
        axes.axvline(x, color=MARK, linewidth=0.8, zorder=1)
        for height, name in zip(_unit(np.array(list(ticks)), ticks), ticks.values(), strict=True):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            place: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(name, (x, height), fontsize=8, bbox=box, zorder=5, **place)
    axes.set_xticks(range(len(columns)), [*keys, metric])
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.7)
    for side in axes.spines.values():
        side.set_visible(False)
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


def _unit(positions: Array, ticks: Mapping[float, str]) -> Array:
    """Return positions as heights from 0 to 1, the outermost ticks at the ends."""
    low, high = min(ticks), max(ticks)
    return (positions - low) / (high - low) if high > low else np.full(len(positions), 0.5)
