"""The benchmark: the contestants do the same work, the race is reported truthfully, the command writes what it says.
Nothing here depends on how long anything takes."""

import importlib
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import busy, entries, mapped, scaling, tricks
from benchmarks.__main__ import command
from benchmarks.busy import busy_table, measure_busy
from benchmarks.cases import REG, SHAPES, Case, Shape, Work, loss_at, make_work
from benchmarks.entries import ENTRIES, FLOOR
from benchmarks.race import Contestant, Result, race
from benchmarks.scaling import fit_line, measure_scaling
from benchmarks.startup import SCRIPT_BEGIN, SCRIPT_END, SCRIPT_NUMPY, Used, startup_lines
from benchmarks.table import ratio_table, step_table
from benchmarks.worker import serve
from twolayer.network.backprop import loss_and_gradients
from twolayer.network.model import Params
from twolayer.utils.blas import gemm_of_numpy
from twolayer.utils.errors import TwoLayerError

SMALL = Shape(7, 5, 3, 4)


def small_work(optimizer="sgd"):
    work = make_work(Case(SMALL, optimizer))
    return Work(work.case, work.X[: 4 * 40], work.y[: 4 * 40], work.params)


@pytest.fixture
def short(monkeypatch):
    """Passes of 40 steps."""
    monkeypatch.setattr(Case, "steps", property(lambda self: 40))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in (FLOOR, "plain NumPy", "torch.compile")])
def test_every_contestant_reaches_the_parameters_of_plain_numpy(name, optimizer, short):
    if ENTRIES[name].missing:
        pytest.skip(f"without {', '.join(ENTRIES[name].missing)}")
    if name == "plain C" and not (shutil.which("cc") and gemm_of_numpy(np.dtype(np.float32))):
        pytest.skip("without a C compiler or OpenBLAS")
    reached = []
    for contestant in (name, "plain NumPy"):
        ready = ENTRIES[contestant].prepare(small_work(optimizer))
        # Takes the memory of arrays that the contestant uses but does not keep.
        _takers = [np.full(size, np.nan, np.float32) for size in range(1, 400)]
        for _ in range(3):
            ready.run_pass()
        reached.append(ready.params())
    for ours, theirs in zip(*reached, strict=True):
        tolerance = 1e-5 if name == "plain C" else 2e-6  # it rounds 1 - a r, the decay of a step
        np.testing.assert_allclose(np.asarray(ours), theirs, atol=tolerance)
    moved = np.abs(np.asarray(reached[0].W2) - small_work().params.W2).max()
    assert moved > 0.01  # so that the agreement means something


def test_the_work_is_the_same_in_every_process_and_asks_for_learning():
    first, second = make_work(Case(SMALL)), make_work(Case(SMALL))
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.y, second.y)
    assert set(first.y.tolist()) == {0, 1, 2}
    assert REG > 0


def test_the_loss_is_the_mean_cross_entropy():
    work = small_work()
    assert loss_at(work, work.params) == pytest.approx(loss_and_gradients(work.params, work.X, work.y)[0], rel=1e-5)
    zeros = Params(*(np.zeros_like(array) for array in work.params))
    assert loss_at(work, zeros) == pytest.approx(np.log(3))


def test_a_worker_answers_line_by_line(short):
    requests = [{"shape": SMALL, "optimizer": "sgd"}, {"seconds": 0.0}]
    answers = io.StringIO()
    serve("plain NumPy", io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), answers)
    ready, timed = map(json.loads, answers.getvalue().splitlines())
    assert 0 < ready["loss"] < np.log(3)
    assert ready["threads"] >= 1
    assert len(timed["us"]) == 1
    assert timed["us"][0] > 0


def test_a_contestant_that_fails_is_left_out_with_its_own_words(monkeypatch):
    def fail(work):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setitem(ENTRIES, "plain NumPy", ENTRIES["plain NumPy"]._replace(prepare=fail))
    answers = io.StringIO()
    serve("plain NumPy", io.StringIO('{"shape": [4, 3, 2, 5], "optimizer": "sgd"}\n'), answers)
    assert json.loads(answers.getvalue()) == {"reason": "RuntimeError: no compiler"}


def test_a_race_gives_a_result_for_each_contestant_and_names_who_cannot_run(monkeypatch):
    case = Case(Shape(4, 3, 2, 1000))
    results, left_out = race(["plain NumPy", "twolayer numpy", "unknown", FLOOR], [case], rounds=1)
    assert [result.contestant for result in results] == ["plain NumPy", "twolayer numpy", FLOOR]
    assert all(result.same_work and result.median_us > 0 for result in results)
    assert results[0].loss == pytest.approx(results[1].loss, abs=1e-4)
    assert results[2].loss is None
    assert len(left_out) == 1
    assert left_out[0].startswith("unknown at 4-3-2-1000 sgd: ")


