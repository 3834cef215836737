"""Exported files predict what the model predicts, in the hands of others: onnxruntime and PyTorch."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from twolayer import load_config, train
from twolayer.data.columns import ColumnChoice, Reading
from twolayer.data.sources import read_training
from twolayer.runs.checkpoint import Model
from twolayer.utils.errors import MissingExtraError

CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yaml"))

ANIMALS = """weight,colour,legs,name
1.5,red,4,cat
2.5,blue,2,bird
3.5,red,4,cat
,blue,2,bird
1.0,?,4,cat
2.0,green,2,bird
"""


@pytest.fixture
def predictions_of(tmp_path):
    """A function that runs an exported ONNX file."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from twolayer.interop.export import export_onnx

    def run(model: Model, feeds):
        path = tmp_path / "model.onnx"
        export_onnx(model, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}
        if not isinstance(feeds, dict):
            feeds = {"rows": feeds}
        typed = {each.name: np.asarray(feeds[each.name], kinds[each.type]) for each in session.get_inputs()}
        return session.run(["label", "probabilities"], typed)

    return run


def trained(config, tmp_path, *overrides):
    return train(config, ["solver.epochs=2", *overrides], run_dir=tmp_path / "run").model


def test_rows(config):
    """The raw test rows of a config, or its training rows where it has none for testing."""
    data = load_config(config).data
    source = data.test if isinstance(data.test, str) else data.train
    raw, _ = read_training(
        source if isinstance(source, str) else source.model_dump(exclude_none=True),
        ColumnChoice(data.label, data.ignore, data.categorical),
        0,
        Reading(),
        "keep",
        "none",
        [],
    )
    return raw.X


test_rows.__test__ = False


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
class TestShippedConfigs:
    def test_onnx_and_torch_predict_the_models_labels_on_every_test_row(self, config, tmp_path, predictions_of):
        model = trained(config, tmp_path, "solver.epochs=1")
        X = test_rows(config)
        P, labels = model.predict_proba(X), model.predict(X)
        label, probabilities = predictions_of(model, X)
        assert label.tolist() == labels.tolist()
        assert np.abs(probabilities - P).max() < 1e-5
        assert _torch_labels(model, X, tmp_path / "model.safetensors") == labels.tolist()


def _torch_labels(model, X, path):
    """Labels from the safetensors file alone, by PyTorch and what the metadata says."""
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    from twolayer.interop.export import export_safetensors

    export_safetensors(model, path)
    with safetensors.safe_open(path, "pt") as file:
        preparation = json.loads(file.metadata()["preparation"])
    tensors = load_file(path)
    sizes = [tensors[name].shape[::-1] for name in sorted(tensors) if name.endswith("weight")]
    layers = [torch.nn.Linear(*size, dtype=tensors["0.weight"].dtype) for size in sizes]
    network = torch.nn.Sequential(*([layers[0], torch.nn.ReLU(), layers[1]] if len(layers) == 2 else layers))
    network.load_state_dict(tensors)
    ready = (X.astype(np.float64) - preparation["center"]) / preparation["scale"]
    scores = network(torch.tensor(ready, dtype=tensors["0.weight"].dtype))
    return [preparation["classes"][k] for k in scores.argmax(dim=1)]


