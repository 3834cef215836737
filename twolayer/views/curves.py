"""Runs side by side: their curves as one picture or in characters, `twolayer.plot` for notebooks, and the table of
their folder names, the keys in which they differ, and their figures, the best first.

One run has a colour for training and one for validation; several runs have a colour each, and bands where only the
seed differs. Training is thin and validation thick everywhere."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from twolayer.network.settings import larger_is_better
from twolayer.utils.errors import import_extra
from twolayer.utils.text import counted, did_you_mean, plain, printable
from twolayer.views import style
from twolayer.views.run_data import ENDED, FIGURES, Cell, RunData, read_run, value_text
from twolayer.views.style import MAIN_PANELS, THICK, X_AXES, By, Look, Panel, RunGroup, best_point, panel_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORT = ("epochs", "best epoch", "lowest val loss", "best val accuracy", "test accuracy", "seconds")
SEED = "seed"
_NOT_COMPARED = ("run.",)  # keys that say where a run is or how it reports, not what it computes
SHARE = 0.02  # of the training's time that drawing may take


class RedrawBudget:
    """Redraw a picture while training, but so seldom that drawing takes at most `SHARE` of the training's time, and not
    before `seconds` have passed since the last time. The first drawing, which loads matplotlib, is expected to take
    `cost` seconds, each later one as long as the last."""

    def __init__(self, seconds: float, cost: float = 0.5, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self.cost, self.clock = seconds, cost, clock
        self.last = clock()

    def offer(self, draw: Callable[[], object]) -> None:
        """Call `draw`, if the picture may be drawn again."""
        began = self.clock()
        trained = began - self.last
        if trained >= self.seconds and self.cost <= SHARE * trained:
            draw()
            self.last = self.clock()
            self.cost = self.last - began


def draw_loss_curve(history: Mapping[str, Any], path: Path, best_epoch: int | None = None, title: str = "") -> None:
    """Draw loss and accuracy of one run, by the columns of its history (NaN where there is no value), into a .png, .svg
    or .pdf file, replaced whole; mark the best epoch, if there is one."""
    style.save(curves_figure([_run_of(history, best_epoch)], title=title), path)


@style.default_look()
def curves_figure(
    runs: Sequence[RunData],
    panels: Sequence[Panel] = MAIN_PANELS,
    *,
    by: By = "epoch",
    scale: str | None = None,
    bands: bool = True,
    title: str = "",
) -> Figure:
    """Draw a panel for each of `panels`, two in a row; a single run has its best epoch marked.

    `scale` is that of the losses: `linear`, `log` or None (whichever shows more). With `bands`, runs that differ in the
    seed alone are one curve, their mean, in a band from lowest to highest."""
    from matplotlib.lines import Line2D

    groups, single = grouped(runs, by_seed=bands), len(runs) == 1
    looks: list[Look | None] = [None] if single else [style.line_look(index) for index in range(len(groups))]
    labels = [] if single else [style.legend_name(group.label) for group in groups]
    entries = max(1, min(4, 105 // (max(map(len, labels), default=0) + 6)))
    below = 0.5 if single else 0.85 + 0.2 * -(-len(labels) // entries)  # inches for the axis and the legend
    above = 0.62 if title or single else 0.2
    rows = -(-len(panels) // 2)
    height = 2.58 * rows + 0.74 * (rows - 1) + below + above
    edges = {"left": 0.088, "bottom": below / height, "right": 0.985, "top": 1 - above / height}
    figure = style.new_figure(9, height, **edges, wspace=0.22, hspace=0.74 / 2.58)
    axes_of = figure.subplots(rows, min(2, len(panels)), squeeze=False).ravel()
    for axes, panel in zip(axes_of, panels, strict=False):
        drawn: list[NDArray[np.float64]] = []
        for group, look in zip(groups, looks, strict=True):
            drawn += _draw_group(axes, panel, group, by, look)
        style.tidy(axes, X_AXES[by], panel.axis)
        axes.set_title(panel.hint, loc="right", fontsize=9, color=style.MARK)
        panel.scale_axis(axes, drawn, scale)
    for axes in axes_of[len(panels) :]:
        axes.remove()
    if single:
        named: dict[str, Any] = {}
        for axes in figure.axes:
            lines, words = axes.get_legend_handles_labels()
            named |= zip(words, lines, strict=True)
        above_right: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.99, 1 - 0.15 / height)}
        figure.legend(named.values(), named, ncols=3, frameon=False, **above_right)
    else:
        thick = [Line2D([], [], color=look[0], linestyle=look[1], linewidth=THICK) for look in looks if look]
        lower_left: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.06, 0.25 / height)}
        figure.legend(thick, labels, ncols=entries, frameon=False, fontsize=9, **lower_left)
        band = ", band: from the lowest to the highest run" if any(len(group.runs) > 1 for group in groups) else ""
        figure.text(0.07, 0.13 / height, f"thick: validation, thin: training{band}", fontsize=9, color=style.MARK)
    if title:
        figure.text(0.02, 1 - 0.26 / height, title, fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _draw_group(axes: Axes, panel: Panel, group: RunGroup, by: By, look: Look | None) -> list[NDArray[np.float64]]:
    """Draw the lines of a group of runs; without a look, a run with its best epoch: a thin line there, and a dot on
    the panel's last line (validation, where there is one). Return the values that were drawn."""
    values = []
    lines = panel_lines(panel, group, by, look)
    for line in lines:
        look_of_line: dict[str, Any] = {"color": line.color, "linestyle": line.dash, "linewidth": line.width}
        named = line.column.startswith(("train_", "val_"))  # the axis names the others
        marker = "o" if len(line.x) == 1 else None
        axes.plot(line.x, line.y, label=line.words if named else None, marker=marker, **look_of_line)
        values.append(line.y)
        if line.band is not None and line.width == THICK:
            axes.fill_between(line.x, *line.band, color=line.color, alpha=0.18, linewidth=0)
            values += line.band
    best = best_point(group.runs[0], lines[-1].column, by) if look is None and lines else None
    if best is not None:
        axes.axvline(best[0], color=style.MARK, linewidth=1, linestyle=":")
        axes.plot(*best, "o", color=style.MARK, markersize=6, label=f"best epoch {group.runs[0].best_epoch}")
    return values


