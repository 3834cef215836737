"""What the views know of a run: its folder read once, or as it grows: only new bytes are read and nothing is written;
a file that is missing, half-written or damaged is then a word in the table, never an error."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.config import load_config
from twolayer.network.model import Array
from twolayer.network.settings import larger_is_better
from twolayer.runs.checkpoint import read_model_arrays, read_predictions
from twolayer.runs.folder import RunFolder, open_run
from twolayer.runs.logs import read_history, row_values
from twolayer.utils.errors import RunError, TwoLayerError
from twolayer.utils.files import CANNOT_READ, explained, open_to_read, parse_object, read_at_most, read_json
from twolayer.utils.text import shown

Cell = str | float | int | None

ENDED = ("finished", "stopped_early")
_MAX_BYTES = 64 << 20  # of a log that are read at a time, and of a sweep's journal
INTERVAL = 1.0  # seconds from one look at all runs to the next
SLICE = 0.15  # seconds of a look, after which the page comes first; the rest is read at the next one
ASK_AGAIN = 5.0  # seconds between two looks at a run that does not train
_TAIL = 64  # bytes before the end of what was read that must still be the same
LARGEST = 1e37  # what is larger is drawn here: with a margin, it must fit into float32, in which a report keeps curves


def within_reach(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with the finite ones clipped to -`LARGEST` and `LARGEST`."""
    return np.where(np.isfinite(values), np.clip(values, -LARGEST, LARGEST), values)


@dataclass(frozen=True, eq=False)
class RunData:
    """One run, as far as it got."""

    path: Path
    history: Mapping[str, NDArray[np.float64]]  # columns of history.csv by name, (epochs,), NaN where there is no value
    config: Mapping[str, Any] = field(default_factory=dict)  # the resolved config as nested dictionaries
    summary: Mapping[str, Any] = field(default_factory=dict)  # summary.json; empty before the end
    environment: Mapping[str, Any] = field(default_factory=dict)  # environment.json
    predictions: Mapping[str, Array] = field(default_factory=dict)  # arrays of predictions.npz; empty before the end
    classes: Sequence[Any] = ()  # the C labels of predictions.npz
    status: str = "finished"  # or stopped_early, interrupted, diverged, pruned, running, gone: the process was killed
    steps: Mapping[str, Array] = field(default_factory=dict)  # columns of steps.csv by name, where they have been read

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config by dotted keys."""
        return flattened(self.config)

    @cached_property
    def figures(self) -> dict[str, Cell]:
        """The run's columns of the table of runs."""
        return {name: figure(self) for name, figure in FIGURES.items()}

    @property
    def monitor(self) -> str:
        """The column that picks the best epoch."""
        return str(self.settings.get("solver.monitor") or "val_accuracy")

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose parameters were kept; while the run trains, the best so far by its monitor."""
        epoch = self.summary.get("best_epoch")
        if not isinstance(epoch, int):
            best = self.best(self.monitor)
            epoch = 0 if best is None else self.history["epoch"][np.argmax(self.column(self.monitor) == best)]
        return int(epoch) if np.isfinite(epoch) and epoch > 0 else None

    @property
    def model(self) -> Mapping[str, Array]:
        """The arrays of best.npz, which a run has from its first moment; none if it is gone, RunError if damaged."""
        best = RunFolder(self.path).best
        return read_model_arrays(best, kinds=("model",))[0] if best.exists() else {}

    @cached_property
    def n_classes(self) -> int:
        """C; before the end that of the `model`, 0 without one."""
        return len(self.classes or self.model.get("b2", ()))

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column of the history, within the range that is drawn; empty if it is absent or holds no number."""
        values = within_reach(np.asarray(self.history.get(name, ()), float))
        return values if np.isfinite(values).any() else np.empty(0)

    def predicted(self, part: str) -> tuple[Array, Array] | None:
        """Return class indices (N,) and probabilities (N, C) of the `validation` or `test` rows, if there are any."""
        y, P = self.predictions.get(f"{part}_y"), self.predictions.get(f"{part}_proba")
        return None if y is None or P is None or not len(y) else (y, P)

    def at_best(self, name: str) -> float | None:
        """Return a column's value at the best epoch."""
        values, at = self.column(name), np.flatnonzero(self.column("epoch") == self.best_epoch)
        return float(values[at[0]]) if at.size and values.size and np.isfinite(values[at[0]]) else None

    def best(self, name: str) -> float | None:
        """Return a column's best value."""
        values = self.column(name)
        return float((np.nanmax if larger_is_better(name) else np.nanmin)(values)) if values.size else None

    def last(self, name: str) -> float | None:
        """Return a column's last value."""
        values = self.column(name)
        return float(values[-1]) if values.size and np.isfinite(values[-1]) else None


