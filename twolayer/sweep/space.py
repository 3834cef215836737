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
from typing import Any, Literal, NamedTuple

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
    "integer": ("step", "points", "log"),
}
FORMS = "a list of values, {uniform: [LOW, HIGH]}, {log_uniform: [LOW, HIGH]} or {integer: [LOW, HIGH]}"
NEAR_BOUNDARY = 0.05  # of a range's length, on its own scale
MAX_CHOICES = 1000


@dataclass(frozen=True)
class Dimension:
    """The values of one key."""

    key: str  # dotted, e.g. `solver.reg`
    kind: Kind  # the form in which the values are given
    values: tuple[Value, ...]  # the choices of a list, or the lower and the upper end, both included
    step: int = 1  # distance of two integers
    log: bool = False  # whether integers are spaced by ratios
    points: int | None = None  # number of values a grid takes from a range; None: every integer

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
    """Return the dimension of an entry of `space`, plain data at a path of the sweep file, or None and `complain`."""
    kinds: list[Any] = [name for name in OPTIONS if isinstance(written, Mapping) and name in written]
    if isinstance(written, list):
        problems = list(_list_problems(written))
    elif len(kinds) == 1:
        problems = _range_problems(kinds[0], written)
    elif not isinstance(written, Mapping) or not written:
        problems = [((), f"expected {FORMS}, got {shown(written)}")]
    else:
        first = next(iter(written))
        unknown = f"unknown form{hint_for(str(first), list(OPTIONS))}; expected {FORMS}"
        problems = [((first,), "two forms; of two ranges only one can count" if kinds else unknown)]
    for where, message in problems:
        complain((*path, *where), message)
    if problems:
        return None
    if isinstance(written, list):
        return Dimension(key, "list", tuple(written))
    options = {name: value for name, value in written.items() if name != kinds[0]}
    return Dimension(key, kinds[0], tuple(written[kinds[0]]), **options)


def _list_problems(values: list[Any]) -> Iterator[tuple[KeyPath, str]]:
    if not 1 <= len(values) <= MAX_CHOICES:
        yield (), f"expected 1 to {MAX_CHOICES} values, got {len(values):,}"
        return
    keys = [(type(value) is bool, value) for value in values]
    bad = [i for i, value in enumerate(values) if isinstance(value, dict | list)]
    for i in bad:
        yield (i,), f"expected a number, text, true, false or null, got {shown(values[i])}"
    twin = next((i for i, each in enumerate(keys) if each in keys[:i]), None)
    if twin is not None and not bad:
        yield (twin,), f"{shown(values[twin])} occurs more than once; remove one"


def _range_problems(kind: Kind, written: Mapping[str, Any]) -> list[tuple[KeyPath, str]]:
    ends, step, points, log = written[kind], written.get("step", 1), written.get("points"), written.get("log", False)
    problems: list[tuple[KeyPath, str]] = []
    for name in written:
        if name not in (kind, *OPTIONS[kind]):
            problems.append(((name,), f"unknown key{hint_for(str(name), OPTIONS[kind])}"))
    types = (int,) if kind == "integer" else (int, float)
    if not (isinstance(ends, list) and len(ends) == 2 and all(type(e) in types and math.isfinite(e) for e in ends)):
        what = "whole numbers" if kind == "integer" else "numbers"
        got = f"[{', '.join(map(shown, ends))}]" if isinstance(ends, list) and len(ends) <= 3 else shown(ends)
        problems.append(((kind,), f"expected two {what}, [LOW, HIGH], got {got}"))
    elif not ends[0] < ends[1]:
        problems.append(((kind,), f"expected the lower end first and the ends apart, got [{ends[0]}, {ends[1]}]"))
    if type(step) is not int or step < 1:
        problems.append((("step",), f"expected a whole number of at least 1, got {shown(step)}"))
    if points is not None and (type(points) is not int or not 2 <= points <= MAX_CHOICES):
        problems.append((("points",), f"expected a whole number from 2 to {MAX_CHOICES}, got {shown(points)}"))
    if type(log) is not bool:
        problems.append((("log",), f"expected true or false, got {shown(log)}"))
    if problems:
        return problems
    if (kind == "log_uniform" or log) and ends[0] <= 0:
        problems.append(((kind,), f"expected a logarithmic range to start above 0, got {ends[0]}"))
    if kind == "integer" and (ends[1] - ends[0]) % step:
        problems.append((("step",), f"{ends[1]} cannot be reached from {ends[0]} in steps of {step}"))
    if log and step != 1:
        problems.append((("step",), "integers spaced by ratios (log: true) have no step; remove it"))
    return problems


def _is_geometric(numbers: list[float]) -> bool:
    """Return whether the ratios of neighbours vary less than their differences."""
    if len(numbers) < 2 or numbers[0] <= 0:
        return False
    if len(numbers) == 2:
        return numbers[1] / numbers[0] >= 2
    ratios, gaps = np.diff(np.log(numbers)), np.diff(numbers)
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(gaps) / gaps.mean())


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
    """Return the config of a document in which some keys have other values, by dotted key; raise ConfigError.

    A place in column 0 makes a value an override, which takes the base's keys of an old choice (`solver.momentum`, when
    the optimizer is now adam) out with it.
    """
    changed = copy.deepcopy(base)
    for key, value in values.items():
        *outer, name = where = tuple(key.split("."))
        holder = changed.data
        for part in outer:
            if not isinstance(holder.get(part), dict):
                holder[part] = {}
            holder = holder[part]
        changed.replaced.setdefault(where, holder.get(name, ...))
        holder[name] = copy.deepcopy(value)
        changed.places[where] = places[key]
    config = check(changed, report, {str(base_path): base_path.absolute().parent}, require_files=True)
    config._source = base_path
    return config


def check_corners(
    space: Sequence[Dimension], base: Document, base_path: Path, document: Document, report: Report
) -> None:
    """Check the ends of the space by the config's own rules: each alone, then the corners where they meet. Problems of
    the base config with these values are reported at the values in the sweep file, `document`."""
    ends = []
    for d in space:
        inside: list[KeyPath] = [(i,) if d.kind == "list" else (d.kind, i) for i in range(len(d.values))]
        places = [document.place(("space", d.key, *path)) for path in inside]
        ends.append([_End(d.key, value, place) for value, place in zip(d.values, places, strict=True)])
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
    beside = ", ".join(f"{end.key}: {end.value}" for end in corner)
    return [
        ConfigProblem(("space", key), problem.message, own[key])
        if (key := _key_of(problem)) in own
        else problem._replace(
            message=f"{problem.message} (with {beside})"
        )  # a key of the base that does not go with it
        for problem in found.problems
    ]


def _key_of(problem: ConfigProblem) -> str:
    return ".".join(map(str, problem.path[:2]))
