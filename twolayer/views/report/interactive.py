"""The report's curves with hover, zoom and a legend that hides what is clicked: Bokeh, its JavaScript inlined so that
the page works without a network (extra `report`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from twolayer.utils.errors import import_extra
from twolayer.views import style
from twolayer.views.curves import By, Curve, group_curve
from twolayer.views.run_data import Group, RunData, grouped

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

POINTS = 500  # of a curve; a panel is about as many pixels wide
_QUANTITIES = {"loss": "cross-entropy (nats)", "accuracy": "accuracy (share of rows)"}
_KINDS = (("train", "training", 1.1, 0.8), ("val", "validation", 2.4, 1.0))


def interactive_curves(
    runs: Sequence[RunData], *, by: By = "epoch", scale: str | None = None, bands: bool = True
) -> tuple[str, str]:
    """The curves of runs as two linked panels.

    Args:
        runs: at least one.
        by: the x axis.
        scale: `linear`, `log` or None (whichever shows more) for the losses.
        bands: runs that differ in the seed alone become one curve in a band.

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
    curves = {
        quantity: [
            {kind: group_curve(group, f"{kind}_{quantity}", by, POINTS) for kind, *_ in _KINDS} for group in groups
        ]
        for quantity in _QUANTITIES
    }
    losses = [curve.y for shown in curves["loss"] for curve in shown.values() if curve is not None]
    log = style.wants_log(losses) if scale is None else scale == "log"
    loss = _panel("loss", by, "log" if log else "linear", None)
    if log and losses:
        _tick_like_the_pictures(loss, np.concatenate(losses))
    accuracy = _panel("accuracy", by, "linear", loss.x_range)
    entries: list[tuple[str, list[Any]]] = []
    for index, group in enumerate(groups):
        for kind, words, width, alpha in _KINDS:
            single = style.TRAINING if kind == "train" else style.VALIDATION
            color, dash = style.line_look(index) if len(groups) > 1 else (single, "solid")
            look = {"color": color, "line_dash": dash, "line_width": width, "alpha": alpha}
            label = _plain(group.label) if len(groups) > 1 else words
            look["name"] = f"{label} ({words})" if len(groups) > 1 else words
            drawn = [
                one
                for plot, quantity in ((loss, "loss"), (accuracy, "accuracy"))
                for one in _draw(plot, curves[quantity][index][kind], look)
            ]
            if len(groups) > 1 and kind == "val":
                entries[-1][1].extend(drawn)
            else:
                entries.append((label, drawn))
    _add_legend(loss, entries)
    if len(groups) == 1:
        _mark_best(groups[0], (loss, accuracy), by)
    grid = gridplot([[loss, accuracy]], sizing_mode="stretch_width", toolbar_location="right", merge_tools=True)
    script, body = components(grid)
    resources = Resources(mode="inline", components=["bokeh"], minified=True)
    return resources.render_js() + script, body


def _panel(quantity: str, by: By, scale: Literal["linear", "log"], x_range: Any) -> Figure:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    plot = figure(
        height=380,
        y_axis_type=scale,
        x_axis_label=style.AXIS_LABELS[by],
        y_axis_label=_QUANTITIES[quantity],
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll=None,
        output_backend="canvas",
        **({} if x_range is None else {"x_range": x_range}),
    )
    plot.toolbar.logo = None
    for axis in plot.axis:
        axis.axis_label_text_font_size, axis.axis_label_text_font_style = "14px", "normal"
        axis.major_label_text_font_size = "13px"
    tooltips = [("", "$name"), (by, "@x{0,0.[00]}"), (quantity, "@y{0.0000}")]
    plot.add_tools(HoverTool(tooltips=tooltips, mode="mouse", line_policy="nearest"))
    return plot


def _tick_like_the_pictures(plot: Figure, losses: NDArray[np.float64]) -> None:
    """The same ticks on a logarithmic axis as in the PNG: Bokeh's own leave most of a short span without any."""
    from bokeh.models import PrintfTickFormatter

    positive = losses[np.isfinite(losses) & (losses > 0)]
    if positive.size:
        plot.yaxis.ticker = style.log_ticks(float(positive.min()) / 1.2, float(positive.max()) * 1.2)
        plot.yaxis.formatter = PrintfTickFormatter(format="%g")


def _draw(plot: Figure, curve: Curve | None, look: dict[str, Any]) -> list[Any]:
    """A curve and its band; returns what was drawn."""
    if curve is None:
        return []
    from bokeh.models import ColumnDataSource

    small = np.float32  # half the size of the page; a screen shows no more digits
    x = curve.x.astype(small)
    drawn: list[Any] = []
    if curve.low is not None and curve.high is not None:
        band = ColumnDataSource({"x": x, "low": curve.low.astype(small), "high": curve.high.astype(small)})
        drawn.append(plot.varea("x", "low", "high", source=band, color=look["color"], alpha=0.15))
    source = ColumnDataSource({"x": x, "y": curve.y.astype(small)})
    if len(x) == 1:
        drawn.append(plot.scatter("x", "y", source=source, name=look["name"], color=look["color"], size=8))
    else:
        drawn.append(plot.line("x", "y", source=source, **look))
    return drawn


def _add_legend(plot: Figure, entries: list[tuple[str, list[Any]]]) -> None:
    """One legend, below the first panel, for the curves of both: a click hides an entry's curves everywhere."""
    from bokeh.core.properties import value
    from bokeh.models.annotations import Legend, LegendItem

    items = []
    for label, drawn in entries:
        here = [one for one in drawn if one in plot.renderers]
        if not here:
            continue
        items.append(LegendItem(label=value(label), renderers=here))
        for other in drawn:
            if other not in here:
                here[0].js_link("visible", other, "visible")
    columns = max(1, min(4, 60 // (max((len(label) for label, _ in entries), default=1) + 5)))
    plot.add_layout(
        Legend(items=items, click_policy="hide", ncols=columns, location="left", border_line_width=0), "below"
    )


def _mark_best(group: Group, plots: Sequence[Figure], by: By) -> None:
    """A dotted line at the best epoch of a single run."""
    run = group.runs[0]
    at = np.flatnonzero(run.column("epoch") == run.best_epoch)
    if len(group.runs) > 1 or not at.size:
        return
    from bokeh.models.annotations import Span

    for plot in plots:
        place = float(run.column(by)[at[0]])
        plot.add_layout(Span(location=place, dimension="height", line_dash="dotted", line_color=style.MARK))


def _plain(label: str) -> str:
    """A label that Bokeh takes for no formula: those would ask the network for a typesetter."""
    return label.replace("$", "\uff04").replace("\\", "\uff3c")
