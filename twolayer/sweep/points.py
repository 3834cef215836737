"""The points of a search and their runs: which run is next, how each ended, and the ranking of the points by the
validation metric over seeds and folds, never by test rows. All that must not be lost is in the journal, a file that
only grows, with one JSON line for every point that was picked and every run that ended."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twolayer.config import Config
from twolayer.network.settings import larger_is_better
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.sweep.file import Repeat, Sweep
from twolayer.sweep.space import Study, Value
from twolayer.sweep.trial import ENDED, BestSoFar, Outcome
from twolayer.utils import files
from twolayer.utils.errors import ConfigError, RunError
from twolayer.utils.files import explained, parse_object, read_at_most, read_json
from twolayer.utils.text import printable, shown
from twolayer.utils.workers.pool import Job

_MAX_BYTES = 64 << 20
_MOST_SECONDS = 1e12


@dataclass
class Point:
    """A point of the search, and its figures once all its runs have ended."""

    number: int  # from 0
    values: Mapping[str, Value]  # by config key
    status: str = "unfinished"  # or finished, pruned, diverged or failed
    runs: tuple[str, ...] = ()  # names of its run folders
    mean: float | None = None  # over the runs, of the monitored column at the best epoch; None unless finished
    spread: float | None = None  # standard deviation over the runs; None for fewer than two
    loss: float | None = None  # mean of val_loss at the best epochs, which decides between equal means
    epochs: int = 0  # all runs together
    best_epochs: tuple[int, ...] = ()  # of each run
    reason: str = ""  # why it diverged or failed
    waiting: deque[Repeat] = field(default_factory=deque)  # runs still to be handed out
    outcomes: dict[Repeat, Outcome] = field(default_factory=dict)  # of those that ended

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean, the runs taken as independent; None for fewer than two."""
        return None if self.spread is None else self.spread / math.sqrt(len(self.runs))

    def conclude(self, folder: Path, monitor: str) -> None:
        """Set the figures, from the run folders in `folder` of the runs that ended; raise RunError if a run's
        summary.json lacks one."""
        ended = sorted(self.outcomes.items())
        self.runs = tuple(run_name(self.number, repeat) for repeat, _ in ended)
        folders = [RunFolder(folder / name) for name in self.runs]
        bad = next((outcome for _, outcome in ended if outcome.status != "finished"), None)
        self.status, self.reason = ("finished", "") if bad is None else bad
        if bad is not None:
            for run in folders:
                with contextlib.suppress(RunError):
                    self.epochs += len(read_history(run.history)["epoch"])
            return
        names = (monitor, "val_loss", "epochs", "best_epoch")
        try:
            rows = [[float(read_json(run.summary)[name]) for name in names] for run in folders]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{folders[0].path}: its summary.json lacks a figure to rank by: {error}") from None
        metrics, losses, epochs, best = zip(*rows, strict=True)
        self.mean, self.loss = statistics.fmean(metrics), statistics.fmean(losses)
        self.spread = statistics.stdev(metrics) if len(metrics) > 1 else None
        self.epochs, self.best_epochs = int(sum(epochs)), tuple(map(int, best))


def _by_mean(sweep: Sweep, result: Point) -> tuple[float, ...]:
    """Sort key of finished points: by the mean, equal ones by val_loss, then by number."""
    assert result.mean is not None
    assert result.loss is not None
    return (-result.mean if larger_is_better(sweep.monitor) else result.mean, result.loss, result.number)


def ranked(sweep: Sweep, results: Sequence[Point]) -> list[Point]:
    """Return the points, best first: the finished by their mean, then the others by number; in cross-validation, points
    within one standard error of the best mean are tied with it, and of these the smaller networks come first."""
    finished = sorted((each for each in results if each.mean is not None), key=lambda each: _by_mean(sweep, each))
    tied = within_one_error(sweep, finished)
    tied.sort(key=lambda each: int(each.values.get("model.hidden", sweep.base.model.hidden) or 0))  # stable
    others = sorted((each for each in results if each.mean is None), key=lambda each: each.number)
    return tied + finished[len(tied) :] + others


