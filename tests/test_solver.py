"""The solver against plain descriptions of what it should do: written-out loops, invariants, properties."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
from dataclasses import fields

import numpy as np
import pytest

from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Params, init_params
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.schedules import SCHEDULES
from twolayer.network.settings import MONITORS, SolverSettings
from twolayer.runs.logs import HISTORY_COLUMNS
from twolayer.solver.solver import Solver
from twolayer.solver.state import Best
from twolayer.utils.errors import DivergedError, MonitorError
from twolayer.utils.randomness import generator

D, H, C, N = 5, 7, 3, 53
HAS_NUMBA = importlib.util.find_spec("numba") is not None
ENGINES = ["numpy", pytest.param("numba", marks=pytest.mark.skipif(not HAS_NUMBA, reason="numba is not installed"))]


@pytest.fixture
def problem():
    rng = np.random.default_rng(7)
    X = rng.standard_normal((N, D))
    y = rng.integers(0, C, N)
    return init_params(D, H, C, rng=rng, dtype=np.float64), X, y


def same(a: Params, b: Params) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.named().values(), b.named().values(), strict=True))


def test_an_unshuffled_epoch_of_sgd_is_equation_13_batch_by_batch(problem):
    params, X, y = problem
    by_hand = params.copy()
    for start in range(0, N, 10):
        _, gradients = loss_and_gradients(by_hand, X[start : start + 10], y[start : start + 10], reg=0.01)
        for Q, dQ in zip(by_hand, gradients, strict=True):
            Q -= 0.3 * dQ
    solver = Solver(params, X, y, optimizer="sgd", learning_rate=0.3, reg=0.01, batch_size=10, epochs=1, shuffle=False)
    list(solver)
    for ours, theirs in zip(solver.params, by_hand, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def test_the_initial_parameters_are_left_as_they_were(problem):
    params, X, y = problem
    before = params.copy()
    list(Solver(params, X, y, epochs=2))
    assert same(params, before)


class SeenRows:
    """Rows that remember which of them were asked for."""

    def __init__(self, X):
        self.X, self.shape, self.seen = X, X.shape, []

    def take(self, rows, out):
        self.seen.append(rows.copy())
        np.take(self.X, rows, axis=0, out=out)


@pytest.mark.parametrize("batch_size", [1, 10, 53, 1000])
def test_an_epoch_visits_every_row_once_in_a_new_order(problem, batch_size):
    params, X, y = problem
    rows = SeenRows(X)
    solver = Solver(params, rows, y, batch_size=batch_size, epochs=2, validation=(X, y), evaluate_rows=1)
    orders = []
    for chunk in solver.run():
        if chunk.record is not None:
            seen = np.concatenate(rows.seen)
            orders.append(seen[:-1])  # the last one is the evaluation's
            rows.seen.clear()
    assert all(sorted(order) == list(range(N)) for order in orders)
    assert not np.array_equal(*orders)


def test_the_short_last_batch_is_averaged_over_its_own_size(problem):
    params, X, y = problem
    solver = Solver(params, X, y, batch_size=50, epochs=1, shuffle=False, learning_rate=1e-300)
    losses = np.concatenate([chunk.losses for chunk in solver.run()])
    expected = [loss_and_gradients(params, X[rows], y[rows])[0] for rows in (slice(0, 50), slice(50, 53))]
    np.testing.assert_allclose(losses, expected, rtol=1e-13)


def test_reported_losses_are_at_the_same_weights_after_the_epoch(problem):
    params, X, y = problem
    solver = Solver(params, X, y, validation=(X[:20], y[:20]), epochs=1, reg=0.1)
    (record,) = list(solver)
    assert record["train_loss"] == pytest.approx(loss_and_gradients(solver.params, X, y)[0], rel=1e-13)
    assert record["val_loss"] == pytest.approx(loss_and_gradients(solver.params, X[:20], y[:20])[0], rel=1e-13)
    whole = loss_and_gradients(solver.params, X, y, reg=0.1)[0]
    assert record["train_loss"] + record["penalty"] == pytest.approx(whole, rel=1e-13)


def test_gradient_norm_and_update_ratio_are_those_of_the_last_step(problem):
    params, X, y = problem
    solver = Solver(params, X, y, epochs=1, batch_size=N, shuffle=False, reg=0.2, learning_rate=0.5)
    (record,) = list(solver)
    _, gradients = loss_and_gradients(params, X, y, reg=0.2)
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    assert record["gradient_norm"] == pytest.approx(norm, rel=1e-12)
    ratio = 0.5 * np.linalg.norm(gradients.W1) / np.linalg.norm(params.W1)
    assert record["update_ratio_W1"] == pytest.approx(ratio, rel=1e-10)


def test_clipping_bounds_the_joint_norm_of_the_step(problem):
    params, X, y = problem
    solver = Solver(params, X, y, epochs=1, batch_size=N, max_grad_norm=0.01, learning_rate=1.0, reg=0.1)
    list(solver)
    moved = math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in zip(solver.params, params, strict=True)))
    assert moved == pytest.approx(0.01, rel=1e-10)


def test_class_weights_are_the_same_as_repeated_rows(problem):
    params, X, y = problem
    times = np.array([1, 3, 2])
    rows = np.repeat(np.arange(N), times[y])
    weighted = Solver(params, X, y, class_weights=times, batch_size=N, epochs=3, shuffle=False)
    repeated = Solver(params, X[rows], y[rows], batch_size=len(rows), epochs=3, shuffle=False)
    list(weighted), list(repeated)
    for a, b in zip(weighted.params, repeated.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_row_weights_of_zero_take_rows_out_and_an_empty_batch_is_skipped(problem):
    params, X, y = problem
    weights = np.ones(N)
    weights[10:20] = 0  # the whole second batch
    weights[25] = 0
    kept = np.r_[0:10, 20:25, 26:30]
    solver = Solver(
        params, X[:30], y[:30], row_weights=weights[:30], batch_size=10, epochs=1, shuffle=False, optimizer="adam"
    )
    losses = np.concatenate([chunk.losses for chunk in solver.run()])
    assert np.isnan(losses[1])
    assert not np.isnan(losses[[0, 2]]).any()
    plain = Solver(params, X[kept], y[kept], batch_size=10, epochs=1, shuffle=False, optimizer="adam")
    list(plain)
    for a, b in zip(solver.params, plain.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_the_best_parameters_are_those_of_the_best_epoch(problem):
    params, X, y = problem
    solver = Solver(
        params, X[:30], y[:30], validation=(X[30:], y[30:]), epochs=30, monitor="val_loss", learning_rate=0.5
    )
    copies, values = [], []
    for record in solver:
        copies.append(solver.params.copy())
        values.append(record["val_loss"])
    best = int(np.argmin(values))
    assert solver.progress.best.epoch == best + 1 < 30
    assert same(solver.best_params, copies[best])


def records_of(column, values, losses=None):
    losses = values if losses is None else losses
    for epoch, (value, loss) in enumerate(zip(values, losses, strict=True), 1):
        yield {column: value, "val_loss": loss, "epoch": epoch, "step": 10 * epoch}


def counts(column, values, losses=None, min_delta=0.0):
    """The state after each epoch."""
    best = Best(column, "val_loss")
    return [best := best.after_epoch(record, min_delta) for record in records_of(column, values, losses)]


def test_patience_counts_epochs_without_improvement_of_the_monitor(problem):
    params, X, y = problem
    validation = X[30:], y[30:]
    solver = Solver(params, X[:30], y[:30], validation=validation, epochs=500, learning_rate=0.5, patience=4)
    values = [record["val_accuracy"] for record in solver]
    assert solver.progress.stopped_early
    assert len(values) - (int(np.argmax(values)) + 1) == 4


def test_a_tie_moves_the_best_parameters_and_not_the_count():
    states = counts("val_accuracy", [0.5, 0.5, 0.4, 0.5, 0.5], losses=[3.0, 2.0, 0.1, 2.5, 1.0])
    assert [state.epoch for state in states] == [1, 2, 2, 2, 5]
    assert [state.bad_epochs for state in states] == [0, 1, 2, 3, 4]


def test_an_improvement_must_exceed_min_delta_since_the_last_one():
    states = counts("val_loss", [1.0, 0.95, 0.9, 0.85, 0.75], min_delta=0.125)
    assert [state.bad_epochs for state in states] == [0, 1, 2, 0, 1]
    assert [state.epoch for state in states] == [1, 2, 3, 4, 5], "the best parameters follow every better value"


def test_a_value_that_is_not_finite_is_no_improvement():
    states = counts("val_accuracy", [0.5, math.nan, math.inf, None, 0.6])
    assert [state.bad_epochs for state in states] == [0, 1, 2, 3, 0]
    assert states[3].value == 0.5


@pytest.mark.parametrize("min_delta", [0.0, 3.0])
def test_patience_stops_where_keras_counting_does(min_delta):
    """Its rule, written out: an improvement is beyond min_delta, the training stops when patience epochs had none."""
    values = np.random.default_rng(0).integers(0, 30, 60).astype(float)
    best, wait = math.inf, 0
    for value, state in zip(values, counts("val_loss", list(values), min_delta=min_delta), strict=True):
        wait += 1
        if value < best - min_delta:
            best, wait = value, 0
        assert state.bad_epochs == wait


def test_plateau_is_pytorchs_reduce_on_plateau_with_one_epoch_less(problem):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.4)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=2, threshold=0)
    values = np.random.default_rng(0).integers(0, 30, 60).astype(float)
    scores = iter(values)
    solver = Solver(
        *problem, score=lambda params: next(scores), monitor="score", schedule="plateau", factor=0.5,
        plateau_patience=3, learning_rate=0.4, epochs=len(values),
    )  # fmt: skip
    for value, record in zip(values, solver, strict=True):
        assert record["learning_rate"] == pytest.approx(optimizer.param_groups[0]["lr"])
        theirs.step(value)
    assert solver.progress.plateau_scale < 0.1


@pytest.mark.parametrize(("patience", "words"), [(5, "patience 5 stops the training before"), (6, None)])
def test_a_drop_that_patience_makes_unreachable_is_warned_about(problem, patience, words):
    expected = pytest.warns(UserWarning, match=words) if words else contextlib.nullcontext()
    with expected:
        Solver(*problem, schedule="plateau", plateau_patience=5, patience=patience, epochs=1)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_monitor_without_a_number_is_an_error_after_the_first_epoch(problem, value):
    solver = Solver(*problem, score=lambda params: value, monitor="score", epochs=5)
    with pytest.raises(MonitorError, match=f"monitor 'score': expected a number after the first epoch, got {value}"):
        list(solver)
    assert solver.progress.epoch == 0


def test_auc_with_validation_rows_of_one_class_is_an_error(problem):
    _, X, y = problem
    params = init_params(D, H, 2, rng=np.random.default_rng(0), dtype=np.float64)
    y = y % 2
    solver = Solver(params, X, y, validation=(X[y == 0], y[y == 0]), monitor="val_auc", epochs=5)
    with pytest.raises(MonitorError, match="monitor 'val_auc': expected a number .* got None"):
        list(solver)


def test_a_training_that_is_never_finite_keeps_the_initial_parameters(problem):
    params, X, y = problem
    solver = Solver(params, X * 1e150, y, learning_rate=1e300)
    with pytest.raises(DivergedError, match=r"diverged at step \d+: loss .* at learning rate 1e\+300 .*data.scale"):
        list(solver)
    assert same(solver.best_params, params)


@pytest.mark.parametrize("monitor", ["val_accuracy", "train_loss", "weight_norm_W1"])
def test_any_column_can_be_monitored(problem, monitor):
    params, X, y = problem
    solver = Solver(params, X, y, validation=(X, y), epochs=5, monitor=monitor, reg=0.1)
    column = [record[monitor] for record in solver]
    assert solver.progress.best.value == (max(column) if monitor.endswith("accuracy") else min(column))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_state_saved_between_any_two_chunks_continues_to_the_same_bits(problem, optimizer, schedule, monkeypatch):
    params, X, y = problem
    monkeypatch.setattr("twolayer.solver.engine.CHUNK_BYTES", 2 * 4 * D * 8)  # two batches a chunk
    settings = {
        "optimizer": optimizer, "schedule": schedule, "learning_rate": 0.05, "reg": 0.01, "batch_size": 4, "epochs": 4,
        "warmup_epochs": 0.5, "plateau_patience": 1, "monitor": "val_loss", "patience": 3, "max_grad_norm": 0.5,
    }  # fmt: skip

    def new_solver():
        return Solver(
            params, X[:40], y[:40], validation=(X[40:], y[40:]), class_weights=np.array([1, 2, 0.5]), **settings
        )

    straight = new_solver()
    whole = list(straight)
    n_events = sum(1 for _ in new_solver().run())
    assert n_events > 16
    for stop_after in range(1, n_events, 5):
        stopped = new_solver()
        first = list(itertools.islice(stopped.run(), stop_after))
        arrays = {name: array.copy() for name, array in stopped.state_arrays().items()}
        header = json.loads(json.dumps(stopped.state_header()))
        resumed = new_solver()
        resumed.restore(arrays, header, same_rows=True)
        records = [chunk.record for chunk in first if chunk.record is not None] + list(resumed)
        assert records == whole
        assert same(resumed.params, straight.params)
        assert same(resumed.best_params, straight.best_params)
        assert resumed.progress == straight.progress


@pytest.mark.parametrize("engine", ENGINES)
def test_an_epoch_whose_last_batch_weighs_nothing_has_no_gradient_norm_and_resumes_to_the_same_bits(problem, engine):
    params, X, y = problem
    y = np.where(np.arange(N) >= 48, 2, y % 2)  # unshuffled, the last batch is all of class 2
    settings = {"class_weights": np.array([1, 1, 0.0]), "batch_size": 8, "shuffle": False}
    straight = Solver(params, X, y, epochs=3, engine=engine, **settings)
    whole = list(straight)
    assert [record["gradient_norm"] for record in whole] == [None] * 3
    first, second = (Solver(params, X, y, epochs=3, engine=engine, **settings) for _ in range(2))
    next(iter(first))
    second.restore(first.state_arrays(), first.state_header(), same_rows=True)
    assert list(second) == whole[1:]
    assert same(second.best_params, straight.best_params)


def test_a_solver_that_has_run_takes_the_checkpoint_of_another_training(problem):
    params, X, y = problem
    other = params.map(lambda array: 0.5 * array)
    used, first = (Solver(start, X, y, epochs=3, batch_size=N) for start in (other, params))
    epochs = iter(used)
    next(epochs)
    next(epochs)  # what an interruption would return to is the state of step 1, as the checkpoint's
    next(iter(first))
    used.restore(first.state_arrays(), first.state_header(), same_rows=True)
    assert list(used) == list(first)
    assert same(used.params, first.params)


@pytest.mark.parametrize("batch_size", [16, N])
def test_an_epoch_broken_off_in_its_evaluation_counts_neither_as_epoch_nor_as_step(problem, batch_size):
    calls = iter([1.0, KeyboardInterrupt, 2.0, 3.0])

    def score(params):
        value = next(calls)
        if value is KeyboardInterrupt:
            raise value
        return value

    solver = Solver(*problem, score=score, monitor="score", epochs=3, batch_size=batch_size)
    with pytest.raises(KeyboardInterrupt):
        list(solver)
    assert (solver.progress.epoch, solver.progress.step) == (1, 2 * solver.steps_per_epoch - 1)
    assert [record["step"] for record in solver] == [2 * solver.steps_per_epoch, 3 * solver.steps_per_epoch]
    assert solver.progress.best.value == 3.0


def with_a_large_feature(problem, value):
    """The problem in float32 with this number as the first feature of each row, which no hidden unit looks at yet."""
    params, X, y = problem
    params = params.map(lambda array: array.astype(np.float32))
    params.W1[0] = 0
    X = X.astype(np.float32)
    X[:, 0] = value
    return params, X, y


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_moment_that_overflows_is_a_divergence(problem, engine):
    """Otherwise its parameter would never move again, and no message would say so."""
    params, X, y = with_a_large_feature(problem, 1e22)
    solver = Solver(params, X, y, engine=engine, optimizer="adam", learning_rate=1e-30, batch_size=N, epochs=1)
    with pytest.raises(DivergedError, match=r"diverged at step 1: loss \d"):
        list(solver)
    assert solver.state.is_finite(), "the state is that before the step"
    assert same(solver.params, params)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_that_overflows_for_a_large_feature_is_a_divergence(problem, engine):
    """The compiled engine looks at the gradient where the rows, read once, are too large to know that it is finite."""
    params, X, y = with_a_large_feature(problem, -3e38)
    solver = Solver(params._replace(W2=1000 * params.W2), X, y, engine=engine, batch_size=N // 2, epochs=1)
    with pytest.raises(DivergedError, match=r"diverged at step 1: loss \d"):
        list(solver)
    assert solver.state.is_finite()


def test_a_divergence_is_explained_by_rows_of_the_training_alone(problem):
    solver = Solver(*problem, batch_size=27, learning_rate=0.01, epochs=1)
    next(iter(solver.run()))
    last = Solver(*problem, batch_size=27, learning_rate=1e200, epochs=1)
    last.restore(solver.state_arrays(), solver.state_header(), same_rows=True)
    last._gathered[1][:] = 1e6  # the last batch has 26 rows: one place is left over
    with pytest.raises(DivergedError, match="diverged at step 2") as caught:
        list(last)
    assert "standardize" not in str(caught.value)


def test_reporting_choices_do_not_change_the_training(problem):
    params, X, y = problem
    plain = Solver(params, X, y, epochs=3)
    reporting = Solver(params, X, y, epochs=3, evaluate_rows=5, objective=True, validation=(X, y))
    list(plain), list(reporting)
    assert same(plain.params, reporting.params)


def test_softmax_regression_takes_the_same_path(problem):
    _, X, y = problem
    params = init_params(D, 0, C, rng=np.random.default_rng(0), dtype=np.float64)
    solver = Solver(params, X, y, epochs=300, batch_size=N, learning_rate=1.0, reg=0.1)
    last = list(solver)[-1]
    assert last["dead_share"] is None
    assert last["gradient_norm"] < 1e-6, "the objective is convex: its minimum has no gradient"


def test_unseparable_noise_can_be_overfitted_and_loss_starts_at_ln_C():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((20, 10)), rng.integers(0, 4, 20)
    params = init_params(10, 50, 4, rng=rng, init="normal", init_std=1e-3)
    assert loss_and_gradients(params, X, y)[0] == pytest.approx(math.log(4), rel=0.02)
    params = init_params(10, 50, 4, rng=rng)
    last = list(Solver(params, X, y, optimizer="momentum", learning_rate=0.1, batch_size=5, epochs=100))[-1]
    assert last["train_accuracy"] == 1
    assert last["train_loss"] < 0.01


def test_learning_rates_of_the_steps_are_those_of_the_schedule(problem):
    params, X, y = problem
    solver = Solver(
        params, X, y, schedule="step", step_epochs=1, factor=0.5, learning_rate=0.4, batch_size=10, epochs=3
    )
    rates = np.concatenate([chunk.rates for chunk in solver.run()])
    np.testing.assert_allclose(rates, np.repeat([0.4, 0.2, 0.1], 6), rtol=1e-15)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "sdg"}, "optimizer: expected one of sgd, momentum, .*, got 'sdg'"),
        ({"schedule": "cosin"}, "schedule: expected one of"),
        ({"engine": "cuda"}, "engine: expected one of numpy, numba, got 'cuda'"),
        ({"momentum": 1.0}, "momentum: expected a number of at least 0 and below 1, got 1.0"),
        ({"learning_rate": 0}, "learning_rate: expected a number greater than 0, got 0"),
        ({"reg": -1e-4}, "reg: expected a number of at least 0"),
        ({"reg": math.nan}, "reg: expected a number of at least 0"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"schedule": "step", "step_epochs": 0}, "step_epochs: expected a number greater than 0"),
        ({"factor": -1}, "factor: expected a number greater than 0 and at most 1"),
        ({"factor": math.nan}, "factor: expected a number greater than 0 and at most 1"),
        ({"plateau_patience": -3}, "plateau_patience: expected a whole number of at least 0"),
        ({"warmup_epochs": math.inf}, "warmup_epochs: expected a number of at least 0, got inf"),
        ({"monitor": "val_acc"}, "monitor: expected one of val_accuracy, .* got 'val_acc'; did you mean 'val_accuracy"),
        ({"monitor": "score"}, "monitor: expected one of"),
        ({"monitor": "val_loss"}, "monitor 'val_loss' needs validation rows"),
    ],
)
def test_a_setting_out_of_range_is_refused(problem, changes, words):
    with pytest.raises(ValueError, match=words):
        Solver(*problem, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 1.5}, "epochs: expected a whole number of at least 1, got 1.5"),
        ({"epochs": True}, "epochs: expected a whole number of at least 1, got True"),
        ({"patience": "3"}, "patience: expected a whole number of at least 1, got '3'"),
        ({"shuffle": "yes"}, "shuffle: expected True or False, got 'yes'"),
        ({"reg": None}, "reg: expected a number of at least 0, got None"),
        ({"optimizer": 3}, "optimizer: expected one of sgd, .*, got 3"),
    ],
)
def test_a_setting_of_another_type_is_refused(changes, words):
    with pytest.raises(TypeError, match=words):
        SolverSettings(**changes)


def test_numbers_of_numpy_are_taken_and_defaults_follow_the_optimizer_and_the_schedule():
    settings = SolverSettings(epochs=np.int64(3), reg=np.float64(0.5), optimizer="adam", schedule="plateau")
    assert (type(settings.epochs), type(settings.reg)) == (int, float)
    assert (settings.learning_rate, settings.factor) == (0.001, 0.5)
    assert (SolverSettings().learning_rate, SolverSettings(learning_rate=0.3, optimizer="adam").learning_rate) == (
        0.1,
        0.3,
    )


@pytest.mark.parametrize("monitor", ["dead_share", "update_ratio_W1", "activation_max"])
def test_without_a_hidden_layer_nothing_of_it_can_be_monitored(problem, monitor):
    _, X, y = problem
    params = init_params(D, 0, C, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"monitor '{monitor}' needs a hidden layer"):
        Solver(params, X, y, monitor=monitor)
    assert list(Solver(params, X, y, monitor="weight_norm_W2", epochs=1))


def test_a_misspelt_setting_is_refused_with_the_name_that_is_meant(problem):
    with pytest.raises(TypeError, match="Solver has no setting 'learning_rte'; did you mean 'learning_rate'"):
        Solver(*problem, learning_rte=0.1)


def test_lists_and_frames_train_as_arrays_do(problem):
    params, X, y = problem
    expected = list(Solver(params, X, y, epochs=2, validation=(X, y)))
    assert list(Solver(params, X.tolist(), y.tolist(), epochs=2, validation=(X.tolist(), y.tolist()))) == expected
    for library in ("pandas", "polars"):
        frames = pytest.importorskip(library)
        frame, labels = frames.DataFrame({f"c{k}": column for k, column in enumerate(X.T)}), frames.Series(y)
        assert list(Solver(params, frame, labels, epochs=2, validation=(frame, labels))) == expected


def test_what_is_no_dense_matrix_of_finite_numbers_is_refused_in_words(problem):
    params, X, y = problem
    float32 = params.map(lambda array: array.astype(np.float32))
    sparse = pytest.importorskip("scipy.sparse")
    for start, rows, words in [
        (params, sparse.csr_matrix(X), r"X: expected a dense array, got csr_matrix; call its toarray\(\)"),
        (params, np.ma.masked_array(X, mask=X > 2), "X: expected an array, got a masked array"),
        (params, X.astype(str), "X: expected numbers, got <U"),
        (params, X + 1j, "X: expected numbers, got complex128"),
        (params, X[0], r"X: expected \(N, 5\)"),
        (float32, X * 1e300, r"X: expected finite float32 numbers, got .*e\+\d+ in row 0, column 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            Solver(start, rows, y)
        with pytest.raises(ValueError, match=f"validation {words}"):
            Solver(start, X, y, validation=(rows, y))


def test_odd_arrays_of_the_same_numbers_give_the_same_training(problem):
    params, X, y = problem
    expected = list(Solver(params, X, y, epochs=2))
    fixed = X.copy()
    fixed.flags.writeable = False
    for rows, labels in [
        (np.asfortranarray(X), y),
        (fixed, y),
        (X.astype(object), y.astype(np.uint64)),
        (np.repeat(X, 2, axis=0)[::2], np.repeat(y, 2)[::2]),
        (X.astype(">f8"), y.astype(">i2")),
    ]:
        assert list(Solver(params, rows, labels, epochs=2)) == expected


def test_masks_ragged_rows_and_weights_that_are_no_numbers_are_refused(problem):
    params, X, y = problem
    masked = np.ma.masked_array(y, mask=y == 0)
    only = (y == 1).astype(float)
    for arguments, weights, words in [
        ((X, masked), {}, "y: expected an array, got a masked array"),
        ((X, y), {"row_weights": np.ma.masked_array(only, mask=y == 0)}, "row_weights: .* got a masked array"),
        (([[1.0] * 5, [2.0]], [0, 1]), {}, "X: expected numbers in rows of equal length, got list"),
        ((np.array([["a"] * 5, ["b"] * 5], object), [0, 1]), {}, "X: expected numbers .* to float: 'a'"),
        ((X, y), {"row_weights": ["heavy"] * len(y)}, "row_weights: expected numbers, got <U5"),
    ]:
        with pytest.raises(ValueError, match=words):
            Solver(params, *arguments, **weights)


def test_validation_that_is_no_pair_and_an_empty_monitor_are_refused(problem):
    params, X, y = problem
    for validation in (X, (X, y, y), {"X": X, "y": y}):
        with pytest.raises(ValueError, match=r"validation: expected a pair \(X, y\), got"):
            Solver(params, X, y, validation=validation)
    with pytest.raises(ValueError, match="monitor"):
        Solver(params, X, y, monitor="")


def test_weights_that_leave_no_row_are_warned_about(problem):
    params, X, y = problem
    only = (y == 1).astype(float)
    with pytest.warns(UserWarning, match="no row has a weight above 0"):
        Solver(params, X, y, class_weights=[1, 0, 1], row_weights=only)
    with pytest.warns(UserWarning, match="no row has a weight above 0"):
        Solver(params, X, 0 * y, class_weights=[0, 1, 1])
    Solver(params, X, y, class_weights=[0, 1, 0], row_weights=only)


def test_parameters_that_do_not_fit_each_other_are_named(problem):
    params, X, y = problem
    for wrong, words in [
        (params._replace(b1=np.zeros(1)), r"params.b1: expected \(7,\) beside W2 \(7, 3\), got \(1,\)"),
        (params._replace(b1=params.b1[None]), r"params.b1: expected \(H,\), got \(1, 7\)"),
        (params._replace(W2=np.zeros((9, 3))), r"params.W1: expected \(5, 9\) beside W2"),
        (params._replace(W1=params.W1.astype(np.float32)), "params.W1: expected float32 or float64, the same"),
        (params.map(lambda array: array.astype(np.float16)), "params.W1: expected float32 or float64.*float16"),
        (params._replace(b2=np.array([0, np.nan, 0])), "params.b2: expected finite numbers, got nan"),
        (params._replace(b1=None), "expected both W1 and b1"),
        ({"W1": params.W1}, r"expected Params\(W1, b1, W2, b2\), got dict"),
    ]:
        with pytest.raises(ValueError, match=words):
            Solver(wrong, X, y)


class RowsThatInterrupt:
    """Rows that raise KeyboardInterrupt at some calls, after the engine has done steps with earlier rows."""

    def __init__(self, X, at):
        self.X, self.shape, self.calls, self.at = X, X.shape, 0, set(at)

    def take(self, rows, out):
        self.calls += 1
        if self.calls in self.at:
            raise KeyboardInterrupt
        np.take(self.X, rows, axis=0, out=out)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loop_that_is_interrupted_and_continued_gives_the_bits_of_one_never_interrupted(problem, engine, monkeypatch):
    params, X, y = problem
    monkeypatch.setattr("twolayer.solver.engine.CHUNK_BYTES", 2 * 8 * D * 8)
    settings = {"batch_size": 8, "epochs": 4, "optimizer": "adam", "engine": engine, "monitor": "train_loss"}
    whole = Solver(params, X, y, **settings)
    records = list(whole)
    solver, found, interruptions = Solver(params, RowsThatInterrupt(X, [2, 5, 6, 7, 12]), y, **settings), [], 0
    run_engine, calls = solver._engine.run, itertools.count()

    def steps_then_interrupt(*arguments, **keywords):
        losses = run_engine(*arguments, **keywords)
        if next(calls) in (1, 4, 9):
            raise KeyboardInterrupt  # when the state has moved and nothing has counted it
        return losses

    solver._engine.run = steps_then_interrupt
    while not solver.finished:
        try:
            for record in solver:
                found.append(record)
        except KeyboardInterrupt:
            interruptions += 1
            assert solver.state.t == solver.progress.step
    assert interruptions == 8
    assert found == records
    assert same(solver.params, whole.params)
    assert same(solver.best_params, whole.best_params)


def test_arrays_that_do_not_fit_are_refused(problem):
    params, X, y = problem
    for wrong, words in [
        ((params, X[:, :-1], y), r"X: expected \(N, 5\)"),
        ((params, X, y[:-1]), r"y: expected \(53,\) class indices, one for each row"),
        ((params, X, y + 1), "whole numbers from 0 to 2, got int64 from 1 to 3"),
        ((params, X, y.astype(float)), "whole numbers"),
        ((params, np.where(np.arange(N)[:, None] == 4, np.nan, X), y), "got nan in row 4, column 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            Solver(*wrong)
    for weights in ({"row_weights": np.zeros(N)}, {"row_weights": np.ones(3)}, {"class_weights": [1, -1, 1]}):
        with pytest.raises(ValueError, match=next(iter(weights))):
            Solver(params, X, y, **weights)


@pytest.mark.parametrize("power", [-200, 200])
def test_only_ratios_of_weights_count_whatever_the_float_type_has_room_for(problem, power):
    params, X, y = problem
    params = params.map(lambda array: array.astype(np.float32))
    weights = np.random.default_rng(0).random(N)
    trained = [Solver(params, X, y, row_weights=w, epochs=2) for w in (weights, weights * 2.0**power)]
    assert list(trained[0]) == list(trained[1])
    assert same(trained[0].params, trained[1].params)
    assert not same(trained[0].params, params)


def test_labels_of_any_whole_type_train_alike(problem):
    params, X, y = problem
    trained = [Solver(params, X, y.astype(kind), epochs=2) for kind in (np.intp, np.uint8, np.uint64)]
    assert list(trained[0]) == list(trained[1]) == list(trained[2])


def test_shuffles_come_from_seed_and_epoch_alone(problem):
    params, X, y = problem
    one, other = Solver(params, X, y, seed=3, epochs=2), Solver(params, X, y, seed=4, epochs=2)
    again = Solver(params, X, y, seed=3, epochs=2)
    np.random.default_rng(0)
    list(one), list(other), list(again)
    assert same(one.params, again.params)
    assert not same(one.params, other.params)
    assert not np.array_equal(generator(3, "shuffle", 0).random(4), generator(3, "shuffle", 1).random(4))


def test_whatever_a_record_measures_can_be_monitored(problem):
    (record,) = Solver(*problem, validation=problem[1:], epochs=1)
    assert set(MONITORS) == record.keys() - {"epoch", "step", "learning_rate"}
    assert set(HISTORY_COLUMNS) == record.keys() | {"seconds"}


def test_every_field_of_the_settings_is_documented():
    for field in fields(SolverSettings):
        assert f" {field.name}:" in (SolverSettings.__doc__ or "")
