"""The results as text: one line per case, one column per contestant.

The benchmark as bars: per network one group, per contestant one bar, on a logarithmic scale of microseconds."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.race import AGREEMENT, Result
from twolayer.runs.folder import describe_environment
from twolayer.views import style


def machine_line() -> str:
    """Return the processor, how many of them, the system and Python, as one line."""
    processor = describe_environment()["machine"]["processor"] or platform.machine()
    return f"{processor}, {os.cpu_count()} processors, {platform.platform()}, Python {platform.python_version()}"


def draw_benchmark(rows: Sequence[Mapping[str, Any]], path: Path, optimizer: str = "sgd") -> None:
    """Draws the rows of one optimiser.

    Args:
        rows: mappings with shape, contestant, median_us and optimizer, as `python -m benchmarks --json` writes them.
        path: where the picture goes; its ending says its kind.
        optimizer: which of the rows.
    """
    chosen = [row for row in rows if row["optimizer"] == optimizer]
    shapes = list(dict.fromkeys(row["shape"] for row in chosen))
    names = list(dict.fromkeys(row["contestant"] for row in chosen))
    figure = style.new_figure(10, 4.6)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.15, top=0.8)
    width = 0.84 / max(1, len(names))
    for index, name in enumerate(names):
        times = {row["shape"]: row["median_us"] for row in chosen if row["contestant"] == name}
        at = [place + (index - (len(names) - 1) / 2) * width for place, shape in enumerate(shapes) if shape in times]
        heights = [times[shape] for shape in shapes if shape in times]
        hatch = "//" if index >= len(style.OKABE_ITO) else None
        axes.bar(at, heights, width * 0.92, color=style.line_look(index)[0], label=name, hatch=hatch)
    style.tidy(axes, "features-hidden-classes, rows of a batch", "microseconds per step")
    axes.grid(visible=False, axis="x")
    axes.set_xticks(range(len(shapes)), ["\n".join(shape.rsplit("-", 1)) for shape in shapes])
    if chosen:
        times_us = [row["median_us"] for row in chosen]
        style.set_log_scale(axes, min(times_us) / 2, max(times_us) * 1.5)
    figure.legend(loc="upper left", ncols=4, frameon=False, bbox_to_anchor=(0.06, 0.92))
    figure.text(0.02, 0.94, f"One training step ({optimizer}): less is better", fontsize=12, fontweight="bold")
    style.save(figure, path)


def step_table(results: Sequence[Result]) -> str:
    """Microseconds per step; `*` marks what was not the same work."""
    names = list(dict.fromkeys(result.contestant for result in results))
    cases = list(dict.fromkeys((result.shape, result.optimizer) for result in results))
    cells = {(r.shape, r.optimizer, r.contestant): _number(r.median_us) + ("" if r.same_work else "*") for r in results}
    rows = [["D-H-C-batch", "optimizer", *names]]
    rows += [[*case, *(cells.get((*case, name), "-") for name in names)] for case in cases]
    lines = ["Microseconds per step, median:", "", align(rows)]
    if any(not result.same_work for result in results):
        lines.append(f"* the loss is more than {AGREEMENT:g} from plain NumPy's: not the same work")
    counts = sorted({result.threads for result in results})
    lines.append(f"threads that products may use: {', '.join(map(str, counts))}")
    return "\n".join(lines)


def ratio_table(results: Sequence[Result], of: str) -> str:
    """How many times as long as the contestant `of` each of the others took, round by round: median, least, most."""
    names = [name for name in dict.fromkeys(result.contestant for result in results) if name != of]
    times = {(r.shape, r.optimizer, r.contestant): r.rounds_us for r in results}
    cases = [case for case in dict.fromkeys((r.shape, r.optimizer) for r in results) if (*case, of) in times]
    rows = [["D-H-C-batch", "optimizer", *names]]
    for case in cases:
        row = list(case)
        for name in names:
            pairs = zip(times.get((*case, name), ()), times[*case, of], strict=False)
            ratios = [theirs / ours for theirs, ours in pairs]
            row.append(f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-")
        rows.append(row)
    return f"Times as long as {of}, round by round: median (least-most):\n\n{align(rows)}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other: the first two to the left, numbers to the right; a rule under the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _number(us: float) -> str:
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 100 else f"{us:,.0f}"
