"""How every picture looks, and the one list of what a run has to show: colours that colour-blind readers can
distinguish, matplotlib without pyplot, which takes longer to load than a short training, and the lines of each panel as
`curves`, `report` and `watch` draw them.

The name, label, unit and axis of a figure, and the look of its lines, are written here only."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.runs.logs import HISTORY_COLUMNS
from twolayer.utils.files import CANNOT_READ, explained, open_to_read, write_atomically
from twolayer.utils.text import did_you_mean
from twolayer.views.run_data import LARGEST, RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): distinct with every common kind of colour blindness.
TRAINING = "#0072B2"  # blue
VALIDATION = "#D55E00"  # vermilion
MARK = "#444444"
GRID = "#DDDDDD"
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#B8A800")
Dash = Literal["solid", "dashed", "dotted", "dashdot"]
DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dashdot")
DPI = 100
LOG_FROM = 20.0  # values that span a larger factor are drawn on a logarithmic scale, where the panel allows it

By = Literal["epoch", "step", "seconds"]
Look = tuple[str, Dash]  # colour and dashes of all lines of a run
Window = tuple[float, float]  # the part of the x axis that is on the screen

X_AXES = {"epoch": "epoch", "step": "step (updates)", "seconds": "training time (s)"}
THIN, MEDIUM, THICK = 1.0, 1.6, 2.2  # training is thin, validation thick
EVERYTHING: Window = (-np.inf, np.inf)
_BAND_POINTS = 400


def line_look(index: int) -> Look:
    """Return colour and dash pattern of the index-th curve; the pattern changes when the colours repeat."""
    return OKABE_ITO[index % len(OKABE_ITO)], DASHES[index // len(OKABE_ITO) % len(DASHES)]


@contextmanager
def default_look() -> Iterator[None]:
    """Draw inside by matplotlib's own defaults, whatever a matplotlibrc in the current folder or a notebook has set
    (`text.usetex: True` there would run LaTeX); also a decorator."""
    settings = Path("matplotlibrc")  # matplotlib reads it when it is imported, and would wait for a pipe
    if "matplotlib" not in sys.modules and settings.exists() and not settings.is_dir():
        with explained(settings, CANNOT_READ):
            open_to_read(settings, follow=True).close()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        defaults = matplotlib.rcParamsDefault
        matplotlib.rcParams.update({name: value for name, value in defaults.items() if name != "backend"})
        yield


def new_figure(width: float, height: float, **margins: float) -> Figure:
    """Return an empty figure of this size in inches; `margins` as `Figure.subplots_adjust` takes them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.subplots_adjust(**margins)
    return figure


