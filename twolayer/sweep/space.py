"""The space of a sweep: the values of each config key, its boundary and what lies beyond; and the check of a space by
the config's own rules at its corners."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from twolayer.config import Config
from twolayer.config.checking import check
from twolayer.config.errors_report import ConfigProblem, KeyPath, Place, Report, hint_for
from twolayer.config.yaml_reader import Document
from twolayer.utils.errors import ConfigError
from twolayer.utils.text import shown

Value = str | int | float | bool | None
Kind = Literal["list", "uniform", "log_uniform", "integer"]
Complain = Callable[[KeyPath, str], None]

OPTIONS: dict[str, tuple[str, ...]] = {
    "uniform": ("points",),
    "log_uniform": ("points",),
    "integer": ("step", "log", "points"),
}
FORMS = "a list of values, {uniform: [LOW, HIGH]}, {log_uniform: [LOW, HIGH]} or {integer: [LOW, HIGH]}"
NEAR_BOUNDARY = 0.05  # of a range's length, on its own scale
MAX_CHOICES = 1000


@dataclass(frozen=True)
class Dimension:
    """The values of one key.

    Attributes:
        key: dotted, e.g. `solver.reg`.
        kind: the form in which the values are given.
        values: the choices of a list; for the other kinds the lower and the upper end, both included.
        step: distance of two integers.
        log: whether integers are spaced by ratios.
        points: number of values a grid takes from a range; None for every integer.
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
        """The distinct numbers in ascending order; empty if any value is not a number."""
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in self.values):
            return []
        return sorted({value for value in self.values if isinstance(value, int | float)})

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(set(self.values)) > 1

    def grid(self) -> list[Value]:
        """Return the values that a grid visits."""
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
        """Return at which end of the key's numbers a value lies, or None."""
        numbers = self.numbers
        if len(numbers) < 2 or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        low, high, at = numbers[0], numbers[-1], float(value)
        if self.kind == "list":
            return "low" if at <= low else "high" if at >= high else None
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low)
        return "low" if share <= NEAR_BOUNDARY else "high" if share >= 1 - NEAR_BOUNDARY else None

    def beyond(self, side: Literal["low", "high"]) -> float:
        """Return a value beyond that end to extend the space to: one more step of a list, half a range."""
        numbers = self.numbers
        inner, outer = (numbers[1], numbers[0]) if side == "low" else (numbers[-2], numbers[-1])
        by_ratio = _is_geometric([number for number in numbers if number]) if self.kind == "list" else self.is_log
        if by_ratio and outer != 0:
            value = outer * (outer / inner if self.kind == "list" else math.sqrt(outer / inner))
        else:
            value = outer + (outer - inner) * (1 if self.kind == "list" else 0.5)
        whole = self.kind == "integer" or all(isinstance(each, int) for each in self.values)
        return round(value) if whole else float(f"{value:.3g}")


def read_dimension(key: str, written: Any, path: KeyPath, complain: Complain) -> Dimension | None:
    """Return the dimension of an entry of `space`, or None if it has a problem.

    Args:
        key: the config key.
        written: the entry's value, plain data.
        path: its path in the sweep file.
        complain: called with the path and the message of each problem.
    """
    if isinstance(written, list):
        return _read_list(key, written, path, complain)
    if not isinstance(written, Mapping) or not written:
        complain(path, f"expected {FORMS}, got {shown(written)}")
        return None
    kinds = [name for name in written if name in OPTIONS]
    if len(kinds) != 1:
        first = next(iter(written))
        hint = hint_for(first, list(OPTIONS)) if not kinds else "; of two ranges only one can count"
        complain((*path, first), f"unknown form{hint}; expected {FORMS}" if not kinds else f"two forms{hint}")
        return None
    return _read_range(key, kinds[0], dict(written), path, complain)


