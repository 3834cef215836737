"""Work from Python, as in a notebook: a bar while training, a history that can be drawn, objects that say what they
are."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
from conftest import ROOT

import twolayer
from twolayer import Solver, init_params, load_model, train
from twolayer.utils.errors import RunError

CONFIG = ROOT / "configs" / "spiral.yaml"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return train(
        CONFIG, ["solver.epochs=6", "data.validation=0.2"], run_dir=tmp_path_factory.mktemp("notebook") / "run"
    )


@pytest.fixture(scope="module")
def records():
    X = np.random.default_rng(0).standard_normal((60, 2))
    y = (X[:, 0] > 0).astype(int)
    return list(Solver(init_params(2, 4, 2, rng=np.random.default_rng(0)), X, y, epochs=4, optimizer="adam"))


def curves(picture):
    """The (x, y) data of the lines in the first panel with more than one point."""
    lines = (line for line in picture.figure.axes[0].lines if len(line.get_xdata()) > 2)
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in lines}


class TestPlot:
    def test_a_notebook_gets_a_png(self, result):
        png = twolayer.plot(result)._repr_png_()
        assert png.startswith(b"\x89PNG\r\n")

    def test_what_train_returns_its_history_and_its_folder_draw_the_same(self, result, tmp_path):
        pictures = []
        for history in (result, result.history, result.run_dir, str(result.run_dir)):
            twolayer.plot(history, best_epoch=result.summary["best_epoch"]).save(tmp_path / "picture.png")
            pictures.append(matplotlib.image.imread(tmp_path / "picture.png"))
        assert all(np.array_equal(pictures[0], picture) for picture in pictures[1:])

    def test_the_lines_are_the_historys_columns(self, result):
        lines = curves(twolayer.plot(result))
        assert np.array_equal(lines["training"][1], result.history["train_loss"])
        assert np.array_equal(lines["validation"][1], result.history["val_loss"])

    def test_a_solvers_records_can_be_drawn_against_steps(self, records):
        x, y = curves(twolayer.plot(records, by="step"))["training"]
        assert x.tolist() == [record["step"] for record in records]
        assert y.tolist() == [record["train_loss"] for record in records]

    def test_a_fitted_estimator_can_be_drawn(self):
        pytest.importorskip("sklearn")
        X = np.random.default_rng(0).standard_normal((60, 2))
        model = twolayer.TwoLayerClassifier(hidden=4, epochs=5, validation=0.3, random_state=0)
        model.fit(X, X[:, 0] > 0)
        for history in (model, model.history_):
            lines = curves(twolayer.plot(history))
            assert lines["training"][1].tolist() == model.train_loss_curve_
            assert lines["validation"][1].tolist() == model.validation_loss_curve_

    def test_what_cannot_be_drawn_is_said(self, records, tmp_path):
        with pytest.raises(ValueError, match="the history is empty"):
            twolayer.plot([])
        with pytest.raises(ValueError, match="by: expected a column of the history"):
            twolayer.plot(records, by="seconds")
        with pytest.raises(RunError, match="expected a run folder"):
            twolayer.plot(tmp_path)
        for what in (3, [None]):
            with pytest.raises(TypeError, match="expected a history"):
                twolayer.plot(what)


class TestProgress:
    def test_training_can_show_its_progress_and_is_silent_unless_asked(self, tmp_path, capsys):
        train(CONFIG, ["solver.epochs=2"], run_dir=tmp_path / "quiet")
        assert capsys.readouterr() == ("", "")
        train(CONFIG, ["solver.epochs=2"], run_dir=tmp_path / "loud", quiet=False)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "epoch 2/2: train acc" in shown.err

    def test_so_can_the_estimator(self, capsys):
        pytest.importorskip("sklearn")
        X = np.random.default_rng(0).standard_normal((60, 2))
        model = twolayer.TwoLayerClassifier(hidden=4, epochs=2, verbose=True).fit(X, X[:, 0] > 0)
        assert "epoch 2/2" in capsys.readouterr().err
        model.set_params(verbose=False).fit(X, X[:, 0] > 0)
        assert capsys.readouterr() == ("", "")


class TestReprs:
    def test_the_main_objects_say_what_they_are(self, result):
        assert repr(result.model.params) == "Params(2-100-3, float32, 603 numbers)"
        assert repr(load_model(result.run_dir)) == "Model(Params(2-100-3, float32, 603 numbers), classes=[0, 1, 2])"
        assert repr(result).startswith(f"TrainResult({str(result.run_dir)!r}, status=finished, epochs=6, best_epoch=")
        assert repr(twolayer.plot(result)) == "Picture(a notebook shows it, .save(path) writes it)"

    def test_the_solver_says_how_far_it_is(self):
        X = np.random.default_rng(0).standard_normal((60, 2))
        solver = Solver(init_params(2, 4, 2, rng=np.random.default_rng(0)), X, np.arange(60) % 2, epochs=4)
        assert repr(solver) == "Solver(Params(2-4-2, float32, 22 numbers), sgd, 60 rows, epoch 0 of 4)"
        next(iter(solver))
        assert repr(solver).endswith("sgd, 60 rows, epoch 1 of 4)")
