"""The rows themselves for a report or a boundary: read again from the data files of the run's config, in their own
units, split as the run split them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.config import Config
from twolayer.data import Dataset, load_dataset
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
        cells: (column, value) as text, if it is not.
    """

    row: int
    right: str
    predicted: str
    confidence: float
    picture: bytes | None = None
    cells: Sequence[tuple[str, str]] = ()


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
    for kind in ("test", "validation"):
        y, P = run.predictions.get(f"{kind}_y"), run.predictions.get(f"{kind}_proba")
        if y is not None and P is not None and len(y):
            return kind, y, P
    return None


@dataclass(frozen=True)
class RawRows:
    """Rows in their own units.

    Attributes:
        X: (N, D) as the files have them, categories as one-hot features.
        y: (N,) class indices.
        row_numbers: (N,) their numbers in the source.
        names: D names of the features.
        origins: the column of each feature, and its category, None for a number.
        image_shape: the shape in which a row is a picture, if it is one.
    """

    X: Array
    y: Array
    row_numbers: NDArray[np.intp]
    names: tuple[str, ...]
    origins: tuple[tuple[str, str | None], ...]
    image_shape: tuple[int, ...] | None

    def cells(self, k: int) -> tuple[tuple[str, str], ...]:
        """Row k as its file has it: columns with their values."""
        found = []
        for (column, category), value in zip(self.origins, self.X[k], strict=True):
            if category is None:
                found.append((column, str(value).removesuffix(".0")))
            elif value == 1:
                found.append((column, category))
            elif value:  # a missing category, filled with the means
                found.append((f"{column}={category}", f"{value:g}"))
        return tuple(found)


def raw_rows(run: Path, config: Config, part: str, chosen: NDArray[np.intp] | None = None) -> RawRows:
    """Read rows of a run's data again.

    Args:
        run: the run's folder.
        config: the run's.
        part: `train`, `validation` or `test`.
        chosen: which of the part's rows, by their position; None: all.

    Raises:
        FileError: if a file is gone, cannot be read, or has another content than the run recorded.
    """
    files = [path for key in ("train", "validation", "test") for path in files_of(getattr(config.data, key))]
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists())
    dataset = _load(json.dumps({**config.data.model_dump(), "scale": "none"}), config.seed, stamps)
    environment = RunFolder(run).environment
    recorded = read_json(environment).get("data") if environment.exists() else None
    if isinstance(recorded, dict) and sorted(map(str, recorded.values())) != sorted(dataset.digests.values()):
        changed = [path for path, digest in dataset.digests.items() if digest not in recorded.values()]
        raise FileError(f"{', '.join(changed[:3])}: expected the content that the run recorded, got another one")
    rows = getattr(dataset, part)
    if rows is None:
        raise FileError(f"the config names no {part} rows")
    numbers = np.arange(len(rows.y)) if chosen is None else chosen
    if len(numbers) and numbers.max() >= len(rows.y):
        raise FileError(f"the {part} rows are fewer than when the run was made: the data files have changed")
    preparation = dataset.preparation
    names = preparation.feature_names
    return RawRows(
        rows.X.raw(numbers),
        np.asarray(rows.y)[numbers],
        np.asarray(rows.row_numbers)[numbers],
        names,
        preparation.form.origins if preparation.form else tuple((name, None) for name in names),
        preparation.image_shape,
    )


@lru_cache(maxsize=1)
def _load(data: str, seed: int, stamps: tuple[tuple[int, int], ...]) -> Dataset:
    """The data of a config's section in JSON and its files' sizes and times; kept for the next run to compare."""
    return load_dataset(**json.loads(data), seed=seed, dtype="float64")


def details_of(run: RunData, config: Config, image_shape: tuple[int, ...] | None = None) -> Details:
    """Return the most confident mistakes with their pictures or cells, and the weights of the first layer.

    Args:
        run: the run.
        config: its config.
        image_shape: the shape in which a row is a picture; None takes what the data says.
    """
    best = RunFolder(run.path).best
    arrays = read_model_arrays(best, kinds=("model",))[0] if best.exists() else {}
    weights = arrays.get("W1", arrays.get("W2"))
    judged = evaluated(run)
    if judged is None:
        return Details(W1=weights, image_shape=_fitting(image_shape, weights))
    part, y, P = judged
    worst = most_confident_mistakes(y, P)
    rows, note = None, ""
    try:
        rows = raw_rows(run.path, config, part, worst)
        if not np.array_equal(rows.row_numbers, run.predictions[f"{part}_rows"][worst]):
            rows, note = None, "The rows are not shown: the data files are not those the run was made from."
    except FileError as error:
        note = f"The rows are not shown: {error}"
    shape = _fitting(image_shape or (rows.image_shape if rows else None), weights)
    labels = [str(label) for label in run.classes]
    mistakes = []
    for k, at in enumerate(worst):
        predicted = int(P[at].argmax())
        picture: bytes | None = None
        cells: tuple[tuple[str, str], ...] = ()
        if rows is not None and shape is not None:
            picture = pictures.png_bytes(pictures.row_picture(rows.X[k], shape))
        elif rows is not None:
            cells = rows.cells(k)
        number = int(run.predictions[f"{part}_rows"][at])
        mistakes.append(Mistake(number, labels[y[at]], labels[predicted], float(P[at, predicted]), picture, cells))
    return Details(mistakes, note, weights, shape)


def _fitting(shape: tuple[int, ...] | None, weights: Array | None) -> tuple[int, ...] | None:
    return None if weights is None else pictures.image_shape_of(len(weights), shape)
