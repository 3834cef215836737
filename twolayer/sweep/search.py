"""The search, readable top to bottom: pick points, hand out their runs, record how they end, rank, and write what a
sweep leaves: results.csv, best.yaml, summary.json, pictures, and the same in words."""

import csv
import io
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import Config, dump_config
from twolayer.data import load_dataset
from twolayer.data.sources import files_of
from twolayer.network.schedules import SCHEDULES
from twolayer.runs.checkpoint import load_model
from twolayer.runs.folder import folder_lock
from twolayer.solver.metrics import Evaluator
from twolayer.sweep.file import Sweep, load_sweep, require_same_sweep
from twolayer.sweep.points import Journal, Point, Points, boundary_warnings, ranked, winner_of, within_one_error
from twolayer.sweep.trial import TrialWorkers, require_own_data
from twolayer.training.build import read_data
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import explained, require_regular, write_atomically, write_json
from twolayer.utils.process import StopRequest, Tally
from twolayer.utils.text import counted
from twolayer.utils.workers.cluster import ClusterAddress, ClusterPool
from twolayer.utils.workers.pool import STOP_SECONDS, Job, LocalPool, Pool
from twolayer.views.curves import curves_figure
from twolayer.views.run_data import load_runs
from twolayer.views.style import MARK, TRAINING, VALIDATION, default_look, new_figure, plain, save, tidy

POLL_SECONDS = 0.5
REASON = 80  # characters of a reason beside the bar
TABLE_ROWS = 10
CURVES = 5
PANELS_PER_ROW = 3
MOST_TICKS = 5
NO_VALIDATION: dict[str, Any] = {"data.validation": 0, "solver.monitor": "train_loss"}


@dataclass(frozen=True)
class SweepResult:
    """The results of a sweep."""

    ranking: list[Point]  # best first, those without a value last
    winner: Point | None
    summary: dict[str, Any]  # content of summary.json
    lines: tuple[str, ...]  # the same in words
    signal_number: int | None = None  # the signal that interrupted it


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
        with closing(pool):
            return _run(points, workers, quiet)


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
    sweep, journal, monitor = points.sweep, points.journal, points.sweep.monitor
    with StopRequest() as stop, Tally(points.n_runs, points.n_ended, "run", quiet=quiet) as tally:
        running = 0

        def take_ended() -> int:
            ended = workers.wait(POLL_SECONDS)
            for name, outcome in ended:
                points.take(name, outcome)
                what = f"{name} {outcome.status}" + (f": {outcome.reason[:REASON]}" if outcome.reason else "")
                best = points.best
                tally.done(what, f"best {monitor} {best.mean:.4f}, point {best.number}" if best else "none finished")
            return len(ended)

        while stop.signal_number is None and (running or points.has_next()):
            fresh = list(itertools.islice(iter(points.next, None), workers.pool.free()))
            journal.flush()  # at once for all runs that have ended and all that start now
            for trial in fresh:
                workers.submit(*trial)
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
    return _conclude(points, stop.signal_number)


def _refit(points: Points, winner: Point, workers: TrialWorkers, stop: StopRequest) -> None:
    name = refit_name(winner)
    workers.submit(name, refit_config(points.sweep, winner))
    while not (ended := workers.wait(POLL_SECONDS)):
        if stop.signal_number is not None:
            workers.pool.stop()
    _, outcome = ended[0]
    stopped = outcome.status == "interrupted" and stop.signal_number is not None
    if outcome.status != "finished" and not stopped:
        reason = outcome.reason or "run the sweep again to resume it"
        raise RunError(f"{points.folder / 'runs' / name}: training on all rows {outcome.status}: {reason}")


def refit_name(winner: Point) -> str:
    return f"refit-{winner.number:04d}"


def refit_config(sweep: Sweep, winner: Point) -> Config:
    """Return the winner's config without validation rows.

    No row is left to pick the best epoch by. A schedule that ends with the training (cosine) keeps all its epochs,
    because its last, small rates make the last epochs good; with any other schedule the training ends at the mean of
    the best epochs of the winner's runs. The parameters with the lowest training loss are kept, and patience is off.
    """
    values = {**winner.values, **NO_VALIDATION, **sweep.for_a_run, "solver.patience": None}
    solver = sweep.config(winner.values).solver
    if not SCHEDULES[solver.schedule].has_horizon:
        values["solver.epochs"] = max(1, round(statistics.fmean(winner.best_epochs)))
        values["solver.warmup_epochs"] = min(solver.warmup_epochs, values["solver.epochs"])
    return sweep.config(values)


