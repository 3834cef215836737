"""The run folder: its files, how it is created whole, and how it is found again.

It is filled under a temporary name and then renamed, so from its first appearance it holds its config and a good
checkpoint. A killed process leaves at most a hidden folder that nothing reads.

It is a box: a name of the run that is a link, a pipe, a device or a socket is refused, so that nothing outside of the
folder is read or written. The folder itself may be a link.

A run in use is locked, so that two processes never write into one folder. The system holds the lock for the open file
and drops it when the process ends, in whatever way: there are no stale locks."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType

from twolayer.utils import files
from twolayer.utils.errors import RunError
from twolayer.utils.files import (
    CANNOT_READ,
    Content,
    content_bytes,
    explain,
    explained,
    leftovers,
    make_folders,
    open_regular,
    open_to_read,
    remove,
    require_regular,
    temporary_path,
    write_atomically,
    write_new,
)

_LOCKED = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class RunLock:
    """Holds a run folder for this process, as a context manager or by `acquire` and `release`.

    The lock file stays behind, empty and without meaning: deleting it would let two processes lock two files.

    Args:
        path: the lock file; its folder must exist.
        run: what is locked, for the message.

    Attributes:
        notice: a sentence to show if the file system has no locks and the run is therefore not locked, or None.
    """

    def __init__(self, path: Path, run: Path) -> None:
        self.path = path
        self.run = run
        self.notice: str | None = None
        self._descriptor: int | None = None

    def acquire(self) -> RunLock:
        """Take the lock at once or not at all.

        Raises:
            RunError: if another process (or another RunLock of this one) holds it, or the file cannot be opened.
        """
        with explained(self.path, "the run cannot be locked"):
            descriptor = open_regular(self.path, os.O_RDWR | os.O_CREAT)
        try:
            _lock_or_retry(descriptor)
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                os.close(descriptor)
                if error.errno not in _LOCKED:
                    raise explain(error, self.path, "the run cannot be locked") from error
                raise RunError(
                    f"{self.run}: this run is in use by another twolayer process: "
                    "wait until it ends or stop it with Ctrl-C, then try again"
                ) from None
            self.notice = f"{self.run}: this file system has no locks: make sure that only one process uses the run"
        self._descriptor = descriptor
        return self

    @property
    def notices(self) -> tuple[str, ...]:
        """The notice, if there is one."""
        return () if self.notice is None else (self.notice,)

    def release(self) -> None:
        """Give the lock back; does nothing without one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> RunLock:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, shared: bool = False) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, shared: bool = False) -> None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _lock_or_retry(descriptor: int) -> None:
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno not in _LOCKED:
            raise
        time.sleep(0.05)  # `in_use` holds the lock for a few microseconds
        _lock(descriptor)


_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}


class RunFolder:
    """The paths of one run.

    Attributes:
        path: the folder.
        config: the resolved config; feeding it back makes the same run.
        environment: versions, BLAS, threads, machine, data digests.
        history: one row per epoch.
        steps: the training loss along the steps, at most 900 per power of ten.
        predictions: probabilities on validation and test rows, from the best parameters.
        best: the model: the best parameters and all that prediction from raw rows needs.
        last: the checkpoint from which the run resumes.
        loss_curve: the picture of loss and accuracy.
        summary: the final numbers; absent until the run ends or is interrupted.
        snapshots: the folder of parameter snapshots, with `run.snapshot_epochs`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.environment = path / "config.yaml", path / "environment.json"
        self.history, self.steps = path / "history.csv", path / "steps.csv"
        self.best, self.last = path / "best.npz", path / "last.npz"
        self.predictions, self.summary = path / "predictions.npz", path / "summary.json"
        self.loss_curve, self.snapshots = path / "loss_curve.png", path / "snapshots"
        named = (self.config, self.environment, self.history, self.steps, self.best, self.last)
        self._files = (*named, self.predictions, self.summary, self.loss_curve)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunFolder) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def snapshot(self, epoch: int) -> Path:
        """The parameters after one epoch."""
        return self.snapshots / f"epoch-{epoch:05d}.npz"

    def snapshot_files(self) -> list[Path]:
        """The snapshots, by name."""
        return sorted(self.snapshots.glob("epoch-*.npz"))

    def make_snapshots_folder(self) -> None:
        """Create `snapshots` if absent; raises RunError."""
        with explained(self.snapshots):
            require_regular(self.snapshots, folder=True)
            make_folders(self.snapshots)

    def require_box(self) -> None:
        """Refuse links, pipes, devices and sockets among the names of the run.

        Raises:
            RunError: naming the first one.
        """
        for path in (*self._files, self.path / ".lock"):
            with explained(path, CANNOT_READ):
                require_regular(path)
        with explained(self.snapshots, CANNOT_READ):
            require_regular(self.snapshots, folder=True)

    def lock(self) -> RunLock:
        """Return the lock to hold while writing into the folder."""
        return RunLock(self.path / ".lock", self.path)

    def in_use(self) -> bool:
        """Return whether a process holds the run's lock, as far as the system can say; nothing is written."""
        try:
            descriptor = open_regular(self.path / ".lock")
        except OSError:
            return False
        try:
            _lock(descriptor, shared=True)
        except OSError as error:
            return error.errno in _LOCKED
        finally:
            os.close(descriptor)
        return False

    def remove_leftovers(self) -> None:
        """Remove the temporary files that a killed process left; only for the holder of the lock."""
        names = {path.name for path in self._files}
        for each in leftovers(self.path, names.__contains__):
            remove(each)
        for each in leftovers(self.snapshots, lambda name: fnmatch(name, "epoch-*.npz")):
            remove(each)


