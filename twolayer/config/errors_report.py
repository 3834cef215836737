"""The report of all problems of a file at once: what a problem is, and how its place is written."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from twolayer.utils.errors import ConfigError
from twolayer.utils.files import open_to_read
from twolayer.utils.text import did_you_mean, shown

KeyPath = tuple[str | int, ...]  # ("data", "train", "features"), list items by their number

MAX_PROBLEMS = 50
_MAX_SHOWN = 60
_MAX_LISTED = 1000  # files


class Place(NamedTuple):
    """Where something was written."""

    source: str  # the file's name as it was given, or `override KEY=VALUE`
    line: int  # from 1; of overrides: which of them
    column: int  # from 1; 0 of overrides

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.column else self.source


class ConfigProblem(NamedTuple):
    """One thing that is wrong."""

    path: KeyPath  # () for the document as a whole
    message: str  # `expected Y, got X; what to do`
    place: Place | None  # None where nothing was read from a text

    def __str__(self) -> str:
        parts = [str(self.place or ""), dotted(self.path), self.message]
        return ": ".join(part for part in parts if part)


@dataclass
class Report:
    """The problems found so far, and the paths whose values have one: nothing more is reported about those."""

    problems: list[ConfigProblem] = field(default_factory=list)
    unusable: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, message: str, place: Place | None, *, judged: bool = False) -> None:
        """Add a problem; `judged`: the value at the path is checked all the same, as a duplicate key's first one."""
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
        """Return all problems in the order of their places, files before overrides."""

        def order(problem: ConfigProblem) -> tuple[bool, int, int]:
            _, line, column = problem.place or ("", 0, 1)
            return column == 0, line, column

        ordered = sorted(self.problems, key=order)
        lines = [str(problem) for problem in ordered[:MAX_PROBLEMS]]
        if len(ordered) > MAX_PROBLEMS:
            lines.append(f"... and {len(ordered) - MAX_PROBLEMS} more problems")
        return ConfigError(lines)


def dotted(path: KeyPath) -> str:
    """Return `solver.class_weight.3`, list items as `data.ignore[0]`; names that would spoil the line are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        is_plain = 0 < len(part) <= _MAX_SHOWN and part.isprintable() and not part.isspace()
        text += ("." if text else "") + (part if is_plain else shown(part))
    return text


def hint_for(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'learning_rate'?`, or the known names if none is close."""
    return did_you_mean(name, known) or (f"; known: {', '.join(known)}" if known else "")


def file_problem(path: os.PathLike[str] | str) -> str:
    """Return why a file cannot be read, with the nearest name in its folder if it does not exist; "" if it can."""
    try:
        open_to_read(Path(path), follow=True).close()
    except FileNotFoundError:
        folder, name = os.path.split(path)
        with suppress(OSError), os.scandir(folder or ".") as entries:
            return "no such file" + did_you_mean(name, (entry.name for entry in islice(entries, _MAX_LISTED)))
        return "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""
