"""The run, readable top to bottom: config -> data -> parameters -> solver -> run folder -> curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import Config, dump_config, load_config
from twolayer.data import Dataset, load_dataset
from twolayer.errors import ConfigError, DivergedError
from twolayer.metrics import Evaluator, balanced_class_weights, probabilities
from twolayer.model import Array, init_params
from twolayer.progress import Progress
from twolayer.randomness import generator
from twolayer.recording import Recorder, checkpoint_file, model_file
from twolayer.same_run import require_same_run
from twolayer.runs.atomic import write_atomically
from twolayer.runs.checkpoint import read_arrays, write_arrays
from twolayer.runs.environment import describe_environment
from twolayer.runs.folder import RunFolder, create_run_folder, create_run_folder_at, open_run
from twolayer.runs.jsonfile import json_bytes, write_json
from twolayer.saved_model import Model, load_model
from twolayer.signals import StopRequest
from twolayer.solver import EpochEnd, Solver
from twolayer.solver_state import restore


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes:
        run_dir: the run folder.
        summary: the final numbers, as in summary.json.
        history: the columns of history.csv by name, one value per epoch, NaN where there is none.
        model: the best parameters, ready for raw rows.
        signal_number: the signal that interrupted it, or None.
    """

    run_dir: Path
    summary: dict[str, Any]
    history: dict[str, Array]
    model: Model
    signal_number: int | None = None

    def __repr__(self) -> str:
        figures = ", ".join(
            f"{name}={self.summary[name]}" for name in ("status", "epochs", "best_epoch", "val_accuracy")
        )
        return f"TrainResult({str(self.run_dir)!r}, {figures})"


def train(
    config: str | Path | Config,
    overrides: Sequence[str] = (),
    *,
    run_dir: str | Path | None = None,
    quiet: bool = True,
) -> TrainResult:
    """Trains from a config and leaves a run folder.

    Args:
        config: a YAML file, or a Config.
        overrides: `section.key=value`, applied to a file's content before it is checked.
        run_dir: the run's own folder, new or empty; None makes one in the config's `run.dir`.
        quiet: show no bar.

    Raises:
        ConfigError: with all faults of the config.
        DataError: for a fault in the data.
        DivergedError: if a step gave a loss or gradient that is not finite; the run folder has the best parameters.
        RunError: if the run folder cannot be written.
    """
    if not isinstance(config, Config):
        config = load_config(config, overrides)
    dataset = _load_data(config)
    solver = make_solver(config, dataset)
    files = {
        "config.yaml": dump_config(config).encode(),
        "environment.json": json_bytes(describe_environment(dataset.digests)),
        "best.npz": model_file(solver, dataset.preparation),
        "last.npz": checkpoint_file(solver),
    }
    if run_dir is None:
        folder = create_run_folder(files, parent=config.run.dir, name=config.name)
    else:
        folder = create_run_folder_at(files, run_dir)
    with folder.lock():
        return _run(config, dataset, solver, folder, {}, quiet)


def resume(
    run_dir: str | Path, overrides: Sequence[str] = (), *, quiet: bool = True, force: bool = False
) -> TrainResult:
    """Goes on where a run stopped, to the bits it would have had without the stop.

    Args:
        run_dir: the run folder.
        overrides: changes that leave the run what it is: `solver.epochs=...` where the schedule has no horizon,
            keys of `run`.
        quiet: show no bar.
        force: go on although library versions or threads differ; the last bits then may, too.

    Raises:
        RunError: if there is no run that can go on, it is in use, or a change would make it another run.
    """
    folder = open_run(run_dir)
    with folder.lock():
        folder.remove_leftovers()
        stored = load_config(folder.config)
        config = load_config(folder.config, overrides)
        arrays, header = read_arrays(folder.last, kinds=("checkpoint",))
        dataset = _load_data(config)
        solver = make_solver(config, dataset)
        restore(solver, arrays, header)
        today = describe_environment(dataset.digests)
        require_same_run(folder, stored, config, today, epoch=solver.progress.epoch, force=force)
        if config != stored:
            write_atomically(folder.config, dump_config(config).encode())
        return _run(config, dataset, solver, folder, header, quiet)


def make_solver(config: Config, dataset: Dataset) -> Solver:
    """The solver of a config, at the start, on a dataset."""
    rng = generator(config.seed, "init")
    model = config.model
    params = init_params(
        dataset.n_features,
        model.hidden,
        len(dataset.classes),
        rng=rng,
        init=model.init,
        init_std=model.init_std,
        dtype=model.dtype,
    )
    validation = dataset.validation
    settings = config.solver.model_dump(exclude={"class_weight"})
    return Solver(
        params,
        dataset.train.X,
        dataset.train.y,
        validation=(validation.X, validation.y) if validation else None,
        class_weights=_class_weights(config, dataset),
        seed=config.seed,
        evaluate_rows=config.run.evaluate_rows,
        **settings,
    )


