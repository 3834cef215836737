"""The loss and its gradients against other people's implementations, and the properties they must have."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from twolayer.network.backprop import Workspace, data_loss_and_gradients, loss_and_gradients, penalty
from twolayer.network.model import Params, init_params
from twolayer.reference.problems import random_problem, standard_problems

EXPECTED_X = "X: expected (N, 3) with N >= 1, as the parameters have 3 features; got "
SHAPES = [(6, 3, 4, 3), (1, 3, 4, 3), (6, 3, 1, 3), (6, 3, 4, 2), (6, 3, 0, 3), (5, 1, 1, 2)]


def assert_same(ours: Params, theirs: Params, rtol: float = 1e-12, atol: float = 1e-14) -> None:
    assert ours.named().keys() == theirs.named().keys()
    for name, array in ours.named().items():
        np.testing.assert_allclose(array, theirs.named()[name], rtol=rtol, atol=atol, err_msg=name)


def problem(shape: tuple[int, int, int, int] = SHAPES[0], seed: int = 0, reg: float = 0.1):  # type: ignore[no-untyped-def]
    return random_problem(np.random.default_rng(seed), shape=shape, reg=reg)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_loss_and_gradients_are_those_of_automatic_differentiation(
    shape: tuple[int, int, int, int], reg: float
) -> None:
    torch = pytest.importorskip("torch")
    p = problem(shape, reg=reg)
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in p.params.named().items()}
    A1 = torch.tensor(p.X)
    if "W1" in tensors:
        A1 = torch.relu(A1 @ tensors["W1"] + tensors["b1"])
    expected = torch.nn.functional.cross_entropy(A1 @ tensors["W2"] + tensors["b2"], torch.tensor(p.y))
    expected = expected + reg / 2 * sum((tensors[name] ** 2).sum() for name in ("W1", "W2") if name in tensors)
    expected.backward()
    loss, gradients = loss_and_gradients(p.params, p.X, p.y, reg)
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    assert_same(gradients, Params(*(tensors[n].grad.numpy() if n in tensors else None for n in Params._fields)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 100.0, 1e4]))
def test_the_loss_is_logsumexp_minus_the_right_score_at_any_scale(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    S, y = scale * rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
    expected = (special.logsumexp(S, axis=1) - S[np.arange(4), y]).mean()
    loss, _ = loss_and_gradients(Params(None, None, np.eye(3), np.zeros(3)), S, y)
    assert loss == pytest.approx(expected, rel=1e-12, abs=4e-16 * np.abs(S).max())  # the scores' own last digits


def test_the_loss_is_scikit_learns_log_loss() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p = problem((50, 3, 4, 5), reg=0.0)
    A1 = np.maximum(0, p.X @ p.params.W1 + p.params.b1)
    P = special.softmax(A1 @ p.params.W2 + p.params.b2, axis=1)
    loss, _ = loss_and_gradients(p.params, p.X, p.y)
    assert loss == pytest.approx(metrics.log_loss(p.y, P, labels=range(5)), rel=1e-12)


def test_gradients_of_scikit_learns_mlp_are_ours_with_r_of_alpha_over_rows() -> None:
    networks = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(1)
    X, y, alpha, rate = rng.normal(size=(20, 3)), np.arange(20) % 3, 0.7, 1e-3
    model = networks.MLPClassifier(
        (4,), solver="sgd", momentum=0.0, alpha=alpha, learning_rate_init=rate, batch_size=20, shuffle=False,
        random_state=0,
    )  # fmt: skip
    model.partial_fit(X, y, classes=range(3))

    def now() -> Params:
        return Params(model.coefs_[0], model.intercepts_[0], model.coefs_[1], model.intercepts_[1]).copy()

    before = now()
    model.partial_fit(X, y)
    steps = [(b - a) / rate for b, a in zip(before, now(), strict=True)]
    _, gradients = loss_and_gradients(before, X, y, reg=alpha / 20)
    assert_same(gradients, Params(*steps), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_cs231n_assignments_have_our_r_as_reg_until_2016_and_as_half_of_it_from_2017(reg: float) -> None:
    """2016: 0.5 * reg * sum W^2, so r = reg; from 2017: reg * sum W^2, so r = 2 reg."""
    p = problem()
    squares = (p.params.W1**2).sum() + (p.params.W2**2).sum()
    data = loss_and_gradients(p.params, p.X, p.y)[0]
    assert loss_and_gradients(p.params, p.X, p.y, reg)[0] == pytest.approx(data + 0.5 * reg * squares)
    assert loss_and_gradients(p.params, p.X, p.y, 2 * reg)[0] == pytest.approx(data + reg * squares)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_one_hot_rows_are_as_good_as_class_indices(shape: tuple[int, int, int, int], dtype: type, rtol: float) -> None:
    p = problem(shape)
    params, X = p.params.map(lambda array: array.astype(dtype)), p.X.astype(dtype)
    loss, gradients = loss_and_gradients(params, X, p.y, p.reg)
    for kind in (np.float64, np.float32, int, bool):
        again, same = loss_and_gradients(params, X, np.eye(shape[3], dtype=kind)[p.y], p.reg)
        assert again == pytest.approx(loss, rel=rtol)
        assert_same(same, gradients, **({} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-7}))
    assert loss_and_gradients(params, X, p.y.astype(np.uint64), p.reg)[0] == loss


def test_soft_rows_give_the_cross_entropy_and_p_minus_y() -> None:
    p = problem((4, 3, 0, 3), reg=0.0)
    Y = np.random.default_rng(2).dirichlet(np.ones(3), size=4)
    P = special.softmax(p.X @ p.params.W2 + p.params.b2, axis=1)
    loss, gradients = loss_and_gradients(p.params, p.X, Y)
    assert loss == pytest.approx(-(Y * np.log(P)).sum() / 4, rel=1e-13)
    np.testing.assert_allclose(gradients.b2, (P - Y).mean(axis=0), atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_whole_row_weights_are_repeated_rows(shape: tuple[int, int, int, int], reg: float) -> None:
    p = problem(shape, reg=reg)
    times = np.arange(len(p.y)) % 3 + (len(p.y) == 1)
    loss, gradients = loss_and_gradients(p.params, p.X, p.y, reg, weights=times.astype(float))
    again, same = loss_and_gradients(p.params, np.repeat(p.X, times, axis=0), np.repeat(p.y, times), reg)
    assert loss == pytest.approx(again, rel=1e-13)
    assert_same(gradients, same)


def test_row_weights_are_relative_and_equal_ones_change_nothing() -> None:
    p = problem()
    w = np.random.default_rng(3).uniform(0.1, 2, 6)
    loss, gradients = loss_and_gradients(p.params, p.X, p.y, p.reg, weights=w)
    scaled, same = loss_and_gradients(p.params, p.X, p.y, p.reg, weights=17 * w)
    assert scaled == pytest.approx(loss, rel=1e-14)
    assert_same(gradients, same)
    plain, unweighted = loss_and_gradients(p.params, p.X, p.y, p.reg)
    ones, weighted = loss_and_gradients(p.params, p.X, p.y, p.reg, weights=np.full(6, 0.25))
    assert ones == pytest.approx(plain, rel=1e-14)
    assert_same(weighted, unweighted)
    hot, with_rows = loss_and_gradients(p.params, p.X, np.eye(3)[p.y], p.reg, weights=w)
    assert hot == pytest.approx(loss, rel=1e-14)
    assert_same(with_rows, gradients)


def test_the_loss_is_a_mean_over_rows_whatever_their_order() -> None:
    p = problem((7, 3, 4, 3), reg=0.2)
    loss, gradients = loss_and_gradients(p.params, p.X, p.y, p.reg)
    order = np.random.default_rng(4).permutation(7)
    for X, y in ((p.X[order], p.y[order]), (np.tile(p.X, (3, 1)), np.tile(p.y, 3))):
        again, same = loss_and_gradients(p.params, X, y, p.reg)
        assert again == pytest.approx(loss, rel=1e-14)
        assert_same(same, gradients)


def test_the_gradient_of_b2_sums_to_0_as_p_and_y_both_sum_to_1() -> None:
    p = problem((9, 3, 4, 5), reg=0.5)
    _, gradients = loss_and_gradients(p.params, p.X, p.y, p.reg)
    assert gradients.b2.sum() == pytest.approx(0, abs=1e-15)
    assert gradients.b2 @ np.ones(5) == pytest.approx(0, abs=1e-15)


def test_biases_are_not_penalised() -> None:
    p = problem()
    _, without = loss_and_gradients(p.params, p.X, p.y, 0.0)
    _, with_reg = loss_and_gradients(p.params, p.X, p.y, 0.7)
    np.testing.assert_array_equal(with_reg.b1, without.b1)
    np.testing.assert_array_equal(with_reg.b2, without.b2)
    np.testing.assert_allclose(with_reg.W1 - without.W1, 0.7 * p.params.W1, rtol=1e-13)
    assert penalty(p.params, 0.7) == pytest.approx(0.35 * ((p.params.W1**2).sum() + (p.params.W2**2).sum()))


def test_a_unit_exactly_at_0_gets_no_gradient() -> None:
    params = Params(np.ones((2, 3)), np.zeros(3), np.ones((3, 2)) * [1, -1], np.zeros(2))
    _, gradients = loss_and_gradients(params, np.zeros((1, 2)), np.array([0]))
    assert not gradients.b1.any()
    assert gradients.b2.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_gives_float32_gradients_near_those_of_float64(shape: tuple[int, int, int, int], dtype: type) -> None:
    p = problem(shape)
    params, X = p.params.map(lambda array: array.astype(dtype)), p.X.astype(dtype)
    loss, gradients = loss_and_gradients(params, X, p.y, p.reg)
    expected, theirs = loss_and_gradients(p.params, p.X, p.y, p.reg)
    assert isinstance(loss, float)
    assert all(array.dtype == dtype for array in gradients.named().values())
    assert loss == pytest.approx(expected, rel=5e-6)
    assert_same(gradients, theirs, rtol=1e-4, atol=2e-6)


def test_the_mean_of_float32_losses_is_taken_in_float64() -> None:
    params = Params(None, None, np.array([[1, 0]], np.float32), np.zeros(2, np.float32))
    X, y = np.linspace(0.1, 3, 7, dtype=np.float32)[:, None], np.ones(7, int)
    each = [loss_and_gradients(params, X[i : i + 1], y[i : i + 1])[0] for i in range(7)]
    assert all(loss == float(np.float32(loss)) for loss in each)
    loss, _ = loss_and_gradients(params, X, y)
    assert loss == pytest.approx(sum(each) / 7, rel=1e-15)
    assert loss != float(np.float32(loss))


def test_a_workspace_also_serves_smaller_batches() -> None:
    p = problem((6, 3, 4, 3))
    work = Workspace(10, 3, 4, 3, np.float64)
    for N in (6, 2, 5):
        loss = data_loss_and_gradients(p.params, p.X[:N], p.y[:N], work)
        expected, gradients = loss_and_gradients(p.params, p.X[:N], p.y[:N])
        assert loss == pytest.approx(expected, rel=1e-15)
        assert_same(work.gradients, gradients, rtol=1e-15, atol=0)
        for name, array in work.gradients.named().items():
            assert np.shares_memory(array, work.vector), name


@pytest.mark.parametrize("p", standard_problems(), ids=lambda p: p.name)
def test_arguments_are_left_as_they_are(p) -> None:  # type: ignore[no-untyped-def]
    params, X, y = p.params.copy(), p.X.copy(), p.y.copy()
    loss_and_gradients(p.params, p.X, p.y, p.reg)
    assert_same(p.params, params, rtol=0, atol=0)
    np.testing.assert_array_equal(p.X, X)
    np.testing.assert_array_equal(p.y, y)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 2)), np.zeros(4, int), EXPECTED_X + "(4, 2)"),
        (np.zeros((0, 3)), np.zeros(0, int), EXPECTED_X + "(0, 3)"),
        (np.zeros(3), np.zeros(1, int), EXPECTED_X + "(3,)"),
        (np.zeros((4, 3)), np.zeros((4, 1), int), "y: expected (4,) class indices or (4, 3) one-hot rows, got (4, 1)"),
        (np.zeros((4, 3)), np.zeros(5, int), "y: expected (4,) class indices or (4, 3) one-hot rows, got (5,)"),
        (np.zeros((2, 3)), np.array([0, 3]), "y: expected whole numbers from 0 to 2, got int64 from 0 to 3"),
        (np.zeros((2, 3)), np.array([-1, 0]), "y: expected whole numbers from 0 to 2, got int64 from -1 to 0"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), "y: expected whole numbers from 0 to 2, got float64 from 0.0 to 1.0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_was_expected(X, y, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=re.escape(message)):
        loss_and_gradients(problem().params, X, y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W1": np.zeros(3)}, "params.W1: expected (D, H), got (3,)"),
        ({"W1": np.zeros((3, 5))}, "params.W1: expected (3, 4) beside W2 (4, 3), got (3, 5)"),
        ({"b1": np.zeros((1, 4))}, "params.b1: expected (H,), got (1, 4)"),
        ({"b1": np.zeros(3)}, "params.b1: expected (4,) beside W2 (4, 3), got (3,)"),
        ({"b1": None}, "params: expected both W1 and b1 (a hidden layer) or neither, got one of them"),
        ({"W2": np.array([["a"]])}, "params.W2: expected numbers, got <U1"),
        ({"b2": np.zeros(2)}, "params.b2: expected (3,) beside W2 (4, 3), got (2,)"),
    ],
)
def test_parameters_that_do_not_fit_each_other_are_named(changes, message: str) -> None:  # type: ignore[no-untyped-def]
    params = init_params(3, 4, 3, rng=np.random.default_rng(0))._replace(**changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        loss_and_gradients(params, np.zeros((2, 3)), np.zeros(2, int))


def test_what_is_no_array_of_numbers_is_named() -> None:
    params = problem().params
    X, y = np.zeros((2, 3)), np.zeros(2, int)
    for arguments, message in [
        ((params._asdict(), X, y), "params: expected Params(W1, b1, W2, b2), got dict"),
        ((params, [[1, 2, 3], [1, 2]], y), "X: expected numbers in rows of equal length, got list"),
        ((params, X * 1j, y), "X: expected numbers, got complex128"),
        ((params, X, ["a", "b"]), "y: expected numbers, got <U1"),
        ((params, X, y, "0.1"), "reg: expected numbers, got <U3"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            loss_and_gradients(*arguments)
    with pytest.raises(ValueError, match="init: expected one of he, xavier, normal, got 'hee'"):
        init_params(3, 4, 3, rng=np.random.default_rng(0), init="hee")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((4, 1)), "weights: expected (4,), got (4, 1)"),
        (np.ones(3), "weights: expected (4,), got (3,)"),
        (np.zeros(4), "weights: expected finite numbers, zero or more and not all zero"),
        (np.array([1, 1, -1, 1]), "weights: expected finite numbers, zero or more and not all zero"),
        (np.array([1, 1, np.inf, 1]), "weights: expected finite numbers, zero or more and not all zero"),
    ],
)
def test_weights_that_weigh_nothing_sensible_are_refused(weights, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=re.escape(message)):
        loss_and_gradients(problem().params, np.zeros((4, 3)), np.zeros(4, int), weights=weights)
