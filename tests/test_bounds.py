"""Readers do linear work on untrusted bytes: twice the input is at most about twice the work, in each one's worst case.

Work is counted, not timed: lines of Python executed and calls into C. What C code does in one call is not seen by that,
so each case also runs at a size at which quadratic work would take minutes, under a limit that only stops a hang."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.fuzz.campaign import memory_limit, time_limit
from twolayer.commands.init import propose
from twolayer.config import config_from_dict, load_config
from twolayer.data import load_dataset
from twolayer.data.columns import Reading
from twolayer.data.frames import read_frame
from twolayer.data.preparation import Preparation
from twolayer.runs.checkpoint import load_model, write_arrays
from twolayer.runs.logs import HISTORY_COLUMNS, STEPS_COLUMNS, StepsLog, read_history
from twolayer.training.build import read_data
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import parse_object
from twolayer.utils.npy import read_npy, read_npz

HANG_SECONDS = 300.0
Case = Callable[[int, Path], Callable[[], object]]
"""From a size and an empty folder to a reading of that size."""


def counted(action: Callable[[], object]) -> int:
    """Lines executed and C functions called by an action that may end in a refusal."""
    count = 0

    def on_line(frame, event, argument):
        nonlocal count
        count += event == "line"
        return on_line

    def on_call(frame, event, argument):
        nonlocal count
        count += event == "c_call"

    former = sys.gettrace(), sys.getprofile()
    sys.settrace(on_line)
    sys.setprofile(on_call)
    try:
        refused_or_done(action)
    finally:
        sys.settrace(former[0])
        sys.setprofile(former[1])
    return count


def refused_or_done(action: Callable[[], object]) -> str:
    try:
        action()
        return ""
    except TwoLayerError as error:
        return str(error)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def npy_of(header: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


def npy_header_of_blanks(n, folder):
    header = b"{'descr':" + b" " * n + b"'<f8', 'fortran_order': False, 'shape': (3,)" + b" " * n + b"X"
    return lambda: read_npy(written(folder / "a.npy", npy_of(header)))


def npy_header_of_brackets(n, folder):
    return lambda: read_npy(written(folder / "a.npy", npy_of(b"(" * 2 * n)))


def npz_of_members(n, folder):
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for k in range(n):
            archive.writestr(f"{k}.npy", npy_of(b"{'descr': '|u1', 'fortran_order': False, 'shape': (0,), }"))
    return lambda: read_npz(folder / "a.npz")


def json_of_brackets(n, folder):
    return lambda: parse_object(b'{"a":' + b"[" * n, "a.json")


def json_of_digits(n, folder):
    return lambda: parse_object(b'{"a": ' + b"9" * n + b"}", "a.json")


def json_of_keys(n, folder):
    text = json.dumps({f"key {k}": k for k in range(n)}).encode()
    return lambda: parse_object(text, "a.json")


def log_of_digits(n, folder):
    written(folder / "history.csv", ",".join(HISTORY_COLUMNS).encode() + b"\n" + b"1" * n + b"\n")
    return lambda: read_history(folder / "history.csv")


def log_of_columns(n, folder):
    written(folder / "history.csv", b",".join(b"%d" % k for k in range(n)) + b"\n")
    return lambda: read_history(folder / "history.csv")


def log_of_rows(n, folder):
    rows = b"".join(b"%d,%d" % (k, k) + b"," * (len(HISTORY_COLUMNS) - 2) + b"\n" for k in range(1, n))
    written(folder / "history.csv", ",".join(HISTORY_COLUMNS).encode() + b"\n" + rows)
    return lambda: read_history(folder / "history.csv")


def log_of_steps(n, folder):
    rows = b"".join(b"%d,1,0.1,0.5\n" % k for k in range(1, n + 1))
    written(folder / "steps.csv", ",".join(STEPS_COLUMNS).encode() + b"\n" + rows)
    return lambda: StepsLog(folder / "steps.csv", n, n).close()


def config_of_ignored_names(n, folder):
    rows = folder / "rows.csv"
    names = [f"c{k:05d}" for k in range(n)]
    written(
        rows,
        ("kind," + ",".join(names) + "\n" + "".join(f"{kind},{','.join('1' * n)}\n" for kind in "ababab")).encode(),
    )
    written(folder / "c.yaml", f"data: {{train: rows.csv, label: kind, ignore: [{','.join(names[1:])}]}}\n".encode())
    return lambda: read_data(load_config(folder / "c.yaml"))


def config_of_unknown_keys(n, folder):
    text = "data: {train: {generator: spiral}}\nsolver:\n" + "".join(f"  learning_rat{k:05d}: 1\n" for k in range(n))
    return lambda: load_config(written(folder / "c.yaml", text.encode()))


def config_of_class_weights(n, folder):
    weights = {f"label {k:05d}": 1.0 for k in range(n)}
    values = {"data": {"train": {"generator": "spiral"}}, "solver": {"class_weight": weights}}
    return lambda: config_from_dict(values)


def csv_of(text: str, **keys: object) -> Case:
    """A table whose `{n}` is repeated."""

    def case(n, folder):
        start, _, rest = text.partition("<")
        repeated, _, end = rest.partition(">")
        path = written(folder / "rows.csv", (start + repeated * n + end).encode())
        return lambda: load_dataset(train=str(path), **{"label": "kind", "validation": 0, **keys})

    return case


def csv_of_columns(n, folder):
    rows = "".join(f"{kind},{','.join('1' * n)}\n" for kind in "xy")
    path = written(folder / "rows.csv", f"kind,{','.join(f'c{k}' for k in range(n))}\n{rows}".encode())
    return lambda: load_dataset(train=str(path), label="kind", validation=0)


def init_of_columns(n, folder):
    rows = "".join(f"{','.join(f'{k}.{row}' for k in range(n))},{'xy'[row % 2]}\n" for row in range(12))
    path = written(folder / "rows.csv", f"{','.join(f'c{k}' for k in range(n))},kind\n{rows}".encode())
    return lambda: propose(path)


def csv_of_categories(n, folder):
    rows = "".join(f"c{k},{'xy'[k % 2]}\n" for k in range(n))
    path = written(folder / "rows.csv", f"name,kind\n{rows}".encode())
    return lambda: load_dataset(train=str(path), label="kind", categorical=["name"], validation=0)


def model_of_categories(n, folder):
    """A small model whose header is forged: as many columns, each with a category."""
    rows = written(folder / "rows.csv", b"a,b,kind\n" + b"1,u,x\n2,v,y\n" * 5)
    dataset = load_dataset(train=str(rows), label="kind", categorical=["b"], validation=0)
    header = dataset.preparation.to_header()
    table = header["table"]
    width = n + 1
    table.update(names=None, width=width, label=n, features=list(range(n)))
    table["categories"] = [[k, ["u"]] for k in reversed(range(n))]
    arrays = {"W2": np.zeros((n, 2), np.float32), "b2": np.zeros(2, np.float32)}
    arrays |= {"data/center": np.zeros(n), "data/scale": np.ones(n)}
    write_arrays(folder / "model.npz", arrays, {"kind": "model", "preparation": header})
    return lambda: load_model(folder / "model.npz")


# Each with a size at which work is counted, and a large one.
CASES: dict[Case, tuple[int, int]] = {
    npy_header_of_blanks: (1000, 4900),
    npy_header_of_brackets: (1000, 4900),
    npz_of_members: (200, 1000),
    json_of_brackets: (1000, 1_000_000),
    json_of_digits: (1000, 1_000_000),
    json_of_keys: (1000, 100_000),
    log_of_digits: (10_000, 10_000_000),
    log_of_columns: (1000, 1_000_000),
    log_of_rows: (500, 100_000),
    log_of_steps: (500, 1_000_000),
    config_of_ignored_names: (200, 9700),
    config_of_unknown_keys: (100, 2000),
    config_of_class_weights: (500, 4900),
    csv_of("a,kind\n<1>x,x\n2,y\n"): (10_000, 1_000_000),
    csv_of("a,kind\n<->1,x\n2,y\n"): (10_000, 1_000_000),
    csv_of("a,kind\n1,x\n<\n>2,y\n"): (1000, 200_000),
    csv_of('a,kind\n1,x\n<">2,y\n'): (1000, 200_000),
    csv_of("kind<,>\nx\ny\n"): (1000, 1_000_000),
    csv_of("kind,<a,>b\nx,1\ny,2\n"): (1000, 999_000),
    csv_of_columns: (200, 20_000),
    init_of_columns: (200, 5000),
    csv_of_categories: (500, 20_000),
    model_of_categories: (500, 20_000),
}
NAMES = [getattr(case, "__name__") + f"-{k}" for k, case in enumerate(CASES)]  # noqa: B009


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_twice_the_input_is_about_twice_the_work(case, tmp_path):
    n = CASES[case][0]
    work = []
    for k, size in enumerate((n, n, 2 * n)):  # the first time, modules and caches are filled
        folder = tmp_path / str(k)
        folder.mkdir()
        work.append(counted(case(size, folder)))
    assert work[2] < 2.3 * work[1] + 2000


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_worst_case_ends_in_rows_or_a_message(case, tmp_path):
    action = case(CASES[case][1], tmp_path)
    with time_limit(HANG_SECONDS):
        message = refused_or_done(action)
    assert all(len(line) < 2000 and line.isprintable() for line in message.split("\n"))


def parquet_of_one_number(path: Path) -> None:
    rows = pa.table({"a": np.zeros(1_000_000), "kind": np.zeros(1_000_000)})
    with parquet.ParquetWriter(path, rows.schema, compression="zstd") as file:
        for _ in range(10):
            file.write_table(rows)


def parquet_of_one_long_text(path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(np.zeros(4000, np.int32), ["x" * (1 << 20)])
    parquet.write_table(pa.table({"a": np.zeros(4000), "kind": text}), path, store_schema=False)


def arrow_of_zeros(path: Path) -> None:
    rows = pa.table({"a": np.zeros(1_000_000), "kind": np.zeros(1_000_000)})
    with pa.ipc.new_file(path, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        for _ in range(10):
            file.write_table(rows)


def workbook_with_a_far_cell(path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "kind", 1
    book.save(path)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("number.parquet", parquet_of_one_number, "expected at most 100 times the packed size"),
        ("text.parquet", parquet_of_one_long_text, "expected at most 100 times the packed size"),
        ("zeros.arrow", arrow_of_zeros, "expected at most 100 times the packed size"),
        ("far.xlsx", workbook_with_a_far_cell, "got an area of 17,179,869,184 cells"),
    ],
)
def test_a_small_file_that_stands_for_gigabytes_is_refused(tmp_path, name, write, said):
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 500_000
    with memory_limit(), time_limit(HANG_SECONDS), pytest.raises(TwoLayerError, match=said):
        load_dataset(train=str(tmp_path / name), label="kind", validation=0)


def test_a_model_of_many_categories_in_one_column_takes_memory_for_the_rows_alone(tmp_path):
    rows = written(tmp_path / "rows.csv", b"b,kind\n" + b"u,x\nv,y\n" * 5)
    preparation = load_dataset(train=str(rows), label="kind", categorical=["b"], validation=0).preparation
    n = 30_000
    header = preparation.to_header()
    header["table"]["categories"] = [[0, [*map(str, range(n - 1)), "v"]]]
    stored = Preparation.from_stored(header, {"data/center": np.zeros(n), "data/scale": np.ones(n)})
    with memory_limit():
        X = stored.transform(pa.table({"b": ["v", "7", "new"]}), notes=[])
    assert [np.flatnonzero(row).tolist() for row in X] == [[n - 1], [7], []]


def test_a_parquet_file_comes_back_as_its_writer_had_it(tmp_path):
    texts = ["x", None, "yy"] * 5
    kinds = {"text": pa.string(), "long": pa.large_string(), "bytes": pa.binary()}
    columns = {name: pa.array(texts).cast(kind) for name, kind in kinds.items()}
    rows = pa.table({**columns, "codes": pa.array(texts).dictionary_encode(), "a.b": pa.array([1.5, None, 3] * 5)})
    for options in ({}, {"store_schema": False}, {"use_dictionary": False}, {"row_group_size": 4}):
        parquet.write_table(rows, tmp_path / "rows.parquet", **options)
        found = read_frame(tmp_path / "rows.parquet", "parquet", Reading(), has_names=False)
        expected = parquet.read_table(tmp_path / "rows.parquet")
        assert found.names == tuple(expected.column_names)
        for at, column in enumerate(expected.columns):
            assert found._column(at).type == column.type
            assert found._column(at).to_pylist() == column.to_pylist()


@pytest.mark.parametrize("n", [100, 250_000])  # a key ends within 1024 letters, which bounds the work
def test_a_config_of_brackets_is_refused(tmp_path, n):
    path = written(tmp_path / "c.yaml", b"data: {train: {generator: spiral}}\nx: " + b"[" * n)
    with time_limit(HANG_SECONDS):
        assert refused_or_done(lambda: load_config(path)).endswith("nested deeper than 20 levels")


def test_what_is_counted_shows_quadratic_work():
    def quadratic(n):
        values = list(range(n))
        return lambda: [values.index(value) for value in values for _ in values]

    assert counted(quadratic(200)) > 3.5 * counted(quadratic(100))
