"""`twolayer experiment`: claims of the texts this project learned from, tested in numbers and as a picture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Array, Params, flat_copy, init_params, softmax
from twolayer.network.settings import EngineName
from twolayer.reference.by_hand import one_loop, ones_vectors, outer_products, two_loops
from twolayer.reference.plain import gradient_step
from twolayer.solver.engine import TrainingState, UpdateRule
from twolayer.solver.solver import make_engine
from twolayer.utils.errors import MissingExtraError
from twolayer.utils.randomness import generator
from twolayer.views import style


class LabelledCurve(NamedTuple):
    """One line: its label in the legend, and its points."""

    label: str
    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True)
class ClaimPanel:
    """What one pair of axes shows: curves, and dots with a text beside each."""

    title: str
    xlabel: str  # with the unit
    ylabel: str = ""  # with the unit
    curves: tuple[LabelledCurve, ...] = ()  # those after the fourth repeat colours with another dash
    points: tuple[tuple[float, float | str, str], ...] = ()  # (x, y, text)
    text_at: tuple[float, float] = (7, 5)  # where the text is, in points right of and above the dot
    log: str = ""  # the axes that are logarithmic: x, y or xy
    dots: bool = False  # whether each point of a curve is marked


@style.default_look()
def draw_panels(title: str, panels: tuple[ClaimPanel, ...], path: Path) -> None:
    """Draw one or two panels side by side into a picture file, in the format of its name's ending."""
    figure = style.new_figure(10 if len(panels) > 1 else 8, 4.2)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, curve in enumerate(panel.curves):
            color, dash = style.OKABE_ITO[number % 4], style.DASHES[number % len(style.DASHES)]
            marker = "o" if panel.dots else None
            axes.plot(curve.x, curve.y, color=color, linestyle=dash, linewidth=1.9, marker=marker, label=curve.label)
        for x, y, text in panel.points:
            axes.plot(x, y, "o", color=style.MARK, markersize=5)
            axes.annotate(text, (x, y), textcoords="offset points", xytext=panel.text_at, fontsize=9, color=style.MARK)
        if "x" in panel.log:
            axes.set_xscale("log")
        if "y" in panel.log:
            axes.set_yscale("log")
        style.tidy(axes, panel.xlabel, panel.ylabel)
        if len(panel.curves) > 1:
            axes.legend(frameon=False, fontsize=9)
        axes.set_title(panel.title, fontsize=10, loc="left")
    figure.text(0.015, 0.945, title, fontsize=12, fontweight="bold", parse_math=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93), w_pad=2.5)
    style.save(figure, path)


LADDER_SHAPE = (64, 64, 64, 10)  # N, D, H, C: a batch of optdigits


class Experiment(NamedTuple):
    """What an experiment found: the claim or the question, its picture, and the numbers in words, one line each."""

    title: str
    panels: tuple[ClaimPanel, ...]
    findings: tuple[str, ...]


def exaggeration() -> Experiment:
    """Compare the share that softmax gives the larger of two numbers with its plain share.

    The plain share of x2 is x2 / (x1 + x2), softmax's is 1 / (1 + exp(x1 - x2)); the second is larger exactly where
    x2 - x1 > log(x2 / x1).
    """
    gap = np.linspace(0, 5, 301)  # x2 - x1
    curves = [LabelledCurve("softmax, whatever x1 is", gap, _larger_share(gap))]
    for x1 in (0.1, 1.0):
        curves.append(LabelledCurve(f"x2 / (x1 + x2), x1 = {x1:g}", gap, (x1 + gap) / (2 * x1 + gap)))
    crossing = gap[1:][(curves[0].y > curves[1].y)[1:]][0]
    shares = [0.2 / 0.3]
    x = np.array([0.1, 0.2])
    for _ in range(5):
        shares.append(float(softmax(x[None])[0, 1]))
        x = np.exp(np.minimum(x, 700.0))
    repeated = LabelledCurve("", np.arange(6), np.array(shares))
    points = tuple((float(i), share, f"{share:.3f}") for i, share in enumerate(shares) if i in (0, 1, 3))
    return Experiment(
        "Does softmax exaggerate the largest score?",
        (
            ClaimPanel("The larger of two numbers, x2", "x2 - x1", "share of x2", tuple(curves),
                  ((float(crossing), float(_larger_share(crossing[None])[0]), f"from {crossing:.1f} on"),),
                  text_at=(-20, -16)),
            ClaimPanel("exp taken several times, then the share of .2 beside .1", "times exp is taken", "share of .2",
                  (repeated,), points, dots=True),
        ),
        (
            f"Only where x2 - x1 > log(x2 / x1): always for x1 = 1, for x1 = 0.1 from {crossing:.1f} on.",
            f"(.1, .2): plain share {shares[0]:.3f}, softmax {shares[1]:.3f}.",
            "exp taken again and again gives it all in the end: " + ", ".join(f"{share:.4f}" for share in shares),
        ),
    )  # fmt: skip


def _larger_share(gap: Array) -> Array:
    return softmax(np.column_stack([np.zeros_like(gap), gap]))[:, 1]


