"""The space of a sweep: the values of each config key, its boundary and what lies beyond; and the check of a space by
the config's own rules at its corners."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from twolayer.config import Config
from twolayer.config.checking import check
from twolayer.config.document import ConfigProblem, Document, KeyPath, Place, Report, hint_for
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
        """True if the scale of the key is logarithmic."""
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
        """True if there is more than one value."""
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
        scale = math.log if self.is_log and self.kind != "list" else float
        low, high, at = scale(numbers[0]), scale(numbers[-1]), scale(value)
        near = 0.0 if self.kind == "list" else NEAR_BOUNDARY * (high - low)
        return "low" if at <= low + near else "high" if at >= high - near else None

    def beyond(self, side: Literal["low", "high"]) -> float:
        """Return a value beyond that end to extend the space to: one more step of a list, half a range."""
        inner, outer = self.numbers[1::-1] if side == "low" else self.numbers[-2:]
        steps = 1 if self.kind == "list" else 0.5
        by_ratio = _is_geometric([number for number in self.numbers if number]) if self.kind == "list" else self.is_log
        value = outer * (outer / inner) ** steps if by_ratio and outer else outer + (outer - inner) * steps
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
    bad = [i for i, value in enumerate(values) if isinstance(value, dict | list)]
    for i in bad:
        yield (i,), f"expected a number, text, true, false or null, got {shown(values[i])}"
    keys = [(type(value) is bool, value) for value in values]
    twin = next((i for i, each in enumerate(keys) if each in keys[:i]), None)
    if twin is not None and not bad:
        yield (twin,), f"{shown(values[twin])} occurs more than once; remove one"


def _range_problems(kind: Kind, written: Mapping[str, Any]) -> list[tuple[KeyPath, str]]:
    ends, step, points, log = written[kind], written.get("step", 1), written.get("points"), written.get("log", False)
    types, what = ((int,), "whole numbers") if kind == "integer" else ((int, float), "numbers")
    pair = isinstance(ends, list) and len(ends) == 2 and all(type(e) in types and math.isfinite(e) for e in ends)
    got = f"[{', '.join(map(shown, ends))}]" if isinstance(ends, list) and len(ends) <= 3 else shown(ends)
    few = points is None or (type(points) is int and 2 <= points <= MAX_CHOICES)
    problems: list[tuple[KeyPath, str]] = [
        ((name,), f"unknown key{hint_for(str(name), OPTIONS[kind])}")
        for name in written
        if name not in (kind, *OPTIONS[kind])
    ]
    problems += _unless(pair, kind, f"expected two {what}, [LOW, HIGH], got {got}")
    problems += _unless(
        type(step) is int and step >= 1, "step", f"expected a whole number, 1 or more, got {shown(step)}"
    )
    problems += _unless(few, "points", f"expected a whole number from 2 to {MAX_CHOICES}, got {shown(points)}")
    problems += _unless(type(log) is bool, "log", f"expected true or false, got {shown(log)}")
    if problems:
        return problems
    low, high = ends
    by_ratio = kind == "log_uniform" or log
    problems += _unless(low < high, kind, f"expected the lower end first and the ends apart, got {got}")
    problems += _unless(not by_ratio or low > 0, kind, f"expected a logarithmic range to start above 0, got {low}")
    reached = kind != "integer" or (high - low) % step == 0
    problems += _unless(reached, "step", f"{high} cannot be reached from {low} in steps of {step}")
    problems += _unless(not log or step == 1, "step", "integers spaced by ratios (log: true) have no step; remove it")
    return problems


def _unless(fits: bool, key: str, message: str) -> list[tuple[KeyPath, str]]:
    return [] if fits else [((key,), message)]


def _is_geometric(numbers: list[float]) -> bool:
    """Return whether neighbours differ by a factor of 2 or more on average."""
    return len(numbers) > 1 and numbers[0] > 0 and numbers[-1] >= numbers[0] * 2.0 ** (len(numbers) - 1)


MAX_CORNERS = 500
_OTHER_CHOICE = "not used by"  # how the rules' message about a key of another optimizer or schedule begins


_End = tuple[str, Value, Place | None]  # a key, one of its values, and where that was written


def config_with(base: Config, values: Mapping[str, Any], report: Report) -> Config:
    """Return a config in which some keys have other values, by dotted key; raise ConfigError.

    The values are overrides: another choice takes the keys of the old one (`solver.momentum`, when the optimizer is now
    adam) out with it.
    """
    document = Document(base.model_dump(exclude_unset=True))
    for number, (key, value) in enumerate(values.items()):
        section, _, name = key.rpartition(".")
        holder = document.data.setdefault(section, {}) if section else document.data
        path = tuple(key.split("."))
        document.places[path] = Place("point", number, 0)
        document.replaced[path] = holder.get(name, ...)
        holder[name] = value
    config = check(document, report, {}, require_files=True)
    config._source = base.source
    return config


def check_corners(space: Sequence[Dimension], base: Config, document: Document, report: Report) -> None:
    """Check the ends of the space by the config's own rules: each alone, and if these are right the corners where they
    meet. Problems of the base config with these values are reported at the values in the sweep file, `document`."""
    ends = []
    for d in space:
        inside: list[KeyPath] = [(i,) if d.kind == "list" else (d.kind, i) for i in range(len(d.values))]
        places = [document.place(("space", d.key, *path)) for path in inside]
        ends.append([(d.key, value, place) for value, place in zip(d.values, places, strict=True)])
    keys = {d.key for d in space}
    reported: set[str] = set()
    for corners in ([(end,) for end in itertools.chain(*ends)], _corners(space, ends)):
        for corner in corners:
            for problem in _problems_at(corner, base):
                if len(corner) < len(ends) and (_OTHER_CHOICE in problem.message or _key_of(problem) in keys):
                    continue  # the space may hold the choice that uses it, or the value it needs: the corners will show
                if str(problem) not in reported:
                    reported.add(str(problem))
                    report.add(problem.path, problem.message, problem.place)
        if reported or len(ends) == 1:
            return


def _corners(space: Sequence[Dimension], ends: Sequence[Sequence[_End]]) -> Iterator[tuple[_End, ...]]:
    """Yield the corners, of numbers those of the smallest and the largest, which break every rule that the numbers
    between them break; if these are too many, enough that any two values of two keys meet."""
    borders = [(d.numbers[0], d.numbers[-1]) if d.numbers else d.values for d in space]
    ends = [[end for end in choice if end[1] in border] for choice, border in zip(ends, borders, strict=True)]
    if math.prod(map(len, ends)) <= MAX_CORNERS:
        yield from itertools.product(*ends)
        return
    for pair in itertools.combinations(range(len(ends)), 2):
        yield from itertools.product(*(choice if i in pair else choice[:1] for i, choice in enumerate(ends)))


def _problems_at(corner: tuple[_End, ...], base: Config) -> Iterator[ConfigProblem]:
    """Yield the problems of some values by the config's rules, each at the value's own place; those of keys of the base
    that do not go with them at the first value's."""
    found = Report()
    with contextlib.suppress(ConfigError):
        config_with(base, {key: value for key, value, _ in corner}, found)
    own = {key: place for key, _, place in corner}
    beside = ", ".join(f"{key}: {value}" for key, value, _ in corner)
    for problem in found.problems:
        if (key := _key_of(problem)) in own:
            yield ConfigProblem(("space", key), problem.message, own[key])
        else:
            yield ConfigProblem(problem.path, f"{problem.message} (with {beside})", corner[0][2])


def _key_of(problem: ConfigProblem) -> str:
    return ".".join(map(str, problem.path[:2]))
