"""The NumPy engine against loss_and_gradients and the updates done one by one, and what `Engine.run` promises of any
engine (the compiled one joins where it is installed)."""

import contextlib
import importlib.util
import itertools
import tracemalloc

import numpy as np
import pytest

from twolayer.network.backprop import loss_and_gradients, penalty
from twolayer.network.model import flat_copy, flat_zeros, init_params
from twolayer.network.optim import OPTIMIZERS, Hyperparameters
from twolayer.network.settings import SolverSettings
from twolayer.solver import engine as engine_module
from twolayer.solver.engine import NonFiniteStepError, TrainingState
from twolayer.solver.solver import make_engine
from twolayer.utils import blas

HAS_NUMBA = all(importlib.util.find_spec(name) is not None for name in ("numba", "scipy"))
ENGINES = ["numpy", pytest.param("numba", marks=pytest.mark.skipif(not HAS_NUMBA, reason="numba is not installed"))]
PAIRS = [
    pytest.param(engine, name, marks=pytest.mark.skipif(engine == "numba" and not HAS_NUMBA, reason="no numba"))
    for engine in ("numpy", "numba")
    for name, row in OPTIMIZERS.items()
    if engine == "numpy" or row.compiled
]
B = 8


def new_state(optimizer="sgd", hidden=6, dtype=np.float64):
    params = init_params(5, hidden, 3, rng=np.random.default_rng(1), dtype=dtype)
    slots = [flat_zeros(5, hidden, 3, dtype) for _ in range(OPTIMIZERS[optimizer].n_slots)]
    return TrainingState(flat_copy(params), slots)


def rows(n, dtype=np.float64):
    rng = np.random.default_rng(2)
    return rng.standard_normal((n, 5)).astype(dtype), rng.integers(0, 3, n), rng.random(n).astype(dtype)


def slow_training(optimizer, X, y, weights, rates, reg, clip, hidden=6):
    """The same steps by the public functions, each array on its own."""
    params = new_state(hidden=hidden).flat.params.copy()
    row = OPTIMIZERS[optimizer]
    state = {name: tuple(np.zeros_like(q) for _ in range(row.n_slots)) for name, q in params.named().items()}
    losses, norm = [], np.nan
    for k, rate in enumerate(rates):
        part = slice(k * B, (k + 1) * B)
        w = None if weights is None else weights[part]
        loss, gradients = loss_and_gradients(params, X[part], y[part], 0 if row.decoupled else reg, weights=w)
        norm = np.sqrt(sum((g**2).sum() for g in gradients.named().values()))
        scale = 1 if clip is None or norm <= clip else clip / norm
        for name, q in params.named().items():
            if row.decoupled and name.startswith("W"):
                q *= 1 - rate * reg
            g = gradients.named()[name] * scale
            row.update(q, g, state[name], np.empty_like(q), rate, k + 1, Hyperparameters())
        losses.append(loss)
    return params, np.array(losses), norm


@pytest.mark.parametrize("hidden", [6, 0])
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("engine", "optimizer"), PAIRS)
def test_a_chunk_is_its_steps_done_one_by_one(engine, optimizer, weighted, clip, hidden):
    X, y, w = rows(8 * B - 3)  # the last batch is short
    weights = w if weighted else None
    rates = np.linspace(0.05, 0.01, 8)
    state = new_state(optimizer, hidden)
    runner = make_engine(engine, state, SolverSettings(optimizer=optimizer, reg=0.1, max_grad_norm=clip), B)
    losses = runner.run(X, y, weights, rates, measure=True, objective=True)
    params, expected, norm = slow_training(optimizer, X, y, weights, rates, 0.1, clip, hidden)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    assert runner.gradient_norm == pytest.approx(norm, rel=1e-12)
    assert state.t == 8
    for name, q in params.named().items():
        np.testing.assert_allclose(state.flat.params.named()[name], q, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("engine", "optimizer"), PAIRS)
