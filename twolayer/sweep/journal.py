"""A sweep's memory: a file that only grows, one JSON line for every point that was picked and every run that ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from twolayer.sweep.space import Value
from twolayer.utils import files as seam
from twolayer.utils.errors import RunError
from twolayer.utils.files import CANNOT_READ, explained

ENDED = ("finished", "pruned", "diverged", "failed")


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        status: `finished`, `pruned`, `diverged` or `failed`, which are for good, or `interrupted`.
        reason: of diverged and failed ones.
    """

    status: str
    reason: str = ""


@dataclass
class Memory:
    """What a journal says.

    Attributes:
        points: the values of each point, in the order in which they were picked.
        outcomes: of each run that ended, by its name.
        seconds: time spent on the sweep before.
    """

    points: list[dict[str, Value]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0


class Journal:
    """The file, open for appending; a line that a killed process left unfinished is cut off first.

    Args:
        path: the file, made if need be; the caller holds the sweep folder's lock.

    Attributes:
        memory: what it said when it was opened.

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
        """Writes down a new point."""
        self._append({"point": number, "values": dict(point)})

    def ended(self, run: str, outcome: Outcome, seconds: float) -> None:
        """Writes down a run's end, and the time spent on the sweep so far."""
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
