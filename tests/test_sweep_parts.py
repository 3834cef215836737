"""The parts of a sweep: dimensions, Optuna's study, the journal, ranking and refit."""

from __future__ import annotations

import itertools
import json
import statistics

import numpy as np
import pytest
from sweep_files import BASE, write_sweep

from twolayer.config.models import SweepFile
from twolayer.sweep.file import Repeat, load_sweep
from twolayer.sweep.points import Journal, Point, boundary_warnings, ranked, winner_of, within_one_error
from twolayer.sweep.search import refit_config
from twolayer.sweep.space import Dimension, Study
from twolayer.sweep.trial import Outcome
from twolayer.utils.errors import RunError

pytest.importorskip("optuna")

WIDTH = Dimension("model.hidden", "list", (4, 8, 16))
RATE = Dimension("solver.learning_rate", "log_uniform", (0.01, 1.0), points=3)
NAME = Dimension("solver.optimizer", "list", ("sgd", "adam"))


def study(sampler: str, pruner: str = "none", seed: int = 3) -> Study:
    settings = SweepFile(base="base.yaml", space={"a.b": [1]}, sampler=sampler, seed=seed, pruner=pruner)
    return Study((WIDTH, RATE, NAME), settings, maximize=True, epochs=9)


def value_of(point):
    return point["model.hidden"] - abs(np.log(point["solver.learning_rate"])) + (point["solver.optimizer"] == "adam")


def test_the_grid_visits_every_combination_once():
    search = study("grid")
    points = []
    for _ in range(18):
        number, point = search.ask()
        search.tell(number, value_of(point))
        points.append(tuple(point[d.key] for d in (WIDTH, RATE, NAME)))
    assert sorted(points) == sorted(itertools.product((4, 8, 16), (0.01, 0.1, 1.0), ("sgd", "adam")))


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_study_restored_at_any_point_continues_as_if_never_stopped(sampler):
    whole = study(sampler)
    points = []
    for _ in range(16):
        number, point = whole.ask()
        whole.tell(number, value_of(point))
        points.append(point)
    for stop in (1, 7, 15):
        again = study(sampler)
        for number, point in enumerate(points[:stop]):
            again.restore(point)
            again.tell(number, value_of(point))
        assert again.ask() == (stop, points[stop])


def test_points_of_grid_and_random_do_not_depend_on_what_has_ended():
    for sampler in ("grid", "random"):
        informed, other = study(sampler), study(sampler)
        for _ in range(6):
            number, point = informed.ask()
            informed.tell(number, value_of(point))
            assert other.ask() == (number, point)


def test_another_seed_picks_other_points():
    assert study("random", seed=1).ask() != study("random", seed=2).ask()


def test_values_stay_in_the_space_and_log_uniform_is_uniform_in_the_logarithm():
    search = study("random")
    points = [search.ask()[1] for _ in range(400)]
    exponents = np.log10([point["solver.learning_rate"] for point in points])
    assert exponents.min() >= -2
    assert exponents.max() <= 0
    np.testing.assert_allclose(np.quantile(exponents, [0.25, 0.5, 0.75]), [-1.5, -1, -0.5], atol=0.2)
    counts = [sum(point["model.hidden"] == width for point in points) for width in WIDTH.values]
    assert min(counts) > 90


@pytest.mark.parametrize("pruner", ["hyperband", "median"])
def test_a_pruner_ends_the_hopeless_and_judges_the_same_after_a_restart(pruner):
    def curve(number):
        return [(epoch, 0.01 * epoch + (number % 5) / 10) for epoch in range(1, 10)]

    def run(search, number):
        for epoch, value in curve(number):
            if search.report(number, epoch, value):
                search.tell(number, None)
                return epoch
        search.tell(number, curve(number)[-1][1])
        return 9

    whole = study("random", pruner)
    points, ends = [], []
    for _ in range(30):
        number, point = whole.ask()
        points.append(point)
        ends.append(run(whole, number))
    assert 30 < sum(ends) < 30 * 9
    again = study("random", pruner)
    for number, point in enumerate(points[:15]):
        again.restore(point)
        for epoch, value in curve(number)[: ends[number]]:
            again.report(number, epoch, value)
        again.tell(number, curve(number)[-1][1] if ends[number] == 9 else None)
    for number in range(15, 30):
        assert again.ask()[1] == points[number]
        assert run(again, number) == ends[number]


def test_importances_name_the_key_that_decides():
    search = study("random")
    for _ in range(40):
        number, point = search.ask()
        search.tell(number, float(point["model.hidden"]))
    shares = search.importances()
    assert next(iter(shares)) == "model.hidden"
    assert sum(shares.values()) == pytest.approx(1)
    assert study("random").importances() == {}


