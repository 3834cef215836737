"""Curves in a browser, by Bokeh (extra `report`): the panels that the report draws once and `watch` draws as runs grow.

The report has their JavaScript inlined, so that its page works without a network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from twolayer.network.model import Array
from twolayer.utils.errors import import_extra
from twolayer.views import style
from twolayer.views.panels import (
    EVERYTHING,
    MAIN_PANELS,
    PANELS,
    THICK,
    X_AXES,
    By,
    Line,
    Look,
    Panel,
    Window,
    best_point,
    downsample,
    panel_lines,
)
from twolayer.views.run_data import RunData, RunGroup, grouped

if TYPE_CHECKING:
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure as Figure

POINTS = 500  # of a curve; a panel is about as many pixels wide
MAIN, SMALL = 360, 240  # pixels: heights of panels
_LOG_TICKS = """
const {start, end} = cb_data.range, ticks = []
const decades = Math.log10(end / start), every = Math.ceil(decades / 8)
const digits = decades < 1 ? [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8] : decades < 3 ? [1, 2, 5] : [1]
for (let power = Math.floor(Math.log10(start)); power <= Math.log10(end); power++)
  for (const digit of power % every == 0 ? digits : []) ticks.push(Number(`${digit}e${power}`))
return ticks.filter(tick => start <= tick && tick <= end)
"""
_SHORT = "return Math.abs(Math.log10(tick)) > 5 ? tick.toExponential() : String(tick)"
Owned = tuple[RunGroup, Look | None]


class Curves:
    """Linked panels with lines for each run or group of runs.

    Args:
        logs: names of the panels, and whether their y axes are logarithmic.
        by: the x axis.
        x_range: of older panels, to keep their zoom.

    Attributes:
        plots: Bokeh's figures by panel.
        lines: renderers by column, by (owner, panel); the loss of each step is `steps`, the best epoch `best`.
    """

    def __init__(self, logs: Mapping[str, bool], by: By, x_range: Any = None) -> None:
        self.by = by
        self.plots: dict[str, Figure] = {}
        self.lines: dict[tuple[Hashable, str], dict[str, GlyphRenderer[Any]]] = {}
        self._states: dict[tuple[Hashable, str], tuple[Owned, Window]] = {}
        for name, log in logs.items():
            height = MAIN if PANELS[name] in MAIN_PANELS else SMALL
            self.plots[name] = _new_plot(PANELS[name], by, log, x_range, height)
            x_range = self.plots[name].x_range

    def draw(self, owners: Mapping[Any, Owned], window: Window = EVERYTHING) -> None:
        """Draw groups of runs in their looks, under names that the caller gives; what has not changed since the last
        call is left alone, and what is no longer there is removed.

        Args:
            owners: the groups; a look of None as in `panel_lines`.
            window: see `downsample`.
        """
        for key in self.lines.keys() - {(owner, name) for owner in owners for name in self.plots}:
            self._remove(key[1], self.lines.pop(key))
            del self._states[key]
        for owner, owned in owners.items():
            for name in self.plots:
                before, self._states[owner, name] = self._states.get((owner, name)), (owned, window)
                if before != (owned, window):
                    same_look = before is not None and before[0][1] == owned[1]
                    self._draw(owner, PANELS[name], owned, window, same_look)
        for name, plot in self.plots.items():
            # The losses of the steps scatter widely: they do not set the scale.
            seen = [
                line
                for (_, panel), drawn in self.lines.items()
                if panel == name
                for column, line in drawn.items()
                if column != "steps"
            ]
            y_range: Any = plot.y_range
            if seen and y_range.renderers != seen:
                y_range.renderers = seen

    def _draw(self, owner: Hashable, panel: Panel, owned: Owned, window: Window, same_look: bool) -> None:
        group, look = owned
        old = self.lines.get((owner, panel.name), {})
        if not same_look:
            self._remove(panel.name, old)
            old = {}
        new: dict[str, GlyphRenderer[Any]] = {}
        for name, line in _shown_lines(panel, group, self.by, look, window).items():
            data = {"x": line.x.astype(np.float32), "y": line.y.astype(np.float32)}
            if name in old:
                new[name] = old.pop(name)
                source: Any = new[name].data_source
                source.data = data
                continue
            words = safe_text(f"{group.label} ({line.words})" if group.label else line.words)
            new[name] = _add_line(self.plots[panel.name], line, data, words)
            if line.band is not None and line.width == THICK:
                new[f"{name} band"] = _add_band(self.plots[panel.name], line, words)
        self._remove(panel.name, old)
        self.lines[owner, panel.name] = new

    def grid(self, names: Sequence[str] | None = None) -> Any:
        """Return some of the panels, or all of them, two in a row."""
        from bokeh.layouts import gridplot

        plots: list[Any] = [self.plots[name] for name in (self.plots if names is None else names)]
        return gridplot(plots, ncols=2, sizing_mode="stretch_width", toolbar_location="right", merge_tools=True)

    def _remove(self, panel: str, lines: Mapping[str, GlyphRenderer[Any]]) -> None:
        plot, gone = self.plots[panel], list(lines.values())
        if gone:
            plot.renderers = [one for one in plot.renderers if one not in gone]


def _shown_lines(panel: Panel, group: RunGroup, by: By, look: Look | None, window: Window) -> dict[str, Line]:
    """Return the lines of a panel by name, from the one behind to the one in front."""
    shown: dict[str, Line] = {}
    lines = panel_lines(panel, group, by, look, POINTS, window)
    run = group.runs[0]
    x, y = _steps(run, panel.name, by)
    if lines and len(x):
        x, y = downsample(x, y, POINTS, window)
        shown["steps"] = lines[0]._replace(words="each step", x=x, y=y, width=0.7)
    for line in lines:
        shown[line.column if len(line.x) > 1 else f"{line.column}, one point"] = line
    best = best_point(run, lines[-1].column, by) if lines and len(group.runs) == 1 else None
    if best is not None:
        point: dict[str, Any] = {"x": np.array(best[:1]), "y": np.array(best[1:])}
        color = style.MARK if look is None else lines[-1].color
        shown["best"] = lines[-1]._replace(words="best epoch", color=color, **point)
    return shown


def _steps(run: RunData, column: str, by: By) -> tuple[Array, Array]:
    """Return a column of steps.csv over an axis of the history, up to its last epoch; empty if there is none."""
    steps, history = run.steps, run.history
    if not ({"step", column} <= steps.keys() and {"step", by} <= history.keys()) or not len(history["step"]):
        return np.empty(0), np.empty(0)
    done = steps["step"] <= history["step"][-1]
    ends, places = np.insert(history["step"], 0, 0.0), np.insert(history[by], 0, 0.0)
    return np.interp(steps["step"][done], ends, places), style.within_reach(steps[column][done])


def _new_plot(panel: Panel, by: By, log: bool, x_range: Any, height: int) -> Figure:
    """Make an empty panel with pan, zoom and hover."""
    from bokeh.models import CustomJSTicker, CustomJSTickFormatter, HoverTool
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
    plot.y_range.update(default_span=0.1)  # of a curve that is flat
    for axis in plot.axis:
        axis.axis_label_text_font_size, axis.axis_label_text_font_style = "14px", "normal"
        axis.major_label_text_font_size = "13px"
    tooltips = [("", "$name"), (by, "@x{0,0.[00]}"), (panel.name, "@y{0.0000}")]
    plot.add_tools(HoverTool(tooltips=tooltips, mode="mouse", line_policy="nearest"))
    if log:  # Bokeh's own ticks leave most of a short range without any
        plot.yaxis.ticker = CustomJSTicker(major_code=_LOG_TICKS)
        plot.yaxis.formatter = CustomJSTickFormatter(code=_SHORT)
    return plot


def _add_line(plot: Figure, line: Line, data: dict[str, Array], name: str) -> GlyphRenderer[Any]:
    """Draw a line, or a dot where it is a single point."""
    from bokeh.models import ColumnDataSource

    source: Any = ColumnDataSource(data)
    if len(line.x) == 1:
        return plot.scatter("x", "y", source=source, color=line.color, size=8, name=name)
    alpha = 0.2 if line.words == "each step" else 1.0
    look: dict[str, Any] = {"color": line.color, "line_dash": line.dash, "line_width": line.width, "alpha": alpha}
    return plot.line("x", "y", source=source, name=name, **look)


def _add_band(plot: Figure, line: Line, name: str) -> GlyphRenderer[Any]:
    from bokeh.models import ColumnDataSource

    low, high = line.band or (line.y, line.y)
    columns = {"x": line.x, "low": low, "high": high}
    source: Any = ColumnDataSource({key: values.astype(np.float32) for key, values in columns.items()})
    return plot.varea("x", "low", "high", source=source, color=line.color, alpha=0.15, name=name)


def interactive_curves(
    runs: Sequence[RunData], *, by: By = "epoch", scale: str | None = None, bands: bool = True
) -> tuple[str, str]:
    """Draw the curves of runs as two linked panels with a legend.

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
    from bokeh.resources import Resources

    groups = grouped(runs, by_seed=bands)
    owners: dict[Any, Owned] = {k: (group, style.line_look(k)) for k, group in enumerate(groups)}
    if len(groups) == 1:
        owners = {0: (RunGroup("", groups[0].runs), None)}
    logs = {}
    for panel in MAIN_PANELS:
        lines = [line for group in groups for line in panel_lines(panel, group, by)]
        logs[panel.name] = panel.is_log([line.y for line in lines], scale)
    curves = Curves(logs, by)
    curves.draw(owners)
    _add_legend(curves, owners)
    script, body = components(curves.grid())
    return Resources(mode="inline", components=["bokeh"], minified=True).render_js() + script, body


