"""Where the five source texts err, mislead or leave something out: the printed version fails, the right one holds.

docs/explanation/texts.md lists the texts and names each of these tests. The letters in the tests' names: softmax is
"The Softmax Function", luther is Matt Luther's text, backprop is "Backpropogating Softmax Layer of a Neural Network",
waite is Jesse Waite's, derivative is "Derivative of Cross Entropy Loss with Softmax Activation"."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Array, Params, forward, softmax
from twolayer.reference.plain import complex_step, two_loops

TEXTS = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "texts.md"

S = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])  # two rows of scores
y = np.array([1, 0])


def loss_of_scores(S: Array, y: Array) -> float:
    """The mean loss (6) of given scores: a network without a hidden layer, with the identity for W2."""
    return loss_and_gradients(network_of_scores(S), S, y)[0]


def gradient_of_scores(S: Array, y: Array) -> Array:
    """dL/dS (N, C): row i is the gradient of b2 of a network whose batch is row i, over N."""
    rows = [loss_and_gradients(network_of_scores(S), S[i : i + 1], y[i : i + 1])[1].b2 for i in range(len(S))]
    return np.array(rows) / len(S)


def network_of_scores(S: Array) -> Params:
    C = S.shape[1]
    return Params(None, None, np.eye(C), np.zeros(C))


def numeric_slope(function, at: Array) -> Array:  # type: ignore[no-untyped-def]
    """Centred differences of a function of one vector."""
    h = 1e-6
    steps = h * np.eye(len(at))
    return np.array([(function(at + step) - function(at - step)) / (2 * h) for step in steps])


# ---- "The Softmax Function" -----------------------------------------------------------------------------------------


def printed_softmax(X: Array) -> Array:
    exps = np.exp(X)
    return exps / np.sum(exps)


def printed_stable_softmax(X: Array) -> Array:
    exps = np.exp(X - np.max(X))
    return exps / np.sum(exps)


def printed_cross_entropy(X: Array, y: Array) -> float:
    m = y.shape[0]
    p = printed_softmax(X)
    log_likelihood = -np.log(p[range(m), y])
    return float(np.sum(log_likelihood) / m)


def printed_delta_cross_entropy(X: Array, y: Array) -> Array:
    m = y.shape[0]
    grad = printed_softmax(X)
    grad[range(m), y] -= 1
    return grad / m


@pytest.mark.parametrize("printed", [printed_softmax, printed_stable_softmax])
def test_softmax_sums_over_the_whole_array_and_not_by_row(printed) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_allclose(printed(S[0]), softmax(S[:1])[0], rtol=1e-15)  # right for one vector
    assert printed(S).sum() == pytest.approx(1)  # wrong for a batch: both rows together sum to 1
    assert printed(S).sum(axis=1).max() < 0.7
    np.testing.assert_allclose(softmax(S).sum(axis=1), [1, 1], rtol=1e-15)
    assert printed_cross_entropy(S, y) > loss_of_scores(S, y) + 0.5
    assert np.abs(printed_delta_cross_entropy(S, y) - gradient_of_scores(S, y)).max() > 0.1


def test_softmax_shifted_by_the_batch_maximum_underflows_whole_rows() -> None:
    far_apart = np.array([[0.0, 1.0], [1000.0, 1001.0]])
    shifted = np.exp(far_apart - far_apart.max())
    assert shifted[0].sum() == 0  # dividing this row by its own sum would give 0/0
    with np.errstate(invalid="ignore"):
        assert np.isnan(shifted / shifted.sum(axis=1, keepdims=True))[0].all()
    np.testing.assert_allclose(softmax(far_apart), [[0.26894142, 0.73105858]] * 2, rtol=1e-8)


def test_softmax_losses_call_the_unshifted_version_and_overflow() -> None:
    large = np.array([[800.0, 0.0]])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.exp(800.0) == np.inf  # exp gives inf; nan, of which the text speaks, comes from inf / inf
        assert math.isnan(printed_cross_entropy(large, np.array([0])))
        assert np.isnan(printed_delta_cross_entropy(large, np.array([0]))).any()
    assert loss_of_scores(large, np.array([0])) == 0
    assert loss_of_scores(large, np.array([1])) == 800


def test_softmax_even_shifted_loses_the_loss_as_minus_log_of_0() -> None:
    """In real numbers the outputs lie in (0, 1), as the text says; in float64 they reach 0 and 1."""
    scores = np.array([[0.0, 1000.0]])
    p = printed_stable_softmax(scores[0])
    assert p.tolist() == [0, 1]
    with np.errstate(divide="ignore"):
        assert -np.log(p[0]) == np.inf
    assert loss_of_scores(scores, np.array([0])) == 1000  # logsumexp(S_i) - S_i,y_i


def test_softmax_labels_in_a_column_make_an_m_by_m_matrix() -> None:
    column = y[:, None]  # "num_examples x 1"
    m = len(y)
    assert printed_softmax(S)[range(m), column].shape == (m, m)
    assert printed_cross_entropy(S, column) > 1.9 * printed_cross_entropy(S, y)
    off = printed_delta_cross_entropy(S, column) - printed_delta_cross_entropy(S, y)
    assert np.abs(off).max() == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"y: expected \(2,\) class indices"):
        loss_and_gradients(network_of_scores(S), S, column)


def test_softmax_k_not_1_is_printed_for_k_not_i() -> None:
    p, labels = softmax(S[:1])[0], np.array([0.0, 0.0, 1.0])
    right = [p[i] * (labels[i] + sum(labels[k] for k in range(3) if k != i)) - labels[i] for i in range(3)]
    printed = [p[i] * (labels[i] + sum(labels[k] for k in range(1, 3))) - labels[i] for i in range(3)]  # k != 1st
    np.testing.assert_allclose(right, p - labels, rtol=1e-15)
    assert printed[2] == pytest.approx(2 * p[2] - 1)  # twice p_i where one is meant


def test_softmax_derivative_by_the_exponential_is_printed_for_by_the_score() -> None:
    """The text (and Luther's, once) names e^a_j as the variable; by that variable the derivative of the sum is 1."""
    a = S[0]
    by_score = numeric_slope(lambda a: np.exp(a).sum(), a)
    by_exponential = numeric_slope(lambda e: e.sum(), np.exp(a))
    np.testing.assert_allclose(by_exponential, 1, rtol=1e-8)
    np.testing.assert_allclose(by_score, np.exp(a), rtol=1e-8)  # what the text then uses


def test_softmax_cross_entropy_is_not_a_distance() -> None:
    """The text says distance between two distributions: it is not symmetric, and not 0 from a soft y to itself."""

    def cross_entropy(y: Array, p: Array) -> float:
        return float(-(y * np.log(p)).sum())

    a, b = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    assert cross_entropy(a, b) == pytest.approx(0.693, abs=5e-4)
    assert cross_entropy(b, a) == pytest.approx(1.204, abs=5e-4)
    assert cross_entropy(b, b) == pytest.approx(math.log(2))  # the entropy of y; 0 only for a one-hot y


@pytest.mark.parametrize("constant", [-1000.0, -1.0, 0.5, 300.0])
def test_softmax_is_unchanged_by_any_shift_as_the_text_says(constant: float) -> None:
    np.testing.assert_allclose(softmax(S + constant), softmax(S), rtol=1e-12)


def test_softmax_is_a_soft_arg_max_and_not_a_soft_max() -> None:
    scores = np.array([[1.0, 3.0, 2.0]])
    for sharpness in (50.0, 500.0):  # the sharper, the nearer to the one-hot arg max, and never to the maximum 3
        np.testing.assert_allclose(softmax(sharpness * scores), [[0, 1, 0]], atol=1e-12)
    smooth_maximum = np.log(np.exp(50 * scores).sum()) / 50
    assert smooth_maximum == pytest.approx(3, abs=1e-12)


# ---- Matt Luther ----------------------------------------------------------------------------------------------------


def luthers_first_listing(scores: Array, y: Array) -> Array:
    N, C = scores.shape
    exp_scores = np.exp(scores)
    sums = np.sum(exp_scores, axis=1)
    D_loss_D_scores = np.zeros(scores.shape)
    for i in range(N):  # printed: xrange
        for j in range(C):
            if j == y[i]:
                D_loss_D_scores[i, j] = (-1.0 / N) * (1 - (exp_scores[i, j] / sums[i]))
            else:
                D_loss_D_scores[i, j] = (-1.0 / N) * (0 - (exp_scores[i, j] / sums[i]))
    return D_loss_D_scores


def luthers_second_listing(scores: Array, y: Array) -> Array:
    N = len(scores)
    exp_scores = np.exp(scores)
    sums = np.sum(exp_scores, axis=1)
    DlossDscores = np.zeros(scores.shape)
    for i in range(N):  # printed: xrange
        DlossDscores[i] = (1.0 / N) * (exp_scores[i] / sums[i])
        DlossDscores[i, y[i]] -= 1.0 / N
    return DlossDscores


def luthers_third_listing(scores: Array, y: Array) -> Array:
    N = len(scores)
    exp_scores = np.exp(scores)
    sums = np.sum(exp_scores, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # NumPy's own advice against np.matrix
        DlossDscores = exp_scores / (N * np.matrix(sums).T)
    DlossDscores[range(N), y] -= 1.0 / N
    return DlossDscores


LISTINGS = [luthers_first_listing, luthers_second_listing, luthers_third_listing]


@pytest.mark.parametrize("listing", LISTINGS)
def test_luther_all_three_listings_are_right_for_small_scores(listing) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_allclose(listing(S, y), gradient_of_scores(S, y), atol=1e-15)


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize(("score", "dtype"), [(710.0, np.float64), (89.0, np.float32)])
def test_luther_listings_overflow_above_709_and_88(listing, score: float, dtype: type) -> None:  # type: ignore[no-untyped-def]
    for value, fits in ((score, False), (score - 1, True)):
        scores = np.array([[value, 0.0]], dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            assert np.isfinite(listing(scores, np.array([0]))).all() == fits
    shifted = np.array([[score, 0.0]])
    assert np.isfinite(gradient_of_scores(shifted, np.array([0]))).all()
    assert np.isfinite(softmax(shifted.astype(dtype))).all()


def test_luther_range_starts_at_0_and_ends_at_n_minus_1() -> None:
    N = len(S)
    assert list(range(N)) == [0, 1]
    assert list(range(N)) != list(range(1, N))  # "just lists the values 1,...,N-1"
    dS = softmax(S) / N
    dS[list(range(1, N)), y[1:]] -= 1 / N  # so read, the first sample is left out
    assert np.abs(dS - gradient_of_scores(S, y)).max() == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # NumPy's own advice against np.matrix
def test_luther_np_matrix_spreads_and_turns_products_into_matrix_products() -> None:
    dS = luthers_third_listing(S, y)
    assert isinstance(dS, np.matrix)
    mask = np.ones(S.shape)
    with pytest.raises(ValueError, match="not aligned"):
        dS * mask  # meant entry by entry, as in (10)
    square = dS[:, :2]
    assert not np.allclose(square * np.eye(2), np.asarray(square) * np.eye(2))  # where shapes allow it, in silence
    kept = np.exp(S) / (len(S) * np.exp(S).sum(axis=1, keepdims=True))
    assert type(kept * mask) is np.ndarray


def test_luther_xrange_is_range() -> None:
    with pytest.raises(NameError):
        eval("xrange(3)")
    assert len(range(3)) == 3


def test_luther_ones_matrix_gives_a_row_where_b2_is_a_vector() -> None:
    b2, dS = np.zeros(3), gradient_of_scores(S, y)
    printed = np.dot(np.ones((1, 2)), dS)
    assert printed.shape == (1, 3)
    with pytest.raises(ValueError, match="non-broadcastable output"):
        b2 -= printed
    assert (b2 - printed).shape == (1, 3)  # and without the -=, b2 changes its shape in silence
    right = np.ones(2) @ dS
    b2 -= right
    np.testing.assert_allclose(printed[0], right)


def test_luther_softmax_exaggerates_the_largest_only_where_scores_are_far_enough_apart() -> None:
    """Against the plain ratio x2 / (x1 + x2): where x2 - x1 > log(x2 / x1)."""

    def shares(x: list[float]) -> tuple[float, float]:
        return max(x) / sum(x), float(softmax(np.array([x])).max())

    plain, after = shares([0.1, 0.2])
    assert plain == pytest.approx(0.667, abs=5e-4)
    assert after == pytest.approx(0.525, abs=5e-4)
    for x1, x2 in [(0.1, 0.2), (0.5, 1.5), (1.0, 1.1), (2.0, 2.5), (0.3, 5.0), (0.01, 1.0), (3.0, 9.0)]:
        plain, after = shares([x1, x2])
        assert (after > plain) == (x2 - x1 > math.log(x2 / x1))


def test_luther_repeated_exp_drives_the_vector_to_one_hot_but_never_parts_a_tie() -> None:
    x, tied = np.array([0.1, 0.2]), np.array([0.2, 0.2])
    shares = []
    for _ in range(4):
        shares.append(softmax(x[None]).max())
        x, tied = np.exp(x), np.exp(tied)
    shares.append(softmax(x[None]).max())
    assert shares[0] == pytest.approx(0.525, abs=5e-4)  # first down from .667
    assert shares == sorted(shares)
    assert shares[-1] > 1 - 1e-12
    assert tied[0] == tied[1]


def test_luther_soft_max_is_a_soft_argmax() -> None:
    """(0, ..., 1, ..., 0) is where the largest is, not the largest; what is near to max itself is logsumexp."""
    x = S[0]
    near = [softmax(t * x[None])[0] for t in (1, 10, 100)]
    np.testing.assert_allclose(near[-1], [0, 1, 0], atol=1e-12)
    logsumexp = np.log(np.exp(x).sum())
    assert x.max() < logsumexp <= x.max() + math.log(len(x))
    assert np.log(np.exp(100 * x).sum()) / 100 == pytest.approx(x.max())


def test_luther_loss_does_not_tell_right_from_wrong_predictions() -> None:
    """For wrong predictions the text expects about -log(1/3): log C, which is the loss of knowing nothing."""
    right = np.array([[0.1] + [0.0] * 9])  # ten classes, the right one just ahead
    wrong = np.array([[5.0, 5.1] + [0.0] * 8])  # the right one just behind
    params, label = network_of_scores(right), np.array([0])
    assert forward(params, right).argmax() == 0 != forward(params, wrong).argmax()
    assert loss_of_scores(right, label) == pytest.approx(2.213, abs=5e-4)
    assert loss_of_scores(wrong, label) == pytest.approx(0.770, abs=5e-4)
    assert loss_of_scores(np.zeros((1, 3)), label) == pytest.approx(math.log(3))


def minimum_of_the_loss(X: Array, y: Array, reg: float) -> Params:
    """Softmax regression after enough full steps that its gradient is 0 to rounding."""
    params = Params(None, None, np.zeros((X.shape[1], 2)), np.zeros(2))
    for _ in range(20_000):
        _, gradients = loss_and_gradients(params, X, y, reg)
        params = Params(None, None, params.W2 - 0.5 * gradients.W2, params.b2 - 0.5 * gradients.b2)
    return params


def test_luther_the_minimum_of_the_sum_is_the_minimum_of_neither_part() -> None:
    X, y, reg = np.array([[1.0, 0.2], [2.0, -0.5], [-1.0, 0.3], [0.5, -0.1]]), np.array([0, 0, 1, 1]), 0.1
    params = minimum_of_the_loss(X, y, reg)
    _, of_the_sum = loss_and_gradients(params, X, y, reg)
    _, of_the_data = loss_and_gradients(params, X, y, 0.0)
    of_the_penalty = reg * params.W2
    assert np.abs(of_the_sum.W2).max() < 1e-12
    assert np.abs(of_the_penalty).max() > 0.01  # the penalty could be smaller
    np.testing.assert_allclose(of_the_data.W2, -of_the_penalty, atol=1e-12)  # and so could the mean loss
    assert loss_and_gradients(minimum_of_the_loss(X, y, 0.0), X, y)[0] < loss_and_gradients(params, X, y)[0] - 0.05


def test_luther_r_of_0_needs_no_zero_weights_and_zero_weights_still_leave_the_biases() -> None:
    params = Params(None, None, np.ones((3, 2)), np.zeros(2))
    X, y = np.ones((4, 3)), np.array([0, 0, 0, 1])
    assert loss_and_gradients(params, X, y, 0.0)[0] == loss_and_gradients(params, X, y)[0]  # R = 0, W = 1
    frequencies = np.array([0.75, 0.25])
    constant = Params(None, None, np.zeros((3, 2)), np.log(frequencies))
    loss, gradients = loss_and_gradients(constant, X, y, 1.0)
    assert loss == pytest.approx(-(frequencies * np.log(frequencies)).sum())  # R = 0 again
    assert loss < math.log(2)  # less than that of a network that knows nothing
    np.testing.assert_allclose(gradients.b2, 0, atol=1e-15)


# ---- "Backpropogating Softmax Layer of a Neural Network" ------------------------------------------------------------


@pytest.fixture
def toy_layer() -> tuple[Array, Params, Array]:
    """Its toy network's last layer: five rows O_1 of ten hidden units, three classes."""
    rng = np.random.default_rng(0)
    return np.maximum(0, rng.normal(size=(5, 10))), Params(None, None, rng.normal(size=(10, 3)), rng.normal(size=3)), (
        np.array([0, 1, 2, 2, 1])
    )  # fmt: skip


def test_backprop_last_line_has_the_wrong_sign_and_suits_neither_mean_nor_sum(
    toy_layer: tuple[Array, Params, Array],
) -> None:
    O1, params, y = toy_layer
    dS = softmax(O1 @ params.W2 + params.b2)
    dS[np.arange(5), y] -= 1
    printed = (-1.0 / 5) * np.matmul(O1.T, dS)
    mean = complex_step(params, O1, y)[1].W2
    np.testing.assert_allclose(printed, -mean, atol=1e-15)
    np.testing.assert_allclose(+1 / 5 * O1.T @ dS, mean, atol=1e-15)
    np.testing.assert_allclose(+O1.T @ dS, 5 * mean, atol=1e-14)  # of the sum, which the text defines as its loss
    before, after = (two_loops(params._replace(W2=params.W2 - 0.1 * g), O1, y, 0.0)[0] for g in (0 * mean, printed))
    assert after > before  # a step "down" the printed gradient goes up


def test_backprop_alias_overwrites_the_probabilities(toy_layer: tuple[Array, Params, Array]) -> None:
    O1, params, y = toy_layer
    O2 = softmax(O1 @ params.W2 + params.b2)
    kept = O2.copy()
    dL_by_dS = O2
    dL_by_dS[np.arange(5), y] -= 1
    assert O2.min() < 0
    with np.errstate(invalid="ignore"):
        assert np.isnan(-np.log(O2[np.arange(5), y])).all()  # the loss, asked for afterwards
    assert np.isfinite(-np.log(kept[np.arange(5), y])).all()


def test_backprop_sum_of_squares_is_printed_for_square_of_the_sum() -> None:
    U, right_class, k = np.exp(S[0]), 1, 0
    printed = U[right_class] * -1 / (U**2).sum() * U[k]
    right = U[right_class] * -1 / U.sum() ** 2 * U[k]
    numeric = numeric_slope(lambda s: np.exp(s[right_class]) / np.exp(s).sum(), S[0])[k]
    O2 = U / U.sum()
    assert numeric == pytest.approx(right, rel=1e-8)
    assert -O2[right_class] * O2[k] == pytest.approx(right)  # the text's next line
    assert printed / right == pytest.approx(2.13, abs=0.01)


def test_backprop_sum_from_0_to_5_has_six_terms(toy_layer: tuple[Array, Params, Array]) -> None:
    O1, params, y = toy_layer
    losses = [two_loops(params, O1[i : i + 1], y[i : i + 1], 0.0)[0] for i in range(5)]
    with pytest.raises(IndexError):
        sum(losses[i] for i in range(6))  # i = 0, ..., 5
    assert sum(losses) == pytest.approx(5 * two_loops(params, O1, y, 0.0)[0])


def test_backprop_gradient_of_b2_is_the_sum_of_the_rows_of_ds(toy_layer: tuple[Array, Params, Array]) -> None:
    """Announced together with W2's and never derived; dS[i,k]/db2[n] is 1 for k = n, else 0."""
    O1, params, y = toy_layer
    dS = (softmax(O1 @ params.W2 + params.b2) - np.eye(3)[y]) / 5
    numeric = complex_step(params, O1, y)[1].b2
    np.testing.assert_allclose(np.ones(5) @ dS, numeric, atol=1e-15)
    assert np.abs(dS.mean(axis=0) - numeric).max() > 0.01  # a mean of rows that are already shares of a mean


def test_backprop_unnormalised_probabilities_overflow() -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        U = np.exp(np.array([[1000.0, 0.0]]))
        assert np.isnan((U / U.sum(axis=1, keepdims=True))[0, 0])
    assert softmax(np.array([[1000.0, 0.0]])).tolist() == [[1, 0]]


# ---- Jesse Waite ----------------------------------------------------------------------------------------------------
# His softmax regression: weights W (D, C) without a bias, rows X (N, D), one-hot Y (N, C), and sums over the rows.


def likelihood(W: Array, X: Array, Y: Array) -> float:
    """The probability that the model gives to all the labels together."""
    return float((softmax(X @ W) ** Y).prod())


def negative_log_likelihood(W: Array, X: Array, Y: Array) -> float:
    """J = - sum_n sum_k Y_nk (w_k . x_n) + sum_n log sum_j exp(w_j . x_n)."""
    scores = X @ W
    return float(np.log(np.exp(scores).sum(axis=1)).sum() - (Y * scores).sum())


def likelihood_step(W: Array, X: Array, Y: Array, alpha: float) -> Array:
    """W - alpha dJ/dW with dJ/dW = sum_n x_n (x) (s_n - y_n), one update from all rows at once."""
    return W - alpha * sum(np.outer(x, s - y) for x, s, y in zip(X, softmax(X @ W), Y, strict=True))


WAITE_X, WAITE_S, WAITE_Y = np.array([2.0, 2, 2]), np.array([0.1, 0.7, 0.2]), np.array([0.0, 0, 1])
WAITE_PRINTED = np.array([[0.2] * 3, [1.4] * 3, [-1.4] * 3])


def test_waite_last_row_of_the_example_is_minus_1_6() -> None:
    error = WAITE_S - WAITE_Y
    assert error[2] == pytest.approx(-0.8)  # printed: -0.7
    right = np.outer(error, WAITE_X)
    np.testing.assert_allclose(right[:2], WAITE_PRINTED[:2])
    np.testing.assert_allclose(right[2], -1.6)
    np.testing.assert_allclose(right.sum(axis=0), 0, atol=1e-15)  # as s and y both sum to 1; the printed one does not
    np.testing.assert_allclose(WAITE_PRINTED.sum(axis=0), 0.2)


def test_waite_rows_printed_make_m_by_n_where_n_by_m_is_said() -> None:
    a, b = np.arange(4.0), np.arange(3.0)  # n = 4, m = 3
    rows = np.array([a * b_i for b_i in b])
    assert rows.shape == (3, 4)
    assert np.outer(a, b).shape == (4, 3)  # the usual (x): (u (x) v)_kl = u_k v_l
    np.testing.assert_array_equal(rows, np.outer(a, b).T)


def test_waite_gradient_stacked_by_class_is_the_transpose_of_ours() -> None:
    """So W - alpha dJ/dW adds a (C, D) matrix to a (D, C) one: refused, or wrong in silence where D = C."""
    x, p = np.array([[1.0, -2.0]]), Params(None, None, np.array([[0.1, 0.2, 0.3], [0.0, -0.1, 0.4]]), np.zeros(3))
    error = softmax(x @ p.W2)[0] - np.array([0, 0, 1])
    by_class = np.array([x[0] * e for e in error])
    ours = loss_and_gradients(p, x, np.array([2]))[1].W2
    assert by_class.shape == (3, 2)
    np.testing.assert_allclose(by_class.T, ours, atol=1e-15)
    with pytest.raises(ValueError, match="broadcast"):
        p.W2 - 0.1 * by_class


def test_waite_loss_is_the_sum_so_alpha_grows_with_the_batch() -> None:
    rng = np.random.default_rng(1)
    X, y, W = rng.normal(size=(8, 3)), rng.integers(0, 3, 8), rng.normal(size=(3, 3))
    mean, gradients = loss_and_gradients(Params(None, None, W, np.zeros(3)), X, y)
    assert negative_log_likelihood(W, X, np.eye(3)[y]) == pytest.approx(8 * mean)
    assert -np.log(likelihood(W, X, np.eye(3)[y])) == pytest.approx(8 * mean)
    step = likelihood_step(W, X, np.eye(3)[y], alpha=0.01)
    np.testing.assert_allclose(step, W - 8 * 0.01 * gradients.W2, atol=1e-15)
    twice = np.r_[X, X], np.eye(3)[np.r_[y, y]]  # the same data twice: the mean's step stays, the sum's doubles
    np.testing.assert_allclose(likelihood_step(W, *twice, alpha=0.01) - W, 2 * (step - W), atol=1e-14)


def test_waite_one_epoch_is_one_update_only_for_a_full_batch() -> None:
    rng = np.random.default_rng(2)
    X, Y, W = rng.normal(size=(8, 3)), np.eye(3)[rng.integers(0, 3, 8)], np.zeros((3, 3))
    full = likelihood_step(W, X, Y, alpha=0.5)
    epoch = W
    for start in range(0, 8, 2):  # four updates, each row once: also an epoch
        epoch = likelihood_step(epoch, X[start : start + 2], Y[start : start + 2], alpha=0.5)
    assert np.abs(epoch - full).max() > 0.05


def test_waite_likelihood_underflows_where_the_sum_of_logs_does_not() -> None:
    X, Y, W = np.zeros((1000, 1)), np.eye(10)[np.zeros(1000, int)], np.zeros((1, 10))
    assert likelihood(W, X, Y) == 0  # 10^-1000
    with np.errstate(divide="ignore"):
        assert -np.log(likelihood(W, X, Y)) == np.inf
    assert negative_log_likelihood(W, X, Y) == pytest.approx(1000 * math.log(10))


def test_waite_sign_of_the_gradient_needs_positive_inputs() -> None:
    """Wrong classes get a positive gradient and the right one a negative, he says: for x > 0, as in his example."""
    error = WAITE_S - WAITE_Y
    assert (np.outer(WAITE_X, error)[:, 2] < 0).all()
    assert (np.outer(-WAITE_X, error)[:, 2] > 0).all()
    assert (np.outer(-WAITE_X, error)[:, :2] < 0).all()


def test_waite_contribution_of_a_wrong_prediction_is_bounded() -> None:
    """The text says very large: |p - y| is at most sqrt(2), so a row adds at most sqrt(2) |x| however wrong it is."""
    rng = np.random.default_rng(3)
    P, Y = softmax(rng.normal(scale=50, size=(1000, 4))), np.eye(4)[rng.integers(0, 4, 1000)]
    lengths = np.linalg.norm(P - Y, axis=1)
    assert 1.41 < lengths.max() <= math.sqrt(2)


@pytest.mark.parametrize(("reg", "grows"), [(0.0, True), (0.01, False)])
def test_waite_separable_data_let_the_weights_grow_without_bound_only_without_reg(reg: float, grows: bool) -> None:
    X, y = np.array([[1.0, 0.2], [2.0, -0.5], [-1.0, 0.3], [-1.5, -0.1]]), np.array([0, 0, 1, 1])
    params = Params(None, None, np.zeros((2, 2)), np.zeros(2))
    norms = []
    for step in range(1, 6401):
        _, gradients = loss_and_gradients(params, X, y, reg)
        params = Params(None, None, params.W2 - 0.5 * gradients.W2, params.b2 - 0.5 * gradients.b2)
        if step in (100, 400, 1600, 6400):
            norms.append(float(np.linalg.norm(params.W2)))
    growth = np.diff(norms)
    if grows:  # like the logarithm of the steps: as much again each time they are four times as many
        assert growth.min() > 0.9 * growth.max() > 0.5
    else:
        assert norms[-1] == pytest.approx(norms[-2], rel=1e-6)


def test_waite_probabilities_differ_from_row_to_row() -> None:
    X, y, W = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 1]), np.array([[0.3, -0.2], [0.1, 0.4]])
    s, Y = softmax(X @ W), np.eye(2)[y]
    right = sum(np.outer(X[n], s[n] - Y[n]) for n in range(2))
    np.testing.assert_allclose(right, 2 * loss_and_gradients(Params(None, None, W, np.zeros(2)), X, y)[1].W2)
    for one in range(2):  # as printed: one s and one y* for every n
        printed = sum(np.outer(X[n], s[one] - Y[one]) for n in range(2))
        assert np.abs(printed - right).max() > 0.5


# ---- "Derivative of Cross Entropy Loss with Softmax Activation" ------------------------------------------------------


def test_derivative_minus_log_point_9_is_0_105() -> None:
    scores = np.log(np.array([[0.9, 0.1]]))
    assert loss_of_scores(scores, np.array([0])) == pytest.approx(0.10536, abs=5e-6)
    assert round(-math.log(0.9), 2) == 0.11  # printed: 0.10
    assert loss_of_scores(scores, np.array([1])) == pytest.approx(2.30259, abs=5e-6)
    assert round(-math.log(0.1), 1) == 2.3  # as printed


def test_derivative_case_j_is_i_needs_y_i_of_1() -> None:
    p, labels = softmax(S[:1])[0], np.array([0.0, 1.0, 0.0])
    term = -labels * (1 - p)
    printed = -labels + p
    assert term[1] == pytest.approx(printed[1])  # y_i = 1
    assert term[0] == 0 != printed[0]  # y_i = 0
    np.testing.assert_allclose(term, -labels + labels * p)


def test_derivative_sum_with_the_special_case_slipped_in_gives_2_p_where_y_is_0() -> None:
    p, labels = softmax(S[:1])[0], np.array([0.0, 1.0, 0.0])
    printed = [sum(p[i] * labels[j] for j in range(3) if j != i) + (p[i] - labels[i]) for i in range(3)]
    right = [sum(p[i] * labels[j] for j in range(3) if j != i) + (labels[i] * p[i] - labels[i]) for i in range(3)]
    assert printed[1] == pytest.approx(p[1] - 1)
    assert printed[0] == pytest.approx(2 * p[0])
    np.testing.assert_allclose(right, p - labels, rtol=1e-14)


def test_derivative_of_the_sum_is_taken_by_the_wrong_variable() -> None:
    """For j != i, sum' is printed as e_j; by x_i it is e_i, and with e_j the quotient rule would give -p_j p_j."""
    x, i, j = S[0], 0, 2
    e, total = np.exp(x), np.exp(x).sum()
    assert numeric_slope(lambda x: np.exp(x).sum(), x)[i] == pytest.approx(e[i], rel=1e-8)
    numeric = numeric_slope(lambda x: np.exp(x[j]) / np.exp(x).sum(), x)[i]
    printed = (0 * total - e[j] * e[j]) / total**2
    p = e / total
    assert numeric == pytest.approx(-p[i] * p[j], rel=1e-8)  # the text's result, right
    assert printed == pytest.approx(-p[j] * p[j])
    assert abs(printed - numeric) > 0.01


def test_derivative_p_minus_y_needs_a_y_that_sums_to_1() -> None:
    labels = np.array([0.5, 0.0, 0.0])
    numeric = numeric_slope(lambda s: -(labels * np.log(softmax(s[None])[0])).sum(), S[0])
    p = softmax(S[:1])[0]
    assert np.abs(numeric - (p - labels)).max() > 0.1
    np.testing.assert_allclose(numeric, p * labels.sum() - labels, atol=1e-8)


def test_derivative_one_hot_rows_and_class_indices_are_the_same_loss() -> None:
    params = network_of_scores(S)
    by_index, by_row = loss_and_gradients(params, S, y), loss_and_gradients(params, S, np.eye(3)[y])
    assert by_index[0] == pytest.approx(by_row[0], rel=1e-15)
    np.testing.assert_allclose(by_index[1].W2, by_row[1].W2, atol=1e-16)
    soft = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(loss_and_gradients(params, S, soft)[1].b2, (softmax(S) - soft).mean(axis=0), atol=1e-16)


def test_derivative_of_y_log_p_is_0_where_y_is_0() -> None:
    p = np.array([0.2, 0.5, 0.3])
    for y_1, expected in ((0.0, 0.0), (1.0, 5.0)):
        assert numeric_slope(lambda p, y_1=y_1: y_1 * np.log(p[0]), p)[0] == pytest.approx(expected, rel=1e-8)


# ---- the list itself ------------------------------------------------------------------------------------------------


def test_the_page_names_every_test_of_this_file_and_no_other() -> None:
    named = set(re.findall(r"`(test_(?:softmax|luther|backprop|waite|derivative)_\w+)`", TEXTS.read_text("utf-8")))
    here = {name for name in globals() if re.match("test_(softmax|luther|backprop|waite|derivative)_", name)}
    assert named == here
