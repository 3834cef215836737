"""What the points came to: mean and spread over their seeds, ranked by the validation metric, never by test rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.sweep.journal import Outcome
from twolayer.sweep.space import Value
from twolayer.sweep.sweep_file import Sweep
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
