"""Curves in a browser, by Bokeh (extra `report`): the panels that the report draws once and `watch` draws as runs grow.

The report has their JavaScript inlined, so that its page works without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_DOT = " dot"
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


class Curves:
    """Linked panels (by name: whether the y axis is logarithmic) with lines for each run or group of runs; the x range
    of older panels keeps their zoom.

    Attributes:
        plots: Bokeh's figures by panel.
        lines: renderers by column, by (owner, look, panel); `steps`: the loss of each step, `best dot`: the best epoch.
    """

    def __init__(self, logs: Mapping[str, bool], by: By, x_range: Any = None) -> None:
        self.by = by
        self.plots: dict[str, Figure] = {}
        self.lines: dict[tuple[Any, Look | None, str], dict[str, GlyphRenderer[Any]]] = {}
        self._states: dict[tuple[Any, Look | None, str], tuple[RunGroup, Window]] = {}
        for name, log in logs.items():
            self.plots[name] = _new_plot(PANELS[name], by, log, x_range)
            x_range = self.plots[name].x_range

    def draw(self, groups: Mapping[Any, RunGroup], window: Window = EVERYTHING) -> None:
        """Draw groups of runs by (owner, look); leave alone what has not changed since the last call, and remove what
        is no longer among them. See `panel_lines` for a look of None, and `downsample` for the window."""
        expected = {(*owner, name): group for owner, group in groups.items() for name in self.plots}
        gone = [line for key in self.lines.keys() - expected.keys() for line in self.lines.pop(key).values()]
        for key, group in expected.items():
            if key not in self.lines or self._states.get(key) != (group, window):
                self._states[key] = group, window
                old, self.lines[key] = self.lines.get(key, {}), {}
                self._draw(key, group, window, old)
                gone += old.values()
        for name, plot in self.plots.items():
            drawn = [lines for key, lines in self.lines.items() if key[-1] == name]
            # The losses of the steps scatter widely: they do not set the scale.
            seen = [line for lines in drawn for column, line in lines.items() if column != "steps"]
            y_range: Any = plot.y_range
            if seen and y_range.renderers != seen:
                y_range.renderers = seen
            if any(line in gone for line in plot.renderers):
                plot.renderers = [line for line in plot.renderers if line not in gone]

    def _draw(self, key: Any, group: RunGroup, window: Window, old: dict[str, GlyphRenderer[Any]]) -> None:
        """Draw a group in a panel: new points for old lines that stay, which are taken out of `old`, or new lines."""
        _, look, panel = key
        new = self.lines[key]
        for name, line in _shown_lines(PANELS[panel], group, self.by, look, window).items():
            if name in old:
                new[name] = old.pop(name)
                source: Any = new[name].data_source
                source.data = _float32(x=line.x, y=line.y)
                continue
            words = safe_text(f"{group.label} ({line.words})" if group.label else line.words)
            new[name] = _add_line(self.plots[panel], line, words, dot=name.endswith(_DOT))
            if line.band is not None and line.width == THICK:
                band: Any = _float32(x=line.x, low=line.band[0], high=line.band[1])
                look_of_band: dict[str, Any] = {"source": band, "color": line.color, "alpha": 0.15, "name": words}
                new[f"{name} band"] = self.plots[panel].varea("x", "low", "high", **look_of_band)

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
    x, y = _steps(run, panel.name, by)
    if lines and len(x):
        x, y = downsample(x, y, POINTS, window)
        shown["steps"] = lines[0]._replace(words="each step", x=x, y=y, width=0.7)
    for line in lines:
        shown[line.column] = line
        if len(line.x) == 1:
            shown[f"{line.column}{_DOT}"] = line
    best = best_point(run, lines[-1].column, by) if lines and len(group.runs) == 1 else None
    if best is not None:
        point: dict[str, Any] = {"x": np.array(best[:1]), "y": np.array(best[1:])}
        color = style.MARK if look is None else lines[-1].color
        shown[f"best{_DOT}"] = lines[-1]._replace(words="best epoch", color=color, **point)
    return shown


def _steps(run: RunData, column: str, by: By) -> tuple[Array, Array]:
    """Return a column of steps.csv over an axis of the history, up to its last epoch; empty if there is none."""
    steps, history = run.steps, run.history
    if not ({"step", column} <= steps.keys() and {"step", by} <= history.keys()) or not len(history["step"]):
        return np.empty(0), np.empty(0)
    done = steps["step"] <= history["step"][-1]
    ends, places = np.insert(history["step"], 0, 0.0), np.insert(history[by], 0, 0.0)
    return np.interp(steps["step"][done], ends, places), style.within_reach(steps[column][done])


def _new_plot(panel: Panel, by: By, log: bool, x_range: Any) -> Figure:
    """Make an empty panel with pan, zoom and hover."""
    from bokeh.models import CustomJSTicker, CustomJSTickFormatter, HoverTool
    from bokeh.plotting import figure

    plot = figure(
        height=MAIN if panel in MAIN_PANELS else SMALL,
        y_axis_type="log" if log else "linear",
        x_axis_label=X_AXES[by],
        y_axis_label=panel.axis,
        tools="pan,wheel_zoom,box_zoom,reset",
        active_drag="box_zoom",
        active_scroll=None,
        output_backend="canvas",
        **({} if x_range is None else {"x_range": x_range}),
    )
    words = [words for words, _ in panel.lines.values()]
    if len(words) > 1 and panel not in MAIN_PANELS:
        title: Any = plot.title
        title.update(text=f"{', '.join(words)}: from thin to thick", text_font_style="normal", align="right")
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


def _float32(**columns: Array) -> dict[str, Array]:
    """Return the columns of a source: float32 is half the size, and a screen shows no more digits."""
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _add_line(plot: Figure, line: Line, name: str, dot: bool) -> GlyphRenderer[Any]:
    """Draw a line, or a dot for the one point that it has."""
    look: dict[str, Any] = {"source": _float32(x=line.x, y=line.y), "color": line.color, "name": name}
    if dot:
        return plot.scatter("x", "y", size=8, **look)
    alpha = 0.2 if line.words == "each step" else 1.0
    return plot.line("x", "y", line_dash=line.dash, line_width=line.width, alpha=alpha, **look)


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
    logs = {}
    for panel in MAIN_PANELS:
        lines = [line.y for group in groups for line in panel_lines(panel, group, by)]
        logs[panel.name] = panel.is_log(lines, scale)
    curves = Curves(logs, by)
    if len(groups) == 1:
        groups = [RunGroup("", groups[0].runs)]
    curves.draw({(k, style.line_look(k) if len(groups) > 1 else None): group for k, group in enumerate(groups)})
    _add_legend(curves, [safe_text(group.label) for group in groups])
    script, body = components(curves.grid(list(curves.plots)))
    return Resources(mode="inline", components=["bokeh"], minified=True).render_js() + script, body


def _add_legend(curves: Curves, labels: Sequence[str]) -> None:
    """Add one legend, below the first panel, for the curves of both: a click hides an entry's curves everywhere. A
    group without a label has an entry for each of its lines."""
    from bokeh.core.properties import value
    from bokeh.models.annotations import Legend, LegendItem

    entries: dict[tuple[Any, str], list[GlyphRenderer[Any]]] = {}
    for (k, *_), lines in curves.lines.items():
        for line in lines.values():
            entries.setdefault((k, labels[int(k)] or str(line.name)), []).append(line)
    plot = curves.plots["loss"]
    items = []
    for (_, label), drawn in entries.items():
        here = [line for line in drawn if line in plot.renderers]
        if here:
            items.append(LegendItem(label=value(label), renderers=here))
            for other in drawn:
                if other not in here:
                    here[0].js_link("visible", other, "visible")
    columns = max(1, min(4, 72 // (max((len(label) for _, label in entries), default=1) + 5)))
    legend = Legend(items=items, click_policy="hide", ncols=columns, location="left", border_line_width=0)
    plot.add_layout(legend, "below")
    for each in curves.plots.values():
        each.height = MAIN + 22 * -(-len(items) // columns)


def safe_text(label: object) -> str:
    """Return text that Bokeh takes neither for HTML nor for a formula, which would ask the network for a typesetter."""
    return str(label).translate(str.maketrans("$\\<>", "\uff04\uff3c\uff1c\uff1e"))