def test_accuracy(config: Config, run: Path) -> float | None:
    """Return the accuracy of a run's best parameters on the test rows of a config; None if it has none."""
    dataset = load_dataset(**config.data.model_dump(), seed=config.seed, dtype=config.model.dtype)
    if dataset.test is None:
        return None
    params = load_model(run).params
    return float(Evaluator(params, dataset.test.X, dataset.test.y)(params).accuracy)


def _conclude(points: Points, signal_number: int | None) -> SweepResult:
    """Write results.csv, pictures, summary.json and, if a point has finished, best.yaml; after a signal, leave the test
    rows alone."""
    sweep, folder, seconds = points.sweep, points.folder, points.seconds
    ranking, importances = ranked(sweep, points.all), points.study.importances()
    winner = winner_of(ranking)
    write_atomically(folder / "results.csv", results_csv(sweep, ranking).encode())
    summary: dict[str, Any] = {
        "status": "finished" if signal_number is None else "interrupted",
        "points": len(ranking),
        "runs": sum(len(result.runs) for result in ranking if result.status != "unfinished"),
        "epochs": sum(result.epochs for result in ranking),
        "seconds": round(seconds, 3),
        "monitor": sweep.monitor,
        "statuses": Counter(result.status for result in ranking),
        "importances": importances,
    }
    counts = ", ".join(counted(summary[f"{noun}s"], noun) for noun in ("point", "run", "epoch"))
    lines = [f"{counts}, {seconds:.1f} s", "", *_table(sweep, ranking)]
    if winner is not None:
        write_atomically(folder / "best.yaml", dump_config(sweep.config(winner.values)).encode())
        warnings = boundary_warnings(sweep, winner)
        summary["best"] = {"point": winner.number, "values": dict(winner.values), "runs": list(winner.runs)}
        summary["best"] |= {"mean": winner.mean, "spread": winner.spread, "val_loss": winner.loss}
        summary["borders"] = warnings
        if sweep.settings.folds is not None:
            tied = len(within_one_error(sweep, [each for each in ranking if each.mean is not None]))
            summary["best"] |= {"standard_error": winner.standard_error, "tied": tied}
            folds = f"{sweep.settings.folds} folds" + f" x {sweep.settings.seeds} seeds" * (sweep.settings.seeds > 1)
            ties = f"of {tied} points within one standard error of the best, the smallest network wins"
            lines += ["", f"ranked by the mean over {folds}" + f"; {ties}" * (tied > 1)]
        lines += ["", *(f"note: {warning}" for warning in warnings)]
        if importances:
            shares = ", ".join(f"{key} {share:.0%}" for key, share in importances.items())
            lines.append(f"importance for {sweep.monitor}: {shares}")
        if signal_number is None:
            summary["test"], test_lines = _test_figures(sweep, folder, winner)
            lines += test_lines
        lines.append(f"the best config: {folder / 'best.yaml'}; all points: {folder / 'results.csv'}")
        _draw(sweep, folder, ranking)
    write_json(folder / "summary.json", summary)
    return SweepResult(ranking, winner, summary, tuple(lines), signal_number)


def results_csv(sweep: Sweep, ranking: Sequence[Point]) -> str:
    """Return the table of all points as CSV, without times or hosts: the same trials make the same bytes."""
    keys = [d.key for d in sweep.space]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    metric, folds = sweep.monitor, sweep.settings.folds is not None
    errors = [f"{metric}_standard_error"] if folds else []
    head = ["rank", "point", *keys, "status", f"{metric}_mean", f"{metric}_spread", *errors, "val_loss_mean"]
    writer.writerow([*head, "best_epochs", "epochs", "runs", "reason"])
    for rank, each in enumerate(ranking, start=1):
        point = ["" if each.mean is None else rank, each.number, *(each.values[key] for key in keys), each.status]
        figures = [each.mean, each.spread, *([each.standard_error] if folds else []), each.loss]
        ends = [" ".join(map(str, each.best_epochs)), each.epochs, " ".join(each.runs), " ".join(each.reason.split())]
        writer.writerow([*point, *figures, *ends])
    return file.getvalue()


