"""Curves of runs as pictures: loss_curve.png of a run, several runs overlaid, and `twolayer.plot` for notebooks.

One run has a colour for training and one for validation; several runs have a colour each, and bands where only the
seed differs. Training is thin and validation thick everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twolayer.utils.errors import import_extra
from twolayer.utils.text import printable
from twolayer.views import style
from twolayer.views.panels import MAIN_PANELS, THICK, X_AXES, By, Look, Panel, best_point, panel_lines
from twolayer.views.run_data import RunData, RunGroup, grouped, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def draw_loss_curve(
    history: Mapping[str, ArrayLike], path: Path, best_epoch: int | None = None, title: str = ""
) -> None:
    """Draw loss and accuracy of one run, by the columns of its history (NaN where there is no value), into a .png, .svg
    or .pdf file, replaced whole; mark the best epoch, if there is one."""
    style.save(curves_figure([_run(history, best_epoch, title)], title=title), path)


def _run(history: Mapping[str, Any], best_epoch: int | None, name: str) -> RunData:
    columns = {column: np.array(values, np.float64) for column, values in history.items()}  # NaN for None
    return RunData(Path(name), columns, summary={"best_epoch": best_epoch or 0})


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
    figure = style.new_figure(9, height)
    axes_of = figure.subplots(rows, min(2, len(panels)), squeeze=False).ravel()
    figure.subplots_adjust(0.088, below / height, 0.985, 1 - above / height, wspace=0.22, hspace=0.74 / 2.58)
    for axes, panel in zip(axes_of, panels, strict=False):
        drawn: list[NDArray[np.float64]] = []
        for group, look in zip(groups, looks, strict=True):
            drawn += _draw_group(axes, panel, group, by, look)
        style.tidy(axes, X_AXES[by], panel.axis)
        axes.set_title(panel.hint, loc="right", fontsize=9, color=style.MARK)
        log = panel.is_log(drawn, scale)
        if log or panel.name == "loss":
            style.scale_from_zero_or_log(axes, drawn, log)
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
        marker = "o" if len(line.x) == 1 else None
        options: dict[str, Any] = {"linestyle": line.dash, "linewidth": line.width, "marker": marker}
        label = line.words if line.column.startswith(("train_", "val_")) else None  # the axis names the others
        axes.plot(line.x, line.y, color=line.color, label=label, **options)
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
    """Draw the last line of each panel (validation, where there is one) in characters, a colour for each run.

    Raises:
        MissingExtraError: without plotille.
    """
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


class Picture:
    """A figure that a notebook shows as the value of its cell.

    Attributes:
        figure: matplotlib's, to change as you like.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

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
    several = isinstance(history, list | tuple) and bool(history) and not _is_record(history[0])
    runs = []
    for number, one in enumerate(history if several else [history], start=1):
        columns, known_best, name = _columns_of(one)
        if not len(columns.get("epoch", ())):
            raise ValueError("no epoch to draw: the history is empty")
        if by not in columns:
            raise ValueError(f"by: expected a column of the history ({', '.join(columns)}), got {by!r}")
        runs.append(_run(columns, best_epoch or known_best, name or f"training {number}"))
    return Picture(curves_figure(runs, by=cast(By, by), scale=scale, title=title))


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("epoch"), int | float)


def _columns_of(history: Any) -> tuple[Mapping[str, Any], int | None, str]:
    """Return the columns by name, the best epoch and the run's name, where they are known."""
    if isinstance(history, str | Path):
        run = read_run(history, {})
        return run.history, run.summary.get("best_epoch"), run.name
    if hasattr(history, "history_"):
        return history.history_, history.best_epoch_, ""
    if hasattr(history, "history"):
        return history.history, history.summary.get("best_epoch"), Path(getattr(history, "run_dir", "")).name
    if isinstance(history, Mapping):
        return history, None, ""
    if isinstance(history, Sequence):
        names = dict.fromkeys(name for record in history for name in record)
        return {name: [record.get(name) for record in history] for name in names}, None, ""
    raise TypeError(
        f"expected a history, records, a training's result, an estimator or a run folder, got {type(history)}"
    )
