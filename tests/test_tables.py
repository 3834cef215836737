"""Other people's tables: every format and frame gives the same rows, one value is one label, no-tables are named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from data_helpers import all_rows, csv

from twolayer.config import config_from_dict
from twolayer.data import load_dataset
from twolayer.data.columns import Reading, canonical, number_of, plain_number
from twolayer.data.frames import _cells_of
from twolayer.data.labels import near_equal_notes
from twolayer.data.preparation import Preparation
from twolayer.data.table import open_table
from twolayer.utils.errors import DataError, FileError

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

LOAD = {"validation": 0, "scale": "none", "dtype": "float64", "label": "y"}


def load(source, **keys):
    return load_dataset(train=source, **{**LOAD, **keys})


def mixed_text(n=40):
    """Numbers with gaps, categories written as floats, booleans, text with None and spaces, an index without a name."""
    lines = [",a,zone,flag,kind,y"]
    for i in range(n):
        a = "NA" if i % 9 == 4 else i / 8
        kind = ("None", "Grvl", "Pave ")[i % 3]
        lines.append(
            f"{i},{a},{i % 3 + 1}.0,{'TRUE' if i % 2 else 'false'},{kind},{('1', '1.0', '01', '2', '2e0')[i % 5]}"
        )
    return "\n".join(lines) + "\n"


KEYS = {"categorical": ["zone", "kind"], "missing": "mean"}


def frames_of(path):
    yield pandas.read_csv(path)
    yield pandas.read_csv(path, dtype=str, keep_default_na=False)
    yield polars.read_csv(path)
    yield pyarrow.csv.read_csv(path)
    yield pandas.read_csv(path).convert_dtypes()
    yield pandas.read_csv(path).astype({"kind": "category"})


class TestOneForm:
    def test_a_file_and_every_frame_of_it_give_the_same_rows_bit_for_bit(self, tmp_path):
        path = csv(tmp_path, mixed_text())
        data = load(path, **KEYS)
        assert data.classes == (1, 2)
        assert data.preparation.feature_names[:2] == ("Unnamed: 0", "a")
        expected, _ = data.preparation.read(path)
        assert not np.isnan(expected).any()
        for frame in frames_of(path):
            np.testing.assert_array_equal(data.preparation.transform(frame), expected)
            again = load(frame, **KEYS)
            assert again.classes == data.classes
            assert again.preparation.feature_names == data.preparation.feature_names
            np.testing.assert_array_equal(all_rows(again.train.X, float), all_rows(data.train.X, float))

    def test_the_order_of_columns_does_not_matter_and_others_are_ignored_with_a_note(self, tmp_path):
        path = csv(tmp_path, mixed_text())
        preparation = load(path, **KEYS).preparation
        frame = pandas.read_csv(path).assign(new=1)[["new", "y", "kind", "flag", "zone", "a", "Unnamed: 0"]]
        expected, _ = preparation.read(path)
        notes = []
        np.testing.assert_array_equal(preparation.transform(frame, notes), expected)
        assert notes == ["rows: 1 column that training did not have: not used ('new')"]
        with pytest.raises(DataError, match="expected the column 'zone' of the training"):
            preparation.transform(frame.drop(columns="zone"))

    @pytest.mark.parametrize("ending", ["parquet", "feather", "xlsx", "tsv", "csv.bz2", "csv.xz", "csv.zst"])
    def test_every_format_gives_the_rows_of_the_csv(self, tmp_path, ending):
        text = "a,b,y\n1.5,x,u\n,z,v\n3,x,u\n"
        path, frame = tmp_path / f"t.{ending}", pandas.read_csv(io.StringIO(text))
        packers = {"bz2": bz2.compress, "xz": lzma.compress, "zst": lambda b: pa.compress(b, "zstd", asbytes=True)}
        if ending == "parquet":
            frame.to_parquet(path)
        elif ending == "feather":
            frame.to_feather(path)
        elif ending == "xlsx":
            pytest.importorskip("python_calamine")
            pytest.importorskip("openpyxl")
            frame.to_excel(path, index=False)
        elif ending == "tsv":
            path.write_text(text.replace(",", "\t"))
        else:
            path.write_bytes(packers[ending[4:]](text.encode()))
        keys = {"categorical": ["b"], "missing": "mean"}
        data, expected = load(path, **keys), load(csv(tmp_path, text, "w.csv"), **keys)
        np.testing.assert_array_equal(all_rows(data.train.X, float), all_rows(expected.train.X, float))
        assert data.preparation.feature_names == expected.preparation.feature_names
        np.testing.assert_array_equal(data.train.y, expected.train.y)

    @pytest.mark.parametrize("header", ["a,t,y\n", ""])
    def test_marks_inside_quotes_separate_nothing(self, tmp_path, header):
        rows = "".join(f'{i}.5,"p;{i};r;s","{"uv"[i % 2]}"\n' for i in range(8))
        data = load(csv(tmp_path, header + rows), label=2, ignore=[1])
        np.testing.assert_array_equal(all_rows(data.train.X, float)[:, 0], np.arange(8) + 0.5)

    @pytest.mark.parametrize(
        ("text", "keys"),
        [
            ("a;b;y\n1,5;2;u\n-0,25;4;v\n", {}),
            ("a|b|y\n1.5|2|u\n-0.25|4|v\n", {}),
            ("a\tb\ty\n1,5\t2\tu\n-0,25\t4\tv\n", {}),
            ('a,b,y\n"1,5",2,u\n"-0,25",4,v\n', {"decimal": ","}),
            ("a:b:y\n1.5:2:u\n-0.25:4:v\n", {"separator": ":"}),
        ],
    )
    def test_separator_and_decimal_comma_are_found_or_given(self, tmp_path, text, keys):
        data = load(csv(tmp_path, text), **keys)
        np.testing.assert_array_equal(all_rows(data.train.X, float), [[1.5, 2], [-0.25, 4]])

    @pytest.mark.parametrize(("cells", "noted"), [("1.200;7", True), ("1.25;7", False)])
    def test_dots_that_may_separate_thousands_are_noted(self, tmp_path, cells, noted):
        path = csv(tmp_path, "a;b;y\n" + f"{cells};u\n{cells};v\n" * 3)
        assert any("if it separates thousands, remove it" in note for note in load(path).notes) is noted

    def test_commas_that_may_separate_thousands_are_no_decimal_commas(self, tmp_path):
        path = csv(tmp_path, "a\tb\ty\n" + "4,213\t7\tu\n950\t8\tv\n" * 3)
        with pytest.raises(
            DataError, match="expected a number written as 4213, got '4,213'; if the comma is a decimal"
        ):
            load(path)
        assert load(path, decimal=",").train.X.raw(np.arange(2))[:, 0].tolist() == [4.213, 950]

    def test_another_encoding_is_given_by_its_name(self, tmp_path):
        (tmp_path / "t.csv").write_bytes("a,y\n1,é\n2,x\n".encode("latin-1"))
        with pytest.raises(
            DataError, match="t.csv:2: expected UTF-8 text, got byte 0xe9; .* data.encoding, e.g. latin-1"
        ):
            load(tmp_path / "t.csv")
        assert load(tmp_path / "t.csv", encoding="latin-1").classes == ("x", "é")

    def test_a_workbook_swapped_after_its_check_is_not_parsed(self, tmp_path, monkeypatch):
        pytest.importorskip("python_calamine")
        pytest.importorskip("openpyxl")
        path = tmp_path / "t.xlsx"
        pandas.DataFrame({"a": [1.5, 3], "y": ["u", "v"]}).to_excel(path, index=False)
        cells_of = _cells_of

        def swapping(sheet):
            pandas.DataFrame({"b": [7, 8], "y": ["u", "v"]}).to_excel(path, index=False)
            return cells_of(sheet)

        monkeypatch.setattr("twolayer.data.frames._cells_of", swapping)
        data = load(path)
        assert data.preparation.feature_names == ("a",)

    def test_what_a_model_stores_reads_new_files_as_training_did(self, tmp_path):
        data = load(csv(tmp_path, "a;k;y\n1,5;NA;u\n2,5;b;v\n"), categorical=["k"], missing_values=[""])
        header, arrays = data.preparation.to_header(), data.preparation.to_arrays()
        again = Preparation.from_stored(header, arrays)
        assert again.form == data.preparation.form
        X, _ = again.read(csv(tmp_path, "k,a\nNA,1.5\n", "new.csv"))
        np.testing.assert_array_equal(X, [[1.5, 1, 0]])


class TestValues:
    @pytest.mark.parametrize(
        ("values", "one"),
        [
            (["1", "1.0", "01", "1e0", "+1", " 1 ", '"1"', 1, 1.0, np.float32(1).item()], "1"),
            (["-0", "0", "0.0", -0.0, 0], "0"),
            (["TRUE", "true", "True", True], "True"),
            (["café", "cafe\u0301", " café "], "café"),
            ([None, float("nan"), "", "  "], ""),
            (["0012345678901234567890", 12345678901234567890], "12345678901234567890"),
            (["1e17", "100000000000000000", 1e17, 10**17], "100000000000000000"),
        ],
    )
    def test_equal_values_have_one_spelling(self, values, one):
        assert {canonical(value) for value in values} == {one}

    @pytest.mark.parametrize("text", ["1_0", "٣", "0x1f", "1e", "--1", "inf", "nan", "1,5", ".", "e5", "1" * 500])
    def test_what_is_no_number_is_a_text(self, text):
        assert number_of(text) is None

    @pytest.mark.parametrize(
        ("written", "plain"),
        [
            ("$1,200.50", "1200.50"),
            ("1.034,05 €", "1034.05"),
            ("1 200,5", "1200.5"),
            ("12,345,678", "12345678"),
            ("0,5", "0.5"),
            ("-0,760", "-0.760"),
            ("45%", "45"),
            ("(7)", "-7"),
            ("\u22123", "-3"),
            ("1.5", None),
            ("1.2.3", None),
            ("1,2,3", None),
            ("3 cm", None),
        ],
    )
    def test_a_number_with_marks_is_suggested_without_them(self, written, plain):
        assert plain_number(written) == plain

    def test_values_that_differ_in_case_or_punctuation_are_kept_apart_and_named(self, tmp_path):
        values = ["yes", "Yes", "A-", "A+", "A", "New York", "new\u200byork", "<=50K", ">50K", "<=50K."]
        assert near_equal_notes(values, "k") == [
            "k: 'yes' and 'Yes', 'New York' and 'new\\u200byork', '<=50K' and '<=50K.' differ only in case or "
            "punctuation and are kept apart"
        ]
        data = load(csv(tmp_path, "a,y\n1,yes\n2,Yes\n3,no\n"))
        assert data.classes == ("Yes", "no", "yes")
        assert data.notes == (
            "label column 'y': 'Yes' and 'yes' differ only in case or punctuation and are kept apart",
        )

    def test_a_class_called_na_lives_if_the_list_says_so_and_is_named_otherwise(self, tmp_path):
        path = csv(tmp_path, "a,y\n1,NA\n2,BW\n3,NA\n4,ZA\n")
        data = load(path, missing="drop")
        assert data.classes == ("BW", "ZA")
        assert f"the first at {path}:2: the label is 'NA', which data.missing_values lists" in data.notes[0]
        assert load(path, missing_values=[""]).classes == ("BW", "NA", "ZA")

    def test_a_number_may_be_a_spelling_of_nothing_in_files_and_frames(self, tmp_path):
        path = csv(tmp_path, "a,y\n-999,u\n-999.0,v\n3,u\n4,v\n")
        for source in (path, pandas.read_csv(path)):
            data = load(source, missing="drop", missing_values=["", -999])
            np.testing.assert_array_equal(all_rows(data.train.X, float), [[3], [4]])

    def test_an_unseen_category_counts_as_none_or_is_an_error(self, tmp_path):
        train, new = csv(tmp_path, "k,y\nr,0\ng,1\n"), csv(tmp_path, "k\ng\nblue\nblue\nred\n", "n.csv")
        notes = []
        X, _ = load(train, categorical=["k"]).preparation.read(new, notes=notes)
        np.testing.assert_array_equal(X, [[1, 0], [0, 0], [0, 0], [0, 0]])
        assert "3 cells with a category that training did not have ('blue', 'red'), taken as none" in notes[0]
        strict = load(train, categorical=["k"], unseen="error").preparation
        with pytest.raises(DataError, match="n.csv:3: column 'k': expected a category known .*, got 'blue'"):
            strict.read(new)


class TestHeader:
    @pytest.mark.parametrize(
        ("text", "header"),
        [
            ("a,b,y\n1,2,u\n3,4,v\n5,6,u\n", True),
            ("0,1,2\n1,2,7\n3,4,8\n5,6,7\n", True),
            (",0,1\n1,2,7\n3,4,8\n5,6,7\n", True),
            ("0,1,kind\n1,2,u\n3,4,v\n5,6,u\n", True),
            ("2019,2020,kind\n1,2,u\n3,4,v\n5,6,u\n", True),
            ("1,2,u\n3,4,v\n5,6,u\n", False),
            ("5.1,3.5,c\n1,2,u\n3,4,v\n5,6,u\n", False),
            ("red,dip,yes\nblue,dip,no\nred,up,yes\n", False),
            ("e,b,b\ne,k,s\np,x,s\n", False),
            ("col,size,y\nred,dip,yes\nblue,dip,no\nred,up,yes\n", True),
            ("2,1,0\n1,2,7\n", False),
            ("1,2,3\n" + "7.5,9,u\n.5,8,v\n" * 3, True),
            ("2018,2019,2020\n" + "7.5,9,0\n.5,8,1\n" * 3, True),
            ("400,400.5,401,kind\n" + "1,2,3,u\n3,4,5,v\n" * 3, True),
            ("400,410,kind\n" + "1,2,u\n3,4,v\n" * 3, False),
            ("1,2,3\n" + "7.5,9,3\n.5,8,4\n" * 3, False),
            ("1,2,3\n2,3,4\n3,4,5\n4,5,6\n5,6,7\n6,7,9\n", False),
        ],
    )
    def test_a_header_is_distinguished_from_a_row_by_what_is_below_it(self, tmp_path, text, header):
        path = csv(tmp_path, text)
        for given, expected in ((None, header), (True, True), (False, False)):
            assert (open_table(path, Reading(header=given), has_names=False).names is not None) is expected

    def test_what_training_decided_holds_for_every_later_file(self, tmp_path):
        named = load(csv(tmp_path, "a,b,y\n1,2,u\n3,4,v\n")).preparation
        with pytest.raises(DataError, match="expected the column 'a' of the training, got '0', '1'"):
            named.read(csv(tmp_path, "0,1\n5,6\n", "new.csv"))
        plain = load(csv(tmp_path, "1,2,u\n3,4,v\n"), label=-1, header=False).preparation
        np.testing.assert_array_equal(plain.read(csv(tmp_path, "0,1\n5,6\n", "new.csv"))[0], [[0, 1], [5, 6]])
        with pytest.raises(DataError, match="new.csv:1: column 0: expected a number, got 'a'; .* data.header: true"):
            plain.read(csv(tmp_path, "a,b\n5,6\n", "new.csv"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("Exported on 1 May\n\na,b,y\n1,2,u\n3,4,v\n", "t.csv:1: expected 3 cells, .*remove the lines before"),
            ("sep=;\na;b;y\n1;2;u\n3;4;v\n", "t.csv:1: .*remove the lines before the table"),
            ("a,b,y\n1,2,3,u\n2,3,4,v\n", "t.csv:1: .*name each column"),
            ("a,b,y\n1,2,u,\n3,4,v,\n", "t.csv:1: .*remove the separator at the end of each line"),
            ("a,b,y,\n1,2,u,\n3,4,v,\n", "t.csv:1: .*remove it"),
        ],
    )
    def test_lines_before_the_table_and_separators_behind_it_are_named(self, tmp_path, text, message):
        with pytest.raises(DataError, match=message):
            load(csv(tmp_path, text))

    @pytest.mark.parametrize("ending", ["csv", "xlsx"])
    def test_a_title_in_a_row_of_empty_cells_is_no_header(self, tmp_path, ending):
        lines = [["Report 7", "", ""], ["", "", ""], ["a", "b", "y"], *([i / 3, i % 5, "uv"[i % 2]] for i in range(20))]
        path = tmp_path / f"t.{ending}"
        frame = pandas.DataFrame(lines)
        frame.to_csv(path, index=False, header=False) if ending == "csv" else frame.to_excel(
            path, index=False, header=False
        )
        with pytest.raises(DataError, match="expected names of columns, got 'Report 7'; remove the lines before"):
            load(path, label=2)
        nameless = csv(tmp_path, "a,,,y\n" + "1.5,2,3,u\n.5,3,4,v\n" * 3, "h.csv")
        for header in (True, "auto"):
            assert load(nameless, header=header).preparation.feature_names == ("a", "Unnamed: 1", "Unnamed: 2")
        assert load(csv(tmp_path, ",,\n" + "1.5,2,u\n.5,3,v\n" * 3, "n.csv"), label=2).classes == ("u", "v")

    def test_the_first_of_several_sheets_is_read_with_a_note(self, tmp_path):
        frame = pandas.DataFrame({"a": [1, 2, 3, 4], "y": ["u", "v"] * 2})
        with pandas.ExcelWriter(tmp_path / "t.xlsx") as book:
            frame.to_excel(book, sheet_name="rows", index=False)
            frame.to_excel(book, sheet_name="more", index=False)
        assert load(tmp_path / "t.xlsx").notes == (f"{tmp_path / 't.xlsx'}: of 2 sheets the first is read, 'rows'",)

    def test_a_whole_number_is_a_position_if_the_table_has_it_and_otherwise_a_name(self, tmp_path):
        path = csv(tmp_path, "2019,2020,y\n1,2,u\n3,4,v\n")
        assert load(path, ignore=[2019]).preparation.columns == ("2020",)
        data = load(csv(tmp_path, ",0,1,y\n9,2,5,u\n9,4,5,v\n"), ignore=[0])
        assert data.preparation.columns == ("0", "1")
        assert "for the column named 0 write '0' in quotes" in data.notes[0]
        assert load(csv(tmp_path, ",0,1,y\n9,2,5,u\n9,4,5,v\n"), ignore=["0"]).preparation.columns[0] == "Unnamed: 0"

    def test_names_are_compared_in_composed_form(self, tmp_path):
        path = csv(tmp_path, "a,cafe\u0301\n1,u\n2,v\n")
        assert load(path, label="caf\u00e9").classes == ("u", "v")


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.csv", "a,y\n1,2\n")
    return out.getvalue()


def test_an_empty_column_of_categories_in_several_parts_is_refused_as_one_in_a_single_part_is():
    part = pa.table({"a": pa.nulls(2), "x": [1, 2], "y": ["u", "v"]})
    for rows in (part, pa.concat_tables([part, part])):
        with pytest.raises(DataError, match="column 'a': expected some categories"):
            load_dataset(train=rows, label="y", categorical=["a"])


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'{"a": 1, "y": 2}\n', "JSON"),
        (b'[\n {"a": 1}]', "JSON"),
        (b"% title\n@RELATION iris\n@DATA\n1,2\n", "an ARFF file"),
        (b"+1 1:0.7 3:0.8\n-1 1:1.5 3:-1\n", "an svmlight"),
        (b"\xef\xbb\xbf@relation iris\n@data\n1,2\n", "an ARFF file"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (zipped(), "a zip archive"),
        (b"7z\xbc\xaf\x27\x1c....", "a 7z archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n....", "an HDF5 file"),
        (b"\x80\x04\x95....", "a pickle"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"1.5  2.5  u\n2.5  3.5  v\n", "columns separated by spaces"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "txt", "parquet"])
def test_what_is_no_table_is_named_with_a_way_in(tmp_path, content, name, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"got {name}.*; |got a file that begins with") as caught:
        load(path)
    assert ending == "parquet" or name in str(caught.value)


class TestWork:
    """The work of reading grows with the size of the input, counted and not timed."""

    @staticmethod
    def calls(function):
        import sys

        count = 0

        def tracer(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(tracer)
        try:
            function()
        finally:
            sys.setprofile(None)
        return count

    def test_rows_cost_no_calls_each(self, tmp_path):
        def text(n):
            return "a,b,y\n" + "".join(f"{i},{i / 4},{i % 2}\n" for i in range(n))

        small, large = (csv(tmp_path, text(n), f"{n}.csv") for n in (2000, 20_000))
        load(small)
        assert self.calls(lambda: load(large)) < 2 * self.calls(lambda: load(small))

    @pytest.mark.parametrize("kind", ["file", "frame"])
    def test_columns_cost_a_fixed_number_of_calls_each(self, tmp_path, kind):
        counts = []
        for D in (500, 500, 2000):
            rows = [",".join(str((i * j) % 7) for j in range(D)) + f",{'ab'[i % 2]}" for i in range(6)]
            path = csv(tmp_path, ",".join(f"g{j}" for j in range(D)) + ",y\n" + "\n".join(rows) + "\n", f"{D}.csv")
            preparation = load(path).preparation
            frame = pandas.read_csv(path)
            counts.append(self.calls(lambda: preparation.transform(frame) if kind == "frame" else load(path)))  # noqa: B023
        assert counts[2] < 4.5 * counts[1]

    @pytest.mark.parametrize("cell", ["1" * 131_000 + "x", "-" * 100_000, "e\u0301\u0323" * 30_000, '""' * 60_000])
    def test_a_long_cell_is_refused_at_once(self, tmp_path, cell):
        cell = f'"{cell}"' if '"' in cell else cell
        with pytest.raises(DataError, match="column 'a': expected a number"):
            load(csv(tmp_path, f"a,b,y\n{cell},2,u\n3,4,v\n"))
        assert len(canonical(cell)) > 10


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_frame_trains_as_its_file_does_and_the_run_resumes(tmp_path, kind):
    from twolayer.runs.checkpoint import load_model
    from twolayer.training.run import resume, train

    path = csv(tmp_path, mixed_text(60))
    frame = {"pandas": pandas.read_csv, "polars": polars.read_csv, "arrow": pyarrow.csv.read_csv}[kind](path)
    keys = {"label": "y", "ignore": ["Unnamed: 0"], "validation": 0.2, **KEYS}
    values = {"data": keys, "solver": {"epochs": 3}}
    one = train({**values, "data": {**keys, "train": path}}, run_dir=tmp_path / "file")
    train(values, rows=frame, run_dir=tmp_path / "frame", stop=lambda record: record["epoch"] == 1)
    two = resume(tmp_path / "frame")
    assert two.summary["epochs"] == 3
    for a, b in zip(one.model.params.named().values(), two.model.params.named().values(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = one.model.predict_file(path)
    np.testing.assert_array_equal(load_model(tmp_path / "frame").predict_proba(frame), expected)


def test_test_rows_that_are_training_rows_are_named(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{x:.4f},{z:.4f},{i % 2}\n" for i, (x, z) in enumerate(rng.normal(size=(60, 2)))]
    train = csv(tmp_path, "a,b,y\n" + "".join(lines))
    data = load(train, test=csv(tmp_path, "y,a,b\n" + "".join(f"{r[-2]},{r[:-3]}\n" for r in lines[:20]), "t.csv"))
    assert data.leaks == (
        "possible leak: 20 of 20 test rows have the features of a training row: a model can memorise them",
    )
    other = csv(tmp_path, "a,b,y\n" + "".join(f"{i},{line.partition(',')[2]}" for i, line in enumerate(lines)), "o.csv")
    assert not load(train, test=other).leaks


def test_training_names_a_column_that_gives_the_label_away(tmp_path):
    rng = np.random.default_rng(0)
    text = "".join(f"{rng.normal():.3f},{'xy'[i % 2]},{i % 2}\n" for i in range(200))
    data = load(csv(tmp_path, "a,b,y\n" + text), categorical=["b"])
    assert data.leaks[0].startswith("possible leak: column 'b' is a copy of the label (100.0% of held-out rows right")


@pytest.mark.parametrize("both", [True, False])
def test_an_npz_with_test_rows_is_its_own_test_source(tmp_path, both):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), np.arange(50) % 2
    arrays = {"x_train": X[:30], "y_train": y[:30]} | ({"x_test": X[30:], "y_test": y[30:]} if both else {})
    np.savez(tmp_path / "m.npz", **arrays)
    data = load_dataset(train=tmp_path / "m.npz", test=tmp_path / "m.npz", validation=0)
    assert len(data.test) == (20 if both else 30)
    assert bool(data.leaks) is not both


def test_a_report_shows_no_rows_of_data_that_changed_since_the_run(tmp_path):
    from twolayer.training.run import train
    from twolayer.views.evaluation import raw_rows

    rng = np.random.default_rng(0)
    lines = [f"{x:.3f},{i % 2}\n" for i, x in enumerate(rng.normal(size=60))]
    path = csv(tmp_path, "a,y\n" + "".join(lines))
    config = config_from_dict({"data": {"train": path, "label": "y", "test": 0.3}, "solver": {"epochs": 1}})
    run = train(config, run_dir=tmp_path / "run").run_dir
    assert len(raw_rows(run, "test").X) == 18
    csv(tmp_path, "a,y\n" + "".join(reversed(lines)))
    with pytest.raises(FileError, match="t.csv: expected the content that the run recorded"):
        raw_rows(run, "test")


def test_evaluate_says_that_a_file_of_the_run_has_changed_since(tmp_path, capsys):
    from twolayer.__main__ import run as run_command
    from twolayer.training.run import train

    path, run = csv(tmp_path, "a,y\n" + "1,u\n2,v\n3,u\n4,v\n" * 5), tmp_path / "run"
    train({"data": {"train": str(path), "label": "y"}, "solver": {"epochs": 1}}, run_dir=run)
    for given in (run, run / "best.npz"):
        assert run_command(["evaluate", str(given), "--data", str(path)]) == 0
        assert capsys.readouterr().err == ""
    csv(tmp_path, "other,a,y\n" + "0,1,v\n7,2,u\n" * 5)
    for given in (run, run / "best.npz"):
        assert run_command(["evaluate", str(given), "--data", str(path)]) == 0
        said = capsys.readouterr().err
        assert "t.csv: its content has changed since the run" in said
        assert "1 column that training did not have: not used ('other')" in said


def test_a_line_of_far_too_many_cells_is_refused_before_it_is_cut(tmp_path, monkeypatch):
    (tmp_path / "wide.csv.gz").write_bytes(gzip.compress((b"1," * 1_000_000 + b"1\n") * 2))
    monkeypatch.setattr("twolayer.data.csv_reader.csv.reader", None)
    with pytest.raises(DataError, match=r"wide.csv.gz:1: expected at most 1,000,000 columns, got 1,000,001; .*npy"):
        load(tmp_path / "wide.csv.gz", label=0)
