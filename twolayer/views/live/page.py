"""The page of `watch`: one per browser tab, on Bokeh's server, drawn with the panels and lines of the report."""

from __future__ import annotations

import shlex
from html import escape
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twolayer.network.model import Array
from twolayer.utils.errors import TwoLayerError
from twolayer.views import style
from twolayer.views.diagnosis import verdicts_on
from twolayer.views.interactive import add_line, new_panel, points_of
from twolayer.views.live.boundary_panel import BoundaryPanel
from twolayer.views.live.following import INTERVAL, Follower, LiveRun
from twolayer.views.live.run_list import RunList
from twolayer.views.panels import MAIN_PANELS, PANELS, By, Panel, downsample_window
from twolayer.views.report.html import CSS, verdicts
from twolayer.views.run_data import ENDED

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.plotting import figure as Figure

_OF_STEPS = {"loss": "loss", "learning_rate": "learning_rate"}  # panels that show steps.csv, thin and pale
_MAIN = [panel.name for panel in MAIN_PANELS]
_SOON = 150  # milliseconds until what was clicked or zoomed is drawn


class WatchPage:
    """Controls, panels, the list of runs and the diagnosis of one of them.

    Args:
        document: the tab's.
        follower: reads the runs, for all tabs.
    """

    def __init__(self, document: Document, follower: Follower) -> None:
        from bokeh.layouts import column, row
        from bokeh.models.widgets import CheckboxButtonGroup, Div, Select

        self.document, self.follower = document, follower
        document.title = "twolayer watch"
        self.list = RunList(self._soon)
        self.by = Select(title="x axis", value="epoch", options=list[Any](["epoch", "step", "seconds"]), width=110)
        self.scale = Select(title="loss axis", value="auto", options=list[Any](["auto", "linear", "log"]), width=110)
        self.show = CheckboxButtonGroup(labels=[*PANELS, "boundary"], active=[0, 1], align="end")
        for control, name in ((self.by, "value"), (self.scale, "value"), (self.show, "active")):
            control.on_change(name, lambda attr, old, new: self._rebuild())
        look: dict[str, Any] = {"sizing_mode": "stretch_width", "stylesheets": [CSS], "disable_math": True}
        self.head, self.words = Div(**look), Div(**look)
        self.panels, self.small = (column(sizing_mode="stretch_width") for _ in range(2))
        self._window = (-np.inf, np.inf)
        self._plots: dict[str, Figure] = {}
        self._lines: dict[tuple[Any, ...], Any] = {}
        self._drawn: dict[tuple[Any, ...], Any] = {}
        self._logs: dict[str, bool] = {}
        self._waiting = False
        self._state: Any = None
        self._boundary = BoundaryPanel()
        self.look()
        self._rebuild()
        controls = row(self.by, self.scale, self.show)
        parts = (self.head, controls, self.panels, self.list.table, self.words, self.small)
        document.add_root(column(*parts, sizing_mode="stretch_width"))
        document.add_periodic_callback(self.look, int(1000 * INTERVAL))

    def look(self) -> None:
        """Read what is new and draw it."""
        if not self.follower.look():
            self._soon()
        self.document.hold("combine")
        try:
            self.list.update(list(self.follower.runs.values()))
            self._update()
        finally:
            self.document.unhold()

    def _soon(self) -> None:
        if not self._waiting:
            self._waiting = True
            self.document.add_timeout_callback(self._later, _SOON)

    def _later(self) -> None:
        self._waiting = False
        self.look()

    def _chosen_panels(self) -> list[Panel]:
        return [panel for k, panel in enumerate(PANELS.values()) if k in self.show.active]

    def _rebuild(self) -> None:
        """Make the panels again: another axis, another scale, other panels."""
        from bokeh.layouts import gridplot

        by = cast(By, self.by.value)
        self._lines, self._drawn, self._logs, self._state = {}, {}, self._logs_now(), None
        old = self._plots
        self._plots = {}
        x_range = next((plot.x_range for plot in old.values() if plot.tags == [by]), None)
        for name, log in self._logs.items():
            panel = PANELS[name]
            height, digits = (360, (1, 2, 5)) if name in _MAIN else (240, (1, 3))
            ticks = [float(f"{digit}e{power}") for power in range(-12, 9) for digit in digits] if log else ()
            plot = new_panel(panel, by, log=log, ticks=ticks, x_range=x_range, height=height)
            plot.tags = [by]
            if x_range is None:
                x_range = plot.x_range
                self._window = (-np.inf, np.inf)
                for end in ("start", "end"):
                    x_range.on_change(end, lambda attr, old, new: self._zoomed())
            self._plots[panel.name] = plot
        self._update()  # before the panels belong to the document: each line would be a message
        main: list[Any] = [plot for name, plot in self._plots.items() if name in _MAIN]
        small: list[Any] = [plot for name, plot in self._plots.items() if name not in _MAIN]
        if len(PANELS) in self.show.active:
            small.append(self._boundary.plot)
        for place, plots in ((self.panels, main), (self.small, small)):
            place.children = [gridplot(plots, ncols=2, sizing_mode="stretch_width")] if plots else []

    def _logs_now(self) -> dict[str, bool]:
        """Return the panels that have something to show, and which of them are logarithmic; once so, it stays so."""
        logs = {}
        for panel in self._chosen_panels():
            scale = self.scale.value if panel.name == "loss" else "auto"
            values = [run.data.column(name) for run in self.list.chosen_runs() for name in panel.lines]
            if not any(map(len, values)):
                continue
            auto = panel.log and (self._logs.get(panel.name, False) or style.wants_log(values))
            logs[panel.name] = auto if scale == "auto" else scale == "log"
        return logs

    def _zoomed(self) -> None:
        x_range: Any = next(iter(self._plots.values())).x_range
        if x_range.start is not None and x_range.end is not None:
            self._window = (x_range.start, x_range.end)
            self._soon()

    def _update(self) -> None:
        """Bring panels and words up to date with the chosen runs."""
        self._set(self.head, self._headline())
        chosen = self.list.chosen_runs()
        state = (
            [(run.folder.path, run.version) for run in chosen],
            self.list.focus(),
            self._window,
            list(self._plots),
        )
        if state == self._state:
            return
        self._state = state
        if self._logs_now() != self._logs:
            self._rebuild()
            return
        expected: dict[tuple[Any, ...], None] = {}
        for run in chosen:
            for panel in map(PANELS.__getitem__, self._plots):
                expected |= dict.fromkeys(self._draw(run, panel))
        for key in [key for key in self._lines if key not in expected]:
            renderer = self._lines.pop(key)
            self._drawn.pop(key, None)
            plot = self._plots[key[1]]
            plot.renderers = [one for one in plot.renderers if one is not renderer]
        for name, plot in self._plots.items():
            seen = [line for key, line in self._lines.items() if key[1] == name and key[2] != "steps"]
            y_range: Any = plot.y_range
            if seen and y_range.renderers != seen:
                y_range.renderers = seen  # the losses of the steps, which scatter widely, do not set the scale
        focus = self.list.focus()
        self._set(self.words, _words(focus) if focus is not None else "")
        if len(PANELS) in self.show.active and focus is not None:
            self._boundary.update(focus)

    @staticmethod
    def _set(div: Any, text: str) -> None:
        if div.text != text:
            div.text = text

    def _draw(self, run: LiveRun, panel: Panel) -> list[tuple[Any, ...]]:
        """Draw a run in a panel; return the keys of what belongs there."""
        by = cast(By, self.by.value)
        color, dash = self.list.look(run)
        history = run.data.history
        x = history.get(by, np.empty(0))
        curves: dict[str, tuple[Array, Array, dict[str, Any]]] = {}
        if panel.name in _OF_STEPS and len(x):
            places, values = _steps(run, _OF_STEPS[panel.name], by)
            if len(places):
                curves["steps"] = (places, values, {"width": 0.7, "alpha": 0.2, "dash": dash})
        for column, (_, width) in panel.lines.items():
            y = run.data.column(column)
            if len(y) == len(x) > 0:
                curves[column] = (x, y, {"width": width, "dash": dash})
        best = np.flatnonzero(history["epoch"] == run.data.best_epoch) if len(x) else np.empty(0, int)
        if curves and best.size:
            *_, (_, y, _) = curves.values()
            curves["best"] = (x[best], y[best], {"width": 1.0, "dot": True})
        path = run.folder.path
        for name, (x, y, options) in curves.items():
            key, state = (path, panel.name, name), (run.version, self._window, color)
            if self._drawn.get(key) == state:
                continue
            x, y = downsample_window(x, y, *self._window)
            if key not in self._lines:
                words = f"{path.name} ({panel.lines[name][0] if name in panel.lines else name})"
                self._lines[key] = add_line(self._plots[panel.name], x, y, color=color, name=words, **options)
            elif self._drawn.get(key, state)[0] != run.version or len(x) > 1:
                self._lines[key].data_source.data = points_of(x, y)
            self._drawn[key] = state
        return [(path, panel.name, name) for name in curves]

    def _headline(self) -> str:
        runs = self.follower.runs.values()
        count = {status: sum(run.data.status == status for run in runs) for status in ("running", "gone")}
        places = ", ".join(str(place) for place in self.follower.places)
        text = f"{len(runs)} run{'s' * (len(runs) != 1)} in {places}: {count['running']} running"
        if count["gone"]:
            text += f", {count['gone']} whose process is gone"
        return f"<b>{escape(text if runs else f'No run in {places} yet; the page shows one as soon as it starts.')}</b>"


