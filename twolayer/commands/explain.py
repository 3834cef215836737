"""`twolayer explain`: take a few real rows through equations (1) to (13).

Each quantity is shown with its shape and some of its numbers, each gradient beside the numeric one, and the loss before
and after one step; as text for a terminal of 80 columns, or as Markdown for a handout."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from twolayer.commands import complete_keys
from twolayer.network.backprop import loss_and_gradients, penalty
from twolayer.network.model import Array, Params
from twolayer.reference import Pass, forward_pass, gradient_step
from twolayer.reference.gradcheck import GradientCheck, check_gradients
from twolayer.utils.randomness import generator
from twolayer.utils.text import plain

WIDTH = 80
_NAME, _NUMBER = 13, 11  # columns of a table in text
_MARKS = re.compile(r"([\\`*_\[\]<>&|~$])")


@dataclass(frozen=True)
class Table:
    """Some entries of an array.

    Attributes:
        columns: a name for each column.
        rows: each a name and its numbers.
        left_out: what is not shown, in words; empty if everything is.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    left_out: str = ""


@dataclass(frozen=True)
class Step:
    """One equation with its numbers.

    Attributes:
        equation: its number and formula, or a heading.
        shape: of the result, as `(1, 64)`; empty for single numbers.
        words: what happens here, a paragraph each.
        table: numbers of the result, or None.
    """

    equation: str
    shape: str
    words: tuple[str, ...]
    table: Table | None = None


