"""A sweep's memory: a file that only grows, one JSON line for every point that was picked and every run that ended; and
the check that a resumed sweep is the same one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from twolayer.config.models import SweepFile
from twolayer.config.rules import default_of
from twolayer.sweep.file import FREE_KEYS, Sweep
from twolayer.sweep.space import Value
from twolayer.utils import files as seam
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import CANNOT_READ, explained
from twolayer.utils.jsonfile import read_json, write_json
from twolayer.utils.text import shown


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
    digests = {path: _digest(Path(path)) for path in data_files(sweep.base.data.model_dump())}
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


def data_files(source: Any) -> Iterator[str]:
    """Yield the files that a config's section `data` names."""
    for key in ("train", "test", "validation"):
        value = source[key]
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict) and "features" in value:
            yield from (value["features"], value["labels"])


def _digest(path: Path) -> str:
    with explained(path, CANNOT_READ), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            self._descriptor = seam.disk.open_to_append(path)
        try:
            with explained(path, CANNOT_READ):
                data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            self.memory = _read(path, data[:whole])
            with explained(path):
                if whole < len(data):
                    seam.disk.truncate(self._descriptor, whole)
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
            seam.disk.write(self._descriptor, json.dumps(entry).encode() + b"\n")
            seam.disk.sync(self._descriptor)


def _read(path: Path, data: bytes) -> Memory:
    memory = Memory()
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            entry = json.loads(line)
            if "point" in entry:
                if entry["point"] != len(memory.points):
                    raise ValueError(f"point {entry['point']} where point {len(memory.points)} is next")
                memory.points.append(dict(entry["values"]))
            elif entry["status"] in ENDED:
                memory.outcomes[str(entry["run"])] = Outcome(entry["status"], str(entry["reason"]))
                memory.seconds = max(memory.seconds, float(entry["seconds"]))
            else:
                raise ValueError(f"unknown status {entry['status']!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}:{number}: not a line of a sweep's journal ({error}); put the file back as it was, or start "
                "the sweep in a new folder"
            ) from None
    return memory
