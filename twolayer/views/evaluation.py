"""A model's figures on rows with labels, the run's test rows or those of another file: loss, accuracy, the table per
class, and its calibration (of the rows predicted with 80 % confidence, are 80 % right?); and the rows themselves, read
again from the data files of the run's config, in their own units, split as the run split them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.config import load_config
from twolayer.data import Dataset, Preparation, load_dataset
from twolayer.data.files import digest_of
from twolayer.data.rows import ArrayRows
from twolayer.data.sources import files_of
from twolayer.network.model import Array
from twolayer.runs.checkpoint import load_model, read_predictions
from twolayer.runs.folder import RunFolder, open_run, recorded_digests
from twolayer.solver.metrics import auc, class_means, probabilities
from twolayer.utils.errors import DataError, FileError, RunError
from twolayer.utils.text import counted, plain, some
from twolayer.views.run_data import read_summary, run_folders

N_BINS = 10
WIDEST_MATRIX = 30  # classes; a larger confusion matrix does not fit a terminal


def reliability(y: Array, P: Array) -> tuple[Array, Array, Array, float]:
    """Return the numbers of the reliability diagram for class indices y (N,), N >= 1, and probabilities P (N, C): mean
    confidence, accuracy and number of rows of each bin that holds a row, (M,) each, and the expected calibration error,
    sum over bins of rows / N |accuracy - confidence| (Naeini, Cooper and Hauskrecht, AAAI 2015).

    The confidence of a row is its largest probability. The ten bins divide 0..1 into equal widths; each holds its upper
    edge, not its lower one.
    """
    confidence = P.max(axis=1).astype(np.float64)
    right = P.argmax(axis=1) == y
    bins = np.clip(np.ceil(confidence * N_BINS).astype(np.intp) - 1, 0, N_BINS - 1)
    count = np.bincount(bins, minlength=N_BINS)
    used = count > 0
    mean_confidence = np.bincount(bins, confidence, N_BINS)[used] / count[used]
    accuracy = np.bincount(bins, right, N_BINS)[used] / count[used]
    ece = float((count[used] / len(y)) @ np.abs(accuracy - mean_confidence))
    return mean_confidence, accuracy, count[used], ece


def most_confident_mistakes(y: Array, P: Array, limit: int = 12) -> NDArray[np.intp]:
    """Return the positions of at most `limit` wrongly predicted rows, the most confident first, from class indices y
    (N,) and probabilities P (N, C)."""
    wrong: NDArray[np.intp] = np.flatnonzero(P.argmax(axis=1) != y)
    return wrong[np.argsort(-P[wrong].max(axis=1), kind="stable")[:limit]]


def confusion_matrix(y: Array, predicted: Array, n_classes: int) -> NDArray[np.int64]:
    """Return counts (C, C): how many rows of class i (down) were predicted as class j (across)."""
    counts = np.bincount(np.asarray(y, np.intp) * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def class_figures(confusion: NDArray[np.int64]) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Return precision, recall, F1 and the number of rows of each class, (C,) each, from a confusion matrix (C, C); a
    figure whose denominator is 0 is 0."""
    hits = np.diag(confusion).astype(np.float64)
    predicted, rows = confusion.sum(axis=0), confusion.sum(axis=1)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(rows, 1)
    return precision, recall, 2 * hits / np.maximum(predicted + rows, 1), rows


