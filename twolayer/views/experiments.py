"""Pictures of the experiments: panels of labelled curves with marked points, or of named values on a line each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from twolayer.views import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Curve:
    """One line: its label in the legend, and its points."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True)
class Panel:
    """What one pair of axes shows.

    Attributes:
        title: above it.
        xlabel: with the unit.
        ylabel: with the unit.
        curves: lines; those after the fourth repeat colours with another dash.
        points: (x, y, text), each a dot with its text beside it.
        text_at: where that text stands, in points right of and above the dot.
        values: (name, value, text), a line each instead of curves, the first on top, on a logarithmic axis.
        log_x: whether x is logarithmic.
        log_y: whether y is logarithmic.
        dots: whether each point of a curve is marked.
    """

    title: str
    xlabel: str
    ylabel: str = ""
    curves: tuple[Curve, ...] = ()
    points: tuple[tuple[float, float, str], ...] = ()
    text_at: tuple[float, float] = (7, 5)
    values: tuple[tuple[str, float, str], ...] = ()
    log_x: bool = False
    log_y: bool = False
    dots: bool = False


def draw_panels(title: str, panels: tuple[Panel, ...], path: Path) -> None:
    """Draws the panels side by side into a picture file.

    Args:
        title: a line above them.
        panels: one or two.
        path: where to; its ending says the format.
    """
    figure = style.new_figure(10 if len(panels) > 1 else 8, 4.2)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        if panel.values:
            _draw_values(axes, panel)
        else:
            _draw_curves(axes, panel)
        axes.set_title(panel.title, fontsize=10, loc="left")
    figure.text(0.015, 0.945, title, fontsize=12, fontweight="bold", parse_math=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93), w_pad=2.5)
    style.save(figure, path)


def _draw_curves(axes: Axes, panel: Panel) -> None:
    for number, curve in enumerate(panel.curves):
        color, dash = style.OKABE_ITO[number % 4], style.DASHES[number % len(style.DASHES)]
        marker = "o" if panel.dots else None
        axes.plot(curve.x, curve.y, color=color, linestyle=dash, linewidth=1.9, marker=marker, label=curve.label)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    for x, y, text in panel.points:
        axes.plot(x, y, "o", color=style.MARK, markersize=5)
        axes.annotate(text, (x, y), textcoords="offset points", xytext=panel.text_at, fontsize=9, color=style.MARK)
    style.tidy(axes, panel.xlabel, panel.ylabel)
    if len(panel.curves) > 1:
        axes.legend(frameon=False, fontsize=9)


def _draw_values(axes: Axes, panel: Panel) -> None:
    names = [name for name, _, _ in panel.values]
    values = [value for _, value, _ in panel.values]
    axes.plot(values, range(len(names)), "o", color=style.TRAINING, markersize=8)
    axes.set_xscale("log")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(min(values) / 2, max(values) * 12)
    for place, (_, value, text) in enumerate(panel.values):
        axes.text(value * 1.25, place, text, va="center", fontsize=9, color=style.MARK)
    style.tidy(axes, panel.xlabel, panel.ylabel)
