"""Checkpoints come back bit for bit or are refused: round trips, fixed bytes, damage, hostile and foreign files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import pickle
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fault_injection import full_at_every_operation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import twolayer
from twolayer.runs import checkpoint
from twolayer.runs.checkpoint import FORMAT, read_arrays, read_model_arrays, write_arrays
from twolayer.utils.errors import RunError


def params(d=3, h=4, c=2, dtype=np.float32):
    rng = np.random.default_rng(0)
    shapes = {"W1": (d, h), "b1": (h,), "W2": (h, c), "b2": (c,)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


ARRAYS = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_/]{0,10}", fullmatch=True).filter(lambda name: name != "header"),
    st.sampled_from(["f4", "f8", "i8", "i4", "u1", "?", "<U3", ">f4", ">i8"]).flatmap(
        lambda dtype: npst.arrays(np.dtype(dtype), npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(st.text(max_size=5).filter(lambda key: key not in ("format", "sha256")), JSON, max_size=4)


@settings(max_examples=60, deadline=None)
@given(arrays=ARRAYS, header=HEADERS)
def test_what_is_read_is_what_was_written(arrays, header):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        write_arrays(path, arrays, header)
        read, read_header = read_arrays(path)
    native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    assert same(read, native)
    assert read_header == {**header, "format": FORMAT, "twolayer": twolayer.__version__}
    assert list(read_header)[: len(header)] == list(header)  # in the same order


def test_the_layout_in_memory_does_not_matter(tmp_path):
    a = np.arange(12.0).reshape(3, 4)
    layouts = {"rows": a, "columns": np.asfortranarray(a), "steps": np.repeat(a, 2, axis=1)[:, ::2]}
    files = []
    for name, array in layouts.items():
        write_arrays(tmp_path / name, {"a": array}, {})
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] == files[2]


def test_the_same_content_gives_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    write_arrays(tmp_path / "a", params(), {"kind": "model", "epoch": 3})
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr("sys.platform", "win32")
    write_arrays(tmp_path / "b", params(), {"kind": "model", "epoch": 3})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_plain_numpy_and_json_read_the_file(tmp_path):
    write_arrays(tmp_path / "a.npz", params() | {"data/mean": np.arange(3.0)}, {"kind": "model", "classes": ["ä", 1]})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]))
        assert same(
            {name: file[name] for name in file.files if name != "header"}, params() | {"data/mean": np.arange(3.0)}
        )
    assert header["classes"] == ["ä", 1]
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


def test_the_checksum_is_sha256_of_header_names_types_shapes_and_bytes(tmp_path):
    arrays = {"b": np.arange(3, dtype="<i4"), "a": np.ones((2, 1), "<f8")}
    write_arrays(tmp_path / "a.npz", arrays, {"z": 1, "a": [2.5, None]})
    text = f'{{"z":1,"a":[2.5,null],"format":{FORMAT},"twolayer":"{twolayer.__version__}"}}\n'
    text += '["a", "<f8", [2, 1]]\n' + arrays["a"].tobytes().decode("latin-1")
    text += '["b", "<i4", [3]]\n' + arrays["b"].tobytes().decode("latin-1")
    with np.load(tmp_path / "a.npz") as file:
        assert json.loads(bytes(file["header"]))["sha256"] == hashlib.sha256(text.encode("latin-1")).hexdigest()


def test_numbers_that_are_not_finite_survive_in_the_header(tmp_path):
    write_arrays(tmp_path / "a.npz", {}, {"best": math.inf, "worst": -math.inf, "none": math.nan})
    header = read_arrays(tmp_path / "a.npz")[1]
    assert (header["best"], header["worst"]) == (math.inf, -math.inf)
    assert math.isnan(header["none"])


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_any_flipped_byte_gives_the_same_arrays_or_an_error(tmp_path, kind):
    arrays = {"W2": np.arange(6, dtype=np.float32).reshape(3, 2), "b2": np.zeros(2, np.float32)}
    arrays |= {"slot": np.arange(2.0), "data/names": np.array(["a", "bc"])} if kind == "checkpoint" else {}
    path = tmp_path / "a.npz"
    write_arrays(path, arrays, {"kind": kind, "epoch": 2, "best": math.inf})
    whole, header = path.read_bytes(), read_arrays(path)[1]
    loaded = refused = 0
    for at in range(len(whole)):
        for flip in [0xFF] if kind == "checkpoint" else [1 << at % 8, 1 << (at + 3) % 8]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                read, read_header = read_model_arrays(path)
            except RunError as error:
                refused += str(path) in str(error)
            else:
                loaded += 1
                assert same(read, arrays)
                assert repr(read_header) == repr(header)
    assert loaded + refused >= len(whole)
    assert refused > loaded


def test_any_truncation_and_any_tail_gives_the_same_arrays_or_an_error(tmp_path):
    arrays = {"W2": np.arange(6, dtype=np.float32).reshape(3, 2), "b2": np.zeros(2, np.float32)}
    path = tmp_path / "a.npz"
    write_arrays(path, arrays, {"kind": "model"})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(RunError, match=r"a\.npz"):
            read_arrays(path)
    for tail in (b"\0", b"x" * 1000, whole):
        path.write_bytes(whole + tail)
        with contextlib.suppress(RunError):
            assert same(read_arrays(path)[0], arrays)


def test_arrays_under_exchanged_names_are_refused_although_every_part_is_whole(tmp_path):
    write_arrays(tmp_path / "a.npz", {"b1": np.zeros(3), "b2": np.ones(3)}, {})
    swapped = (tmp_path / "a.npz").read_bytes().replace(b"b1.npy", b"bX.npy").replace(b"b2.npy", b"b1.npy")
    (tmp_path / "b.npz").write_bytes(swapped.replace(b"bX.npy", b"b2.npy"))
    with pytest.raises(RunError, match=r"b\.npz: damaged or changed.*checksum.*another copy"):
        read_arrays(tmp_path / "b.npz")


def test_a_full_disk_at_any_operation_leaves_the_old_checkpoint(tmp_path):
    path, old = tmp_path / "last.npz", {"a": np.zeros(3)}
    new = {"a": np.ones(3), "large": np.ones(50_000)}
    write_arrays(path, old, {"step": 1})
    for _ in full_at_every_operation(lambda k: write_arrays(path, new, {"step": 2})):
        arrays, header = read_arrays(path)
        assert same(arrays, {1: old, 2: new}[header["step"]])
        assert [each.name for each in tmp_path.iterdir()] == ["last.npz"]
    assert read_arrays(path)[1]["step"] == 2


def stored(path, header, arrays):
    """An .npz with a valid checksum, whatever the header says: as anyone could make."""
    header = header | {"sha256": checkpoint._digest(header, arrays)}
    np.savez(path, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)


def test_arrays_of_the_other_byte_order_come_in_the_machines_own(tmp_path):
    stored(tmp_path / "a.npz", {"format": FORMAT}, {"a": np.arange(3, dtype=">f4"), "b": np.arange(3, dtype="<i8")})
    arrays, _ = read_arrays(tmp_path / "a.npz")
    assert same(arrays, {"a": np.arange(3, dtype="f4"), "b": np.arange(3, dtype="i8")})


def test_a_newer_format_is_refused_by_the_version_that_wrote_it(tmp_path):
    stored(tmp_path / "a.npz", {"format": FORMAT + 1, "twolayer": "9.1.0"}, {})
    with pytest.raises(
        RunError, match=r"a\.npz: written by twolayer 9\.1\.0 in file format 2; .* install twolayer 9\.1\.0"
    ):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("found", [None, True, "1", 0, -1, 1.0])
def test_a_header_without_a_format_version_is_refused(tmp_path, found):
    stored(tmp_path / "a.npz", {"format": found}, {})
    with pytest.raises(RunError, match="without a format version"):
        read_arrays(tmp_path / "a.npz")


def test_what_a_message_quotes_of_a_file_is_short_and_printable(tmp_path):
    stored(tmp_path / "a.npz", {"format": FORMAT + 1, "twolayer": "\x1b[2J\n" + "9" * 10_000}, {})
    stored(tmp_path / "b.npz", {"format": FORMAT, "kind": ["\x1b"] * 1000}, {})
    for name in ("a.npz", "b.npz"):
        with pytest.raises(RunError) as caught:
            read_arrays(tmp_path / name, kinds=("model",))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


def test_another_kind_is_named_with_the_expected_ones(tmp_path):
    write_arrays(tmp_path / "a.npz", {}, {"kind": "predictions"})
    with pytest.raises(RunError, match=r"a\.npz: expected a file of kind model or checkpoint, got 'predictions'"):
        read_arrays(tmp_path / "a.npz", kinds=("model", "checkpoint"))


def test_files_of_other_programs_are_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", W2=np.zeros((2, 2)))
    np.savez(tmp_path / "header.npz", header=np.array("{}"))
    (tmp_path / "text.npz").write_text("step,loss\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    for name in ("plain.npz", "header.npz", "text.npz", "empty.npz", "folder.npz", "missing.npz"):
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            read_arrays(tmp_path / name)


class _Opens:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_refused_and_never_run(tmp_path):
    trap = tmp_path / "run"
    np.savez(tmp_path / "object.npz", header=np.array([_Opens(trap)], dtype=object))
    np.savez(tmp_path / "member.npz", W2=np.array([_Opens(trap)], dtype=object))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(_Opens(trap)))
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("header.npy", pickle.dumps(_Opens(trap)))
    for name in ("object", "member", "pickle", "raw"):
        with pytest.raises(RunError, match=name):
            read_arrays(tmp_path / f"{name}.npz")
    assert not trap.exists()


def test_a_header_that_announces_terabytes_ends_quickly_in_an_error(tmp_path):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("W2.npy", member.getvalue() + b"\0" * 64)
    with pytest.raises(RunError, match=r"a\.npz"):
        read_arrays(tmp_path / "a.npz")


def test_a_small_archive_of_huge_contents_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 27,)})
        for _ in range(1 << 7):
            file.write(bytes(1 << 20))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(RunError, match=r"a\.npz"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "header"),
    [
        ({"header": np.zeros(1)}, {}),
        ({"a": np.array([{}])}, {}),
        ({"a": np.zeros(1, "c8")}, {}),
        ({}, {"a": "x" * (9 << 20)}),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, arrays, header):
    with pytest.raises(ValueError, match=r"cannot store|bytes"):
        write_arrays(tmp_path / "a.npz", arrays, header)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_that_fit_are_given_back_by_name(dtype, tmp_path):
    with_hidden = params(dtype=dtype)
    for arrays in (with_hidden, {name: with_hidden[name] for name in ("W2", "b2")}):
        write_arrays(tmp_path / "a.npz", arrays, {"kind": "model"})
        found = read_model_arrays(tmp_path / "a.npz")[0]
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == dtype for name in arrays)


def _nan(shape):
    array = np.zeros(shape, np.float32)
    array[0] = np.nan
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W2": None}, "expected the arrays W1, b1, W2, b2, got no W2"),
        ({"b1": None}, r"a\.npz: params: expected both W1 and b1 .*, got one of them"),
        ({"W1": None}, "got one of them"),
        ({"W1": None, "b1": None, "b2": None}, "got no b2"),
        ({"b2": np.zeros(2, np.float64)}, "params.b2: expected float32 or float64, the same for all .* got float64"),
        ({"W1": np.zeros((3, 4), np.int64)}, "params.W1: expected float32 .* got int64"),
        ({"W1": np.zeros((3, 4), "U1")}, "params.W1: expected numbers, got <U1"),
        ({"W1": np.zeros((3, 4), np.float16)}, "params.W1: expected float32 .* got float16"),
        ({"W1": np.zeros((3, 4, 1), np.float32)}, r"params.W1: expected \(D, H\), got \(3, 4, 1\)"),
        ({"b2": np.zeros((2, 1), np.float32)}, r"params.b2: expected \(C,\), got \(2, 1\)"),
        ({"W1": np.zeros((0, 4), np.float32)}, r"params.W1: expected at least one feature, .* got \(0, 4\)"),
        ({"b1": np.zeros(5, np.float32)}, r"params.b1: expected \(4,\) beside W2 .* got \(5,\)"),
        ({"W2": np.zeros((5, 2), np.float32)}, r"params.W1: expected \(3, 5\) beside W2 \(5, 2\), got \(3, 4\)"),
        ({"b2": np.zeros(3, np.float32)}, r"params.b2: expected \(2,\) beside W2 .* got \(3,\)"),
        ({"b2": _nan(2)}, "params.b2: expected finite numbers, got nan"),
        ({"W1": np.full((3, 4), np.inf, np.float32)}, "params.W1: expected finite numbers, got inf"),
    ],
)
def test_parameters_that_do_not_make_a_network_are_refused_by_name(tmp_path, change, message):
    arrays = {name: array for name, array in (params() | change).items() if array is not None}
    write_arrays(tmp_path / "a.npz", arrays, {"kind": "model"})
    with pytest.raises(RunError, match=message):
        read_model_arrays(tmp_path / "a.npz")
