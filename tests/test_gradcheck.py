"""The checker passes what is right, catches what is wrong, and says which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twolayer.__main__ import run
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Array, Params
from twolayer.reference import REFERENCES
from twolayer.reference.gradcheck import check_gradients, relative_error
from twolayer.reference.problems import Problem, random_problem, standard_problems


def check(function: object, p: Problem, **keywords: object):  # type: ignore[no-untyped-def]
    return check_gradients(function, p.params, p.X, p.y, p.reg, **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("problem", standard_problems(), ids=lambda problem: problem.name)
def test_backprop_passes_every_built_in_problem(problem: Problem) -> None:
    result = check(loss_and_gradients, problem, against=REFERENCES)
    assert result.passed, result.table()
    assert result.failures == ()
    assert result.caught_by == frozenset()


def test_no_right_gradient_is_blamed_in_1000_random_trials() -> None:
    rng = np.random.default_rng(1)
    right = [loss_and_gradients, loss_and_gradients, *REFERENCES.values()]
    blamed = []
    for trial in range(1000):
        N, D, C = (int(n) for n in rng.integers((1, 1, 2), (5, 3, 4)))
        problem = random_problem(
            rng,
            shape=(N, D, int(rng.integers(0, 3)), C),
            reg=float(rng.choice([0.0, 1e-6, 1e-2, 1.0])),
            zero_rows=trial % 5 == 0,
            zero_biases=trial % 3 == 0,
        )
        scale = rng.choice([1e-3, 1.0, 30.0])
        problem.X[:] *= scale
        function = right[trial % 2 if scale > 1 else trial % len(right)]  # large scores stop the Jacobian chain
        result = check(function, problem)
        if not result.passed:
            blamed.append((trial, result.table()))
    assert not blamed, f"{len(blamed)} of 1000 blamed; the first:\n{blamed[0][1]}"


def test_a_derivative_of_2_001_for_2_is_caught() -> None:
    def slightly_wrong(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        return loss, gradients._replace(W2=gradients.W2 * 1.0005)

    result = check(slightly_wrong, random_problem(np.random.default_rng(2)))
    assert {c.array for c in result.failures} == {"W2"}
    assert result.caught_by == {"differences", "two loops"}


def test_an_error_too_small_for_differences_is_caught_by_the_reference() -> None:
    def slightly_wrong(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        return loss, gradients._replace(W2=gradients.W2 * (1 + 1e-10))

    assert check(slightly_wrong, random_problem(np.random.default_rng(2))).caught_by == {"two loops"}


def test_one_wrong_entry_is_caught() -> None:
    def one_entry(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        gradients.b1[1] += 1e-4  # type: ignore[index]
        return loss, gradients

    result = check(one_entry, random_problem(np.random.default_rng(3)))
    assert {c.array for c in result.failures} == {"b1"}
    marks = [line for line in result.table().splitlines() if line.startswith("!: ")]
    assert len(marks) == 1
    right = check(loss_and_gradients, random_problem(np.random.default_rng(3)))
    assert "!" not in right.table()


def test_a_kink_is_reported_apart_and_not_blamed_on_the_gradient() -> None:
    problem = random_problem(np.random.default_rng(4), zero_rows=True, zero_biases=True)
    result = check(loss_and_gradients, problem)
    assert result.passed
    assert {kink.array for kink in result.kinks} == {"b1"}
    assert {row for kink in result.kinks for row in kink.rows} == {0, 3}
    assert "entries left out of the differences" in result.table()
    assert [c.entries for c in result.comparisons if c.array == "b1" and c.oracle == "differences"] == [0, 0, 0]


def test_a_difference_across_a_kink_would_have_been_blamed() -> None:
    """Without the search for kinks: half of the right and the left slope is what a centred difference finds."""
    params = Params(np.array([[1.0]]), np.zeros(1), np.array([[1.0, -1.0]]), np.zeros(2))
    X, y = np.zeros((1, 1)), np.array([0])
    _, gradients = loss_and_gradients(params, X, y, 0.0)
    _, numeric = REFERENCES["complex step"](params, X, y, 0.0)
    h = 1e-6
    losses = [loss_and_gradients(params._replace(b1=np.array([b])), X, y, 0.0)[0] for b in (h, -h)]
    assert gradients.b1 == numeric.b1 == 0
    assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(-0.5, abs=1e-6)
    assert check_gradients(loss_and_gradients, params, X, y).passed


def test_kinks_of_single_weights_are_also_found() -> None:
    params = Params(np.array([[1.0], [1.0]]), np.zeros(1), np.array([[1.0, -1.0]]), np.zeros(2))
    X, y = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0, 1])
    result = check_gradients(loss_and_gradients, params, X, y, 0.1)
    assert result.passed
    assert {(kink.array, kink.entry, kink.rows) for kink in result.kinks} == {
        ("W1", (0, 0), (0,)), ("W1", (1, 0), (0,)), ("b1", (0,), (0,))
    }  # fmt: skip


def test_penalty_and_data_loss_are_checked_apart() -> None:
    def tiny_penalty_wrong(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        return loss_and_gradients(params, X, y, 2 * reg)[0], loss_and_gradients(params, X, y, reg)[1]

    result = check(tiny_penalty_wrong, random_problem(np.random.default_rng(5), reg=1e-7))
    assert {c.part for c in result.failures if c.oracle == "differences"} == {"penalty"}
    without = check(loss_and_gradients, random_problem(np.random.default_rng(5), reg=0.0))
    assert {c.part for c in without.comparisons} == {"data"}


def test_a_gradient_of_the_wrong_shape_is_a_readable_error() -> None:
    def row_bias(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        return loss, gradients._replace(b2=gradients.b2[None, :], W1=None)

    result = check(row_bias, random_problem(np.random.default_rng(6)))
    assert not result.passed
    assert result.problems == (
        "the gradient of W1: expected shape (3, 4), got none",
        "the gradient of b2: expected shape (3,), got (1, 3)",
    )
    assert "WRONG: the gradient of b2" in result.table()


@pytest.mark.parametrize(
    ("form", "got"),
    [
        (lambda loss, gradients: (loss, tuple(gradients)), "(float, tuple)"),
        (lambda loss, gradients: (loss, {"dW1": gradients.W1}), "(float, dict)"),
        (lambda loss, gradients: (loss, gradients.W1, gradients.W2), "(float, ndarray, ndarray)"),
        (lambda loss, gradients: loss, "float"),
    ],
)
def test_what_is_no_loss_with_params_is_refused_in_words(form: Callable[..., object], got: str) -> None:
    def in_another_form(params: Params, X: Array, y: Array, reg: float) -> object:
        return form(*loss_and_gradients(params, X, y, reg))

    with pytest.raises(TypeError, match=r"must return \(loss, gradients\).*Params\(W1, b1, W2, b2\)") as raised:
        check(in_another_form, random_problem(np.random.default_rng(6)))
    assert str(raised.value).endswith(f"; got {got}")


def test_a_function_that_changes_its_arguments_does_not_pass() -> None:
    def in_place(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        result = loss_and_gradients(params, X, y, reg)
        X *= 2
        return result

    result = check(in_place, random_problem(np.random.default_rng(7)))
    assert not result.passed
    assert "changed its arguments" in result.problems[0]


def test_a_gradient_that_is_not_finite_never_passes() -> None:
    def not_a_number(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        gradients.W2[0, 0] = np.nan
        return loss, gradients

    result = check(not_a_number, random_problem(np.random.default_rng(8)))
    assert {c.array for c in result.failures} == {"W2"}
    assert relative_error(np.array([np.nan]), np.array([np.nan])) == float("inf")


def test_nothing_passes_where_the_scores_themselves_overflow() -> None:
    """There rounding would explain any error, so even a function that returns only zeros would pass."""
    params = Params(None, None, np.full((2, 2), 1e308), np.zeros(2))

    def zeros(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        return 0.0, params.map(np.zeros_like)

    for function in (loss_and_gradients, zeros):
        result = check_gradients(function, params, np.full((1, 2), 10.0), np.array([0]), 0.0)
        assert len(result.failures) == len(result.comparisons) > 0


def test_the_loss_must_be_one_number() -> None:
    def per_row(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        return np.zeros(len(X)), params  # type: ignore[return-value]

    with pytest.raises(ValueError, match="loss: expected one number"):
        check(per_row, random_problem(np.random.default_rng(9)))


def test_max_entries_probes_a_sample_and_needs_a_generator() -> None:
    problem = random_problem(np.random.default_rng(10))
    result = check(loss_and_gradients, problem, max_entries=2, rng=np.random.default_rng(0))
    assert result.passed
    assert all(c.entries == 2 for c in result.comparisons if c.oracle == "differences")
    with pytest.raises(ValueError, match="rng: expected a numpy Generator"):
        check(loss_and_gradients, problem, max_entries=2)


def test_against_takes_one_reference_several_or_none() -> None:
    problem = random_problem(np.random.default_rng(11), reg=0.0)
    assert {c.oracle for c in check(loss_and_gradients, problem).comparisons} == {"differences", "two loops"}
    assert {c.oracle for c in check(loss_and_gradients, problem, against=None).comparisons} == {"differences"}
    several = check(loss_and_gradients, problem, against=REFERENCES)
    assert {c.oracle for c in several.comparisons} == {"differences", *REFERENCES}


def test_a_reference_that_refuses_is_named_and_not_counted() -> None:
    large = next(p for p in standard_problems() if "1000" in p.name)
    result = check(loss_and_gradients, large, against=REFERENCES)
    assert list(result.skipped) == ["Jacobian chain"]
    assert "Jacobian chain: not run" in result.table()


@pytest.mark.parametrize("problem", standard_problems(), ids=lambda problem: problem.name)
def test_tables_fit_80_columns(problem: Problem) -> None:
    table = check(loss_and_gradients, problem, against=REFERENCES).table()
    assert max(len(line) for line in table.splitlines()) <= 80


def test_the_command_exits_0_when_all_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradcheck"]) == 0
    output = capsys.readouterr().out
    assert output.count("ok  ") == len(standard_problems())
    assert all(name in output for name in REFERENCES)


def test_the_command_exits_1_when_a_gradient_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        return loss, gradients._replace(W2=2 * gradients.W2)

    monkeypatch.setattr("twolayer.commands.gradcheck.loss_and_gradients", doubled)
    assert run(["gradcheck"]) == 1
    captured = capsys.readouterr()
    assert "FAIL  random" in captured.out
    assert "gradients are wrong in 12 of 12" in captured.err
    assert "Traceback" not in captured.err


def test_the_command_checks_the_network_of_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "spiral.yaml"
    config.write_text(
        "data: {train: {generator: spiral, rows_per_class: 20}}\nmodel: {hidden: 5}\nsolver: {reg: 0.01}\n"
    )
    assert run(["gradcheck", str(config), "--tables"]) == 0
    output = capsys.readouterr().out
    assert "spiral, 20 rows, after 20 steps" in output
    assert "penalty" in output


def summed(params: Params, X: Array, y: Array, reg: float) -> tuple[float, dict[str, Array]]:
    """A student's: parameters and gradients by name, and the gradient of the sum where the loss is the mean."""
    loss, gradients = loss_and_gradients(Params(*(params[n] for n in ("W1", "b1", "W2", "b2"))), X, y, reg)  # type: ignore[call-overload]
    data = loss_and_gradients(Params(*params), X, y)[1]
    return loss, {name: getattr(gradients, name) + (len(X) - 1) * getattr(data, name) for name in params._fields}


