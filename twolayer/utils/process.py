"""The process and its surroundings: signals, the terminal, and further processes that run a module of this package.

The first Ctrl-C or SIGTERM asks the training to stop where its state is whole; a second Ctrl-C leaves at once."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any


class StopRequest:
    """Listens for SIGINT and SIGTERM while it is entered, and keeps the `signal_number` of the one that came.

    Outside the main thread Python delivers none.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the second one raises KeyboardInterrupt


class TerminalStream(io.TextIOWrapper):
    """Text on a terminal without the control characters that could steer it: names and labels come from files.

    Escape sequences and bidirectional overrides are written as Python's escapes. Line ends, tabs and the carriage
    return of a progress bar pass.
    """

    def write(self, text: str) -> int:
        super().write(text.translate(_ESCAPES))
        return len(text)


_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _CONTROLS - {*b"\n\t\r"}}


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with arguments.

    By itself `-m` puts the current folder first: a `queue.py` there would be run as Python's own.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """Return this process's environment variables with this package in PYTHONPATH: a checkout is not installed."""
    package = str(Path(__file__).resolve().parents[2])
    paths = filter(None, [package, os.environ.get("PYTHONPATH")])  # an empty one would be the current folder
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
