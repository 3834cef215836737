"""A trained model as others use it: raw rows in, labels or probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data import Preparation
from twolayer.network.model import Array, Params, predict_proba
from twolayer.runs.checkpoint import read_model_arrays
from twolayer.runs.folder import RunFolder
from twolayer.utils.errors import RunError


class Model:
    """Parameters, and all it takes to predict from raw rows: scaling, categories, labels.

    Attributes:
        params: Params of the network.
        preparation: turns raw rows into the network's rows.
        header: what the file says about the training: epoch, step, monitor, value.
    """

    def __init__(self, params: Params, preparation: Preparation, header: Mapping[str, Any] | None = None) -> None:
        self.params = params
        self.preparation = preparation
        self.header = dict(header or {})

    @property
    def classes(self) -> Sequence[str | int]:
        """The C labels, in the order of the probabilities' columns."""
        return self.preparation.classes

    def probabilities(self, X: Array) -> Array:
        """Class probabilities (N, C) of rows X (N, D) that `preparation` has made ready."""
        return predict_proba(self.params, X)

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities (N, C) of raw rows X (N, columns), as `Preparation.transform` takes them."""
        return self.probabilities(self.preparation.transform(X))

    def predict_file(self, path: str | Path) -> Array:
        """Class probabilities (N, C) of the raw rows in a csv, npz, npy or IDX file; its labels are not looked at."""
        return self.probabilities(self.preparation.read(path, with_labels=False)[0])

    def predict(self, X: Any) -> Array:
        """The label (N,) with the highest probability for each raw row of X."""
        labels: Array = np.asarray(self.classes)[self.predict_proba(X).argmax(axis=1)]
        return labels

    def __repr__(self) -> str:
        return f"Model({self.params!r}, classes={list(self.classes[:5])}{' ...' if len(self.classes) > 5 else ''})"


def load_model(path: str | Path) -> Model:
    """The model in an .npz file, or the best one of a run folder.

    Args:
        path: a run folder, or a file such as its best.npz.

    Raises:
        RunError: if there is none, or the file is damaged or not a model.
    """
    path = Path(path)
    if path.is_dir():
        path = RunFolder(path).best
    arrays, header = read_model_arrays(path, kinds=("model",))
    params = Params(arrays.get("W1"), arrays.get("b1"), arrays["W2"], arrays["b2"])
    try:
        preparation = Preparation.from_stored(header.get("preparation"), arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: the stored preparation of rows cannot be used: {error}") from None
    if preparation.n_features != params.n_features or len(preparation.classes) != params.n_classes:
        raise RunError(
            f"{path}: parameters for {params.n_features} features and {params.n_classes} classes, "
            f"preparation for {preparation.n_features} and {len(preparation.classes)}"
        )
    return Model(params, preparation, header)
