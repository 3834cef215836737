"""The base config with other values in it, and the judgement of a space by the config's own rules at its corners."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twolayer.config import Config
from twolayer.config.checking import check
from twolayer.config.faults import Fault, Place, Report
from twolayer.config.yaml_reader import Document
from twolayer.sweep.space import Dimension, Value
from twolayer.utils.errors import ConfigError

MAX_CORNERS = 500
_OTHER_CHOICE = "not used by"  # how the rules begin about a key that belongs to another optimizer or schedule


class _End(NamedTuple):
    """One value of one key, and where it was written."""

    key: str
    value: Value
    place: Place | None


def config_with(
    base: Document, values: Mapping[str, Any], places: Mapping[str, Place], base_path: Path, report: Report
) -> Config:
    """The config of a document in which some keys have other values.

    Args:
        base: the document; it stays as it is.
        values: by dotted key.
        places: where each value was written. A place in column 0 makes it an override, which takes the base's keys of
            an old choice (`solver.momentum`, when the optimizer is now adam) out with it.
        base_path: the document's file.
        report: gets the faults.

    Raises:
        ConfigError: with all faults.
    """
    changed = copy.deepcopy(base)
    for key, value in values.items():
        where = tuple(key.split("."))
        holder = changed.data
        for part in where[:-1]:
            if not isinstance(holder.get(part), dict):
                holder[part] = {}
            holder = holder[part]
        holder[where[-1]] = copy.deepcopy(value)
        changed.places[where] = places[key]
    config = check(changed, report, {str(base_path): base_path.absolute().parent}, require_files=True)
    config._source = base_path
    return config


def check_corners(
    space: Sequence[Dimension], base: Document, base_path: Path, document: Document, report: Report
) -> None:
    """Judges the ends of the space by the config's own rules: each alone, then the corners where they meet.

    Args:
        space: the dimensions.
        base: the document of the base config, without faults.
        base_path: its file.
        document: the sweep file, for places.
        report: gets the faults, each at the value in the sweep file that it is about.
    """
    ends = [[_End(d.key, value, _place(document, d, i)) for i, value in enumerate(d.values)] for d in space]
    keys = {d.key for d in space}
    blamed: set[_End] = set()
    told: set[str] = set()

    def judge(corner: tuple[_End, ...]) -> None:
        for fault in _faults_at(corner, base, base_path):
            if len(corner) == 1:
                if len(ends) > 1 and (_OTHER_CHOICE in fault.message or _key_of(fault) in keys):
                    continue  # the space may hold the choice that uses it, or the value it needs: whole corners tell
                blamed.add(corner[0])
            if str(fault) not in told:
                told.add(str(fault))
                report.add(fault.path, fault.message, fault.place)

    for end in itertools.chain(*ends):
        judge((end,))
    if len(ends) > 1:
        for corner in _corners(space, [[end for end in choice if end not in blamed] for choice in ends]):
            judge(corner)


def _corners(space: Sequence[Dimension], ends: Sequence[Sequence[_End]]) -> Iterator[tuple[_End, ...]]:
    """All corners; where they are too many, those of the smallest and the largest numbers, which break whatever the
    numbers between them break; and where these are too many, so many that any two values of two keys meet in one."""
    if math.prod(map(len, ends)) > MAX_CORNERS:
        borders = [(d.numbers[0], d.numbers[-1]) if d.numbers else d.values for d in space]
        ends = [[end for end in choice if end.value in border] for choice, border in zip(ends, borders, strict=True)]
    if math.prod(map(len, ends)) <= MAX_CORNERS:
        yield from itertools.product(*ends)
        return
    for pair in itertools.combinations(range(len(ends)), 2):
        yield from itertools.product(*(choice if i in pair else choice[:1] for i, choice in enumerate(ends)))


def _faults_at(corner: tuple[_End, ...], base: Document, base_path: Path) -> list[Fault]:
    """What the config's rules say about some values, each fault at the value's own place."""
    found = Report()
    overriding = {end.key: Place("", number, 0) for number, end in enumerate(corner)}
    with contextlib.suppress(ConfigError):
        config_with(base, {end.key: end.value for end in corner}, overriding, base_path, found)
    own = {end.key: end.place for end in corner}
    faults = []
    for fault in found.faults:
        key = _key_of(fault)
        if key in own:
            faults.append(Fault(("space", key), fault.message, own[key]))
        else:  # a key of the base that does not go with a value of the space
            beside = ", ".join(f"{end.key}: {end.value}" for end in corner)
            faults.append(fault._replace(message=f"{fault.message} (with {beside})"))
    return faults


def _key_of(fault: Fault) -> str:
    return ".".join(map(str, fault.path[:2]))


def _place(document: Document, dimension: Dimension, index: int) -> Place | None:
    inside: tuple[str | int, ...] = (index,) if dimension.kind == "list" else (dimension.kind, index)
    return document.place(("space", dimension.key, *inside))
