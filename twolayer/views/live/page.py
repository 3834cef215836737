"""The page of `watch`: one per browser tab, on Bokeh's server, drawn with the panels and lines of the report."""

from __future__ import annotations

import io
import shlex
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twolayer.utils.errors import TwoLayerError
from twolayer.views import style
from twolayer.views.boundary import Plane, boundary_figure, newest_model, plane_of
from twolayer.views.diagnosis import diagnose
from twolayer.views.interactive import Curves
from twolayer.views.live.following import INTERVAL, Follower, LiveRun
from twolayer.views.live.run_list import RunList
from twolayer.views.panels import EVERYTHING, MAIN_PANELS, PANELS, By
from twolayer.views.report.html import CSS, verdicts
from twolayer.views.report.pictures import data_uri
from twolayer.views.run_data import ENDED, RunGroup

if TYPE_CHECKING:
    from bokeh.document import Document

_MAIN = [panel.name for panel in MAIN_PANELS]
_SOON = 150  # milliseconds until what was clicked or zoomed is drawn


class WatchPage:
    """Controls, panels, the list of runs and the diagnosis of one of them, in the document of one tab; the follower
    reads the runs for all tabs."""

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
        self.head, self.words, self.boundary = Div(**look), Div(**look), Div(**look)
        self.panels, self.small = (column(sizing_mode="stretch_width") for _ in range(2))
        self.curves = Curves({}, "epoch")
        self._window = EVERYTHING
        self._logs: dict[str, bool] = {}
        self._waiting = False
        self._state: Any = None
        self._plane: tuple[Path, Plane] | None = None
        self.look()
        self._rebuild()
        controls = row(self.by, self.scale, self.show)
        parts = (self.head, controls, self.panels, self.list.table, self.words, self.small, self.boundary)
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

    def _rebuild(self) -> None:
        """Make the panels again: another axis, another scale, other panels."""
        by = cast(By, self.by.value)
        old = next((plot.x_range for plot in self.curves.plots.values()), None) if by == self.curves.by else None
        self._logs, self._state = self._logs_now(), None
        self.curves = Curves(self._logs, by, old)
        plots = self.curves.plots
        if old is None:
            self._window = EVERYTHING
            for x_range in [plot.x_range for plot in plots.values()][:1]:
                for end in ("start", "end"):
                    x_range.on_change(end, lambda attr, old, new: self._zoomed())
        self._update()  # before the panels belong to the document: each line would be a message
        main, small = [name for name in plots if name in _MAIN], [name for name in plots if name not in _MAIN]
        for place, names in ((self.panels, main), (self.small, small)):
            place.children = [self.curves.grid(names)] if names else []

    def _logs_now(self) -> dict[str, bool]:
        """Return the panels that have something to show, and which of them are logarithmic; once so, it stays so."""
        scale = None if self.scale.value == "auto" else str(self.scale.value)
        logs = {}
        for panel in [panel for k, panel in enumerate(PANELS.values()) if k in self.show.active]:
            values = [run.data.column(name) for run in self.list.chosen_runs() for name in panel.lines]
            if any(map(len, values)):
                stays = self._logs.get(panel.name, False) and (panel.name != "loss" or scale is None)
                logs[panel.name] = stays or panel.is_log(values, scale)
        return logs

    def _zoomed(self) -> None:
        x_range: Any = next(iter(self.curves.plots.values())).x_range
        if x_range.start is not None and x_range.end is not None:
            self._window = (x_range.start, x_range.end)
            self._soon()

    def _update(self) -> None:
        """Bring panels and words up to date with the chosen runs."""
        _set(self.head, self._headline())
        chosen, focus = self.list.chosen_runs(), self.list.focus()
        state = ([run.data for run in chosen], focus, focus and focus.data, self._window, self.curves)
        if state == self._state:
            return
        self._state = state
        if self._logs_now() != self._logs:
            self._rebuild()
            return
        groups = {(run.folder.path, self.list.look(run)): RunGroup(run.data.name, (run.data,)) for run in chosen}
        self.curves.draw(groups, self._window)
        _set(self.words, _words(focus) if focus is not None else "")
        _set(self.boundary, self._boundary_of(focus) if focus is not None and len(PANELS) in self.show.active else "")

    def _headline(self) -> str:
        runs = self.follower.runs.values()
        places = ", ".join(str(place) for place in self.follower.places)
        if not runs:
            return f"<b>{escape(f'No run in {places} yet; the page shows one as soon as it starts.')}</b>"
        count = {status: sum(run.data.status == status for run in runs) for status in ("running", "gone")}
        text = f"{len(runs)} run{'s' * (len(runs) != 1)} in {places}: {count['running']} running"
        if count["gone"]:
            text += f", {count['gone']} whose process is gone"
        hint = "Thick: validation, thin: training, pale: each step. "
        if len(runs) > len(self.list.chosen_runs()) and not self.list.by_hand:
            hint += "Drawn: the runs that train, the newest and the best of the others. "
        return f"<b>{escape(text)}</b><br>{hint}Tick a row to draw its run and to have it explained."

    def _boundary_of(self, run: LiveRun) -> str:
        """Return the boundary of a run as HTML, by the newest model in its folder: of its snapshots, or the best."""
        path = run.folder.path
        try:
            epoch, model = newest_model(path)
            if model.params.n_features != 2:
                return "<p>The boundary is drawn for rows of two features.</p>"
            if self._plane is None or self._plane[0] != path:
                self._plane = path, plane_of(path, model.classes)
            figure = boundary_figure(self._plane[1], model.predict_proba)
        except (TwoLayerError, OSError) as error:
            return f'<p class="alarm">{escape(str(error).splitlines()[0])}</p>'
        picture = io.BytesIO()
        style.save(figure, picture)
        return f'<h3>{escape(path.name)}, epoch {epoch}</h3><img alt="boundary" src="{data_uri(picture.getvalue())}">'


def _set(div: Any, text: str) -> None:
    if div.text != text:
        div.text = text


def _words(run: LiveRun) -> str:
    """Return the diagnosis of a run, and the command that resumes or repeats it, as HTML."""
    data, path = run.data, shlex.quote(str(run.folder.path))
    if run.problem:
        body = f'<p class="alarm">{escape(run.problem)}</p>'
    elif not len(data.history.get("epoch", ())):
        body = "<p>No epoch has ended yet.</p>"
    else:
        try:
            body = verdicts(diagnose(data))
        except TwoLayerError as error:
            body = f'<p class="alarm">{escape(str(error))}</p>'
    if data.status in (*ENDED, "diverged"):
        command = f"to repeat it: twolayer train {shlex.quote(str(run.folder.config))}"
    elif data.status == "running":
        command = f"it is training; to resume it after an interruption: twolayer train --resume {path}"
    else:
        command = f"to resume it: twolayer train --resume {path}"
    return f"<h3>{escape(data.name)}: {escape(data.status)}</h3>{body}<p><code>{escape(command)}</code></p>"