class TestOnnx:
    @pytest.fixture
    def animals(self, tmp_path):
        path = tmp_path / "animals.csv"
        path.write_text(ANIMALS + 4 * ANIMALS.partition("\n")[2])
        config = tmp_path / "animals.yaml"
        config.write_text(
            "data: {train: animals.csv, label: name, categorical: [colour], missing: mean, validation: 0.2}\n"
            "model: {hidden: 4, dtype: float64}\n"
        )
        return trained(config, tmp_path), list(csv.DictReader(ANIMALS.splitlines()))

    def test_categories_and_missing_cells_are_treated_inside_the_graph(self, animals, predictions_of):
        model, rows = animals
        feeds = {
            "weight": [[float(row["weight"] or "nan")] for row in rows],
            "colour": [[row["colour"]] for row in rows],
            "legs": [[float(row["legs"])] for row in rows],
        }
        P = model.predict_proba([[row[name] for name in ("weight", "colour", "legs")] for row in rows])
        label, probabilities = predictions_of(model, feeds)
        assert np.abs(probabilities - P).max() < 1e-12
        assert label.tolist() == np.array(model.classes)[P.argmax(axis=1)].tolist()

    def test_a_column_may_be_named_like_an_output(self, tmp_path, predictions_of):
        path = tmp_path / "named.csv"
        path.write_text("label,label_,probabilities,kind\n" + 6 * "red,1,2,a\nblue,3,1,b\nred,2,0,a\n")
        config = tmp_path / "named.yaml"
        config.write_text(
            "data: {train: named.csv, label: kind, categorical: [label], validation: 0}\n"
            "model: {hidden: 4, dtype: float64}\n"
        )
        model = trained(config, tmp_path)
        feeds = {"label_": [["red"], ["blue"]], "label__": [[1.0], [3.0]], "probabilities_": [[2.0], [1.0]]}
        _, probabilities = predictions_of(model, feeds)
        P = model.predict_proba([["red", 1.0, 2.0], ["blue", 3.0, 1.0]])
        assert np.abs(probabilities - P).max() < 1e-12

    @pytest.mark.parametrize("unseen", ["none", "error"])
    def test_a_category_that_training_did_not_have_is_treated_as_the_model_treats_it(
        self, animals, predictions_of, unseen
    ):
        model, _ = animals
        preparation = replace(model.preparation, form=replace(model.preparation.form, unseen=unseen))
        model = Model(model.params, preparation)
        feeds = {"weight": [[1.0]], "colour": [["violet"]], "legs": [[4.0]]}
        if unseen == "error":
            with pytest.raises(Exception, match="Unknown Category"):
                predictions_of(model, feeds)
            return
        _, P = predictions_of(model, feeds)
        with pytest.warns(UserWarning, match="1 cell with a category that training did not have"):
            np.testing.assert_allclose(P, model.predict_proba([[1.0, "violet", 4.0]]), atol=1e-6)

    def test_a_large_offset_costs_no_digits(self, tmp_path, predictions_of):
        t = 1.7e9 + np.arange(60)
        path = tmp_path / "times.csv"
        path.write_text("time,late\n" + "".join(f"{x:.0f},{int(x > 1.7e9 + 29)}\n" for x in t))
        config = tmp_path / "times.yaml"
        config.write_text("data: {train: times.csv, label: late}\nsolver: {epochs: 30}\n")
        model = trained(config, tmp_path, "solver.epochs=30")
        label, _ = predictions_of(model, t[:, None])
        assert label.tolist() == model.predict(t[:, None]).tolist() == (t > 1.7e9 + 29).astype(int).tolist()

    def test_the_file_is_the_same_every_time_and_says_its_classes(self, tmp_path):
        onnx = pytest.importorskip("onnx")
        from twolayer.interop.export import export_onnx

        model = trained(ROOT / "configs" / "spiral.yaml", tmp_path)
        for name in ("a.onnx", "b.onnx"):
            export_onnx(model, tmp_path / name)
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
        properties = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
        assert json.loads(properties["classes"]) == list(model.classes)


class TestCommand:
    @pytest.mark.parametrize("kind", ["onnx", "safetensors"])
    def test_the_file_is_written_beside_the_model_unless_a_path_is_given(self, kind, tmp_path, run_twolayer):
        pytest.importorskip(kind)
        trained(ROOT / "configs" / "spiral.yaml", tmp_path)
        done = run_twolayer("export", tmp_path / "run", "--to", kind)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / f"model.{kind}").stat().st_size > 1000
        done = run_twolayer("export", tmp_path / "run" / "best.npz", "--to", kind, "--out", tmp_path / "mine")
        assert (tmp_path / "mine").read_bytes() == (tmp_path / "run" / f"model.{kind}").read_bytes()

    def test_no_model_is_a_message(self, tmp_path, run_twolayer):
        done = run_twolayer("export", tmp_path, "--to", "safetensors")
        assert done.returncode == 2
        assert "expected a run folder" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    from twolayer.interop.export import export_onnx

    model = trained(ROOT / "configs" / "spiral.yaml", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[onnx\]' in a clone of twolayer"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
