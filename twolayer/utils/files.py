"""Write files whole or not at all, and open regular files only; JSON for the small facts of a run.

A file is written under a temporary name beside its target, flushed to the device and renamed, so a reader sees the old
file or the new one, never a part. Every change on the disk passes through the methods of `disk`, so that a test can
replace it and let any operation fail.

Files that may come from anyone are opened by `open_regular`: never a pipe, a device or a socket, never a sparse file
of a size that nothing has written, and inside a run folder never a link that leads out of it. A folder in use is
`held`: what takes its name meanwhile is neither read nor written."""

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from twolayer.utils.errors import RunError

CANNOT_READ = "cannot be read"
UNPACKED_RATIO = 100
UNPACKED_FLOOR = 64 << 20  # bytes
MAX_JSON_BYTES = 8 << 20  # far more than any JSON of a run; parsing takes several times its size in memory
_MAX_DIGITS = 40  # of a number in it
_NO_FILE_BYTES = 1 << 44  # 16 TiB: what only special files such as /proc/kcore claim

_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows would turn \n into \r\n
_O_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has neither
_O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
# Some network file systems cannot flush a folder; there is nothing a caller could do about it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}

_REMEDIES = {
    errno.ENOSPC: "free some space on that disk or choose a folder on another one",
    errno.EDQUOT: "free some of your quota or choose a folder on another disk",
    errno.EFBIG: "raise the file-size limit (ulimit -f) or choose another file system",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose a folder on a disk that is not read-only",
    errno.ENOENT: "check the name, and that its folder exists and was not moved",
    errno.ENOTDIR: "a part of the path is a file; choose another path",
    errno.EISDIR: "a folder has that name; choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "the device is failing: save what you can and choose another disk",
}
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Disk:
    """The operations that change something. All raise OSError."""

    def open(self, path: Path, how: int) -> int:
        """Open a file for writing and return its descriptor: a new one (`os.O_EXCL`), or to append (`os.O_APPEND`)."""
        return open_regular(path, os.O_WRONLY | os.O_CREAT | how)

    def write(self, descriptor: int, data: bytes) -> None:
        """Hand all of `data` to the system."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to its first `size` bytes; needs no space."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Wait until a file's bytes are on the device."""
        os.fsync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Wait until a folder's entries are on the device, where the system can do that."""
        if os.name == "nt":
            return
        with held(path, follow=True):
            try:
                os.fsync(_held.get()[path])
            except OSError as error:
                if error.errno not in _NO_FOLDER_SYNC:
                    raise

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another in one step; a link at `target` is replaced, not followed."""
        (old, old_folder), (new, new_folder) = _located(source), _located(target)
        os.replace(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)

    def rename_folder(self, source: Path, target: Path) -> None:
        """Rename a folder in one step; fails if `target` is a folder that is not empty."""
        os.rename(source, target)

    def make_folder(self, path: Path) -> None:
        """Create one folder, which must not exist."""
        name, folder = _located(path)
        os.mkdir(name, dir_fd=folder)

    def remove(self, path: Path) -> None:
        """Remove a file, or a link itself."""
        name, folder = _located(path)
        os.unlink(name, dir_fd=folder)


disk = Disk()
_held: ContextVar[Mapping[Path, int]] = ContextVar("held", default={})  # noqa: B039


@contextmanager
def held(folder: Path, *, follow: bool = False) -> Iterator[None]:
    """Hold a folder open: until the end, this thread reaches the files in it whatever its name leads to; raise OSError
    if the folder is absent, a link (without `follow`) or of another kind, or the system refuses. Windows opens no
    folders: there the files are reached by their paths, and only the kind of the folder is checked."""
    if folder not in _held.get():
        require_regular(folder, follow=follow, folder=True)
    if folder in _held.get() or os.open not in os.supports_dir_fd:
        yield
        return
    name, above = _located(folder)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | (0 if follow else _O_NOFOLLOW), dir_fd=above)
    token = _held.set({**_held.get(), folder: descriptor})
    try:
        yield
    finally:
        _held.reset(token)
        os.close(descriptor)


def _located(path: Path) -> tuple[Path | str, int | None]:
    """Return the name of a file in a held folder and the folder's descriptor; for any other file, its path and None."""
    folder = _held.get().get(path.parent)
    return (path, None) if folder is None else (path.name, folder)


