"""Files are written whole or not at all: into a temporary file beside the target, flushed to the device, and
renamed over it, so that whoever opens the target sees the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import BinaryIO, cast

from twolayer.runs import disk as seam
from twolayer.runs.disk import Buffer, explained

Content = bytes | Callable[[BinaryIO], object]
"""A file's bytes, or a function that writes them into an open binary file (seekable, not readable)."""

_BUFFER_BYTES = 1 << 16


class _Sink(io.RawIOBase):
    """A new file whose bytes pass through `disk`. It has no fileno(), so nobody can write beside it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def write(self, data: Buffer) -> int:  # type: ignore[override]
        seam.disk.write(self._descriptor, data)
        return memoryview(data).nbytes


def content_bytes(content: Content) -> bytes:
    """The bytes of a content."""
    if not callable(content):
        return content
    file = io.BytesIO()
    content(file)
    return file.getvalue()


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path` that nobody else uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def leftovers(path: Path) -> list[Path]:
    """What killed processes left of their temporary files or folders for `path`."""
    return list(path.parent.glob(f".{escape(path.name)}.*.tmp"))


def remove(path: Path) -> None:
    """Removes a file, if it is there and the system lets it go."""
    with contextlib.suppress(OSError):
        path.unlink()


def write_new(path: Path, content: Content, *, durable: bool) -> None:
    """Writes a file that must not exist yet, flushed to the device if `durable`; raises OSError.

    What was written of it before a failure stays there: removing it is the caller's part.
    """
    descriptor = seam.disk.create(path)
    sink = _Sink(descriptor)
    try:
        if callable(content):
            file = io.BufferedWriter(cast(io.RawIOBase, sink), _BUFFER_BYTES)
            content(cast(BinaryIO, file))
            file.flush()
        else:
            sink.write(content)
        if durable:
            seam.disk.sync(descriptor)
    finally:
        sink.close()  # so that a buffer left over after a failure is not written when it is collected
        os.close(descriptor)


def write_atomically(path: str | Path, content: Content, *, durable: bool = True) -> None:
    """Writes or replaces a file in one step: whatever happens, `path` holds the old bytes or all of the new.

    Args:
        path: the file; its folder must exist.
        content: the bytes, or a function that writes them into the binary file it is given.
        durable: wait until the bytes and the name are on the device, so that a power failure cannot undo it.
            False is for what can be made again, such as pictures.

    Raises:
        RunError: if the system refuses (disk full, no permission, file-size limit, ...); `path` is as before.
    """
    path = Path(path)
    temporary = temporary_path(path)
    with explained(path):
        try:
            write_new(temporary, content, durable=durable)
            seam.disk.replace(temporary, path)
        except BaseException:
            remove(temporary)
            raise
        if durable:
            seam.disk.sync_folder(path.parent)