@pytest.mark.parametrize(
    ("dimension", "grid"),
    [
        (Dimension("k", "uniform", (0, 1), points=3), [0, 0.5, 1]),
        (Dimension("k", "log_uniform", (0.001, 10), points=5), [0.001, 0.01, 0.1, 1, 10]),
        (Dimension("k", "integer", (2, 8), step=3), [2, 5, 8]),
        (Dimension("k", "integer", (16, 256), log=True, points=3), [16, 64, 256]),
        (Dimension("k", "integer", (1, 3), points=10), [1, 2, 3]),
        (Dimension("k", "list", ("a", None, True)), ["a", None, True]),
    ],
)
def test_a_range_on_a_grid_has_both_ends_and_even_steps(dimension, grid):
    assert dimension.grid() == grid


@pytest.mark.parametrize(
    ("dimension", "value", "side", "beyond"),
    [
        (Dimension("k", "list", (64, 128, 256)), 256, "high", 512),
        (Dimension("k", "list", (256, 64, 128)), 64, "low", 32),
        (Dimension("k", "list", (1, 2, 3)), 3, "high", 4),
        (Dimension("k", "list", (64, 128, 256)), 128, None, None),
        (Dimension("k", "list", (0, 1e-5, 1e-4, 1e-3)), 1e-3, "high", 0.01),
        (Dimension("k", "list", (0, 1e-5, 1e-4, 1e-3)), 0, "low", -1e-5),
        (Dimension("k", "list", ("a", "b")), "a", None, None),
        (Dimension("k", "list", (True, False)), True, None, None),
        (Dimension("k", "log_uniform", (0.01, 1.0)), 0.97, "high", 10),
        (Dimension("k", "log_uniform", (0.01, 1.0)), 0.5, None, None),
        (Dimension("k", "uniform", (0.0, 1.0)), 0.02, "low", -0.5),
    ],
)
def test_the_boundary_of_a_space_and_what_lies_beyond(dimension, value, side, beyond):
    assert dimension.side(value) == side
    if side is not None:
        assert dimension.beyond(side) == beyond


def test_a_journal_reads_back_what_was_written_whatever_is_at_its_torn_end(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.picked(0, {"a": 1e-3, "b": None})
        journal.ended("0000-seed0", Outcome("diverged", "at step 3\nloss nan"), 1.5)
    whole = path.read_bytes()
    for torn in (b"", b"{", b'{"point": 1, "values": {}}'):
        path.write_bytes(whole + torn)
        with Journal(path) as journal:
            assert journal.points == [{"a": 1e-3, "b": None}]
            assert journal.outcomes == {"0000-seed0": Outcome("diverged", "at step 3\nloss nan")}
            assert journal.seconds == 1.5
        assert path.read_bytes() == whole


def test_a_journal_that_version_0_1_wrote_is_read(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(
        '{"point": 0, "values": {"model.hidden": 8, "solver.learning_rate": 0.02336278963873288}}\n'
        '{"run": "0000-seed0", "status": "finished", "reason": "", "seconds": 2.829}\n'
        '{"point": 1, "values": {"model.hidden": 4, "solver.learning_rate": 0.9003436507785854}}\n'
        '{"run": "0001-seed0", "status": "diverged", "reason": "at step 3", "seconds": 3.1}\n'
    )
    with Journal(path) as journal:
        assert [each["model.hidden"] for each in journal.points] == [8, 4]
        assert journal.outcomes["0001-seed0"] == Outcome("diverged", "at step 3")
        assert journal.seconds == 3.1


@pytest.mark.parametrize(
    "line",
    [
        *("nonsense", "[1]", "{}", "[" * 100_000, '{"point": 5, "values": {}}', '{"point": true, "values": {}}'),
        *('{"point": 1, "values": 5}', '{"point": 1, "values": "a"}', '{"run": "a", "status": "odd"}'),
        *(
            f'{{"run": {run}, "status": "failed", "reason": {reason}, "seconds": {seconds}}}'
            for run, reason, seconds in [
                *((1, '""', 1), ('"a"', 1, 1), ('"a"', '""', "9" * 400), ('"a"', '""', "NaN"), ('"a"', '""', -1)),
                ('"a"', '""', "true"),
            ]
        ),
    ],
)
def test_a_damaged_journal_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"point": 0, "values": {}}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"journal\.jsonl:2: expected a line of a sweep's journal"):
        Journal(path)


