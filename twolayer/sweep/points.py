"""The points of a search and their runs: which run is next, what became of each, and what Optuna is told of it.

What the points came to: mean and spread over their seeds, ranked by the validation metric, never by test rows."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.sweep.file import Sweep
from twolayer.sweep.journal import ENDED, Journal, Outcome
from twolayer.sweep.space import Value
from twolayer.sweep.study import PrunerSettings, Study
from twolayer.sweep.trial import Answer, Task
from twolayer.utils.errors import ConfigError, RunError
from twolayer.utils.jsonfile import read_json


@dataclass(frozen=True)
class PointResult:
    """A point, as far as it got.

    Attributes:
        number: its number, from 0.
        values: by config key.
        status: finished, pruned, diverged, failed or unfinished.
        runs: names of its run folders.
        mean: of the monitored column at each run's best epoch; None unless finished.
        spread: standard deviation over the seeds; None for fewer than two.
        loss: mean of val_loss there, which decides between equals.
        epochs: trained, all runs together.
        best_epochs: of the runs.
        reason: why it diverged or failed.
    """

    number: int
    values: Mapping[str, Value]
    status: str
    runs: tuple[str, ...]
    mean: float | None = None
    spread: float | None = None
    loss: float | None = None
    epochs: int = 0
    best_epochs: tuple[int, ...] = ()
    reason: str = ""


def point_result(
    sweep: Sweep,
    folder: Path,
    number: int,
    values: Mapping[str, Value],
    names: Mapping[int, str],
    outcomes: Mapping[int, Outcome],
) -> PointResult:
    """The result of a point whose runs have ended.

    Args:
        sweep: the sweep.
        folder: its folder.
        number: the point's.
        values: the point's.
        names: of its run folders by seed.
        outcomes: of its runs by seed.
    """
    runs = tuple(names[seed] for seed in names if seed in outcomes)
    folders = {seed: RunFolder(folder / "runs" / names[seed]) for seed in names if seed in outcomes}
    bad = [seed for seed in folders if outcomes[seed].status != "finished"]
    if bad:
        epochs = sum(_epochs(run) for run in folders.values())
        first = outcomes[bad[0]]
        return PointResult(number, values, first.status, runs, epochs=epochs, reason=first.reason)
    summaries = [read_json(run.summary) for run in folders.values()]
    try:
        metrics = [float(summary[sweep.monitor]) for summary in summaries]
        losses = [float(summary["val_loss"]) for summary in summaries]
        epochs, best = sum(int(s["epochs"]) for s in summaries), tuple(int(s["best_epoch"]) for s in summaries)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / 'runs' / runs[0]}: a summary.json without the figures to rank by: {error}") from None
    spread = statistics.stdev(metrics) if len(metrics) > 1 else None
    mean, loss = statistics.fmean(metrics), statistics.fmean(losses)
    return PointResult(number, values, "finished", runs, mean, spread, loss, epochs, best)


def best_so_far(run: Path, monitor: str, *, larger: bool) -> Iterator[tuple[int, float]]:
    """Each epoch of a run and the best value of a column up to it."""
    try:
        history = read_history(RunFolder(run).history)
    except RunError:
        return
    values = history[monitor] if larger else -history[monitor]
    best = np.maximum.accumulate(np.where(np.isfinite(values), values, -np.inf))
    for epoch, value in zip(history["epoch"], best if larger else -best, strict=True):
        if np.isfinite(value):
            yield int(epoch), float(value)


def ranked(sweep: Sweep, results: Sequence[PointResult]) -> list[PointResult]:
    """Best first: the finished by their mean, equal ones by val_loss, then by number; then the others by number."""
    sign = -1 if sweep.larger_is_better else 1

    def key(result: PointResult) -> tuple[Any, ...]:
        if result.mean is None or result.loss is None:
            return (1, result.number)
        return (0, sign * result.mean, result.loss, result.number)

    return sorted(results, key=key)


def winner_of(sweep: Sweep, results: Sequence[PointResult]) -> PointResult | None:
    """The best point, or None where none has finished."""
    first = next(iter(ranked(sweep, results)), None)
    return first if first is not None and first.mean is not None else None


def border_warnings(sweep: Sweep, winner: PointResult) -> list[str]:
    """For each key of which the winner's value lies on the border of the space: which way to extend it, and how far.

    Nothing is said of a border beyond which the config allows no value.
    """
    warnings = []
    for dimension in sweep.space:
        value = winner.values[dimension.key]
        side = dimension.side(value)
        if side is None:
            continue
        further = dimension.beyond(side)
        try:
            sweep.config({**winner.values, dimension.key: further})
        except ConfigError:
            continue
        end, direction = ("lower", "downwards") if side == "low" else ("upper", "upwards")
        warnings.append(
            f"the best {dimension.key}, {value:.4g}, lies on the {end} border of the space: "
            f"extend it {direction}, to {further:g} for a start"
        )
    return warnings


def _epochs(run: RunFolder) -> int:
    try:
        return len(read_history(run.history)["epoch"])
    except (RunError, KeyError):
        return 0


@dataclass
class _Point:
    """A point of the search and what became of its runs.

    Attributes:
        number: its number, from 0.
        values: by config key.
        waiting: seeds whose runs are still to be handed out.
        outcomes: by seed.
        result: once all its runs have ended.
    """

    number: int
    values: dict[str, Value]
    waiting: deque[int]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    result: PointResult | None = None


def run_name(number: int, seed: int) -> str:
    """Name of the run folder of a point and a seed."""
    return f"{number:04d}-seed{seed}"


class Points:
    """Hands out the runs of the points, one after another, and takes in how they end.

    Args:
        sweep: the sweep.
        folder: its folder, locked.
        journal: in it.
        retry_failed: forget the runs that failed.

    Attributes:
        pruner: what Optuna's pruner needs to know.
    """

    def __init__(self, sweep: Sweep, folder: Path, journal: Journal, retry_failed: bool) -> None:
        self.sweep, self.folder, self.journal = sweep, folder, journal
        self.pruner = PrunerSettings(sweep.settings["pruner"], sweep.settings["min_epochs"], self._epochs(sweep))
        self._outcomes = {
            name: outcome
            for name, outcome in journal.memory.outcomes.items()
            if not (retry_failed and outcome.status == "failed")
        }
        self._points: list[_Point] = []
        self._started = time.monotonic()
        self._study: Study

    @staticmethod
    def _epochs(sweep: Sweep) -> int:
        """Epochs of every run, where they are the same for all, as they are with a pruner."""
        first = {d.key: d.values[0] for d in sweep.space}
        return sweep.config(first).solver.epochs

    @property
    def seconds(self) -> float:
        """Time spent on the sweep, all sessions together."""
        return self.journal.memory.seconds + time.monotonic() - self._started

    @property
    def n_runs(self) -> int | None:
        """How many runs there will be, if only their number limits them."""
        total = self.sweep.max_points
        return None if total is None else max(total, len(self._points)) * len(self.sweep.seeds)

    @property
    def n_ended(self) -> int:
        """How many have ended for good."""
        return sum(len(point.outcomes) for point in self._points)

    def start(self, storage: Any) -> None:
        """Makes the study and tells it all that the journal knows."""
        settings = self.sweep.settings
        self._study = Study(
            self.sweep.space,
            sampler=settings["sampler"],
            seed=settings["seed"],
            maximize=self.sweep.larger_is_better,
            pruner=self.pruner,
            storage=storage,
        )
        for number, values in enumerate(self.journal.memory.points):
            self._study.restore(values)
            self._points.append(self._point(number, values))
        for point in self._points:
            for seed in list(point.waiting):
                outcome = self._outcomes.get(run_name(point.number, seed))
                if outcome is not None and self._is_there(run_name(point.number, seed), outcome):
                    point.waiting.remove(seed)
                    point.outcomes[seed] = outcome
            self._replay(point)
            self._conclude_if_done(point)

    def judge(self, task: Task, epoch: int, value: float) -> Answer:
        """Whether a judged run is to go on after an epoch."""
        assert task.point is not None
        return "prune" if self._study.report(task.point, epoch, value) else "go"

    def importances(self) -> dict[str, float]:
        """See `Study.importances`."""
        return self._study.importances()

    def _point(self, number: int, values: dict[str, Value]) -> _Point:
        return _Point(number, values, deque(self.sweep.seeds))

    def next(self) -> Task | None:
        """The next run to hand out, or None if there is none now.

        A run of values that the config's rules refuse, which no corner showed, has failed.
        """
        while (point := self._point_to_train()) is not None:
            seed = point.waiting.popleft()
            try:
                return self._task(point, seed)
            except ConfigError as error:
                self._end(point, seed, Outcome("failed", str(error)))
        return None

    def _point_to_train(self) -> _Point | None:
        """A point with a run to hand out, a new one if all others are under way."""
        for point in self._points:
            if not point.waiting or not self._within_time():
                continue
            first = self.sweep.seeds[0]
            if self.pruner.name != "none" and point.waiting[0] != first and first not in point.outcomes:
                continue  # the first run decides whether the point is hopeless
            return point
        most = self.sweep.max_points
        if not self._within_time() or (most is not None and len(self._points) >= most):
            return None
        number, values = self._study.ask()
        self.journal.picked(number, values)
        self._points.append(self._point(number, values))
        return self._points[-1]

    def _within_time(self) -> bool:
        minutes = self.sweep.settings["minutes"]
        return minutes is None or self.seconds < 60 * minutes

    def _task(self, point: _Point, seed: int) -> Task:
        judged = self.pruner.name != "none" and seed == self.sweep.seeds[0]
        changes: dict[str, Any] = {"seed": seed, "run__snapshot_epochs": None}
        if self.sweep.has_test_source:
            changes["data__test"] = None  # nobody looks at the test rows before there is a winner
        config = self.sweep.config(point.values, **changes).model_dump()
        return Task(run_name(point.number, seed), config, point.number if judged else None)

    def take(self, task: Task, outcome: Outcome) -> None:
        """Writes down how a run ended, unless it was only interrupted."""
        if outcome.status not in ENDED:
            return
        number, seed = task.name.split("-seed")
        self._end(self._points[int(number)], int(seed), outcome)

    def _end(self, point: _Point, seed: int, outcome: Outcome) -> None:
        self.journal.ended(run_name(point.number, seed), outcome, self.seconds)
        point.outcomes[seed] = outcome
        self._conclude_if_done(point)

    def _conclude_if_done(self, point: _Point) -> None:
        """Once all runs of a point have ended, makes its result and tells Optuna."""
        first = point.outcomes.get(self.sweep.seeds[0])
        if self.pruner.name != "none" and first is not None and first.status != "finished":
            point.waiting.clear()  # the first run was judged for all
        elif len(point.outcomes) < len(self.sweep.seeds):
            return
        point.result = point_result(
            self.sweep, self.folder, point.number, point.values, self._names(point), point.outcomes
        )
        self._study.tell(point.number, point.result.mean)

    def _replay(self, point: _Point) -> None:
        """Shows the pruner what an ended run reported in an earlier session."""
        first = self.sweep.seeds[0]
        if self.pruner.name != "none" and first in point.outcomes:
            run = self.folder / "runs" / run_name(point.number, first)
            for epoch, value in best_so_far(run, self.sweep.monitor, larger=self.sweep.larger_is_better):
                self._study.report(point.number, epoch, value)

    def _is_there(self, name: str, outcome: Outcome) -> bool:
        return outcome.status != "finished" or (self.folder / "runs" / name / "summary.json").is_file()

    def _names(self, point: _Point) -> dict[int, str]:
        return {seed: run_name(point.number, seed) for seed in self.sweep.seeds}

    def results(self) -> list[PointResult]:
        """Of all points, those that are not done yet without a value."""
        return [
            point.result or PointResult(point.number, point.values, "unfinished", tuple(self._names(point).values()))
            for point in self._points
        ]
