"""The compiled engine's lanes: the same training on several threads, and the threads' sleep, return and end."""

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

import twolayer.compiled
from twolayer.compiled import shares
from twolayer.engine import NonFiniteStepError, TrainingState, UpdateRule
from twolayer.engines import make_engine
from twolayer.model import flat_copy, flat_zeros, init_params
from twolayer.optim import OPTIMIZERS

D, H, C, B = 20, 70, 5, 24
TYPES = [np.float32, np.float64]


@pytest.fixture
def lanes(monkeypatch):
    """Says how many lanes the engines made from now on have."""
    return lambda number: monkeypatch.setattr(twolayer.compiled, "lanes_for", lambda *_: number)


def rows(dtype, n=5 * B - 7, features=D):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, features)).astype(dtype), rng.integers(0, C, n)


def engine_of(dtype, rule, name="numba", hidden=H, features=D):
    start = init_params(features, hidden, C, rng=np.random.default_rng(1), dtype=dtype)
    slots = [flat_zeros(features, hidden, C, dtype) for _ in range(OPTIMIZERS[rule.optimizer].n_slots)]
    return make_engine(name, TrainingState(flat_copy(start), slots), rule, B)


def numbers(engine):
    return [engine.state.flat.vector, *(slot.vector for slot in engine.state.slots)]


def crew_threads():
    return {each for each in threading.enumerate() if each.name.startswith("twolayer lane")}