def tidy(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Label both axes, add a light grid and remove the frame's upper and right side."""
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if xlabel == "epoch":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def plain(words: object) -> str:
    """Return untrusted words as text: matplotlib reads what is between two $ as a formula."""
    return str(words).replace("$", r"\$")


def legend_name(words: object) -> str:
    """Return `plain` words for a legend; matplotlib omits names that begin with _, so a space goes before."""
    return plain(f" {words}" if str(words).startswith("_") else words)


def set_log_scale(axes: Axes, low: float, high: float) -> None:
    """Set a logarithmic y axis from `low` to `high`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_ylim(low, high)  # first: a scale set without limits finds its own, and may overflow at that
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    # Powers of ten in mathematical type, matplotlib's own, take ten times as long to draw.
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def log_limits(curves: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis for curves with positive values; one that explodes leaves the picture, so
    that it does not press the others flat."""
    values = _positive(curves)
    if not values.size:
        return 0.1, 10.0
    high = float(min(values.max(), 1e6 * np.median(values)))
    return max(float(values.min()), high * 1e-12) / 1.15, high * 1.15


def _positive(curves: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    values = np.concatenate([np.asarray(curve, float).ravel() for curve in curves]) if curves else np.empty(0)
    return values[np.isfinite(values) & (values > 1 / LARGEST)]


@default_look()
def picture(figure: Figure, kind: str = "png") -> bytes:
    """Return the figure as a file of a kind: png, svg or pdf."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"metadata": {{"svg": "Date", "pdf": "CreationDate"}.get(kind, "Software"): None}}
    if kind == "png":
        options["pil_kwargs"] = {"compress_level": 1}  # a few kB more, a third of the time
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure into a file by its name's ending (.png, .svg, .pdf), whole or not at all."""
    write_atomically(path, picture(figure, path.suffix.lower().lstrip(".") or "png"))


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
        values = _positive(curves)
        return self.log and bool(values.size and values.max() > LOG_FROM * values.min())

    def scale_axis(self, axes: Axes, curves: Sequence[Array], scale: str | None = None) -> None:
        """Scale the y axis for these values, if any is positive: logarithmic, or for losses linear from 0."""
        values = _positive(curves)
        if values.size and self.is_log(curves, scale):
            set_log_scale(axes, *log_limits(curves))
        elif values.size and self.name == "loss":
            axes.set_ylim(0, float(values.max()) * 1.05)

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


def panels_named(names: Sequence[str]) -> list[Panel]:
    """Return the panels of these names (a column's name means its panel); raise ValueError for an unknown name."""
    known = {column: panel for panel in PANELS.values() for column in panel.lines} | PANELS
    for name in names:
        if name not in known:
            raise ValueError(f"expected names out of {', '.join(PANELS)}, got {name!r}{did_you_mean(name, PANELS)}")
    return list({known[name].name: known[name] for name in names}.values())


def downsample(x: Array, y: Array, points: int = 800, window: Window = EVERYTHING) -> tuple[Array, Array]:
    """Keep at most `points` (4 or more) of a curve's points at rising x (N,), in their order: first, last, and the
    extremes of equal parts; return the arrays themselves if they are short enough.

    No spike is lost and none is made up. A part without a finite value keeps one NaN, so that the gap is seen. The
    window, what is on the screen, gets `points`, and what is left and right of it a quarter each, so that zooming out
    finds a curve.
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


class RunGroup(NamedTuple):
    """Runs that differ in their seed alone, or a single run; labelled by the keys in which it differs from others."""

    label: str
    runs: tuple[RunData, ...]


class Line(NamedTuple):
    """One line of a panel, ready to be drawn: what it shows, its points (M,) and its look. For a group of runs `y` is
    their mean and `band` the lowest and highest of them, (M,) each; None for one run."""

    column: str
    words: str
    x: Array
    y: Array
    band: tuple[Array, Array] | None
    color: str
    dash: Dash
    width: float


def panel_lines(
    panel: Panel, group: RunGroup, by: By, look: Look | None = None, points: int = 800, window: Window = EVERYTHING
) -> list[Line]:
    """Return the lines of a run in a panel, those that have values, by `downsample`, or of several runs the means and
    bands over the range that all of them reached.

    All have the given look; without one, validation is vermilion, and other columns have a colour each, the first blue.
    """
    lines = []
    for index, (column, (words, width)) in enumerate(panel.lines.items()):
        pairs = [(run.column(by), run.column(column)) for run in group.runs]
        if any(not len(x) or len(x) != len(y) for x, y in pairs):
            continue
        x, y = downsample(*pairs[0], points, window)
        band = None
        if len(pairs) > 1:  # seconds differ from run to run, so all are interpolated linearly on one grid
            start, end = max(x[0] for x, _ in pairs), min(x[-1] for x, _ in pairs)
            if end < start:
                continue
            x = pairs[0][0][(pairs[0][0] >= start) & (pairs[0][0] <= end)]
            if not 2 <= len(x) <= _BAND_POINTS:
                x = np.linspace(start, end, _BAND_POINTS if end > start else 1)
            values = np.array([np.interp(x, *pair) for pair in pairs])  # (runs, M)
            y, band = values.mean(axis=0), (values.min(axis=0), values.max(axis=0))
        own = VALIDATION if column.startswith("val_") else OKABE_ITO[index]
        lines.append(Line(column, words, x, y, band, *(look or (own, "solid")), width))
    return lines


def best_point(run: RunData, column: str, by: By) -> tuple[float, float] | None:
    """Return where a column's line passes the best epoch of a run."""
    x, y = run.at_best(by), run.at_best(column)
    return None if x is None or y is None else (x, y)