@dataclass(frozen=True)
class Figures:
    """A model's figures on some rows."""

    source: str  # the rows, in words
    classes: Sequence[str | int]  # the C labels
    loss: float  # mean cross-entropy, nats
    accuracy: float  # share of rows whose most probable label is right
    balanced_accuracy: float  # this and the next: means over the classes, see `metrics.class_means`
    f1: float
    auc: float | None  # for two classes that both occur; see `metrics.auc`
    confusion: NDArray[np.int64]  # (C, C) counts, true class down, predicted across

    @classmethod
    def of(cls, source: str, classes: Sequence[str | int], y: Array, P: Array) -> Figures:
        """Make them from class indices y (N,) and probabilities P (N, C)."""
        right = P[np.arange(len(y)), y].astype(np.float64)
        loss = float(-np.log(np.maximum(right, np.finfo(P.dtype).tiny)).mean())
        predicted = P.argmax(axis=1)
        f1, balanced_accuracy = class_means(y, predicted, len(classes))
        area = None
        if len(classes) == 2:
            with np.errstate(divide="ignore"):
                logs = np.log(P.astype(np.float64))  # log-odds keep apart what rounds to a probability of 1
            area = auc(y, logs[:, 1] - logs[:, 0])
        confusion = confusion_matrix(y, predicted, len(classes))
        return cls(source, classes, loss, float((predicted == y).mean()), balanced_accuracy, f1, area, confusion)

    @property
    def baseline(self) -> tuple[str | int, float]:
        """The most frequent class of these rows, and the accuracy of always guessing it."""
        counts = self.confusion.sum(axis=1)
        return self.classes[int(counts.argmax())], float(counts.max() / counts.sum())

    def table(self) -> str:
        """Return all of it as text."""
        figures = class_figures(self.confusion)
        names = [plain(label) for label in self.classes]
        width = max(5, *(len(name) for name in names))
        n_rows, (frequent, baseline) = int(self.confusion.sum()), self.baseline
        area = "" if self.auc is None else f", AUC {self.auc:.4f}"
        lines = [
            f"{plain(self.source)}: {counted(n_rows, 'row')}, loss {self.loss:.4f}, accuracy {self.accuracy:.4f}",
            f"balanced accuracy {self.balanced_accuracy:.4f}, macro F1 {self.f1:.4f}{area}",
            f"always guessing {plain(frequent)}, the most frequent class: accuracy {baseline:.4f}",
        ]
        if self.accuracy <= baseline:
            lines += [
                "The model does not beat that guess. If the rarer classes matter, try solver.class_weight=balanced and",
                "solver.monitor=val_balanced_accuracy, and judge by the recall of each class below.",
            ]
        lines += ["", f"{'class':>{width}}  precision  recall      f1    rows"]
        for name, precision, recall, f1, rows in zip(names, *figures, strict=True):
            lines.append(f"{name:>{width}}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {rows:6,}")
        if len(names) <= WIDEST_MATRIX:
            cell = max(width, len(str(self.confusion.max()))) + 1
            lines += ["", "rows of the class (down) predicted as (across)"]
            for name, counts in (("", names), *zip(names, self.confusion, strict=True)):
                lines.append(f"{name:>{width}}" + "".join(f"{count:>{cell}}" for count in counts))
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain data; a loss that is not finite is None."""
        per_class = (figures.tolist() for figures in class_figures(self.confusion))
        names = ("label", "precision", "recall", "f1", "rows")
        frequent, baseline = self.baseline
        figures = {name: getattr(self, name) for name in ("loss", "accuracy", "balanced_accuracy", "f1", "auc")}
        return {
            "source": self.source,
            "rows": int(self.confusion.sum()),
            **{name: x if x is not None and np.isfinite(x) else None for name, x in figures.items()},
            "most_frequent": {"label": frequent, "accuracy": baseline},
            "classes": [dict(zip(names, row, strict=True)) for row in zip(self.classes, *per_class, strict=True)],
            "confusion": self.confusion.tolist(),
        }


def evaluate_run(path: Path) -> Figures:
    """Return the figures on a run's test rows, or on its validation rows if it has no test rows. Raises RunError if
    there is no such run, it has not ended, or it has neither."""
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise RunError(f"{path}: expected a run folder, got {found}; for a model file give rows with --data FILE")
    if path not in (runs := run_folders(path) or [path]):
        found = f"a folder that holds {len(runs)}: {some([run.name for run in runs], 5)}"
        raise RunError(f"{path}: expected a run folder, got {found}; choose one")
    folder = RunFolder(path)
    if not folder.predictions.exists():
        open_run(path)  # which says what else the folder is
        found = "one without predictions.npz; give rows with --data FILE"
        raise RunError(f"{path}: expected a run that has ended, got {found}")
    folder.require_box()
    arrays, classes = read_predictions(folder.predictions)
    for part, source in (("test", "test rows"), ("validation", "validation rows")):
        if f"{part}_y" in arrays:
            if part == "validation" and read_summary(folder.summary).get("refit_rows"):
                source += ", before the refit"
            return Figures.of(source, classes, arrays[f"{part}_y"], arrays[f"{part}_proba"])
    raise RunError(f"{path}: the run has neither test rows nor validation rows; give rows with --data FILE")


def evaluate_file(model_path: Path, file: Path, notes: list[str] | None = None) -> Figures:
    """Return the figures of a model (a run folder or an .npz file) on a file of raw rows with labels; `notes` gets what
    was decided, and whether it is a file of the run whose content has changed. Raises RunError if there is no such
    model, DataError if the file's rows do not fit it or have no labels."""
    model = load_model(model_path)
    X, y = model.preparation.read(file, notes=notes)
    folder = RunFolder(model_path if model_path.is_dir() else model_path.parent)
    for path, digest in recorded_digests(folder.environment).items():
        if notes is not None and Path(path).resolve() == Path(file).resolve() and digest != digest_of(file):
            notes.append(f"{file}: its content has changed since the run; the figures are of the file as it is now")
    if y is None:
        raise DataError(f"{file}: expected a label column {model.preparation.label!r}, as each row needs its label")
    return Figures.of(str(file), model.classes, y, probabilities(model.params, ArrayRows(X)))


