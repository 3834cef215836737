"""Ctrl-C and SIGTERM: the first one asks the training to stop where its state is whole, a second Ctrl-C leaves at
once.

Python processes that run a module of this package: they find it wherever this process did, and take no file of the
current folder for a module."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Listens for SIGINT and SIGTERM while it is entered.

    Outside the main thread, where Python takes no signals, it never sees one.

    Attributes:
        signal_number: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the second one raises KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with arguments.

    Left to itself, `-m` puts the current folder before all else: a `queue.py` there would be run as Python's own.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """This process's environment variables, PYTHONPATH with this package in it, since a checkout is not installed."""
    package = str(Path(__file__).resolve().parents[2])
    paths = filter(None, [package, os.environ.get("PYTHONPATH")])  # an empty one would be the current folder
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
