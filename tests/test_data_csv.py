"""CSV: agrees with pandas on what is well formed, and names the place of what is not."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from data_helpers import all_rows, csv
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.data import load_dataset
from twolayer.utils.errors import DataError

PLAIN = {"validation": 0, "scale": "none", "dtype": "float64"}


def load(path, **keys):
    return load_dataset(train=path, **{**PLAIN, "label": "y", **keys})


def labels(split, classes):
    return [classes[index] for index in split.y]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a,b,y\n1,2,0\n3,-4.5e1,1\n", {}),
        ("\ufeffa,b,y\r\n1,2,0\r\n3,-45,1\r\n", {}),
        ('"a","b","y"\n"1","2","0"\n"3","-45","1"', {}),
        ("\n a , b ,y\n\n 1 , 2 ,0\n3,-45,1\n\n", {}),
        ("y,a,b\n0,1,2\n1,3,-45\n", {}),
        ("1,2,0\n3,-45,1\n", {"label": -1}),
        ("0,1,2.0\n1,3,-45\n", {"label": 0}),
        ("a,b,y\n1,2,0\n3,-45,1\n", {"label": 2}),
        ("a,id,b,y\n1,k_7,2,0\n3,k_8,-45,1\n", {"ignore": ["id"]}),
        ("1,x,2,0\n3,z,-45,1\n", {"label": 3, "ignore": [-3]}),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_bom_crlf_quotes_blanks_header_and_positions_are_accepted(tmp_path, text, keys, name):
    data = load(csv(tmp_path, text, name), **keys)
    np.testing.assert_array_equal(all_rows(data.train.X, float), [[1, 2], [3, -45]])
    assert labels(data.train, data.classes) == [0, 1]


@pytest.mark.parametrize(
    "text", ['"a\rb",c,y\r\n1,2,0\r\n3,-45,1\r\n', '"a\rb",c,y\n1,2,0\n3,-45,1\n', "a,b,y\r1,2,0\r3,-45,1\r"]
)
def test_a_lone_carriage_return_costs_no_row(tmp_path, text):
    data = load(csv(tmp_path, text))
    np.testing.assert_array_equal(all_rows(data.train.X, float), [[1, 2], [3, -45]])
    assert labels(data.train, data.classes) == [0, 1]


def test_quoted_cells_may_hold_commas_quotes_and_line_ends(tmp_path):
    data = load(csv(tmp_path, 'a,"y, the ""label"""\n1,"x\ny"\n2,"a,b"\n3,"x\ny"\n'), label='y, the "label"')
    assert data.classes == ("a,b", "x\ny")
    assert data.preparation.label == 'y, the "label"'


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["10", "9", "-1"], (-1, 9, 10)),
        (["b", "a", "10"], ("10", "a", "b")),
        (["01", "1", "2"], (1, 2)),
        (["1.0", "2e0", "3"], (1, 2, 3)),
        (["1.50", "1.5", "-3"], ("-3", "1.5")),
        (["TRUE", "true", "False"], ("False", "True")),
        (["1_0", "2", "3"], ("1_0", "2", "3")),
        (["x ", " x", "y"], ("x", "y")),
    ],
)
def test_labels_are_integers_if_all_are_and_else_text_and_equal_values_are_one(tmp_path, cells, classes):
    data = load(csv(tmp_path, "a,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))))
    assert data.classes == classes
    assert data.train.y.dtype == np.uint8


def test_the_shipped_sets_are_read_as_numpy_reads_them(root):
    data = load(root / "data/optdigits-train.csv.gz", label="digit")
    expected = np.loadtxt(root / "data/optdigits-train.csv.gz", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(all_rows(data.train.X, float), expected[:, :-1])
    np.testing.assert_array_equal(data.train.y, expected[:, -1])
    data = load(root / "data/letter-train.csv.gz", label="letter")
    with gzip.open(root / "data/letter-train.csv.gz", "rt") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    assert labels(data.train, data.classes) == [row[-1] for row in rows]
    np.testing.assert_array_equal(all_rows(data.train.X, float), np.array([row[:-1] for row in rows], float))


NUMBERS = st.one_of(
    st.integers(-(10**18), 10**18).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-1000, 1000, places=4).map(str),
    st.sampled_from(
        ["0", "-0", "00012", "+3", ".5", "5.", "-.25", "1e3", "1E-3", " 7 ", "123456789.123456789", "1e-320"]
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("csv")


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12), quoted=st.booleans())
def test_numbers_are_read_to_the_last_bit_as_python_reads_them(folder, rows, quoted):
    quote = '"' if quoted else ""
    text = "".join(f"{quote}{a}{quote},{b},{i % 2}\n" for i, (a, b) in enumerate(rows))
    data = load(csv(folder, text), label=2)
    expected = np.array([[float(a), float(b)] for a, b in rows])
    np.testing.assert_array_equal(all_rows(data.train.X, float).view(np.int64), expected.view(np.int64))


def test_mixed_tables_are_read_as_pandas_reads_them(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(5)
    frame = pandas.DataFrame(
        {
            "size": rng.normal(size=9000).round(5),
            "colour": rng.choice(["red", "green", "dark, blue"], 9000),
            "y": rng.choice(["no", "yes"], 9000),
            "count": rng.integers(-5, 1000, 9000),
        }
    )
    frame.loc[rng.choice(9000, 50), "size"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", categorical=["colour"], missing="drop")
    kept = frame.dropna()
    one_hot = pandas.get_dummies(kept["colour"]).sort_index(axis=1)
    expected = np.column_stack([kept["size"], one_hot, kept["count"]]).astype(float)
    np.testing.assert_array_equal(all_rows(data.train.X, float), expected)
    assert data.preparation.feature_names == ("size", *(f"colour={name}" for name in one_hot), "count")
    assert labels(data.train, data.classes) == list(kept["y"])
    np.testing.assert_array_equal(data.train.row_numbers, kept.index)
    assert data.notes[0].startswith(
        f"{tmp_path}/t.csv: {9000 - len(kept)} of 9,000 rows dropped, each with a missing cell; "
    )
    assert data.notes[0].endswith("column 'size' is empty")


ROWS = "a,b,y\n1,2,0\n3,4,1\n"


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("", {}, "t.csv: expected rows of separated cells, got an empty file"),
        ("\n\r\n\n", {}, "t.csv: expected rows of separated cells, got an empty file"),
        ("a,b,y\n", {}, "t.csv: expected at least one row, got a header and no rows"),
        (ROWS + "5,6\n", {}, "t.csv:4: expected 3 cells, as in the first line, got 2"),
        (ROWS + "\n5,6,0,7\n", {}, "t.csv:5: expected 3 cells, as in the first line, got 4"),
        (ROWS + "5,abc,0\n", {}, "t.csv:4: column 'b': expected a number, got 'abc'; name the column in 'categorical'"),
        (ROWS + "5,1_000,0\n", {}, "t.csv:4: column 'b': expected a number, got '1_000'"),
        (ROWS + "5,٣,0\n", {}, "t.csv:4: column 'b': expected a number, got '٣'"),
        (ROWS + "5,0x1f,0\n", {}, "column 'b': expected a number, got '0x1f'"),
        (ROWS + "5,--3,0\n", {}, "column 'b': expected a number, got '--3'"),
        (ROWS + "5,1-3,0\n", {}, "column 'b': expected a number, got '1-3'"),
        (ROWS + "5,.,0\n", {}, "column 'b': expected a number, got '.'"),
        (ROWS + "5,1.2.3,0\n", {}, "column 'b': expected a number, got '1.2.3'"),
        (ROWS + '5,"x\ny",0\n6,"abc",1\n', {"ignore": ["a"]}, "t.csv:4: column 'b'"),
        ('a,b,y\n"1\n",2,0\n3,abc,1\n', {}, "t.csv:4: column 'b': expected a number, got 'abc'; name the column in"),
        (ROWS + "5,,0\n", {}, "column 'b': expected a number, or missing: drop or mean, got a missing cell"),
        (ROWS + "5,NA,0\n", {}, "column 'b': expected a number, or missing: drop or mean, got a missing cell"),
        (ROWS + "5,NaN,0\n", {}, "column 'b': expected a number, or missing: drop or mean, got a missing cell"),
        (ROWS + "5, ? ,0\n", {}, "column 'b': expected a number, or missing: drop or mean, got a missing cell"),
        (ROWS + "5,6,\n", {}, "t.csv:4: expected a label in each row, or missing: drop or mean, got no label"),
        ("a,b,y\n1,2,\n,4,?\n", {"missing": "mean"}, "t.csv: expected labels, got no label in any row"),
        ("a,b,y\n1,2,\n,4,?\n", {"missing": "drop"}, "t.csv: expected labels, got no label in any row"),
        (ROWS + "5,inf,0\n", {}, "t.csv:4: column 'b': expected a finite number that float64 holds, also scaled"),
        (ROWS + "5,-Infinity,0\n", {}, "a finite number that float64 holds, also scaled, got -inf"),
        (ROWS + "5,1e999,0\n", {}, "column 'b': expected a finite number that float64 holds, also scaled, got inf"),
        (
            ROWS + "5,1e300,0\n",
            {"dtype": "float32"},
            "t.csv:4: column 'b': expected a finite number that float32 holds, also scaled, got 1e+300",
        ),
        (
            ROWS + "5,1e300,0\n",
            {"scale": "standardize"},
            "column 'b': expected a finite number that float64 holds, also scaled, got 1e+300",
        ),
        (ROWS, {"label": "Y"}, "t.csv:1: expected one of 'a', 'b', 'y', got label column 'Y'; did you mean 'y'?"),
        (ROWS, {"label": 3}, "t.csv:1: expected a position from 0 to 2, or -3 to -1, got label column 3"),
        (ROWS, {"label": None}, "expected label: the name or position (-1: the last) of the label's column, got none"),
        (ROWS, {"ignore": ["c"]}, "t.csv:1: expected one of 'a', 'b', 'y', got ignore column 'c'"),
        (ROWS, {"categorical": [-4]}, "expected a position from 0 to 2, or -3 to -1, got categorical column -4"),
        (ROWS, {"ignore": ["y"]}, "the label 'y' in neither 'ignore' nor 'categorical'"),
        (ROWS, {"ignore": [0], "categorical": ["a"]}, "column 'a' in 'ignore' or 'categorical', got it in both"),
        (ROWS, {"ignore": ["a", "b"]}, "3 columns, none of them a feature"),
        (
            "a,a,y\n1,2,0\n",
            {},
            "expected each name once, got 2 columns named 'a', the first at 0; rename them, put all of them",
        ),
        ("a,a,y\n1,2,0\n", {"ignore": [0]}, "expected each name once, got 2 columns named 'a'"),
        (
            "a,b,y,,\n1,2,0,,\n",
            {"ignore": [3]},
            "t.csv:1: expected no separator behind the last cell, got a ',' at the end of each line; remove it",
        ),
        ("a,b,y\n1,2,0\n3,4,0\n", {}, "t.csv: expected two or more classes, got one, 0; is it the label's column?"),
        ('a,b,y\n1,"2,0\n3,4,1\n', {}, "quoted ones closed by one quote, got unexpected end of data"),
        ("a,b,y\n1,2\0,0\n", {}, "xlsx, npz or IDX file, got binary data"),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_each_error_is_reported_with_its_place(tmp_path, text, keys, said, quoted):
    if quoted:  # a quoted cell in the first row: the file cannot be read the quick way
        text = text.replace("a,", '"a",', 1)
    with pytest.raises(DataError) as caught:
        load(csv(tmp_path, text), **keys)
    assert said in str(caught.value).replace(f"{tmp_path}/", "")
    assert str(tmp_path) in str(caught.value)


def test_text_that_is_not_utf8_is_reported_with_its_line(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,y\n1,x\n2,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t.csv:3: expected UTF-8 text, got byte 0xe9"):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_says_its_encoding_by_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("a,y\n1,é\n2,x\n".encode(encoding))
    assert load(tmp_path / "t.csv").classes == ("x", "é")


def test_ignoring_a_name_leaves_out_all_columns_of_it(tmp_path):
    data = load(csv(tmp_path, "a,a,b,y\n1,2,3,u\n4,5,6,v\n"), ignore=["a"])
    assert data.preparation.feature_names == ("b",)
    np.testing.assert_array_equal(data.preparation.read(tmp_path / "t.csv")[0], all_rows(data.train.X))


def test_a_label_column_that_is_a_quantity_is_refused(tmp_path):
    text = "a,y\n" + "".join(f"{i},{i}.5\n" for i in range(10_100))
    with pytest.raises(DataError, match="expected classes, got more than 10,000 different labels; a quantity"):
        load(csv(tmp_path, text))


def test_a_column_of_too_many_categories_is_refused(tmp_path):
    text = "a,y\n" + "".join(f"k{i},{i % 2}\n" for i in range(1100))
    with pytest.raises(DataError, match="expected few categories, .*, got more than 1,000 different values"):
        load(csv(tmp_path, text), categorical=["a"])


def test_missing_cells_get_the_means_of_the_training_rows_alone(tmp_path):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 2))
    X[::7, 0] = np.nan
    colour = np.where(np.arange(40) % 9 == 0, "", np.where(np.arange(40) % 2, "r", "g"))
    text = "a,c,b,y\n" + "".join(f"{x[0]},{c},{x[1]},{i % 2}\n" for i, (x, c) in enumerate(zip(X, colour, strict=True)))
    data = load(csv(tmp_path, text), missing="mean", categorical=["c"], validation=0.25)
    raw = np.column_stack(
        [X[:, 0], np.where(colour == "", np.nan, colour == "g"), np.where(colour == "", np.nan, colour == "r"), X[:, 1]]
    )
    means = np.nanmean(raw[data.train.row_numbers], axis=0)
    for split in (data.train, data.validation):
        expected = np.where(np.isnan(raw), means, raw)[split.row_numbers]
        np.testing.assert_allclose(all_rows(split.X, float), expected, rtol=1e-12)
    n_rows = np.isnan(raw).any(axis=1).sum()
    assert data.notes[0].endswith(f"missing cells filled with the means of the training rows: {n_rows} rows")
    text = csv(tmp_path, "a,c,b\n,g,2\n1,,2\n", "p.csv")
    np.testing.assert_allclose(data.preparation.read(text)[0], [[means[0], 1, 0, 2], [1, means[1], means[2], 2]])


def test_where_cells_get_means_rows_without_a_label_are_dropped(tmp_path):
    train = csv(tmp_path, "a,b,y\n1,2,0\n,4,1\n900,900,\n5,6,1\n")
    data = load(train, missing="mean", test=csv(tmp_path, "a,b,y\n,1,?\n,8,1\n", "e.csv"))
    np.testing.assert_array_equal(all_rows(data.train.X, float), [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(data.train.row_numbers, [0, 1, 3])
    np.testing.assert_array_equal(all_rows(data.test.X, float), [[3, 8]])
    assert (
        data.notes[0]
        == f"{train}: 1 of 4 rows dropped, each without a label; the first at {train}:4: the label is empty"
    )
    assert data.notes[2].endswith("e.csv:2: the label is '?', which data.missing_values lists")


def test_a_feature_without_any_number_cannot_be_filled(tmp_path):
    with pytest.raises(DataError, match="column 'a': expected at least one number in the training rows"):
        load(csv(tmp_path, "a,b,y\n,1,0\n,2,1\n"), missing="mean")


@pytest.mark.parametrize("missing", ["refuse", "drop", "mean"])
def test_a_column_without_any_category_is_refused(tmp_path, missing):
    with pytest.raises(DataError, match="column 'a': expected some categories, .*, got a missing cell in every row"):
        load(csv(tmp_path, "a,b,y\n?,1,0\n,2,1\n"), missing=missing, categorical=["a"])


def test_dropping_every_row_is_refused(tmp_path):
    with pytest.raises(DataError, match="a missing cell in every row"):
        load(csv(tmp_path, "a,b,y\n,1,0\n,2,1\n"), missing="drop")


def test_a_test_file_is_matched_by_names_whatever_their_order(tmp_path):
    train = csv(tmp_path, "a,b,c,y\n1,2,u,n\n3,4,v,m\n")
    test = csv(tmp_path, "y,extra,c,b,a\nm,?,v,6,5\n", "e.csv")
    data = load(train, test=test, categorical=["c"])
    np.testing.assert_array_equal(all_rows(data.test.X, float), [[5, 6, 0, 1]])
    assert labels(data.test, data.classes) == ["m"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,y\n1,n\n", "e.csv:1: expected the column 'b' of the training, got 'a', 'y'"),
        ("a,b,b,y\n1,2,2,n\n", "e.csv:1: expected each name once, got column name 'b' 2 times"),
        ("a,b\n1,2\n", "e.csv:1: expected the label column 'y' of the training, got 'a', 'b'"),
        ("u,v,w\n1,2,n\n", "e.csv:1: expected the column 'a' of the training, got 'u', 'v', 'w'"),
        ("1,2\n", "e.csv:1: expected the column 'a' of the training, got '1', '2'"),
        ("a,b,y\n1,2,n\n1,2,q\n", "e.csv:3: expected a label known from training: 'm', 'n', got label 'q'"),
        ("a,b,y\n1,2,n\n1,,n\n", "e.csv:3: column 'b': expected a number, or missing: drop or mean"),
    ],
)
def test_a_test_file_that_does_not_fit_the_training_is_reported(tmp_path, text, said):
    with pytest.raises(DataError) as caught:
        load(csv(tmp_path, "a,b,y\n1,2,n\n3,4,m\n"), test=csv(tmp_path, text, "e.csv"))
    assert said in str(caught.value)


def test_a_prediction_file_of_numbers_alone_is_also_matched_by_names(tmp_path):
    data = load(csv(tmp_path, "a,b,y\n1,2,n\n3,4,m\n"))
    np.testing.assert_array_equal(data.preparation.read(csv(tmp_path, "b,a\n6,5\n8,7\n", "p.csv"))[0], [[5, 6], [7, 8]])


def test_without_header_a_label_left_out_of_the_middle_moves_what_is_behind_it(tmp_path):
    data = load(csv(tmp_path, "1,n,2,x,3\n4,m,5,x,6\n"), label=1, ignore=[3])
    for text in ("7,8,x,9\n", "7,n,8,x,9\n"):
        np.testing.assert_array_equal(data.preparation.read(csv(tmp_path, text, "p.csv"))[0], [[7, 8, 9]])


def test_after_dropped_rows_an_error_still_names_its_line(tmp_path):
    with pytest.raises(DataError, match="t.csv:5: column 'a': .*finite number that float32 holds.*, got 1e.300"):
        load(csv(tmp_path, "a,y\n?,0\n1,0\n?,1\n1e300,1\n"), missing="drop", dtype="float32")


def test_a_category_unknown_to_training_is_reported(tmp_path):
    train = csv(tmp_path, "a,y\nred,0\ngreen,1\n")
    with pytest.raises(
        DataError, match="e.csv:2: column 'a': expected a category known .*, got 'grene'; did you mean 'green'"
    ):
        load(train, test=csv(tmp_path, "a,y\ngrene,1\n", "e.csv"), categorical=["a"], unseen="error")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            gzip.compress(b"0,0\n" * (20 << 20), 1),
            "expected at most 100 times the packed size, got more than 67,108,864",
        ),
        (gzip.compress(b"a,y\n1,0\n2,1\n" * 50)[:-20], "the gzip file is cut short"),
        (gzip.compress(b"a,y\n1,0\n2,1\n" * 50)[:-6] + b"\1" * 6, "the gzip file is damaged"),
        (gzip.compress(gzip.compress(b"a,y\n" + bytes(50))), "binary data"),
    ],
    ids=["bomb", "cut short", "damaged", "nested"],
)
def test_packed_files_that_are_bombs_broken_or_nested_are_refused(tmp_path, content, said):
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=said):
        load(tmp_path / "t.csv.gz")


def test_what_is_not_a_file_is_reported(tmp_path):
    for path, said in (
        (tmp_path / "none.csv", "cannot be read .No such file"),
        (tmp_path, "expected a data file, got a folder"),
        ("/dev/zero", "expected a data file, got a device"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(DataError, match=said):
            load(path)
