"""The references agree with backprop and among themselves, and refuse what they cannot do."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from twolayer import reference
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Params
from twolayer.reference import REFERENCES, plain
from twolayer.reference.gradcheck import check_gradients, relative_error
from twolayer.reference.plain import jacobian_chain, ones_vectors, softmax_jacobian, two_loops
from twolayer.reference.problems import Problem, random_problem
from twolayer.utils.errors import TwoLayerError

FOLDER = Path(reference.__file__).parent


def random_shape(rng: np.random.Generator, number: int) -> Problem:
    """Every shape of the list comes round: N=1, H=1, C=2, H=0, a batch with zero rows; the rest is drawn."""
    N, D, H, C = (int(n) for n in rng.integers((2, 1, 2, 3), (7, 5, 5, 5)))
    special = number % 8
    shape = (1 if special == 1 else N, D, {2: 1, 3: 0}.get(special, H), 2 if special == 4 else C)
    return random_problem(
        rng, shape=shape, reg=float(rng.choice([0.0, 1e-3, 0.5])), zero_rows=special in (5, 6), zero_biases=special == 6
    )


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    rng = np.random.default_rng(20)
    return [random_shape(rng, number) for number in range(200)]


def test_the_shapes_include_the_awkward_ones(problems: list[Problem]) -> None:
    shapes = [(len(p.X), p.params.n_hidden, p.params.n_classes) for p in problems]
    assert len(problems) == 200
    for place, value in ((0, 1), (1, 1), (1, 0), (2, 2)):
        assert sum(shape[place] == value for shape in shapes) >= 20
    assert sum(not p.X[0].any() for p in problems) >= 20


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_agrees_with_backprop_to_1e_12_on_200_shapes(name: str, problems: list[Problem]) -> None:
    for problem in problems:
        loss, gradients = loss_and_gradients(problem.params, problem.X, problem.y, problem.reg)
        their_loss, theirs = REFERENCES[name](problem.params, problem.X, problem.y, problem.reg)
        assert relative_error(loss, their_loss) <= 1e-12
        assert gradients.named().keys() == theirs.named().keys()
        for array, gradient in gradients.named().items():
            assert relative_error(gradient, theirs.named()[array]) <= 1e-12, (problem.name, array)


def test_centred_differences_agree_with_backprop_to_1e_6_on_200_shapes(problems: list[Problem]) -> None:
    for problem in problems:
        check = check_gradients(loss_and_gradients, problem.params, problem.X, problem.y, problem.reg, against=None)
        assert check.passed
        assert all(c.error <= 1e-6 for c in check.comparisons if c.part == "data"), check.table()
        on_a_kink = not problem.X[0].any() and problem.params.b1 is not None and not problem.params.b1.any()
        assert bool(check.kinks) == on_a_kink


def test_no_reference_imports_backprop() -> None:
    imported = {
        name
        for file in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    ours = {name for name in imported if name and name.startswith("twolayer")}
    below = ("twolayer.reference", "twolayer.network.model", "twolayer.utils.errors", "twolayer.utils.randomness")
    assert all(name.startswith(below) for name in ours)


@pytest.mark.parametrize("name", REFERENCES)
def test_one_hot_rows_are_as_good_as_class_indices(name: str) -> None:
    p = random_problem(np.random.default_rng(3))
    loss, gradients = REFERENCES[name](p.params, p.X, p.y, p.reg)
    again, same = REFERENCES[name](p.params, p.X, np.eye(3)[p.y], p.reg)
    assert loss == again
    for a, b in zip(gradients, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_references_compute_in_float64_whatever_they_are_given() -> None:
    p = random_problem(np.random.default_rng(4))
    single = p.params.map(lambda array: array.astype(np.float32))
    for function in REFERENCES.values():
        _, gradients = function(single, p.X.astype(np.float32), p.y, p.reg)
        assert all(array.dtype == np.float64 for array in gradients.named().values())


def test_references_leave_their_arguments_alone() -> None:
    p = random_problem(np.random.default_rng(5))
    before, X = p.params.copy(), p.X.copy()
    for function in REFERENCES.values():
        function(p.params, p.X, p.y, p.reg)
        assert all(np.array_equal(a, b) for a, b in zip(p.params, before, strict=True))
        assert np.array_equal(p.X, X)


def test_the_two_cases_need_one_class_per_row() -> None:
    p = random_problem(np.random.default_rng(6), shape=(2, 3, 2, 3))
    soft = np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    with pytest.raises(ValueError, match="one class per row"):
        two_loops(p.params, p.X, soft, 0.0)
    loss, _ = loss_and_gradients(p.params, p.X, soft, 0.0)
    assert ones_vectors(p.params, p.X, soft, 0.0)[0] == pytest.approx(loss, rel=1e-14)


def test_the_jacobian_chain_refuses_what_would_fill_the_memory() -> None:
    params = Params(np.zeros((784, 128)), np.zeros(128), np.zeros((128, 10)), np.zeros(10))
    with pytest.raises(TwoLayerError, match=r"64 rows .*784-128-10.* MiB.*fewer rows"):
        jacobian_chain(params, np.zeros((64, 784)), np.zeros(64, int), 0.0)


def test_the_jacobian_chain_refuses_a_right_class_of_probability_0() -> None:
    params = Params(None, None, np.array([[0.0, 1000.0]]), np.zeros(2))
    with pytest.raises(TwoLayerError, match="probability 0"):
        jacobian_chain(params, np.ones((1, 1)), np.array([0]), 0.0)
    loss, gradients = loss_and_gradients(params, np.ones((1, 1)), np.array([0]), 0.0)
    assert loss == 1000
    np.testing.assert_array_equal(gradients.b2, [-1, 1])


def test_the_softmax_jacobian_is_that_of_automatic_differentiation() -> None:
    torch = pytest.importorskip("torch")
    s = torch.tensor([0.3, -1.2, 2.0, 0.0], dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(lambda s: torch.softmax(s, 0), s).numpy()
    p = plain.softmax(s.numpy()[None])[0]
    np.testing.assert_allclose(softmax_jacobian(p), expected, rtol=0, atol=1e-15)
