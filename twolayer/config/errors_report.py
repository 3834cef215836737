"""The report of all problems of a file at once: what a problem is, how a place and a found value are written, and the
nearest known name for a misspelt one."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twolayer.utils.errors import ConfigError
from twolayer.utils.text import did_you_mean, shown

KeyPath = tuple[str | int, ...]  # ("data", "train", "features"), list items by their number

MAX_PROBLEMS = 50
_MAX_SHOWN = 60
_MAX_LISTED = 1000  # files


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


class ConfigProblem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: the key's path; () for the document as a whole.
        message: `expected Y, got X; what to do`.
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
    """The problems found so far.

    Attributes:
        problems: in the order they were found.
        unusable: paths whose values have a problem; nothing more is reported about them.
    """

    problems: list[ConfigProblem] = field(default_factory=list)
    unusable: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, message: str, place: Place | None, *, judged: bool = False) -> None:
        """Notes a problem.

        Args:
            path: the key's path.
            message: what is wrong.
            place: where.
            judged: whether the value at the path is to be judged all the same (a duplicate key's first value).
        """
        self.problems.append(ConfigProblem(path, message, place))
        if not judged:
            self.unusable.add(path)

    def is_inside_unusable(self, path: KeyPath) -> bool:
        """Return whether the value at this path, or one around it, has a problem."""
        return any(path[:end] in self.unusable for end in range(len(path) + 1))

    def is_usable(self, path: KeyPath) -> bool:
        """Return whether no value at this path, inside it or around it has a problem."""
        return not (self.is_inside_unusable(path) or any(bad[: len(path)] == path for bad in self.unusable))

    def error(self) -> ConfigError:
        """All problems in the order of their places, files before overrides."""
        ordered = sorted(self.problems, key=lambda f: (f.place is not None and f.place.column == 0, _order(f.place)))
        lines = [str(problem) for problem in ordered[:MAX_PROBLEMS]]
        if len(ordered) > MAX_PROBLEMS:
            lines.append(f"... and {len(ordered) - MAX_PROBLEMS} more problems")
        return ConfigError(lines)

    def raise_if_any(self) -> None:
        """Raises `error()` if there are problems."""
        if self.problems:
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


def hint_for(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'learning_rate'?`, or the known names if none is close."""
    return did_you_mean(name, known) or (f"; known: {', '.join(known)}" if known else "")


def file_problem(path: os.PathLike[str] | str) -> tuple[str, str] | None:
    """Return why a file cannot be read, and what to try; None if it can. It is not opened: a pipe would block."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "no such file", similar_file(path)
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})", ""
    if not stat.S_ISREG(mode):
        return ("is a folder, not a file" if stat.S_ISDIR(mode) else "is not an ordinary file"), ""
    return None if os.access(path, os.R_OK) else ("cannot be read (permission denied)", "")


def similar_file(path: os.PathLike[str] | str) -> str:
    """`; did you mean 'NAME'?` if the folder holds a file of nearly this name, else nothing."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MAX_LISTED), strict=False)]
    except (OSError, ValueError):
        return ""
    return did_you_mean(name, names)