def test_how_steps_are_divided_into_calls_changes_no_bit(engine, optimizer):
    X, y, _ = rows(12 * B, np.float32)
    rates = np.full(12, 0.02)
    vectors = []
    for cuts in ([0, 12], [0, 1, 12], [0, 5, 6, 11, 12]):
        state = new_state(optimizer, dtype=np.float32)
        runner = make_engine(engine, state, SolverSettings(optimizer=optimizer, reg=0.01), B)
        for first, last in itertools.pairwise(cuts):
            part = slice(first * B, last * B)
            runner.run(X[part], y[part], None, rates[first:last])
        vectors.append(state.flat.vector.tobytes())
    assert vectors[0] == vectors[1] == vectors[2]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_objective_adds_the_penalty_to_the_report_and_nothing_to_the_training(engine):
    X, y, _ = rows(B)
    reports, vectors = [], []
    for objective in (False, True):
        state = new_state()
        runner = make_engine(engine, state, SolverSettings(optimizer="sgd", reg=0.5), B)
        reports.append(runner.run(X, y, None, np.array([0.1]), objective=objective)[0])
        vectors.append(state.flat.vector.tobytes())
    assert reports[1] - reports[0] == pytest.approx(penalty(new_state().flat.params, 0.5))
    assert vectors[0] == vectors[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_of_zero_weight_is_skipped_and_does_not_count(engine):
    X, y, weights = rows(3 * B)
    weights[B : 2 * B] = 0
    keep = np.r_[0:B, 2 * B : 3 * B]
    rates = np.full(3, 0.1)
    skipping, without = new_state("adam"), new_state("adam")
    losses = make_engine(engine, skipping, SolverSettings(optimizer="adam"), B).run(X, y, weights, rates)
    expected = make_engine(engine, without, SolverSettings(optimizer="adam"), B).run(
        X[keep], y[keep], weights[keep], rates[:2]
    )
    assert np.isnan(losses[1])
    np.testing.assert_array_equal(losses[[0, 2]], expected)
    assert skipping.t == without.t == 2
    np.testing.assert_array_equal(skipping.flat.vector, without.flat.vector)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_skipped_batch_has_no_norm_whatever_was_measured_before(engine):
    X, y, weights = rows(B)
    runner = make_engine(engine, new_state(), SolverSettings(max_grad_norm=1.0), B)
    runner.run(X, y, weights, np.array([0.1]), measure=True)
    assert runner.gradient_norm > 0
    runner.run(X, y, 0 * weights, np.array([0.1]), measure=True)
    assert np.isnan(runner.gradient_norm)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_number_stops_before_the_update_and_says_what_went_before(engine, clip, bad):
    X, y, _ = rows(4 * B)
    X[2 * B + 3, 1] = bad
    rates = np.full(4, 0.1)
    state, good = new_state("momentum"), new_state("momentum")
    rule = SolverSettings(optimizer="momentum", reg=0.01, max_grad_norm=clip)
    with pytest.raises(NonFiniteStepError) as caught:
        make_engine(engine, state, rule, B).run(X, y, None, rates)
    expected = make_engine(engine, good, rule, B).run(X[: 2 * B], y[: 2 * B], None, rates[:2])
    np.testing.assert_array_equal(caught.value.losses, expected)
    assert not (np.isfinite(caught.value.loss) and np.isfinite(caught.value.gradient_norm))
    np.testing.assert_array_equal(state.flat.vector, good.flat.vector)
    np.testing.assert_array_equal(state.slots[0].vector, good.slots[0].vector)
    assert state.t == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_that_overflows_stops_although_the_loss_is_finite(engine):
    """W1's first row is 0, so a feature of 1e38 in it leaves the loss alone; its gradient is beyond float32."""
    X, y, _ = rows(B, np.float32)
    state = new_state(dtype=np.float32)
    state.flat.params.W1[0] = 0
    state.flat.params.W2[...] *= 1e3
    X[:, 0] = 1e38
    before = state.flat.vector.copy()
    with pytest.raises(NonFiniteStepError) as caught:
        make_engine(engine, state, SolverSettings(optimizer="sgd"), B).run(X, y, None, np.array([0.1]))
    assert np.isfinite(caught.value.loss)
    assert not np.isfinite(caught.value.gradient_norm)
    np.testing.assert_array_equal(state.flat.vector, before)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_whose_squares_overflow_is_shortened_like_any_other(engine):
    X, y, _ = rows(B, np.float32)
    state = new_state(dtype=np.float32)
    state.flat.params.W1[0] = 0
    X[:, 0] = 1e22
    _, gradients = loss_and_gradients(state.flat.params, X.astype(np.float64), y)
    norm = np.sqrt(sum((g**2).sum() for g in gradients.named().values()))
    assert 1e20 < norm < 1e30
    before = state.flat.vector.copy()
    runner = make_engine(engine, state, SolverSettings(optimizer="sgd", max_grad_norm=2.0), B)
    runner.run(X, y, None, np.array([0.5]), measure=True)
    assert runner.gradient_norm == pytest.approx(norm, rel=1e-5)
    assert np.linalg.norm(state.flat.vector - before) == pytest.approx(0.5 * 2.0, rel=1e-5)


def test_a_step_allocates_nothing_of_the_size_of_the_work():
    params = init_params(400, 300, 10, rng=np.random.default_rng(0))
    state = TrainingState(flat_copy(params), [flat_zeros(400, 300, 10, np.float32)])
    runner = make_engine("numpy", state, SolverSettings(optimizer="momentum", reg=0.1), 200)
    X, y = np.ones((200, 400), np.float32), np.zeros(200, np.intp)
    runner.run(X, y, None, np.array([0.1]))
    tracemalloc.start()
    runner.run(X, y, None, np.array([0.1]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000  # A1 alone is 240,000 bytes, W1 480,000


@pytest.mark.parametrize("same_bits", [True, False])
def test_only_full_batches_whose_bits_stay_the_same_are_limited_to_one_blas_thread(monkeypatch, same_bits):
    limits = []

    @contextlib.contextmanager
    def noted(limit):
        limits.append(limit)
        yield

    for module in (engine_module, blas):
        monkeypatch.setattr(module, "at_most_threads", noted)
    monkeypatch.setattr(engine_module, "usable_threads", lambda: 2)
    monkeypatch.setattr(engine_module.NumpyEngine, "_threads_change_no_bit", lambda self: same_bits)
    params = init_params(100, 200, 3, rng=np.random.default_rng(0))
    runner = make_engine("numpy", TrainingState(flat_copy(params), []), SolverSettings(), 150)
    assert engine_module.ONE_THREAD <= 2 * 150 * 100 * 200 < engine_module.WORTH_THREADS
    X, y = np.ones((300, 100), np.float32), np.zeros(300, np.intp)
    runner.run(X, y, None, np.full(2, 0.1))
    assert limits[0] == (1 if same_bits else None)
    limits.clear()
    runner.run(X[:149], y[:149], None, np.full(1, 0.1))
    assert limits[0] is None
