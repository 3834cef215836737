"""The report of all faults of a file at once: what a fault is, how a place and a found value are written, and the
nearest known name for a misspelt one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twolayer.utils.errors import ConfigError

KeyPath = tuple[str | int, ...]  # ("data", "train", "features"), list items by their number

MAX_FAULTS = 50
_MAX_SHOWN = 60
_MAX_LISTED = 1000  # files
_MAX_GUESSED = 40  # letters; the comparison's time grows with their square

# Names that other libraries have for our keys, too far from ours in spelling.
SYNONYMS = {
    "lr": "learning_rate",
    "alpha": "learning_rate",
    "weight_decay": "reg",
    "l2": "reg",
    "gamma": "factor",
    "max_iter": "epochs",
    "target": "label",
    "normalize": "scale",
    "hidden_layer_sizes": "hidden",
    "units": "hidden",
    "random_state": "seed",
}


class Place(NamedTuple):
    """Where something was written: a file with line and column (from 1), or an override (line 0).

    Attributes:
        source: the file's name as it was given, `override KEY=VALUE`, or "" for a dict.
        line: in the file; in the order of the overrides, where column is 0.
        column: in the file; 0 elsewhere.
    """

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.column else self.source


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: the key's path; () for the document as a whole.
        message: what was found, what was wanted, what to try.
        place: where; None where nothing was read from a text.
    """

    path: KeyPath
    message: str
    place: Place | None

    def __str__(self) -> str:
        parts = [str(self.place or ""), dotted(self.path), self.message]
        return ": ".join(part for part in parts if part)


@dataclass
class Report:
    """The faults found so far.

    Attributes:
        faults: in the order they were found.
        unusable: paths whose values are at fault, so that nothing more is to be said about them.
    """

    faults: list[Fault] = field(default_factory=list)
    unusable: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, message: str, place: Place | None, *, judged: bool = False) -> None:
        """Notes a fault.

        Args:
            path: the key's path.
            message: what is wrong.
            place: where.
            judged: whether the value at the path is to be judged all the same (a duplicate key's first value).
        """
        self.faults.append(Fault(path, message, place))
        if not judged:
            self.unusable.add(path)

    def is_inside_unusable(self, path: KeyPath) -> bool:
        """Whether the value at this path or one around it was found at fault."""
        return any(path[:end] in self.unusable for end in range(len(path) + 1))

    def is_usable(self, path: KeyPath) -> bool:
        """Whether no value at this path, inside it or around it was found at fault."""
        return not (self.is_inside_unusable(path) or any(bad[: len(path)] == path for bad in self.unusable))

    def error(self) -> ConfigError:
        """All faults in the order of their places, files before overrides."""
        ordered = sorted(self.faults, key=lambda f: (f.place is not None and f.place.column == 0, _order(f.place)))
        lines = [str(fault) for fault in ordered[:MAX_FAULTS]]
        if len(ordered) > MAX_FAULTS:
            lines.append(f"... and {len(ordered) - MAX_FAULTS} more faults")
        return ConfigError(lines)

    def raise_if_any(self) -> None:
        """Raises `error()` if there are faults."""
        if self.faults:
            raise self.error()


def _order(place: Place | None) -> tuple[int, int]:
    return (place.line, place.column) if place is not None else (0, 0)


def dotted(path: KeyPath) -> str:
    """`solver.class_weight.3`, list items as `data.ignore[0]`; names that would spoil the line are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _is_plain(part) else shown(part))
    return text


def _is_plain(name: str) -> bool:
    return bool(name) and len(name) <= _MAX_SHOWN and name.isprintable() and not name.isspace()


def shown(value: Any) -> str:
    """A found value on one short line."""
    if isinstance(value, dict):
        return f"a mapping with {len(value)} key{'s' * (len(value) != 1)}" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = repr(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    except ValueError:  # an integer of more digits than Python cares to print
        return "a huge number"
    whole = len(text) <= _MAX_SHOWN and not (isinstance(value, str) and len(value) > _MAX_SHOWN)
    return text if whole else f"{text[: _MAX_SHOWN - 4].rstrip()}..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None."""
    known = list(known)
    lowered = {candidate.lower(): candidate for candidate in known}
    if SYNONYMS.get(name.lower()) in known:
        return SYNONYMS[name.lower()]
    matches = difflib.get_close_matches(name[:_MAX_GUESSED].lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'learning_rate'?`, or the known names if there are few of them."""
    guess = nearest(name, known)
    if guess is not None:
        return f"; did you mean '{guess}'?"
    return f"; known: {', '.join(known)}" if known else ""


def similar_file(path: os.PathLike[str] | str) -> str:
    """`; did you mean 'NAME'?` if the folder holds a file of nearly this name, else nothing."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MAX_LISTED), strict=False)]
    except (OSError, ValueError):
        return ""
    guess = nearest(name, names)
    return f"; did you mean {shown(guess)}?" if guess else ""
