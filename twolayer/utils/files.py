"""Files are written whole or not at all: into a temporary file beside the target, flushed to the device, and
renamed over it, so that whoever opens the target sees the old file or the new one, never a part.

Every change that the package makes on the disk passes through the few methods of `disk`, so that a test can
put another object in its place and let any one of them fail."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import BinaryIO, cast

from twolayer.utils import files as seam
from twolayer.utils.errors import RunError

CANNOT_READ = "cannot be read"
Buffer = bytes | bytearray | memoryview

_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows would turn \n into \r\n
# Some network file systems cannot flush a folder; there is nothing a caller could do about it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}

_REMEDIES = {
    errno.ENOSPC: "free some space on that disk or choose a folder on another one",
    errno.EDQUOT: "free some of your quota or choose a folder on another disk",
    errno.EFBIG: "raise the file-size limit (ulimit -f) or choose another file system",
    errno.EACCES: "choose a folder you may write to, or have its permissions changed",
    errno.EPERM: "choose a folder you may write to, or have its permissions changed",
    errno.EROFS: "choose a folder on a disk that is not read-only",
    errno.ENOENT: "make its folder first, or see whether that was moved or deleted",
    errno.ENOTDIR: "a part of the path is a file; choose another path",
    errno.EISDIR: "a folder stands in the way; choose another path or move it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "the device fails: save what you can and choose another disk",
}
_READING_REMEDIES = {
    errno.ENOENT: "see whether the name is right, or whether it was moved or deleted",
    errno.EACCES: "have its permissions changed, or read a copy",
    errno.EPERM: "have its permissions changed, or read a copy",
    errno.EISDIR: "a file is wanted",
}


class Disk:
    """The operations that change something. All raise OSError."""

    def create(self, path: Path) -> int:
        """Opens a new file for writing; returns its descriptor. The file must not exist."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY, 0o666)

    def open_to_append(self, path: Path) -> int:
        """Opens a file for appending, making it if need be; returns its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _O_BINARY, 0o666)

    def write(self, descriptor: int, data: Buffer) -> None:
        """Hands all of `data` to the system."""
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def truncate(self, descriptor: int, size: int) -> None:
        """Cuts a file down to its first `size` bytes; needs no space."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Waits until a file's bytes are on the device."""
        os.fsync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Waits until a folder's entries are on the device, where the system can do that."""
        if os.name == "nt":
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Renames a file over another in one step."""
        os.replace(source, target)

    def rename_folder(self, source: Path, target: Path) -> None:
        """Renames a folder in one step; fails if `target` is a folder with something in it."""
        os.rename(source, target)

    def make_folder(self, path: Path) -> None:
        """Makes one folder, which must not exist."""
        os.mkdir(path)

    def make_folders(self, path: Path) -> None:
        """Makes a folder and those above it, where they are not there yet."""
        os.makedirs(path, exist_ok=True)


disk = Disk()


def explain(error: OSError, path: Path, cannot: str) -> RunError:
    """The error to show for a failed operation: the path, the system's reason, what to try.

    Args:
        error: what the system said.
        path: the file or folder.
        cannot: what cannot be done, e.g. `"cannot be written"`.
    """
    remedies = _REMEDIES | _READING_REMEDIES if cannot == CANNOT_READ else _REMEDIES
    remedy = remedies.get(error.errno or 0)
    return RunError(f"{path}: {cannot}: {error.strerror or error}" + (f"; {remedy}" if remedy else ""))


@contextmanager
def explained(path: Path, cannot: str = "cannot be written") -> Iterator[None]:
    """Turns an OSError inside into a `RunError` about `path`; see `explain`."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, cannot) from error


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
