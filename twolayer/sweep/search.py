"""The search, readable top to bottom: pick points, hand out their runs, write down how they end, and rank."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twolayer.config import Config
from twolayer.runs.folder import RunLock
from twolayer.sweep.file import Sweep, load_sweep
from twolayer.sweep.journal import Journal, Outcome, require_same_sweep
from twolayer.sweep.local import STOP_SECONDS, LocalWorkers, Workers
from twolayer.sweep.points import PointResult, Points, winner_of
from twolayer.sweep.report import SweepResult, conclude, headline, refit_config, refit_name
from twolayer.sweep.trial import Task
from twolayer.training.build import read_data
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import explained
from twolayer.utils.process import StopRequest
from twolayer.utils.progress import Tally

POLL_SECONDS = 0.5
REASON = 80  # letters of a reason beside the bar


def run_sweep(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    folder: str | Path | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> SweepResult:
    """Runs a sweep, or goes on with it where it stopped.

    Args:
        path: the sweep file.
        overrides: `KEY=VALUE` for its keys, such as `workers=4`.
        folder: the sweep's own folder; None: `dir`/NAME of the file.
        scheduler: address of a Dask scheduler; None: processes on this machine.
        retry_failed: try runs again that failed for another reason than divergence.
        quiet: show no bar.
        say: is told what happens beside the bar.

    Raises:
        ConfigError: with all faults of the sweep file and its base.
        DataError: for a fault in the data, the test rows included.
        RunError: if the folder is in use, damaged or holds another sweep.
        MissingExtraError: without the extra `sweep`, or with a scheduler `cluster`.
    """
    sweep = load_sweep(path, overrides)
    folder = Path(folder) if folder is not None else Path(sweep.settings["dir"]).expanduser() / sweep.name
    with explained(folder, "the sweep folder cannot be made"):
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    with RunLock(folder / ".lock", folder), Journal(folder / "journal.jsonl") as journal:
        _read_rows(sweep)
        digests = require_same_sweep(sweep, folder)
        points = Points(sweep, folder, journal, retry_failed)
        workers: Workers
        if scheduler is None:
            workers = LocalWorkers(sweep.settings["workers"], sweep.settings["threads"], folder, points.judge)
        else:
            from twolayer.sweep.cluster import DaskWorkers

            workers = DaskWorkers(scheduler, folder, digests, points.pruner, sweep.settings["threads"], say)
        try:
            points.start(workers.storage)
            return _run(sweep, folder, points, workers, quiet)
        finally:
            workers.close()


def _read_rows(sweep: Sweep) -> None:
    """Reads all rows in every way that the space has: no trial reads a test file, of which a fault would show after the
    whole search.

    A fault that some ways do not have is left to the points, which fail by it, unless it is of a test file.
    """
    ways = [d for d in sweep.space if d.key in ("data.missing", "data.scale", "model.dtype")]
    faults = []
    for choice in itertools.product(*(d.values for d in ways)):
        values = dict(zip((d.key for d in ways), choice, strict=True))
        fault = _fault_of_rows(sweep.config(values))
        if (
            fault is not None
            and sweep.has_test_source
            and _fault_of_rows(sweep.config(values, data__test=None)) is None
        ):
            raise fault
        faults.append(fault)
    if faults[0] is not None and all(faults):
        raise faults[0]


def _fault_of_rows(config: Config) -> DataError | None:
    try:
        read_data(config)
    except DataError as error:
        return error
    return None


def _run(sweep: Sweep, folder: Path, points: Points, workers: Workers, quiet: bool) -> SweepResult:
    """Until the budget is used up or somebody stops it; then the winner once more, and the results."""
    with StopRequest() as stop, Tally(points.n_runs, points.n_ended, "run", quiet=quiet) as tally:
        running = 0

        def take_ended() -> int:
            ended = workers.wait(POLL_SECONDS)
            for task, outcome in ended:
                points.take(task, outcome)
                shown = f"{task.name} {outcome.status}" + (f": {outcome.reason[:REASON]}" if outcome.reason else "")
                tally.done(shown, headline(sweep, points.results()))
            return len(ended)

        while stop.signal_number is None:
            task = None
            while workers.free() and (task := points.next()) is not None:
                workers.submit(task)
                running += 1
            if not running and task is None and workers.free():
                break
            running -= take_ended()
        if stop.signal_number is not None:
            workers.stop()
            deadline = time.monotonic() + STOP_SECONDS
            while running and time.monotonic() < deadline:
                running -= take_ended()
        winner = winner_of(sweep, points.results())
        if winner is not None and sweep.settings["refit"] and stop.signal_number is None:
            _refit(sweep, folder, winner, workers, stop)
    return conclude(sweep, folder, points.results(), points.importances(), points.seconds, stop.signal_number)


def _refit(sweep: Sweep, folder: Path, winner: PointResult, workers: Workers, stop: StopRequest) -> None:
    """Trains the winner once more, on training and validation rows together."""
    name = refit_name(winner)
    workers.submit(Task(name, refit_config(sweep, winner).model_dump()))
    ended: list[tuple[Task, Outcome]] = []
    while not ended:
        ended = workers.wait(POLL_SECONDS)
        if stop.signal_number is not None:
            workers.stop()
    outcome = ended[0][1]
    stopped = outcome.status == "interrupted" and stop.signal_number is not None
    if outcome.status != "finished" and not stopped:
        reason = outcome.reason or "start the sweep again, and it goes on"
        raise RunError(f"{folder / 'runs' / name}: training on all rows {outcome.status}: {reason}")
