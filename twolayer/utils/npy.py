"""Read NumPy's .npy and .npz files from untrusted sources: never a pickle, never more memory than the file warrants.

Every size that a header announces is compared with the bytes that are there before memory is taken for it. A compressed
file may unpack to what `unpacked_limit` says: dense numbers stay far below, only made-up archives and almost empty
arrays lie above, and those can be stored uncompressed instead."""

import io
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from twolayer.utils.errors import FileError
from twolayer.utils.files import open_to_read, unpacked_limit

Array = NDArray[Any]

MAX_MEMBERS = 1000
MAX_HEADER = 10_000  # bytes of a .npy header; NumPy's own limit

_MAX_DIRECTORY = 4 << 20  # bytes of a .npz's table of contents: what a thousand members with long names can take
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_END_RECORDS = re.compile(rb"PK(?=\x05\x06.{8}(.{4})|\x06\x06.{36}(.{8}))", re.DOTALL)
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def read_npy(path: str | Path, mapped: bool = False) -> Array:
    """Return the array in a .npy file: booleans, integers, floats or text, in the file's byte order; raise FileError if
    it cannot be read, holds anything else, or has another size than its header says. With `mapped` the numbers stay in
    the file, read-only, and the system fetches what is used; the file must not shrink meanwhile."""
    with _opened(Path(path), follow=True) as (file, size):
        dtype, shape, fortran = _read_header(file, size, str(path))
        if mapped and 0 not in shape:
            array = map_array(file, dtype, shape[::-1] if fortran else shape, file.tell())
            return _checked(array.T if fortran else array, str(path))
        file.seek(0)
        return _checked(np.lib.format.read_array(file, allow_pickle=False), str(path))


def map_array(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int) -> Array:
    """Return the numbers from `offset` on in an open file, in C order, left there and read-only."""
    return np.asarray(np.memmap(file, dtype, "r", offset, shape))


def read_npz(path: str | Path, *, follow: bool = True) -> dict[str, Array]:
    """Return all arrays in a .npz file by name: booleans, integers, floats or text, in the file's byte order; raise
    FileError if it cannot be read, is damaged, holds anything else, would unpack to far more than its own size or,
    without `follow`, is a link."""
    path = Path(path)
    arrays = {}
    with _opened(path, follow=follow) as (file, size):
        _require_small_directory(file, size, path)
        with zipfile.ZipFile(file) as archive:
            for name, info in _members(archive, size, path).items():
                where = f"{path} ({name})"
                with archive.open(info) as member:
                    _read_header(member, info.file_size, where)
                with archive.open(info) as member:  # zipfile checks no sum of one that was moved in
                    arrays[name] = _checked(np.lib.format.read_array(member, allow_pickle=False), where)
    return arrays


@contextmanager
def _opened(path: Path, *, follow: bool) -> Iterator[tuple[io.BufferedReader, int]]:
    """Open a regular file and yield it with its size; what goes wrong inside is raised as FileError."""
    try:
        with open_to_read(path, follow=follow) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            yield file, size
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise FileError(f"{path}: its arrays need more memory than is free; use a smaller file") from None
    except _DAMAGED as error:
        raise FileError(f"{path}: expected a file that np.save or np.savez wrote, got a damaged one: {error}") from None


def _refuse(where: str, expected: str, got: str) -> NoReturn:
    raise FileError(f"{where}: expected {expected}, got {got}")


def _read_header(file: IO[bytes], size: int, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return dtype, shape and order of a .npy of `size` bytes, checked; read `file` from its start up to the data."""
    version = np.lib.format.read_magic(file)
    read_header = _READ_HEADER.get(version)
    if read_header is None:  # 3.0 is for fields with names outside Latin-1
        _refuse(where, ".npy format version 1.0 or 2.0", f"version {version[0]}.{version[1]}")
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if length > min(MAX_HEADER, size):  # before NumPy takes memory for it
        _refuse(where, f"a header of at most {MAX_HEADER:,} bytes, within the file", f"{length:,} in {size:,}")
    file.seek(8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shape, fortran, dtype = read_header(file, max_header_size=MAX_HEADER)
    except Exception as error:  # whatever Python's parser and np.dtype raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:100]
        _refuse(where, "a header as np.save writes it", f"one that NumPy cannot read ({reason})")
    if dtype.kind not in "biufSU" or dtype.itemsize == 0 or (dtype.kind == "f" and dtype.itemsize > 8):
        kind = "Python objects (a pickle)" if dtype.hasobject else f"elements of type {str(dtype)[:40]!r}"
        _refuse(where, "booleans, integers, floats or text", kind)
    if len(shape) > 32 or any(type(axis) is not int or not 0 <= axis < 1 << 62 for axis in shape):
        _refuse(where, "at most 32 axes, each 0 or more", f"shape {str(shape)[:80]}")
    announced, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if announced != there:
        _refuse(where, f"{announced:,} bytes of data, as its header announces {dtype} {shape}", f"{there:,}")
    if math.prod([axis for axis in shape if axis]) * dtype.itemsize >= 1 << 62:
        _refuse(where, "axes that can be addressed", f"shape {shape}")
    return dtype, shape, fortran


def _checked(array: Array, where: str) -> Array:
    """Return the array, if each of its bytes is one that its type can have."""
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        _refuse(where, "booleans, 0 or 1", "other bytes")
    if array.dtype.kind == "U" and array.nbytes:
        codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if codes.max() > 0x10FFFF or ((codes >= 0xD800) & (codes < 0xE000)).any():
            _refuse(where, "Unicode text", "characters that do not exist")
    return array


def _require_small_directory(file: BinaryIO, size: int, path: Path) -> None:
    """Refuse a table of contents that would take long to read: zipfile reads all of it before it gives its length. The
    table's size is in the end record (PK 5 6) and, in large archives, again in the one before it (PK 6 6)."""
    file.seek(max(0, size - (1 << 17)))
    for record in _END_RECORDS.finditer(file.read()):
        length = int.from_bytes(record[1] or record[2], "little")
        if _MAX_DIRECTORY < length <= size:
            _refuse(str(path), f"at most {MAX_MEMBERS:,} arrays", f"a table of contents of {length:,} bytes")
    file.seek(0)


def _members(archive: zipfile.ZipFile, size: int, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's members by array name, if they are few, distinct and not far larger than the file."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        _refuse(str(path), f"at most {MAX_MEMBERS:,} members", f"{len(infos):,}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name, method = info.filename.removesuffix(".npy"), info.compress_type
        if name == info.filename or name in members or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            found = f"{info.filename[:60]!r}, packed by method {method}"
            _refuse(str(path), "only .npy members, stored (0) or deflated (8), each name once", found)
        members[name] = info
    total, limit = sum(info.file_size for info in infos), unpacked_limit(size)
    if total > limit:
        _refuse(str(path), f"at most {limit:,} bytes inside; np.savez stores without such a limit", f"{total:,}")
    return members