def as_text(title: str, steps: tuple[Step, ...]) -> str:
    """Return the steps as plain text, at most 80 columns wide."""
    lines = [*textwrap.wrap(title, WIDTH), "=" * min(len(title), WIDTH)]
    for step in steps:
        lines += ["", f"{step.equation:<58}{step.shape}".rstrip()]
        for paragraph in step.words:
            lines += textwrap.wrap(paragraph, WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
        if step.table is not None:
            lines.append(" " * _NAME + "".join(f"{name:>{_NUMBER}}" for name in step.table.columns))
            for name, numbers in step.table.rows:
                cells = "".join(f"{number_text(number):>{_NUMBER}}" for number in numbers)
                lines.append(f"{name:>{_NAME - 1}} {cells}")
            lines += [f"    ({step.table.left_out})"] if step.table.left_out else []
    return "\n".join(lines)


def as_markdown(title: str, steps: tuple[Step, ...]) -> str:
    """Return the steps as Markdown, with a table for each array; labels and all other words are escaped."""
    lines = [f"# {_escaped(title)}"]
    for step in steps:
        shape = f" · {step.shape}" if step.shape else ""
        heading = step.equation.strip()
        lines += ["", f"## `{heading}`{shape}" if heading.startswith("(") else f"## {heading}{shape}"]
        for paragraph in step.words:
            lines += ["", _escaped(paragraph)]
        if step.table is not None:
            lines += ["", "| | " + " | ".join(map(_escaped, step.table.columns)) + " |"]
            lines.append("|---|" + "---:|" * len(step.table.columns))
            for name, numbers in step.table.rows:
                lines.append(f"| {_escaped(name)} | " + " | ".join(number_text(number) for number in numbers) + " |")
            lines += ["", f"({step.table.left_out})"] if step.table.left_out else []
    return "\n".join(lines)


def _escaped(words: str) -> str:
    """Return the words on one line, with a backslash before each character that is markup in Markdown."""
    return _MARKS.sub(r"\\\1", " ".join(words.split()))


def number_text(number: float) -> str:
    """Return four significant digits, in at most ten characters."""
    return f"{number:.4g}" if number else "0"


_SHOWN = 6  # features, hidden units, classes or rows in a table
_MAX_ENTRIES = 100  # of each array that differences probe


@dataclass(frozen=True)
class Explanation:
    """Some rows taken through the network and back.

    Attributes:
        title: what is explained.
        steps: in order.
        forward: Z1, A1, S, P.
        gradients: of (6), penalty included.
        check: the gradients against differences and the two loops.
        loss_before: (6) at the start.
        loss_after: (6) after one step of gradient descent on these rows.
    """

    title: str
    steps: tuple[Step, ...]
    forward: Pass
    gradients: Params
    check: GradientCheck
    loss_before: float
    loss_after: float

    def text(self) -> str:
        """Return the explanation for a terminal of 80 columns."""
        return as_text(self.title, self.steps)

    def markdown(self) -> str:
        """Return the explanation for a handout."""
        return as_markdown(self.title, self.steps)


class _Picks:
    """The features, units, classes and rows that the tables show: those that matter most in the first row, and the
    units of the largest entries of the gradients."""

    def __init__(
        self,
        X: Array,
        y: Array,
        forward: Pass,
        gradients: Params,
        classes: Sequence[str | int],
        rows: Sequence[int],
    ) -> None:
        def largest(values: Array) -> list[int]:
            return sorted(np.argsort(-np.abs(values), kind="stable")[:_SHOWN].tolist())

        chances = forward.P[0].copy()
        chances[y[0]] = 2.0  # the right class is always shown
        self.features = largest(X[0])
        self.units: list[int] = []
        if forward.Z1 is not None and gradients.W1 is not None and gradients.b1 is not None:
            Z1 = forward.Z1[0]
            named = [_largest(gradients.W2)[0], _largest(gradients.W1)[1], _largest(gradients.b1)[0]]
            unnamed = ~np.isin(np.arange(len(Z1)), named)
            order = np.lexsort((-np.abs(Z1), Z1 <= 0, unnamed))  # the last key counts first
            self.units = sorted(order[:_SHOWN].tolist())
        self.classes = largest(chances)
        self.rows = list(range(min(len(X), _SHOWN)))
        self.row_names = [f"row {number}" for number in rows]
        self.class_names = [plain(label) for label in classes]

    def names(self, letter: str, limit: int = 10) -> tuple[list[int], list[str]]:
        """Return indices and names along one axis: N rows, D features, H units, C classes."""
        if letter == "N":
            return self.rows, [self.row_names[i] for i in self.rows]
        if letter == "C":
            return self.classes, [f"'{self.class_names[i]}'"[:limit] for i in self.classes]
        chosen, word = (self.features, "x") if letter == "D" else (self.units, "unit")
        return chosen, [f"{word} {i}" for i in chosen]

    def table(self, array: Array, axes: str) -> Table:
        """Return some entries of an array whose axes are one or two of the letters N, D, H, C."""
        matrix = array if array.ndim == 2 else array[None, :]
        across, columns = self.names(axes[-1])
        down, names = self.names(axes[0]) if len(axes) == 2 else ([0], [""])
        rows = tuple((name, tuple(float(matrix[i, j]) for j in across)) for i, name in zip(down, names, strict=True))
        hidden = matrix.size - len(across) * len(down)
        return Table(tuple(columns), rows, f"{matrix.size:,} numbers, {hidden:,} not shown" if hidden else "")


def explain(
    params: Params,
    X: Array,
    y: NDArray[np.intp],
    reg: float,
    learning_rate: float,
    *,
    classes: Sequence[str | int] | None = None,
    rows: Sequence[int] | None = None,
    title: str = "A batch through the network and back",
) -> Explanation:
    """Take a batch through (1) to (13) and describe each step.

    Args:
        params: where to start; in float64 the numeric gradients show most digits.
        X: (N, D), model-ready.
        y: (N,) class indices.
        reg: r of (6).
        learning_rate: alpha of (13).
        classes: the labels by index; None: the indices.
        rows: the numbers of the rows, for their names; None: 0, 1, ...
        title: the heading.
    """
    forward = forward_pass(params, X)
    loss, gradients = loss_and_gradients(params, X, y, reg)
    names = classes or range(params.n_classes), rows if rows is not None else range(len(X))
    picks = _Picks(X, y, forward, gradients, *names)
    check = check_gradients(loss_and_gradients, params, X, y, reg, max_entries=_MAX_ENTRIES, rng=generator(0, "check"))
    after = gradient_step(params, gradients, learning_rate)
    loss_after, _ = loss_and_gradients(after, X, y, reg)
    steps = [
        *_forward_steps(picks, params, forward, X, y, reg),
        *_backward_steps(picks, params, forward, X, y, reg, gradients, check),
        _descent_step(picks, y, forward, forward_pass(after, X), gradients, learning_rate, (loss, loss_after)),
    ]
    return Explanation(title, tuple(steps), forward, gradients, check, loss, loss_after)


def _forward_steps(picks: _Picks, params: Params, forward: Pass, X: Array, y: Array, reg: float) -> list[Step]:
    N, C = len(X), params.n_classes
    Z1, A1, S, P = forward
    A = "X" if Z1 is None else "A1"
    labels = ", ".join(f"'{picks.class_names[label]}' (class {label})" for label in y[:_SHOWN])
    words = f"{N} row{'s' * (N > 1)} of {X.shape[1]} features, scaled as for training; y: {labels}."
    steps = [Step("X", str(X.shape), (words,), picks.table(X, "ND"))]
    if Z1 is not None:
        on = f"{int((Z1 > 0).sum()):,} of {Z1.size:,} numbers are above 0 and pass; the others become 0."
        steps.append(Step("(1) Z1 = X W1 + 1_N b1^T", str(Z1.shape), (), picks.table(Z1, "NH")))
        steps.append(Step("(2) A1 = max(0, Z1)", str(A1.shape), (on,), picks.table(A1, "NH")))
    steps.append(Step(f"(3) S = {A} W2 + 1_N b2^T", str(S.shape), ("The scores.",), picks.table(S, "NC")))
    guesses = ", ".join(f"'{picks.class_names[j]}'" for j in P[:_SHOWN].argmax(axis=1))
    words = f"Each row sums to 1. The prediction is {guesses}."
    steps.append(Step("(4) P = softmax of each row of S", str(P.shape), (words,), picks.table(P, "NC")))
    logsumexp = S.max(axis=1) + np.log(np.exp(S - S.max(axis=1, keepdims=True)).sum(axis=1))  # (N,)
    right = S[np.arange(N), y]
    losses = tuple(
        (picks.row_names[i], (float(logsumexp[i]), float(right[i]), float(logsumexp[i] - right[i]))) for i in picks.rows
    )
    chance = f"A network that knows nothing has log {C} = {math.log(C):.4f}."
    steps.append(Step("(5) L_i = logsumexp(S_i) - S_i,y_i", f"({N},)", (chance,),
                      Table(("logsumexp", "S_i,y_i", "L_i"), losses)))  # fmt: skip
    data = float((logsumexp - right).mean())
    of_weights = penalty(params, reg)
    total = f"mean {data:.6f} + penalty {of_weights:.6f} (r = {reg:g}) = {data + of_weights:.6f}"
    squares = " + ".join(f"sum {name}^2" for name in params.named() if name.startswith("W"))
    steps.append(Step(f"(6) L = mean_i L_i + r/2 ({squares})", "", (total,)))
    return steps


def _backward_steps(
    picks: _Picks,
    params: Params,
    forward: Pass,
    X: Array,
    y: Array,
    reg: float,
    gradients: Params,
    check: GradientCheck,
) -> list[Step]:
    Z1, _, _, P = forward
    A, width = ("A1", "H") if Z1 is not None else ("X", "D")
    dS = (P - np.eye(P.shape[1])[y]) / len(X)  # (N, C)

    def beside(name: str) -> tuple[str, ...]:
        return (_numeric(params, X, y, reg, name, gradients, check),)

    truth = "Probability minus truth: below 0 for the right class, above 0 for all others."
    steps = [
        Step("(7) dS = (P - Y) / N", str(dS.shape), (truth,), picks.table(dS, "NC")),
        Step(f"(8) dW2 = {A}^T dS + r W2", str(gradients.W2.shape), beside("W2"),
             picks.table(gradients.W2, width + "C")),
        Step("(9) db2 = 1_N^T dS", str(gradients.b2.shape), beside("b2"), picks.table(gradients.b2, "C")),
    ]  # fmt: skip
    if Z1 is not None and gradients.W1 is not None and gradients.b1 is not None:
        dZ1 = (dS @ params.W2.T) * (Z1 > 0)  # (N, H)
        masked = "Nothing passes back through a unit that was not above 0."
        steps += [
            Step("(10) dZ1 = (dS W2^T) * [Z1 > 0]", str(dZ1.shape), (masked,), picks.table(dZ1, "NH")),
            Step("(11) dW1 = X^T dZ1 + r W1", str(gradients.W1.shape), beside("W1"), picks.table(gradients.W1, "DH")),
            Step("(12) db1 = 1_N^T dZ1", str(gradients.b1.shape), beside("b1"), picks.table(gradients.b1, "H")),
        ]
    return steps


def _descent_step(
    picks: _Picks,
    y: Array,
    before: Pass,
    after: Pass,
    gradients: Params,
    learning_rate: float,
    losses: tuple[float, float],
) -> Step:
    at = np.arange(len(y)), y
    squared = sum(float((array**2).sum()) for array in gradients.named().values())
    pairs = zip(before.P[at].tolist(), after.P[at].tolist(), strict=True)
    rows = tuple((picks.row_names[i], pair) for i, pair in enumerate(pairs) if i in picks.rows)
    words = (
        f"With alpha = {learning_rate:g} the loss on these rows goes from {losses[0]:.6f} to {losses[1]:.6f}, by"
        f" {losses[1] - losses[0]:+.6f}. With constant slopes the change would be -alpha |dQ|^2 ="
        f" {-learning_rate * squared:+.6f}. The probability of the right class:"
    )
    return Step("(13) Q <- Q - alpha dQ, for every array Q", "", (words,), Table(("before", "after"), rows))


def _largest(gradient: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.abs(gradient).argmax(), gradient.shape))


