"""What is made at a training's end from its best parameters: predictions, the summary, the verdicts, the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from twolayer.config import Config
from twolayer.data import Dataset
from twolayer.network.model import Array
from twolayer.recording import Recorder
from twolayer.runs.checkpoint import write_arrays
from twolayer.runs.folder import RunFolder
from twolayer.solver.metrics import Evaluator, probabilities
from twolayer.solver.solver import Solver
from twolayer.utils.blas import at_most_threads
from twolayer.utils.errors import RunError
from twolayer.utils.jsonfile import read_json, write_json
from twolayer.views.diagnosis import Evidence, Verdict, diagnose

_COUNTS = (
    "best_epoch", "epochs", "steps", "n_train", "n_validation", "n_test", "n_features", "n_hidden", "n_classes",
)  # fmt: skip


def conclude(
    config: Config, dataset: Dataset, solver: Solver, folder: RunFolder, recorder: Recorder, status: str
) -> tuple[dict[str, Any], tuple[Verdict, ...]]:
    """Writes best.npz, predictions.npz, loss_curve.png and summary.json.

    Args:
        config: the run's.
        dataset: its rows.
        solver: the training, ended or interrupted.
        folder: where to write.
        recorder: knows the history and the time.
        status: finished, stopped_early, interrupted or diverged.

    Returns:
        The summary, and what the curves say.
    """
    recorder.save_best()
    with at_most_threads(solver.threads):  # as in training: the last digits are then those of the history
        predictions = _predictions(dataset, solver)
        summary = _summary(dataset, solver, recorder.seconds, status)
    write_arrays(folder.predictions, predictions, {"kind": "predictions", "classes": list(dataset.classes)})
    recorder.draw()
    write_json(folder.summary, summary)  # last: what it says of an end is only said when all else is there
    evidence = Evidence(
        recorder.columns,
        n_classes=len(dataset.classes),
        config=config.model_dump(),
        status=status,
        validation_y=predictions.get("validation_y"),
        validation_proba=predictions.get("validation_proba"),
        classes=dataset.classes,
    )
    return summary, diagnose(evidence)


def _predictions(dataset: Dataset, solver: Solver) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, part in (("validation", dataset.validation), ("test", dataset.test)):
        if part is not None:
            arrays[f"{name}_rows"], arrays[f"{name}_y"] = part.row_numbers, part.y
            arrays[f"{name}_proba"] = probabilities(solver.best_params, part.X).astype(np.float32)
    return arrays


def _summary(dataset: Dataset, solver: Solver, seconds: float, status: str) -> dict[str, Any]:
    """The final numbers, those of the best parameters."""
    params, best = solver.best_params, solver.progress.best
    figures: dict[str, float | None] = {}
    for name, part in (("train", dataset.train), ("val", dataset.validation), ("test", dataset.test)):
        result = Evaluator(params, part.X, part.y)(params) if part else None
        figures[f"{name}_loss"] = result.loss if result else None
        figures[f"{name}_accuracy"] = result.accuracy if result else None
    return {
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


def stored_summary(path: Path) -> dict[str, Any] | None:
    """The summary in a file, or None if it is not one as `conclude` writes it."""
    try:
        summary = read_json(path)
    except RunError:
        return None
    words = all(isinstance(summary.get(name), str) for name in ("status", "monitor"))
    counts = all(type(summary.get(name)) is int for name in _COUNTS)
    figures = isinstance(summary.get("seconds"), float)
    for part in ("train", "val", "test"):
        accuracy, loss = (summary.get(f"{part}_{name}", "") for name in ("accuracy", "loss"))
        figures &= (isinstance(accuracy, float) and isinstance(loss, float | None)) or accuracy is loss is None
    return summary if words and counts and figures else None
