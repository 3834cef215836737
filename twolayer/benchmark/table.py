"""The results as text: one line per case, one column per contestant."""

from __future__ import annotations

from collections.abc import Sequence

from twolayer.benchmark.race import AGREEMENT, Result


def step_table(results: Sequence[Result]) -> str:
    """Microseconds per step; `*` marks what was not the same work."""
    names = list(dict.fromkeys(result.contestant for result in results))
    cases = list(dict.fromkeys((result.shape, result.optimizer) for result in results))
    cells = {(r.shape, r.optimizer, r.contestant): _number(r.median_us) + ("" if r.same_work else "*") for r in results}
    rows = [["D-H-C-batch", "optimizer", *names]]
    rows += [[*case, *(cells.get((*case, name), "-") for name in names)] for case in cases]
    lines = ["Microseconds per step, median:", "", align(rows)]
    if any(not result.same_work for result in results):
        lines.append(f"* the final loss is more than {AGREEMENT:g} from plain NumPy's: not the same work")
    counts = sorted({result.threads for result in results})
    lines.append(f"threads that products may use: {', '.join(map(str, counts))}")
    return "\n".join(lines)


def ratio_table(results: Sequence[Result], of: str) -> str:
    """How many times as long as the contestant `of` each of the others took."""
    names = [name for name in dict.fromkeys(result.contestant for result in results) if name != of]
    times = {(r.shape, r.optimizer, r.contestant): r.median_us for r in results}
    cases = [case for case in dict.fromkeys((r.shape, r.optimizer) for r in results) if (*case, of) in times]
    rows = [["D-H-C-batch", "optimizer", *names]]
    for case in cases:
        others = (times.get((*case, name)) for name in names)
        rows.append([*case, *("-" if us is None else f"{us / times[*case, of]:.2f}" for us in others)])
    return f"Times as long as {of}:\n\n{align(rows)}"


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
