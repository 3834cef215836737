"""npyfile: what np.save and np.savez wrote comes back as it was; anything else is refused, quickly and cheaply."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.utils import npy as npyfile
from twolayer.utils.errors import FileError
from twolayer.utils.files import UNPACKED_FLOOR
from twolayer.utils.npy import read_npy, read_npz

ARRAYS = {
    "float32": np.linspace(0, 1, 12, dtype="<f4").reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big_endian": np.arange(5, dtype=">i2"),
    "bytes": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "booleans": np.array([True, False]),
    "text": np.array(["a", "zwölf"]),
    "ascii": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3.5),
}


def npy_bytes(header: str, data: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode("latin-1")
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + data


def header(descr: str = "'<f8'", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_saved_array_comes_back_as_it_was(tmp_path, name, mapped):
    np.save(tmp_path / "a.npy", ARRAYS[name])
    got = read_npy(tmp_path / "a.npy", mapped=mapped)
    assert type(got) is np.ndarray
    assert got.dtype == ARRAYS[name].dtype
    assert got.flags.f_contiguous == ARRAYS[name].flags.f_contiguous
    np.testing.assert_array_equal(got, ARRAYS[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_saved_archive_comes_back_as_it_was(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    got = read_npz(tmp_path / "a.npz")
    assert list(got) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


def test_a_mapped_array_is_not_loaded_and_not_writable(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(8 << 20, np.uint8))
    tracemalloc.start()
    got = read_npy(tmp_path / "a.npy", mapped=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert not got.flags.writeable


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a file that np.save or np.savez wrote, .* expected 8 bytes got 0"),
        (b"\x93NUMPZ\x01\x00", "the magic string is not correct; expected .*, got .*NUMPZ"),
        (npy_bytes(header(), bytes(16), version=9), "version 9.0"),
        (npy_bytes(header(), bytes(15)), "expected 16 bytes of data, as its header announces float64 .* got 15"),
        (npy_bytes(header(), bytes(17)), "expected 16 bytes of data, .* got 17"),
        (npy_bytes(header("'|O'"), bytes(16)), "Python objects"),
        (npy_bytes(header("[('a', '<f8')]"), bytes(16)), "elements of type"),
        (npy_bytes(header("'<c16'"), bytes(32)), "elements of type 'complex128'"),
        (npy_bytes(header("'<M8[s]'"), bytes(16)), "elements of type"),
        (npy_bytes(header(shape="(1000000000000,)"), bytes(16)), "expected 8,000,000,000,000 bytes of data"),
        (npy_bytes(header(shape="(0, 999999999999999999)")), "axes that can be addressed"),
        (npy_bytes(header(shape="(" + "9" * 5000 + ",)")), "at most 32 axes|NumPy cannot read"),
        (npy_bytes(header(shape="(" + "1," * 40 + ")"), bytes(8)), "at most 32 axes"),
        (npy_bytes(header(shape="(-2,)"), bytes(16)), "each 0 or more"),
        (npy_bytes(header(shape="(True,)"), bytes(8)), "each 0 or more"),
        (npy_bytes(header("'<U0'", "(9999999999,)")), "elements of type '<U0'"),
        (npy_bytes(header("'<f8,<f8'", "(1,)"), bytes(16)), "elements of type"),
        (npy_bytes(header("'(1000000000,)<f8'", "()")), "elements of type|cannot read"),
        (npy_bytes("-" * 9000 + "1"), "NumPy cannot read"),
        (npy_bytes("a" + ".a" * 4900), "NumPy cannot read"),
        (npy_bytes("(" * 9000, bytes(16)), "NumPy cannot read"),
        (npy_bytes("__import__('os').system('true')", bytes(16)), "NumPy cannot read"),
        (npy_bytes(header(), bytes(16), version=2, length=4_000_000_000), "got 4,000,000,000 in"),
        (npy_bytes(header("'|b1'"), b"\x01\x02"), "booleans, 0 or 1, got other bytes"),
        (npy_bytes(header("'<U1'"), struct.pack("<II", 65, 0x110000)), "characters that do not exist"),
        (npy_bytes(header("'<U1'"), struct.pack("<II", 65, 0xD800)), "characters that do not exist"),
    ],
)
def test_a_npy_file_that_is_not_what_it_says_is_refused(tmp_path, content, said):
    (tmp_path / "a.npy").write_bytes(content)
    for mapped in (False, True):
        with pytest.raises(FileError, match=said) as caught:
            read_npy(tmp_path / "a.npy", mapped=mapped)
        assert str(caught.value).startswith(f"{tmp_path / 'a.npy'}: ")
    with pytest.raises(FileError, match=said):
        read_npz(zipped(tmp_path / "a.npz", [("x.npy", content)]))


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    objects = np.empty(1, object)
    objects[0] = Bomb()
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npy").read_bytes())
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz"), (read_npz, "b.npz")):
        with pytest.raises(FileError, match="Python objects|np.savez wrote, got a damaged one"):
            read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def refused_within(read, path, megabytes: float, said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=said):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


def test_an_archive_far_larger_inside_than_outside_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(UNPACKED_FLOOR + 1, np.uint8))
    refused_within(read_npz, tmp_path / "a.npz", 4, "expected at most 67,108,864 bytes inside")


def test_an_archive_of_many_small_bombs_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1 << 20))
    path = zipped(tmp_path / "a.npz", [(f"{i}.npy", buffer.getvalue()) for i in range(9)], zipfile.ZIP_DEFLATED)
    refused_within(read_npz, path, 4, "bytes inside; np.savez stores .*, got 75,")


def test_a_member_that_unpacks_to_more_than_it_announces_is_cut_off(tmp_path):
    data = npy_bytes(header(shape="(4000000,)"), bytes(32_000_000))
    path = zipped(tmp_path / "a.npz", [("x.npy", data)], zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    lie = struct.pack("<I", 1000)
    path.write_bytes(content.replace(struct.pack("<I", len(data)), lie))
    refused_within(read_npz, path, 4, "Bad CRC-32")


def test_too_many_members_are_refused(tmp_path):
    path = zipped(tmp_path / "a.npz", [(f"{i}.npy", b"") for i in range(npyfile.MAX_MEMBERS + 1)])
    refused_within(read_npz, path, 8, "expected at most 1,000 members, got 1,001")


def test_a_table_of_contents_of_many_megabytes_is_not_even_read(tmp_path):
    path = zipped(tmp_path / "a.npz", [("x.npy", b"")])
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    entry, end = content[at : content.index(b"PK\x05\x06")], bytearray(content[content.index(b"PK\x05\x06") :])
    many = entry * 100_000
    end[8:12] = struct.pack("<HH", 0xFFFE, 0xFFFE)
    end[12:16] = struct.pack("<I", len(many))
    path.write_bytes(content[:at] + many + bytes(end))
    refused_within(read_npz, path, 2, "a table of contents of 5,100,000 bytes")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x.npy", b""), ("x.npy", b"")], "each name once, got 'x.npy', packed by method 0"),
        ([("x", b"")], "expected only .npy members, .* got 'x', packed"),
        ([("../x.txt", b"")], "only .npy members"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_savez_does_not_write_are_refused(tmp_path, members, said):
    with pytest.raises(FileError, match=said):
        read_npz(zipped(tmp_path / "a.npz", members))


def test_other_compressions_are_refused(tmp_path):
    path = zipped(tmp_path / "a.npz", [("x.npy", b"aaaa")], zipfile.ZIP_LZMA)
    with pytest.raises(FileError, match="stored .* or deflated .* packed by method 14"):
        read_npz(path)


@pytest.mark.parametrize("read", [read_npy, read_npz])
def test_what_is_no_file_is_refused_with_its_kind(tmp_path, read):
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read(tmp_path / "none")
    with pytest.raises(FileError, match="expected a regular file, got a folder"):
        read(tmp_path)
    with pytest.raises(FileError, match="expected a regular file, got a device"):
        read("/dev/null")
    with pytest.raises(FileError, match="cannot be read"):
        read("a\0b")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez_compressed(path, x=np.arange(40.0), y=np.array(["a", "b"]))
    return path


@settings(deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_archive_gives_the_same_arrays_or_a_refusal(archive, at, bit, cut):
    content = bytearray(archive.read_bytes())
    at %= len(content)
    content[at] ^= 1 << bit
    damaged = archive.with_name("damaged.npz")
    damaged.write_bytes(content[:at] if cut else content)
    try:
        got = read_npz(damaged)
    except FileError:
        return
    expected = read_npz(archive)
    for name in set(got) & set(expected):
        np.testing.assert_array_equal(got[name], expected[name])
