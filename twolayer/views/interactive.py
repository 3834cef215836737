"""Curves in a browser, by Bokeh (extra `report`): the panels and lines that the report page and `watch` share, and the
report's curves with their JavaScript inlined, so that the page works without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from twolayer.network.model import Array
from twolayer.utils.errors import import_extra
from twolayer.views import style
from twolayer.views.panels import MAIN_PANELS, THICK, X_AXES, By, Panel, group_curve
from twolayer.views.run_data import RunData, grouped

if TYPE_CHECKING:
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure as Figure

POINTS = 500  # of a curve; a panel is about as many pixels wide


def interactive_curves(
    runs: Sequence[RunData], *, by: By = "epoch", scale: str | None = None, bands: bool = True
) -> tuple[str, str]:
    """Draw the curves of runs as two linked panels.

    Args:
        runs: at least one.
        by: the x axis.
        scale: of the losses: `linear`, `log` or None (whichever shows more).
        bands: draw runs that differ in the seed alone as one curve in a band.

    Returns:
        (head, body): scripts for the page's head, and the panels.

    Raises:
        MissingExtraError: without Bokeh.
    """
    import_extra("bokeh", "report", "an interactive report")
    from bokeh.embed import components
    from bokeh.layouts import gridplot
    from bokeh.resources import Resources

    groups = grouped(runs, by_seed=bands)
    single = len(groups) == 1
    plots: list[Figure] = []
    entries: dict[tuple[int, str], list[GlyphRenderer[Any]]] = {}
    for panel in MAIN_PANELS:
        curves = [{column: group_curve(group, column, by, POINTS) for column in panel.lines} for group in groups]
        values = [curve.y for shown in curves for curve in shown.values() if curve is not None]
        log = panel.log and (style.wants_log(values) if scale is None else scale == "log")
        positive = np.concatenate([one[np.isfinite(one) & (one > 0)] for one in values] or [np.empty(0)])
        ticks = style.log_ticks(positive.min() / 1.2, positive.max() * 1.2) if log and positive.size else ()
        rows = 2 if single else -(-len(groups) // _legend_columns([group.label for group in groups]))
        x_range = plots[0].x_range if plots else None
        plot = new_panel(panel, by, log=log, ticks=ticks, x_range=x_range, height=340 + 22 * rows)
        plots.append(plot)
        for index, group in enumerate(groups):
            for k, (column, (words, width)) in enumerate(panel.lines.items()):
                curve = curves[index][column]
                if curve is None:
                    continue
                color, dash = style.line_look(index)
                color = style.column_color(column, k) if single else color
                key, name = (index, words if single else ""), words if single else f"{group.label} ({words})"
                line = add_line(
                    plot, curve.x, curve.y, color=color, dash=dash, width=width, name=name, dot=len(curve.x) == 1
                )
                drawn = entries.setdefault(key, [])
                drawn.append(line)
                if curve.low is not None and curve.high is not None and width == THICK:
                    drawn.append(_add_band(plot, curve.x, curve.low, curve.high, color))
        if single and len(groups[0].runs) == 1:
            _mark_best(plot, groups[0].runs[0], by)
    _add_legend(plots[0], [(words or groups[k].label, drawn) for (k, words), drawn in entries.items()])
    panels: list[list[Any]] = [[*plots]]
    grid = gridplot(panels, sizing_mode="stretch_width", toolbar_location="right", merge_tools=True)
    script, body = components(grid)
    return Resources(mode="inline", components=["bokeh"], minified=True).render_js() + script, body


def new_panel(
    panel: Panel,
    by: By,
    *,
    log: bool = False,
    ticks: Sequence[float] = (),
    x_range: Any = None,
    height: int = 380,
) -> Figure:
    """Make an empty panel with pan, zoom and hover.

    Args:
        panel: what it will show.
        by: the x axis.
        log: draw the y axis on a logarithmic scale.
        ticks: of the y axis; Bokeh's own leave most of a short logarithmic range without any.
        x_range: another panel's, to be linked with it.
        height: in pixels.
    """
    from bokeh.models import HoverTool, PrintfTickFormatter
    from bokeh.plotting import figure

    plot = figure(
        height=height,
        y_axis_type="log" if log else "linear",
        x_axis_label=X_AXES[by],
        y_axis_label=panel.axis,
        tools="pan,wheel_zoom,box_zoom,reset",
        active_drag="box_zoom",
        active_scroll=None,
        output_backend="canvas",
        **({} if x_range is None else {"x_range": x_range}),
    )
    plot.toolbar.logo = None
    for axis in plot.axis:
        axis.axis_label_text_font_size, axis.axis_label_text_font_style = "14px", "normal"
        axis.major_label_text_font_size = "13px"
    tooltips = [("", "$name"), (by, "@x{0,0.[00]}"), (panel.name, "@y{0.0000}")]
    plot.add_tools(HoverTool(tooltips=tooltips, mode="mouse", line_policy="nearest"))
    if ticks:
        plot.yaxis.ticker = list(ticks)
        plot.yaxis.formatter = PrintfTickFormatter(format="%g")
    return plot


def add_line(
    plot: Figure,
    x: Array,
    y: Array,
    *,
    color: str,
    width: float,
    name: str,
    dash: style.Dash = "solid",
    alpha: float = 1.0,
    dot: bool = False,
) -> GlyphRenderer[Any]:
    """Draw a curve, or a dot; its renderer's `data_source` holds `x` and `y`."""
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource(points_of(x, y))
    if dot:
        return plot.scatter("x", "y", source=source, color=color, size=8, alpha=alpha, name=safe_text(name))
    look: dict[str, Any] = {"color": color, "line_dash": dash, "line_width": width, "alpha": alpha}
    return plot.line("x", "y", source=source, name=safe_text(name), **look)


