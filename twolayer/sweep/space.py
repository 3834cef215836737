"""The space of a sweep: for each config key the values it may take, where its borders are, and what lies beyond."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from twolayer.config.faults import Path, did_you_mean, shown

Value = str | int | float | bool | None
Kind = Literal["list", "uniform", "log_uniform", "integer"]
Complain = Callable[[Path, str], None]

OPTIONS: dict[str, tuple[str, ...]] = {
    "uniform": ("points",),
    "log_uniform": ("points",),
    "integer": ("step", "log", "points"),
}
FORMS = "a list of values, {uniform: [LOW, HIGH]}, {log_uniform: [LOW, HIGH]} or {integer: [LOW, HIGH]}"
NEAR_BORDER = 0.05  # of a range's length, on its own scale
MAX_CHOICES = 1000


@dataclass(frozen=True)
class Dimension:
    """The values of one key.

    Attributes:
        key: dotted, e.g. `solver.reg`.
        kind: how the values are given.
        values: the choices of a list; of the other kinds the lower and the upper end, both included.
        step: distance of two integers.
        log: whether integers are spaced by ratios.
        points: how many values a grid takes from a range; None for every integer.
    """

    key: str
    kind: Kind
    values: tuple[Value, ...]
    step: int = 1
    log: bool = False
    points: int | None = None

    @property
    def is_log(self) -> bool:
        """Whether the scale of the key is logarithmic."""
        if self.kind == "list":
            return _is_geometric(self.numbers)
        return self.kind == "log_uniform" or self.log

    @property
    def numbers(self) -> list[float]:
        """The distinct numbers in rising order; empty where there is anything else among the values."""
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in self.values):
            return []
        return sorted({value for value in self.values if isinstance(value, int | float)})

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(set(self.values)) > 1

    def grid(self) -> list[Value]:
        """The values that a grid visits."""
        if self.kind == "list":
            return list(self.values)
        low, high = self.numbers[0], self.numbers[-1]
        if self.kind == "integer" and self.points is None:
            return list(range(int(low), int(high) + 1, self.step))
        spaced = (np.geomspace if self.is_log else np.linspace)(low, high, self.points or 2)
        if self.kind == "integer":
            steps = np.rint((spaced - low) / self.step).astype(int)
            return [int(low) + self.step * int(k) for k in dict.fromkeys(steps.tolist())]
        return [float(f"{value:.12g}") for value in spaced]

    def side(self, value: Value) -> Literal["low", "high"] | None:
        """At which border of the key's numbers a value lies, or None."""
        numbers = self.numbers
        if len(numbers) < 2 or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        low, high, at = numbers[0], numbers[-1], float(value)
        if self.kind == "list":
            return "low" if at <= low else "high" if at >= high else None
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low)
        return "low" if share <= NEAR_BORDER else "high" if share >= 1 - NEAR_BORDER else None

    def beyond(self, side: Literal["low", "high"]) -> float:
        """A value beyond that border to extend the space to: one more spacing of a list, as much again of a range."""
        numbers = self.numbers
        inner, outer = (numbers[1], numbers[0]) if side == "low" else (numbers[-2], numbers[-1])
        by_ratio = _is_geometric([number for number in numbers if number]) if self.kind == "list" else self.is_log
        if by_ratio and outer != 0:
            value = outer * (outer / inner if self.kind == "list" else math.sqrt(outer / inner))
        else:
            value = outer + (outer - inner) * (1 if self.kind == "list" else 0.5)
        whole = self.kind == "integer" or all(isinstance(each, int) for each in self.values)
        return round(value) if whole else float(f"{value:.3g}")


