"""The table of runs on the page of `watch`: which are drawn, in which colour, and which one is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from twolayer.utils.columns import larger_is_better
from twolayer.views import style
from twolayer.views.live.following import LiveRun
from twolayer.views.table import FIGURES, Cell, different_values, run_names, sort_order

AUTOMATIC = 5  # runs drawn until some are chosen: the newest
MOST = 40  # runs drawn at a time; of more, those higher in the table
_SHOWN = ("epochs", "best epoch", "lowest val loss", "best val accuracy", "test accuracy", "seconds")


class RunList:
    """A sortable table, best run first. Ticked runs are drawn; until a row is ticked, the newest are.

    Args:
        changed: called after the choice has changed.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        from bokeh.models import ColumnDataSource, CustomJS
        from bokeh.models.widgets.tables import DataTable

        self.source = ColumnDataSource({"path": []})
        # Rows change places while runs train: the browser sends the paths of the ticked rows, not their numbers.
        code = "source.tags = source.selected.indices.map(i => source.data.path[i])"
        self.source.selected.js_on_change("indices", CustomJS(args={"source": self.source}, code=code))
        self.source.on_change("tags", lambda attr, old, new: self._choose(new))
        self.table = DataTable(
            source=self.source,
            selectable="checkbox",
            sizing_mode="stretch_width",
            height=280,
            index_position=None,
            reorderable=False,
            fit_columns=True,
        )
        # Bokeh draws the rows again only if their number changes.
        again = CustomJS(args={"table": self.table}, code="table.view.change.emit()")
        self.source.js_on_change("data", again)
        self._changed = changed
        self._runs: dict[str, LiveRun] = {}
        self._chosen: list[str] = []
        self._by_hand = False
        self._focus = ""
        self._looks: dict[str, int] = {}
        self._figures: dict[str, tuple[int, dict[str, Cell]]] = {}
        self._configs: tuple[int, ...] = ()
        self._keys: dict[str, list[Cell]] = {}
        self._state: object = None

    def chosen_runs(self) -> list[LiveRun]:
        """Return the runs that are drawn."""
        return [self._runs[path] for path in self._chosen]

    def focus(self) -> LiveRun | None:
        """Return the run that was chosen last."""
        return self._runs.get(self._focus)

    def look(self, run: LiveRun) -> tuple[str, style.Dash]:
        """Return a run's colour and dash."""
        return style.line_look(self._looks[str(run.folder.path)])

    def _choose(self, paths: Sequence[Any]) -> None:
        chosen = [str(path) for path in paths if str(path) in self._runs][:MOST]
        if set(chosen) == set(self._chosen):
            return
        new = [path for path in chosen if path not in self._chosen]
        self._by_hand = True
        self._set_chosen(chosen)
        self._focus = new[-1] if new else (chosen[0] if chosen else self._focus)
        self._state = None
        self._changed()

    def _set_chosen(self, chosen: list[str]) -> None:
        self._chosen = chosen
        self._looks = {path: look for path, look in self._looks.items() if path in chosen}
        for path in chosen:
            taken = set(self._looks.values())
            self._looks.setdefault(path, next(k for k in range(len(taken) + 1) if k not in taken))

    def update(self, runs: Sequence[LiveRun]) -> None:
        """Bring the table up to date."""
        self._runs = {str(run.folder.path): run for run in runs}
        if self._by_hand:
            self._set_chosen([path for path in self._chosen if path in self._runs])
        else:
            newest = sorted(runs, key=lambda run: run.started, reverse=True)[:AUTOMATIC]
            self._set_chosen([str(run.folder.path) for run in newest])
            self._focus = self._chosen[0] if self._chosen else ""
        state = ([run.version for run in runs], list(self._runs), self._looks)
        if state == self._state or not runs:
            if not runs and self.source.data["path"]:
                self.source.data = {"path": []}
            return
        self._state = (state[0], state[1], dict(self._looks))
        self._fill(runs)

    def _fill(self, runs: Sequence[LiveRun]) -> None:
        columns: dict[str, list[Cell]] = {"run": list(run_names([run.data for run in runs]))}
        configs = tuple(id(run.data.config) for run in runs)
        if configs != self._configs:
            self._configs, self._keys = configs, different_values([run.data for run in runs])
        columns |= self._keys
        monitor = runs[0].data.monitor
        rows = [self._figures_of(run, monitor) for run in runs]
        for name in rows[0]:
            if any(row[name] not in (None, "") for row in rows):
                columns[name] = [row[name] for row in rows]
        monitored = [row["monitored"] for row in rows]
        order = sort_order(monitored, larger_is_better(monitor))
        columns.pop("monitored", None)
        paths = [str(run.folder.path) for run in runs]
        data: dict[str, list[Any]] = {"path": [paths[k] for k in order]}
        data["colour"] = [
            style.line_look(self._looks[p])[0] if p in self._looks else "transparent" for p in data["path"]
        ]
        for name, values in columns.items():
            cells = [values[k] for k in order]
            words = any(isinstance(cell, str) for cell in cells)
            empty = "" if words else np.nan
            data[name] = [empty if cell is None else str(cell) if words else cell for cell in cells]
        self._set_columns(data)
        self.table.height = min(300, 34 + 25 * len(paths))
        self.source.data = data
        self.source.selected.indices = [k for k, path in enumerate(data["path"]) if path in self._looks]

    def _figures_of(self, run: LiveRun, monitor: str) -> dict[str, Cell]:
        """Return a run's cells, kept until it changes."""
        path = str(run.folder.path)
        version, cells = self._figures.get(path, (-1, {}))
        if version != run.version:
            cells = {"status": run.data.status, "problem": run.problem}
            try:
                cells |= {name: FIGURES[name](run.data) for name in _SHOWN}
                cells["monitored"] = run.data.at_best(monitor)
            except (KeyError, IndexError, ValueError) as error:  # columns of another length, or none of ours
                cells |= {**dict.fromkeys((*_SHOWN, "monitored")), "problem": f"history.csv: {error}"}
            self._figures[path] = run.version, cells
        return cells

    def _set_columns(self, data: dict[str, list[Any]]) -> None:
        from bokeh.models.widgets.tables import HTMLTemplateFormatter, NumberFormatter, StringFormatter, TableColumn

        names = [name for name in data if name not in ("path", "colour")]
        if [column.field for column in self.table.columns[1:]] == names:
            return
        swatch = HTMLTemplateFormatter(template='<span style="color:<%- value %>">&#9632;</span>')
        columns = [TableColumn(field="colour", title="", width=20, formatter=swatch, sortable=False)]
        for name in names:
            numbers = not any(isinstance(cell, str) for cell in data[name])
            whole = name in ("epochs", "best epoch")
            form = NumberFormatter(
                format="0" if whole else "0.0000" if name in FIGURES else "0.[000000]", nan_format=""
            )
            columns.append(
                TableColumn(
                    field=name,
                    title=name,
                    width=220 if name == "run" else 90,
                    formatter=form if numbers else StringFormatter(),
                )
            )
        self.table.columns = columns