@pytest.fixture
def sweep(tmp_path):
    return load_sweep(write_sweep(tmp_path))


def finished(number, mean, loss=0.5, values=None):
    return Point(number, values or {}, "finished", ("run",), mean, None, loss, 6, (3,))


def test_points_are_ranked_by_mean_then_loss_then_number_and_the_unranked_come_last(sweep):
    results = [
        Point(0, {}, "pruned", ("a",)),
        finished(1, 0.8, loss=0.1),
        finished(2, 0.9, loss=0.4),
        finished(3, 0.9, loss=0.3),
        finished(4, 0.8, loss=0.1),
    ]
    assert [result.number for result in ranked(sweep, results)] == [3, 2, 1, 4, 0]
    assert winner_of(ranked(sweep, results)).number == 3
    assert winner_of(ranked(sweep, results[:1])) is None


def test_with_folds_points_within_one_standard_error_are_tied_and_the_smaller_network_wins(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path, "trials: 3\nfolds: 4\n"))

    def point(number, mean, hidden, spread):
        return Point(number, {"model.hidden": hidden}, "finished", ("run",) * 4, mean, spread, 0.5, 6, (3,) * 4)

    # The standard error of the best, point 0, is 0.02 / sqrt(4) = 0.01.
    results = [
        point(0, 0.900, 16, 0.02),
        point(1, 0.891, 8, 0.5),
        point(2, 0.889, 4, 0.5),
        point(3, 0.892, 8, 0.5),
        Point(4, {"model.hidden": 4}, "pruned", ("run",)),
    ]
    ranking = ranked(sweep, results)
    assert [each.number for each in ranking] == [3, 1, 0, 2, 4]
    assert [each.number for each in within_one_error(sweep, ranking[:4])] == [3, 1, 0]
    without = load_sweep(write_sweep(tmp_path))
    assert [each.number for each in ranked(without, results)] == [0, 3, 1, 2, 4]


def test_a_point_is_the_mean_over_its_seeds_of_validation_figures_alone(tmp_path):
    accuracies = [0.7, 0.9, 0.95]
    for seed, accuracy in enumerate(accuracies):
        run = tmp_path / f"0007-seed{seed}"
        run.mkdir()
        summary = {"val_accuracy": accuracy, "val_loss": 1 - accuracy, "epochs": 6, "best_epoch": seed}
        (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    outcomes = {Repeat(seed, None): Outcome("finished") for seed in (2, 0, 1)}  # in the order in which they ended
    point = Point(7, {}, outcomes=outcomes)
    point.conclude(tmp_path, "val_accuracy")
    assert point.mean == pytest.approx(statistics.fmean(accuracies))
    assert point.spread == pytest.approx(np.std(accuracies, ddof=1))
    assert (point.epochs, point.best_epochs) == (18, (0, 1, 2))
    assert point.runs == ("0007-seed0", "0007-seed1", "0007-seed2")
    point = Point(7, {}, outcomes={**outcomes, Repeat(1, None): Outcome("diverged", "why")})
    point.conclude(tmp_path, "val_accuracy")
    assert (point.status, point.mean, point.reason) == ("diverged", None, "why")


def test_a_best_point_on_the_boundary_is_reported_with_the_way_out_unless_there_is_none(tmp_path):
    space = "base: base.yaml\nspace:\n  model.hidden: [4, 8]\n  solver.reg: [0, 0.1]\n  solver.momentum: [0.5, 0.9]\n"
    sweep = load_sweep(write_sweep(tmp_path, space=space))
    winner = finished(0, 0.9, values={"model.hidden": 8, "solver.reg": 0, "solver.momentum": 0.9})
    (warning,) = boundary_warnings(sweep, winner)
    assert warning == (
        "the best model.hidden, 8, lies on the upper boundary of the space: extend it upwards, to 16 for a start"
    )


@pytest.mark.parametrize(("schedule", "epochs"), [("constant", 3), ("cosine", 6)])
def test_refit_trains_on_all_rows_as_long_as_the_winner_needed(tmp_path, schedule, epochs):
    base = BASE.replace("epochs: 6", f"epochs: 6, schedule: {schedule}, patience: 2")
    sweep = load_sweep(write_sweep(tmp_path, "trials: 2\nrefit: true\n", base=base))
    config = refit_config(sweep, finished(0, 0.9, values={"model.hidden": 4}))
    assert (config.data.validation, config.solver.monitor, config.solver.patience) == (0, "train_loss", None)
    assert (config.solver.epochs, config.model.hidden) == (epochs, 4)
    assert config.data.test == 0.2  # rows held out stay held out