def _read_list(key: str, written: list[Any], path: KeyPath, complain: Complain) -> Dimension | None:
    bad = [i for i, value in enumerate(written) if isinstance(value, dict | list)]
    for i in bad:
        complain((*path, i), f"expected a number, text, true, false or null, got {shown(written[i])}")
    if not written or len(written) > MAX_CHOICES:
        complain(path, f"expected 1 to {MAX_CHOICES} values, got {len(written):,}")
        return None
    if bad:
        return None
    seen = [(type(value) is bool, value) for value in written]
    for i, value in enumerate(seen):
        if value in seen[:i]:
            complain((*path, i), f"{shown(written[i])} occurs more than once; remove one")
            return None
    return Dimension(key, "list", tuple(written))


def _read_range(key: str, kind: str, written: dict[str, Any], path: KeyPath, complain: Complain) -> Dimension | None:
    ends = written.pop(kind)
    allowed = OPTIONS[kind]
    problems: list[tuple[KeyPath, str]] = []
    number = int if kind == "integer" else (int, float)
    fits = isinstance(ends, list) and len(ends) == 2
    fits = fits and all(isinstance(end, number) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
    if not fits:
        what = "whole numbers" if kind == "integer" else "numbers"
        problems.append(((*path, kind), f"expected two {what}, [LOW, HIGH], got {_list_shown(ends)}"))
    elif not ends[0] < ends[1]:
        problems.append(((*path, kind), f"expected the lower end first and the ends apart, got [{ends[0]}, {ends[1]}]"))
    for name in written:
        if name not in allowed:
            problems.append(((*path, name), f"unknown key{hint_for(str(name), allowed)}"))
    step, points, log = written.get("step", 1), written.get("points"), written.get("log", False)
    if type(step) is not int or step < 1:
        problems.append(((*path, "step"), f"expected a whole number of at least 1, got {shown(step)}"))
    if points is not None and (type(points) is not int or not 2 <= points <= MAX_CHOICES):
        problems.append(((*path, "points"), f"expected a whole number from 2 to {MAX_CHOICES}, got {shown(points)}"))
    if type(log) is not bool:
        problems.append(((*path, "log"), f"expected true or false, got {shown(log)}"))
    if not problems:
        by_ratio = kind == "log_uniform" or log
        if by_ratio and ends[0] <= 0:
            problems.append(((*path, kind), f"found {ends[0]} as the lower end, a logarithmic range starts above 0"))
        if kind == "integer" and (ends[1] - ends[0]) % step:
            problems.append(((*path, "step"), f"{ends[1]} cannot be reached from {ends[0]} in steps of {step}"))
        if log and step != 1:
            problems.append(((*path, "step"), "integers spaced by ratios (log: true) have no step; remove it"))
    for where, message in problems:
        complain(where, message)
    if problems:
        return None
    assert kind in get_args(Kind)
    return Dimension(key, kind, tuple(ends), step, log, points)  # type: ignore[arg-type]


def _is_geometric(numbers: list[float]) -> bool:
    """Return whether the ratios of neighbours vary less than their differences."""
    if len(numbers) < 2 or numbers[0] <= 0:
        return False
    if len(numbers) == 2:
        return numbers[1] / numbers[0] >= 2
    ratios, gaps = np.diff(np.log(numbers)), np.diff(numbers)
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(gaps) / gaps.mean())


def _list_shown(value: Any) -> str:
    """Return a short list as it is; anything else as the report shows it."""
    if isinstance(value, list) and len(value) <= 3:
        return "[" + ", ".join(shown(each) for each in value) + "]"
    return shown(value)


MAX_CORNERS = 500
_OTHER_CHOICE = "not used by"  # how the rules' message about a key of another optimizer or schedule begins


class _End(NamedTuple):
    """One value of one key, and where it was written."""

    key: str
    value: Value
    place: Place | None