def text_plot(runs: Sequence[RunData], panels: Sequence[Panel], by: By, width: int, height: int = 15) -> str:
    """Draw the last line of each panel (validation, where there is one) in characters, a colour for each run. Raises
    MissingExtraError without plotille."""
    plotille = import_extra("plotille", "report", "a plot in the terminal")
    colors = ("blue", "red", "green", "magenta", "cyan", "yellow", "white")
    parts = []
    for panel in panels:
        plot = plotille.Figure()
        plot.width, plot.height = max(10, width - 30), height
        plot.x_label, plot.y_label, plot.origin = by, panel.name, False
        plot.set_x_limits(min_=0)
        plot.register_label_formatter(float, lambda value, chars, *_, **__: f"{value:.4g}".rjust(chars))
        for index, group in enumerate(grouped(runs, by_seed=False)):
            for line in panel_lines(panel, group, by, points=4 * width)[-1:]:
                keep = np.isfinite(line.y)
                x, y = line.x[keep].tolist(), line.y[keep].tolist()
                plot.plot(x, y, lc=colors[index % 7], label=printable(group.label))
        parts.append(f"{panel.axis}\n{plot.show(legend=True)}")
    return "\n\n".join(parts)


@dataclass(repr=False)
class Picture:
    """A figure that a notebook shows as the value of its cell; `figure` is matplotlib's, to change as you like."""

    figure: Figure

    def save(self, path: str | Path) -> None:
        """Write it as .png, .svg or .pdf, by the name's ending."""
        style.save(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        return style.picture(self.figure)

    def __repr__(self) -> str:
        return "Picture(a notebook shows it, .save(path) writes it)"


def plot(
    history: Any, *, best_epoch: int | None = None, title: str = "", by: str = "epoch", scale: str | None = None
) -> Picture:
    """Draw training and validation loss and accuracy, of one training or of several overlaid.

    Args:
        history: what `train` returns or its `history`; the records that a `Solver` yields; a fitted TwoLayerClassifier
            or its `history_`; or a run folder. A list of these overlays them.
        best_epoch: the epoch to mark; None takes the one that `history` knows of, if it does.
        title: a line above the panels.
        by: the x axis: `epoch`, `step`, or for runs `seconds`.
        scale: of the losses: `linear`, `log` or None (whichever shows more).

    Raises:
        ValueError: if there is no epoch to draw.
        RunError: for a folder that holds no run, or a damaged one.
    """
    first = history[0] if isinstance(history, list | tuple) and history else history
    is_record = isinstance(first, Mapping) and isinstance(first.get("epoch"), int | float)
    runs = []
    for number, one in enumerate([history] if first is history or is_record else history, start=1):
        run = _run_of(one, best_epoch, f"training {number}")
        if not len(run.history.get("epoch", ())):
            raise ValueError("no epoch to draw: the history is empty")
        if by not in run.history:
            raise ValueError(f"by: expected a column of the history ({', '.join(run.history)}), got {by!r}")
        runs.append(run)
    return Picture(curves_figure(runs, by=cast(By, by), scale=scale, title=title))


def _run_of(given: Any, best_epoch: int | None = None, name: str = "") -> RunData:
    """Return a run with the columns of a history, see `plot`, and the best epoch and the name that are known."""
    known: int | None = None
    if isinstance(given, str | Path):
        run = read_run(given, {})
        given, known, name = run.history, run.summary.get("best_epoch"), run.name
    elif hasattr(given, "history_"):
        given, known = given.history_, given.best_epoch_
    elif hasattr(given, "history"):
        name = Path(getattr(given, "run_dir", name)).name
        given, known = given.history, given.summary.get("best_epoch")
    elif isinstance(given, Sequence):
        names = dict.fromkeys(name for record in given for name in record)
        given = {name: [record.get(name) for record in given] for name in names}
    if not isinstance(given, Mapping):
        expected = "a history, records, a training's result, an estimator or a run folder"
        raise TypeError(f"expected {expected}, got {type(given)}")
    columns = {column: np.array(values, np.float64) for column, values in given.items()}  # NaN for None
    return RunData(Path(name), columns, summary={"best_epoch": best_epoch or known or 0})


def differing_keys(runs: Sequence[RunData]) -> dict[str, str]:
    """Return the dotted keys of the config whose values are not the same in all runs, in the first config's order, each
    with its short name: without its section, where that leaves it different."""
    first = runs[0].settings
    differing = [
        key
        for key in dict.fromkeys(key for run in runs for key in run.settings)
        if not key.startswith(_NOT_COMPARED) and any(run.settings.get(key) != first.get(key) for run in runs)
    ]
    last = [key.rsplit(".", 1)[-1] for key in differing]
    return {key: name if last.count(name) == 1 else key for key, name in zip(differing, last, strict=True)}


def grouped(runs: Sequence[RunData], by_seed: bool = True) -> list[RunGroup]:
    """Group runs whose configs differ in the seed alone (with `by_seed`; otherwise each run is a group)."""
    names = differing_keys(runs)
    together = by_seed and names.pop(SEED, None) is not None
    members: dict[tuple[str, ...], list[RunData]] = {}
    for index, run in enumerate(runs):
        values = (repr(run.settings.get(key)) for key in names)
        members.setdefault((*values, "" if together else str(index)), []).append(run)
    groups = []
    for same in members.values():
        words = [f"{name}={value_text(same[0].settings.get(key))}" for key, name in names.items()]
        if len(same) > 1:
            words.append(f"mean of {counted(len(same), 'run')}")
        groups.append(RunGroup(", ".join(words) or same[0].name, tuple(same)))
    return groups


class RunTable(NamedTuple):
    """A table without empty columns: cells by the column's name, the first is `run`, numbers as numbers, None for no
    value; and the rows' places in the runs that were given."""

    columns: dict[str, list[Cell]]
    order: list[int]

    def short(self) -> RunTable:
        """Return the table with fewer figures, which leave room for the keys in which runs differ."""
        kept = {name: cells for name, cells in self.columns.items() if name in SHORT or name not in FIGURES}
        return self._replace(columns=kept)

    def as_text(self) -> list[list[str]]:
        """Return the header and the rows, as they are shown."""

        def text(name: str, cell: Cell) -> str:
            if not isinstance(cell, float):
                return "" if cell is None else str(cell)
            if name not in FIGURES:
                return f"{cell:g}"
            return f"{cell:.2f}" if name == "seconds" else f"{cell:.4f}" if abs(cell) < 1e6 else f"{cell:.4g}"

        cells = [[text(name, cell) for cell in column] for name, column in self.columns.items()]
        return [list(self.columns), *map(list, zip(*cells, strict=True))]

    def for_terminal(self) -> str:
        """Return the table with aligned columns: the names to the left, all else to the right."""
        rows = [[plain(cell) for cell in row] for row in self.as_text()]
        first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = []
        for name, *cells in rows:
            others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append("  ".join([name.ljust(first), *others]).rstrip())
        return "\n".join(lines)

    def as_csv(self) -> str:
        """Return the table as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.as_text())
        return text.getvalue()


def run_table(runs: Sequence[RunData], sort: str | None = None, status: bool = False) -> RunTable:
    """Make the table of one or more runs, named by their folders, or their paths where two names are equal; with
    `status`, that is shown even if all are finished.

    `sort` is a column's name or a config key, ValueError for another one; None: the monitored value at the best epoch,
    the best first."""
    columns: dict[str, list[Cell]] = {"run": [run.name for run in runs]}
    if len(set(columns["run"])) < len(runs):
        columns["run"] = [str(run.path) for run in runs]
    for key, name in differing_keys(runs).items():
        settings = [run.settings.get(key) for run in runs]
        columns[name] = [value if type(value) in (int, float) else value_text(value) for value in settings]
    if status or any(run.status not in ENDED for run in runs):
        columns["status"] = [run.status for run in runs]
    figures = {name: [run.figures[name] for run in runs] for name in FIGURES}
    columns |= {name: cells for name, cells in figures.items() if any(cell is not None for cell in cells)}
    by = runs[0].monitor
    values: list[Cell] = [run.at_best(by) for run in runs]
    if sort is not None:
        known = {key.replace(" ", "_"): key for key in columns}
        key = sort.rpartition(".")[2].replace(" ", "_")
        if key not in known:
            raise ValueError(f"--sort: expected one of {', '.join(known)}, got {sort!r}{did_you_mean(key, known)}")
        by, values = known[key].rpartition(" ")[2], columns[known[key]]
    sign = -1 if larger_is_better(by) else 1

    def rank(k: int) -> tuple[int, float, str]:  # numbers, then words, then what is absent
        value = values[k]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return 2, 0.0, ""
        return (1, 0.0, value) if isinstance(value, str) else (0, sign * value, "")

    order = sorted(range(len(runs)), key=rank)
    return RunTable({name: [cells[k] for k in order] for name, cells in columns.items()}, order)
