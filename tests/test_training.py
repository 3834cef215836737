"""The run from a config to what it leaves behind, on real data and on made rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from twolayer.network.optim import OPTIMIZERS
from twolayer.network.schedules import SCHEDULES
from twolayer.runs.checkpoint import load_model, read_arrays, write_arrays
from twolayer.runs.logs import SINCE_0_2, read_history
from twolayer.training.run import resume, train
from twolayer.utils.errors import ConfigError, DivergedError, RunError
from twolayer.views.evaluation import evaluate_file

FILES = {
    "config.yaml", "environment.json", "history.csv", "steps.csv", "predictions.npz", "best.npz", "last.npz",
    "loss_curve.png", "summary.json",
}  # fmt: skip


@pytest.fixture
def spiral(root):
    return root / "configs" / "spiral.yaml"


SHORT = ["solver.epochs=12", "solver.batch_size=32", "data.validation=0.2", "solver.monitor=val_accuracy"]


def test_a_run_leaves_every_file_and_its_summary_is_that_of_the_best_parameters(root, tmp_path):
    result = train(root / "configs/optdigits.yaml", ["solver.epochs=3"], run_dir=tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    model = load_model(tmp_path / "run")
    figures = evaluate_file(tmp_path / "run", root / "data/optdigits-test.csv.gz")
    assert summary["test_accuracy"] == figures.accuracy
    assert summary["test_loss"] == pytest.approx(figures.loss, rel=1e-5)
    assert summary["status"] == "finished"
    assert (summary["n_train"] + summary["n_validation"], summary["n_test"]) == (3823, 1797)
    history = read_history(tmp_path / "run/history.csv")
    best = summary["best_epoch"] - 1
    assert history["val_accuracy"][best] == history["val_accuracy"].max() == summary["val_accuracy"]
    assert history["val_loss"][best] == pytest.approx(summary["val_loss"], rel=1e-12)
    assert list(result.history["epoch"]) == [1, 2, 3]
    assert model.classes == tuple(range(10))


def test_the_predictions_are_those_of_the_model_on_the_rows_they_name(root, tmp_path):
    train(root / "configs/optdigits.yaml", ["solver.epochs=2"], run_dir=tmp_path / "run")
    arrays, header = read_arrays(tmp_path / "run/predictions.npz")
    table = np.loadtxt(root / "data/optdigits-train.csv.gz", delimiter=",", skiprows=1)
    rows = arrays["validation_rows"]
    np.testing.assert_array_equal(table[rows, -1], np.asarray(header["classes"])[arrays["validation_y"]])
    P = load_model(tmp_path / "run").predict_proba(table[rows, :-1])
    np.testing.assert_allclose(arrays["validation_proba"], P, atol=5e-6)  # float32, and other block sizes


def test_the_same_config_and_seed_give_the_same_bytes(spiral, tmp_path):
    for name in ("a", "b"):
        train(spiral, SHORT, run_dir=tmp_path / name)
    for file in ("best.npz", "last.npz", "steps.csv", "predictions.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    train(spiral, [*SHORT, "seed=1"], run_dir=tmp_path / "c")
    assert (tmp_path / "a/best.npz").read_bytes() != (tmp_path / "c/best.npz").read_bytes()


def test_the_resolved_config_makes_the_same_run_again_from_anywhere(root, tmp_path, monkeypatch):
    train(root / "configs/optdigits.yaml", ["solver.epochs=2", "model.hidden=8"], run_dir=tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    train("a/config.yaml", run_dir=tmp_path / "b")
    assert (tmp_path / "a/best.npz").read_bytes() == (tmp_path / "b/best.npz").read_bytes()


def test_reporting_options_leave_the_parameters_bit_identical(spiral, tmp_path):
    train(spiral, SHORT, run_dir=tmp_path / "plain")
    reporting = ["run.redraw_seconds=0", "run.checkpoint_seconds=0", "run.evaluate_rows=7", "run.snapshot_epochs=2"]
    train(spiral, [*SHORT, *reporting], run_dir=tmp_path / "reporting", quiet=False)
    plain, _ = read_arrays(tmp_path / "plain/last.npz")
    other, _ = read_arrays(tmp_path / "reporting/last.npz")
    for name in ("W1", "b1", "W2", "b2"):
        np.testing.assert_array_equal(plain[name], other[name])
    assert len(list((tmp_path / "reporting/snapshots").iterdir())) == 1 + 12 // 2


def without_times(path):
    columns = read_history(path)
    return {
        name: values.tolist() for name, values in columns.items() if name != "seconds" and not np.isnan(values).all()
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_interrupted_and_resumed_run_equals_one_never_stopped(tmp_path, optimizer, schedule, monkeypatch):
    monkeypatch.setattr("twolayer.solver.engine.CHUNK_BYTES", 2 * 32 * 2 * 4)  # so that runs also stop inside an epoch
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)  # saves time
    config = tmp_path / "short.yaml"
    step_epochs = "step_epochs: 3," if schedule == "step" else ""
    config.write_text(
        f"""
        data: {{train: {{generator: spiral}}, validation: 0.2}}
        solver: {{optimizer: {optimizer}, schedule: {schedule}, learning_rate: 0.02, batch_size: 32, epochs: 12,
                 monitor: val_loss, warmup_epochs: 0.5, class_weight: {{'1': 2.0}}, max_grad_norm: 2, reg: 1e-3,
                 {step_epochs}}}
        """
    )
    straight = train(config, run_dir=tmp_path / "straight")
    stop_after = iter([7, 4, 15])
    _interrupting(monkeypatch, stop_after)
    result = train(config, run_dir=tmp_path / "stopped")
    while result.summary["status"] == "interrupted":
        assert result.signal_number == 2
        result = resume(tmp_path / "stopped")
    assert result.summary["status"] == straight.summary["status"] == "finished"
    for name in ("best.npz", "steps.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    ours, _ = read_arrays(tmp_path / "stopped/last.npz")
    theirs, _ = read_arrays(tmp_path / "straight/last.npz")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    assert without_times(tmp_path / "stopped/history.csv") == without_times(tmp_path / "straight/history.csv")


class _Stop:
    """In place of StopRequest: a Ctrl-C after a given number of events."""

    counts = None

    def __enter__(self):
        self.left = next(_Stop.counts, None)
        return self

    def __exit__(self, *exception):
        pass

    @property
    def signal_number(self):
        if self.left is None:
            return None
        self.left -= 1
        return 2 if self.left < 0 else None


def _interrupting(monkeypatch, counts):
    _Stop.counts = counts
    monkeypatch.setattr("twolayer.training.run.StopRequest", _Stop)


def test_a_finished_run_has_nothing_to_resume(spiral, tmp_path):
    train(spiral, SHORT, run_dir=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = resume(tmp_path / "run")
    assert "nothing to resume" in result.notes[0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_more_epochs_on_resume_equal_more_epochs_from_the_start(spiral, tmp_path):
    constant = [*SHORT, "solver.schedule=constant"]
    train(spiral, constant, run_dir=tmp_path / "run")
    resume(tmp_path / "run", ["solver.epochs=20"])
    train(spiral, [*constant, "solver.epochs=20"], run_dir=tmp_path / "straight")
    for file in ("best.npz", "steps.csv", "config.yaml"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()


def test_fewer_epochs_on_resume_are_refused_once_the_next_one_has_begun(spiral, tmp_path, monkeypatch):
    monkeypatch.setattr("twolayer.solver.engine.CHUNK_BYTES", 2 * 32 * 2 * 4)  # so that runs stop inside an epoch
    constant = [*SHORT, "solver.schedule=constant"]
    _interrupting(monkeypatch, iter([7]))
    progress = train(spiral, constant, run_dir=tmp_path / "run").summary
    begun = progress["epochs"] + 1
    assert progress["epochs"] * 8 < progress["steps"] < begun * 8  # 240 rows, 32 a batch
    for epochs in range(1, begun):
        with pytest.raises(RunError, match=rf"solver.epochs: expected at least {begun}, .*got {epochs}"):
            resume(tmp_path / "run", [f"solver.epochs={epochs}"])
    resume(tmp_path / "run", [f"solver.epochs={begun}"])
    train(spiral, [*constant, f"solver.epochs={begun}"], run_dir=tmp_path / "straight")
    assert (tmp_path / "run/best.npz").read_bytes() == (tmp_path / "straight/best.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("solver.epochs=20", r"cannot change solver.epochs from 12 to 20 on resume: .* schedule 'cosine'"),
        ("solver.reg=0.5", r"cannot change solver.reg from 1e-05 to 0.5 on resume"),
        ("seed=3", r"cannot change seed from .* to 3 on resume"),
        ("solver.engine=numba", r"cannot change solver.engine from .* to numba on resume"),
        ("model.hidden=16", r"cannot change model.hidden from 100 to 16 on resume"),
        ("model.dtype=float64", r"cannot change model.dtype from .* to float64 on resume"),
        ("solver.batch_size=16", r"cannot change solver.batch_size from 32 to 16 on resume"),
        ("solver.optimizer=adam", r"cannot change solver.optimizer from .* to adam on resume"),
        ("solver.monitor=val_loss", r"cannot change solver.monitor from .* to val_loss on resume"),
    ],
)
def test_a_change_that_makes_another_run_is_refused_by_name(spiral, tmp_path, change, words):
    train(spiral, SHORT, run_dir=tmp_path / "run")
    with pytest.raises(RunError, match=words):
        resume(tmp_path / "run", [change])


def test_an_output_option_may_change_on_resume(spiral, tmp_path, monkeypatch):
    _interrupting(monkeypatch, iter([3]))
    train(spiral, SHORT, run_dir=tmp_path / "run")
    assert resume(tmp_path / "run", ["run.redraw_seconds=9"]).summary["status"] == "finished"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("3,3,x", "3,4,x"),
        lambda text: text + "60,4,x\n" * 100,
        lambda text: "\n".join(f"{'c' if line[0] == 'a' else '1'},{line}" for line in text.splitlines()) + "\n",
        lambda text: text + "60,4,u\n" * 9,
    ],
    ids=["a cell", "more rows", "a column", "a class"],
)
def test_other_data_are_refused_on_resume(tmp_path, monkeypatch, change, force):
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,kind\n" + "\n".join(f"{i},{i % 7},{'xyz'[i % 3]}" for i in range(60)) + "\n")
    config = tmp_path / "c.yaml"
    config.write_text("data: {train: rows.csv, label: kind}\nsolver: {epochs: 5}\n")
    _interrupting(monkeypatch, iter([2]))
    train(config, run_dir=tmp_path / "run")
    rows.write_text(change(rows.read_text()))
    with pytest.raises(RunError, match=r"data: .*rows.csv has changed"):
        resume(tmp_path / "run", force=force)


def test_a_checkpoint_that_does_not_fit_is_not_blamed_on_other_versions(spiral, tmp_path):
    run = train(spiral, SHORT, run_dir=tmp_path / "run").run_dir
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "numpy": "1.0"}))
    arrays, header = read_arrays(run / "last.npz")
    del arrays["best/W1"], header["format"]
    write_arrays(run / "last.npz", arrays, header)
    with pytest.raises(RunError, match=r"last\.npz: array best/W1: expected .*, got nothing"):
        resume(run)


def test_a_folder_with_something_in_it_is_refused(spiral, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(RunError, match="got one with mine.txt in it"):
        train(spiral, SHORT, run_dir=tmp_path)


def test_divergence_keeps_the_last_good_state_and_says_what_to_do(spiral, tmp_path):
    with pytest.raises(DivergedError, match=r"diverged at step .* at learning rate 1e\+30 .* Try") as caught:
        train(spiral, [*SHORT, "solver.learning_rate=1e30"], run_dir=tmp_path / "run")
    assert caught.value.exit_code == 3
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "diverged"
    assert all(np.isfinite(array).all() for array in load_model(tmp_path / "run").params.named().values())


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"10": 2.0}, r"class_weight: expected labels of the data, .*; got \['10'\]"),
        ({str(digit): 0.0 for digit in range(10)}, "class_weight: expected a weight above 0, got 0 for every class"),
    ],
)
def test_class_weights_are_given_by_label(root, tmp_path, weights, said):
    with pytest.raises(ConfigError, match=said):
        train(root / "configs/optdigits.yaml", [f"solver.class_weight={weights}"], run_dir=tmp_path / "run")


@pytest.mark.parametrize("name", ["optdigits", "letter", "fashion-mnist", "toy", "spiral"])
def test_shipped_configs_train(root, tmp_path, name):
    result = train(root / f"configs/{name}.yaml", ["solver.epochs=1"], run_dir=tmp_path / "run")
    assert result.summary["epochs"] == 1


def test_a_run_of_version_0_1_is_resumed_to_the_same_bits(tmp_path):
    """Its checkpoint lacks `reference`, keeps the plateau as a section, and its history lacks three columns."""
    config = tmp_path / "short.yaml"
    config.write_text("data: {train: {generator: spiral}, validation: 0.2}\nsolver: {epochs: 6, schedule: plateau}\n")
    whole = train(config, run_dir=tmp_path / "whole")
    run = train(config, run_dir=tmp_path / "old", stop=lambda record: record["epoch"] == 3).run_dir
    arrays, header = read_arrays(run / "last.npz")
    header.pop("format")
    progress = header["progress"]
    progress["best"].pop("reference")
    progress["plateau"] = {"scale": progress.pop("plateau_scale"), "best": 0.1, "bad_epochs": 0}
    write_arrays(run / "last.npz", arrays, header)
    rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    kept = [at for at, name in enumerate(rows[0]) if name not in SINCE_0_2]
    old = "\n".join(",".join(row[at] for at in kept) for row in rows) + "\n"
    (run / "history.csv").write_text(old)
    resume(run)
    assert (run / "best.npz").read_bytes() == (whole.run_dir / "best.npz").read_bytes()
    assert (run / "history.csv").read_text().startswith(old)
    now, then = read_history(run / "history.csv"), read_history(whole.run_dir / "history.csv")
    assert np.array_equal(now["val_loss"], then["val_loss"])
    assert np.isnan(now["val_f1"]).all()


def test_a_run_says_that_patience_makes_the_plateau_unreachable(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text(
        "data: {train: {generator: spiral}, validation: 0.2}\n"
        "solver: {epochs: 2, schedule: plateau, plateau_patience: 5, patience: 5}\n"
    )
    assert any("patience 5 stops the training before" in note for note in train(config, run_dir=tmp_path / "r").notes)


def test_auc_as_the_monitor_of_three_classes_is_refused_by_its_key(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text("data: {train: {generator: spiral}, validation: 0.2}\nsolver: {monitor: val_auc}\n")
    with pytest.raises(ConfigError, match="solver.monitor: val_auc needs two classes, the data has 3"):
        train(config, run_dir=tmp_path / "r")