def loss() -> Experiment:
    """Compute what a probability of the right class costs, (5), and how hard its score is pushed up, (7)."""
    p = np.linspace(0.002, 1, 500)
    marked = np.array([0.9, 0.5, 0.1, 0.01])
    costs = -np.log(marked)
    return Experiment(
        "What a probability of the right class costs",
        (
            ClaimPanel("the loss of a row, (5)", "probability p of the right class", "-log p (nats)",
                  (LabelledCurve("", p, -np.log(p)),),
                  tuple((float(a), float(c), f"{a:g}: {c:.3f}") for a, c in zip(marked, costs, strict=True))),
            ClaimPanel("its slope along the right score, (7)", "probability p of the right class", "dL/ds = p - 1",
                  (LabelledCurve("", p, p - 1),), tuple((float(a), float(a - 1), f"{a - 1:+.2f}") for a in marked),
                  text_at=(9, -10)),
        ),
        tuple(f"p = {a:4g}: loss {c:.5f}, slope {a - 1:+.2f}" for a, c in zip(marked, costs, strict=True)),
    )  # fmt: skip


def separable(steps: int = 10_000, regs: tuple[float, ...] = (0.0, 1e-3, 1e-2, 1e-1)) -> Experiment:
    """Train softmax regression on two separable classes: |W| under gradient descent, alpha = 0.5, for several r."""
    rng = generator(0, "generate")
    y = np.arange(40) % 2
    X = rng.normal(scale=0.5, size=(40, 2)) + np.where(y[:, None] == 0, -1.5, 1.5)
    at = np.unique(np.geomspace(1, steps, 60).astype(int))
    norms, losses, findings = [], [], []
    for reg in regs:
        params, norm, data_loss = Params(None, None, np.zeros((2, 2)), np.zeros(2)), [], []
        for step in range(1, steps + 1):
            total, gradients = ones_vectors(params, X, y, reg)
            if step in at:
                norm.append(float(np.linalg.norm(params.W2 - 0.5 * gradients.W2)))
                data_loss.append(total - reg / 2 * float((params.W2**2).sum()))
            params = gradient_step(params, gradients, alpha=0.5)
        norms.append(LabelledCurve(f"r = {reg:g}", at, np.array(norm)))
        losses.append(LabelledCurve(f"r = {reg:g}", at, np.array(data_loss)))
        middle = norm[np.searchsorted(at, steps // 10)]
        findings.append(f"r = {reg:<6g} |W| {middle:8.4f} after {steps // 10:,} steps, {norm[-1]:8.4f} after {steps:,}")
    return Experiment(
        "Two separable classes: do the weights stop growing?",
        (
            ClaimPanel("size of the weights", "steps", "|W|", tuple(norms), log="x"),
            ClaimPanel("mean loss, penalty apart", "steps", "cross-entropy (nats)", tuple(losses), log="xy"),
        ),
        tuple(findings),
    )


def ladder(seconds: float = 0.4) -> Experiment:
    """Time the gradients of one batch, each rung for `seconds`: two loops, one, none, without allocations, compiled."""
    N, D, H, C = LADDER_SHAPE
    rng = generator(0, "generate")
    params = init_params(D, H, C, rng=rng, dtype=np.float32)
    X, y = rng.normal(size=(N, D)).astype(np.float32), rng.integers(0, C, N)
    rungs: dict[str, Callable[[], object]] = {
        "two loops": lambda: two_loops(params, X, y, 1e-4),
        "outer products, row by row": lambda: outer_products(params, X, y, 1e-4),
        "one loop": lambda: one_loop(params, X, y, 1e-4),
        "ones vectors, no loop": lambda: ones_vectors(params, X, y, 1e-4),
        "loss_and_gradients": lambda: loss_and_gradients(params, X, y, 1e-4),
        "engine numpy, step included": _engine_step("numpy", params, X, y),
    }
    left_out = ""
    try:
        rungs["engine numba, step included"] = _engine_step("numba", params, X, y)
    except MissingExtraError as error:
        left_out = str(error)
    times = {name: _median_seconds(rung, seconds) for name, rung in rungs.items()}
    slowest = times["two loops"]
    findings = [f"{name:<28} {1e6 * t:10,.1f} microseconds {slowest / t:8,.1f}x" for name, t in times.items()]
    panel = ClaimPanel(
        "median time; how many times as fast as two loops",
        "microseconds per batch (references in float64, the others in float32)",
        points=tuple((1e6 * t, name, f"{1e6 * t:,.0f} µs   {slowest / t:,.0f}x") for name, t in times.items()),
        text_at=(-20, 7),
        log="x",
    )
    title = f"One batch of {N} rows through a {D}-{H}-{C} network and back"
    return Experiment(title, (panel,), tuple([*findings, left_out] if left_out else findings))


def _engine_step(name: EngineName, params: Params, X: Array, y: Array) -> Callable[[], object]:
    flat = flat_copy(params)
    engine = make_engine(name, TrainingState(flat, ()), UpdateRule("sgd", reg=1e-4), len(X))
    rates = np.array([1e-3])
    return lambda: engine.run(X, y, None, rates)


def _median_seconds(function: Callable[[], object], seconds: float) -> float:
    function()  # the first call compiles, allocates, fills caches
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    each.__name__: each for each in (exaggeration, loss, separable, ladder)
}


@click.command()
@click.argument("name", type=click.Choice(list(EXPERIMENTS)))
@click.option("--out", type=click.Path(path_type=Path), help="Picture (.png, .svg, .pdf).  [default: NAME.png]")
def command(name: str, out: Path | None) -> None:
    """Run an experiment, print its numbers and draw its picture.

    \b
    exaggeration  when softmax exaggerates the largest score, and when it does not
    loss          what a probability of .9, .5, .1, .01 for the right class costs
    separable     separable data: |W| grows without bound for r = 0, and not for r > 0
    ladder        time of one batch, from two loops to vectorised and compiled
    """
    experiment = EXPERIMENTS[name]()
    path = out or Path(f"{name}.png")
    draw_panels(experiment.title, experiment.panels, path)
    click.echo("\n".join([experiment.title, *experiment.findings, f"drawn in {path}"]))