@contextmanager
def explained(path: Path, cannot: str = "cannot be written") -> Iterator[None]:
    """Turn an OSError inside into a `RunError`: `path`, what `cannot` be done, the system's reason, what to try."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        raise RunError(f"{path}: {cannot}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")) from error


def unpacked_limit(packed_bytes: int) -> int:
    """Return how many bytes a file that takes `packed_bytes` may unpack to."""
    return max(UNPACKED_FLOOR, UNPACKED_RATIO * packed_bytes)


def require_regular(path: Path, *, follow: bool = False, folder: bool = False) -> None:
    """Raise OSError if `path` exists and is not a regular file (with `folder`: not a folder), or a link to one
    (with `follow`)."""
    name, above = _located(path)
    with suppress(FileNotFoundError):
        _require_kind(os.stat(name, dir_fd=above, follow_symlinks=follow), folder)


def open_regular(path: Path, flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """Open a regular file without waiting and return its descriptor; raise OSError if it is of another kind, its size
    is made of holes, or the system refuses.

    The kind is checked before opening, since opening a device can have effects, and again on what was opened. A file
    whose size is mostly holes is treated as a packed one: see `unpacked_limit`. With `follow`, as for a path that the
    user gave, it may be a link.
    """
    try:
        require_regular(path, follow=follow)
        name, folder = _located(path)
        how = flags | _O_BINARY | _O_NONBLOCK | (0 if follow else _O_NOFOLLOW)
        descriptor = os.open(name, how, 0o666, dir_fd=folder)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None
    try:
        found = os.fstat(descriptor)
        _require_kind(found)
        limit = unpacked_limit(512 * getattr(found, "st_blocks", found.st_size))
        if found.st_size > limit and _is_sparse(descriptor, found.st_size):
            size = f"{found.st_size:,} bytes of which {512 * found.st_blocks:,} are on the disk"
            raise OSError(errno.EINVAL, f"expected at most {limit:,} bytes, got a sparse file of {size}")
        if found.st_size == 0 and flags == os.O_RDONLY and hasattr(os, "pread"):
            os.pread(descriptor, 1, 0)  # a special file such as /proc/kmsg refuses here
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_kind(found: os.stat_result, folder: bool = False) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != (stat.S_IFDIR if folder else stat.S_IFREG):
        expected = "a folder" if folder else "a regular file"
        raise OSError(errno.EINVAL, f"expected {expected}, got {_KINDS.get(kind, 'something else')}")


def _is_sparse(descriptor: int, size: int) -> bool:
    """Check a file with few blocks for holes: network and FUSE file systems may count no blocks for ordinary files."""
    if size >= _NO_FILE_BYTES or not hasattr(os, "SEEK_HOLE"):
        return True
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < size
    except OSError:
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)


def open_to_read(path: Path, *, follow: bool = False) -> io.BufferedReader:
    """Return a regular file opened for reading; see `open_regular`."""
    return os.fdopen(open_regular(path, follow=follow), "rb")


def read_whole(path: Path, *, follow: bool = False) -> bytes:
    """Return the content of a regular file; raises OSError."""
    with open_to_read(path, follow=follow) as file:
        return file.read()


def holds(path: Path, content: bytes) -> bool:
    """Return whether there is a regular file, or a link to one, with exactly this content that can be read."""
    with suppress(OSError), open_to_read(path, follow=True) as file:
        return file.read(len(content) + 1) == content
    return False


def read_at_most(path: Path, limit: int) -> bytes:
    """Return the content of a small file of a run, without following links; raise RunError if it cannot be read or
    holds more than `limit` bytes."""
    with explained(path, CANNOT_READ), open_to_read(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise RunError(f"{path}: expected at most {limit:,} bytes, got more; take another copy of the file")
    return content


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raises OSError."""
    with open_to_read(path, follow=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_path(path: Path) -> Path:
    """Return a hidden name beside `path` that nothing else uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def leftovers(folder: Path, *patterns: str) -> list[Path]:
    """Return the temporary files and folders that killed processes left in `folder`, which may be absent, for targets
    whose names match one of `patterns`."""
    if not folder.is_dir():
        return []
    found = ((each, re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.tmp", each.name)) for each in folder.iterdir())
    return [each for each, match in found if match and any(fnmatch(match[1], pattern) for pattern in patterns)]


def remove(path: Path) -> None:
    """Remove a file, if it exists and the system allows it."""
    with suppress(OSError):
        disk.remove(path)


def make_folders(path: Path) -> None:
    """Create a folder and those above it that are absent, each on the device; raises OSError."""
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            try:
                disk.make_folder(folder)
            except FileExistsError:  # another process may have created it
                if not folder.is_dir():
                    raise
            disk.sync_folder(folder.parent)


def write_new(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file that must not exist yet, flushed to the device; raises OSError, and the caller removes what is there
    then."""
    descriptor = disk.open(path, os.O_EXCL)
    try:
        for part in [content] if isinstance(content, bytes) else content:
            disk.write(descriptor, part)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str | Path, content: bytes | Iterable[bytes]) -> None:
    """Write or replace a file in one step: whatever happens, `path` holds the old bytes or all of the new.

    When it returns, the bytes and the name are on the device, so a power cut cannot undo it. The folder must exist.

    Raises:
        RunError: if the system refuses (disk full, no permission, file-size limit, ...); `path` is as before.
    """
    path = Path(path)
    temporary = temporary_path(path)
    with explained(path):
        try:
            write_new(temporary, content)
            disk.replace(temporary, path)
        except BaseException:
            remove(temporary)
            raise
        disk.sync_folder(path.parent)


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `text`, UTF-8 of at most `MAX_JSON_BYTES`; raise RunError for anything else."""
    if len(text) > MAX_JSON_BYTES:
        raise RunError(f"{where}: expected at most {MAX_JSON_BYTES:,} bytes of JSON, got {len(text):,}")
    try:
        value = json.loads(text.decode("utf-8"), parse_int=_integer)
    except UnicodeDecodeError as error:
        raise RunError(f"{where}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RunError(f"{where}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{where}: JSON nested too deeply, or with a number of over {_MAX_DIGITS} digits") from None
    if not isinstance(value, dict):
        raise RunError(f"{where}: expected a JSON object {{...}}, got {type(value).__name__}")
    return value


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file of a run; see `read_at_most` and `parse_object`."""
    return parse_object(read_at_most(Path(path), MAX_JSON_BYTES), str(path))


def json_bytes(value: dict[str, Any]) -> bytes:
    """Return `value` as indented JSON in its own key order. JSON has no NaN and no infinity: they become null."""
    return (json.dumps(_finite(value), indent=2, allow_nan=False) + "\n").encode()


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write `json_bytes(value)` to a file; see `write_atomically`."""
    write_atomically(path, json_bytes(value))


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError
    return int(digits)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
