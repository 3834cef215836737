"""What explain says is what backprop computes, and it fits where it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from twolayer.__main__ import run
from twolayer.commands.explain import Explanation
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Params
from twolayer.reference.problems import Problem, random_problem
from twolayer.training.build import Start

SPIRAL = """
data: {train: {generator: spiral, rows_per_class: 20}}
model: {hidden: 5}
solver: {reg: 0.01, learning_rate: 0.2}
"""


def problem_of(*shape: int) -> Problem:
    return random_problem(np.random.default_rng(0), shape=shape)  # type: ignore[arg-type]


def explained(
    problem: Problem, alpha: float = 0.1, *, classes: Sequence[str] = (), first: int = 0, title: str = "A batch"
) -> Explanation:
    _, params, X, y, reg = problem
    labels = tuple(classes) or tuple(range(params.n_classes))
    start = Start(params, X, np.asarray(y), np.arange(len(X)), labels)
    return Explanation(start, reg, alpha, range(first, first + len(X)), title)


@pytest.mark.parametrize("shape", [(1, 3, 4, 3), (1, 64, 32, 10), (4, 3, 4, 2), (9, 20, 20, 26)])
def test_every_equation_has_its_step_in_order(shape: tuple[int, ...]) -> None:
    equations = [step.equation.split(" ")[0] for step in explained(problem_of(*shape)).steps]
    assert equations == ["X", *(f"({number})" for number in range(1, 14))]


def test_without_a_hidden_layer_the_equations_are_3_to_9_and_13() -> None:
    explanation = explained(problem_of(1, 5, 0, 3))
    assert [step.equation.split(" ")[0] for step in explanation.steps] == [
        "X", *(f"({number})" for number in (3, 4, 5, 6, 7, 8, 9, 13))
    ]  # fmt: skip
    assert "S = X W2" in explanation.text()
    assert "dW2 = X^T dS" in explanation.text()


def test_the_numbers_are_those_of_backprop() -> None:
    p = problem_of(2, 3, 4, 3)
    explanation = explained(p, alpha=0.05)
    loss, gradients = loss_and_gradients(p.params, p.X, p.y, p.reg)
    after = Params(*(q - 0.05 * g for q, g in zip(p.params, gradients, strict=True)))
    assert explanation.loss_before == pytest.approx(loss)
    assert explanation.loss_after == pytest.approx(loss_and_gradients(after, p.X, p.y, p.reg)[0])
    assert explanation.loss_after < explanation.loss_before
    assert f"{loss:.6f}" in explanation.text()
    tables = {step.equation.split(" ")[0]: step for step in explanation.steps}
    for number, array in (("(8)", gradients.W2), ("(9)", gradients.b2), ("(11)", gradients.W1), ("(12)", gradients.b1)):
        rows = np.array([numbers for _, numbers in tables[number].rows])
        np.testing.assert_allclose(rows.reshape(array.shape), array)
    for number, total in (("(7)", gradients.b2), ("(10)", gradients.b1)):
        rows = np.array([numbers for _, numbers in tables[number].rows])
        np.testing.assert_allclose(rows.sum(axis=0), total, atol=1e-15)


def test_the_tables_hang_together() -> None:
    """A reader with a pocket calculator: dS is P minus 1 at the right class, dW2 is A1 times dS plus r W2."""
    p = problem_of(1, 30, 20, 10)
    tables = {step.equation.split(" ")[0]: step for step in explained(p).steps}
    P, dS, A1, dW2 = (np.array([numbers for _, numbers in tables[n].rows]) for n in ("(4)", "(7)", "(2)", "(8)"))
    classes = [int(name.strip("'")) for name in tables["(7)"].columns]
    units = [int(name.split(" ")[1]) for name in tables["(2)"].columns]
    assert int(p.y[0]) in classes
    np.testing.assert_allclose(dS[0], P[0] - (np.array(classes) == p.y[0]))
    np.testing.assert_allclose(dW2, np.outer(A1[0], dS[0]) + p.reg * p.params.W2[np.ix_(units, classes)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [1, 4])
def test_the_units_shown_are_those_of_the_largest_gradients_and_then_those_that_pass(rows: int, seed: int) -> None:
    p = random_problem(np.random.default_rng(seed), shape=(rows, 5, 20, 3))
    explanation = explained(p)
    assert explanation.forward.Z1 is not None
    passing = set(np.flatnonzero(explanation.forward.Z1[0] > 0).tolist())
    text = re.sub(r"\s+", " ", explanation.text())
    found = re.findall(r"dW2\[(\d+), \d+\]|dW1\[\d+, (\d+)\]|db1\[(\d+)\]", text)
    named = {int("".join(groups)) for groups in found}
    table = next(step for step in explanation.steps if step.equation.startswith("(2)"))
    shown = {int(name.split(" ")[1]) for name in table.columns}
    assert len(shown) == 6
    assert named <= shown
    assert shown - named <= passing or passing <= shown


def test_each_gradient_has_the_numeric_one_beside_it() -> None:
    explanation = explained(problem_of(3, 20, 20, 4))
    assert explanation.check.passed
    pairs = re.findall(r"= (-?\d+\.\d+), numeric\s+(-?\d+\.\d+); error", re.sub(r"\s+", " ", explanation.text()))
    assert len(pairs) == 4
    for by_hand, numeric in pairs:
        assert float(by_hand) == pytest.approx(float(numeric), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 4, 3), (1, 300, 40, 10), (9, 20, 20, 26), (1, 5, 0, 3)])
def test_the_text_fits_80_columns(shape: tuple[int, ...]) -> None:
    p = problem_of(*shape)
    labels = [f"a rather long label {i}" for i in range(shape[3])]
    explanation = explained(p._replace(X=p.X * 1e-7, reg=0.0), 1e-5, classes=labels, first=123456)
    assert max(len(line) for line in explanation.text().splitlines()) <= 80


def test_markdown_tables_have_as_many_cells_in_each_row() -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", explained(problem_of(3, 5, 4, 3)).markdown() + "\n", re.M)
    assert len(blocks) == 13
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_markdown_shows_any_label_unchanged() -> None:
    p = problem_of(2, 5, 4, 3)
    p.y[:] = 0, 1
    labels = ["a|b", "<i>`x`", "*_\\\n$&"]
    markdown = explained(p, classes=labels, title="a_b*").markdown()
    for block in re.findall(r"(?:^\|.*\n)+", markdown + "\n", re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    words = "\n".join(line for line in markdown.splitlines() if line[:1] != "|")
    assert not set("<>*_`|$&\\") & set(re.sub(r"`[^`\n]*`|\\.", "", words))  # except in code and where escaped
    shown = re.sub(r"\\(.)", r"\1", markdown)
    assert all(f"| {label} |" in shown for label in ("'a|b'", "'<i>`x`'", "'*_\\\\n$&'"))


def test_a_network_that_knows_nothing_gets_its_loss_explained() -> None:
    assert f"log 3 = {math.log(3):.4f}" in explained(problem_of(1, 3, 4, 3)).text()


def test_the_command_explains_rows_of_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "arms.yaml"
    config.write_text(SPIRAL)
    assert run(["explain", str(config), "--row", "3", "--row", "5"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("arms: training row 3 (row ")
    assert "2-5-3 network" in text.replace("\n", " ")
    assert "r = 0.01" in text
    assert "alpha = 0.2" in text
    assert run(["explain", str(config), "model.hidden=0", "--markdown"]) == 0
    markdown = capsys.readouterr().out
    assert markdown.startswith("# arms: training row 0")
    assert "2-3 network" in markdown


def test_a_row_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "arms.yaml"
    config.write_text(SPIRAL)
    assert run(["explain", str(config), "--row", "60"]) == 2
    assert re.search(r"row 60: expected a training row from 0 to \d+", capsys.readouterr().err)
