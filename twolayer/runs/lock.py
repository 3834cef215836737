"""A run in use is locked, so that two processes never write into one folder. The system holds the lock for the
open file and drops it when the process ends, however it ends: a stale lock cannot be."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import TracebackType

from twolayer.utils.errors import RunError
from twolayer.utils.files import explain

_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
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
        """Takes the lock at once or not at all.

        Raises:
            RunError: if another process (or another RunLock of this one) holds it, or the file cannot be opened.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise explain(error, self.path, "the run cannot be locked") from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                os.close(descriptor)
                if error.errno not in _TAKEN:
                    raise explain(error, self.path, "the run cannot be locked") from error
                raise RunError(
                    f"{self.run}: this run is in use by another twolayer process: "
                    "wait until it ends or stop it with Ctrl-C, then try again"
                ) from None
            self.notice = f"{self.run}: this file system has no locks: see to it that only one process uses the run"
        self._descriptor = descriptor
        return self

    @property
    def notices(self) -> tuple[str, ...]:
        """The notice, if there is one."""
        return () if self.notice is None else (self.notice,)

    def release(self) -> None:
        """Gives the lock back; does nothing without one."""
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

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
