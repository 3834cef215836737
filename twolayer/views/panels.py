"""The one list of what a run has to show, and the lines of each panel as `curves`, `report` and `watch` draw them.

The name, label, unit and axis of a figure, and the look of its lines, are written here only."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from twolayer.network.model import Array
from twolayer.runs.logs import HISTORY_COLUMNS
from twolayer.utils.text import did_you_mean
from twolayer.views import style
from twolayer.views.run_data import RunData, RunGroup

By = Literal["epoch", "step", "seconds"]
Look = tuple[str, style.Dash]  # colour and dashes of all lines of a run
Window = tuple[float, float]  # the part of the x axis that is on the screen

X_AXES = {"epoch": "epoch", "step": "step (updates)", "seconds": "training time (s)"}
THIN, MEDIUM, THICK = 1.0, 1.6, 2.2  # training is thin, validation thick
EVERYTHING: Window = (-np.inf, np.inf)
_BAND_POINTS = 400


class Panel(NamedTuple):
    """One pair of axes: its name for `--show`, the label of its y axis, by column of history.csv what a line shows and
    its width, and whether the y axis is logarithmic for values of a wide range."""

    name: str
    axis: str
    lines: dict[str, tuple[str, float]]
    log: bool = False

    def is_log(self, curves: Sequence[Array], scale: str | None) -> bool:
        """Return whether the y axis is logarithmic for these values; `scale` is that of the losses, None for auto."""
        if self.name == "loss" and scale is not None:
            return scale == "log"
        return self.log and style.wants_log(curves)

    @property
    def hint(self) -> str:
        """Which line is which, for the title of a panel of several lines; nothing for training and validation."""
        words = [words for words, _ in self.lines.values()]
        return f"{', '.join(words)}: from thin to thick" if len(words) > 1 and self not in MAIN_PANELS else ""


_LINES = {  # the columns of a panel's name: what a line shows and its width
    "train_{}": ("training", THIN),
    "val_{}": ("validation", THICK),
    "{}": ("each epoch", MEDIUM),
    "{}_W1": ("W1", THIN),
    "{}_W2": ("W2", THICK),
    "{}_min": ("min", THIN),
    "{}_median": ("median", MEDIUM),
    "{}_max": ("max", THICK),
}
_LOGARITHMIC = ("loss", "gradient_norm", "update_ratio")
_AXES = {
    "loss": "cross-entropy (nats)",
    "accuracy": "accuracy (share of rows)",
    "balanced_accuracy": "balanced accuracy (mean recall)",
    "f1": "macro F1",
    "auc": "area under the ROC curve",
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
    "update_ratio": "|update| / |weights|, one step",
    "weight_norm": "norm of the weights",
    "dead_share": "units that fire for no row (share)",
    "activation": "mean activation of a unit",
    "penalty": "L2 penalty (nats)",
}
PANELS = {}
for _name, _axis in _AXES.items():
    _lines = {form.format(_name): look for form, look in _LINES.items() if form.format(_name) in HISTORY_COLUMNS}
    PANELS[_name] = Panel(_name, _axis, _lines, _name in _LOGARITHMIC)
MAIN_PANELS = (PANELS["loss"], PANELS["accuracy"])


def panels_named(names: Iterable[str]) -> list[Panel]:
    """Return the panels of these names (a column's name means its panel); raise ValueError for an unknown name."""
    by_column = {column: panel for panel in PANELS.values() for column in panel.lines}
    found = {}
    for name in names:
        panel = PANELS.get(name) or by_column.get(name)
        if panel is None:
            raise ValueError(f"expected names out of {', '.join(PANELS)}, got {name!r}{did_you_mean(name, PANELS)}")
        found[panel.name] = panel
    return list(found.values())


def downsample(x: Array, y: Array, points: int = 800, window: Window = EVERYTHING) -> tuple[Array, Array]:
    """Keep at most `points` points of a curve, in their order: first, last, and the extremes of equal parts.

    No spike is lost and none is made up. A part without a finite value keeps one NaN, so that the gap is seen.

    Args:
        x: (N,) positions, rising.
        y: (N,) values.
        points: 4 or more.
        window: the part that is on the screen; it gets `points`, and what is left and right of it a quarter each, so
            that zooming out finds a curve.

    Returns:
        (x, y) of what remains; the arrays themselves if they are short enough.
    """
    N = len(y)
    # One point more on each side: the line continues to the edge of the screen.
    a, b = max(0, int(np.searchsorted(x, window[0])) - 1), int(np.searchsorted(x, window[1], "right")) + 1
    if window != EVERYTHING and b - a < N:
        parts = ((slice(a), points // 4), (slice(a, b), points), (slice(b, N), points // 4))
        kept_x, kept_y = zip(*(downsample(x[part], y[part], count) for part, count in parts), strict=True)
        return np.concatenate(kept_x), np.concatenate(kept_y)
    if points >= N:
        return x, y
    edges = np.linspace(0, N, max(1, (points - 2) // 2) + 1).astype(np.intp)
    lowest, highest = (np.where(np.isfinite(y), sign * y, np.inf) for sign in (1, -1))
    extremes = [a + int(values[a:b].argmin()) for values in (lowest, highest) for a, b in pairwise(edges)]
    keep = np.unique([0, *extremes, N - 1])
    return x[keep], y[keep]


class Line(NamedTuple):
    """One line of a panel, ready to be drawn: what it shows, its points (M,) and its look. For a group of runs `y` is
    their mean and `band` the lowest and highest of them, (M,) each; None for one run."""

    column: str
    words: str
    x: Array
    y: Array
    band: tuple[Array, Array] | None
    color: str
    dash: style.Dash
    width: float


def panel_lines(
    panel: Panel, group: RunGroup, by: By, look: Look | None = None, points: int = 800, window: Window = EVERYTHING
) -> list[Line]:
    """Return the lines of a run or a group of runs in a panel, those that have values, by `downsample`.

    All have the given look; without one, validation is vermilion, and other columns have a colour each, the first blue.
    """
    lines = []
    for index, (column, (words, width)) in enumerate(panel.lines.items()):
        curve = _curve([(run.column(by), run.column(column)) for run in group.runs], points, window)
        if curve is not None:
            own = style.VALIDATION if column.startswith("val_") else style.OKABE_ITO[index]
            lines.append(Line(column, words, *curve, *(look or (own, "solid")), width))
    return lines


def _curve(
    pairs: Sequence[tuple[Array, Array]], points: int, window: Window
) -> tuple[Array, Array, tuple[Array, Array] | None] | None:
    """Return the curve (x, y) of one run, or the mean and the band of several over the range that all of them reached.

    Seconds differ from run to run, so several runs are interpolated linearly on one grid.
    """
    if any(not len(x) or len(x) != len(y) for x, y in pairs):
        return None
    if len(pairs) == 1:
        return *downsample(*pairs[0], points, window), None
    start, end = max(x[0] for x, _ in pairs), min(x[-1] for x, _ in pairs)
    if end < start:
        return None
    grid = pairs[0][0]
    grid = grid[(grid >= start) & (grid <= end)]
    if len(grid) > _BAND_POINTS or len(grid) < 2:
        grid = np.linspace(start, end, _BAND_POINTS if end > start else 1)
    values = np.array([np.interp(grid, x, y) for x, y in pairs])  # (runs, M)
    return grid, values.mean(axis=0), (values.min(axis=0), values.max(axis=0))


def best_point(run: RunData, column: str, by: By) -> tuple[float, float] | None:
    """Return where a column's line passes the best epoch of a run."""
    x, y = run.at_best(by), run.at_best(column)
    return None if x is None or y is None else (x, y)
