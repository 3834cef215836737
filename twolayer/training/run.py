"""The run, readable top to bottom: config -> data -> parameters -> solver -> run folder -> curves."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import Config, config_from_dict, differences, dump_config, load_config
from twolayer.data import Dataset
from twolayer.network.model import Array, Params
from twolayer.network.schedules import SCHEDULES
from twolayer.runs.checkpoint import Model, load_model, read_model_arrays
from twolayer.runs.folder import (
    RunFolder,
    create_run_folder,
    create_run_folder_at,
    describe_environment,
    differences_that_change_bits,
    folder_lock,
    open_run,
)
from twolayer.runs.logs import logged_rows
from twolayer.solver.solver import Solver
from twolayer.solver.state import Record
from twolayer.training.build import make_solver, read_data
from twolayer.training.recorder import FREE_KEYS, Recorder, checkpoint_file, model_file, refit_in, settings_of
from twolayer.utils.errors import DivergedError, RunError
from twolayer.utils.files import json_bytes, read_json, write_atomically
from twolayer.utils.process import ProgressBar, StopRequest
from twolayer.utils.text import counted, shown

Stop = Callable[[Record], bool]
ROWS_FILE = "rows.parquet"  # in the folder of a run that was trained on a data frame


@dataclass(frozen=True)
class TrainResult:
    """The result of a training."""

    run_dir: Path
    summary: dict[str, Any]  # the final numbers, as in summary.json
    history: dict[str, Array]  # the columns of history.csv by name, a value per epoch, NaN where a column has none
    model: Model  # the best parameters, ready for raw rows
    notes: tuple[str, ...] = ()  # what to know: rows that were left out, and what the curves say
    signal_number: int | None = None  # the signal that interrupted it

    def __repr__(self) -> str:
        names = ("status", "epochs", "best_epoch", "val_accuracy")
        return f"TrainResult({str(self.run_dir)!r}, {', '.join(f'{name}={self.summary[name]}' for name in names)})"


def train(
    config: str | Path | Mapping[str, Any] | Config,
    overrides: Sequence[str] = (),
    *,
    rows: Any = None,
    run_dir: str | Path | None = None,
    quiet: bool = True,
    stop: Stop | None = None,
) -> TrainResult:
    """Train from a config; leave a run folder.

    Args:
        config: a YAML file, its content as a dict, or a Config.
        overrides: `section.key=value`, applied to a file's content before it is checked.
        rows: a data frame of pandas, polars or Arrow in place of `data.train`; it is kept in the run folder.
        run_dir: the run's own folder, new or empty; None makes one in the config's `run.dir`.
        quiet: show no bar.
        stop: asked after each epoch, with its record; an answer of True interrupts the run there, as a signal would.

    Raises:
        ConfigError: with all errors of the config.
        DataError: for an error in the data.
        DivergedError: if a step gave a loss or gradient that is not finite; the run folder has the best parameters.
        RunError: if the run folder cannot be written.
    """
    kept = {}
    if rows is not None:
        from twolayer.data.frames import frame_bytes  # pyarrow is for tables alone

        kept = {ROWS_FILE: frame_bytes(rows)}
    if isinstance(config, Mapping):
        if kept:  # the rows that come as a data frame need a name
            config = {**config, "data": {**config.get("data", {}), "train": ROWS_FILE}}
        config = config_from_dict(config, overrides, require_files=not kept)
    else:
        config = config if isinstance(config, Config) else load_config(config, overrides)
    if kept:  # in the run folder, where a mapping's path has become one in the current folder
        config = config.model_copy(update={"data": config.data.model_copy(update={"train": ROWS_FILE})})
    dataset = read_data(config, rows, {name: sha256(content).hexdigest() for name, content in kept.items()})
    solver, warned = make_solver(config, dataset)
    files = {
        "config.yaml": dump_config(config).encode(),
        "environment.json": json_bytes(describe_environment(dataset.digests, config.solver.engine)),
        "best.npz": model_file(solver, dataset),
        **kept,
        "last.npz": checkpoint_file(solver, config, dataset.digests),
    }
    if run_dir is None:
        folder = create_run_folder(files, parent=config.run.dir, name=config.name)
    else:
        folder = create_run_folder_at(files, run_dir)
    with _with_command_to_resume(folder), folder_lock(folder.path) as notices:
        notes, logged = (*config.notes, *warned, *notices), {"history_rows": 0, "steps_rows": 0}
        return _run(config, dataset, solver, folder, notes, quiet, stop, logged)


def resume(
    run_dir: str | Path,
    overrides: Sequence[str] = (),
    *,
    quiet: bool = True,
    force: bool = False,
    stop: Stop | None = None,
) -> TrainResult:
    """Resume a run where it stopped, to the bits it would have had without the stop.

    Args:
        run_dir: the run folder.
        overrides: changes that leave the run what it is: `solver.epochs=...` where the schedule has no horizon,
            keys of `run`.
        quiet: show no bar.
        force: resume although library versions or threads differ; the last bits may then differ.
        stop: as in `train`.

    Raises:
        RunError: if there is no run to resume, it is in use, or a change would make it another run.
    """
    folder = open_run(run_dir)
    with folder_lock(folder.path) as notices:
        folder.remove_leftovers()
        stored = load_config(folder.config)
        config = load_config(folder.config, overrides)
        arrays, header = read_model_arrays(folder.last, kinds=("checkpoint",))
        logged = logged_rows(header, folder.last)
        dataset = read_data(config)
        solver, warned = make_solver(config, dataset)
        today = describe_environment(dataset.digests, config.solver.engine)
        try:
            solver.restore(arrays, header, same_rows=True)
        except ValueError as error:  # a changed key or data file, if that is why, says more than an array's shape
            _require_same_run(folder, header, stored, config, today, begun=0, force=True)
            raise RunError(f"{folder.last}: {error}") from None
        begun = -(-solver.progress.step // solver.steps_per_epoch)
        _require_same_run(folder, header, stored, config, today, begun=begun, force=force)
        notes, refitted = (*warned, *notices), None
        try:
            refitted = refit_in(folder.best, solver, dataset)
        except RunError:
            notes += (f"{folder.best}: missing or damaged; rewritten from {folder.last.name}",)
        if solver.finished and (refitted is not None or not config.run.refit):
            notes = (f"{folder.path}: this run has finished; there is nothing to resume", *notes)
        with _with_command_to_resume(folder):
            if refitted is None:
                write_atomically(folder.best, model_file(solver, dataset))
            if config != stored:
                write_atomically(folder.config, dump_config(config).encode())
            return _run(config, dataset, solver, folder, notes, quiet, stop, logged, refitted)


def _require_same_run(
    folder: RunFolder,
    checkpoint: Mapping[str, Any],
    stored: Config,
    config: Config,
    environment: Mapping[str, Any],
    *,
    begun: int,
    force: bool,
) -> None:
    """Raise RunError for a key, a data file or, without `force`, a version or thread count that would make another run.

    `checkpoint` is the header of its last.npz, which says with what settings it was made; `stored` its config in the
    folder, which may have been edited; `config` and `environment` are those to resume with; `begun` counts the epochs
    begun.
    """
    made_with = checkpoint.get("settings")
    if not isinstance(made_with, dict):
        raise RunError(f"{folder.last}: expected a run's checkpoint with the settings it was made with, got none")
    asked = settings_of(config)
    changed = {key: (made_with[key], asked[key]) for key in asked if made_with.get(key, asked[key]) != asked[key]}
    for key, (old, new) in (differences(stored, config) | changed).items():
        reason = ""
        if key == "solver.epochs" and SCHEDULES[stored.solver.schedule].has_horizon:
            reason = f": the rates of schedule '{stored.solver.schedule}' depend on the number of epochs"
        elif key == "solver.epochs" and new < begun:
            raise RunError(f"{folder.path}: {key}: expected at least {begun}, the epoch that has begun, got {new}")
        elif key not in FREE_KEYS | {"solver.epochs"}:
            reason = f"; only {', '.join(sorted(FREE_KEYS))} and solver.epochs may change"
        if reason:
            change = f"cannot change {key} from {shown(old)} to {new} on resume{reason}"
            raise RunError(f"{folder.path}: {change}. Start a new run from its config.yaml instead")
    found = differences_that_change_bits(read_json(folder.environment), environment)
    data = [each for each in found if each.startswith("data:")]
    trained_on = checkpoint.get("data")  # not in checkpoints of 0.1
    if not data and trained_on is not None and trained_on != sorted(environment["data"].values()):
        data = [f"data: {folder.last.name} was trained on other files"]
    if data:
        raise RunError(f"{folder.path}: cannot resume: {'; '.join(data)}. Put the file back, or start a new run")
    if found and not force:
        raise RunError(
            f"{folder.path}: resuming here would not give the bits of a run never stopped: {'; '.join(found)}. "
            "Restore what was there, or accept other last digits with --force"
        )


def _run(
    config: Config,
    dataset: Dataset,
    solver: Solver,
    folder: RunFolder,
    notes: Sequence[str],
    quiet: bool,
    ask_stop: Stop | None,
    logged: dict[str, int],
    refitted: Params | None = None,
) -> TrainResult:
    """Train to the end, or to an interruption, and write all that a run leaves."""
    n_rows, epochs = len(dataset.train.y), config.solver.epochs
    done_rows = solver.progress.step * n_rows // solver.steps_per_epoch
    diverged: DivergedError | None = None
    with (
        StopRequest() as stop,
        Recorder(folder, solver, config, dataset, logged) as recorder,
        ProgressBar(n_rows * epochs, done_rows, epochs, quiet=quiet) as progress,
    ):
        if (notice := solver.notice) and not solver.finished:
            progress.say(notice)
        try:
            for chunk in solver.run():
                recorder.record(chunk)
                progress.show(int(chunk.batch_rows.sum()), chunk.record)
                asked = ask_stop is not None and chunk.record is not None and ask_stop(chunk.record)
                if asked or stop.signal_number is not None:
                    break
            recorder.checkpoint()
        except DivergedError as error:
            diverged = error
        ended = "stopped_early" if solver.progress.stopped_early else "finished" if solver.finished else "interrupted"
        status, best_epoch = "diverged" if diverged else ended, solver.progress.best.epoch
        if config.run.refit and refitted is None and solver.finished and not diverged and best_epoch > 0:
            refitted, notes = _refit(config, dataset, best_epoch, notes, quiet, stop)
            status = "interrupted" if stop.signal_number is not None else status
        summary, verdicts = recorder.conclude(status, refitted)
    if diverged is not None:
        kept = f"The best parameters so far, of epoch {best_epoch}, are in {folder.best}"
        if best_epoch == 0:
            kept = f"No epoch was finished: {folder.best} holds the initial parameters"
        raise DivergedError(f"{diverged}. {kept}") from None
    history = {name: np.array(column) for name, column in recorder.columns.items()}
    interrupted = stop.signal_number if status == "interrupted" else None
    notes = (*notes, *dataset.notes, *dataset.leaks, *recorder.notices, *map(str, verdicts))
    return TrainResult(folder.path, summary, history, load_model(folder.best), notes, interrupted)


def _refit(
    config: Config, dataset: Dataset, epochs: int, notes: Sequence[str], quiet: bool, stop: StopRequest
) -> tuple[Params | None, Sequence[str]]:
    """Return the refitted parameters, None if it was interrupted or diverged; and the notes with one that says so."""
    solver, _ = make_solver(config, dataset, refit=True)
    with ProgressBar(solver.n_rows * epochs, 0, epochs, quiet=quiet) as progress:
        try:
            for chunk in solver.run():
                progress.show(int(chunk.batch_rows.sum()), chunk.record)
                if stop.signal_number is not None:
                    return None, notes
                if solver.progress.epoch >= epochs:
                    break
        except DivergedError as error:
            return None, (*notes, f"refit: {error}. The model is the one before it")
    what = f"refitted on {counted(solver.n_rows, 'training and validation row')} for {counted(epochs, 'epoch')}"
    note = f"{what}; the validation figures are those of the model before that"
    return solver.params, (*notes, note)


@contextmanager
def _with_command_to_resume(folder: RunFolder) -> Iterator[None]:
    """Add to the error of a run that could not be written further how to resume it."""
    try:
        yield
    except RunError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        message = f"{error}\nThe run is intact up to its last checkpoint. To resume: twolayer train --resume "
        message += shlex.quote(str(folder.path))
        if not folder.last.exists():
            message = (
                f"{folder.path}: expected the run folder with its {folder.last.name}, got none: it was deleted or "
                "moved during the training; if it was moved, resume it there, otherwise train again"
            )
        raise RunError(message) from error.__cause__
