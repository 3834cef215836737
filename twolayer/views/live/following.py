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
from twolayer.runs.saved_model import read_predictions
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import open_to_read
from twolayer.views.run_data import RunData, read_summary, run_folders, status_of, sweep_statuses

INTERVAL = 1.0  # seconds between two looks
CHUNK = 1 << 20  # bytes of a log that are read at a time
SLICE = 0.15  # seconds of a look at all runs, after which the page comes first; the rest is read at the next look
_TAIL = 64  # bytes before the end of what was read that must still be the same
ASK_AGAIN = 5.0  # seconds between two looks at a run that does not train


class LogTail:
    """The rows of a csv log that grows, read as they come.

    A resumed run cuts its logs back: if the file is another one, shorter or changed before the end of what was read, it
    is read again from its beginning. Rows that are not numbers are left out.

    Attributes:
        columns: the names in its first line.
        table: (rows, columns) values, NaN for an empty cell.
        more: whether the last read left bytes in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] = ()
        self.more = False
        self._restart()

    def _restart(self) -> None:
        self.columns: list[str] = []
        self.table = np.empty((0, 0))
        self._end, self._tail = 0, b""

    def read(self) -> bool:
        """Read what is new, at most `CHUNK` bytes; return whether there was anything.

        Raises:
            OSError: if the file cannot be read.
        """
        status = os.stat(self.path)
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns, self._end)
        if stamp == self._stamp:
            return False
        with open_to_read(self.path) as file:
            file.seek(self._end - len(self._tail))
            data = file.read(len(self._tail) + CHUNK)
            if not data.startswith(self._tail):
                self._restart()
                file.seek(0)
                data = file.read(CHUNK)
        new = data[len(self._tail) : data.rfind(b"\n") + 1]
        before = self._end
        self._end += len(new)
        self._tail = (self._tail + new)[-_TAIL:]
        self.more = len(data) >= CHUNK
        self._stamp = () if self.more else (*stamp[:3], self._end)
        lines = new.splitlines()
        if before == 0 and lines:
            self.columns = lines.pop(0).decode("utf-8", "replace").split(",")
            self.table = np.empty((0, len(self.columns)))
        rows = [row for line in lines if (row := _row(line, len(self.columns)))]
        if rows:
            self.table = np.concatenate([self.table, np.array(rows)])
        return bool(new) or before == 0

    def by_name(self) -> dict[str, Array]:
        """Return the columns by name; none if the file is no log of epochs or steps."""
        return {name: self.table[:, k] for k, name in enumerate(self.columns)} if "epoch" in self.columns else {}


def _row(line: bytes, count: int) -> list[float] | None:
    cells = line.split(b",")
    try:
        return [float(cell) if cell else np.nan for cell in cells] if len(cells) == count else None
    except ValueError:
        return None


class LiveRun:
    """One run folder, as far as it has been read.

    Attributes:
        data: what the views know of it.
        problem: what is wrong with its files, in one line, or nothing.
        version: another number after each change.
        started: when the run was created, by its environment.json; seconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        self.history, self.steps = LogTail(self.folder.history), LogTail(self.folder.steps)
        self.data = RunData(path, {}, status="running")
        self.problem, self.version = "", 0
        self.started = 0.0
        self._stamps: dict[Path, int] = {}
        self._looked = 0.0

    @property
    def more(self) -> bool:
        """Whether there is more to read at once."""
        return self.history.more or self.steps.more

    def look(self, journal: Mapping[str, str]) -> None:
        """Read what is new; `journal` holds the statuses of a sweep's runs."""
        now = time.monotonic()
        if self.version and self.data.status != "running" and not self.more and now - self._looked < ASK_AGAIN:
            return
        self._looked = now
        new: dict[str, Any] = {}
        problems = []
        if not self.started:
            with suppress(OSError):
                self.started = os.stat(self.folder.environment).st_mtime
        for name, path, read in (
            ("config", self.folder.config, _read_config),
            ("summary", self.folder.summary, read_summary),
            ("predictions", self.folder.predictions, _read_predictions),
        ):
            if self._changed(path):
                try:
                    new[name] = read(path)
                except (TwoLayerError, OSError) as error:
                    problems.append(str(error).splitlines()[0])
        grown = False
        for log in (self.history, self.steps):
            try:
                grown |= log.read()
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"{log.path}: {error.strerror}")
        if grown:
            new["history"] = self.history.by_name()
        if "predictions" in new:
            new["predictions"], new["classes"] = new["predictions"]
        status = status_of(self.folder, new.get("summary", self.data.summary), journal)
        if status != self.data.status:
            new["status"] = status
        if new or problems:
            self.problem = "; ".join(problems)
            self.data = replace(self.data, **new)
            self.version += 1

    def _changed(self, path: Path) -> bool:
        """Return whether a file is another one than at the last call."""
        try:
            stamp = os.stat(path).st_mtime_ns
        except OSError:
            stamp = 0
        if self._stamps.get(path, 0) == stamp:
            return False
        self._stamps[path] = stamp
        return True


def _read_config(path: Path) -> dict[str, Any]:
    return load_config(path, require_files=False).model_dump()


def _read_predictions(path: Path) -> tuple[dict[str, Array], Sequence[Any]]:
    return read_predictions(path) if path.exists() else ({}, ())


class Follower:
    """All runs in some places, looked at again and again.

    Args:
        places: run folders, folders of runs, or sweeps.

    Attributes:
        runs: by path, in the order in which they were found.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self.runs: dict[Path, LiveRun] = {}
        self._next, self._finished_at = 0, 0.0

    def look(self) -> bool:
        """Find new runs, forget those that are gone, and read what is new for about `SLICE` seconds.

        Returns:
            False if there was no time to look at all of them. Several pages may ask: they share one look.
        """
        if time.monotonic() - self._finished_at < INTERVAL / 2:
            return True
        paths = [path for place in self.places for path in run_folders(place)]
        found = set(paths)
        self.runs = {path: run for path, run in self.runs.items() if path in found}
        for path in paths:
            if path not in self.runs:
                self.runs[path] = LiveRun(path)
        journals = {place: sweep_statuses(place / "journal.jsonl") for place in {path.parent.parent for path in paths}}
        runs, started = list(self.runs.values()), time.monotonic()
        for k in range(len(runs)):
            run = runs[(self._next + k) % len(runs)]
            journal = journals[run.folder.path.parent.parent]
            run.look(journal)
            while run.more and time.monotonic() - started < SLICE:
                run.look(journal)
            if time.monotonic() - started > SLICE:
                self._next = (self._next + k + (not run.more)) % len(runs)
                return False
        self._finished_at = time.monotonic()
        return True