def points_of(x: Array, y: Array) -> dict[str, Array]:
    """Return a curve's source: float32 is half the size, and a screen shows no more digits."""
    return {"x": x.astype(np.float32), "y": style.within_reach(y).astype(np.float32)}


def _add_band(plot: Figure, x: Any, low: Any, high: Any, color: str) -> GlyphRenderer[Any]:
    from bokeh.models import ColumnDataSource

    band = ColumnDataSource({"x": x.astype(np.float32), "low": low.astype(np.float32), "high": high.astype(np.float32)})
    return plot.varea("x", "low", "high", source=band, color=color, alpha=0.15)


def _add_legend(plot: Figure, entries: list[tuple[str, list[GlyphRenderer[Any]]]]) -> None:
    """Add one legend, below the first panel, for the curves of both: a click hides an entry's curves everywhere."""
    from bokeh.core.properties import value
    from bokeh.models.annotations import Legend, LegendItem

    items = []
    for label, drawn in entries:
        here = [one for one in drawn if one in plot.renderers]
        if not here:
            continue
        items.append(LegendItem(label=value(safe_text(label)), renderers=here))
        for other in drawn:
            if other not in here:
                here[0].js_link("visible", other, "visible")
    columns = _legend_columns([label for label, _ in entries])
    plot.add_layout(
        Legend(items=items, click_policy="hide", ncols=columns, location="left", border_line_width=0), "below"
    )


def _legend_columns(labels: Sequence[str]) -> int:
    return max(1, min(4, 72 // (max(map(len, labels), default=1) + 5)))


def _mark_best(plot: Figure, run: RunData, by: By) -> None:
    """Draw a dotted line at the best epoch of a run."""
    from bokeh.models.annotations import Span

    at = np.flatnonzero(run.column("epoch") == run.best_epoch)
    if at.size:
        place = float(run.column(by)[at[0]])
        plot.add_layout(Span(location=place, dimension="height", line_dash="dotted", line_color=style.MARK))


def safe_text(label: object) -> str:
    """Return text that Bokeh takes neither for HTML nor for a formula, which would ask the network for a typesetter."""
    return str(label).translate(str.maketrans("$\\<>", "\uff04\uff3c\uff1c\uff1e"))
