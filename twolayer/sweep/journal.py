"""A sweep's memory: a file that only grows, one JSON line for every point that was picked and every run that ended; and
the check that a resumed sweep is the same one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from twolayer.config.models import SweepFile
from twolayer.config.rules import default_of
from twolayer.data.sources import files_of
from twolayer.sweep.file import FREE_KEYS, Sweep
from twolayer.sweep.space import Value
from twolayer.utils import files
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import CANNOT_READ, explained, read_at_most, sha256_of
from twolayer.utils.jsonfile import parse_object, read_json, write_json
from twolayer.utils.text import printable, shown


def require_same_sweep(sweep: Sweep, folder: Path) -> dict[str, str]:
    """Write what the sweep is into sweep.json, or compare it with what that file says.

    Args:
        sweep: the sweep of this session.
        folder: the sweep folder, locked.

    Returns:
        SHA-256 of each data file by its path.

    Raises:
        RunError: if a key or a data file has changed, naming the first few.
    """
    data = sweep.base.data.model_dump()
    paths = [path for key in ("train", "test", "validation") for path in files_of(data[key])]
    digests = {str(path): _digest(path) for path in paths}
    today = _description(sweep, digests)
    path = folder / "sweep.json"
    if not path.exists():
        write_json(path, today)
        return digests
    then = read_json(path)
    changed = [
        f"{key}: {shown(then.get(key, _default(key)))} then, {shown(today.get(key))} now"
        for key in dict.fromkeys([*then, *today])
        if then.get(key, _default(key)) != today.get(key)
    ]
    if changed:
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise RunError(
            f"{folder}: holds another sweep: {'; '.join(changed[:5])}{more}. Undo that to resume it, or start this one "
            f"in a new folder with --sweep-dir; only {', '.join(FREE_KEYS)} may change"
        )
    return digests


def _default(key: str) -> Any:
    """Return the value of a key that did not exist yet when an older version began the sweep."""
    if key in SweepFile.model_fields:
        return SweepFile.model_fields[key].default
    with suppress(KeyError):
        return default_of(key.removeprefix("base.")) if key.startswith("base.") else None
    return None


def _digest(path: Path) -> str:
    with explained(path, CANNOT_READ):
        return sha256_of(path)


def require_data(digests: dict[str, str], where: str = "") -> None:
    """Raise DataError unless all files exist with these digests."""
    for name, digest in digests.items():
        if not Path(name).is_file():
            raise DataError(f"{name}: no such file{where}")
        if _digest(Path(name)) != digest:
            raise DataError(f"{name}: another file{where}: its SHA-256 differs from the one the sweep began with")


def _description(sweep: Sweep, digests: dict[str, str]) -> dict[str, Any]:
    """Return what the sweep is, flat, so that differences can be named."""
    flat: dict[str, Any] = {}
    for section, value in sweep.base.model_dump(mode="json").items():
        if section == "run":
            flat["base.run.evaluate_rows"] = value["evaluate_rows"]
        elif isinstance(value, dict):
            flat |= {f"base.{section}.{key}": entry for key, entry in value.items()}
        else:
            flat[f"base.{section}"] = value
    settings = sweep.settings.model_dump()
    flat |= {f"space.{key}": value for key, value in settings["space"].items()}
    flat |= {key: value for key, value in settings.items() if key not in (*FREE_KEYS, "base", "space")}
    return flat | {f"SHA-256 of {path}": digest for path, digest in digests.items()}


_MAX_BYTES = 64 << 20
_MOST_SECONDS = 1e12
ENDED = ("finished", "pruned", "diverged", "failed")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: `finished`, `pruned`, `diverged` or `failed`, which are final, or `interrupted`.
        reason: why it diverged or failed.
    """

    status: str
    reason: str = ""


@dataclass
class Memory:
    """The content of a journal.

    Attributes:
        points: the values of each point, in the order in which they were picked.
        outcomes: how each run ended, by its name.
        seconds: time spent on the sweep in earlier sessions.
    """

    points: list[dict[str, Value]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0


class Journal:
    """The file, open for appending; a line that a killed process left unfinished is cut off first.

    Args:
        path: the file, created if absent; the caller holds the sweep folder's lock.

    Attributes:
        memory: its content when it was opened.

    Raises:
        RunError: if it cannot be read, or a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            self._descriptor = files.disk.open_to_append(path)
        try:
            data = read_at_most(path, _MAX_BYTES)
            whole = data.rfind(b"\n") + 1
            self.memory = _read(path, data[:whole])
            with explained(path):
                if whole < len(data):
                    files.disk.truncate(self._descriptor, whole)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def picked(self, number: int, point: Mapping[str, Value]) -> None:
        """Record a new point."""
        self._append({"point": number, "values": dict(point)})

    def ended(self, run: str, outcome: Outcome, seconds: float) -> None:
        """Record a run's end, and the time spent on the sweep so far."""
        self._append({"run": run, "status": outcome.status, "reason": outcome.reason, "seconds": round(seconds, 3)})

    def _append(self, entry: Mapping[str, Any]) -> None:
        with explained(self.path):
            files.disk.write(self._descriptor, json.dumps(entry).encode() + b"\n")
            files.disk.sync(self._descriptor)


def _read(path: Path, data: bytes) -> Memory:
    memory = Memory()
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            _take(parse_object(line, "the line"), memory)
        except (RunError, ValueError, KeyError, TypeError) as error:
            reason = printable(str(error)[:200])
            raise RunError(
                f"{path}:{number}: expected a line of a sweep's journal, got another one ({reason}); "
                "put the file back as it was, or start the sweep in a new folder"
            ) from None
    return memory


def _take(entry: Mapping[str, Any], memory: Memory) -> None:
    """Add a journal's line to the memory; raises ValueError, KeyError or TypeError for what no sweep writes."""
    if "point" in entry:
        number, values = entry["point"], entry["values"]
        if type(number) is not int or number != len(memory.points):
            raise ValueError(f"expected point {len(memory.points)}, got {shown(number)}")
        if not isinstance(values, dict):
            raise ValueError(f"values: expected a mapping, got {shown(values)}")
        for key, value in values.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            if not (finite and isinstance(value, bool | int | float | str | None)):
                raise ValueError(f"{shown(key)}: expected a number, text, true, false or null, got {shown(value)}")
        memory.points.append(values)
        return
    run, status, reason, seconds = (entry[name] for name in ("run", "status", "reason", "seconds"))
    if not (isinstance(run, str) and isinstance(reason, str) and status in ENDED):
        raise ValueError(f"expected a run, one of {', '.join(ENDED)}, and a reason, got {shown(status)}")
    if type(seconds) not in (int, float) or not 0 <= seconds < _MOST_SECONDS:
        raise ValueError(f"seconds: expected a number from 0, got {shown(seconds)}")
    memory.outcomes[run] = Outcome(status, reason)
    memory.seconds = max(memory.seconds, float(seconds))