def _table(sweep: Sweep, ranking: Sequence[Point]) -> list[str]:
    """Return lines with the best points in columns, and the numbers of the others."""
    keys = [d.key for d in sweep.space if d.varies]
    folds, several = sweep.settings.folds is not None, len(sweep.repeats) > 1
    spreads = ["std. error" if folds else "spread"] if several else []
    rows = [["rank", "point", sweep.monitor, *spreads, "val_loss", *keys]]
    finished = [result for result in ranking if result.mean is not None]
    for rank, result in enumerate(finished[:TABLE_ROWS], start=1):
        figure = result.standard_error if folds else result.spread
        spread = [f"{figure:.4f}" if figure is not None else ""] if several else []
        values = [f"{each:.3g}" if isinstance(each, float) else str(each) for each in map(result.values.get, keys)]
        rows.append([str(rank), str(result.number), f"{result.mean:.4f}", *spread, f"{result.loss:.4f}", *values])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    if len(finished) > TABLE_ROWS:
        lines.append(f"and {len(finished) - TABLE_ROWS} more")
    for status in ("pruned", "diverged", "failed", "unfinished"):
        some = [result for result in ranking if result.status == status]
        if some:
            reason = next((f"; the first: {' '.join(r.reason.split())}" for r in some if r.reason), "")
            lines.append(f"{len(some)} {status}{reason[:200]}")
    return lines


def _test_figures(sweep: Sweep, folder: Path, winner: Point) -> tuple[dict[str, Any], list[str]]:
    """Return the winner's accuracy on the test rows, which nothing else has looked at, and the same in words."""
    figures: dict[str, Any] = {"accuracy": None, "spread": None, "refit_accuracy": None}
    lines = []
    configs = [sweep.config(winner.values, repeat) for repeat in sweep.repeats]
    runs = [folder / "runs" / name for name in winner.runs]
    found = [test_accuracy(config, run) for config, run in zip(configs, runs, strict=True)]
    if accuracies := [accuracy for accuracy in found if accuracy is not None]:
        figures["accuracy"] = statistics.fmean(accuracies)
        figures["spread"] = statistics.stdev(accuracies) if len(accuracies) > 1 else None
        spread = f" (spread {figures['spread']:.4f} over {len(winner.runs)} runs)" if figures["spread"] else ""
        lines.append(f"the winner's test accuracy: {figures['accuracy']:.4f}{spread}")
    if sweep.settings.refit:
        config, run = sweep.config({**winner.values, **NO_VALIDATION}), folder / "runs" / refit_name(winner)
        accuracy = figures["refit_accuracy"] = test_accuracy(config, run)
        shown = "" if accuracy is None else f": test accuracy {accuracy:.4f}"
        lines.append(f"trained again on training and validation rows together{shown}; in {run}")
    return figures, lines


def _draw(sweep: Sweep, folder: Path, ranking: Sequence[Point]) -> None:
    """Draw the curves of the best points, and the metric of all against each key."""
    finished = [point for point in ranking if point.mean is not None]
    best = [folder / "runs" / point.runs[0] for point in finished[:CURVES]]
    save(curves_figure(load_runs(best, lambda text: None)), folder / "best-curves.png")
    if logarithmic := {d.key: d.is_log for d in sweep.space if d.varies}:
        draw_against_keys(finished, logarithmic, sweep.monitor, folder / "against-keys.png")


@default_look()
def draw_against_keys(points: Sequence[Point], keys: Mapping[str, bool], metric: str, path: Path) -> None:
    """Draw a panel for each key: the metric of every finished point, best first, against its value, with its spread;
    `keys` says whether each key's scale is logarithmic."""
    columns = min(PANELS_PER_ROW, len(keys))
    rows = -(-len(keys) // columns)
    figure = new_figure(4.2 * columns, 3.2 * rows)
    means, spreads = np.array([(point.mean, point.spread or 0.0) for point in points], float).T
    for i, (key, logarithmic) in enumerate(keys.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        values: Any = [point.values[key] for point in points]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            marks = np.unique(np.array(values, float))
            if len(marks) > MOST_TICKS:
                marks = (np.geomspace if logarithmic else np.linspace)(marks[0], marks[-1], MOST_TICKS)
            axes.set_xscale("log" if logarithmic else "linear")
            axes.set_xticks(marks, [f"{mark:.3g}" for mark in marks])
            axes.minorticks_off()
        else:
            values = [plain(value) for value in values]  # side by side
        if spreads.any():
            axes.errorbar(values, means, spreads, fmt="none", ecolor=MARK, elinewidth=0.8)
        axes.plot(values[1:], means[1:], "o", color=TRAINING, markersize=4, alpha=0.7)
        axes.plot(values[:1], means[:1], "*", color=VALIDATION, markersize=12)
        tidy(axes, key, metric if i % columns == 0 else "")
    figure.suptitle(f"{metric} of {len(points)} points; the star is the best", fontsize=10)
    figure.tight_layout()
    save(figure, path)
