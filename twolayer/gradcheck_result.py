"""What a gradient check found: every comparison with its error, the kinks left out, and the table of it all."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Part = Literal["data", "penalty", "total"]

PARTS: tuple[Part, ...] = ("data", "penalty", "total")
DIFFERENCES = "differences"


@dataclass(frozen=True)
class Comparison:
    """One array of one part of the function, against one oracle.

    Attributes:
        oracle: `differences`, or the name of a reference.
        part: `data` (the function at reg = 0), `penalty` (at reg, minus at 0), `total` (at reg).
        array: `loss`, or the parameter array's name.
        error: max|a - n| / max(max|a|, max|n|, 1e-8) over the entries compared; inf if any is not finite.
        tolerance: the largest error for gradients of ordinary size.
        allowed: the tolerance, plus what rounding explains here; see `check_gradients`.
        entries: how many entries were compared; 0 where every entry crossed a kink.
    """

    oracle: str
    part: Part
    array: str
    error: float
    tolerance: float
    allowed: float
    entries: int

    @property
    def passed(self) -> bool:
        """Whether the error is within what is allowed."""
        return self.error <= self.allowed < math.inf

    @property
    def only_rounding(self) -> bool:
        """Whether the gradient is so close to 0 that all the error is rounding: passed, and above the tolerance."""
        return self.passed and self.error > self.tolerance


class Kink(NamedTuple):
    """An entry whose centred difference says nothing: between its two probes a ReLU changes sides.

    Attributes:
        array: `W1` or `b1`.
        entry: where in the array.
        rows: the rows of X whose hidden unit changes sides.
    """

    array: str
    entry: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found.

    Attributes:
        comparisons: all of them.
        kinks: entries left out of the comparisons with differences.
        faults: what is wrong before any number is compared, such as a gradient's shape; in words.
        skipped: references that could not be run on this problem, each with the reason.
    """

    comparisons: tuple[Comparison, ...]
    kinks: tuple[Kink, ...]
    faults: tuple[str, ...]
    skipped: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults and not self.failures

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The comparisons that failed."""
        return tuple(comparison for comparison in self.comparisons if not comparison.passed)

    @property
    def caught_by(self) -> frozenset[str]:
        """The oracles with a failure: `differences` and names of references."""
        return frozenset(comparison.oracle for comparison in self.failures)

    def table(self) -> str:
        """The errors: a column per array, a line per oracle and part, 80 columns wide; `!` marks failures."""
        arrays = list(dict.fromkeys(c.array for c in sorted(self.comparisons, key=lambda c: c.array != "loss")))
        lines = [f"{'error':<26}" + "".join(f"{name:>10}" for name in arrays)]
        cells = {(c.oracle, c.part, c.array): c for c in self.comparisons}
        oracles = dict.fromkeys(c.oracle for c in self.comparisons)
        parts = [part for part in PARTS if any(c.part == part for c in self.comparisons)]
        for oracle, part in itertools.product(oracles, parts):
            row = [_cell(cells.get((oracle, part, name))) for name in arrays]
            lines.append(f"{oracle:<16}{part:<10}" + "".join(row))
        for name, reason in self.skipped.items():
            lines += textwrap.wrap(f"{name}: not run: {reason}", 79, subsequent_indent="  ")
        if self.kinks:
            where = " and ".join(sorted({kink.array for kink in self.kinks}))
            n_rows = len({row for kink in self.kinks for row in kink.rows})
            lines.append(f"differences leave out {len(self.kinks)} entries of {where}: between their two probes")
            lines.append(f"a ReLU changes sides (in {n_rows} of the rows)")
        if self.failures:
            lines.append("!: wrong, as neither the tolerance nor rounding allows such an error")
        if any(comparison.only_rounding for comparison in self.comparisons):
            lines.append("~0: all rounding, as the gradient is almost 0")
        for fault in self.faults:
            lines += textwrap.wrap(f"FAULT: {fault}", 79, subsequent_indent="  ")
        return "\n".join(line.rstrip() for line in lines)


def _cell(comparison: Comparison | None) -> str:
    if comparison is None:
        return f"{'-':>9} "
    text = f"{comparison.error:.1e}"
    if not comparison.entries or comparison.only_rounding:
        text = "~0" if comparison.entries else "kinks"
    return f"{text:>9}" + (" " if comparison.passed else "!")


def worst_of(checks: Sequence[GradientCheck]) -> GradientCheck:
    """One check that holds, for each oracle, part and array, the worst comparison of several checks."""
    worst: dict[tuple[str, str, str], Comparison] = {}
    for comparison in (comparison for check in checks for comparison in check.comparisons):
        key = (comparison.oracle, comparison.part, comparison.array)
        if key not in worst or _badness(comparison) > _badness(worst[key]):
            worst[key] = comparison
    return GradientCheck(tuple(worst.values()), (), tuple(fault for check in checks for fault in check.faults), {})


def _badness(comparison: Comparison) -> tuple[bool, float]:
    return not comparison.passed, -1.0 if comparison.only_rounding or not comparison.entries else comparison.error
