"""The network: shapes, softmax, initial weights, and how the arrays lie in memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import (
    Init,
    Params,
    flat_copy,
    flat_zeros,
    forward,
    hidden_activations,
    init_params,
    product,
    softmax,
)
from twolayer.utils.blas import at_most_threads

SCORES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(-1e4, 1e4, allow_subnormal=False),
)


def params_of(D: int, H: int, C: int, dtype: type = np.float64, seed: int = 0) -> Params:
    rng = np.random.default_rng(seed)
    params = init_params(D, H, C, rng=rng, dtype=dtype)
    return params.map(lambda array: array + 0.1 * rng.standard_normal(array.shape).astype(dtype))


@settings(max_examples=100, deadline=None)
@given(SCORES)
def test_softmax_is_that_of_scipy_row_by_row(S: np.ndarray) -> None:
    np.testing.assert_allclose(softmax(S), special.softmax(S, axis=1), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(softmax(S).sum(axis=1), 1, rtol=1e-14)


@settings(max_examples=100, deadline=None)
@given(SCORES, st.floats(-1e3, 1e3))
def test_softmax_is_unchanged_by_a_shift_of_a_row(S: np.ndarray, shift: float) -> None:
    np.testing.assert_allclose(softmax(S + shift), softmax(S), rtol=1e-10, atol=1e-300)


def test_softmax_of_one_row_does_not_depend_on_the_others() -> None:
    S = np.random.default_rng(0).normal(scale=300, size=(7, 4))
    alone = np.concatenate([softmax(S[i : i + 1]) for i in range(7)])
    np.testing.assert_array_equal(softmax(S), alone)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_is_finite_for_scores_of_any_size(dtype: type) -> None:
    P = softmax(np.array([[1e30, 0, -1e30], [-1e30, -1e30, -1e30]], dtype))
    assert P.dtype == dtype
    np.testing.assert_allclose(P, [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)


def test_softmax_can_write_over_its_scores_and_otherwise_leaves_them() -> None:
    S = np.random.default_rng(1).normal(size=(3, 4))
    before = S.copy()
    P = softmax(S)
    np.testing.assert_array_equal(S, before)
    assert softmax(S, out=S) is S
    np.testing.assert_array_equal(S, P)


def test_forward_is_the_three_equations_written_entry_by_entry() -> None:
    W1, b1, W2, b2 = params = params_of(3, 4, 2)
    assert W1 is not None
    assert b1 is not None
    X = np.random.default_rng(2).normal(size=(5, 3))
    S = forward(params, X)
    for i in range(5):
        hidden = [max(0.0, sum(X[i, d] * W1[d, h] for d in range(3)) + b1[h]) for h in range(4)]
        for j in range(2):
            assert S[i, j] == pytest.approx(sum(hidden[h] * W2[h, j] for h in range(4)) + b2[j], rel=1e-13)


def test_forward_without_a_hidden_layer_is_one_affine_map() -> None:
    params = params_of(3, 0, 4)
    X = np.random.default_rng(3).normal(size=(5, 3))
    assert params.W1 is params.b1 is None
    np.testing.assert_allclose(forward(params, X), X @ params.W2 + params.b2, rtol=1e-14)
    assert hidden_activations(params, X) is X


@pytest.mark.parametrize(
    ("init", "std_W1", "std_W2"),
    [
        ("he", math.sqrt(2 / 300), math.sqrt(1 / 200)),
        ("xavier", math.sqrt(2 / 500), math.sqrt(2 / 350)),
        ("normal", 0.03, 0.03),
    ],
)
def test_initial_weights_are_normal_with_the_stated_deviation_and_biases_0(
    init: Init, std_W1: float, std_W2: float
) -> None:
    params = init_params(300, 200, 150, rng=np.random.default_rng(5), init=init, init_std=0.03, dtype=np.float64)
    assert params.W1 is not None
    assert params.b1 is not None
    for W, std in ((params.W1, std_W1), (params.W2, std_W2)):
        z = W.ravel() / std  # then standard normal
        n = z.size
        assert abs(z.mean()) < 4 / math.sqrt(n)
        assert abs(z.std() - 1) < 4 / math.sqrt(2 * n)
        assert abs((np.abs(z) < 1).mean() - special.erf(1 / math.sqrt(2))) < 4 * 0.47 / math.sqrt(n)
    assert not params.b1.any()
    assert not params.b2.any()


def test_he_keeps_the_size_of_activations_and_scores() -> None:
    params = init_params(400, 400, 400, rng=np.random.default_rng(6), dtype=np.float64)
    X = np.random.default_rng(7).normal(size=(200, 400))
    A1 = hidden_activations(params, X)
    assert (A1**2).mean() == pytest.approx(1, rel=0.05)
    assert (forward(params, X) ** 2).mean() == pytest.approx(1, rel=0.05)


def test_initial_weights_depend_on_the_generator_alone_and_float32_is_float64_rounded() -> None:
    draw = {
        dtype: init_params(5, 4, 3, rng=np.random.default_rng(8), dtype=dtype) for dtype in (np.float32, np.float64)
    }
    again = init_params(5, 4, 3, rng=np.random.default_rng(8), dtype=np.float64)
    for name, array in draw[np.float64].named().items():
        np.testing.assert_array_equal(array, again.named()[name])
        np.testing.assert_array_equal(array.astype(np.float32), draw[np.float32].named()[name])
    assert draw[np.float32].dtype == np.float32


@pytest.mark.parametrize("C", [2, 10, 26])
def test_the_initial_loss_is_log_c_within_2_percent_for_small_w2(C: int) -> None:
    rng = np.random.default_rng(9)
    params = init_params(20, 30, C, rng=rng, dtype=np.float64)
    params = params._replace(W2=0.01 * params.W2)
    X, y = rng.normal(size=(500, 20)), rng.integers(0, C, 500)
    assert loss_and_gradients(params, X, y)[0] == pytest.approx(math.log(C), rel=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("D", "H", "C"), [(3, 4, 2), (5, 0, 3), (1, 1, 2), (17, 33, 10)])
def test_flat_params_are_views_of_one_vector_weights_first_on_cache_lines(D: int, H: int, C: int, dtype: type) -> None:
    flat = flat_zeros(D, H, C, dtype)
    shapes = {"W1": (D, H), "b1": (H,), "W2": (H or D, C), "b2": (C,)}
    named = flat.params.named()
    assert {name: array.shape for name, array in named.items()} == {
        name: shape for name, shape in shapes.items() if H or name in ("W2", "b2")
    }
    assert flat.vector.dtype == dtype
    for number, array in enumerate(named.values(), start=1):
        array[...] = number
        assert np.shares_memory(array, flat.vector)
        assert array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
    sizes = [array.size for array in named.values()]
    counts = [int((flat.vector == number).sum()) for number in range(1, len(named) + 1)]
    assert counts == sizes  # no two overlap
    assert int((flat.vector == 0).sum()) == flat.vector.size - sum(sizes)  # the gaps
    weights = flat.vector[: flat.n_weights]
    assert {*np.unique(weights)} - {0} == {n for n, name in enumerate(named, start=1) if name.startswith("W")}


def test_flat_copy_holds_the_same_numbers_in_its_own_memory() -> None:
    params = params_of(5, 4, 3, np.float32)
    flat = flat_copy(params)
    for name, array in params.named().items():
        np.testing.assert_array_equal(array, flat.params.named()[name])
        assert not np.shares_memory(array, flat.vector)
    norm = math.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in params.named().values()))
    assert np.linalg.norm(flat.vector.astype(np.float64)) == pytest.approx(norm)  # the gaps add nothing


def test_params_know_their_sizes_and_say_them() -> None:
    assert repr(params_of(64, 32, 10, np.float32)) == "Params(64-32-10, float32, 2,410 numbers)"
    small = params_of(4, 0, 3)
    assert (small.n_features, small.n_hidden, small.n_classes) == (4, 0, 3)
    assert list(small.named()) == ["W2", "b2"]
    copy = small.copy()
    copy.W2[0, 0] += 1
    assert copy.W2[0, 0] != small.W2[0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("D", [1, 447, 448, 449, 784, 896, 897, 1400, 3072])
def test_long_sums_are_split_and_complete(D, dtype):
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((60, D)).astype(dtype), rng.standard_normal((D, 70)).astype(dtype)
    out = np.full((60, 70), np.nan, dtype)
    assert product(X, W, out) is out
    np.testing.assert_allclose(out, X.astype(np.longdouble) @ W, atol=2000 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("N", "D", "H"), [(64, 784, 128), (8, 784, 128), (128, 784, 128), (200, 3072, 500), (200, 3072, 50)]
)
def test_a_product_has_the_same_bits_on_one_thread_and_on_all(N, D, H):
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((N, D), np.float32), rng.standard_normal((D, H), np.float32)
    on_all = product(X, W)
    with at_most_threads(1):
        np.testing.assert_array_equal(product(X, W), on_all)
