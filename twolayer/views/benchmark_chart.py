"""The benchmark as bars: per network one group, per contestant one bar, on a logarithmic scale of microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twolayer.views import style


def draw_benchmark(rows: Sequence[Mapping[str, Any]], path: Path, optimizer: str = "sgd") -> None:
    """Draws the rows of one optimiser.

    Args:
        rows: mappings with shape, contestant, median_us and optimizer, as `twolayer benchmark --json` writes them.
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
