"""A sweep's memory: a file that only grows, one JSON line for every point that was picked and every run that ended; and
the check that a resumed sweep is the same one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from twolayer.config import by_dotted_key
from twolayer.config.models import SweepFile
from twolayer.config.rules import default_of
from twolayer.data.files import digest_of
from twolayer.data.sources import files_of
from twolayer.sweep.file import FREE_KEYS, Sweep
from twolayer.sweep.space import Value
from twolayer.utils import files
from twolayer.utils.errors import RunError
from twolayer.utils.files import explained, parse_object, read_at_most, read_json, write_json
from twolayer.utils.text import plain, printable, shown


def require_same_sweep(sweep: Sweep, folder: Path) -> dict[str, str]:
    """Write what the sweep is into sweep.json of its folder, or compare it with what that file says; return the SHA-256
    of each data file by its path.

    Raises:
        RunError: if a key or a data file has changed, naming the first few.
    """
    data = sweep.base.data.model_dump()
    paths = [path for key in ("train", "test", "validation") for path in files_of(data[key])]
    digests = {str(path): digest_of(path) for path in paths}
    today = _description(sweep) | {f"SHA-256 of {path}": digest for path, digest in digests.items()}
    path = folder / "sweep.json"
    if not path.exists():
        write_json(path, today)
        return digests
    then = read_json(path)
    pairs = {key: (then.get(key, _default(key)), today.get(key)) for key in then | today}
    changed = [f"{key}: {_shown(old)} then, {_shown(new)} now" for key, (old, new) in pairs.items() if old != new]
    if changed:
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise RunError(
            f"{folder}: holds another sweep: {'; '.join(changed[:5])}{more}. Undo that to resume it, or start this one "
            f"in a new folder with --sweep-dir; only {', '.join(FREE_KEYS)} may change"
        )
    return digests


def _shown(value: Any) -> str:
    return plain(json.dumps(value)) if isinstance(value, dict | list) else shown(value)


def _default(key: str) -> Any:
    """Return the value of a key that did not exist yet when an older version began the sweep."""
    if key in SweepFile.model_fields:
        return SweepFile.model_fields[key].default
    with suppress(KeyError):
        return default_of(key.removeprefix("base.")) if key.startswith("base.") else None
    return None


def _description(sweep: Sweep) -> dict[str, Any]:
    """Return what the sweep is, flat, so that differences can be named."""
    base = sweep.base.model_dump(mode="json")
    base["run"] = {"evaluate_rows": base["run"]["evaluate_rows"]}
    flat = {f"base.{key}": value for key, value in by_dotted_key(base).items()}
    settings = sweep.settings.model_dump()
    flat |= {f"space.{key}": value for key, value in settings["space"].items()}
    return flat | {key: value for key, value in settings.items() if key not in (*FREE_KEYS, "base", "space")}


_MAX_BYTES = 64 << 20
_MOST_SECONDS = 1e12
ENDED = ("finished", "pruned", "diverged", "failed")


class Outcome(NamedTuple):
    """How a run ended: `finished`, `pruned`, `diverged` or `failed`, which are final, or `interrupted`; and why."""

    status: str
    reason: str = ""


class Journal:
    """The file, open for appending, created if absent; a line that a killed process left unfinished is cut off first.

    Attributes:
        points: the values of each point when the file was opened, in the order in which they were picked; whether they
            are in the sweep's space is checked when the study gets them.
        outcomes: how each run had ended, by its name.
        seconds: time spent on the sweep in earlier sessions.

    Raises:
        RunError: if it cannot be read, or a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: list[dict[str, Value]] = []
        self.outcomes: dict[str, Outcome] = {}
        self.seconds = 0.0
        self._flushed = True
        with explained(path):
            self._descriptor = files.disk.open(path, os.O_APPEND)
        try:
            data = read_at_most(path, _MAX_BYTES)
            whole = data.rfind(b"\n") + 1
            for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
                self._read(line, number)
            with explained(path):
                if whole < len(data):
                    files.disk.truncate(self._descriptor, whole)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def picked(self, number: int, point: Mapping[str, Value]) -> None:
        """Record a new point; see `flush`."""
        self._append({"point": number, "values": dict(point)})

    def ended(self, run: str, outcome: Outcome, seconds: float) -> None:
        """Record a run's end, and the time spent on the sweep so far; see `flush`."""
        self._append({"run": run, "status": outcome.status, "reason": outcome.reason, "seconds": round(seconds, 3)})

    def flush(self) -> None:
        """Wait until all lines are on the device.

        A power cut takes back what was not flushed. That loses no finished run, whose folder is on the device; but a
        point must be flushed before its first run starts, or another point might resume that run.
        """
        if not self._flushed:
            with explained(self.path):
                files.disk.sync(self._descriptor)
            self._flushed = True

    def _append(self, entry: Mapping[str, Any]) -> None:
        with explained(self.path):
            files.disk.write(self._descriptor, json.dumps(entry).encode() + b"\n")
        self._flushed = False

    def _read(self, line: bytes, number: int) -> None:
        try:
            entry = parse_object(line, "the line")
            if "point" in entry:
                if type(entry["point"]) is not int or entry["point"] != len(self.points):
                    raise ValueError(f"expected point {len(self.points)}, got {shown(entry['point'])}")
                self.points.append(dict(entry["values"]))
            else:
                run, status, reason, seconds = (entry[name] for name in ("run", "status", "reason", "seconds"))
                if not (isinstance(run, str) and isinstance(reason, str) and status in ENDED):
                    raise ValueError(f"expected a run, one of {', '.join(ENDED)}, and a reason, got {shown(status)}")
                if type(seconds) not in (int, float) or not 0 <= seconds < _MOST_SECONDS:
                    raise ValueError(f"seconds: expected a number from 0, got {shown(seconds)}")
                self.outcomes[run] = Outcome(status, reason)
                self.seconds = max(self.seconds, float(seconds))
        except (RunError, ValueError, KeyError, TypeError) as error:
            reason = printable(str(error)[:200])
            raise RunError(
                f"{self.path}:{number}: expected a line of a sweep's journal, got another one ({reason}); "
                "put the file back as it was, or start the sweep in a new folder"
            ) from None
