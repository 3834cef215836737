"""The table of runs on the page of `watch`: which are drawn, in which colour, and which one is explained."""

from collections.abc import Sequence
from typing import Any

from twolayer.views import style
from twolayer.views.live.following import LiveRun
from twolayer.views.table import run_table

AUTOMATIC = 5  # runs drawn until some are chosen
MOST = len(style.OKABE_ITO) * len(style.DASHES)  # runs drawn at a time, each with a look; those higher in the table
_CHARACTER = 7  # pixels
_LONGEST = 30  # characters; a longer cell is cut, a heading never
_SWATCH = '<span style="color:<%- value %>">&#9632;</span>'
_CELL = "<%- value == null ? '' : Number(value) % 1 ? Number(Number(value).toPrecision(4)) : value %>"


class RunList:
    """A sortable table, best run first, with a box in each row: ticked runs are drawn.

    Until the user ticks, these are the runs that train, the newest one and the best of the others, `AUTOMATIC` in all.
    """

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource, CustomJS
        from bokeh.models.widgets.tables import DataTable

        self.source = ColumnDataSource({"path": []})
        # Rows change places while runs train: the browser sends the paths of the ticked rows, not their numbers.
        code = "source.tags = source.selected.indices.map(i => source.data.path[i])"
        self.source.selected.js_on_change("indices", CustomJS(args={"source": self.source}, code=code))
        self.source.on_change("tags", lambda attr, old, new: self._choose(new))
        look: dict[str, Any] = {"sizing_mode": "stretch_width", "autosize_mode": "none", "index_position": None}
        self.table = DataTable(source=self.source, selectable="checkbox", reorderable=False, **look)
        # Bokeh draws the rows again only if their number changes.
        again = CustomJS(args={"table": self.table}, code="table.view.change.emit()")
        self.source.js_on_change("data", again)
        self.by_hand = False
        self._runs: dict[str, LiveRun] = {}
        self._looks: dict[str, tuple[str, style.Dash]] = {}  # by path, of the runs that are drawn
        self._focus = ""
        self._state: object = None

    def chosen_runs(self) -> dict[LiveRun, tuple[str, style.Dash]]:
        """Return the runs that are drawn, with colour and dash."""
        return {self._runs[path]: look for path, look in self._looks.items()}

    def focus(self) -> LiveRun | None:
        """Return the run that is explained: the one that was ticked last."""
        return self._runs.get(self._focus)

    def _choose(self, paths: Sequence[Any]) -> None:
        chosen = [str(path) for path in paths if str(path) in self._runs][:MOST]
        if set(chosen) == set(self._looks):
            return
        new = [path for path in chosen if path not in self._looks]
        self.by_hand, self._state = True, None
        self._focus = new[-1] if new else (chosen[0] if chosen else self._focus)
        self._set_chosen(chosen)

    def _set_chosen(self, chosen: Sequence[str]) -> None:
        """Give each chosen run a look of its own; those that had one keep it."""
        kept = {path: self._looks[path] for path in chosen if path in self._looks}
        free = (look for k in range(MOST) if (look := style.line_look(k)) not in kept.values())
        self._looks = {path: kept.get(path) or next(free) for path in chosen}

    def update(self, runs: Sequence[LiveRun]) -> None:
        """Bring the table up to date."""
        self._runs = {str(run.folder.path): run for run in runs}
        state = [run.data for run in runs]
        if state == self._state:
            return
        self._state = state
        if not runs:
            self._looks, self.source.data = {}, {"path": []}
            return
        table = run_table(state, status=True).short()
        ranked = [runs[k] for k in table.order]
        chosen = [path for path in self._looks if path in self._runs]
        if not self.by_hand:
            newest = sorted(ranked, key=lambda run: -run.started)
            sound = [run for run in newest if run.data.status not in ("diverged", "pruned")]
            training = [run for run in sound if run.data.status == "running"]
            order = [*training, *sound[:1], *(run for run in ranked if run in sound), *newest]
            chosen = list(dict.fromkeys(str(run.folder.path) for run in order))[:AUTOMATIC]
            self._focus = chosen[0]
        self._set_chosen(chosen)
        paths = [str(run.folder.path) for run in ranked]
        colours = [self._looks.get(path, ("transparent",))[0] for path in paths]
        if any(run.problems for run in ranked):
            table.columns["problem"] = ["; ".join(run.problems.values()) for run in ranked]
        self._set_columns(table.as_text())
        self.table.height = min(300, 52 + 25 * len(paths))
        self.source.data = {"path": paths, "colour": colours, **table.columns}
        self.source.selected.indices = [k for k, path in enumerate(paths) if path in self._looks]

    def _set_columns(self, rows: list[list[str]]) -> None:
        from bokeh.models.widgets.tables import HTMLTemplateFormatter, TableColumn

        form = HTMLTemplateFormatter(template=_CELL)
        swatch: dict[str, Any] = {"formatter": HTMLTemplateFormatter(template=_SWATCH), "sortable": False}
        shown = [TableColumn(field="colour", title="", width=20, **swatch)]
        for name, *cells in zip(*rows, strict=True):
            width = 20 + _CHARACTER * max(len(name), min(_LONGEST, max(map(len, cells))))
            shown.append(TableColumn(field=name, title=name, width=width, formatter=form))
        if [(old.field, old.width) for old in self.table.columns] != [(new.field, new.width) for new in shown]:
            self.table.columns = shown
