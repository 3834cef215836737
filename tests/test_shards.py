"""The compiled engine's shards: the same bits on any number of threads, and the threads' sleep, return and end."""

import gc
import itertools
import math
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

from twolayer.network.model import flat_copy, flat_zeros, init_params
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.settings import SolverSettings
from twolayer.solver.compiled import engine, partition, sync, updates
from twolayer.solver.engine import NonFiniteStepError, TrainingState
from twolayer.solver.solver import make_engine

D, H, C, B = 70, 60, 5, 24
TYPES = [np.float32, np.float64]
units_and_features = pytest.mark.parametrize("by_features", [False, True], ids=["units", "features"])


@pytest.fixture
def shards(monkeypatch):
    """Says how many shards the engines made from now on have, of what, and how many threads they run on.

    Threads never part, unless `patience` is below 0: then they always part after the second step.
    """
    monkeypatch.setattr(engine, "WORTH_WAKING", 0)
    monkeypatch.setattr(engine, "RECOVERY", 0)

    def choose(number, by_features=False, threads=8, patience=1 << 62):
        monkeypatch.setattr(engine, "split_for", lambda *_: partition.Partition(number, by_features))
        monkeypatch.setattr(engine, "usable_threads", lambda: threads)
        monkeypatch.setattr(engine, "PATIENCE", patience)

    return choose


def rows(dtype, n=5 * B - 7, features=D):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, features)).astype(dtype), rng.integers(0, C, n)


def engine_of(dtype, rule, name="numba", limit=math.inf):
    start = init_params(D, H, C, rng=np.random.default_rng(1), dtype=dtype)
    slots = [flat_zeros(D, H, C, dtype) for _ in range(OPTIMIZERS[rule.optimizer].n_slots)]
    return make_engine(name, TrainingState(flat_copy(start), slots), rule, B, limit)


def numbers(engine):
    return [engine.state.flat.vector, *(slot.vector for slot in engine.state.slots)]


def helper_threads():
    return {each for each in threading.enumerate() if each.name.startswith("twolayer helper")}


VARIANTS = {
    "plain": {},
    "clipping": {"max_grad_norm": 0.1},
    "measured": {},
    "weights, two batches skipped": {},
    "whole objective": {},
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("optimizer", updates.CODES)
@units_and_features
def test_three_shards_train_as_the_numpy_engine(shards, by_features, optimizer, variant, dtype):
    shards(3, by_features)
    X, y = rows(dtype)
    weights = np.linspace(0, 2, len(y)).astype(dtype) if variant.startswith("weights") else None
    if weights is not None:
        weights[: 2 * B] = 0
    results = []
    for name in ("numba", "numpy"):
        engine = engine_of(dtype, SolverSettings(optimizer=optimizer, reg=0.1, **VARIANTS[variant]), name)
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


def train_in_chunks(optimizer, by_features, dtype, chunks, choose, clip=None):
    """Train 12 batches of a fixed seed. `chunks`: (steps, threads, patience) of each call of run."""
    X, y = rows(dtype, 12 * B - 5)
    choose(4, by_features)
    made = engine_of(dtype, SolverSettings(optimizer=optimizer, reg=0.1, max_grad_norm=clip))
    first, losses = 0, []
    for steps_of_chunk, threads, patience in chunks:
        choose(4, by_features, threads)
        made._fixed = (made._fixed[0]._replace(patience=patience), *made._fixed[1:])
        last = first + steps_of_chunk
        part = slice(first * B, last * B)
        losses.append(made.run(X[part], y[part], None, np.full(steps_of_chunk, 0.01), measure=last == 12))
        first = last
    return [np.concatenate(losses), np.array(made.gradient_norm), *numbers(made)]


NEVER, AT_ONCE = 1 << 62, -1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.1])
@units_and_features
def test_bits_do_not_depend_on_threads_on_chunks_or_on_when_threads_part(shards, by_features, clip, optimizer, dtype):
    alone = train_in_chunks(optimizer, by_features, dtype, [(12, 1, NEVER)], shards, clip)
    for chunks in (
        [(12, 2, NEVER)],
        [(12, 3, NEVER)],
        [(12, 16, NEVER)],
        [(12, 4, AT_ONCE)],
        [(1, 2, NEVER), (4, 1, NEVER), (5, 3, AT_ONCE), (2, 4, NEVER)],
    ):
        for ours, theirs in zip(
            train_in_chunks(optimizer, by_features, dtype, chunks, shards, clip), alone, strict=True
        ):
            assert ours.tobytes() == theirs.tobytes(), chunks


def test_threads_take_part_and_part_after_the_second_step_where_the_first_loses_patience(shards):
    X, y = rows(np.float32)
    for patience, parted_after in ((NEVER, None), (AT_ONCE, 2)):
        shards(3, threads=3, patience=patience)
        made = engine_of(np.float32, SolverSettings())
        made.run(X, y, None, np.full(5, 0.01))
        orders = made._fixed[0].orders
        assert orders[sync.THREADS] == 3
        last = orders[sync.LAST_BARRIER] - orders[sync.CHUNK] * sync.ARRIVAL
        assert (last == parted_after) if parted_after else (orders[sync.LAST_BARRIER] < 0)


