"""Run folders as they grow: only new bytes are read and nothing is written; a file that is missing, half-written or
damaged is a word in the table, never an error."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import load_config
from twolayer.network.model import Array
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import row_values
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import open_to_read
from twolayer.views.run_data import RunData, predictions_of, read_summary, run_folders, status_of, sweep_statuses

INTERVAL = 1.0  # seconds between two looks
SLICE = 0.15  # seconds of a look at all runs, after which the page comes first; the rest is read at the next look
ASK_AGAIN = 5.0  # seconds between two looks at a run that does not train
_MAX_BYTES = 64 << 20  # of a log that are read at a time
_TAIL = 64  # bytes before the end of what was read that must still be the same


class LogTail:
    """The rows of a csv log that grows, read as they come.

    A resumed run cuts its logs back: if the file is another one, shorter or changed before the end of what was read, it
    is read again from its beginning. Rows that are not numbers are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] = ()
        self._restart()

    def _restart(self) -> None:
        self._names: list[str] = []
        self._table = np.empty((0, 0))
        self._end, self._tail = 0, b""

    def read(self) -> bool:
        """Read what is new; return whether there was anything.

        Raises:
            OSError: if the file cannot be read.
        """
        status = os.stat(self.path)
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp == self._stamp:
            return False
        with open_to_read(self.path) as file:
            file.seek(self._end - len(self._tail))
            data = file.read(_MAX_BYTES)
            if not data.startswith(self._tail):
                self._restart()
                file.seek(0)
                data = file.read(_MAX_BYTES)
        self._stamp = stamp
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
        return True

    def by_name(self) -> dict[str, Array]:
        """Return the columns by name; none if the file is no log of epochs or steps."""
        return {name: self._table[:, k] for k, name in enumerate(self._names)} if "epoch" in self._names else {}


class LiveRun:
    """One run folder, as far as it has been read.

    Attributes:
        data: what the views know of it; another object after each change.
        problem: what is wrong with its files, in one line, or nothing.
        started: when its environment.json was written, in seconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        self.data = RunData(path, {}, status="running")
        self.problem = ""
        self.started = 0.0
        self._logs = {"history": LogTail(self.folder.history), "steps": LogTail(self.folder.steps)}
        self._stamps: dict[Path, int] = {}
        self._asleep_until = 0.0

    def look(self, journal: Mapping[str, str]) -> None:
        """Read what is new; `journal` holds the statuses of a sweep's runs."""
        if time.monotonic() < self._asleep_until:
            return
        new: dict[str, Any] = {}
        problems = []
        with suppress(OSError):
            self.started = self.started or os.stat(self.folder.environment).st_mtime
        for name, path, read in (
            ("config", self.folder.config, _read_config),
            ("summary", self.folder.summary, read_summary),
            ("predictions", self.folder.predictions, predictions_of),
        ):
            try:
                if self._changed(path):
                    new[name] = read(path)
            except (TwoLayerError, OSError) as error:
                problems.append(str(error).splitlines()[0])
        if "predictions" in new:
            new["predictions"], new["classes"] = new["predictions"]
        for name, log in self._logs.items():
            try:
                if log.read():
                    new[name] = log.by_name()
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"{log.path}: {error.strerror}")
        status = status_of(self.folder, new.get("summary", self.data.summary), journal)
        if new or problems or status != self.data.status:
            self.problem = "; ".join(problems)
            self.data = replace(self.data, **new, status=status)
        self._asleep_until = 0.0 if status == "running" else time.monotonic() + ASK_AGAIN

    def _changed(self, path: Path) -> bool:
        """Return whether a file is another one than at the last call."""
        stamp = os.stat(path).st_mtime_ns if path.exists() else 0
        before, self._stamps[path] = self._stamps.get(path, 0), stamp
        return before != stamp


def _read_config(path: Path) -> dict[str, Any]:
    return load_config(path, require_files=False).model_dump()


class Follower:
    """All `runs` (by path) in some places: run folders, folders of runs, or sweeps."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self.runs: dict[Path, LiveRun] = {}
        self._next, self._finished_at = 0, 0.0

    def look(self) -> bool:
        """Find new runs, forget those that are gone, and read what is new for about `SLICE` seconds; return False if
        there was no time for all of them. Several pages share one look."""
        if time.monotonic() - self._finished_at < INTERVAL / 2:
            return True
        paths = [path for place in self.places for path in run_folders(place)]
        self.runs = {path: self.runs.get(path) or LiveRun(path) for path in paths}
        journals = {place: sweep_statuses(place / "journal.jsonl") for place in {path.parent.parent for path in paths}}
        runs, started = list(self.runs.values()), time.monotonic()
        for k in range(len(runs)):
            run = runs[(self._next + k) % len(runs)]
            run.look(journals[run.folder.path.parent.parent])
            if time.monotonic() - started > SLICE:
                self._next = (self._next + k + 1) % len(runs)
                return False
        self._finished_at = time.monotonic()
        return True
