"""The process and its surroundings: signals; the terminal, with a bar there or in a notebook, a plain line now and then
elsewhere; and further processes that run a module of this package.

The first Ctrl-C or SIGTERM asks the training to stop where its state is whole; a second Ctrl-C leaves at once."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Self, TextIO

PLAIN_LINES = 20  # about this many in a training whose output goes to a file
NOTEBOOK_COLUMNS = 100
NARROW = 60  # columns, below which a terminal is not shown the time that remains
_BAR, _REMAINING = "{desc} |{bar}|{percentage:3.0f}%", " {remaining}"
_RESERVED = 17  # columns for the bar, ` 100% 00:00:00` and what separates them
_FIGURES = (
    ("val_accuracy", "val acc", 4),  # column of the record, name, digits
    ("train_accuracy", "train acc", 4),
    ("train_loss", "loss", 3),
    ("val_loss", "val loss", 3),
    ("learning_rate", "rate", 4),
)


class StopRequest:
    """Listens for SIGINT and SIGTERM while it is entered, and keeps the `signal_number` of the one that came. Outside
    the main thread Python delivers none."""

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
    """Text on a terminal without the control characters that could steer it: names and labels come from files. Escape
    sequences and bidirectional overrides are written as Python's escapes; line ends, tabs and the carriage return of a
    progress bar pass."""

    def write(self, text: str) -> int:
        super().write(text.translate(_ESCAPES))
        return len(text)


_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _CONTROLS - {*b"\n\t\r"}}


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with arguments; without -P a `queue.py` in the current folder would be run
    as Python's own."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """Return this process's environment variables with this package in PYTHONPATH: a checkout is not installed."""
    package = str(Path(__file__).resolve().parents[2])
    paths = filter(None, [package, os.environ.get("PYTHONPATH")])  # an empty one would be the current folder
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class _Bar:
    """A bar on a terminal or in a notebook, lines elsewhere, nothing if `quiet`; a context manager."""

    def __init__(self, *, quiet: bool, stream: TextIO | None, **options: Any) -> None:
        from tqdm import tqdm  # here, so that --help needs none of it

        ipython = sys.modules.get("IPython")
        notebook = stream is None and ipython is not None and hasattr(ipython.get_ipython(), "kernel")
        self._stream = stream or (sys.stdout if notebook else sys.stderr)
        self._quiet = quiet
        self._plain = not quiet and not notebook and not self._stream.isatty()
        ncols = NOTEBOOK_COLUMNS if notebook else None
        options |= {"file": self._stream, "ncols": ncols, "dynamic_ncols": not notebook}
        self._bar = tqdm(disable=quiet or self._plain, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class ProgressBar(_Bar):
    """Shows how far a training is: of the rows it visits in all epochs together, `done_rows` before it was resumed. It
    is shown on standard error, or in a notebook on standard output, which is not marked as an error there."""

    def __init__(
        self, total_rows: int, done_rows: int, epochs: int, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        super().__init__(quiet=quiet, stream=stream, total=total_rows, initial=done_rows, bar_format=_BAR + _REMAINING)
        self._epochs, self._rows, self._started = epochs, 0, time.perf_counter()
        self._bar.set_description_str(f"epoch 0/{epochs}", refresh=False)

    def say(self, text: str) -> None:
        """Show a line above the bar."""
        if not self._quiet:
            self._bar.clear()
            self._line(text)

    def show(self, n_rows: int, record: Mapping[str, float | None] | None) -> None:
        """Count rows that were visited, and show the record of an epoch that they ended: on a terminal as many figures
        as it has columns for."""
        self._rows += n_rows
        self._bar.update(n_rows)
        if record is None:
            return
        epoch = int(record["epoch"] or 0)
        text = f"epoch {epoch}/{self._epochs}"
        hidden = None if record["val_accuracy"] is None else "train_accuracy"
        shown = [(label, record[name], digits) for name, label, digits in _FIGURES if name != hidden]
        figures = [f"{label} {value:.{digits}g}" for label, value, digits in shown if value is not None]
        if self._plain and (epoch % max(1, self._epochs // PLAIN_LINES) == 0 or epoch == self._epochs):
            rate = self._rows / max(time.perf_counter() - self._started, 1e-9)
            self._line(f"{text}: {', '.join(figures)}, {rate:,.0f} rows/s")
        if not self._bar.disable:
            columns = self._bar.format_dict["ncols"] or 80
            self._bar.bar_format = _BAR + (_REMAINING if columns >= NARROW else "")
            for k, figure in enumerate(figures):
                if k == 0 or len(text) + len(figure) + 2 <= columns - _RESERVED:
                    text += f", {figure}"
            self._bar.set_description_str(text, refresh=False)


class Tally(_Bar):
    """Counts things that get done in any order, such as the runs of a sweep; `total` is None if unknown."""

    def __init__(
        self, total: int | None, done: int, unit: str, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        super().__init__(quiet=quiet, stream=stream, total=total, initial=done, unit=unit)
        self._of, self._done, self._unit = "" if total is None else f"/{total}", done, unit

    def done(self, what: str, best: str) -> None:
        """Count one more: `what` became of it, and the `best` so far."""
        self._done += 1
        self._bar.set_postfix_str(best, refresh=False)
        self._bar.update()
        if self._plain:
            self._line(f"{self._unit} {self._done}{self._of}: {what}; {best}")
