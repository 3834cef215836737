"""The rows themselves for a report or a boundary: read again from the data files of the run's config, in their own
units, split as the run split them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.config import load_config
from twolayer.data import Dataset, Preparation, load_dataset
from twolayer.data.sources import files_of
from twolayer.network.model import Array
from twolayer.runs.checkpoint import read_model_arrays
from twolayer.runs.folder import RunFolder
from twolayer.utils.errors import FileError
from twolayer.utils.jsonfile import read_json
from twolayer.views.evaluation import most_confident_mistakes
from twolayer.views.report import pictures
from twolayer.views.run_data import RunData


class Mistake(NamedTuple):
    """A row that was predicted wrongly, and what it looks like.

    Attributes:
        row: its number in the source.
        right: the row's label.
        predicted: the model's.
        confidence: the probability it gave to that.
        picture: a PNG, if the row is an image.
        cells: values as text by column, if it is not.
    """

    row: int
    right: str
    predicted: str
    confidence: float
    picture: bytes | None = None
    cells: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Details:
    """What the page shows beyond the run's logs.

    Attributes:
        mistakes: the most confident ones.
        note: why the rows themselves are not shown, if they are not.
        W1: (D, H), or W2 (D, C) without a hidden layer; None to show no weights.
        image_shape: the shape in which a row is a picture, if it is one.
    """

    mistakes: Sequence[Mistake] = ()
    note: str = ""
    W1: NDArray[Any] | None = None
    image_shape: tuple[int, ...] | None = None


def evaluated(run: RunData) -> tuple[str, NDArray[Any], NDArray[Any]] | None:
    """Return the rows that the page judges the model by: test rows, or else validation rows.

    Returns:
        (`test` or `validation`, class indices (N,), probabilities (N, C)), or None if the run kept no predictions.
    """
    for part in ("test", "validation"):
        y, P = run.predictions.get(f"{part}_y"), run.predictions.get(f"{part}_proba")
        if y is not None and P is not None and len(y):
            return part, y, P
    return None


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


def raw_rows(run: Path, part: str, chosen: NDArray[np.intp] | None = None) -> RawRows:
    """Read rows of a run's data again.

    Args:
        run: the run's folder.
        part: `train`, `validation` or `test`.
        chosen: which of the part's rows, by their position; None: all.

    Raises:
        FileError: if a file is gone, cannot be read, or has another content than the run recorded.
    """
    folder = RunFolder(run)
    config = load_config(folder.config, require_files=False)
    files = [path for key in ("train", "validation", "test") for path in files_of(getattr(config.data, key))]
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists())
    dataset = _load(json.dumps({**config.data.model_dump(), "scale": "none"}), config.seed, stamps)
    recorded = read_json(folder.environment).get("data") if folder.environment.exists() else None
    if isinstance(recorded, dict) and sorted(map(str, recorded.values())) != sorted(dataset.digests.values()):
        changed = [path for path, digest in dataset.digests.items() if digest not in recorded.values()]
        raise FileError(f"{', '.join(changed[:3])}: expected the content that the run recorded, got another one")
    rows = getattr(dataset, part)
    if rows is None:
        raise FileError(f"the config names no {part} rows")
    numbers = np.arange(len(rows.y)) if chosen is None else chosen
    if len(numbers) and numbers.max() >= len(rows.y):
        raise FileError(f"the {part} rows are fewer than when the run was made: the data files have changed")
    X, y, row_numbers = rows.X.raw(numbers), np.asarray(rows.y)[numbers], np.asarray(rows.row_numbers)[numbers]
    return RawRows(X, y, row_numbers, dataset.preparation)


@lru_cache(maxsize=1)
def _load(data: str, seed: int, stamps: tuple[tuple[int, int], ...]) -> Dataset:
    """Load a config's data section (JSON); `stamps`, the files' sizes and times, make another entry of the cache."""
    return load_dataset(**json.loads(data), seed=seed, dtype="float64")


def details_of(run: RunData, image_shape: tuple[int, ...] | None = None) -> Details:
    """Return the most confident mistakes with their pictures or cells, and the weights of the first layer.

    Args:
        run: the run.
        image_shape: the shape in which a row is a picture; None takes what the data says.
    """
    best = RunFolder(run.path).best
    arrays = read_model_arrays(best, kinds=("model",))[0] if best.exists() else {}
    weights = arrays.get("W1", arrays.get("W2"))
    n_features = 0 if weights is None else len(weights)
    judged = evaluated(run)
    if judged is None:
        return Details(W1=weights, image_shape=pictures.image_shape_of(n_features, image_shape))
    part, y, P = judged
    worst = most_confident_mistakes(y, P)
    numbers = run.predictions[f"{part}_rows"][worst]
    rows, note = None, ""
    try:
        rows = raw_rows(run.path, part, worst)
        if not np.array_equal(rows.row_numbers, numbers):
            rows, note = None, "The rows are not shown: the data files are not those the run was made from."
    except FileError as error:
        note = f"The rows are not shown: {error}"
    shape = pictures.image_shape_of(n_features, image_shape or (rows.preparation.image_shape if rows else None))
    mistakes = []
    for k, at in enumerate(worst):
        guess = int(P[at].argmax())
        mistake = Mistake(int(numbers[k]), str(run.classes[y[at]]), str(run.classes[guess]), float(P[at, guess]))
        if rows is not None and shape is not None:
            mistake = mistake._replace(picture=pictures.png_bytes(pictures.row_picture(rows.X[k], shape)))
        elif rows is not None:
            mistake = mistake._replace(cells=rows.cells(k))
        mistakes.append(mistake)
    return Details(mistakes, note, weights, shape)
