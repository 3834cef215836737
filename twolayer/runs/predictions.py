"""predictions.npz, a run's probabilities on its validation and test rows, read with the care of a stranger's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.runs.checkpoint import read_arrays
from twolayer.utils.errors import RunError

Array = NDArray[Any]


def read_predictions(path: Path) -> tuple[dict[str, Array], tuple[str | int, ...]]:
    """What a run predicted at its end.

    Args:
        path: the predictions.npz.

    Returns:
        For `validation` and `test`, as far as the run has such rows: `test_rows` (N,), where they stand in the
        source, `test_y` (N,), class indices, `test_proba` (N, C); and the C labels.

    Raises:
        RunError: if the file cannot be read, is damaged, or its arrays and labels do not fit each other.
    """
    arrays, header = read_arrays(path, kinds=("predictions",))
    classes = header.get("classes")
    if not (isinstance(classes, list) and classes and all(isinstance(label, str | int) for label in classes)):
        raise RunError(f"{path}: its header names no classes; wanted: a list of labels")
    for part in ("validation", "test"):
        found = {name: arrays[f"{part}_{name}"] for name in ("rows", "y", "proba") if f"{part}_{name}" in arrays}
        if found and not (len(found) == 3 and _fit(**found, n_classes=len(classes))):
            shapes = ", ".join(f"{part}_{name} {array.dtype} {array.shape}" for name, array in found.items())
            raise RunError(
                f"{path}: what it says of the {part} rows does not fit together: {shapes}; wanted: N row numbers, "
                f"N class indices below {len(classes)}, and N x {len(classes)} probabilities"
            )
        if found:
            arrays[f"{part}_y"] = found["y"].astype(np.intp)
    return arrays, tuple(classes)


def _fit(rows: Array, y: Array, proba: Array, n_classes: int) -> bool:
    """Whether they are N row numbers, N class indices and (N, C) probabilities, NaN where scores overflowed."""
    N = len(y) if y.ndim else 0
    if not (rows.shape == y.shape == (N,) and proba.shape == (N, n_classes) and N > 0):
        return False
    if rows.dtype.kind not in "iu" or y.dtype.kind not in "iu" or proba.dtype.kind != "f":
        return False
    return bool(rows.min() >= 0 and y.min() >= 0 and y.max() < n_classes and not ((proba < 0) | (proba > 1)).any())
