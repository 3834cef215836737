"""Opening data files: plain or gzipped, and never more out of a packed file than an honest one of its size holds."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from types import TracebackType

from twolayer.errors import DataError

MAX_RATIO = 200
SMALL = 64 << 20  # bytes
_CHUNK = 1 << 20


class LimitedFile:
    """A binary file, unpacked if its name ends in .gz; see `open_limited`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mappable = path.suffix != ".gz"
        self._file: io.BufferedIOBase = path.open("rb") if self.mappable else gzip.open(path, "rb")
        self.size = path.stat().st_size
        self._budget = self.size if self.mappable else max(SMALL, MAX_RATIO * self.size)
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all there are."""
        parts, left = [], self._budget - self._done + 1 if size < 0 else size
        try:
            while left > 0 and (part := self._file.read(min(left, _CHUNK))):
                parts.append(part)
                left -= len(part)
                self._done += len(part)
                if self._done > self._budget:
                    raise DataError(
                        f"{self.path}: unpacks to far more than its size; refused as made to fill the memory"
                    )
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{self.path}: damaged or truncated gzip file: {error}") from None
        return b"".join(parts)

    def require(self, wanted: int, announced: str) -> None:
        """Raises DataError unless `wanted` bytes can follow; of a plain file, just so many must."""
        there = self.size - self._done if self.mappable else self._budget - self._done
        if wanted > there or (self.mappable and wanted != there):
            raise DataError(f"{self.path}: truncated or not what it says: {announced}, found {there:,}")

    def require_end(self) -> None:
        """Raises DataError if there is more."""
        if self.read(1):
            raise DataError(f"{self.path}: more bytes than its header announces")

    def __enter__(self) -> LimitedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def open_limited(path: Path) -> LimitedFile:
    """Opens a data file for reading.

    Raises:
        DataError: if the system refuses.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: a folder; a file is wanted")
        return LimitedFile(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
