"""The table of runs: folder names, the keys in which they differ, their figures; the best first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

from twolayer.network.settings import larger_is_better
from twolayer.utils.text import did_you_mean, plain
from twolayer.views.run_data import ENDED, FIGURES, Cell, RunData, differing_keys, short_names, value_text

SHORT = ("epochs", "best epoch", "lowest val loss", "best val accuracy", "test accuracy", "seconds")


class RunTable(NamedTuple):
    """A table without empty columns: cells by the column's name, the first is `run`, numbers as numbers, None for no
    value; and the rows' places in the runs that were given."""

    columns: dict[str, list[Cell]]
    order: list[int]

    def short(self) -> RunTable:
        """Return the table with fewer figures, which leave room for the keys in which runs differ."""
        kept = {name: cells for name, cells in self.columns.items() if name in SHORT or name not in FIGURES}
        return self._replace(columns=kept)

    def as_text(self) -> list[list[str]]:
        """Return the header and the rows, as they are shown."""

        def text(name: str, cell: Cell) -> str:
            if not isinstance(cell, float):
                return "" if cell is None else str(cell)
            if name not in FIGURES:
                return f"{cell:g}"
            return f"{cell:.2f}" if name == "seconds" else f"{cell:.4f}" if abs(cell) < 1e6 else f"{cell:.4g}"

        cells = [[text(name, cell) for cell in column] for name, column in self.columns.items()]
        return [list(self.columns), *map(list, zip(*cells, strict=True))]

    def for_terminal(self) -> str:
        """Return the table with aligned columns: the names to the left, all else to the right."""
        rows = [[plain(cell) for cell in row] for row in self.as_text()]
        first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = []
        for name, *cells in rows:
            others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append("  ".join([name.ljust(first), *others]).rstrip())
        return "\n".join(lines)

    def as_csv(self) -> str:
        """Return the table as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.as_text())
        return text.getvalue()


def run_table(runs: Sequence[RunData], sort: str | None = None, status: bool = False) -> RunTable:
    """Make the table of one or more runs; with `status`, it is shown even if all are finished.

    `sort` is a column's name or a config key, ValueError for another one; None: the monitored value at the best epoch,
    the best first."""
    columns: dict[str, list[Cell]] = {"run": list(run_names(runs))}
    names = short_names(differing_keys(runs))
    for key, name in names.items():
        settings = [run.settings.get(key) for run in runs]
        columns[name] = [value if type(value) in (int, float) else value_text(value) for value in settings]
    if status or any(run.status not in ENDED for run in runs):
        columns["status"] = [run.status for run in runs]
    figures = {name: [run.figures[name] for run in runs] for name in FIGURES}
    columns |= {name: cells for name, cells in figures.items() if any(cell is not None for cell in cells)}
    by = runs[0].monitor
    values: list[Cell] = [run.at_best(by) for run in runs]
    if sort is not None:
        known = {key.replace(" ", "_"): key for key in columns}
        key = sort.rpartition(".")[2].replace(" ", "_")
        if key not in known:
            raise ValueError(f"--sort: expected one of {', '.join(known)}, got {sort!r}{did_you_mean(key, known)}")
        by, values = known[key].rpartition(" ")[2], columns[known[key]]
    sign = -1 if larger_is_better(by) else 1

    def rank(k: int) -> tuple[int, float, str]:  # numbers, then words, then what is absent
        value = values[k]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return 2, 0.0, ""
        return (1, 0.0, value) if isinstance(value, str) else (0, sign * value, "")

    order = sorted(range(len(runs)), key=rank)
    return RunTable({name: [cells[k] for k in order] for name, cells in columns.items()}, order)


def run_names(runs: Sequence[RunData]) -> list[str]:
    """Return the folders' names, or their paths where two names are equal."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]