def test_a_function_of_dicts_is_checked_and_the_one_factor_is_named() -> None:
    problem = random_problem(np.random.default_rng(0), shape=(8, 3, 5, 4), reg=0.1)
    result = check(summed, problem)
    assert not result.passed
    assert result.hints == ("data: W1, b1, W2, b2 are 8 times too large; 8 = N: divide by N",)
    assert "8 = N: divide by N" in result.table()
    assert "divide by N" in result._repr_html_()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda g, p: g._replace(W1=-g.W1), "data: W1 is -1 times too large; multiply by -1"),
        (lambda g, p: g._replace(W2=g.W2 / p.n_classes), "data: W2 is 0.25 times too large; 0.25 = 1/C: multiply by C"),
        (lambda g, p: g._replace(W1=g.W1 + 0.1), None),
    ],
)
def test_hints_name_sign_and_sizes_and_say_nothing_else(wrong: Callable[..., Params], words: str | None) -> None:
    def function(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        loss, gradients = loss_and_gradients(params, X, y, reg)
        return loss, wrong(gradients, params)

    result = check(function, random_problem(np.random.default_rng(0), shape=(8, 3, 5, 4), reg=0.0))
    assert not result.passed
    assert result.hints == (() if words is None else (words,))


def test_the_table_is_the_value_of_a_notebook_cell() -> None:
    problem = standard_problems()[0]
    result = check(loss_and_gradients, problem)
    assert result._repr_html_().startswith("<pre>error")
    assert result.table().split("\n")[1] in result._repr_html_()
