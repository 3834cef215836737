"""The run folder: its files, how it is created whole, and how it is found again.

It is filled under a temporary name and then renamed, so from its first appearance it holds its config and a good
checkpoint. A killed process leaves at most a hidden folder that nothing reads.

It is a box: a name of the run that is a link, a pipe, a device or a socket is refused, so that nothing outside of the
folder is read or written. The folder itself may be a link.

A run in use is locked, so that two processes never write into one folder. The system holds the lock for the open file
and drops it when the process ends, in whatever way: there are no stale locks.

environment.json says what a run's numbers depend on besides its config: versions, BLAS and its threads, the machine,
the data. It is compared before a run is resumed: the last bits of a product change with any of them."""

import errno
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import by_dotted_key
from twolayer.utils import files
from twolayer.utils.blas import THREAD_VARIABLES, blas_facts
from twolayer.utils.errors import RunError
from twolayer.utils.files import CANNOT_READ, explained, held, remove
from twolayer.utils.text import plain
from twolayer.utils.version import __version__

LOCK = ".lock"
SNAPSHOTS = "epoch-*.npz"

_LOCKED = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}
_CANNOT_MAKE = "the run folder cannot be made"


@contextmanager
def folder_lock(folder: Path) -> Iterator[tuple[str, ...]]:
    """Lock the folder of a run or a sweep for this process, at once or not at all, and hold it open; see `files.held`.
    Yield a sentence to show if the file system has no locks and the folder is therefore not locked.

    The lock file stays behind, empty and without meaning: deleting it would let two processes lock two files.

    Raises:
        RunError: if the folder is locked already, by this process or another one, or the file cannot be opened.
    """
    path = folder / LOCK
    with ExitStack() as opened:
        with explained(path, "the run cannot be locked"):
            opened.enter_context(held(folder, follow=True))
            descriptor = files.open_regular(path, os.O_RDWR | os.O_CREAT)
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
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED:
            return False
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return True


class RunFolder:
    """The paths of one run; docs/reference/run-folder.md says what each file is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.environment = path / "config.yaml", path / "environment.json"
        self.history, self.steps = path / "history.csv", path / "steps.csv"
        self.best, self.last = path / "best.npz", path / "last.npz"
        self.predictions, self.summary = path / "predictions.npz", path / "summary.json"
        self.loss_curve, self.snapshots = path / "loss_curve.png", path / "snapshots"
        named = (self.config, self.environment, self.history, self.steps, self.best, self.last)
        self.files = (*named, self.predictions, self.summary, self.loss_curve)

    def write_snapshot(self, epoch: int, content: bytes) -> None:
        """Write the parameters after one epoch, in `snapshots`, created if absent; raises RunError."""
        with explained(self.snapshots):
            with suppress(FileExistsError):
                files.disk.make_folder(self.snapshots)
                files.disk.sync_folder(self.path)
            with held(self.snapshots):
                files.write_atomically(self.snapshots / f"epoch-{epoch:05d}.npz", content)

    def require_box(self) -> None:
        """Raise RunError for the first of the run's names that is a link, a pipe, a device or a socket."""
        for path in (*self.files, self.path / LOCK, self.snapshots):
            with explained(path, CANNOT_READ):
                files.require_regular(path, folder=path == self.snapshots)

    def in_use(self) -> bool:
        """Return whether a process holds the run's lock, as far as the system can say; nothing is written."""
        try:
            with files.open_to_read(self.path / LOCK) as file:
                return _lock(file.fileno(), shared=True) is False
        except OSError:
            return False

    def remove_leftovers(self) -> None:
        """Remove the temporary files that a killed process left; only for the holder of the lock."""
        for each in files.leftovers(self.path, *(path.name for path in self.files)):
            remove(each)
        with explained(self.snapshots), suppress(FileNotFoundError), held(self.snapshots):
            for each in files.leftovers(self.snapshots, SNAPSHOTS):
                remove(each)


def create_run_folder(
    content: Mapping[str, bytes], *, parent: str | Path, name: str, now: datetime | None = None
) -> RunFolder:
    """Create the folder `parent`/`name`-YYYYmmdd-HHMMSS, with -2, -3, ... where that is taken, by the local time `now`.

    `content` is in it from the first moment, by file name: config.yaml, environment.json, best.npz and last.npz of
    step 0. `parent`, the folder of runs, is created if absent.

    Raises:
        RunError: if the system refuses; at most an empty `parent` is left.
    """
    parent = Path(parent)
    with explained(parent, "the folder of runs cannot be made"):
        files.make_folders(parent)
    path = parent / f"{name}-{now or datetime.now():%Y%m%d-%H%M%S}"
    return _create(content, path, (path if k == 1 else parent / f"{path.name}-{k}" for k in count(1)))


def create_run_folder_at(content: Mapping[str, bytes], run_dir: str | Path) -> RunFolder:
    """Create the run folder `run_dir`, which must not exist or be empty; see `create_run_folder`.

    An empty folder is filled in place, last.npz at the end: it may be a mount point or a current folder, which cannot
    be replaced.

    Raises:
        RunError: if there is something in the folder or the system refuses.
    """
    run = RunFolder(Path(run_dir))
    with explained(run.path, _CANNOT_MAKE):
        exists = run.path.exists()
        files.make_folders(run.path.parent)
    if not exists:
        return _create(content, run.path, iter([run.path]))
    _require_empty(run.path)
    with folder_lock(run.path), ExitStack() as undo:
        _require_empty(run.path)
        for name in sorted(content, key=lambda name: name == run.last.name):
            undo.callback(remove, run.path / name)
            files.write_atomically(run.path / name, content[name])
        undo.pop_all()
    return run


