"""The page of `watch`: one per browser tab, on Bokeh's server, drawn with the panels and lines of the report."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, cast

from twolayer.runs.saved_model import load_model
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.text import counted
from twolayer.views.boundary import boundary_figure, plane_of, snapshot_models
from twolayer.views.diagnosis import diagnose
from twolayer.views.interactive import Curves
from twolayer.views.live.following import Follower, LiveRun
from twolayer.views.live.run_list import RunList
from twolayer.views.panels import EVERYTHING, MAIN_PANELS, PANELS, X_AXES, By, Panel
from twolayer.views.report.html import CSS, verdicts
from twolayer.views.report.pictures import figure_uri
from twolayer.views.run_data import ENDED, RunGroup

if TYPE_CHECKING:
    from bokeh.document import Document

TICK = 300  # milliseconds until what was clicked or zoomed is drawn
_MAIN = [panel.name for panel in MAIN_PANELS]


class WatchPage:
    """Controls, panels, the list of runs and the diagnosis of one of them, in the document of one tab; the follower
    reads the runs for all tabs."""

    def __init__(self, document: Document, follower: Follower) -> None:
        from bokeh.layouts import column, row
        from bokeh.models.widgets import CheckboxButtonGroup, Div, Select

        self.document, self.follower = document, follower
        document.title = "twolayer watch"
        self.list = RunList()
        self.by = Select(title="x axis", value="epoch", options=list[Any](X_AXES), width=110)
        self.scale = Select(title="loss axis", value="auto", options=list[Any](["auto", "linear", "log"]), width=110)
        self.show = CheckboxButtonGroup(labels=[*PANELS, "boundary"], active=[0, 1], align="end")
        look: dict[str, Any] = {"sizing_mode": "stretch_width", "stylesheets": [CSS], "disable_math": True}
        self.head, self.words, self.boundary = Div(**look), Div(**look), Div(**look)
        self.panels, self.small = (column(sizing_mode="stretch_width") for _ in range(2))
        self.curves = Curves({}, "epoch")
        self._state: object = None
        self.look()
        controls = row(self.by, self.scale, self.show)
        parts = (self.head, controls, self.panels, self.list.table, self.words, self.small, self.boundary)
        document.add_root(column(*parts, sizing_mode="stretch_width"))
        document.add_periodic_callback(self.look, TICK)

    def look(self) -> None:
        """Read what is new and draw it, and what was clicked or zoomed."""
        self.follower.look()
        self.document.hold("combine")
        try:
            self.list.update(list(self.follower.runs.values()))
            self._update()
        finally:
            self.document.unhold()

    def _update(self) -> None:
        """Bring panels and words up to date with the controls and the chosen runs."""
        self.head.text = self._headline()
        chosen, focus, by = self.list.chosen_runs(), self.list.focus(), cast(By, self.by.value)
        shown = [panel for k, panel in enumerate(PANELS.values()) if k in self.show.active]
        with_boundary = focus is not None and len(PANELS) in self.show.active
        state = [run.data for run in chosen], focus and focus.data, shown, with_boundary, by, self.scale.value
        window = self.curves.window if by == self.curves.by else EVERYTHING
        if (state, window) == self._state:
            return
        self._state = state, window
        logs = self._logs(shown, chosen)
        rebuild = logs != self.curves.logs or by != self.curves.by
        if rebuild:
            self.curves = Curves(logs, by, self.curves.x_range if by == self.curves.by else None)
        groups = {(run.folder.path, look): RunGroup(run.data.name, (run.data,)) for run, look in chosen.items()}
        self.curves.draw(groups, window)
        if rebuild:  # after drawing: each line in a panel that belongs to the document would be a message
            main, small = [name for name in logs if name in _MAIN], [name for name in logs if name not in _MAIN]
            for place, names in ((self.panels, main), (self.small, small)):
                place.children = [self.curves.grid(names)] if names else []
        self.words.text = _words(focus) if focus is not None else ""
        self.boundary.text = _boundary_of(focus) if focus is not None and with_boundary else ""

    def _logs(self, shown: Sequence[Panel], runs: Iterable[LiveRun]) -> dict[str, bool]:
        """Return the panels that have something to show, and which of them are logarithmic; once so, it stays so."""
        scale = None if self.scale.value == "auto" else str(self.scale.value)
        logs = {}
        for panel in shown:
            values = [run.data.column(name) for run in runs for name in panel.lines]
            if any(map(len, values)):
                stays = self.curves.logs.get(panel.name, False) and (panel.name != "loss" or scale is None)
                logs[panel.name] = stays or panel.is_log(values, scale)
        return logs

    def _headline(self) -> str:
        runs = self.follower.runs.values()
        places = ", ".join(str(place) for place in self.follower.places)
        if not runs:
            return f"<b>{escape(f'No run in {places} yet; the page shows one as soon as it starts.')}</b>"
        statuses = Counter(run.data.status for run in runs)
        text = f"{counted(len(runs), 'run')} in {places}: {statuses['running']} running"
        if statuses["gone"]:
            text += f", {statuses['gone']} whose process is gone"
        hint = "Thick: validation, thin: training, pale: each step. "
        if len(runs) > len(self.list.chosen_runs()) and not self.list.by_hand:
            hint += "Drawn: the runs that train, the newest and the best of the others. "
        return f"<b>{escape(text)}</b><br>{hint}Tick a row to draw its run and to have it explained."


def _boundary_of(run: LiveRun) -> str:
    """Return the boundary of a run as HTML, by the newest model in its folder: of its snapshots, or the best."""
    path = run.folder.path
    try:
        model = load_model(path)
        if model.params.n_features != 2:
            return "<p>The boundary is drawn for rows of two features.</p>"
        epoch, model = (snapshot_models(path, model, newest=True) or [(run.data.best_epoch or 0, model)])[0]
        figure = boundary_figure(plane_of(path, model.classes), model.predict_proba)
    except (TwoLayerError, OSError) as error:
        return f'<p class="alarm">{escape(str(error).splitlines()[0])}</p>'
    return f'<h3>{escape(path.name)}, epoch {epoch}</h3><img alt="boundary" src="{figure_uri(figure)}">'


def _words(run: LiveRun) -> str:
    """Return the diagnosis of a run, and the command that resumes or repeats it, as HTML."""
    data = run.data
    body, problem = "<p>No epoch has ended yet.</p>", "; ".join(run.problems.values())
    if len(data.history.get("epoch", ())) and not problem:
        try:
            body = verdicts(diagnose(data))
        except TwoLayerError as error:
            problem = str(error)
    if problem:
        body = f'<p class="alarm">{escape(problem)}</p>'
    if data.status in (*ENDED, "diverged"):
        command = f"to repeat it: twolayer train {shlex.quote(str(run.folder.config))}"
    else:
        when = "it is training; to resume it after an interruption" if data.status == "running" else "to resume it"
        command = f"{when}: twolayer train --resume {shlex.quote(str(run.folder.path))}"
    return f"<h3>{escape(data.name)}: {escape(data.status)}</h3>{body}<p><code>{escape(command)}</code></p>"