def _numeric(params: Params, X: Array, y: Array, reg: float, name: str, gradients: Params, check: GradientCheck) -> str:
    """Describe the largest entry of a gradient beside its centred difference, and the error over all entries probed."""
    gradient = gradients.named()[name]
    entry = _largest(gradient)
    step = 1e-6
    losses = []
    for change in (step, -step):
        changed = params.copy()
        changed.named()[name][entry] += change
        losses.append(loss_and_gradients(changed, X, y, reg)[0])
    numeric = (losses[0] - losses[1]) / (2 * step)
    place = ", ".join(map(str, entry))
    errors = [c for c in check.comparisons if c.oracle == "differences" and c.array == name]
    probed = f"error {errors[-1].error:.0e} over {errors[-1].entries} entries"
    return f"Largest: d{name}[{place}] = {gradient[entry]:.7f}, numeric {numeric:.7f}; {probed}."


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_keys)
@click.option("--row", "rows", type=int, multiple=True, help="Training row, counted from 0; repeat it for a batch.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a handout.")
def command(config: Path, overrides: tuple[str, ...], rows: tuple[int, ...], markdown: bool) -> None:
    """Take one training row of CONFIG's data through its network, as it is before training, and back.

    Shows each equation with its shape and numbers, each gradient with the numeric one beside it, and the loss before
    and after one step of gradient descent.

    \b
    twolayer explain configs/optdigits.yaml
    twolayer explain configs/toy.yaml --row 0 --row 1
    twolayer explain configs/optdigits.yaml model.hidden=0 --markdown > handout.md
    """
    from twolayer.config import load_config
    from twolayer.training.build import load_start

    loaded = load_config(config, overrides)
    start = load_start(loaded, rows or (0,))
    picked = rows or (0,)
    shape = "-".join(str(n) for n in (start.params.n_features, start.params.n_hidden, start.params.n_classes) if n)
    places = ", ".join(f"{row} (row {at} of the source)" for row, at in zip(picked, start.row_numbers, strict=True))
    explanation = explain(
        start.params,
        start.X,
        start.y,
        loaded.solver.reg,
        loaded.solver.learning_rate,
        classes=start.classes,
        rows=picked,
        title=f"{config.stem}: training row {places} through a {shape} network and back",
    )
    click.echo(explanation.markdown() if markdown else explanation.text())
