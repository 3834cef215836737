"""`twolayer explain`: take a few real rows through equations (1) to (13).

Each quantity is shown with its shape and some of its numbers, each gradient beside the numeric one, and the loss before
and after one step; as text for a terminal of 80 columns, or as Markdown for a handout."""

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from twolayer.commands import PATH, complete_keys
from twolayer.config import load_config
from twolayer.network.backprop import loss_and_gradients, penalty
from twolayer.network.model import Array, Params
from twolayer.reference.gradcheck import check_gradients
from twolayer.reference.plain import forward_pass, gradient_step
from twolayer.training.build import Start, load_start
from twolayer.utils.randomness import generator
from twolayer.utils.text import counted, plain

WIDTH = 80
_NAME, _NUMBER = 13, 11  # columns of a table in text
_MARKS = re.compile(r"([\\`*_\[\]<>&|~$])")
_SHOWN = 6  # features, hidden units, classes or rows in a table
_MAX_ENTRIES = 100  # of each array that differences probe


class Step(NamedTuple):
    """One equation (its number and formula), the shape of its result, what happens here, and a table of numbers."""

    equation: str
    shape: str
    words: str
    columns: Sequence[str] = ()
    rows: Sequence[tuple[str, Sequence[float]]] = ()  # by name
    left_out: str = ""  # of the table, in words


