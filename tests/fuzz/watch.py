"""Watches what the process does while a case runs: input must not start programs, load pickles, open connections or
write outside the case's own folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twolayer.utils import files

FORBIDDEN = {
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn",
    "subprocess.Popen", "pickle.find_class", "socket.connect", "socket.bind", "urllib.Request",
}  # fmt: skip
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ForbiddenError(BaseException):
    """Input made the process do what no input may."""


class _Watch:
    """The one audit hook of the process; such hooks cannot be taken out again, so it is switched on and off."""

    folder: str | None = None
    installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in FORBIDDEN:
            self._refuse(event, arguments)
        elif event == "open":
            path, _, flags = arguments
            if flags & _WRITING and isinstance(path, str | bytes):
                in_held = not os.path.dirname(path)  # the event does not say in which of them
                for descriptor in (files._held.get().values() if in_held else ()) or [-1]:
                    self._require_inside(event, path, descriptor)
        elif event in ("os.symlink", "os.link"):
            self._require_inside(event, arguments[1])
        elif event in CHANGES and isinstance(arguments[0], str | bytes):
            has_folder = event in ("os.remove", "os.rmdir", "os.mkdir", "os.rename")
            self._require_inside(event, arguments[0], arguments[-1] if has_folder else -1)
            if event == "os.rename":
                self._require_inside(event, arguments[1], arguments[-1])

    def _require_inside(self, event: str, path: str | bytes, descriptor: int = -1) -> None:
        """Refuse a change outside of the case's folder; a relative path starts in the folder of the descriptor."""
        start = os.getcwd() if descriptor < 0 else os.readlink(f"/proc/self/fd/{descriptor}")
        whole = os.path.abspath(os.path.join(start, os.fsdecode(path)))
        compiled = "__pycache__" in whole.split(os.sep)  # Python's and Numba's own, of code that is first used now
        if whole != os.devnull and not compiled and not (whole + os.sep).startswith(str(self.folder) + os.sep):
            self._refuse(event, (whole,))

    def _refuse(self, event: str, arguments: tuple[Any, ...]) -> None:
        self.folder = None  # what follows is the report of it
        raise ForbiddenError(f"{event}{arguments}"[:300])


_WATCH = _Watch()


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise ForbiddenError inside for a program started, a pickle, a connection, or a change outside `folder`."""
    if not _WATCH.installed:
        sys.addaudithook(_WATCH)
        _WATCH.installed = True
    _WATCH.folder = os.path.abspath(folder)
    try:
        yield
    finally:
        _WATCH.folder = None
