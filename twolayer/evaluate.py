"""A model's figures on rows with labels: the run's own test rows, or those of another file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.runs.folder import RunFolder
from twolayer.runs.saved_model import load_model, read_predictions
from twolayer.solver.metrics import class_figures, confusion_matrix
from twolayer.utils.errors import DataError, RunError

WIDEST_MATRIX = 30  # classes; a larger confusion matrix does not fit a terminal


@dataclass(frozen=True)
class Figures:
    """Loss and accuracy on some rows.

    Attributes:
        source: the rows, in words.
        classes: the C labels.
        loss: mean cross-entropy, nats.
        accuracy: share of rows whose most probable label is right.
        confusion: (C, C) counts, true class down, predicted across.
    """

    source: str
    classes: Sequence[str | int]
    loss: float
    accuracy: float
    confusion: NDArray[np.int64]

    @classmethod
    def of(cls, source: str, classes: Sequence[str | int], y: Array, P: Array) -> Figures:
        """From class indices y (N,) and probabilities P (N, C)."""
        right = P[np.arange(len(y)), y].astype(np.float64)
        loss = float(-np.log(np.maximum(right, np.finfo(P.dtype).tiny)).mean())
        predicted = P.argmax(axis=1)
        return cls(source, classes, loss, float((predicted == y).mean()), confusion_matrix(y, predicted, len(classes)))

    def table(self) -> str:
        """All of it as text."""
        figures = class_figures(self.confusion)
        names = [str(label) for label in self.classes]
        width = max(5, *(len(name) for name in names))
        lines = [
            f"{self.source}: {self.confusion.sum():,} rows, loss {self.loss:.4f}, accuracy {self.accuracy:.4f}",
            "",
            f"{'class':>{width}}  precision  recall      f1    rows",
        ]
        for name, precision, recall, f1, rows in zip(names, *figures, strict=True):
            lines.append(f"{name:>{width}}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {rows:6,}")
        if len(names) > WIDEST_MATRIX:
            return "\n".join(lines)
        cell = max(width, len(str(self.confusion.max()))) + 1
        lines += ["", "rows of the class (down) predicted as (across)"]
        lines.append(" " * width + "".join(f"{name:>{cell}}" for name in names))
        for name, counts in zip(names, self.confusion, strict=True):
            lines.append(f"{name:>{width}}" + "".join(f"{count:>{cell}}" for count in counts))
        return "\n".join(lines)


def evaluate_run(path: Path) -> Figures:
    """The figures on a run's test rows, or on its validation rows where it has no test rows.

    Raises:
        RunError: if there is no such run, it has not ended, or it has neither.
    """
    folder = RunFolder(path)
    if not folder.path.is_dir():
        found = "not a run folder" if folder.path.exists() else "no such run folder"
        raise RunError(f"{path}: {found}; wanted: a run's folder, or a model file with rows by --data FILE")
    if not folder.predictions.exists():
        raise RunError(f"{path}: has no predictions.npz: a run that has ended is wanted; give rows by --data FILE")
    arrays, classes = read_predictions(folder.predictions)
    for part in ("test", "validation"):
        if f"{part}_y" in arrays:
            return Figures.of(f"{part} rows", classes, arrays[f"{part}_y"], arrays[f"{part}_proba"])
    raise RunError(f"{path}: the run has neither test rows nor validation rows: give rows by --data FILE")


def evaluate_file(model_path: Path, file: Path) -> Figures:
    """The figures of a model (a run folder or an .npz file) on a file of raw rows with labels.

    Raises:
        RunError: if there is no such model.
        DataError: if the file's rows do not fit the model or have no labels.
    """
    model = load_model(model_path)
    X, y = model.preparation.read(file)
    if y is None:
        raise DataError(
            f"{file}: has no label column {model.preparation.label!r}: to evaluate, each row needs its label"
        )
    return Figures.of(str(file), model.classes, y, model.probabilities(X))