def test_after_a_loss_the_first_thread_works_alone_for_a_while(shards, monkeypatch):
    shards(2, threads=2, patience=AT_ONCE)
    made = engine_of(np.float32, SolverSettings())
    X, y = rows(np.float32)
    made.run(X, y, None, np.full(5, 0.01))
    assert made._threads_now(5) == 2
    monkeypatch.setattr(engine, "RECOVERY", 1 << 40)
    made._recovery = 1
    made.run(X, y, None, np.full(5, 0.01))
    assert made._threads_now(5) == 1


@pytest.fixture
def chunk_of(shards, monkeypatch):
    """Returns an engine and a function that has it believe in a chunk of 5 steps: when it began and ended, in ticks,
    and what was lost in waiting; it returns the ticks that this chunk might have lost."""
    shards(2, threads=2, patience=100)
    monkeypatch.setattr(engine, "RECOVERY", 32)
    made, (X, y), teams, times = engine_of(np.float32, SolverSettings()), rows(np.float32), [], []

    def steps(team, shards, rule, gemm, chunk, thread, *rest):
        if thread == 0:
            teams.append(team)
            team.times[:] = times
        return 0, 5, 5, 0.0

    def run(*given):
        times[:] = given
        made.run(X, y, None, np.full(5, 0.01))
        return teams[-1].patience

    monkeypatch.setattr(engine, "run_steps", steps)
    return made, run


def test_a_loss_soon_after_another_doubles_the_time_alone(chunk_of):
    made, run = chunk_of
    times_alone, began = [], 10**9
    for _ in range(7):
        run(began, began + 300, 100)
        times_alone.append((made._alone_until - began - 300) / 100)
        began = made._alone_until
    assert times_alone == [1, 2, 4, 8, 16, 32, 32]
    began += 1000
    run(began, began + 300, 100)  # a rare loss
    assert made._alone_until == began + 400


def test_a_long_chunk_may_lose_a_sixteenth_of_its_time(chunk_of):
    _, run = chunk_of
    assert run(0, 16_000, 0) == 100
    assert run(16_000, 16_100, 0) == 1000
    assert run(16_100, 16_200, 0) == 100


def test_a_system_without_more_threads_is_no_obstacle(shards, monkeypatch):
    shards(2, threads=2)
    X, y = rows(np.float32)
    made, twin = engine_of(np.float32, SolverSettings()), engine_of(np.float32, SolverSettings())

    def refuse(self):
        raise RuntimeError("can't start new thread")

    made.run(X, y, None, np.full(5, 0.01))
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        twin.run(X, y, None, np.full(5, 0.01))
    assert made.state.flat.vector.tobytes() == twin.state.flat.vector.tobytes()


