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
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from twolayer.utils import files
from twolayer.utils.errors import RunError
from twolayer.utils.files import (
    CANNOT_READ,
    explained,
    held,
    holds,
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

LOCK = ".lock"
SNAPSHOTS = "epoch-*.npz"

_LOCKED = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}
_CANNOT_MAKE = "the run folder cannot be made"


@contextmanager
def folder_lock(folder: Path) -> Iterator[tuple[str, ...]]:
    """Lock the folder of a run or a sweep for this process, at once or not at all, and hold it open; see `files.held`.

    The lock file stays behind, empty and without meaning: deleting it would let two processes lock two files.

    Yields:
        A sentence to show if the file system has no locks and the folder is therefore not locked.

    Raises:
        RunError: if the folder is locked already, by this process or another one, or the file cannot be opened.
    """
    path = folder / LOCK
    with ExitStack() as opened:
        with explained(path, "the run cannot be locked"):
            opened.enter_context(held(folder, follow=True))
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
            opened.callback(os.close, descriptor)  # which gives the lock back
            locked = _lock(descriptor)
            if locked is False:
                time.sleep(0.05)  # `in_use` holds the lock for a few microseconds
                locked = _lock(descriptor)
        if locked is False:
            raise RunError(
                f"{folder}: this run is in use by another twolayer process: "
                "wait until it ends or stop it with Ctrl-C, then try again"
            )
        notice = f"{folder}: this file system has no locks: make sure that only one process uses the run"
        yield () if locked else (notice,)


def _lock(descriptor: int, shared: bool = False) -> bool | None:
    """Lock a file without waiting; return False if another process holds the lock, None if there are no locks here."""
    try:
        _lock_file(descriptor, shared)
    except OSError as error:
        if error.errno in _LOCKED:
            return False
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return True


def _lock_file(descriptor: int, shared: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


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
        self.files = (*named, self.predictions, self.summary, self.loss_curve)

    def snapshot_files(self) -> list[Path]:
        """Return the snapshots, by name."""
        return sorted(self.snapshots.glob(SNAPSHOTS))

    def write_snapshot(self, epoch: int, content: bytes) -> None:
        """Write the parameters after one epoch, in `snapshots`, created if absent; raises RunError."""
        with explained(self.snapshots):
            with suppress(FileExistsError):
                files.disk.make_folder(self.snapshots)
                files.disk.sync_folder(self.path)
            with held(self.snapshots):
                write_atomically(self.snapshots / f"epoch-{epoch:05d}.npz", content)

    def require_box(self) -> None:
        """Refuse links, pipes, devices and sockets among the names of the run.

        Raises:
            RunError: naming the first one.
        """
        for path in (*self.files, self.path / LOCK, self.snapshots):
            with explained(path, CANNOT_READ):
                require_regular(path, folder=path == self.snapshots)

    def lock(self) -> AbstractContextManager[tuple[str, ...]]:
        """Return the lock to hold while writing into the folder; see `folder_lock`."""
        return folder_lock(self.path)

    def in_use(self) -> bool:
        """Return whether a process holds the run's lock, as far as the system can say; nothing is written."""
        try:
            with open_to_read(self.path / LOCK) as file:
                return _lock(file.fileno(), shared=True) is False
        except OSError:
            return False

    def remove_leftovers(self) -> None:
        """Remove the temporary files that a killed process left; only for the holder of the lock."""
        for each in leftovers(self.path, *(path.name for path in self.files)):
            remove(each)
        with explained(self.snapshots), suppress(FileNotFoundError), held(self.snapshots):
            for each in leftovers(self.snapshots, SNAPSHOTS):
                remove(each)


def create_run_folder(
    content: Mapping[str, bytes], *, parent: str | Path, name: str, now: datetime | None = None
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
    path = parent / f"{name}-{now or datetime.now():%Y%m%d-%H%M%S}"
    return _create(content, path, (path if k == 1 else parent / f"{path.name}-{k}" for k in count(1)))


def create_run_folder_at(content: Mapping[str, bytes], run_dir: str | Path) -> RunFolder:
    """Create the run folder `run_dir`, which must not exist or be empty; see `create_run_folder`.

    An empty folder is filled in place, last.npz at the end: it may be a mount point or a current folder, which cannot
    be replaced. What a killed process left of the same filling counts as empty.

    Raises:
        RunError: if there is something in the folder or the system refuses.
    """
    run = RunFolder(Path(run_dir))
    with explained(run.path, _CANNOT_MAKE):
        exists = run.path.exists()
        make_folders(run.path.parent)
    if not exists:
        return _create(content, run.path, iter([run.path]))
    _require_empty(run, content)
    with run.lock(), ExitStack() as undo:
        _require_empty(run, content)
        for name in sorted(content, key=lambda name: name == run.last.name):
            undo.callback(remove, run.path / name)
            write_atomically(run.path / name, content[name])
        undo.pop_all()
    return run


def _create(content: Mapping[str, bytes], path: Path, targets: Iterator[Path]) -> RunFolder:
    """Fill a hidden folder beside `path`, then rename it to the first of the targets that is free."""
    temporary = temporary_path(path)
    with explained(path, _CANNOT_MAKE), ExitStack() as undo:
        undo.callback(shutil.rmtree, temporary, ignore_errors=True)
        files.disk.make_folder(temporary)
        for name, each in content.items():
            write_new(temporary / name, each)
        files.disk.sync_folder(temporary)
        for target in targets:
            try:
                files.disk.rename_folder(temporary, target)
            except OSError as error:
                if error.errno in _TAKEN:
                    continue
                raise
            undo.pop_all()
            files.disk.sync_folder(target.parent)
            return RunFolder(target)
    raise RunError(f"{path}: another process made this folder at the same moment; choose another one")


def _require_empty(run: RunFolder, content: Mapping[str, bytes]) -> None:
    """Raise RunError if the folder holds more than the beginnings of this filling, cut short."""
    with explained(run.path, "the run folder cannot be used"):
        found = sorted(each.name for each in run.path.iterdir())
        begun = set[str]()
        if LOCK in found:  # a file with other content than this filling's is the user's, whatever its name
            begun = {LOCK, *(each.name for each in leftovers(run.path, *content))}
            begun |= {name for name in content if run.path / name != run.last and holds(run.path / name, content[name])}
    if foreign := [name for name in found if name not in begun]:
        raise RunError(
            f"{run.path}: expected an empty folder, got one with {foreign[0]} in it; choose a new or empty folder, "
            "or resume the run if it is one"
        )


def open_run(path: str | Path) -> RunFolder:
    """Return the run folder at `path`.

    Raises:
        RunError: if there is none (the message says what was found and, if it can be guessed, what was meant), or if
            one of its names is not a file; see `RunFolder.require_box`.
    """
    run = RunFolder(Path(path))
    with explained(run.path, CANNOT_READ):
        missing = [each.name for each in (run.config, run.last) if not os.path.lexists(each)]
        if missing or not run.path.is_dir():
            raise RunError(f"{path}: {_what_it_is(run, missing)}")
    run.require_box()
    return run


def _what_it_is(run: RunFolder, missing: list[str]) -> str:
    """Describe a path that is not a run folder, and what may have been meant."""
    if run.path.is_dir():
        if newest := _newest_run(run.path):
            return f"not a run folder but a folder of runs; the newest in it is {newest}"
        return f"expected a run folder, which 'train' creates, got one without {' and '.join(missing)}"
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
