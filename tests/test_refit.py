"""run.refit: training and validation rows together, for the epochs that the validation rows chose."""

from __future__ import annotations

import numpy as np
import pytest

from twolayer.__main__ import run as run_command
from twolayer.config import load_config
from twolayer.data.rows import ArrayRows
from twolayer.network.model import forward
from twolayer.runs.checkpoint import load_model, read_model_arrays
from twolayer.solver.solver import Solver
from twolayer.training.build import JoinedRows, initial_params, read_data
from twolayer.training.run import resume, train
from twolayer.utils.errors import ConfigError
from twolayer.utils.process import StopRequest


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(
        "data: {train: {generator: spiral, noise: 0.4}, validation: 0.2, test: 0.2}\n"
        "model: {hidden: 12}\n"
        "solver: {epochs: 40, learning_rate: 0.2, schedule: cosine, class_weight: balanced, batch_size: 16}\n"
        "run: {refit: true}\n"
    )
    return path


def arrays_of(run):
    arrays, header = read_model_arrays(run / "best.npz", kinds=("model",))
    return {name: arrays[name] for name in ("W1", "b1", "W2", "b2")}, header


def test_the_model_is_that_of_a_solver_on_all_rows_up_to_the_best_epoch(config, tmp_path):
    result = train(config, run_dir=tmp_path / "run")
    loaded = load_config(config)
    dataset = read_data(loaded)
    everything = []
    for part in (dataset.train, dataset.validation):
        rows = np.empty((len(part.y), 2), np.float32)
        part.X.take(np.arange(len(part.y)), rows)
        everything.append(rows)
    X, y = np.concatenate(everything), np.concatenate([dataset.train.y, dataset.validation.y])
    settings = loaded.solver.model_dump(exclude={"class_weight"}) | {"monitor": "train_loss"}
    weights = len(y) / (3 * np.bincount(y))
    solver = Solver(initial_params(loaded, dataset), X, y, class_weights=weights, seed=0, **settings)
    for record in solver:
        if record["epoch"] == result.summary["best_epoch"]:
            break
    arrays, header = arrays_of(tmp_path / "run")
    assert all(np.array_equal(arrays[name], array) for name, array in solver.params.named().items())
    assert 1 < result.summary["best_epoch"] < 40
    assert header["refit"] == {"rows": len(y), "epochs": result.summary["best_epoch"]}
    assert (result.summary["refit_rows"], result.summary["refit_epochs"]) == (len(y), result.summary["best_epoch"])
    assert any(f"refitted on {len(y)} training and validation rows" in note for note in result.notes)


def test_the_figures_are_those_of_the_model_and_on_validation_rows_those_before_it(config, tmp_path):
    refitted = train(config, run_dir=tmp_path / "run").summary
    plain = train(config, ["run.refit=false"], run_dir=tmp_path / "plain").summary
    assert plain["refit_rows"] is None
    assert {name: refitted[name] for name in refitted if name.startswith("val_")} == {
        name: plain[name] for name in plain if name.startswith("val_")
    }
    dataset = read_data(load_config(config))
    X = np.empty((len(dataset.test.y), 2), np.float32)
    dataset.test.X.take(np.arange(len(X)), X)
    model = load_model(tmp_path / "run")
    assert refitted["test_accuracy"] == (forward(model.params, X).argmax(axis=1) == dataset.test.y).mean()
    assert refitted["train_loss"] != plain["train_loss"]
    assert (tmp_path / "run/history.csv").read_text().count("\n") == 41


@pytest.mark.parametrize("stop_at", [0.5, 7, 1000], ids=["in training", "between", "in the refit"])
def test_a_run_stopped_anywhere_and_resumed_equals_one_never_stopped(config, tmp_path, monkeypatch, stop_at):
    straight = train(config, run_dir=tmp_path / "straight")
    asked = iter(range(10**9))
    limit = {0.5: 20, 7: 80, 1000: 85}[stop_at]
    with monkeypatch.context() as patched:
        number = property(lambda request: 2 if next(asked) >= limit else None, lambda request, value: None)
        patched.setattr(StopRequest, "signal_number", number, raising=False)
        stopped = train(config, run_dir=tmp_path / "stopped")
    assert stopped.summary["status"] == "interrupted"
    assert stopped.summary["refit_epochs"] is None
    assert resume(tmp_path / "stopped").summary["refit_epochs"] == straight.summary["refit_epochs"]
    for name in ("best.npz", "steps.csv", "predictions.npz"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_a_finished_run_keeps_its_refitted_model_and_gets_a_lost_one_back(config, tmp_path):
    run = train(config, run_dir=tmp_path / "run").run_dir
    model = (run / "best.npz").read_bytes()
    assert "nothing to resume" in resume(run).notes[0]
    assert (run / "best.npz").read_bytes() == model
    (run / "best.npz").unlink()
    resume(run)
    assert (run / "best.npz").read_bytes() == model


def test_a_refitted_run_that_is_given_more_epochs_is_refitted_again(config, tmp_path):
    constant = ["solver.schedule=constant", "solver.learning_rate=0.05"]
    run = train(config, [*constant, "solver.epochs=3"], run_dir=tmp_path / "run").run_dir
    resumed = resume(run, ["solver.epochs=20"]).summary
    straight = train(config, [*constant, "solver.epochs=20"], run_dir=tmp_path / "straight").summary
    assert resumed["refit_epochs"] == straight["refit_epochs"] > 3
    assert (run / "best.npz").read_bytes() == (tmp_path / "straight" / "best.npz").read_bytes()


@pytest.mark.parametrize("change", ["data.validation=0", "solver.schedule=plateau"])
def test_what_a_refit_cannot_do_is_refused_by_its_key(config, tmp_path, change):
    overrides = [change, *(["solver.monitor=train_loss"] if "validation" in change else [])]
    with pytest.raises(ConfigError, match=r"run\.refit: (needs validation rows|cannot repeat the drops)"):
        train(config, overrides, run_dir=tmp_path / "run")


def test_joined_rows_are_those_of_the_first_then_those_of_the_second():
    X = np.arange(20, dtype=np.float32).reshape(10, 2)
    joined = JoinedRows(ArrayRows(X[:4]), ArrayRows(X[4:]))
    rows = np.array([9, 0, 4, 3, 3])
    out = np.empty((5, 2), np.float32)
    joined.take(rows, out)
    assert joined.shape == (10, 2)
    assert np.array_equal(out, X[rows])


def test_the_report_says_that_the_model_was_refitted(config, tmp_path):
    run = train(config, ["solver.epochs=5"], run_dir=tmp_path / "run").run_dir
    page = tmp_path / "page.html"
    assert run_command(["report", str(run), "--output", str(page)]) == 0
    assert "The model was refitted on 240 training and validation rows" in page.read_text()


def test_evaluate_says_that_validation_rows_judge_the_model_before_the_refit(config, tmp_path, capsys):
    run = train(config, ["solver.epochs=5", "data.test=null"], run_dir=tmp_path / "run").run_dir
    assert run_command(["evaluate", str(run)]) == 0
    assert "validation rows, before the refit: 60 rows" in capsys.readouterr().out