def config_with(
    base: Document, values: Mapping[str, Any], places: Mapping[str, Place], base_path: Path, report: Report
) -> Config:
    """Return the config of a document in which some keys have other values.

    Args:
        base: the document; it is not changed.
        values: by dotted key.
        places: where each value was written. A place in column 0 makes it an override, which takes the base's keys of
            an old choice (`solver.momentum`, when the optimizer is now adam) out with it.
        base_path: the document's file.
        report: gets the problems.

    Raises:
        ConfigError: with all problems.
    """
    changed = copy.deepcopy(base)
    for key, value in values.items():
        where = tuple(key.split("."))
        holder = changed.data
        for part in where[:-1]:
            if not isinstance(holder.get(part), dict):
                holder[part] = {}
            holder = holder[part]
        changed.replaced.setdefault(where, holder.get(where[-1], ...))
        holder[where[-1]] = copy.deepcopy(value)
        changed.places[where] = places[key]
    config = check(changed, report, {str(base_path): base_path.absolute().parent}, require_files=True)
    config._source = base_path
    return config


def check_corners(
    space: Sequence[Dimension], base: Document, base_path: Path, document: Document, report: Report
) -> None:
    """Check the ends of the space by the config's own rules: each alone, then the corners where they meet.

    Args:
        space: the dimensions.
        base: the document of the base config, without problems.
        base_path: its file.
        document: the sweep file, for places.
        report: gets the problems, each at the value in the sweep file that it is about.
    """
    ends = [[_End(d.key, value, _place(document, d, i)) for i, value in enumerate(d.values)] for d in space]
    keys = {d.key for d in space}
    refused: set[_End] = set()
    reported: set[str] = set()

    def judge(corner: tuple[_End, ...]) -> None:
        for problem in _problems_at(corner, base, base_path):
            if len(corner) == 1:
                if len(ends) > 1 and (_OTHER_CHOICE in problem.message or _key_of(problem) in keys):
                    continue  # the space may hold the choice that uses it, or the value it needs: the corners will show
                refused.add(corner[0])
            if str(problem) not in reported:
                reported.add(str(problem))
                report.add(problem.path, problem.message, problem.place)

    for end in itertools.chain(*ends):
        judge((end,))
    if len(ends) > 1:
        for corner in _corners(space, [[end for end in choice if end not in refused] for choice in ends]):
            judge(corner)


def _corners(space: Sequence[Dimension], ends: Sequence[Sequence[_End]]) -> Iterator[tuple[_End, ...]]:
    """Yield all corners; if there are too many, those of the smallest and the largest numbers, which break every rule
    that the numbers between them break; and if these are too many, enough that any two values of two keys meet."""
    if math.prod(map(len, ends)) > MAX_CORNERS:
        borders = [(d.numbers[0], d.numbers[-1]) if d.numbers else d.values for d in space]
        ends = [[end for end in choice if end.value in border] for choice, border in zip(ends, borders, strict=True)]
    if math.prod(map(len, ends)) <= MAX_CORNERS:
        yield from itertools.product(*ends)
        return
    for pair in itertools.combinations(range(len(ends)), 2):
        yield from itertools.product(*(choice if i in pair else choice[:1] for i, choice in enumerate(ends)))


def _problems_at(corner: tuple[_End, ...], base: Document, base_path: Path) -> list[ConfigProblem]:
    """Return the problems of some values by the config's rules, each at the value's own place."""
    found = Report()
    overriding = {end.key: Place("", number, 0) for number, end in enumerate(corner)}
    with contextlib.suppress(ConfigError):
        config_with(base, {end.key: end.value for end in corner}, overriding, base_path, found)
    own = {end.key: end.place for end in corner}
    problems = []
    for problem in found.problems:
        key = _key_of(problem)
        if key in own:
            problems.append(ConfigProblem(("space", key), problem.message, own[key]))
        else:  # a key of the base that does not go with a value of the space
            beside = ", ".join(f"{end.key}: {end.value}" for end in corner)
            problems.append(problem._replace(message=f"{problem.message} (with {beside})"))
    return problems


def _key_of(problem: ConfigProblem) -> str:
    return ".".join(map(str, problem.path[:2]))


def _place(document: Document, dimension: Dimension, index: int) -> Place | None:
    inside: tuple[str | int, ...] = (index,) if dimension.kind == "list" else (dimension.kind, index)
    return document.place(("space", dimension.key, *inside))
