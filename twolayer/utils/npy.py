"""NumPy's .npy and .npz files from strangers: never a pickle, never more memory than the file's own size warrants.

Every size a header announces is compared with the bytes that are there before memory is taken for it. A compressed
file may unpack to `UNPACKED_RATIO` times its own size, or to `UNPACKED_FLOOR` where that is more: dense numbers stay
far below, only made-up archives and almost empty arrays lie above, and those can be stored uncompressed instead."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from twolayer.utils.errors import FileError

Array = NDArray[Any]

UNPACKED_RATIO = 100
UNPACKED_FLOOR = 64 << 20  # bytes
MAX_MEMBERS = 1000
MAX_HEADER = 10_000  # bytes of a .npy header; NumPy's own limit

_MAX_DIRECTORY = 4 << 20  # bytes of a .npz's table of contents: what a thousand members with long names can take
_PART = 1 << 18  # bytes read at a time
_MAGIC = b"\x93NUMPY"
_DESCR = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[US]\d{1,9})")
_HEADER = re.compile(
    rb"\{\s*'descr'\s*:\s*(?P<descr>'[^']*'|[^,]*),\s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,"
    rb"\s*'shape'\s*:\s*\((?P<shape>[\d\s,]*)\)\s*,?\s*\}\s*",
    re.DOTALL,
)
_END_RECORDS = re.compile(rb"PK(?=\x05\x06.{8}(.{4})|\x06\x06.{36}(.{8}))", re.DOTALL)
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def unpacked_limit(packed_bytes: int) -> int:
    """The most bytes that a compressed file of `packed_bytes` may unpack to."""
    return max(UNPACKED_FLOOR, UNPACKED_RATIO * packed_bytes)


def read_npy(path: str | Path, mapped: bool = False) -> Array:
    """The array in a .npy file.

    Args:
        path: the file.
        mapped: leave the numbers in the file, read-only, and let the system fetch what is used. The file must not
            shrink while the array is in use.

    Returns:
        An array of booleans, whole numbers, floats or text, in the file's byte order.

    Raises:
        FileError: if the file cannot be read, holds anything else, or has another size than its header says.
    """
    path = Path(path)
    size = _size(path)
    try:
        with path.open("rb") as file:
            dtype, shape, fortran = _read_header(file, size, str(path))
            if mapped and 0 not in shape:
                pages = map_array(path, dtype, shape[::-1] if fortran else shape, offset=file.tell())
                return _checked(pages.T if fortran else pages, str(path))
            return _read_array(file, dtype, shape, fortran, str(path))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None


def map_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int) -> Array:
    """The numbers that stand in a file from `offset` on, in C order, left there and read-only."""
    pages: Any = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    return np.asarray(pages)


def read_npz(path: str | Path) -> dict[str, Array]:
    """All arrays in a .npz file, by name.

    Args:
        path: the file, as written by `np.savez` or `np.savez_compressed`.

    Returns:
        Arrays of booleans, whole numbers, floats or text, in the file's byte order.

    Raises:
        FileError: if the file cannot be read, is damaged, holds anything else, or would unpack to far more than its
            own size.
    """
    path = Path(path)
    size = _size(path)
    try:
        with path.open("rb") as file:
            _require_small_directory(file, size, path)
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, size, path)
                return {name: _read_member(archive, info, f"{path} ({name})") for name, info in members.items()}
    except _DAMAGED as error:
        raise FileError(f"{path}: not a whole .npz file: {error}; wanted: a file that np.savez wrote") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not path.is_file():
        _refuse(str(path), "not a file", "a .npy or .npz file")
    return size


def _refuse(where: str, found: str, wanted: str) -> NoReturn:
    raise FileError(f"{where}: {found}; wanted: {wanted}")


def _read_header(file: BinaryIO, size: int, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """dtype, shape and order of a .npy of `size` bytes, all of them fit to be believed; leaves `file` at the data."""
    start = file.read(8)
    if start[:6] != _MAGIC or len(start) < 8:
        _refuse(where, f"starts with {start[:6]!r}", f"a .npy file, which starts with {_MAGIC!r}")
    if start[6] not in (1, 2, 3):
        _refuse(where, f".npy format version {start[6]}.{start[7]}", "version 1.0, 2.0 or 3.0")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > min(MAX_HEADER, size):
        _refuse(where, f"a header of {length:,} bytes in {size:,}", f"at most {MAX_HEADER:,}, within the file")
    match = _HEADER.fullmatch(file.read(length))
    if match is None:
        _refuse(where, "a header that NumPy does not write", "a file that np.save or np.savez wrote")
    descr = match["descr"].decode("latin-1").strip("'")
    if not _DESCR.fullmatch(descr):
        kind = "Python objects (a pickle)" if descr.endswith("O") else f"elements of type {descr[:40]!r}"
        _refuse(where, kind, "booleans, whole numbers, floats or text")
    axes = [axis.strip() for axis in match["shape"].decode("ascii").split(",") if axis.strip()]
    if len(axes) > 32 or any(not axis.isdigit() or len(axis) > 18 for axis in axes):
        _refuse(where, f"shape ({', '.join(axes)[:80]})", "at most 32 axes, each a whole number of at most 18 digits")
    shape = tuple(map(int, axes))
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        _refuse(where, f"elements of type {descr!r}", "booleans, whole numbers, floats or text")
    announced, there = math.prod(shape) * dtype.itemsize, size - 8 - width - length
    if announced != there:
        _refuse(where, f"{there:,} bytes of data", f"{announced:,}, as its header announces {dtype} {shape}")
    if math.prod([axis for axis in shape if axis]) * max(dtype.itemsize, 1) >= 1 << 62:
        _refuse(where, f"shape {shape}", "axes that can be addressed")
    return dtype, shape, match["fortran"] == b"True"


def _read_array(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool, where: str) -> Array:
    """The numbers behind a header whose announced size is known to be there."""
    flat: Array = np.empty(math.prod(shape), dtype)
    if flat.nbytes:
        target: Any = flat.view(np.uint8).data
        at = 0
        while at < len(target):
            part = file.read(min(_PART, len(target) - at))
            if not part:
                _refuse(where, f"{at:,} bytes of data", f"{len(target):,}, as its header announces")
            target[at : at + len(part)] = part
            at += len(part)
    return _checked(flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape), where)


def _checked(array: Array, where: str) -> Array:
    """The array, if each of its bytes is one that its type can have."""
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        _refuse(where, "booleans other than 0 and 1", "a file that np.save or np.savez wrote")
    if array.dtype.kind == "U" and array.nbytes:
        codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if codes.max() > 0x10FFFF or ((codes >= 0xD800) & (codes < 0xE000)).any():
            _refuse(where, "text with characters that do not exist", "Unicode text")
    return array


def _require_small_directory(file: BinaryIO, size: int, path: Path) -> None:
    """Refuses a table of contents that would take long to read: zipfile reads all of it before it tells its length.

    The table's size stands in the end record (PK 5 6) and, in large archives, again in the one before it (PK 6 6).
    """
    file.seek(max(0, size - (1 << 17)))
    for record in _END_RECORDS.finditer(file.read()):
        length = int.from_bytes(record[1] or record[2], "little")
        if _MAX_DIRECTORY < length <= size:
            _refuse(str(path), f"a table of contents of {length:,} bytes", f"at most {MAX_MEMBERS:,} arrays")
    file.seek(0)


def _members(archive: zipfile.ZipFile, size: int, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by the name of their array, if they are few, distinct and not far larger than the file."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        _refuse(str(path), f"{len(infos):,} members", f"at most {MAX_MEMBERS:,}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        shown = repr(name[:60])
        if name == info.filename:
            _refuse(str(path), f"a member {shown}", "only .npy members, as np.savez writes them")
        if name in members:
            _refuse(str(path), f"two members {shown}", "each name once")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(str(path), f"member {shown} compressed by method {info.compress_type}", "stored or deflated")
        members[name] = info
    total = sum(info.file_size for info in infos)
    if total > unpacked_limit(size):
        found = f"{total:,} bytes in an archive of {size:,}"
        _refuse(str(path), found, f"at most {unpacked_limit(size):,}; np.savez stores without such a limit")
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Array:
    with archive.open(info) as file:
        dtype, shape, fortran = _read_header(file, info.file_size, where)  # type: ignore[arg-type]  # read() is all
        return _read_array(file, dtype, shape, fortran, where)  # zipfile compares the checksum with the last byte
