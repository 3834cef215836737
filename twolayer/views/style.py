"""How every picture looks: colours that colour-blind readers can distinguish, text that is readable at the width of a
README, and matplotlib without pyplot, which takes longer to load than a short training."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from twolayer.utils.files import CANNOT_READ, explained, open_to_read, write_atomically

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
LARGEST = 1e37  # what is larger is drawn here: with a margin, it must fit into float32, in which a report keeps curves
LOG_FROM = 20.0  # losses that span a larger factor are drawn on a logarithmic scale


def line_look(index: int) -> tuple[str, Dash]:
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


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def tidy(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Label both axes, add a light grid and remove the frame's upper and right side."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(False)
    if xlabel == "epoch":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def within_reach(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with the finite ones clipped to -`LARGEST` and `LARGEST`."""
    return np.where(np.isfinite(values), np.clip(values, -LARGEST, LARGEST), values)


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


def wants_log(curves: Sequence[NDArray[Any]]) -> bool:
    """Return whether values span a factor large enough that a logarithmic scale shows more of them."""
    values = _positive(curves)
    return bool(values.size and values.max() > LOG_FROM * values.min())


def log_limits(curves: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis for curves with positive values; one that explodes leaves the picture, so
    that it does not press the others flat."""
    values = _positive(curves)
    if not values.size:
        return 0.1, 10.0
    high = float(min(values.max(), 1e6 * np.median(values)))
    return max(float(values.min()), high * 1e-12) / 1.15, high * 1.15


def scale_from_zero_or_log(axes: Axes, curves: Sequence[NDArray[Any]], log: bool) -> None:
    """Scale the y axis for positive values, if there are any: linear from 0, or logarithmic."""
    values = _positive(curves)
    if values.size and log:
        set_log_scale(axes, *log_limits(curves))
    elif values.size:
        axes.set_ylim(0, float(values.max()) * 1.05)


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