FIGURES: dict[str, Callable[[RunData], Cell]] = {
    "epochs": lambda run: len(run.column("epoch")),
    "best epoch": lambda run: run.best_epoch,
    "final train loss": lambda run: run.last("train_loss"),
    "final val loss": lambda run: run.last("val_loss"),
    "final val accuracy": lambda run: run.last("val_accuracy"),
    "lowest val loss": lambda run: run.best("val_loss"),
    "best val accuracy": lambda run: run.best("val_accuracy"),
    "best val balanced accuracy": lambda run: run.best("val_balanced_accuracy"),
    "best val f1": lambda run: run.best("val_f1"),
    "best val auc": lambda run: run.best("val_auc"),
    "test accuracy": lambda run: run.summary.get("test_accuracy"),
    "seconds": lambda run: run.last("seconds"),
}


def run_folders(place: Path) -> list[Path]:
    """Return the run folder at `place` or those in it, by name: of a folder of runs, a sweep, or a folder of sweeps."""
    if _is_run(place):
        return [place]
    found = []
    with suppress(OSError):
        for each in sorted(place.iterdir()):
            if _is_run(each):
                found.append(each)
            elif each.is_symlink():
                continue  # a link to a folder above would have no end
            elif (each / "journal.jsonl").is_file() or (each.name == "runs" and (place / "journal.jsonl").is_file()):
                found += run_folders(each)
    return found


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return not path.name.startswith(".") and folder.config.is_file() and folder.last.is_file()


def sweep_statuses(path: Path) -> dict[str, str]:
    """Return what a sweep's journal says of its runs, by name: finished, pruned, diverged or failed."""
    statuses = {}
    with suppress(RunError):
        for line in read_at_most(path, _MAX_BYTES).splitlines():
            with suppress(RunError, KeyError):
                entry = parse_object(line, str(path))
                statuses[str(entry["run"])] = str(entry["status"])
    return statuses


def status_of(folder: RunFolder, summary: Mapping[str, Any], journal: Mapping[str, str]) -> str:
    """Return the status of a run, see `RunData`: whether a process uses it, else what the run or its sweep says."""
    if folder.in_use():
        return "running"
    status = str(summary.get("status", "gone"))
    return status if status in ENDED else journal.get(folder.path.name, status)


def load_runs(places: Sequence[Path], say: Callable[[str], object]) -> list[RunData]:
    """Read run folders, and all runs in folders of runs or of a sweep; `say` takes a note on each run of a folder that
    is left out. Raises RunError if a place is neither, or a run that was named cannot be read."""
    runs = []
    for place in places:
        for path in run_folders(place) or [place]:
            try:
                runs.append(read_run(path))
            except TwoLayerError as error:
                if path == place:
                    raise
                say(f"left out: {error}")
    if not runs:
        raise RunError(f"{places[0]}: no run in it has finished an epoch")
    return runs


def read_run(path: str | Path, config: Mapping[str, Any] | None = None) -> RunData:
    """Read a run folder, and its resolved config as nested dictionaries unless that is given. Raises RunError if the
    folder is no run folder, holds no epoch yet, or a file in it is damaged."""
    folder = open_run(path)
    history = read_history(folder.history)
    if not len(history["epoch"]):
        raise RunError(f"{folder.history}: expected a finished epoch, got none")
    if config is None:
        config = load_config(folder.config, require_files=False).model_dump()
    predictions, classes = read_predictions(folder.predictions) if folder.predictions.exists() else ({}, ())
    summary = read_summary(folder.summary)
    environment = read_json(folder.environment) if folder.environment.exists() else {}
    status = status_of(folder, summary, sweep_statuses(folder.path.parent.parent / "journal.jsonl"))
    return RunData(folder.path.resolve(), history, config, summary, environment, predictions, classes, status)


def read_summary(path: Path) -> dict[str, Any]:
    """Read summary.json, which may be untrusted, and check what the views show; empty if absent."""
    summary = read_json(path) if path.exists() else {}
    for name in ("best_epoch", "test_accuracy"):
        value = summary.get(name)
        if value is not None and not (isinstance(value, int | float) and abs(value) < 1 << 53):
            raise RunError(f"{path}: {name}: expected a number or null, got {shown(value)}")
    return summary


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as dotted keys: {"solver": {"reg": 0}} becomes {"solver.reg": 0}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def value_text(value: Any) -> str:
    """Return a config's value as a legend shows it: short numbers, YAML's words, of a file its name alone."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, str):
        return value.rsplit("/", 1)[-1]
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, default=str)


class LogTail:
    """The rows of a csv log that grows, read as they come, those that are numbers. A resumed run cuts its logs back: a
    file that is not the same before the end of what was read is read again from its beginning."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._table = np.empty((0, 0))
        self._end, self._tail = 0, b""

    def read(self, path: Path) -> dict[str, Array]:
        """Read what is new; return the columns by name, or none if the file is no log of epochs or steps. Raises
        OSError if it cannot be read."""
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
    """One run folder, as far as it has been read."""

    def __init__(self, path: Path) -> None:
        self.folder = folder = RunFolder(path)
        self.data = RunData(path, {}, status="running")  # another object after each change
        self.problems: dict[str, str] = {}  # what is wrong with its files, in one line each
        self.started = 0.0  # when its environment.json was written, in seconds since 1970
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