def test_ctrl_c_before_a_chunk_sends_the_helpers_home(shards, monkeypatch):
    shards(2, threads=2)
    made, twin = engine_of(np.float32, SolverSettings()), engine_of(np.float32, SolverSettings())
    X, y = rows(np.float32)
    call = made._call

    def interrupted(*given):
        call(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(made, "_call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.run(X, y, None, np.full(5, 0.01))
    wait_until(idle)
    for each in (made, twin):
        each.run(X, y, None, np.full(5, 0.01))
    assert made.state.flat.vector.tobytes() == twin.state.flat.vector.tobytes()


def test_threads_follow_the_affinity_of_the_process(shards, monkeypatch):
    shards(4, threads=3)
    made = engine_of(np.float32, SolverSettings())
    assert made._threads_now(5) == 3
    monkeypatch.setattr(engine, "usable_threads", lambda: 1)
    assert made._threads_now(5) == 1
    monkeypatch.setattr(engine, "usable_threads", lambda: 8)
    monkeypatch.setattr(engine, "WORTH_WAKING", 1 << 60)
    assert made._threads_now(5) == 1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("optimizer", updates.CODES)
@pytest.mark.parametrize("split", [(1, False), (2, False), (2, True)])
def test_measuring_and_a_known_limit_of_the_rows_change_no_bit(shards, split, optimizer, dtype):
    shards(*split)
    X, y = rows(dtype)
    settings = SolverSettings(optimizer=optimizer, reg=0.1)
    measured, known, plain = (engine_of(dtype, settings, limit=limit) for limit in (math.inf, 9, 1e20))
    measured.run(X, y, None, np.full(5, 0.01), measure=True, objective=True)
    known.run(X, y, None, np.full(5, 0.01))
    plain.run(X, y, None, np.full(5, 0.01))
    for other in (measured, known):
        for ours, theirs in zip(numbers(other), numbers(plain), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("limit", [math.inf, 9], ids=["rows read", "limit known"])
@pytest.mark.parametrize("bad", ["rows", "first weights", "second weights", "bias"])
@units_and_features
def test_a_step_that_is_not_finite_stops_all_threads_and_leaves_the_good_ones_before_it(
    shards, by_features, bad, limit
):
    shards(2, by_features)
    X, y = rows(np.float32)
    # Where the limit was known, the row has changed since.
    broken, good = (engine_of(np.float32, SolverSettings(optimizer="adam", reg=0.1), limit=limit) for _ in range(2))
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


@pytest.mark.parametrize("large", ["a bias", "a feature"])
@units_and_features
def test_what_one_shard_alone_finds_large_makes_no_difference(shards, by_features, large):
    shards(2, by_features)
    X, y = rows(np.float32, B)
    if large == "a feature":
        X[:, -1] = 1e17
    results = []
    for name in ("numba", "numpy"):
        engine = engine_of(np.float32, SolverSettings(optimizer="momentum"), name)
        if large == "a bias":
            engine.state.flat.params.b1[-1] = -1e17  # its unit never fires
        else:
            engine.state.flat.params.W1[-1] = 0
        engine.run(X, y, None, np.full(1, 0.01))
        results.append(numbers(engine))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@units_and_features
def test_a_gradient_that_overflows_behind_a_finite_loss_is_found(shards, by_features):
    shards(2, by_features)
    X, y = rows(np.float32, B)
    X[:, -1] = 3e38
    engine = engine_of(np.float32, SolverSettings())
    engine.state.flat.params.W1[-1] = 0
    engine.state.flat.params.W2[...] *= 1000
    before = engine.state.flat.vector.copy()
    with pytest.raises(NonFiniteStepError) as error:
        engine.run(X, y, None, np.full(1, 0.01))
    assert np.isfinite(error.value.loss)
    np.testing.assert_array_equal(engine.state.flat.vector, before)


def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def idle():
    """Return True if no thread of this process spins."""
    began = time.process_time()
    time.sleep(0.1)
    return time.process_time() - began < 0.05


def test_idle_threads_sleep_then_work_again_and_end_with_their_engine(shards):
    shards(3)
    before = helper_threads()
    X, y = rows(np.float32)
    engine = engine_of(np.float32, SolverSettings())
    assert helper_threads() <= before  # an engine that never runs starts none
    for _ in range(3):
        assert np.isfinite(engine.run(X, y, None, np.full(5, 0.01))).all()
        assert len(helper_threads() - before) == 2
        wait_until(idle)
    del engine
    gc.collect()
    wait_until(lambda: helper_threads() <= before)


FORKED = """
import os, time
import numpy as np
import twolayer.solver.compiled.engine
from twolayer.solver.compiled.partition import Partition
from twolayer.network.settings import SolverSettings
from twolayer.solver.engine import TrainingState
from twolayer.network.model import flat_copy, init_params
twolayer.solver.compiled.engine.split_for = lambda *_: Partition(2, False)
twolayer.solver.compiled.engine.WORTH_WAKING = 0
twolayer.solver.compiled.engine.PATIENCE = 1 << 62
twolayer.solver.compiled.engine.usable_threads = lambda: 2
rng = np.random.default_rng(0)
X, y, start = rng.standard_normal((96, 20), np.float32), rng.integers(0, 5, 96), init_params(20, 70, 5, rng=rng)
engine, twin = (
    twolayer.solver.compiled.engine.NumbaEngine(TrainingState(flat_copy(start), []), SolverSettings(), 24)
    for _ in range(2)
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
def test_an_engine_still_works_in_a_process_forked_from_its_own():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("dtype", TYPES)
def test_shards_cover_the_first_weights_once_and_begin_on_cache_lines(dtype):
    seen = set()
    for features, hidden in itertools.product((64, 784, 3072), (16, 31, 32, 50, 100, 128, 500, 1024)):
        for batch in (1, 32, 512):
            split = partition.split_for(features, hidden, 3, batch, np.dtype(dtype))
            seen.add((split.shards > 1, split.by_features))
            state = TrainingState(flat_zeros(features, hidden, 3, dtype), [])
            made = partition.shards_of(state, 1, split)
            owners = np.zeros((features, hidden), int)
            for begin, end in made.at[:, [partition.BEGIN, partition.END]]:
                assert begin < end
                owners[(slice(begin, end), slice(None)) if split.by_features else (slice(None), slice(begin, end))] += 1
                assert begin * np.dtype(dtype).itemsize % 64 == 0
            assert (owners == 1).all()
    assert seen == {(False, False), (True, False), (True, True)}


def test_tiny_networks_and_those_without_hidden_units_are_one_shard():
    assert partition.split_for(4, 10, 3, 5, np.dtype(np.float32)).shards == 1
    assert partition.split_for(64, 32, 10, 64, np.dtype(np.float32)).shards == 1
    assert partition.split_for(784, 0, 10, 512, np.dtype(np.float32)).shards == 1


def test_features_are_not_sharded_where_most_work_comes_after_them():
    assert partition.split_for(784, 16, 10, 64, np.dtype(np.float32)) == (4, True)
    assert partition.split_for(784, 16, 500, 64, np.dtype(np.float32)) == (1, False)
    assert partition.split_for(784, 32, 200, 64, np.dtype(np.float32)) == (2, False)