def _steps(run: LiveRun, column: str, by: By) -> tuple[Array, Array]:
    """Return a column of steps.csv over an axis of the history, up to its last epoch."""
    steps, history = run.steps.by_name(), run.data.history
    if not ({"step", column} <= steps.keys() and {"step", by} <= history.keys()):
        return np.empty(0), np.empty(0)
    done = steps["step"] <= history["step"][-1]
    ends, places = np.insert(history["step"], 0, 0.0), np.insert(history[by], 0, 0.0)
    return np.interp(steps["step"][done], ends, places), steps[column][done]


def _words(run: LiveRun) -> str:
    """Return the diagnosis of a run, and the command that resumes or repeats it, as HTML."""
    data, path = run.data, shlex.quote(str(run.folder.path))
    if run.problem:
        body = f'<p class="alarm">{escape(run.problem)}</p>'
    elif not len(data.history.get("epoch", ())):
        body = "<p>No epoch has ended yet.</p>"
    else:
        try:
            body = verdicts(verdicts_on(data))
        except TwoLayerError as error:
            body = f'<p class="alarm">{escape(str(error))}</p>'
    if data.status in ENDED:
        command = f"to repeat it: twolayer train {shlex.quote(str(run.folder.config))}"
    elif data.status == "running":
        command = "it is training; after an interruption: twolayer train --resume " + path
    else:
        command = f"to resume it: twolayer train --resume {path}"
    return f"<h3>{escape(data.name)}: {escape(data.status)}</h3>{body}<p><code>{escape(command)}</code></p>"
