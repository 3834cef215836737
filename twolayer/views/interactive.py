"""Curves in a browser, by Bokeh (extra `report`): the panels that the report draws once and `watch` draws as runs grow.

The report has their JavaScript inlined, so that its page works without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from twolayer.network.model import Array
from twolayer.utils.errors import import_extra
from twolayer.views import style
from twolayer.views.curves import grouped
from twolayer.views.run_data import RunData, within_reach
from twolayer.views.style import EVERYTHING, MAIN_PANELS, PANELS, By, Line, Look, Panel, RunGroup, Window, panel_lines

if TYPE_CHECKING:
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure as Figure

POINTS = 500  # of a curve; a panel is about as many pixels wide
MAIN, SMALL = 360, 240  # pixels: heights of panels
STEPS, BEST, _BAND = "steps", "best", " band"  # names of what is no column of the history
_LOG_TICKS = """
const {start, end} = cb_data.range, ticks = []
const decades = Math.log10(end / start), every = Math.ceil(decades / 8)
const digits = decades < 1 ? [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8] : decades < 3 ? [1, 2, 5] : [1]
for (let power = Math.floor(Math.log10(start)); power <= Math.log10(end); power++)
  for (const digit of power % every == 0 ? digits : []) ticks.push(Number(`${digit}e${power}`))
return ticks.filter(tick => start <= tick && tick <= end)
"""
_SHORT = "return Math.abs(Math.log10(tick)) > 5 ? tick.toExponential() : String(tick)"
Key = tuple[Any, Look | None, str]  # owner of a line, its look, its panel


class Curves:
    """Panels by name, `logs` says whether their y axes are logarithmic, with lines for each run or group of runs over
    the x axis `by`; they share an `x_range`, and newer ones to which it is given keep the zoom."""

    def __init__(self, logs: Mapping[str, bool], by: By, x_range: Any = None) -> None:
        self.logs, self.by, self.x_range = logs, by, x_range
        self.plots: dict[str, Figure] = {}
        self.lines: dict[Key, dict[str, GlyphRenderer[Any]]] = {}  # by column, `STEPS` or `BEST`
        self._states: dict[Key, tuple[RunGroup, Window]] = {}
        for name, log in logs.items():
            self.plots[name] = _new_plot(PANELS[name], by, log, self.x_range)
            self.x_range = self.plots[name].x_range

    @property
    def window(self) -> Window:
        """The part of the x axis that is on the screen, as far as the browser has said."""
        ends = self.x_range and (self.x_range.start, self.x_range.end)
        return ends if ends and None not in ends else EVERYTHING

    def draw(self, groups: Mapping[Any, RunGroup], window: Window = EVERYTHING) -> None:
        """Draw groups of runs by (owner, look); leave alone what has not changed since the last call, and remove what
        is no longer among them. See `panel_lines` for a look of None, and `downsample` for the window."""
        expected = {(*owner, name): group for owner, group in groups.items() for name in self.plots}
        gone = [line for key in self.lines.keys() - expected.keys() for line in self.lines.pop(key).values()]
        for key, group in expected.items():
            if key in self.lines and self._states[key] == (group, window):
                continue
            self._states[key] = group, window
            _, look, panel = key
            drawn = self.lines.setdefault(key, {})
            shown = _shown_lines(PANELS[panel], group, self.by, look, window)
            gone += [drawn.pop(name) for name in drawn.keys() - shown.keys()]
            for name, line in shown.items():
                if name in drawn:
                    source: Any = drawn[name].data_source
                    source.data = _points(line)
                else:
                    drawn[name] = _add_line(self.plots[panel], name, line, group.label)
        for name, plot in self.plots.items():
            # The losses of the steps scatter widely: they do not set the scale.
            seen = [lines for key, lines in self.lines.items() if key[-1] == name]
            y_range: Any = plot.y_range
            y_range.renderers = [line for lines in seen for column, line in lines.items() if column != STEPS]
            plot.renderers = [line for line in plot.renderers if line not in gone]

    def grid(self, names: Sequence[str]) -> Any:
        """Return some of the panels, two in a row."""
        from bokeh.layouts import gridplot

        plots: list[Any] = [self.plots[name] for name in names]
        return gridplot(plots, ncols=2, sizing_mode="stretch_width", toolbar_location="right", merge_tools=True)


def _shown_lines(panel: Panel, group: RunGroup, by: By, look: Look | None, window: Window) -> dict[str, Line]:
    """Return the lines of a panel by name, from the one behind to the one in front."""
    shown: dict[str, Line] = {}
    lines = panel_lines(panel, group, by, look, POINTS, window)
    run = group.runs[0]
    steps, history = run.steps, run.history
    if lines and {"step", panel.name} <= steps.keys() and {"step", by} <= history.keys():
        done = steps["step"] <= history["step"][-1]
        x = np.interp(steps["step"][done], np.insert(history["step"], 0, 0.0), np.insert(history[by], 0, 0.0))
        x, y = style.downsample(x, within_reach(steps[panel.name][done]), POINTS, window)
        shown[STEPS] = lines[0]._replace(words="each step", x=x, y=y, width=0.7)
    for line in lines:
        if line.band is not None and line.width == style.THICK:
            shown[f"{line.column}{_BAND}"] = line
        shown[line.column] = line
    best = style.best_point(run, lines[-1].column, by) if lines and len(group.runs) == 1 else None
    if best is not None:
        x, y = np.array(best[:1]), np.array(best[1:])
        color = style.MARK if look is None else lines[-1].color
        shown[BEST] = lines[-1]._replace(words="best epoch", color=color, x=x, y=y)
    return shown


def _new_plot(panel: Panel, by: By, log: bool, x_range: Any) -> Figure:
    """Make an empty panel with pan, zoom and hover."""
    from bokeh.models import CustomJSTicker, CustomJSTickFormatter, HoverTool
    from bokeh.plotting import figure

    look: dict[str, Any] = {"height": MAIN if panel in MAIN_PANELS else SMALL, "output_backend": "canvas"}
    look |= {"x_axis_label": style.X_AXES[by], "y_axis_label": panel.axis, "y_axis_type": "log" if log else "linear"}
    look |= {"tools": "pan,wheel_zoom,box_zoom,reset", "active_drag": "box_zoom", "active_scroll": None}
    plot = figure(**look, **({} if x_range is None else {"x_range": x_range}))
    title: Any = plot.title
    title.update(text=panel.hint, text_font_style="normal", align="right")
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


def _points(line: Line) -> dict[str, Array]:
    """Return the columns of a line's source: float32 is half the size, and a screen shows no more digits."""
    columns = {"x": line.x, "y": line.y} | dict(zip(("low", "high"), line.band or (), strict=False))
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _add_line(plot: Figure, name: str, line: Line, label: str) -> GlyphRenderer[Any]:
    """Draw a line, its band, or the dot at the best epoch."""
    from bokeh.models import ColumnDataSource

    words = safe_text(f"{label} ({line.words})" if label else line.words)
    look: dict[str, Any] = {"source": ColumnDataSource(_points(line)), "color": line.color, "name": words}
    if name == BEST:
        return plot.scatter("x", "y", size=8, **look)
    if name.endswith(_BAND):
        return plot.varea("x", "low", "high", alpha=0.15, **look)
    alpha = 0.2 if name == STEPS else 1.0
    return plot.line("x", "y", line_dash=line.dash, line_width=line.width, alpha=alpha, **look)