def test_a_contestant_that_dies_in_the_race_is_named(monkeypatch):
    ask = Contestant.ask
    monkeypatch.setattr(
        Contestant,
        "ask",
        lambda self, request: {} if "seconds" in request and self.name == FLOOR else ask(self, request),
    )
    results, left_out = race(["plain NumPy", FLOOR], [Case(Shape(4, 3, 2, 1000))], rounds=1)
    assert [result.contestant for result in results] == ["plain NumPy"]
    assert left_out == [f"{FLOOR} at 4-3-2-1000 sgd: its process died"]


RESULTS = [
    Result("4-10-3-5", "twolayer numba", 0.8123, 0.5, "sgd", 2, True, (0.8, 1.0, 0.9)),
    Result("4-10-3-5", "JAX jit+scan", 4.8, 0.7, "sgd", 2, False, (4.0, 4.0, 9.0)),
    Result("64-32-10-64", "twolayer numba", 11.5, 0.4, "sgd", 2, True, (11.5,)),
    Result("64-32-10-64", FLOOR, 1234.6, None, "sgd", 2, True, (23.0,)),
]


def test_the_table_marks_other_work_and_gaps():
    assert step_table(RESULTS).splitlines() == [
        "Microseconds per step, median:",
        "",
        "D-H-C-batch  optimizer  twolayer numba  JAX jit+scan  five products",
        "-------------------------------------------------------------------",
        "4-10-3-5     sgd                  0.81         4.80*              -",
        "64-32-10-64  sgd                  11.5             -          1,235",
        "* the loss is more than 0.001 from plain NumPy's: not the same work",
        "threads that products may use: 2",
    ]


def test_ratios_are_of_the_same_case_and_round():
    lines = ratio_table(RESULTS, of="twolayer numba").splitlines()
    assert lines[4].split() == ["4-10-3-5", "sgd", "5.00", "(4.00-10.00)", "-"]
    assert lines[5].split() == ["64-32-10-64", "sgd", "-", "2.00", "(2.00-2.00)"]


def test_the_line_through_points_on_a_line_is_that_line():
    fit = fit_line([(n, 0.5 + 2e-6 * n) for n in (1000, 2000, 5000)])
    assert fit == pytest.approx((0.5, 2e-6, 1.0))


def test_growth_is_measured_along_each_axis(monkeypatch):
    monkeypatch.setattr(scaling, "BASE", {"N": 100, "D": 4, "H": 3, "C": 2, "B": 10})
    monkeypatch.setattr(scaling, "AXES", {"N": (50, 100), "B": (5, 10, 50)})
    monkeypatch.setattr(scaling, "EPOCHS", 2)
    table = measure_scaling("numpy")
    assert {axis: [value for value, _ in points] for axis, points in table.items()} == {
        "N": [50, 100], "B": [5, 10, 50],
    }  # fmt: skip
    assert table["N"][1][1] == table["B"][1][1]  # the same training, measured once
    assert all(seconds > 0 for points in table.values() for _, seconds in points)


def test_the_command_writes_rows_and_chart_and_names_missing_peers(tmp_path, monkeypatch):
    monkeypatch.setitem(ENTRIES, "JAX jit+scan", ENTRIES["JAX jit+scan"]._replace(needs=("no_such_package",)))
    asked = []

    def no_race(names, cases, rounds, say):
        asked.append((names, [str(case.shape) for case in cases], rounds))
        return [replace(result) for result in RESULTS], []

    monkeypatch.setattr("benchmarks.race.race", no_race)
    arguments = ["--peers", "--quick", "--json", str(tmp_path / "rows.json"), "--chart", str(tmp_path / "bars.png")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "left out: JAX jit+scan, as no_such_package is not installed" in done.output
    names, shapes, rounds = asked[0]
    assert "JAX jit+scan" not in names
    assert "plain NumPy" in names
    assert set(shapes) == {str(shape) for shape in SHAPES[:4]}
    assert rounds == 2
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["shape"], row["contestant"], row["median_us"], row["loss"]) for row in rows] == [
        (result.shape, result.contestant, result.median_us, result.loss) for result in RESULTS
    ]
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_without_peers_only_the_house_races():
    house = [name for name, entry in entries.ENTRIES.items() if not entry.peer]
    assert house == ["twolayer numpy", "twolayer numba", "plain NumPy", FLOOR]