def _add_legend(curves: Curves, owners: Mapping[Any, Owned]) -> None:
    """Add one legend, below the first panel, for the curves of both: a click hides an entry's curves everywhere."""
    from bokeh.core.properties import value
    from bokeh.models.annotations import Legend, LegendItem

    entries: dict[str, list[GlyphRenderer[Any]]] = {}
    for (owner, _), lines in curves.lines.items():
        for line in lines.values():
            entries.setdefault(safe_text(owners[owner][0].label) or str(line.name), []).append(line)
    plot = curves.plots["loss"]
    items = []
    for label, drawn in entries.items():
        here = [line for line in drawn if line in plot.renderers]
        if here:
            items.append(LegendItem(label=value(label), renderers=here))
            for other in drawn:
                if other not in here:
                    here[0].js_link("visible", other, "visible")
    columns = max(1, min(4, 72 // (max(map(len, entries), default=1) + 5)))
    legend = Legend(items=items, click_policy="hide", ncols=columns, location="left", border_line_width=0)
    plot.add_layout(legend, "below")
    for each in curves.plots.values():
        each.height = MAIN + 22 * -(-len(items) // columns)


def safe_text(label: object) -> str:
    """Return text that Bokeh takes neither for HTML nor for a formula, which would ask the network for a typesetter."""
    return str(label).translate(str.maketrans("$\\<>", "\uff04\uff3c\uff1c\uff1e"))
