"""The table of runs: folder names, the keys in which they differ, their figures; the best first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from twolayer.utils.columns import larger_is_better
from twolayer.utils.text import did_you_mean, plain
from twolayer.views.run_data import ENDED, RunData, best_index, differing_keys, flattened, short_names, value_text

Cell = str | float | int | None

_FORMS: dict[str, str] = {"seconds": ".2f", "epochs": "d", "best epoch": "d"}


class RunTable(NamedTuple):
    """A table without empty columns.

    Attributes:
        header: names of the columns; the first is `run`.
        rows: a tuple of cells for each run; numbers as numbers, None where there is no value.
        order: the rows' places in the runs that were given.
    """

    header: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    order: list[int]

    def as_text(self) -> list[tuple[str, ...]]:
        """Return the cells as they are shown."""
        return [tuple(_text(name, cell) for name, cell in zip(self.header, row, strict=True)) for row in self.rows]

    def for_terminal(self) -> str:
        """Return the table with aligned columns."""
        rows = [[plain(cell) for cell in row] for row in (self.header, *self.as_text())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        numbers = [all(not isinstance(cell, str) for cell in column) for column in zip(*self.rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(row, widths, numbers, strict=True)
            ).rstrip()
            for row in rows
        )

    def as_csv(self) -> str:
        """Return the table as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.as_text()])
        return text.getvalue()


def run_table(runs: Sequence[RunData], sort: str | None = None) -> RunTable:
    """Make the table of some runs.

    Args:
        runs: at least one.
        sort: a column's name or a config key; None: the monitored value at the best epoch, the best first.

    Raises:
        ValueError: if there is no such column.
    """
    columns: dict[str, list[Cell]] = {"run": list(run_names(runs))}
    columns |= different_values(runs)
    if any(run.status not in ENDED for run in runs):
        columns["status"] = [run.status for run in runs]
    for name, figure in FIGURES.items():
        values = [figure(run) for run in runs]
        if any(value is not None for value in values):
            columns[name] = values
    monitored: list[Cell] = [run.at_best(runs[0].monitor) for run in runs]
    order = sort_order(monitored, larger_is_better(runs[0].monitor))
    if sort is not None:
        names = {key.replace(" ", "_"): key for key in columns}
        key = sort.rpartition(".")[2].replace(" ", "_")
        if key not in names:
            raise ValueError(f"--sort: expected one of {', '.join(names)}, got {sort!r}{did_you_mean(key, names)}")
        name = names[key]
        order = sort_order(columns[name], larger_is_better(name.rpartition(" ")[2]))
    return RunTable(tuple(columns), [tuple(values[k] for values in columns.values()) for k in order], order)


def run_names(runs: Sequence[RunData]) -> list[str]:
    """Return the folders' names, or their paths where two names are equal."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def different_values(runs: Sequence[RunData]) -> dict[str, list[Cell]]:
    """Return the values of the config keys in which the runs differ, by the keys' short names."""
    keys = differing_keys([run.config for run in runs])
    flat, names = [flattened(run.config) for run in runs], short_names(keys)
    return {names[key]: [_cell(one.get(key)) for one in flat] for key in keys}


def _last(run: RunData, name: str) -> Cell:
    values = run.column(name)
    return float(values[-1]) if values.size and np.isfinite(values[-1]) else None


def _best(run: RunData, name: str) -> Cell:
    k = best_index(run.column(name), name)
    return None if k is None else float(run.column(name)[k])


FIGURES: dict[str, Callable[[RunData], Cell]] = {
    "epochs": lambda run: len(run.column("epoch")),
    "best epoch": lambda run: run.best_epoch,
    "final train loss": lambda run: _last(run, "train_loss"),
    "final val loss": lambda run: _last(run, "val_loss"),
    "final val accuracy": lambda run: _last(run, "val_accuracy"),
    "lowest val loss": lambda run: _best(run, "val_loss"),
    "best val accuracy": lambda run: _best(run, "val_accuracy"),
    "best val balanced accuracy": lambda run: _best(run, "val_balanced_accuracy"),
    "best val f1": lambda run: _best(run, "val_f1"),
    "best val auc": lambda run: _best(run, "val_auc"),
    "test accuracy": lambda run: run.summary.get("test_accuracy"),
    "seconds": lambda run: _last(run, "seconds"),
}


def _cell(value: Any) -> Cell:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else value_text(value)


def sort_order(values: Sequence[Cell], descending: bool) -> list[int]:
    """Return the order of some values: numbers, then words, then what is absent."""

    def key(k: int) -> tuple[int, float, str]:
        value = values[k]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return 2, 0.0, ""
        return (1, 0.0, value) if isinstance(value, str) else (0, -value if descending else value, "")

    return sorted(range(len(values)), key=key)


def _text(name: str, cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    figure = name in _FORMS or name.endswith((" loss", "accuracy", " f1", " auc"))
    return format(cell, _FORMS.get(name, ".4f") if figure else "g")