def _create(content: Mapping[str, bytes], path: Path, targets: Iterator[Path]) -> RunFolder:
    """Fill a hidden folder beside `path`, then rename it to the first of the targets that is free."""
    temporary = files.temporary_path(path)
    with explained(path, _CANNOT_MAKE), ExitStack() as undo:
        undo.callback(shutil.rmtree, temporary, ignore_errors=True)
        files.disk.make_folder(temporary)
        for name, each in content.items():
            files.write_new(temporary / name, each)
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


def _require_empty(folder: Path) -> None:
    with explained(folder, "the run folder cannot be used"):
        found = sorted(each.name for each in folder.iterdir() if each.name != LOCK)
    if found:
        raise RunError(
            f"{folder}: expected an empty folder, got one with {found[0]} in it; choose a new or empty folder, "
            "or resume the run if it is one"
        )


def open_run(path: str | Path) -> RunFolder:
    """Return the run folder at `path`; raise RunError if there is none (the message names the newest run nearby), or
    one of its names is not a file (see `RunFolder.require_box`)."""
    run = RunFolder(Path(path))
    with explained(run.path, CANNOT_READ):
        missing = [each.name for each in (run.config, run.last) if not os.path.lexists(each)]
        is_folder, exists = run.path.is_dir(), run.path.exists()
    if is_folder and not missing:
        run.require_box()
        return run
    place, hint = run.path if is_folder else run.path.parent, ""
    with suppress(OSError):
        runs = [each for each in place.iterdir() if not each.name.startswith(".") and RunFolder(each).last.is_file()]
        if runs:
            newest = max(runs, key=lambda each: RunFolder(each).last.stat().st_mtime)
            hint = f"; the newest run in {place} is {newest}"
    if is_folder:
        what = f"expected a run folder, which 'train' creates, got one without {' and '.join(missing)}"
    elif exists:
        what = "expected a run folder, got a file"
        hint = f"; did you mean {place}?" if RunFolder(place).last.is_file() else hint
    else:
        what = "no such run folder"
    raise RunError(f"{path}: {what}{hint}")


# The order in which the compiled engine sums: 1, by threads, in version 0.1, which did not record it; 2, by shape.
COMPILED_SUMS = 2
# What must be the same for the same bits: its place in the environment, and its name in messages.
_BITS = {
    "twolayer": "twolayer",
    "numpy": "numpy",
    "blas.name": "BLAS",
    "blas.version": "BLAS version",
    "blas.kernels": "BLAS kernels",
    "blas.threads": "BLAS threads",
    "numba": "numba",
    "compiled_sums": "order of sums of the compiled engine",
    "machine.architecture": "architecture",
    "machine.processor": "processor",
    "machine.simd": "processor features",
    "machine.libc": "C library",
}


def recorded_digests(environment: Path) -> dict[str, str]:
    """Return the SHA-256 of the data files that a run recorded, by their path; empty without a record."""
    recorded = files.read_json(environment).get("data") if environment.exists() else None
    return {path: str(digest) for path, digest in recorded.items()} if isinstance(recorded, dict) else {}


def describe_environment(data: Mapping[str, str] | None = None, engine: str = "numpy") -> dict[str, Any]:
    """Return the content of environment.json, with the SHA-256 of each data file; nothing names the person or the host.

    Call it once the engine is loaded: numba and scipy are recorded if they are imported.
    """
    config: Any = np.show_config(mode="dicts")
    numba, simd = sys.modules.get("numba"), config.get("SIMD Extensions", {})
    processor = None
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = file.read(4096).splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return {
        "twolayer": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": getattr(numba, "__version__", None),
        "scipy": getattr(sys.modules.get("scipy"), "__version__", None),
        "blas": blas_facts(),
        "engine": engine,
        "compiled_sums": COMPILED_SUMS if engine == "numba" else None,
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "architecture": platform.machine(),
            "processor": processor,
            "simd": [*simd.get("baseline", ()), *simd.get("found", ())],  # what NumPy found and uses
            "libc": " ".join(platform.libc_ver()).strip() or None,
            "cpus": os.cpu_count(),
            "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "data": dict(data or {}),
    }


def differences_that_change_bits(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each difference that can change the bits of a resumed run: `"BLAS threads: 2 then, 1 now"`.

    An entry that only one of the environments has, such as a package that was not imported, is no difference.
    """
    found = []
    compiled, flat_old, flat_new = new.get("engine") == "numba", by_dotted_key(old), by_dotted_key(new)
    for place, word in _BITS.items():
        then, now = flat_old.get(place), flat_new.get(place)
        if compiled and place == "blas.threads":
            continue  # the compiled engine gives the same bits on any number
        if compiled and place == "compiled_sums":
            then = then or 1
        if then is not None and now is not None and then != now:
            words = [plain(" ".join(map(str, each)) if isinstance(each, list) else each) for each in (then, now)]
            found.append(f"{word}: {words[0]} then, {words[1]} now")
    then, now = old.get("data"), new.get("data")
    if isinstance(then, dict) and isinstance(now, dict):
        found += [f"data: {path} has changed" for path in now if path in then and then[path] != now[path]]
        if then.keys() != now.keys() and sorted(map(str, then.values())) != sorted(map(str, now.values())):
            found.append("data: other files than before")
    return found
