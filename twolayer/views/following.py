"""Run folders as they grow: only new bytes are read and nothing is written; a file that is missing, half-written or
damaged is a word in the table, never an error."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import load_config
from twolayer.network.model import Array
from twolayer.runs.checkpoint import read_predictions
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import row_values
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import CANNOT_READ, explained, open_to_read
from twolayer.views.run_data import RunData, read_summary, run_folders, status_of, sweep_statuses

INTERVAL = 1.0  # seconds from one look at all runs to the next
SLICE = 0.15  # seconds of a look, after which the page comes first; the rest is read at the next one
ASK_AGAIN = 5.0  # seconds between two looks at a run that does not train
_MAX_BYTES = 64 << 20  # of a log that are read at a time
_TAIL = 64  # bytes before the end of what was read that must still be the same


class LogTail:
    """The rows of a csv log that grows, read as they come.

    A resumed run cuts its logs back: a file that is not the same before the end of what was read is read again from its
    beginning. Rows that are not numbers are left out.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._table = np.empty((0, 0))
        self._end, self._tail = 0, b""

    def read(self, path: Path) -> dict[str, Array]:
        """Read what is new; return the columns by name, or none if the file is no log of epochs or steps.

        Raises:
            OSError: if the file cannot be read.
        """
        with open_to_read(path) as file:
            file.seek(self._end - len(self._tail))
            data = file.read(_MAX_BYTES)
            if not data.startswith(self._tail):
                self._names, self._end, self._tail = [], 0, b""
                file.seek(0)
                data = file.read(_MAX_BYTES)
        new = data[len(self._tail) : data.rfind(b"\n") + 1]
        self._end += len(new)
        self._tail = (self._tail + new)[-_TAIL:]
        lines = new.splitlines()
        if lines and not self._names:
            self._names = lines.pop(0).decode("utf-8", "replace").split(",")
            self._table = np.empty((0, len(self._names)))
        rows = [row for line in lines if (row := row_values(line, len(self._names)))]
        if rows:
            self._table = np.concatenate([self._table, np.array(rows)])
        return dict(zip(self._names, self._table.T, strict=True)) if "epoch" in self._names else {}


class LiveRun:
    """One run folder, as far as it has been read.

    Attributes:
        data: what the views know of it; another object after each change.
        problems: what is wrong with its files, in one line each.
        started: when its environment.json was written, in seconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        self.folder = folder = RunFolder(path)
        self.data = RunData(path, {}, status="running")
        self.problems: dict[str, str] = {}
        self.started = 0.0
        self._readers: dict[str, tuple[Path, Callable[[Path], Any]]] = {
            "config": (folder.config, lambda path: load_config(path, require_files=False).model_dump()),
            "summary": (folder.summary, read_summary),
            "predictions": (folder.predictions, read_predictions),
            "history": (folder.history, LogTail().read),
            "steps": (folder.steps, LogTail().read),
        }
        self._stamps: dict[str, object] = {}
        self._asleep_until = 0.0

    def look(self, journal: Mapping[str, str]) -> None:
        """Read what is new; `journal` holds the statuses of a sweep's runs."""
        if time.monotonic() < self._asleep_until:
            return
        new: dict[str, Any] = {}
        changed = False
        for name, (path, read) in self._readers.items():
            stamp = None
            with suppress(OSError):
                status = os.stat(path)
                stamp = status.st_ino, status.st_size, status.st_mtime_ns
            if stamp == self._stamps.get(name):
                continue
            self._stamps[name], changed = stamp, True
            self.problems.pop(name, None)
            try:
                with explained(path, CANNOT_READ):
                    new[name] = read(path)
            except TwoLayerError as error:
                self.problems[name] = str(error).splitlines()[0]
        if "predictions" in new:
            new["predictions"], new["classes"] = new["predictions"]
        with suppress(OSError):
            self.started = self.started or os.stat(self.folder.environment).st_mtime
        status_now = status_of(self.folder, new.get("summary", self.data.summary), journal)
        if changed or status_now != self.data.status:
            self.data = replace(self.data, **new, status=status_now)
        self._asleep_until = 0.0 if status_now == "running" else time.monotonic() + ASK_AGAIN


class Follower:
    """All `runs` (by path) in some places: run folders, folders of runs, or sweeps."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self.runs: dict[Path, LiveRun] = {}
        self._next: list[LiveRun] = []  # to be read before the round is over
        self._journals: dict[Path, dict[str, str]] = {}  # by the sweep's folder
        self._began = 0.0

    def look(self) -> bool:
        """Find new runs, forget those that are gone, and read what is new, for about `SLICE` seconds at a time; return
        whether all runs have been read. Several pages share a round of `INTERVAL`."""
        now = time.monotonic()
        if not self._next:
            if now - self._began < INTERVAL:
                return True
            paths = [path for place in self.places for path in run_folders(place)]
            self.runs = {path: self.runs.get(path) or LiveRun(path) for path in paths}
            self._next, self._began = list(self.runs.values()), now
            places = {path.parent.parent for path in paths}
            self._journals = {place: sweep_statuses(place / "journal.jsonl") for place in places}
        while self._next:
            run = self._next.pop(0)
            run.look(self._journals[run.folder.path.parent.parent])
            if time.monotonic() - now > SLICE:
                break
        return not self._next
