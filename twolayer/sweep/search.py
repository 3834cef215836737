"""The search, readable top to bottom: pick points, hand out their runs, record how they end, and rank."""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twolayer.data.sources import files_of
from twolayer.runs.folder import folder_lock
from twolayer.sweep.file import Sweep, load_sweep
from twolayer.sweep.journal import Journal, require_same_sweep
from twolayer.sweep.points import Point, Points, ranked, winner_of
from twolayer.sweep.report import SweepResult, conclude, refit_config, refit_name
from twolayer.sweep.trial import Trial, TrialWorkers, require_own_data
from twolayer.training.build import read_data
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import explained, require_regular
from twolayer.utils.process import StopRequest
from twolayer.utils.progress import Tally
from twolayer.utils.workers.cluster import ClusterAddress, ClusterPool
from twolayer.utils.workers.local import STOP_SECONDS, LocalPool
from twolayer.utils.workers.pool import Job, Pool

POLL_SECONDS = 0.5
REASON = 80  # characters of a reason beside the bar


def run_sweep(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    folder: str | Path | None = None,
    cluster: ClusterAddress | None = None,
    retry_failed: bool = False,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> SweepResult:
    """Run a sweep, or resume it where it stopped.

    Args:
        path: the sweep file.
        overrides: `KEY=VALUE` for its keys (`workers=4`) and those of its base config (`solver.epochs=8`).
        folder: the sweep's own folder; None: `dir`/NAME of the file.
        cluster: a Dask scheduler; None: processes on this machine; `say` is called with a line for each event there.
        retry_failed: try runs again that failed for another reason than divergence.
        quiet: show no bar.

    Raises:
        ConfigError: with all problems of the sweep file and its base.
        DataError: for a problem in the data, the test rows included.
        RunError: if the folder is in use, damaged, full or holds another sweep.
        MissingExtraError: without the extra `sweep`, or with a cluster `cluster`.
        TwoLayerError: if no scheduler or no usable worker can be found.
    """
    sweep = load_sweep(path, overrides)
    folder = Path(folder) if folder is not None else Path(sweep.settings.dir).expanduser() / sweep.path.stem
    with explained(folder, "the sweep folder cannot be made"):
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        require_regular(folder / "runs", folder=True)
    with folder_lock(folder), Journal(folder / "journal.jsonl") as journal:
        _read_rows(sweep)
        digests = require_same_sweep(sweep, folder)
        points = Points(sweep, folder, journal, retry_failed)
        points.restore()

        pool: Pool
        if cluster is None:
            pool = LocalPool(sweep.settings.workers, sweep.settings.threads, folder, points.answer)
            workers = TrialWorkers(folder / "runs", pool)
        else:
            check = Job("", f"{require_own_data.__module__}:{require_own_data.__name__}", {"digests": digests})
            pool = ClusterPool(cluster, check, sweep.settings.threads, say, points.answer)
            workers = TrialWorkers(folder / "runs", pool, digests)
        try:
            return _run(points, workers, quiet)
        finally:
            pool.close()


def _read_rows(sweep: Sweep) -> None:
    """Read all rows in every way the space asks for, so that an error in them, or in the test rows, which no trial
    reads, is reported before anything is trained.

    An error that only some ways have is left to their points, which fail, unless it is in a test file.
    """
    ways = {d.key: d.values for d in sweep.space if d.key in ("data.missing", "data.scale", "model.dtype")}
    tests = tuple(f"{path}{mark}" for path in files_of(sweep.base.data.model_dump()["test"]) for mark in ":,")
    errors: list[DataError | None] = []
    for choice in itertools.product(*ways.values()):
        try:
            read_data(sweep.config(dict(zip(ways, choice, strict=True)), sweep.repeats[0]))
            errors.append(None)
        except DataError as error:
            if str(error).startswith(tests):
                raise
            errors.append(error)
    if errors[0] is not None and all(errors):
        raise errors[0]


def _run(points: Points, workers: TrialWorkers, quiet: bool) -> SweepResult:
    """Train until the budget is used up or a signal comes, then the winner once more, and write the results."""
    sweep, journal = points.sweep, points.journal
    with StopRequest() as stop, Tally(points.n_runs, points.n_ended, "run", quiet=quiet) as tally:
        running = 0

        def take_ended() -> int:
            ended = workers.wait(POLL_SECONDS)
            for name, outcome in ended:
                points.take(name, outcome)
                shown = f"{name} {outcome.status}" + (f": {outcome.reason[:REASON]}" if outcome.reason else "")
                best = points.best
                tally.done(
                    shown, f"best {sweep.monitor} {best.mean:.4f}, point {best.number}" if best else "none finished"
                )
            return len(ended)

        while stop.signal_number is None and (running or points.has_next()):
            fresh = list(itertools.islice(iter(points.next, None), workers.pool.free()))
            journal.flush()  # at once for all runs that have ended and all that start now
            for trial in fresh:
                workers.submit(trial)
            running += len(fresh) - take_ended()
        if stop.signal_number is not None:
            workers.pool.stop()
            deadline = time.monotonic() + STOP_SECONDS
            while running and time.monotonic() < deadline:
                running -= take_ended()
        journal.flush()
        winner = winner_of(ranked(sweep, points.all))
        if winner is not None and sweep.settings.refit and stop.signal_number is None:
            _refit(points, winner, workers, stop)
    ranking, importances = ranked(sweep, points.all), points.study.importances()
    return conclude(sweep, points.folder, ranking, importances, points.seconds, stop.signal_number)


def _refit(points: Points, winner: Point, workers: TrialWorkers, stop: StopRequest) -> None:
    """Train the winner once more, on training and validation rows together."""
    name = refit_name(winner)
    workers.submit(Trial(name, refit_config(points.sweep, winner).model_dump()))
    while not (ended := workers.wait(POLL_SECONDS)):
        if stop.signal_number is not None:
            workers.pool.stop()
    _, outcome = ended[0]
    stopped = outcome.status == "interrupted" and stop.signal_number is not None
    if outcome.status != "finished" and not stopped:
        reason = outcome.reason or "run the sweep again to resume it"
        raise RunError(f"{points.folder / 'runs' / name}: training on all rows {outcome.status}: {reason}")
