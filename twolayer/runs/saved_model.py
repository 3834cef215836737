"""A trained model as others use it: raw rows in, labels or probabilities out; and predictions.npz, what a run predicted
for its validation and test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data import Preparation
from twolayer.network.model import Array, Params, forward, softmax
from twolayer.runs.checkpoint import read_arrays, read_model_arrays
from twolayer.runs.folder import RunFolder, open_run
from twolayer.utils.errors import RunError
from twolayer.utils.files import CANNOT_READ, explained
from twolayer.utils.text import data_error, shown

_BLOCK_ROWS = 4096


@dataclass(eq=False, repr=False)
class Model:
    """Parameters, and all it takes to predict from raw rows: scaling, categories, labels.

    Attributes:
        params: Params of the network.
        preparation: turns raw rows into the network's rows.
        header: what the file says about the training: epoch, step, monitor, value.
    """

    params: Params
    preparation: Preparation
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> Sequence[str | int]:
        """Return the C labels, in the order of the probabilities' columns."""
        return self.preparation.classes

    def predict_proba(self, X: Any) -> Array:
        """Return class probabilities (N, C) of raw rows X (N, columns), as `Preparation.transform` takes them."""
        return self._outputs(self.preparation.transform(X), "row ")[1]

    def predict(self, X: Any) -> Array:
        """Return the label (N,) with the highest score for each raw row of X."""
        labels: Array = np.asarray(self.classes)[self._outputs(self.preparation.transform(X), "row ")[0]]
        return labels

    def predict_file(self, path: str | Path, notes: list[str] | None = None) -> Array:
        """Return class probabilities (N, C) of the raw rows in a file; its labels are not looked at."""
        return self.predict_rows(path, notes)[1]

    def predict_rows(self, path: str | Path, notes: list[str] | None = None) -> tuple[NDArray[np.intp], Array]:
        """Return the class indices (N,) with the highest scores, and the probabilities (N, C), of a file's rows.

        `notes` gets a sentence for columns that are not used and categories that training did not have.

        Raises:
            DataError: for any error in the file, or scores that are too large for the network's floats.
        """
        return self._outputs(self.preparation.read(path, with_labels=False, notes=notes)[0], f"{path}, row ")

    def _outputs(self, X: Array, where: str) -> tuple[NDArray[np.intp], Array]:
        """Return the classes with the highest scores and the probabilities of rows that are ready, in blocks."""
        best = np.empty(len(X), np.intp)
        P = np.empty((len(X), self.params.n_classes), np.result_type(self.params.dtype, X.dtype))
        for start in range(0, len(X), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            with np.errstate(over="ignore", invalid="ignore"):
                S = forward(self.params, X[rows])
            if not np.isfinite(S).all():
                row = start + int(np.argmin(np.isfinite(S).all(axis=1)))
                raise data_error(f"{where}{row}", f"scores that {P.dtype} holds", "an overflow of too large numbers")
            best[rows] = S.argmax(axis=1)
            P[rows] = softmax(S)
        return best, P

    def __repr__(self) -> str:
        return f"Model({self.params!r}, classes={list(self.classes[:5])}{' ...' if len(self.classes) > 5 else ''})"


def load_model(path: str | Path) -> Model:
    """Return the model in a file such as best.npz, or the best one of a run folder.

    Raises:
        RunError: if there is none, or the file is damaged or not a model.
    """
    path = Path(path)
    with explained(path, CANNOT_READ):
        in_folder = path.is_dir()
    if in_folder:
        best = RunFolder(path).best
        path = best if best.exists() else open_run(path).best  # which says what the folder is
    arrays, header = read_model_arrays(path, kinds=("model",), follow=not in_folder)
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


def read_predictions(path: Path) -> tuple[dict[str, Array], tuple[str | int, ...]]:
    """Return what a predictions.npz says a run predicted at its end.

    Returns:
        For `validation` and `test`, if the run has such rows: `test_rows` (N,), their numbers in the source, `test_y`
        (N,), class indices, `test_proba` (N, C); and the C labels.

    Raises:
        RunError: if the file cannot be read, is damaged, or its arrays and labels do not match.
    """
    arrays, header = read_arrays(path, kinds=("predictions",))
    classes = header.get("classes")
    if not (isinstance(classes, list) and classes and all(isinstance(label, str | int) for label in classes)):
        raise RunError(f"{path}: classes: expected a list of labels, got {shown(classes)}")
    for part in ("validation", "test"):
        found = [arrays[f"{part}_{name}"] for name in ("rows", "y", "proba") if f"{part}_{name}" in arrays]
        if found and not (len(found) == 3 and _fit(len(classes), *found)):
            expected = f"N row numbers, N class indices below {len(classes)} and N x {len(classes)} probabilities"
            shapes = ", ".join(f"{array.dtype} {array.shape}" for array in found)
            raise RunError(f"{path}: {part} rows: expected {expected}, got {shapes}")
        if found:
            arrays[f"{part}_y"] = found[1].astype(np.intp)
    return arrays, tuple(classes)


def _fit(n_classes: int, rows: Array, y: Array, proba: Array) -> bool:
    """Check that they are N row numbers, N class indices and (N, C) probabilities, NaN where scores overflowed."""
    N = len(y) if y.ndim else 0
    if not (rows.shape == y.shape == (N,) and proba.shape == (N, n_classes) and N > 0):
        return False
    if rows.dtype.kind not in "iu" or y.dtype.kind not in "iu" or proba.dtype.kind != "f":
        return False
    return bool(rows.min() >= 0 and y.min() >= 0 and y.max() < n_classes and not ((proba < 0) | (proba > 1)).any())