def _load_data(config: Config) -> Dataset:
    return load_dataset(**config.data.model_dump(), seed=config.seed, dtype=config.model.dtype)


def _class_weights(config: Config, dataset: Dataset) -> Array | None:
    chosen = config.solver.class_weight
    if chosen == "none":
        return None
    if chosen == "balanced":
        return balanced_class_weights(dataset.train.y, len(dataset.classes))
    by_name = {str(label): index for index, label in enumerate(dataset.classes)}
    unknown = sorted(set(chosen) - set(by_name))
    if unknown:
        raise ConfigError(
            [
                f"{config.source}: solver.class_weight: no class {label!r} in the data: {list(by_name)}"
                for label in unknown
            ]
        )
    weights = np.ones(len(by_name))
    for label, weight in chosen.items():
        weights[by_name[label]] = weight
    return weights


def _run(
    config: Config, dataset: Dataset, solver: Solver, folder: RunFolder, checkpoint: dict[str, Any], quiet: bool
) -> TrainResult:
    """From the solver's state to the end of the training, or to its interruption, and all that a run leaves."""
    n_rows, epochs = len(dataset.train.y), config.solver.epochs
    done_rows = solver.progress.step * n_rows // solver.steps_per_epoch
    logs = {name: checkpoint.get(name, 0) for name in ("history_rows", "steps_rows")}
    diverged: DivergedError | None = None
    with (
        StopRequest() as stop,
        Recorder(folder, solver, dataset.preparation, config, resumed=bool(checkpoint), **logs) as recorder,
        Progress(n_rows * epochs, done_rows, epochs, quiet=quiet) as progress,
    ):
        try:
            for event in solver.run():
                recorder.saw(event)
                stretch = event.stretch if isinstance(event, EpochEnd) else event
                progress.rows(int(stretch.batch_rows.sum()))
                if isinstance(event, EpochEnd):
                    progress.epoch(event.record)
                if stop.signal_number is not None:
                    break
            recorder.checkpoint()
        except DivergedError as error:
            diverged = error
        recorder.save_best()
        status = _status(solver, stop.signal_number, diverged)
        summary = _finish(dataset, solver, folder, recorder, status)
    if diverged is not None:
        raise DivergedError(f"{diverged}; see {folder.path}") from None
    history = {name: np.array(column) for name, column in recorder.columns.items()}
    interrupted = stop.signal_number if status == "interrupted" else None
    return TrainResult(folder.path, summary, history, load_model(folder.best), interrupted)


def _status(solver: Solver, signal_number: int | None, diverged: DivergedError | None) -> str:
    if diverged is not None:
        return "diverged"
    if solver.progress.stopped_early:
        return "stopped_early"
    return "finished" if solver.finished else "interrupted"


def _finish(dataset: Dataset, solver: Solver, folder: RunFolder, recorder: Recorder, status: str) -> dict[str, Any]:
    """Writes what is made from the best parameters: predictions, summary, the picture."""
    params, best, seconds = solver.best_params, solver.progress.best, recorder.seconds
    parts = {"train": dataset.train, "val": dataset.validation, "test": dataset.test}
    figures: dict[str, float | None] = {}
    for name, part in parts.items():
        result = Evaluator(params, part.X, part.y)(params) if part else None
        figures[f"{name}_loss"] = result.loss if result else None
        figures[f"{name}_accuracy"] = result.accuracy if result else None
    arrays: dict[str, Array] = {}
    for name, part in (("validation", dataset.validation), ("test", dataset.test)):
        if part is not None:
            arrays[f"{name}_rows"], arrays[f"{name}_y"] = part.row_numbers, part.y
            arrays[f"{name}_proba"] = probabilities(params, part.X).astype(np.float32)
    write_arrays(folder.predictions, arrays, {"kind": "predictions", "classes": list(dataset.classes)})
    summary = {
        "status": status,
        "best_epoch": best.epoch,
        "epochs": solver.progress.epoch,
        "steps": solver.progress.step,
        "seconds": seconds,
        **figures,
        "monitor": best.monitor,
        "n_train": len(dataset.train.y),
        "n_validation": len(dataset.validation.y) if dataset.validation else 0,
        "n_test": len(dataset.test.y) if dataset.test else 0,
        "n_features": dataset.n_features,
        "n_hidden": params.n_hidden,
        "n_classes": params.n_classes,
    }
    write_json(folder.summary, summary)
    recorder.draw()
    return summary
