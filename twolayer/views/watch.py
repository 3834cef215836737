"""The page of `watch`: one per browser tab, drawn with the panels and lines of the report, and its server: Bokeh's, on
the loopback address unless another is asked for, for its own pages only."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import webbrowser
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twolayer.runs.checkpoint import load_model
from twolayer.utils.errors import TwoLayerError, import_extra
from twolayer.utils.text import counted
from twolayer.views import style
from twolayer.views.boundary import boundary_figure, plane_of, snapshot_models
from twolayer.views.curves import run_table
from twolayer.views.diagnosis import diagnose
from twolayer.views.interactive import Curves
from twolayer.views.report import CSS, picture_uri, verdicts
from twolayer.views.run_data import ENDED, Follower, LiveRun
from twolayer.views.style import EVERYTHING, MAIN_PANELS, PANELS, X_AXES, By, Look, RunGroup

if TYPE_CHECKING:
    from bokeh.document import Document

LOOPBACK = "127.0.0.1"
_TRIES = 20  # ports after the one asked for
TICK = 300  # milliseconds until what was clicked or zoomed is drawn
AUTOMATIC = 5  # runs drawn until some are chosen
MOST = len(style.OKABE_ITO) * len(style.DASHES)  # runs drawn at a time, each with a look; those higher in the table
_CHARACTER = 7  # pixels
_LONGEST = 30  # characters; a longer cell is cut, a heading never
_SWATCH = '<span style="color:<%- value %>">&#9632;</span>'
_CELL = "<%- value == null ? '' : Number(value) % 1 ? Number(Number(value).toPrecision(4)) : value %>"


class RunList:
    """A sortable table of runs, best first, with a box in each row: ticked runs are drawn, the last one is explained.

    Until the user ticks, these are the runs that train, the newest one and the best of the others, `AUTOMATIC` in all.
    """

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource, CustomJS
        from bokeh.models.widgets.tables import DataTable

        self.source = ColumnDataSource({"path": []})
        # Rows change places while runs train: the browser sends the paths of the ticked rows, not their numbers.
        code = "source.tags = source.selected.indices.map(i => source.data.path[i])"
        self.source.selected.js_on_change("indices", CustomJS(args={"source": self.source}, code=code))
        self.source.on_change("tags", lambda attr, old, new: self.choose(new))
        look: dict[str, Any] = {"sizing_mode": "stretch_width", "autosize_mode": "none", "index_position": None}
        self.table = DataTable(source=self.source, selectable="checkbox", reorderable=False, **look)
        # Bokeh draws the rows again only if their number changes.
        again = CustomJS(args={"table": self.table}, code="table.view.change.emit()")
        self.source.js_on_change("data", again)
        self.by_hand = False
        self.runs: dict[str, LiveRun] = {}  # by path
        self.looks: dict[str, Look] = {}  # by path, of the runs that are drawn
        self.focus = ""  # the path of the run that is explained
        self._state: object = None

    def choose(self, paths: Sequence[Any]) -> None:
        """Draw the runs of these paths, those that there are, from now on."""
        chosen = [str(path) for path in paths if str(path) in self.runs][:MOST]
        if set(chosen) != set(self.looks):
            new = [path for path in chosen if path not in self.looks]
            self.by_hand, self._state = True, None
            self.focus = new[-1] if new else (chosen[0] if chosen else self.focus)
            self._set_looks(chosen)

    def _set_looks(self, chosen: Sequence[str]) -> None:
        """Give each chosen run a look of its own; those that had one keep it."""
        kept = {path: self.looks[path] for path in chosen if path in self.looks}
        free = (look for k in range(MOST) if (look := style.line_look(k)) not in kept.values())
        self.looks = {path: kept.get(path) or next(free) for path in chosen}

    def update(self, runs: Sequence[LiveRun]) -> None:
        """Bring the table up to date."""
        from bokeh.models.widgets.tables import HTMLTemplateFormatter, TableColumn

        self.runs = {str(run.folder.path): run for run in runs}
        state = [run.data for run in runs]
        if state == self._state:
            return
        self._state = state
        if not runs:
            self.looks, self.source.data = {}, {"path": []}
            return
        table = run_table(state, status=True).short()
        ranked = [runs[k] for k in table.order]
        chosen = [path for path in self.looks if path in self.runs]
        if not self.by_hand:
            newest = sorted(ranked, key=lambda run: -run.started)
            sound = [run for run in newest if run.data.status not in ("diverged", "pruned")]
            training = [run for run in sound if run.data.status == "running"]
            order = [*training, *sound[:1], *(run for run in ranked if run in sound), *newest]
            chosen = list(dict.fromkeys(str(run.folder.path) for run in order))[:AUTOMATIC]
            self.focus = chosen[0]
        self._set_looks(chosen)
        paths = [str(run.folder.path) for run in ranked]
        colours = [self.looks.get(path, ("transparent",))[0] for path in paths]
        if any(run.problems for run in ranked):
            table.columns["problem"] = ["; ".join(run.problems.values()) for run in ranked]
        swatch, form = HTMLTemplateFormatter(template=_SWATCH), HTMLTemplateFormatter(template=_CELL)
        columns = [TableColumn(field="colour", title="", width=20, formatter=swatch, sortable=False)]
        for name, *cells in zip(*table.as_text(), strict=True):
            width = 20 + _CHARACTER * max(len(name), min(_LONGEST, max(map(len, cells))))
            columns.append(TableColumn(field=name, title=name, width=width, formatter=form))
        if [(old.field, old.width) for old in self.table.columns] != [(new.field, new.width) for new in columns]:
            self.table.columns = columns
        self.table.height = min(300, 52 + 25 * len(paths))
        self.source.data = {"path": paths, "colour": colours, **table.columns}
        self.source.selected.indices = [k for k, path in enumerate(paths) if path in self.looks]


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
            self.head.text = self._headline()
            self._update()
        finally:
            self.document.unhold()

    def _update(self) -> None:
        """Bring panels and words up to date with the controls and the chosen runs."""
        by, focus = cast(By, self.by.value), self.list.runs.get(self.list.focus)
        groups = {
            (path, look): RunGroup(self.list.runs[path].data.name, (self.list.runs[path].data,))
            for path, look in self.list.looks.items()
        }
        shown = [panel for k, panel in enumerate(PANELS.values()) if k in self.show.active]
        with_boundary = focus is not None and len(PANELS) in self.show.active
        state = groups, focus and focus.data, shown, with_boundary, by, self.scale.value
        window = self.curves.window if by == self.curves.by else EVERYTHING
        if (state, window) == self._state:
            return
        self._state = state, window
        scale = None if self.scale.value == "auto" else str(self.scale.value)
        logs = {}  # the panels that have something to show, and which of them are logarithmic; once so, it stays so
        for panel in shown:
            values = [group.runs[0].column(name) for group in groups.values() for name in panel.lines]
            if any(map(len, values)):
                stays = self.curves.logs.get(panel.name, False) and (panel.name != "loss" or scale is None)
                logs[panel.name] = stays or panel.is_log(values, scale)
        rebuild = logs != self.curves.logs or by != self.curves.by
        if rebuild:
            self.curves = Curves(logs, by, self.curves.x_range if by == self.curves.by else None)
        self.curves.draw(groups, window)
        if rebuild:  # after drawing: each line in a panel that belongs to the document would be a message
            main = [panel.name for panel in MAIN_PANELS if panel.name in logs]
            for place, names in ((self.panels, main), (self.small, [name for name in logs if name not in main])):
                place.children = [self.curves.grid(names)] if names else []
        self.words.text = _words(focus) if focus is not None else ""
        self.boundary.text = _boundary_of(focus) if focus is not None and with_boundary else ""

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
        if len(runs) > len(self.list.looks) and not self.list.by_hand:
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
    return f'<h3>{escape(path.name)}, epoch {epoch}</h3><img alt="boundary" src="{picture_uri(figure)}">'


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


def serve(places: Sequence[Path], address: str, port: int, browse: bool, say: Callable[[str], None]) -> None:
    """Serve the page about some places (see `Follower`) until the process is interrupted, at the port or the next free
    one (0: any); `say` the address, and open it in the browser, where there is one. Raises TwoLayerError if no port is
    free, or (`MissingExtraError`) without Bokeh."""
    import_extra("bokeh", "report", "watch")
    from bokeh.server.server import Server
    from bokeh.settings import settings
    from tornado.ioloop import IOLoop

    settings.log_level = "warn"  # of the browser's console
    for name in ("bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    port = _free_port(address, port)
    hosts = [f"{host}:{port}" for host in _hosts(address)]
    follower = Follower(places)

    def document(page: Document) -> None:
        context: Any = page.session_context
        if context.request.headers.get("Host", "") in hosts:
            WatchPage(page, follower)  # a page of another site that has its name resolve to this machine gets nothing

    loop = IOLoop()
    idle: dict[str, Any] = {"check_unused_sessions_milliseconds": 5000, "unused_session_lifetime_milliseconds": 10_000}
    server = Server(document, io_loop=loop, address=address, port=port, allow_websocket_origin=hosts, **idle)
    url = f"http://{hosts[0]}/"
    say(url)
    if address != LOOPBACK:
        say(f"{address}: every computer that reaches this address can read these runs; there is no password")
    server.start()
    # A browser without a window would take over the terminal.
    windows = sys.platform in ("win32", "darwin") or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    try:
        if browse and windows:
            loop.add_callback(webbrowser.open, url)
        loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        loop.close(all_fds=True)


def _hosts(address: str) -> list[str]:
    """Return the names by which a browser may call the server."""
    others = [] if address == LOOPBACK else [LOOPBACK, socket.gethostname(), socket.getfqdn()]
    return list(dict.fromkeys([address, "localhost", *others]))


def _free_port(address: str, port: int) -> int:
    reason = ""
    for candidate in range(port, port + _TRIES) if port else [0]:
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, candidate))
                return int(probe.getsockname()[1])
        except OSError as error:
            reason = error.strerror or str(error)
    raise TwoLayerError(f"--address {address} --port {port}: {reason}; choose another port or address")