def test_a_mapped_file_is_raced_against_the_same_rows_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "TURNS", 2)
    monkeypatch.setattr(mapped, "STEPS", 3)
    monkeypatch.setattr(mapped, "PAUSE_SECONDS", 0)
    found = mapped.measure_mapped(0.01, tmp_path)
    assert found["rows"] == int(0.01 * 2**30) // mapped.D
    assert min(found["mapped_us"], found["memory_us"]) > 0
    assert 0 < found["anonymous_mib"] < 400
    assert not list(tmp_path.iterdir())

    monkeypatch.setattr(mapped.Contestant, "ask", lambda *_: {})
    with pytest.raises(TwoLayerError, match="trains from mapped died"):
        mapped.measure_mapped(0.01, tmp_path)


def test_the_defaults_are_compared_on_splits_that_hold_out_a_fifth_of_each_class(monkeypatch, tmp_path):
    from benchmarks import defaults

    rng = np.random.default_rng(0)
    rows = [[f"{x:.3f}", "ab"[k % 2], "yes" if x > 0 else "no"] for k, x in enumerate(rng.normal(size=200))]
    (train_rows, test_rows), other = defaults.splits(rows, 2)
    assert sorted(train_rows + test_rows) == sorted(rows)
    assert other[1] != test_rows
    for label in ("yes", "no"):
        count = sum(row[-1] == label for row in rows)
        assert sum(row[-1] == label for row in test_rows) == round(count / 5)
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)
    for contestant in (defaults.twolayer_defaults({"solver.epochs": 60}), defaults.mlp_defaults):
        accuracy, seconds = defaults.measure(contestant, rows, 1)
        assert accuracy > 0.9
        assert seconds > 0
    monkeypatch.setattr(defaults, "read_table", lambda name: rows)
    outcomes = [defaults.Outcome("a", 200, 0.9, 0.8, 1.0, 2.0), defaults.Outcome("b", 200, 0.7, 0.9, 1.0, 2.0)]
    assert defaults.summary_line("all", outcomes).startswith("all: -5.00 points (standard error 15.00), better on 1")


def test_the_busy_table_has_a_cell_for_each_situation_and_names_what_is_not_allowed(monkeypatch):
    monkeypatch.setattr(busy, "TURNS", 2)
    monkeypatch.setattr(busy, "SECONDS", 0.01)
    monkeypatch.setattr(busy, "SITUATIONS", ("1 busy", "two trainings", "quota of 1"))

    def refuse(processes):
        raise PermissionError("not allowed here")

    monkeypatch.setattr(busy, "_quota", refuse)
    results, left_out = measure_busy(["twolayer numpy"], [Shape(4, 3, 2, 1000)])
    assert [result.situation for result in results] == ["1 busy", "two trainings"]
    assert all(min(result.one_thread, result.default, result.ratio) > 0 for result in results)
    assert left_out == ["twolayer numpy 4-3-2-1000: quota of 1: not allowed here"]
    head, row = busy_table(results)
    assert row[-1] == "-"
    assert len(head) == len(row) == 5


def test_each_trick_of_the_compiled_engine_can_be_switched_off(monkeypatch):
    pytest.importorskip("numba")
    for name, trick in tricks.TRICKS.items():
        module = importlib.import_module(f"twolayer.solver.compiled.{trick.module}")
        for constant in trick.off:
            monkeypatch.setattr(module, constant, getattr(module, constant))  # puts it back afterwards
        tricks.switch_off(name)
        assert {constant: getattr(module, constant) for constant in trick.off} == trick.off
    from twolayer.solver.compiled import partition

    features = tricks.TRICKS["sharding features"]
    assert partition.split_for(*features.shape, np.dtype(np.float32)).by_features
    assert not features.off["split_for"](*features.shape, np.dtype(np.float32)).by_features


def test_startup_compares_pair_by_pair():
    found = {
        "train": [Used(2.0, 1.5, 100.0), Used(3.0, 1.7, 120.0), Used(8.0, 1.6, 110.0)],
        "bare script": [Used(1.0, 1.0, 50.0), Used(2.0, 1.0, 60.0), Used(8.0, 1.0, 70.0)],
    }
    lines = startup_lines(found)
    assert lines[0].split() == ["train", "3.00", "CPU", "s", "1.60", "s", "110", "MiB", "at", "most"]
    assert lines[-1].endswith("2.00, 1.50, 1.00; median 1.50")


def test_the_bare_script_trains_the_digits_as_well_as_train_does(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(SCRIPT_BEGIN + SCRIPT_NUMPY + SCRIPT_END + "\nprint(curve[-1][1])\n")
    rows = Path(__file__).parents[1] / "data/optdigits-train.csv.gz"
    done = subprocess.run(
        [sys.executable, str(script), str(rows), str(tmp_path / "curve.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 0.2
    assert (tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize("arguments", [["--only", "1-2-3"], ["--busy", "--only", "1-2-3"], ["--nonsense"]])
def test_wrong_arguments_end_in_a_message(arguments):
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert "Error: " in done.output
