"""What is shown during a training: a bar on a terminal or in a notebook, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Self, TextIO

from tqdm import tqdm

PLAIN_LINES = 20  # about this many in a training whose output goes to a file
NOTEBOOK_COLUMNS = 100
NARROW = 60  # columns, below which a terminal is not shown the time that remains
_WIDE_BAR, _NARROW_BAR = "{desc}|{bar}|{percentage:3.0f}% {remaining}", "{desc}|{bar}|{percentage:3.0f}%"
_RESERVED = 16  # columns for the bar, ` 100% 00:00:00` and what separates them
_NAMES = {"train_loss": "train loss", "val_loss": "val loss", "val_accuracy": "val acc", "learning_rate": "rate"}
_NAMES_ALONE = {"train_loss": "train loss", "train_accuracy": "train acc", "learning_rate": "rate"}


class _Bar:
    """A bar on a terminal or in a notebook, lines elsewhere, nothing if `quiet`; a context manager."""

    def __init__(self, *, quiet: bool, stream: TextIO | None, **options: Any) -> None:
        notebook = stream is None and _in_notebook()
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
    """Shows how far a training is.

    Args:
        total_rows: rows that the whole training visits, all epochs together.
        done_rows: rows visited before, of a resumed run.
        epochs: planned epochs.
        quiet: show nothing.
        stream: where to show it; None for standard error, or in a notebook standard output, which is not shown as an
            error there.
    """

    def __init__(
        self, total_rows: int, done_rows: int, epochs: int, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        super().__init__(quiet=quiet, stream=stream, total=total_rows, initial=done_rows, bar_format=_WIDE_BAR)
        self._epochs, self._rows, self._started = epochs, 0, time.perf_counter()
        self._bar.set_description_str(f"epoch 0/{epochs} ", refresh=False)

    def say(self, text: str) -> None:
        """Show a line above the bar."""
        if not self._quiet:
            self._bar.clear()
            self._line(text)

    def rows(self, n_rows: int) -> None:
        """Count rows that were visited."""
        self._rows += n_rows
        self._bar.update(n_rows)

    def epoch(self, record: Mapping[str, float | None]) -> None:
        """Show an epoch's record (see `solver.Solver.run`)."""
        epoch = int(record["epoch"] or 0)
        start = f"epoch {epoch}/{self._epochs}"
        if not self._bar.disable:
            columns = self._bar.format_dict["ncols"] or 80
            self._bar.bar_format = _WIDE_BAR if columns >= NARROW else _NARROW_BAR
            figures = sorted(_figures(record, {"train_loss": "loss"}), key=lambda figure: " acc " not in figure)
            self._bar.set_description_str(_fitting(start, figures, columns - _RESERVED), refresh=False)
        if self._plain and (epoch % max(1, self._epochs // PLAIN_LINES) == 0 or epoch == self._epochs):
            rate = self._rows / max(time.perf_counter() - self._started, 1e-9)
            self._line(f"{start}: {', '.join(_figures(record))}, {rate:,.0f} rows/s")


class Tally(_Bar):
    """Counts things that get done in any order, such as the trainings of a sweep.

    Args:
        total: how many there are; None if unknown.
        done: how many were done before.
        unit: what they are, e.g. `"run"`.
        quiet: show nothing.
        stream: where to show it; as of `ProgressBar`.
    """

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


def _in_notebook() -> bool:
    """Return whether the code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _figures(record: Mapping[str, float | None], short: Mapping[str, str] | None = None) -> list[str]:
    """Return the figures of an epoch in words; with `short`, other names and losses of three digits."""
    names = _NAMES_ALONE if record["val_accuracy"] is None else _NAMES
    digits = {name: 4 if short is None or "loss" not in name else 3 for name in names}
    labels = names | dict(short or {})
    return [f"{labels[name]} {record[name]:.{digits[name]}g}" for name in names if record[name] is not None]


def _fitting(start: str, figures: list[str], columns: int) -> str:
    """Return the start and as many figures, the first in any case, as there are columns for."""
    text = start
    for k, figure in enumerate(figures):
        if k and len(text) + len(figure) + 3 > columns:
            break
        text += f", {figure}"
    return f"{text} "