def create_run_folder(
    content: Mapping[str, Content], *, parent: str | Path, name: str, now: datetime | None = None
) -> RunFolder:
    """Create the folder `parent`/`name`-YYYYmmdd-HHMMSS, with -2, -3, ... where that is taken.

    Args:
        content: what is in it from the first moment, by file name: config.yaml, environment.json, best.npz and
            last.npz of step 0.
        parent: the folder of runs, created if absent.
        name: the config's name.
        now: the local time for the name; None for the clock's.

    Raises:
        RunError: if the system refuses; at most an empty `parent` is left.
    """
    parent = Path(parent)
    with explained(parent, "the folder of runs cannot be made"):
        make_folders(parent)
    stem = f"{name}-{now or datetime.now():%Y%m%d-%H%M%S}"
    temporary = _filled_temporary(parent / stem, content)
    target, number = parent / stem, 1
    while not _appears(temporary, target):
        number += 1
        target = parent / f"{stem}-{number}"
    return RunFolder(target)


def create_run_folder_at(content: Mapping[str, Content], run_dir: str | Path) -> RunFolder:
    """Create the run folder `run_dir`, which must not exist or be empty; see `create_run_folder`.

    An empty folder is filled in place, last.npz at the end: it may be a mount point or a current folder, which cannot
    be replaced. What a killed process left of the same filling counts as empty.

    Raises:
        RunError: if there is something in the folder or the system refuses.
    """
    run = RunFolder(Path(run_dir))
    with explained(run.path, "the run folder cannot be made"):
        exists = run.path.exists()
        make_folders(run.path.parent)
    if exists:
        _fill_in_place(run, content)
        return run
    temporary = _filled_temporary(run.path, content)
    if not _appears(temporary, run.path):
        shutil.rmtree(temporary, ignore_errors=True)
        _require_empty(run, content)
        raise RunError(f"{run.path}: another process made this folder at the same moment; choose another one")
    return run


def open_run(path: str | Path) -> RunFolder:
    """Return the run folder at `path`.

    Raises:
        RunError: if there is none (the message says what was found and, if it can be guessed, what was meant), or if
            one of its names is not a file; see `RunFolder.require_box`.
    """
    run = RunFolder(Path(path))
    with explained(run.path, CANNOT_READ):
        if not run.path.is_dir() or _missing(run):
            raise RunError(f"{path}: {_what_it_is(run)}")
    run.require_box()
    return run


def _missing(run: RunFolder) -> list[str]:
    return [each.name for each in (run.config, run.last) if not os.path.lexists(each)]


def _what_it_is(run: RunFolder) -> str:
    """Describe a path that is not a run folder, and what may have been meant."""
    if run.path.is_dir():
        if newest := _newest_run(run.path):
            return f"not a run folder but a folder of runs; the newest in it is {newest}"
        return f"expected a run folder, which 'train' creates, got one without {' and '.join(_missing(run))}"
    if run.path.exists():
        meant = f"; did you mean {run.path.parent}?" if RunFolder(run.path.parent).last.is_file() else ""
        return f"expected a run folder, got a file{meant}"
    newest = _newest_run(run.path.parent)
    return "no such run folder" + (f"; the newest run in {run.path.parent} is {newest}" if newest else "")


def _newest_run(folder: Path) -> Path | None:
    with suppress(OSError):
        runs = [each for each in folder.iterdir() if not each.name.startswith(".") and RunFolder(each).last.is_file()]
        return max(runs, key=lambda each: RunFolder(each).last.stat().st_mtime, default=None)
    return None


def _filled_temporary(target: Path, content: Mapping[str, Content]) -> Path:
    """Create a hidden folder beside `target` that holds the files, on the device."""
    temporary = temporary_path(target)
    with explained(target, "the run folder cannot be made"):
        try:
            files.disk.make_folder(temporary)
            for name, each in content.items():
                write_new(temporary / name, each)
            files.disk.sync_folder(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return temporary


def _appears(temporary: Path, target: Path) -> bool:
    """Rename the filled folder to its name; return False if that is taken."""
    with explained(target, "the run folder cannot be made"):
        try:
            files.disk.rename_folder(temporary, target)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _TAKEN:
                return False
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        files.disk.sync_folder(target.parent)
    return True


def _fill_in_place(run: RunFolder, content: Mapping[str, Content]) -> None:
    _require_empty(run, content)
    with run.lock(), ExitStack() as undo:
        _require_empty(run, content)
        for name in sorted(content, key=lambda name: name == run.last.name):
            undo.callback(remove, run.path / name)
            write_atomically(run.path / name, content[name])
        undo.pop_all()


def _require_empty(run: RunFolder, content: Mapping[str, Content]) -> None:
    """Raise RunError if the folder holds more than the beginnings of this filling, cut short."""
    with explained(run.path, "the run folder cannot be used"):
        found = sorted(each.name for each in run.path.iterdir())
        locked = run.lock().path.name in found
        foreign = [name for name in found if not (locked and _is_beginning(run, name, content))]
    if foreign:
        raise RunError(
            f"{run.path}: expected an empty folder, got one with {foreign[0]} in it; choose a new or empty folder, "
            "or resume the run if it is one"
        )


def _is_beginning(run: RunFolder, name: str, content: Mapping[str, Content]) -> bool:
    """Check whether this filling could have left a file: one with other content is the user's, whatever its name."""
    path = run.path / name
    if name in content and path != run.last:
        expected = content_bytes(content[name])
        with suppress(OSError), open_to_read(path) as file:
            return file.read(len(expected) + 1) == expected
        return False
    return path == run.lock().path or any(fnmatch(name, f".{each}.*.tmp") for each in content)