class RawRows(NamedTuple):
    """Rows in their own units: X (N, D) as the files have them, categories as one-hot features; class indices y (N,);
    their numbers (N,) in the source; and what prepares them."""

    X: Array
    y: Array
    row_numbers: NDArray[np.intp]
    preparation: Preparation

    def cells(self, k: int) -> dict[str, str]:
        """Return row k as its file has it, by column."""
        form, names = self.preparation.form, self.preparation.feature_names
        origins = form.origins if form else [(name, None) for name in names]
        found = {}
        for (column, category), value in zip(origins, self.X[k], strict=True):
            if category is None:
                found[column] = str(value).removesuffix(".0")
            elif value == 1:
                found[column] = category
            elif value:  # a missing category, filled with the means
                found[f"{column}={category}"] = f"{value:g}"
        return found


def raw_rows(
    run: Path, part: str, chosen: NDArray[np.intp] | None = None, numbers: NDArray[np.intp] | None = None
) -> RawRows:
    """Read the `train`, `validation` or `test` rows of a run again, all or those at the `chosen` positions, which must
    have these `numbers`. Raises FileError if a file is gone, cannot be read, or is not as the run recorded it."""
    folder = RunFolder(run)
    config = load_config(folder.config, require_files=False)
    files = [path for key in ("train", "validation", "test") for path in files_of(getattr(config.data, key))]
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists())
    dataset = _load(json.dumps({**config.data.model_dump(), "scale": "none"}), config.seed, stamps)
    recorded = recorded_digests(folder.environment)
    if recorded and sorted(recorded.values()) != sorted(dataset.digests.values()):
        changed = [path for path, digest in dataset.digests.items() if digest not in recorded.values()]
        raise FileError(f"{', '.join(changed[:3])}: expected the content that the run recorded, got another one")
    rows = getattr(dataset, part)
    if rows is None:
        raise FileError(f"the config names no {part} rows")
    if chosen is None or numbers is None:
        chosen, numbers = np.arange(len(rows.y)), rows.row_numbers
    if chosen.max(initial=-1) >= len(rows.y) or not np.array_equal(numbers, rows.row_numbers[chosen]):
        raise FileError(f"the {part} rows are not those the run was made from: the data files have changed")
    return RawRows(rows.X.raw(chosen), rows.y[chosen], numbers, dataset.preparation)


@lru_cache(maxsize=1)
def _load(data: str, seed: int, stamps: tuple[tuple[int, int], ...]) -> Dataset:
    """Load a config's data section (JSON); `stamps`, the files' sizes and times, make another entry of the cache."""
    return load_dataset(**json.loads(data), seed=seed, dtype="float64")
