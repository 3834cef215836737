"""`twolayer experiment`: claims of the texts this project learned from, tested in numbers and as a picture."""

import timeit
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from twolayer.commands import PATH, require_picture
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Array, Params, flat_copy, init_params, softmax
from twolayer.network.settings import EngineName, SolverSettings
from twolayer.reference.plain import gradient_step, one_loop, ones_vectors, outer_products, two_loops
from twolayer.solver.engine import TrainingState
from twolayer.solver.solver import make_engine
from twolayer.utils.errors import MissingExtraError
from twolayer.utils.randomness import generator
from twolayer.views import style


class ClaimPanel(NamedTuple):
    """What one pair of axes shows: curves, at most four, and dots with a text beside each."""

    title: str
    xlabel: str  # with the unit
    ylabel: str  # with the unit
    curves: tuple[tuple[str, Array, Array], ...] = ()  # label, x, y
    points: tuple[tuple[float, float | str, str], ...] = ()  # x, y, text
    text_at: tuple[float, float] = (7, 5)  # where the text is, in points right of and above the dot
    scales: tuple[str, str] = ("linear", "linear")  # of x and y


class Experiment(NamedTuple):
    """What an experiment found: the claim or the question, its picture, and the numbers in words, one line each."""

    title: str
    panels: tuple[ClaimPanel, ...]
    findings: tuple[str, ...]

    @style.default_look()
    def draw(self, path: Path) -> None:
        """Draw the panels side by side into a picture file, in the format of its name's ending."""
        figure = style.new_figure(10, 4.2)
        for axes, panel in zip(figure.subplots(1, len(self.panels), squeeze=False)[0], self.panels, strict=True):
            axes.set(xscale=panel.scales[0], yscale=panel.scales[1])
            for (label, x, y), color, dash in zip(panel.curves, style.OKABE_ITO, style.DASHES, strict=False):
                axes.plot(x, y, color=color, linestyle=dash, linewidth=1.9, label=label)
            for at, height, text in panel.points:
                axes.plot(at, height, "o", color=style.MARK, markersize=5)
                look = {"fontsize": 9, "color": style.MARK}
                axes.annotate(text, (at, height), textcoords="offset points", xytext=panel.text_at, **look)
            style.tidy(axes, panel.xlabel, panel.ylabel)
            if len(panel.curves) > 1:
                axes.legend(frameon=False, fontsize=9)
            axes.set_title(panel.title, fontsize=10, loc="left")
        figure.text(0.015, 0.945, self.title, fontsize=12, fontweight="bold", parse_math=False)
        figure.tight_layout(rect=(0, 0, 1, 0.93), w_pad=2.5)
        style.save(figure, path)


def exaggeration() -> Experiment:
    """Compare the share that softmax gives the larger of two numbers with its plain share.

    The plain share of x2 is x2 / (x1 + x2), softmax's is 1 / (1 + exp(x1 - x2)); the second is larger exactly where
    x2 - x1 > log(x2 / x1).
    """
    gap = np.linspace(0, 5, 301)  # x2 - x1
    exaggerated = softmax(np.column_stack([np.zeros_like(gap), gap]))[:, 1]
    plain = {x1: (x1 + gap) / (2 * x1 + gap) for x1 in (0.1, 1.0)}
    crossing = int(np.argmax((exaggerated > plain[0.1])[1:])) + 1
    curves = [("softmax, whatever x1 is", gap, exaggerated)]
    curves += [(f"x2 / (x1 + x2), x1 = {x1:g}", gap, share) for x1, share in plain.items()]
    shares = [0.2 / 0.3]
    x = np.array([0.1, 0.2])
    for _ in range(5):
        shares.append(float(softmax(x[None])[0, 1]))
        x = np.exp(np.minimum(x, 700.0))
    points = tuple((float(i), share, f"{share:.3f}" if i in (0, 1, 3) else "") for i, share in enumerate(shares))
    return Experiment(
        "Does softmax exaggerate the largest score?",
        (
            ClaimPanel("The larger of two numbers, x2", "x2 - x1", "share of x2", tuple(curves),
                  ((float(gap[crossing]), float(exaggerated[crossing]), f"from {gap[crossing]:.1f} on"),),
                  text_at=(-20, -16)),
            ClaimPanel("exp taken several times, then the share of .2 beside .1", "times exp is taken", "share of .2",
                  (("", np.arange(6), np.array(shares)),), points),
        ),
        (
            f"Only where x2 - x1 > log(x2 / x1): always for x1 = 1, for x1 = 0.1 from {gap[crossing]:.1f} on.",
            f"(.1, .2): plain share {shares[0]:.3f}, softmax {shares[1]:.3f}.",
            "exp taken again and again gives it all in the end: " + ", ".join(f"{share:.4f}" for share in shares),
        ),
    )  # fmt: skip