VARIANTS = {
    "plain": {},
    "clipping": {"max_grad_norm": 0.1},
    "measured": {},
    "weights, two batches skipped": {},
    "whole objective": {},
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_three_lanes_train_as_the_numpy_engine(lanes, optimizer, variant, dtype):
    lanes(3)
    X, y = rows(dtype)
    weights = np.linspace(0, 2, len(y)).astype(dtype) if variant.startswith("weights") else None
    if weights is not None:
        weights[: 2 * B] = 0
    results = []
    for name in ("numba", "numpy"):
        engine = engine_of(dtype, UpdateRule(optimizer, reg=0.1, **VARIANTS[variant]), name)
        losses = [
            engine.run(
                X, y, weights, np.full(5, 0.01), measure=variant == "measured", objective=variant == "whole objective"
            )
            for _ in range(2)
        ]
        results.append((*losses, *numbers(engine), engine.gradient_norm if variant == "measured" else 0.0))
        assert engine.state.t == (6 if weights is not None else 10)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_lanes_update_large_networks_piece_by_piece(lanes, optimizer):
    lanes(2)
    features, hidden = 700, 260
    assert features * 128 > twolayer.compiled.steps.PIECE
    X, y = rows(np.float64, features=features)
    results = []
    for name in ("numba", "numpy"):
        engine = engine_of(np.float64, UpdateRule(optimizer, reg=0.1), name, hidden, features)
        engine.run(X, y, None, np.full(5, 0.01))
        results.append(numbers(engine))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_the_same_lanes_give_the_same_bits_however_the_steps_are_divided_into_calls(lanes):
    lanes(3)
    X, y = rows(np.float32, 6 * B)
    whole, divided = (engine_of(np.float32, UpdateRule("momentum", reg=0.1)) for _ in range(2))
    whole.run(X, y, None, np.full(6, 0.01))
    for first, last in ((0, 1), (1, 4), (4, 6)):
        divided.run(X[first * B : last * B], y[first * B : last * B], None, np.full(last - first, 0.01))
    for ours, theirs in zip(numbers(whole), numbers(divided), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("number", [1, 2])
def test_measuring_changes_no_bit(lanes, number, optimizer, dtype):
    lanes(number)
    X, y = rows(dtype)
    measured, plain = (engine_of(dtype, UpdateRule(optimizer, reg=0.1)) for _ in range(2))
    measured.run(X, y, None, np.full(5, 0.01), measure=True, objective=True)
    plain.run(X, y, None, np.full(5, 0.01))
    for ours, theirs in zip(numbers(measured), numbers(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bad", ["rows", "first weights", "second weights", "bias"])
def test_a_step_that_is_not_finite_stops_all_lanes_and_leaves_the_good_ones_before_it(lanes, bad):
    lanes(2)
    X, y = rows(np.float32)
    broken, good = (engine_of(np.float32, UpdateRule("adam", reg=0.1)) for _ in range(2))
    params = broken.state.flat.params
    if bad == "rows":
        X[3 * B + B - 1, 3] = np.nan
        good.run(X[: 3 * B], y[: 3 * B], None, np.full(3, 0.01))
    else:
        view = {"first weights": params.W1[2:3, H - 1], "second weights": params.W2[H - 1], "bias": params.b2}[bad]
        view[0] = np.inf
    before = [each.copy() for each in numbers(good if bad == "rows" else broken)]
    with pytest.raises(NonFiniteStepError) as error:
        broken.run(X, y, None, np.full(5, 0.01))
    assert len(error.value.losses) == (3 if bad == "rows" else 0)
    for ours, theirs in zip(numbers(broken), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if bad != "rows":
        params.W1[...], params.W2[...], params.b2[...] = 0.01, 0.01, 0
        assert np.isfinite(broken.run(*rows(np.float32), None, np.full(5, 0.01))).all()


def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def idle():
    """Whether no thread of this process spins."""
    began = time.process_time()
    time.sleep(0.1)
    return time.process_time() - began < 0.05


def test_threads_sleep_when_there_is_nothing_to_do_go_on_afterwards_and_end_with_their_engine(lanes):
    lanes(3)
    before = crew_threads()
    X, y = rows(np.float32)
    engine = engine_of(np.float32, UpdateRule())
    assert crew_threads() <= before  # an engine that never runs starts none
    for _ in range(3):
        assert np.isfinite(engine.run(X, y, None, np.full(5, 0.01))).all()
        assert len(crew_threads() - before) == 2
        wait_until(idle)
    del engine
    gc.collect()
    wait_until(lambda: crew_threads() <= before)


FORKED = """
import os, time
import numpy as np
import twolayer.compiled
from twolayer.engine import TrainingState, UpdateRule
from twolayer.model import flat_copy, init_params
twolayer.compiled.lanes_for = lambda *_: 2
rng = np.random.default_rng(0)
X, y, start = rng.standard_normal((96, 20), np.float32), rng.integers(0, 5, 96), init_params(20, 70, 5, rng=rng)
engine, twin = (
    twolayer.compiled.NumbaEngine(TrainingState(flat_copy(start), []), UpdateRule(), 24) for _ in range(2)
)
for each in (engine, twin):
    each.run(X, y, None, np.full(4, 0.01))
child = os.fork()
for each in (engine, twin):
    each.run(X, y, None, np.full(4, 0.01))
assert (engine.state.flat.vector == twin.state.flat.vector).all()
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_an_engine_goes_on_in_a_process_forked_from_its_own():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("dtype", TYPES)
def test_shares_cover_all_units_once_and_begin_on_cache_lines(dtype):
    for hidden in (16, 31, 32, 50, 100, 128, 500, 1024):
        for threads in (1, 2, 3, 8, 64):
            for batch in (1, 32, 512):
                number = shares.lanes_for(784, hidden, batch, np.dtype(dtype), threads)
                assert 1 <= number <= threads
                state = TrainingState(flat_zeros(784, hidden, 10, dtype), [])
                parts = [shares.share_of(state, batch, lane, number) for lane in range(number)]
                assert sum(part.sizes[1] for part in parts) == hidden
                assert min(part.sizes[1] for part in parts) > 0
                ends = np.cumsum([part.sizes[1] for part in parts])
                assert [part.column for part in parts] == [0, *ends[:-1]]
                assert all(part.column * np.dtype(dtype).itemsize % 64 == 0 for part in parts)


def test_tiny_networks_and_those_without_hidden_units_have_one_lane():
    assert shares.lanes_for(4, 10, 5, np.dtype(np.float32), 8) == 1
    assert shares.lanes_for(784, 0, 512, np.dtype(np.float32), 8) == 1
