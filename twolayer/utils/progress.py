"""What a person sees while training: a bar on a terminal, a plain line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm

PLAIN_LINES = 20  # about so many in a training whose output goes to a file


class ProgressBar:
    """Shows how a training goes on; use it as a context manager.

    Args:
        total_rows: rows that the whole training visits, all epochs together.
        done_rows: rows visited before, of a run that goes on.
        epochs: planned epochs.
        quiet: show nothing.
        stream: where to show it; None for standard error.
    """

    def __init__(
        self, total_rows: int, done_rows: int, epochs: int, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._epochs = epochs
        self._plain = not quiet and not self._stream.isatty()
        self._rows, self._started = 0, time.perf_counter()
        self._bar = tqdm(
            total=total_rows,
            initial=done_rows,
            unit="row",
            unit_scale=True,
            file=self._stream,
            dynamic_ncols=True,
            disable=quiet or self._plain,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {rate_fmt}{postfix}",
        )
        self._bar.set_description_str(f"epoch 0/{epochs}", refresh=False)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def rows(self, n_rows: int) -> None:
        """Takes note of rows that were visited."""
        self._rows += n_rows
        self._bar.update(n_rows)

    def epoch(self, record: Mapping[str, float | None]) -> None:
        """Takes note of an epoch's record (see `solver.Solver.run`)."""
        epoch = int(record["epoch"] or 0)
        self._bar.set_description_str(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(_figures(record), refresh=False)
        if self._plain and (epoch % max(1, self._epochs // PLAIN_LINES) == 0 or epoch == self._epochs):
            rate = self._rows / max(time.perf_counter() - self._started, 1e-9)
            self._stream.write(f"epoch {epoch}/{self._epochs}: {_figures(record)}, {rate:,.0f} rows/s\n")
            self._stream.flush()


class Tally:
    """Counts things that get done in any order, such as the trainings of a sweep; use it as a context manager.

    Args:
        total: how many there are; None if nobody knows.
        done: how many were done before.
        unit: what they are, e.g. `"run"`.
        quiet: show nothing.
        stream: where to show it; None for standard error.
    """

    def __init__(
        self, total: int | None, done: int, unit: str, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._plain = not quiet and not self._stream.isatty()
        self._disabled = quiet or self._plain
        self._total, self._done, self._unit = total, done, unit
        self._bar = tqdm(
            total=total, initial=done, unit=unit, file=self._stream, dynamic_ncols=True, disable=self._disabled
        )

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def done(self, what: str, best: str) -> None:
        """One more is done: `what` became of it, and the `best` so far."""
        self._done += 1
        self._bar.set_postfix_str(best, refresh=False)
        self._bar.update()
        if self._plain:
            of = "" if self._total is None else f"/{self._total}"
            self._stream.write(f"{self._unit} {self._done}{of}: {what}; {best}\n")
            self._stream.flush()


def _figures(record: Mapping[str, float | None]) -> str:
    names = {"train_loss": "train loss", "val_loss": "val loss", "val_accuracy": "val acc", "learning_rate": "rate"}
    if record["val_accuracy"] is None:
        names = {"train_loss": "train loss", "train_accuracy": "train acc", "learning_rate": "rate"}
    return ", ".join(f"{label} {record[name]:.4g}" for name, label in names.items() if record[name] is not None)