def loss() -> Experiment:
    """Compute what a probability of the right class costs, (5), and how hard its score is pushed up, (7)."""
    p = np.linspace(0.002, 1, 500)
    costs = {probability: -float(np.log(probability)) for probability in (0.9, 0.5, 0.1, 0.01)}
    return Experiment(
        "What a probability of the right class costs",
        (
            ClaimPanel("the loss of a row, (5)", "probability p of the right class", "-log p (nats)",
                  (("", p, -np.log(p)),), tuple((a, cost, f"{a:g}: {cost:.3f}") for a, cost in costs.items())),
            ClaimPanel("its slope along the right score, (7)", "probability p of the right class", "dL/ds = p - 1",
                  (("", p, p - 1),), tuple((a, a - 1, f"{a - 1:+.2f}") for a in costs), text_at=(9, -10)),
        ),
        tuple(f"p = {a:4g}: loss {cost:.5f}, slope {a - 1:+.2f}" for a, cost in costs.items()),
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
        norms.append((f"r = {reg:g}", at, np.array(norm)))
        losses.append((f"r = {reg:g}", at, np.array(data_loss)))
        middle = norm[np.searchsorted(at, steps // 10)]
        findings.append(f"r = {reg:<6g} |W| {middle:8.4f} after {steps // 10:,} steps, {norm[-1]:8.4f} after {steps:,}")
    return Experiment(
        "Two separable classes: do the weights stop growing?",
        (
            ClaimPanel("size of the weights", "steps", "|W|", tuple(norms), scales=("log", "linear")),
            ClaimPanel("mean loss, penalty apart", "steps", "cross-entropy (nats)", tuple(losses), scales=("log",) * 2),
        ),
        tuple(findings),
    )


def ladder() -> Experiment:
    """Time the gradients of one batch of optdigits: two loops, one, none, without allocations, compiled."""
    N, D, H, C = 64, 64, 64, 10
    rng = generator(0, "generate")
    params = init_params(D, H, C, rng=rng, dtype=np.float32)
    X, y = rng.normal(size=(N, D)).astype(np.float32), rng.integers(0, C, N)

    def step_of(name: EngineName) -> Callable[[], object]:
        engine = make_engine(name, TrainingState(flat_copy(params), ()), SolverSettings(optimizer="sgd", reg=1e-4), N)
        rates = np.array([1e-3])
        return lambda: engine.run(X, y, None, rates)

    rungs: dict[str, Callable[[], object]] = {
        "two loops": lambda: two_loops(params, X, y, 1e-4),
        "outer products, row by row": lambda: outer_products(params, X, y, 1e-4),
        "one loop": lambda: one_loop(params, X, y, 1e-4),
        "ones vectors, no loop": lambda: ones_vectors(params, X, y, 1e-4),
        "loss_and_gradients": lambda: loss_and_gradients(params, X, y, 1e-4),
        "engine numpy, step included": step_of("numpy"),
    }
    left_out: list[str] = []
    try:
        rungs["engine numba, step included"] = step_of("numba")
    except MissingExtraError as error:
        left_out.append(str(error))

    times = {}  # microseconds
    for name, rung in rungs.items():
        rung()  # the first call compiles, allocates and fills caches
        calls, seconds = timeit.Timer(rung).autorange()
        times[name] = 1e6 * seconds / calls
    slowest = times["two loops"]
    panel = ClaimPanel(
        "mean time; how many times as fast as two loops",
        "microseconds per batch (references in float64, the others in float32)",
        "",
        points=tuple((t, name, f"{t:,.0f} µs   {slowest / t:,.0f}x") for name, t in times.items()),
        text_at=(-32, 7),
        scales=("log", "linear"),
    )
    findings = [f"{name:<28} {t:10,.1f} microseconds {slowest / t:8,.1f}x" for name, t in times.items()]
    title = f"One batch of {N} rows through a {D}-{H}-{C} network and back"
    return Experiment(title, (panel,), (*findings, *left_out))


EXPERIMENTS = {"exaggeration": exaggeration, "loss": loss, "separable": separable, "ladder": ladder}


@click.command()
@click.argument("name", type=click.Choice(list(EXPERIMENTS)))
@click.option("--out", type=PATH, help="Picture (.png, .svg, .pdf).  [default: NAME.png]")
def command(name: str, out: Path | None) -> None:
    """Run an experiment, print its numbers and draw its picture.

    \b
    exaggeration  when softmax exaggerates the largest score, and when it does not
    loss          what a probability of .9, .5, .1, .01 for the right class costs
    separable     separable data: |W| grows without bound for r = 0, and not for r > 0
    ladder        time of one batch, from two loops to vectorised and compiled
    """
    path = out or Path(f"{name}.png")
    require_picture("--out", path)
    experiment = EXPERIMENTS[name]()
    experiment.draw(path)
    click.echo("\n".join([experiment.title, *experiment.findings, f"drawn in {path}"]))
