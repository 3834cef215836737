"""Rows, scaling, splits, generated rows and the preparation that goes with a model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from data_helpers import all_rows, csv
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.data import ArrayRows, Preparation, ScaledRows, load_dataset
from twolayer.data.dataset import stratified_split
from twolayer.data.rows import Scaling, fit_scaling
from twolayer.utils.errors import DataError

RNG = np.random.default_rng(7)


def scaled(X, method, rows=None, dtype=np.float64):
    return fit_scaling(X, method, rows).apply(X, np.empty(X.shape, dtype))


@pytest.mark.parametrize("kind", ["u1", "i2", "f4", "f8", ">f8"])
def test_standardized_features_are_scikit_learn_s(kind):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X = RNG.integers(0, 200, (3000, 70)).astype(kind)
    tolerance = 1e-12 if kind[-2:] == "f8" else 3e-6
    expected = preprocessing.StandardScaler().fit_transform(X.astype(float))
    np.testing.assert_allclose(scaled(X, "standardize"), expected, atol=1e-12)
    np.testing.assert_allclose(scaled(X, "standardize", dtype=np.float32), expected, atol=3e-6)
    expected = preprocessing.MaxAbsScaler().fit_transform(X.astype(float))
    np.testing.assert_allclose(scaled(X, "max", dtype=np.float32), expected, atol=tolerance + 1e-7)
    np.testing.assert_allclose(scaled(X, "center"), X.astype(float) - X.astype(float).mean(axis=0), atol=1e-9)
    np.testing.assert_array_equal(scaled(X, "none"), X)


def test_scaling_is_fitted_on_the_given_rows_alone():
    X = RNG.normal(size=(50, 3))
    rows = np.arange(0, 50, 3)
    np.testing.assert_allclose(fit_scaling(X, "standardize", rows).center, X[rows].mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(fit_scaling(X, "standardize", rows).scale, X[rows].std(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(fit_scaling(X, "max", rows).scale, np.abs(X[rows]).max(axis=0))


def test_a_large_offset_costs_no_digits():
    X = RNG.normal(size=(100_000, 2))
    offset = X + 1e9
    np.testing.assert_allclose(fit_scaling(offset, "standardize").scale, X.std(axis=0), rtol=1e-6)
    got = scaled(offset, "standardize", dtype=np.float32)
    np.testing.assert_allclose(got, (X - X.mean(axis=0)) / X.std(axis=0), atol=1e-5)


@pytest.mark.parametrize("method", ["none", "center", "standardize", "max"])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e9 + 0.1, 255.0])
def test_a_constant_feature_is_safe(method, value):
    X = np.column_stack([np.full(1000, value), RNG.normal(size=1000)])
    for kind in (np.float32, np.float64):
        Z = scaled(X.astype(kind), method, dtype=np.float32)
        assert np.isfinite(Z).all()
        assert np.abs(Z[:, 0]).max() <= (abs(value) * 1.01 if method == "none" else 1.0)
        if method in ("center", "standardize"):
            np.testing.assert_array_equal(Z[:, 0], 0)


def test_a_feature_that_differs_by_rounding_alone_counts_as_constant():
    X = np.column_stack([np.where(np.arange(100) % 2, 0.1 + 0.2, 0.3), RNG.normal(size=100)])
    assert np.abs(scaled(X, "standardize")[:, 0]).max() < 1e-12


@settings(deadline=None)
@given(n=st.integers(1, 40), width=st.integers(1, 3), seed=st.integers(0, 100))
def test_blocks_do_not_change_the_statistics(n, width, seed):
    X = np.random.default_rng(seed).normal(size=(n, width))
    scaling = fit_scaling(X, "standardize")
    np.testing.assert_allclose(scaling.center, X.mean(axis=0), atol=1e-12)
    expected = X.std(axis=0)
    np.testing.assert_allclose(scaling.scale, np.where(expected < 1e-12, 1, expected), rtol=1e-9)


def kinds_of_rows():
    X = RNG.integers(0, 256, (20, 3)).astype(np.uint8)
    scaling = Scaling(np.array([1.0, 2, 3]), np.array([2.0, 4, 8]))
    expected = ((X - scaling.center) / scaling.scale).astype(np.float32)
    fortran = np.asfortranarray(X)
    return {
        "array": (ArrayRows(expected), expected),
        "scaled": (ScaledRows(X, scaling), expected),
        "scaled fortran": (ScaledRows(fortran, scaling), expected),
        "scaled strided": (ScaledRows(np.repeat(X, 2, axis=1)[:, ::2], scaling), expected),
        "scaled float64": (ScaledRows(X.astype(np.float64), scaling), expected),
        "scaled big-endian": (ScaledRows(X.astype(">f4"), scaling), expected),
    }


@pytest.mark.parametrize("name", kinds_of_rows())
def test_rows_are_taken_sliced_and_chosen_alike(name):
    rows, expected = kinds_of_rows()[name]
    assert rows.shape == (20, 3)
    out = np.empty((4, 3), np.float32)
    rows.take(np.array([3, 0, 19, 3]), out)
    np.testing.assert_allclose(out, expected[[3, 0, 19, 3]], rtol=1e-6)
    rows.slice(5, 9, out)
    np.testing.assert_allclose(out, expected[5:9], rtol=1e-6)
    chosen = rows.subset(np.array([7, 1, 9, 4, 2], np.int32)).subset(np.array([4, 0, 1, 2], np.int32))
    assert chosen.shape == (4, 3)
    assert chosen.X is rows.X
    chosen.take(np.array([0, 1, 2, 3]), out)
    np.testing.assert_allclose(out, expected[[2, 7, 1, 9]], rtol=1e-6)
    chosen.slice(1, 3, out[:2])
    np.testing.assert_allclose(out[:2], expected[[7, 1]], rtol=1e-6)
    np.testing.assert_array_equal(chosen.raw(np.array([1])), rows.X[[7]])


def test_the_limit_is_above_all_rows_and_unknown_for_floats_yet_to_be_scaled():
    for name, (rows, expected) in kinds_of_rows().items():
        for each in (rows, rows.subset(np.array([3]))):
            known = math.isfinite(each.limit())
            assert known == (name not in ("scaled float64", "scaled big-endian")), name
            assert each.limit() >= np.abs(expected).max()
    signed = ScaledRows(np.array([[-128, 5]], np.int8), Scaling(np.array([100.0, 0]), np.array([2.0, 1])))
    assert signed.limit() == 128
    assert ArrayRows(np.array([[2.0, -7]])).limit() == 7


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_a_split_parts_all_rows_and_keeps_every_class_on_both_sides(counts, fraction, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    first, second = stratified_split(y, fraction, range(len(counts)), np.random.default_rng(seed), "t")
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(len(y)))
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()
    shares = np.bincount(y[second], minlength=len(counts))
    exact = fraction * np.array(counts)
    assert (shares >= 1).all()
    assert (shares < counts).all()
    bounded = (shares == 1) | (shares == np.array(counts) - 1)
    assert (bounded | (np.abs(shares - exact) < 1)).all()
    if (exact >= 1).all() and (exact <= np.array(counts) - 1).all():
        assert len(second) == round(fraction * len(y))


def test_a_split_holds_as_many_of_each_class_as_scikit_learn_s():
    selection = pytest.importorskip("sklearn.model_selection")
    y = np.repeat([0, 1, 2], [100, 40, 20])
    second = stratified_split(y, 0.25, range(3), np.random.default_rng(0), "t")[1]
    splitter = selection.StratifiedShuffleSplit(1, test_size=0.25, random_state=0)
    theirs = next(splitter.split(np.zeros(160), y))[1]
    np.testing.assert_array_equal(np.bincount(y[second]), np.bincount(y[theirs]))


def test_a_class_too_rare_for_a_split_is_reported(tmp_path):
    text = "a,y\n" + "1,u\n2,v\n" * 5 + "3,w\n"
    with pytest.raises(
        DataError, match=r"t.csv, validation rows: expected at least 2 of each class.*, got class 'w' has 1 row"
    ):
        load_dataset(train=csv(tmp_path, text), label="y")
    with pytest.raises(DataError, match="t.csv, validation rows: .*, got class 'w' has 1 row"):
        load_dataset(train=csv(tmp_path, text + "4,w\n"), label="y", test=0.2)
    assert len(load_dataset(train=csv(tmp_path, text), label="y", validation=0).train) == 11


def test_test_rows_are_taken_before_anything_else(tmp_path):
    text = csv(tmp_path, "a,y\n" + "".join(f"{i},{i % 3}\n" for i in range(300)))
    keys = {"train": text, "label": "y", "test": 0.2, "seed": 3}
    some = load_dataset(**keys, validation=0.1)
    other = load_dataset(**keys, validation=0.5)
    none = load_dataset(**keys, validation=0)
    np.testing.assert_array_equal(some.test.row_numbers, other.test.row_numbers)
    np.testing.assert_array_equal(some.test.row_numbers, none.test.row_numbers)
    assert (len(some.test), len(some.validation), len(some.train)) == (60, 24, 216)
    assert len(set(some.test.row_numbers) | set(some.validation.row_numbers) | set(some.train.row_numbers)) == 300
    assert not np.array_equal(some.test.row_numbers, load_dataset(**{**keys, "seed": 4}).test.row_numbers)
    validation = load_dataset(**{**keys, "test": None}, validation=0.2).validation
    assert not np.array_equal(some.test.row_numbers, validation.row_numbers)  # each has random numbers of its own
    values = np.arange(300.0)
    for split in (some.train, some.validation, some.test):
        scale = values[some.train.row_numbers]
        expected = (values[split.row_numbers] - scale.mean()) / scale.std()
        np.testing.assert_allclose(all_rows(split.X)[:, 0], expected, atol=1e-6)
        np.testing.assert_array_equal(split.y, split.row_numbers % 3)


def test_the_rows_of_a_split_are_called_by_their_numbers_in_the_file_also_after_dropped_rows(tmp_path):
    text = "".join(f"{'' if i % 5 == 1 else i},{i % 2}\n" for i in range(60))
    keys = {"label": "y", "missing": "drop", "scale": "none"}
    data = load_dataset(train=csv(tmp_path, "a,y\n" + text), test=0.2, validation=0.2, **keys)
    for split in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(all_rows(split.X)[:, 0], split.row_numbers)


def test_memory_per_row_stays_under_16_bytes(tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((1000, 2), np.uint8))
    np.save(tmp_path / "y.npy", np.arange(1000) % 10)
    data = load_dataset(train={"features": tmp_path / "X.npy", "labels": tmp_path / "y.npy"})
    owned = {id(array): array.nbytes for split in (data.train, data.validation)
             for array in (split.y, split.row_numbers, split.X.index)}  # fmt: skip
    assert sum(owned.values()) <= 5 * 1000


def test_a_spiral_is_parted_by_no_straight_line():
    linear = pytest.importorskip("sklearn.linear_model")
    data = load_dataset(train={"generator": "spiral"}, validation=None)
    X, y = all_rows(data.train.X), data.train.y
    assert 0.3 <= linear.LogisticRegression().fit(X, y).score(X, y) <= 0.6


def test_an_arm_of_the_spiral_lies_where_its_formula_says():
    source = {"generator": "spiral", "classes": 4, "rows_per_class": 9, "noise": 0}
    data = load_dataset(train=source, validation=0, scale="none", dtype="float64")
    X = all_rows(data.train.X, float)
    np.testing.assert_allclose(np.hypot(*X.T), np.tile(np.arange(9) / 8, 4), atol=1e-15)
    angles = np.pi / 2 * np.arange(4) + 4  # of the arms' ends
    np.testing.assert_allclose(X[8::9], np.column_stack([np.sin(angles), np.cos(angles)]), atol=1e-15)
    np.testing.assert_array_equal(data.train.y, np.repeat(np.arange(4), 9))


def test_generated_rows_come_from_the_seed_and_differ_by_part():
    spiral = {"generator": "spiral", "noise": None}
    first, again, other = (load_dataset(train=spiral, test=spiral, validation=spiral, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(all_rows(first.train.X), all_rows(again.train.X))
    assert not np.array_equal(all_rows(first.train.X), all_rows(other.train.X))
    assert not np.array_equal(all_rows(first.train.X), all_rows(first.test.X))
    assert not np.array_equal(all_rows(first.validation.X), all_rows(first.test.X))
    toy = load_dataset(train={"generator": "toy"}, validation=0)
    assert toy.train.X.shape == (5, 4)
    assert sorted(set(toy.train.y)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"generator": "spiral", "rows_per_class": 10**12}, "expected at most 134,217,728 numbers in all, got .* rows"),
        ({"generator": "toy", "rows": 2}, "expected at least one row of each class.*, got 2 rows for 3 classes"),
    ],
)
def test_invalid_generators_are_reported(source, said):
    with pytest.raises(DataError, match=said):
        load_dataset(train=source, validation=0)


TABLE = "id,colour,size,y\n7,red,1,no\n8,green,2,yes\n9,red,4,no\n3,blue,8,yes\n"


@pytest.fixture
def table(tmp_path):
    return load_dataset(
        train=csv(tmp_path, TABLE), label="y", ignore=["id"], categorical=["colour"], validation=0, missing="mean"
    )


def stored_and_read(preparation):
    header = json.loads(json.dumps(preparation.to_header()))
    return Preparation.from_stored(header, {**preparation.to_arrays(), "W1": np.zeros(3)})


def test_a_stored_preparation_does_what_the_one_of_the_training_did(tmp_path, table, root):
    digits = load_dataset(train=root / "data/optdigits-test.csv.gz", label="digit")
    for data, path in ((table, csv(tmp_path, TABLE)), (digits, root / "data/optdigits-test.csv.gz")):
        again = stored_and_read(data.preparation)
        assert again.classes == data.classes
        assert again.feature_names == data.preparation.feature_names
        X, y = again.read(path)
        np.testing.assert_array_equal(X[data.train.row_numbers], all_rows(data.train.X))
        np.testing.assert_array_equal(y[data.train.row_numbers], data.train.y)


def test_a_stored_preparation_may_lack_the_keys_of_tables_that_came_later(table):
    header = json.loads(json.dumps(table.preparation.to_header()))
    for key in ("unseen", "encoding", "missing_values"):
        del header["table"][key]
    assert Preparation.from_stored(header, table.preparation.to_arrays()).form == table.preparation.form


def test_raw_rows_may_be_frames_arrays_or_lists(table):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = all_rows(table.train.X)
    columns = {"size": [1, 2, 4, 8], "y": list("abcd"), "colour": ["red", "green", "red", "blue"]}
    rows = [["red", 1], ["green", "2"], ["red", 4.0], ["blue", np.int64(8)]]
    for X in (pandas.DataFrame(columns), polars.DataFrame(columns), rows, np.array(rows, object), np.array(rows, str)):
        np.testing.assert_array_equal(table.preparation.transform(X), expected)
    assert table.preparation.columns == ("colour", "size")
    nullable = pandas.DataFrame({"colour": [None], "size": [None]}).astype({"colour": "string", "size": "Int64"})
    for X in ([[None, float("nan")]], [[pandas.NA, pandas.NA]], nullable):
        np.testing.assert_allclose(table.preparation.transform(X), 0, atol=1e-6)  # the means, standardized


@pytest.mark.parametrize("options", [{}, {"dtype_backend": "numpy_nullable"}])
def test_what_pandas_reads_for_a_missing_cell_is_one(tmp_path, table, options):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(csv(tmp_path, "colour,size\nred,\n,4\n", "p.csv"), **options)
    transform = table.preparation.transform
    np.testing.assert_array_equal(transform(frame), transform([["red", ""], ["", 4]]))


def test_raw_numbers_and_pictures_are_taken_as_they_are(tmp_path, root):
    digits = load_dataset(train=root / "data/optdigits-test.csv.gz", label="digit", validation=0)
    raw = np.loadtxt(root / "data/optdigits-test.csv.gz", delimiter=",", skiprows=1)[:, :-1]
    np.testing.assert_array_equal(digits.preparation.transform(raw), all_rows(digits.train.X))
    np.testing.assert_array_equal(digits.preparation.transform(raw.tolist()), all_rows(digits.train.X))
    np.savez(tmp_path / "t.npz", X=RNG.integers(0, 9, (6, 2, 3)).astype(np.uint8), y=np.arange(6) % 2)
    data = load_dataset(train=tmp_path / "t.npz", validation=0)
    X = np.load(tmp_path / "t.npz")["X"]
    np.testing.assert_array_equal(data.preparation.transform(X), all_rows(data.train.X))
    np.testing.assert_array_equal(data.preparation.transform(X.reshape(6, 6)), all_rows(data.train.X))
    np.save(tmp_path / "X.npy", X)
    got, y = data.preparation.read(tmp_path / "X.npy")
    np.testing.assert_array_equal(got, all_rows(data.train.X))
    assert y is None


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([["red"]], r"expected \(N, 2\): 'colour', 'size'.*, got 1 column"),
        ([["red", 1], ["red", "x"]], "row 1: column 'size': expected a number, got 'x'"),
        ([["red", float("inf")]], "row 0: column 'size': expected a finite number.*, got inf"),
        ([], r"shape \(0,\)"),
        (3, r"shape \(\)"),
    ],
)
def test_raw_rows_that_do_not_fit_are_reported(table, X, said):
    with pytest.raises(DataError, match=said):
        table.preparation.transform(X)


def test_raw_arrays_that_do_not_fit_are_reported(root):
    digits = load_dataset(train=root / "data/optdigits-test.csv.gz", label="digit", validation=0).preparation
    for X, said in (
        (np.zeros((2, 63)), r"expected \(N, 64\).*, got shape \(2, 63\)"),
        (np.zeros(64), r"shape \(64,\)"),
        (np.full((1, 64), np.nan), "row 0: column 'p00': expected a number, got a missing cell"),
        (np.full((1, 64), np.inf), "row 0: column 'p00': expected a finite number .*, got inf"),
        (np.zeros((1, 64), complex), "values of type complex128"),
    ):
        with pytest.raises(DataError, match=said):
            digits.transform(X)


def test_a_file_for_prediction_may_lack_the_label_and_name_others(tmp_path, table):
    expected = all_rows(table.train.X)
    for text in ("size,colour\n1,red\n2,green\n", "colour,new,size\nred,?,1\ngreen,?,2\n"):
        X, y = table.preparation.read(csv(tmp_path, text, "p.csv"))
        np.testing.assert_array_equal(X, expected[:2])
        assert y is None
    for text, said in (
        ("size\n1\n", "p.csv:1: expected the column 'colour' of the training, got 'size'"),
        ("red,1\n", "p.csv:1: expected the column 'colour' of the training, got 'red', '1'"),
        (
            "size,colour,y\n1,red,perhaps\n",
            "p.csv:2: expected a label known from training: 'no', 'yes', got label 'perhaps'",
        ),
        ("size,colour,y\n1,red,\n", "p.csv:2: expected a label in every row"),
    ):
        with pytest.raises(DataError) as caught:
            table.preparation.read(csv(tmp_path, text, "p.csv"))
        assert said in str(caught.value)


def test_a_missing_cell_in_prediction_is_an_error_if_training_refused_them(tmp_path):
    data = load_dataset(train=csv(tmp_path, "a,b,y\n1,2,0\n3,4,1\n"), label="y", validation=0, missing="drop")
    with pytest.raises(
        DataError, match="p.csv:3: column 'b': expected a number.*, got a missing cell; the model has no means"
    ):
        data.preparation.read(csv(tmp_path, "a,b\n1,2\n1,?\n", "p.csv"))


@pytest.mark.parametrize("kind", ["f4", ">f8"])
def test_missing_numbers_of_a_mapped_test_file_get_the_means_and_the_file_stays(tmp_path, kind):
    X = np.array([[np.nan, 5], [7, 8]], kind)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", [1, 0])
    data = load_dataset(
        train=csv(tmp_path, "a,b,y\n1,2,0\n3,,1\n"),
        test={"features": tmp_path / "X.npy", "labels": tmp_path / "y.npy"},
        label="y",
        validation=0,
        missing="mean",
        scale="none",
    )
    np.testing.assert_array_equal(all_rows(data.test.X), [[2, 5], [7, 8]])
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


def changes():
    yield from [
        ("classes", value) for value in (None, [], ["a"], ["a", "a"], ["a", 1], [True, False], [[1], [2]], "ab")
    ]
    yield from [("scale", "other"), ("missing", None), ("dtype", "float16"), ("dtype", ["float32"]), ("scale", [])]
    yield from [("image_shape", value) for value in ([2, 3], [2.0, 2], [-2, -2], "22", [2**40, 2**40], [4])]
    yield from [("table", value) for value in ([], "x", {}, 3)]
    yield from [("names", value) for value in ([], ["a"], [1, 2, 3, 4], "abcd")]
    yield from [("width", value) for value in (None, 0, True, 10**12, "4", 3)]
    yield from [("label", value) for value in (-1, 4, 1, "y", 1.0)]
    yield from [("features", value) for value in (None, [], [2, 1], [1, 1], [1, 4], [1.0, 2], [-1, 2], [1])]
    yield from [
        ("categories", value) for value in (None, [[1]], [[0, ["a"]]], [[1, []]], [[1, ["a", "a"]]], [[1, [1]]])
    ]
    yield from [("categories", [[1, ["a"]], [1, ["b"]]]), ("categories", 5), ("categories", [["1", ["a"]]])]


@pytest.mark.parametrize(("key", "value"), list(changes()))
def test_a_stored_preparation_is_believed_only_where_all_fits(table, key, value):
    header = json.loads(json.dumps(table.preparation.to_header()))
    (header if key in header else header["table"])[key] = value
    with pytest.raises(ValueError, match="expected .*, got "):
        Preparation.from_stored(header, table.preparation.to_arrays())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data/center", None),
        ("data/scale", np.zeros(3)),
        ("data/center", np.zeros(4, np.float32)),
        ("data/center", np.zeros((4, 1))),
        ("data/center", np.full(4, np.nan)),
        ("data/scale", np.zeros(4)),
        ("data/scale", np.full(4, 1e-320)),
        ("data/scale", np.array(["a"] * 4)),
        ("data/fill", np.zeros(3)),
        ("data/fill", np.full(4, np.inf)),
    ],
)
def test_stored_arrays_are_believed_only_where_they_fit(table, name, value):
    arrays = {**table.preparation.to_arrays(), name: value}
    if value is None:
        del arrays[name]
    with pytest.raises(ValueError, match=f"{name}: expected .*, got "):
        Preparation.from_stored(table.preparation.to_header(), arrays)


def test_the_shipped_files_are_those_whose_checksums_the_readme_gives(root):
    import hashlib
    import re

    listed = dict(re.findall(r"`([\w/.-]+\.gz)`[^\n]*`([0-9a-f]{64})`", (root / "data/README.md").read_text()))
    there = {str(path.relative_to(root / "data")): path for path in (root / "data").rglob("*.gz")}
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}


def test_the_digests_of_all_files_read_are_recorded(root):
    import hashlib

    path = str(root / "data/optdigits-test.csv.gz")
    data = load_dataset(train=path, label="digit")
    with open(path, "rb") as file:
        assert data.digests == {path: hashlib.sha256(file.read()).hexdigest()}