def interactive_curves(
    runs: Sequence[RunData], *, by: By = "epoch", scale: str | None = None, bands: bool = True
) -> tuple[str, str]:
    """Draw the curves of one or more runs as two linked panels with a legend, below the first one: a click hides an
    entry's curves in both; see `curves_figure` for the options. Return scripts for the page's head, and the panels.
    Raises MissingExtraError without Bokeh."""
    import_extra("bokeh", "report", "an interactive report")
    from bokeh.core.properties import value
    from bokeh.embed import components
    from bokeh.models.annotations import Legend, LegendItem
    from bokeh.resources import Resources

    groups = grouped(runs, by_seed=bands)
    if len(groups) == 1:
        groups = [RunGroup("", groups[0].runs)]
    values = {
        panel.name: [line.y for group in groups for line in panel_lines(panel, group, by)] for panel in MAIN_PANELS
    }
    curves = Curves({panel.name: panel.is_log(values[panel.name], scale) for panel in MAIN_PANELS}, by)
    curves.draw({(k, style.line_look(k) if len(groups) > 1 else None): group for k, group in enumerate(groups)})
    for name, log in curves.logs.items():
        if log:
            y_range: Any = curves.plots[name].y_range
            y_range.start, y_range.end = style.log_limits(values[name])
    entries: dict[str, list[GlyphRenderer[Any]]] = {}  # one legend for both panels, by groups or by lines
    for (k, *_), lines in curves.lines.items():
        for line in lines.values():
            entries.setdefault(safe_text(groups[k].label) or str(line.name), []).append(line)
    items = [LegendItem(label=value(label), renderers=lines) for label, lines in entries.items()]
    columns = max(1, min(4, 72 // (max(map(len, entries), default=1) + 5)))
    legend = Legend(items=items, click_policy="hide", ncols=columns, location="left", spacing=6, border_line_width=0)
    curves.plots[MAIN_PANELS[0].name].add_layout(legend, "below")
    for plot in curves.plots.values():
        plot.height = MAIN + 26 * -(-len(items) // columns)
    script, body = components(curves.grid(list(curves.plots)))
    return Resources(mode="inline", components=["bokeh"], minified=True).render_js() + script, body


def safe_text(label: object) -> str:
    """Return text that Bokeh takes neither for HTML nor for a formula, which would ask the network for a typesetter."""
    return str(label).translate(str.maketrans("$\\<>", "\uff04\uff3c\uff1c\uff1e"))