def read_dimension(key: str, written: Any, path: Path, complain: Complain) -> Dimension | None:
    """The dimension that a value of `space` says, or None with its faults told.

    Args:
        key: the config key.
        written: plain data.
        path: where it stands in the sweep file.
        complain: called with the path and the message of each fault.
    """
    if isinstance(written, list):
        return _read_list(key, written, path, complain)
    if not isinstance(written, Mapping) or not written:
        complain(path, f"found {shown(written)}, wanted {FORMS}")
        return None
    kinds = [name for name in written if name in OPTIONS]
    if len(kinds) != 1:
        first = next(iter(written))
        hint = did_you_mean(first, list(OPTIONS)) if not kinds else "; of two ranges only one can count"
        complain((*path, first), f"unknown form{hint}; wanted {FORMS}" if not kinds else f"two forms{hint}")
        return None
    return _read_range(key, kinds[0], dict(written), path, complain)


def _read_list(key: str, written: list[Any], path: Path, complain: Complain) -> Dimension | None:
    bad = [i for i, value in enumerate(written) if isinstance(value, dict | list)]
    for i in bad:
        complain((*path, i), f"found {shown(written[i])}, wanted a number, text, true, false or null")
    if not written or len(written) > MAX_CHOICES:
        complain(path, f"found {len(written):,} values, wanted 1 to {MAX_CHOICES}")
        return None
    if bad:
        return None
    seen = [(type(value) is bool, value) for value in written]
    for i, value in enumerate(seen):
        if value in seen[:i]:
            complain((*path, i), f"{shown(written[i])} stands here more than once; remove one")
            return None
    return Dimension(key, "list", tuple(written))


def _read_range(key: str, kind: str, written: dict[str, Any], path: Path, complain: Complain) -> Dimension | None:
    ends = written.pop(kind)
    allowed = OPTIONS[kind]
    problems: list[tuple[Path, str]] = []
    number = int if kind == "integer" else (int, float)
    fits = isinstance(ends, list) and len(ends) == 2
    fits = fits and all(isinstance(end, number) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
    if not fits:
        what = "whole numbers" if kind == "integer" else "numbers"
        problems.append(((*path, kind), f"found {_list_shown(ends)}, wanted two {what}, [LOW, HIGH]"))
    elif not ends[0] < ends[1]:
        problems.append(((*path, kind), f"found [{ends[0]}, {ends[1]}], wanted the lower end first and the ends apart"))
    for name in written:
        if name not in allowed:
            problems.append(((*path, name), f"unknown key{did_you_mean(str(name), allowed)}"))
    step, points, log = written.get("step", 1), written.get("points"), written.get("log", False)
    if type(step) is not int or step < 1:
        problems.append(((*path, "step"), f"found {shown(step)}, wanted a whole number of at least 1"))
    if points is not None and (type(points) is not int or not 2 <= points <= MAX_CHOICES):
        problems.append(((*path, "points"), f"found {shown(points)}, wanted a whole number from 2 to {MAX_CHOICES}"))
    if type(log) is not bool:
        problems.append(((*path, "log"), f"found {shown(log)}, wanted true or false"))
    if not problems:
        by_ratio = kind == "log_uniform" or log
        if by_ratio and ends[0] <= 0:
            problems.append(((*path, kind), f"found {ends[0]} as the lower end, a logarithmic range starts above 0"))
        if kind == "integer" and (ends[1] - ends[0]) % step:
            problems.append(((*path, "step"), f"{ends[1]} cannot be reached from {ends[0]} in steps of {step}"))
        if log and step != 1:
            problems.append(((*path, "step"), "integers spaced by ratios (log: true) have no step; remove one"))
    for where, message in problems:
        complain(where, message)
    if problems:
        return None
    assert kind in get_args(Kind)
    return Dimension(key, kind, tuple(ends), step, log, points)  # type: ignore[arg-type]


def _is_geometric(numbers: list[float]) -> bool:
    """Whether the ratios of neighbours vary less than their differences."""
    if len(numbers) < 2 or numbers[0] <= 0:
        return False
    if len(numbers) == 2:
        return numbers[1] / numbers[0] >= 2
    ratios, gaps = np.diff(np.log(numbers)), np.diff(numbers)
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(gaps) / gaps.mean())


def _list_shown(value: Any) -> str:
    """A short list as it is; anything else as the report shows it."""
    if isinstance(value, list) and len(value) <= 3:
        return "[" + ", ".join(shown(each) for each in value) + "]"
    return shown(value)
