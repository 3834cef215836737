"""Columns of odd types: what is no number, text or boolean is refused where it is used, and otherwise does no harm."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from twolayer import load_model, resume, train
from twolayer.commands.init import propose
from twolayer.data import load_dataset
from twolayer.data.profile import guess_table
from twolayer.utils.errors import DataError

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

N = 40
LOAD = {"validation": 0, "label": "y"}
NO_CELLS = {
    "lists": pa.array([[1, 2]] * N),
    "structs": pa.array([{"a": 1}] * N),
    "bytes that are no text": pa.array([b"\xff\xfe"] * N),
    "such bytes in a dictionary": pa.array([b"\xff", b"a"] * (N // 2)).dictionary_encode(),
    "durations, in no known unit": pa.array(range(N), pa.duration("s")),
    "dictionary of lists": pa.DictionaryArray.from_arrays(pa.array([0, 1] * (N // 2)), pa.array([[1], [2]])),
    "calendar intervals": pa.array([(1, 2, 3)] * N, pa.month_day_nano_interval()),
    "an extension type": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)] * N, pa.binary(16))),
}


def table(column):
    return pa.table({"k": column, "a": [i * i % 17 for i in range(N)], "y": ["u", "v"] * (N // 2)})


@pytest.mark.parametrize("kind", NO_CELLS)
def test_a_column_of_no_cells_is_refused_as_a_feature_and_may_be_ignored(tmp_path, kind):
    rows = table(NO_CELLS[kind])
    for keys in ({}, {"categorical": ["k"]}):
        with pytest.raises(DataError, match=r"column 'k': expected numbers, texts or booleans, got cells of type"):
            load_dataset(train=rows, **LOAD, **keys)
    config = {
        "data": {"label": "y", "ignore": ["k"], "validation": 0},
        "solver": {"epochs": 1, "monitor": "train_loss", "learning_rate": 0.01},
    }
    result = train(config, rows=rows, run_dir=tmp_path / "run")
    assert result.model.preparation.feature_names == ("a",)


def test_init_leaves_a_column_of_lists_out_and_says_so(tmp_path):
    parquet.write_table(table(NO_CELLS["lists"]), tmp_path / "rows.parquet")
    proposal = propose(tmp_path / "rows.parquet")
    assert proposal.values["data"]["ignore"] == ["k"]
    assert any("column 'k'" in warning and "list" in warning for warning in proposal.warnings)


def categories(rows):
    (values,) = load_dataset(train=rows, categorical=["k"], **LOAD).preparation.form.categories.values()
    return values


def test_decimals_are_numbers_also_in_a_dictionary_and_stay_exact():
    large = Decimal(2**60 + 1)
    column = pa.array([Decimal("1.10"), large] * (N // 2), pa.decimal128(38, 2))
    assert categories(table(column)) == categories(table(column.dictionary_encode())) == ("1.1", "1152921504606846976")
    whole = pa.array([large, large + 1] * (N // 2), pa.decimal128(38, 0))
    assert categories(table(whole)) == (str(large), str(large + 1))


def test_a_time_is_the_same_category_in_every_unit_and_frame():
    times = pandas.Series([pandas.Timestamp("2020-01-01 10:00:00.5"), pandas.Timestamp("2020-01-01 10:00")] * (N // 2))
    expected = ("2020-01-01 10:00:00", "2020-01-01 10:00:00.5")
    for unit in ("ms", "us", "ns"):
        frame = pandas.DataFrame({"k": times.astype(f"datetime64[{unit}]"), "a": range(N), "y": ["u", "v"] * (N // 2)})
        for rows in (frame, frame.astype({"k": "category"}), polars.from_pandas(frame), pa.Table.from_pandas(frame)):
            assert categories(rows) == expected


@pytest.mark.parametrize("kind", ["ranges", "months", "durations"])
def test_types_of_pandas_are_the_texts_that_its_csv_has(tmp_path, kind):
    numbers = pandas.Series(range(N))
    column = {
        "ranges": lambda: pandas.cut(numbers, 3),
        "months": lambda: pandas.Series(pandas.period_range("2020-01", periods=2, freq="M").repeat(N // 2)),
        "durations": lambda: pandas.to_timedelta(numbers % 3, unit="h"),
    }[kind]()
    frame = pandas.DataFrame({"k": column, "a": numbers, "y": ["u", "v"] * (N // 2)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert categories(frame) == categories(str(tmp_path / "t.csv"))


def test_categoricals_of_polars_are_texts():
    texts = ["b", "a", None, "b"] * (N // 4)
    expected = load_dataset(train=table(pa.array(texts)), categorical=["k"], missing="mean", **LOAD)
    for kind in (polars.Categorical, polars.Enum(["b", "a"])):
        rows = polars.from_arrow(table(pa.array(texts))).with_columns(polars.col("k").cast(kind))
        found = load_dataset(train=rows, categorical=["k"], missing="mean", **LOAD)
        assert found.preparation.to_header() == expected.preparation.to_header()


def test_a_text_is_a_name_of_a_workbook_as_it_is_written(tmp_path):
    pytest.importorskip("openpyxl")
    frame = pandas.DataFrame(
        {"1.0": range(N), " 007 ": [i % 7 for i in range(N)], 2019: [1.5] * N, "y": [1, 2] * (N // 2)}
    )
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    assert load_dataset(train=str(tmp_path / "t.xlsx"), **LOAD).preparation.columns == ("1.0", "007", "2019")


def test_a_run_whose_ignored_columns_share_a_name_can_be_read(tmp_path):
    rows = "".join(f"{i},{i},{i % 7},{'uv'[i % 2]}\n" for i in range(N))
    (tmp_path / "t.csv").write_text("id,id,a,y\n" + rows)
    config = {
        "data": {"train": str(tmp_path / "t.csv"), "label": "y", "ignore": ["id", "id"], "validation": 0},
        "solver": {"epochs": 1, "monitor": "train_loss", "learning_rate": 0.01},
    }
    expected = train(config, run_dir=tmp_path / "run").model.predict([[i % 7] for i in range(N)])
    frame = pandas.read_csv(tmp_path / "t.csv").set_axis(["id", "id", "a", "y"], axis=1)
    train({**config, "data": {"label": "y", "ignore": ["id"], "validation": 0}}, rows=frame, run_dir=tmp_path / "other")
    for run in ("run", "other"):
        np.testing.assert_array_equal(load_model(tmp_path / run).predict(frame), expected)
    assert resume(tmp_path / "other", ["solver.epochs=2"]).summary["epochs"] == 2


@pytest.mark.parametrize("kind", ["copy", "inverse", "boolean", "missing"])
def test_a_copy_of_the_label_in_numbers_is_named_where_rows_are_few(kind):
    y = [i * i % 7 % 2 for i in range(60)]
    write = {"copy": float, "inverse": lambda k: 1 - k, "boolean": bool, "missing": lambda k: None if k else 1.5}[kind]
    frame = pandas.DataFrame({"k": map(write, y), "a": range(60), "y": y})
    assert [leak.name for leak in guess_table(frame, "y").leaks] == ["k"]


def test_half_a_surrogate_pair_is_a_text_of_its_own():
    frame = pandas.DataFrame({"k": pandas.Series(["\ud800", "\udfff"] * (N // 2), dtype=object), "a": range(N)})
    assert categories(frame.assign(y=["u", "v"] * (N // 2))) == ("\\ud800", "\\udfff")


def test_nan_however_written_is_no_number_in_files_and_frames(tmp_path):
    texts = ["NAN", "+nan", "1.5", "-nan"] * (N // 4)
    rows = table(pa.array(texts))
    parquet.write_table(rows, tmp_path / "t.parquet")
    pandas.DataFrame(rows.to_pydict()).to_csv(tmp_path / "t.csv", index=False)
    for source in (rows, table(pa.array(texts).dictionary_encode()), tmp_path / "t.parquet", tmp_path / "t.csv"):
        data = load_dataset(train=source, missing="mean", scale="none", **LOAD)
        assert (data.train.X.raw(np.arange(N))[:, 0] == 1.5).all()


def test_the_index_that_pandas_stores_is_no_column(tmp_path):
    frame = table(pa.array([i % 3 for i in range(N)])).to_pandas().sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "t.parquet")
    expected = load_dataset(train=frame, **LOAD)
    for source in (tmp_path / "t.parquet", pa.Table.from_pandas(frame)):
        data = load_dataset(train=source, **LOAD)
        assert data.preparation.feature_names == ("k", "a")
        assert any("the index that pandas stored is no column" in note for note in data.notes)
        np.testing.assert_array_equal(data.train.X.raw(np.arange(N)), expected.train.X.raw(np.arange(N)))