def within_one_error(sweep: Sweep, finished: Sequence[Point]) -> list[Point]:
    """Return the finished points that are tied with the best mean, itself included; none without cross-validation."""
    if sweep.settings.folds is None or not finished:
        return []
    best = min(finished, key=lambda each: _by_mean(sweep, each))
    return [each for each in finished if abs((each.mean or 0.0) - (best.mean or 0.0)) <= (best.standard_error or 0.0)]


def winner_of(ranking: Sequence[Point]) -> Point | None:
    """Return the best point, or None if none has finished."""
    return next((each for each in ranking if each.mean is not None), None)


def boundary_warnings(sweep: Sweep, winner: Point) -> list[str]:
    """Return, for each key whose winning value lies on the boundary of the space, which way to extend it and how far,
    unless the config allows no value there."""
    warnings = []
    for dimension in sweep.space:
        value = winner.values[dimension.key]
        if (side := dimension.side(value)) is None:
            continue
        further = dimension.beyond(side)
        end, direction = ("lower", "downwards") if side == "low" else ("upper", "upwards")
        with contextlib.suppress(ConfigError):
            sweep.config({**winner.values, dimension.key: further})
            warnings.append(
                f"the best {dimension.key}, {value:.4g}, lies on the {end} boundary of the space: "
                f"extend it {direction}, to {further:g} for a start"
            )
    return warnings


def run_name(number: int, repeat: Repeat) -> str:
    """Return the name of the run folder of a point, a seed and a fold."""
    return f"{number:04d}-seed{repeat.seed}" + ("" if repeat.fold is None else f"-fold{repeat.fold}")