class Explanation:
    """A batch taken through (1) to (13), each step with its numbers; the losses are those before and after (13).

    The tables show the features, units and classes that matter most in the first row, and the units with the largest
    entries of the gradients. `rows` are the numbers by which the rows are named.
    """

    def __init__(self, start: Start, reg: float, learning_rate: float, rows: Sequence[int], title: str) -> None:
        params, X, y = start.params, start.X, start.y
        self.params, self.X, self.y, self.reg, self.title = params, X, y, reg, title
        self.labels = [plain(label) for label in start.classes]
        self.forward = forward_pass(params, X)
        self.loss_before, self.gradients = loss_and_gradients(params, X, y, reg)
        after = gradient_step(params, self.gradients, learning_rate)
        self.loss_after = loss_and_gradients(after, X, y, reg)[0]
        rng = generator(0, "check")
        self.check = check_gradients(loss_and_gradients, params, X, y, reg, max_entries=_MAX_ENTRIES, rng=rng)
        chances = self.forward.P[0].copy()
        chances[y[0]] = 2.0  # the right class is always shown
        order = {"N": np.arange(len(X)), "D": np.argsort(-np.abs(X[0]), kind="stable")}
        order["C"] = np.argsort(-chances, kind="stable")
        self.names = {"N": [f"row {number}" for number in rows], "D": [f"x {i}" for i in range(X.shape[1])]}
        self.names["C"] = [f"'{label}'"[:10] for label in self.labels]
        if self.forward.Z1 is not None:
            Z1 = self.forward.Z1[0]
            named = [self._peak("W2")[0], self._peak("W1")[1], self._peak("b1")[0]]
            is_other = ~np.isin(np.arange(len(Z1)), named)
            order["H"] = np.lexsort((-np.abs(Z1), Z1 <= 0, is_other))  # the last key counts first
            self.names["H"] = [f"unit {i}" for i in range(len(Z1))]
        self.shown = {axis: sorted(numbers[:_SHOWN].tolist()) for axis, numbers in order.items()}
        self.steps = [*self._forward(), *self._backward(learning_rate, after)]

    def text(self) -> str:
        """Return the explanation as plain text, at most 80 columns wide."""
        lines = [*textwrap.wrap(self.title, WIDTH), "=" * min(len(self.title), WIDTH)]
        for step in self.steps:
            lines += ["", f"{step.equation:<58}{step.shape}".rstrip()]
            lines += textwrap.wrap(step.words, WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
            lines += [" " * _NAME + "".join(f"{name:>{_NUMBER}}" for name in step.columns)] if step.columns else []
            for name, numbers in step.rows:
                lines.append(f"{name:>{_NAME - 1}} " + "".join(f"{_digits(n):>{_NUMBER}}" for n in numbers))
            lines += [f"    ({step.left_out})"] if step.left_out else []
        return "\n".join(lines)

    def markdown(self) -> str:
        """Return the explanation as Markdown for a handout, with labels and all other words escaped."""
        lines = [f"# {_escaped(self.title)}"]
        for step in self.steps:
            heading = f"`{step.equation}`" if step.equation.startswith("(") else step.equation
            lines += ["", f"## {heading} · {step.shape}" if step.shape else f"## {heading}"]
            lines += ["", _escaped(step.words)] if step.words else []
            if step.columns:
                lines += ["", "| | " + " | ".join(map(_escaped, step.columns)) + " |"]
                lines.append("|---|" + "---:|" * len(step.columns))
            for name, numbers in step.rows:
                lines.append(f"| {_escaped(name)} | " + " | ".join(map(_digits, numbers)) + " |")
            lines += ["", f"({step.left_out})"] if step.left_out else []
        return "\n".join(lines)

    def _step(self, equation: str, array: Array, axes: str, words: str = "") -> Step:
        """Return a step with some entries of an array whose axes are one or two of the letters N, D, H, C."""
        across, columns = self.shown[axes[-1]], self.names[axes[-1]]
        down, names = (self.shown[axes[0]], self.names[axes[0]]) if len(axes) == 2 else ([0], [""])
        matrix = np.atleast_2d(array)
        rows = [(names[i], matrix[i, across].tolist()) for i in down]
        hidden = matrix.size - len(across) * len(down)
        left_out = f"{matrix.size:,} numbers, {hidden:,} not shown" if hidden else ""
        return Step(equation, str(array.shape), words, [columns[j] for j in across], rows, left_out)

    def _rows(self, values: Array) -> list[tuple[str, list[float]]]:
        """Return the rows of a table of numbers (N, columns), one for each row of the batch that is shown."""
        return [(self.names["N"][i], values[i].tolist()) for i in self.shown["N"]]

    def _peak(self, name: str) -> tuple[int, ...]:
        """Return where a gradient is largest."""
        gradient = self.gradients.named()[name]
        return tuple(int(i) for i in np.unravel_index(np.abs(gradient).argmax(), gradient.shape))

    def _forward(self) -> Iterator[Step]:
        N, C = len(self.X), self.params.n_classes
        Z1, A1, S, P = self.forward
        labels = ", ".join(f"'{self.labels[label]}' (class {label})" for label in self.y[:_SHOWN])
        words = f"{counted(N, 'row')} of {self.X.shape[1]} features, scaled as for training; y: {labels}."
        yield self._step("X", self.X, "ND", words)
        if Z1 is not None:
            yield self._step("(1) Z1 = X W1 + 1_N b1^T", Z1, "NH")
            words = f"{int((Z1 > 0).sum()):,} of {Z1.size:,} numbers are above 0 and pass; the others become 0."
            yield self._step("(2) A1 = max(0, Z1)", A1, "NH", words)
        yield self._step(f"(3) S = {'X' if Z1 is None else 'A1'} W2 + 1_N b2^T", S, "NC", "The scores.")
        guesses = ", ".join(f"'{self.labels[j]}'" for j in P[:_SHOWN].argmax(axis=1))
        words = f"Each row sums to 1. The prediction is {guesses}."
        yield self._step("(4) P = softmax of each row of S", P, "NC", words)
        logsumexp = S.max(axis=1) + np.log(np.exp(S - S.max(axis=1, keepdims=True)).sum(axis=1))  # (N,)
        right = S[np.arange(N), self.y]
        terms = np.column_stack([logsumexp, right, logsumexp - right])
        words = f"A network that knows nothing has log {C} = {math.log(C):.4f}."
        columns = ["logsumexp", "S_i,y_i", "L_i"]
        yield Step("(5) L_i = logsumexp(S_i) - S_i,y_i", f"({N},)", words, columns, self._rows(terms))
        data, of_weights = float((logsumexp - right).mean()), penalty(self.params, self.reg)
        squares = " + ".join(f"sum {name}^2" for name in self.params.named() if name.startswith("W"))
        words = f"mean {data:.6f} + penalty {of_weights:.6f} (r = {self.reg:g}) = {data + of_weights:.6f}"
        yield Step(f"(6) L = mean_i L_i + r/2 ({squares})", "", words)

    def _backward(self, learning_rate: float, after: Params) -> Iterator[Step]:
        Z1, _, _, P = self.forward
        dS = (P - np.eye(P.shape[1])[self.y]) / len(self.X)  # (N, C)
        words = "Probability minus truth: below 0 for the right class, above 0 for all others."
        yield self._step("(7) dS = (P - Y) / N", dS, "NC", words)
        A, width = ("X", "D") if Z1 is None else ("A1", "H")
        yield self._gradient(f"(8) dW2 = {A}^T dS + r W2", "W2", width + "C")
        yield self._gradient("(9) db2 = 1_N^T dS", "b2", "C")
        if Z1 is not None:
            dZ1 = (dS @ self.params.W2.T) * (Z1 > 0)  # (N, H)
            words = "Nothing passes back through a unit that was not above 0."
            yield self._step("(10) dZ1 = (dS W2^T) * [Z1 > 0]", dZ1, "NH", words)
            yield self._gradient("(11) dW1 = X^T dZ1 + r W1", "W1", "DH")
            yield self._gradient("(12) db1 = 1_N^T dZ1", "b1", "H")
        right = np.arange(len(self.y)), self.y
        chances = np.column_stack([self.forward.P[right], forward_pass(after, self.X).P[right]])
        change = self.loss_after - self.loss_before
        by_slope = -learning_rate * sum(float((array**2).sum()) for array in self.gradients.named().values())
        words = (
            f"With alpha = {learning_rate:g} the loss on these rows goes from {self.loss_before:.6f} to"
            f" {self.loss_after:.6f}, by {change:+.6f}. With constant slopes the change would be -alpha |dQ|^2 ="
            f" {by_slope:+.6f}. The probability of the right class:"
        )
        rows = self._rows(chances)
        yield Step("(13) Q <- Q - alpha dQ, for every array Q", "", words, ["before", "after"], rows)

    def _gradient(self, equation: str, name: str, axes: str) -> Step:
        """Show a gradient, its largest entry beside the centred difference, and the error over all entries probed."""
        gradient, entry, h = self.gradients.named()[name], self._peak(name), 1e-6
        losses = []
        for change in (h, -h):
            changed = self.params.copy()
            changed.named()[name][entry] += change
            losses.append(loss_and_gradients(changed, self.X, self.y, self.reg)[0])
        numeric = (losses[0] - losses[1]) / (2 * h)
        probed = [c for c in self.check.comparisons if c.oracle == "differences" and c.array == name][-1]
        words = (
            f"Largest: d{name}[{', '.join(map(str, entry))}] = {gradient[entry]:.7f}, numeric {numeric:.7f};"
            f" error {probed.error:.0e} over {probed.entries} entries."
        )
        return self._step(equation, gradient, axes, words)


def _escaped(words: str) -> str:
    """Return the words on one line, with a backslash before each character that is markup in Markdown."""
    return _MARKS.sub(r"\\\1", " ".join(words.split()))


def _digits(number: float) -> str:
    """Return four significant digits, in at most ten characters."""
    return f"{number:.4g}" if number else "0"


@click.command()
@click.argument("config", type=PATH)
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
    loaded, picked = load_config(config, overrides), rows or (0,)
    start = load_start(loaded, picked)
    shape = "-".join(str(n) for n in (start.params.n_features, start.params.n_hidden, start.params.n_classes) if n)
    places = ", ".join(f"{row} (row {at} of the source)" for row, at in zip(picked, start.row_numbers, strict=True))
    title = f"{config.stem}: training row {places} through a {shape} network and back"
    explanation = Explanation(start, loaded.solver.reg, loaded.solver.learning_rate, picked, title)
    click.echo(explanation.markdown() if markdown else explanation.text())
