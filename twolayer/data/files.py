"""From a path to its bytes: regular files only, unpacked where they are gzipped, never more than the file warrants."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from typing import Literal

from twolayer.utils.files import UNPACKED_RATIO, unpacked_limit
from twolayer.utils.text import data_error

Format = Literal["csv", "npz", "npy", "idx", "cifar"]

_ENDINGS: dict[str, Format] = {".npz": "npz", ".npy": "npy", ".bin": "cifar"}
_GZIP = b"\x1f\x8b"


def format_of(path: str | Path) -> Format:
    """The format that a file's name stands for; what is nothing else is csv."""
    name = str(path)
    for ending, form in _ENDINGS.items():
        if name.endswith(ending):
            return form
    return "idx" if name.removesuffix(".gz").endswith(("ubyte", ".idx")) else "csv"


def file_size(path: Path) -> int:
    """Bytes in a regular file.

    Raises:
        DataError: if there is none.
    """
    try:
        if path.is_dir():
            raise data_error(path, "a data file", "a folder")
        if path.exists() and not path.is_file():
            raise data_error(path, "a data file", "a device or a pipe")
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise data_error(path, "a data file", f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    file_size(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_gzipped(path: Path) -> bool:
    """Whether the file begins as gzip files do, whatever its name."""
    file_size(path)
    try:
        with path.open("rb") as file:
            return file.read(2) == _GZIP
    except OSError as error:
        raise data_error(path, "a data file", f"cannot be read ({error.strerror})") from None


def read_bytes(path: Path) -> bytes:
    """The file's content, unpacked if it is gzipped.

    Raises:
        DataError: if it cannot be read, is cut short or damaged, or unpacks to far more than its own size.
    """
    file_size(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise data_error(path, "a data file", f"cannot be read ({error.strerror})") from None
    return _gunzip(content, path) if content[:2] == _GZIP else content


def _gunzip(packed: bytes, path: Path) -> bytes:
    limit = unpacked_limit(len(packed))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(limit + 1)
    except EOFError:
        raise data_error(path, "a whole file", "the gzip file is cut short", "get or make it again") from None
    except (OSError, zlib.error) as error:
        raise data_error(path, "a whole file", f"the gzip file is damaged ({error})", "get or make it again") from None
    if len(content) > limit:
        found = f"more than {limit:,} bytes packed in {len(packed):,}"
        raise data_error(
            path, f"at most {UNPACKED_RATIO} times the packed size", found, "unpack it yourself if you trust it"
        )
    return content
