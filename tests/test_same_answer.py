"""One table, one answer: a file, its frames and the exported model give the same labels and probabilities."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT
from data_helpers import csv

from twolayer import load_config, load_model, train
from twolayer.data.columns import canonical, clean, number_of

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")


def shipped():
    """The shipped configs whose training rows are a table."""
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        source = load_config(path).data.train
        if isinstance(source, str) and ".csv" in source:
            yield path


def frames_of(path, header):
    """The table as pandas, polars and Arrow read it; texts and numbers as they find them."""
    frame = pandas.read_csv(path, header=0 if header else None)
    frame.columns = [str(name) for name in frame.columns]
    yield frame
    yield frame.sample(frac=1, axis=1, random_state=0).assign(another=7) if header else frame.convert_dtypes()
    yield polars.from_pandas(frame)
    yield pa.Table.from_pandas(frame, preserve_index=False)


def feeds_of(path, form):
    """What an ONNX runtime gets: numbers, NaN where missing, and the canonical texts of categories."""
    cells = pandas.read_csv(path, dtype=str, keep_default_na=False, header=0 if form.names else None)
    booleans = {"true": 1.0, "false": 0.0}
    feeds, numbers = {}, []
    for position in form.features:
        texts = [clean(text) for text in cells.iloc[:, position]]
        if position in form.categories:
            column = [[canonical(text)] for text in texts]
        else:
            known = [number_of(text) if text not in form.reading.missing else np.nan for text in texts]
            column = [[booleans[text.lower()] if one is None else one] for text, one in zip(texts, known, strict=True)]
            numbers.append(np.asarray(column, np.float64))
        feeds[form.name(position)] = column
    return feeds if form.categories else {"rows": np.hstack(numbers)}


def require_one_answer(path, tmp_path):
    model = load_model(tmp_path / "run")
    form = model.preparation.form
    best, P = model.predict_rows(path)
    labels = [model.classes[k] for k in best]
    for frame in frames_of(path, form.names is not None):
        np.testing.assert_array_equal(model.predict_proba(frame), P)
        assert model.predict(frame).tolist() == labels
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from twolayer.interop.export import export_onnx

    export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}
    inputs = zip(session.get_inputs(), feeds_of(path, form).values(), strict=True)  # `label` is called label_ there
    typed = {each.name: np.asarray(cells, kinds[each.type]) for each, cells in inputs}
    label, probabilities = session.run(["label", "probabilities"], typed)
    assert label.tolist() == labels
    assert np.abs(probabilities - P).max() <= 1e-6


@pytest.mark.filterwarnings("ignore:.*that training did not have:UserWarning")
@pytest.mark.parametrize("config", list(shipped()), ids=lambda path: path.stem)
def test_a_shipped_table_has_one_answer(config, tmp_path):
    train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")
    data = load_config(config).data
    path = data.test if isinstance(data.test, str) else data.train
    text = pandas.read_csv(path, dtype=str, keep_default_na=False, nrows=1000).to_csv(index=False)
    require_one_answer(csv(tmp_path, text), tmp_path)


CAFES = ("caf\u00e9", "cafe\u0301", "the")
QUOTED = ("one, two", "three\nfour", 'say ""hi""')


def rows(line, n=30):
    return "".join(line(i) + "\n" for i in range(n))


TABLES = {
    "labels written 1 and 1.0": ("a,b,y\n" + rows(lambda i: f"{i},{i % 7},{('1', '1.0', '2', '02')[i % 4]}"), {}),
    "an index without a name": (",a,y\n" + rows(lambda i: f"{i},{i * i % 11},{'uv'[i % 2]}"), {}),
    "an index saved twice": (",Unnamed: 0,a,y\n" + rows(lambda i: f"{i},{i % 9},{i * i % 11},{'uv'[i % 2]}"), {}),
    "a nameless column beside one named 0": (
        ",0,1,y\n" + rows(lambda i: f"{i},{i % 5},{i % 3},{i % 2}"),
        {"ignore": ["0"]},
    ),
    "categories that gaps turn into floats": (
        "zone,a,y\n" + rows(lambda i: f"{'' if i % 7 == 3 else i % 3 + 1},{i},{'uv'[i % 2]}"),
        {"categorical": ["zone"], "missing": "mean"},
    ),
    "no header": (rows(lambda i: f"{i},{i % 5}.5,{'uv'[i % 2]}"), {"label": 2}),
    "a header of numbers": ("0,1,2\n" + rows(lambda i: f"{i},{i % 5}.5,{i % 2}"), {"label": 2}),
    "a class called NA": ("a,y\n" + rows(lambda i: f"{i},{('NA', 'EU')[i % 2]}"), {"missing_values": [""]}),
    "a category called None": (
        "k,a,y\n" + rows(lambda i: f"{('None', 'Grvl', 'Pave')[i % 3]},{i},{'uv'[i % 2]}"),
        {"categorical": ["k"], "missing": "mean"},
    ),
    "booleans and gaps": (
        "flag,a,y\n" + rows(lambda i: f"{('TRUE', 'False')[i % 2]},{'?' if i % 8 == 5 else i},{i % 2 == 0}"),
        {"missing": "mean"},
    ),
    "texts in two Unicode forms": (
        "k,a,y\n" + rows(lambda i: f"{CAFES[i % 3]},{i},{'uv'[i % 2]}"),
        {"categorical": ["k"]},
    ),
    "years as names": ("2019,2020,y\n" + rows(lambda i: f"{i},{i % 4},{'uv'[i % 2]}"), {"ignore": [2019]}),
    "quotes, line ends and commas in cells": (
        "k,a,y\n" + rows(lambda i: f'"{QUOTED[i % 3]}",{i},{"uv"[i % 2]}'),
        {"categorical": ["k"]},
    ),
    "constant columns": (
        "a,c,d,y\n" + rows(lambda i: f"{i},7,x,{'uv'[i % 2]}"),
        {"constant": "drop", "categorical": ["d"]},
    ),
    "texts alone, without a header": (
        rows(lambda i: f"{'rgb'[i % 3]},{'xy'[i % 2]},{'uv'[i % 2]}"),
        {"label": 2, "categorical": [0, 1]},
    ),
    "a space before the quotes": (
        'a, "k", "y"\n' + rows(lambda i: f'{i}, "{"rgb"[i % 3]}", "{"uv"[i % 2]}"'),
        {"categorical": ["k"]},
    ),
    "ids beyond float64, as categories": (
        "k,a,y\n" + rows(lambda i: f"{2**53 + i % 3},{i},{2**60 + i % 2}"),
        {"categorical": ["k"]},
    ),
    "large and small numbers": ("a,b,y\n" + rows(lambda i: f"{i}e30,{i}e-30,{'uv'[i % 2]}"), {}),
}


@pytest.mark.filterwarnings("ignore:.*that training did not have:UserWarning")
@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_one_answer(name, tmp_path):
    text, keys = TABLES[name]
    path = csv(tmp_path, text)
    values = {
        "data": {"train": str(path), "label": "y", "validation": 0, **keys},
        "model": {"hidden": 4},
        "solver": {"epochs": 3, "learning_rate": 0.01, "monitor": "train_loss"},
    }
    train(values, run_dir=tmp_path / "run")
    require_one_answer(path, tmp_path)


NUMBERS = {
    "floats": lambda rng: repr(rng.gauss(0, 3)),
    "spelt": lambda rng: rng.choice(["{}", "{}.0", " {}", "{}e0", "0{}"]).format(rng.randint(0, 9)),
    "booleans": lambda rng: rng.choice(["True", "FALSE", "true", ""]),
    "gaps": lambda rng: rng.choice([repr(rng.random()), "", "NA", "?"]),
    "tiny": lambda rng: rng.choice(["0", "-0.0", "1e-320", "5e-324"]),
}
CATEGORIES = {
    "texts": lambda rng: rng.choice(["red", "it's", "a;b", " b ", "#c", "=1+1", "a|b", '"l1\nl2"']),
    "numbers": lambda rng: rng.choice(["1", "1.0", "02", "2.50", "+3"]),
    "booleans": lambda rng: rng.choice(["TRUE", "true", "False"]),
    "forms": lambda rng: rng.choice(["\u00c5ngstr\u00f6m", "\u212bngstro\u0308m", "\u65e5\u672c", "\ufb01"]),
    "gaps": lambda rng: rng.choice(["u", "v", "", "NaN"]),
    "times": lambda rng: rng.choice(["2020-01-01", "2020-02-01"]),
}
LABELS = (["u", "v"], ["0", "1.0", "2"], ["True", "false"], ["1.5", "2.50"], ["<=50K", ">50K"], ["-1", "01"])


@pytest.mark.filterwarnings("ignore:.*that training did not have:UserWarning")
@pytest.mark.parametrize("seed", range(12))
def test_a_random_table_has_one_answer(seed, tmp_path):
    rng = random.Random(seed)
    kinds = [rng.choice([*NUMBERS.values(), *CATEGORIES.values()]) for _ in range(rng.randint(1, 6))]
    labels = rng.choice(LABELS)
    lines = [[*(kind(rng) for kind in kinds), labels[i % len(labels)]] for i in range(40)]
    names = [*rng.sample(["a", "b c", "2019", "0", "\u00e9", "id", "label", "p(1)", "1.0"], len(kinds)), "y"]
    path = csv(tmp_path, "".join(",".join(cells) + "\n" for cells in [names, *lines]))
    categorical = [name for name, kind in zip(names, kinds, strict=False) if kind in CATEGORIES.values()]
    values = {
        "data": {
            "train": str(path), "label": "y", "validation": 0, "missing": "mean", "categorical": categorical,
            "scale": rng.choice(["standardize", "center", "none", "max"]),
        },
        "model": {"hidden": 3},
        "solver": {"epochs": 1, "learning_rate": 1e-6, "monitor": "train_loss"},
    }  # fmt: skip
    train(values, run_dir=tmp_path / "run")
    require_one_answer(path, tmp_path)