class Journal(contextlib.AbstractContextManager["Journal"]):
    """The file, open for appending, created if absent; a line that a killed process left unfinished is cut off first.

    Raises RunError if it cannot be read, or a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: list[dict[str, Value]] = []  # when the file was opened; they may not be in the sweep's space
        self.outcomes: dict[str, Outcome] = {}  # how each run had ended, by its name
        self.seconds = 0.0  # time spent on the sweep in earlier sessions
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


class Points:
    """Hands out the runs of the points, one after another, and records how they end.

    `all` has the points in the order of their numbers, `best` is the best finished one by its mean, or None. With
    `retry_failed`, runs that failed in an earlier session are forgotten.
    """

    def __init__(self, sweep: Sweep, folder: Path, journal: Journal, retry_failed: bool) -> None:
        self.sweep, self.folder, self.journal = sweep, folder, journal
        self.best: Point | None = None
        self._repeats = sweep.repeats
        self._first = self._repeats[0]  # with a pruner, a point's first run decides whether it is hopeless
        self._prunes = sweep.settings.pruner != "none"
        self._retry_failed = retry_failed
        self.all: list[Point] = []
        self._open: dict[int, Point] = {}  # those without a result
        self._trials: dict[str, tuple[Point, Repeat]] = {}  # handed out
        self._started = time.monotonic()
        epochs = sweep.config({d.key: d.values[0] for d in sweep.space}).solver.epochs  # with a pruner, all the same
        self.study = Study(sweep.space, sweep.settings, maximize=larger_is_better(sweep.monitor), epochs=epochs)

    @property
    def seconds(self) -> float:
        """Time spent on the sweep, all sessions together."""
        return self.journal.seconds + time.monotonic() - self._started

    @property
    def n_runs(self) -> int | None:
        """The number of runs, or None if only time limits it."""
        total = self.sweep.max_points
        return None if total is None else max(total, len(self.all)) * len(self._repeats)

    @property
    def n_ended(self) -> int:
        """The number of runs that have ended for good."""
        return sum(len(point.outcomes) for point in self.all)

    def restore(self) -> None:
        """Give the study everything that the journal knows; raise RunError for a point that is not in the space."""
        for number, values in enumerate(self.journal.points):
            try:
                self.study.restore(values)
            except (ValueError, TypeError, KeyError) as error:
                reason = printable(" ".join(str(error).split())[:200])
                problem = f"point {number} is not in this sweep's space: {reason}"
                raise RunError(f"{self.journal.path}: {problem}; restore the file, or use a new folder") from None
            point = self._add(number, values)
            for name, repeat in zip(point.runs, self._repeats, strict=True):
                outcome = self.journal.outcomes.get(name)
                if outcome is None or (self._retry_failed and outcome.status == "failed"):
                    continue
                if outcome.status != "finished" or (self.folder / "runs" / name / "summary.json").is_file():
                    point.waiting.remove(repeat)
                    point.outcomes[repeat] = outcome
            if self._prunes and self._first in point.outcomes:  # show the pruner what it reported then
                history = RunFolder(self.folder / "runs" / run_name(number, self._first)).history
                with contextlib.suppress(RunError):
                    BestSoFar(self.sweep.monitor, partial(self._reported, number)).replay(read_history(history))
            self._conclude_if_done(point)

    def _reported(self, number: int, message: Mapping[str, Any]) -> str:
        self.study.report(number, message["epoch"], message["value"])
        return "go"

    def answer(self, job: Job, message: Mapping[str, Any]) -> str:
        """Return whether a judged run continues after an epoch."""
        point, _ = self._trials[job.name]
        return "prune" if self.study.report(point.number, message["epoch"], message["value"]) else "go"

    def has_next(self) -> bool:
        """Return whether there is a run that has not been handed out."""
        waiting = any(point.waiting for point in self._open.values())
        return self._within_time() and (waiting or self._within_trials())

    def next(self) -> tuple[str, Config, bool] | None:
        """Return the next run to hand out, or None if there is none now: its name, its config, and whether a pruner
        judges its point by it. One that the config's rules refuse, which no corner of the space showed, has failed."""
        while (point := self._point_to_train()) is not None:
            repeat = point.waiting.popleft()
            try:
                config = self.sweep.config({**point.values, **self.sweep.for_a_run}, repeat)
            except ConfigError as error:
                self._end(point, repeat, Outcome("failed", str(error)))
                continue
            name = run_name(point.number, repeat)
            self._trials[name] = (point, repeat)
            return name, config, self._prunes and repeat == self._first
        return None

    def _point_to_train(self) -> Point | None:
        """Return a point with a run to hand out, a new one if no other has any."""
        if not self._within_time():
            return None
        for point in self._open.values():
            undecided = self._prunes and self._first not in point.outcomes
            if point.waiting and not (undecided and point.waiting[0] != self._first):
                return point
        if not self._within_trials():
            return None
        number, values = self.study.ask()
        self.journal.picked(number, values)
        return self._add(number, values)

    def _add(self, number: int, values: dict[str, Value]) -> Point:
        names = tuple(run_name(number, repeat) for repeat in self._repeats)
        point = self._open[number] = Point(number, values, runs=names, waiting=deque(self._repeats))
        self.all.append(point)
        return point

    def _within_time(self) -> bool:
        minutes = self.sweep.settings.minutes
        return minutes is None or self.seconds < 60 * minutes

    def _within_trials(self) -> bool:
        most = self.sweep.max_points
        return most is None or len(self.all) < most

    def take(self, name: str, outcome: Outcome) -> None:
        """Record how a run ended, unless it was only interrupted."""
        point, repeat = self._trials.pop(name)
        if outcome.status in ENDED:
            self._end(point, repeat, outcome)
        else:
            point.waiting.appendleft(repeat)

    def _end(self, point: Point, repeat: Repeat, outcome: Outcome) -> None:
        self.journal.ended(run_name(point.number, repeat), outcome, self.seconds)
        point.outcomes[repeat] = outcome
        self._conclude_if_done(point)

    def _conclude_if_done(self, point: Point) -> None:
        """Once all runs of a point have ended, set its figures and report them to Optuna."""
        first = point.outcomes.get(self._first)
        if self._prunes and first is not None and first.status != "finished":
            point.waiting.clear()  # the first run was judged for all
        elif len(point.outcomes) < len(self._repeats):
            return
        point.conclude(self.folder / "runs", self.sweep.monitor)
        del self._open[point.number]
        self.study.tell(point.number, point.mean)
        if point.mean is not None:
            self.best = min([point, *([self.best] if self.best else [])], key=lambda each: _by_mean(self.sweep, each))
