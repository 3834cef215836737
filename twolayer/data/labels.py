"""Labels, whatever they are, to class indices 0..C-1 and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.table import is_missing
from twolayer.errors import DataError

Label = str | int


def as_labels(values: Sequence[str] | NDArray[Any], where: Callable[[int], str]) -> NDArray[Any]:
    """Labels as whole numbers if they all are, else as text.

    Args:
        values: (N,) cells of a table, or an array of whole numbers or text.
        where: the place of row i, for a message.

    Raises:
        DataError: for a missing label, or labels that are fractions.
    """
    array = np.asarray(values)
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise DataError(f"{where(0)}: labels of shape {array.shape}; one label for each row is wanted")
    if array.dtype.kind in "biu":
        return array.astype(np.int64) if array.dtype.kind == "b" else array
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.floor(array)).any():
            row = int(np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))[0])
            raise DataError(f"{where(row)}: label {array[row]}: labels are classes, whole numbers or text")
        return array.astype(np.int64)
    if array.dtype.kind != "U":
        raise DataError(f"{where(0)}: labels of type {array.dtype}; whole numbers or text are wanted")
    cells = [str(cell) for cell in array]
    for row, cell in enumerate(cells):
        if is_missing(cell) and cell.lower() not in ("none", "null", "na"):  # these may well be names of classes
            raise DataError(f"{where(row)}: the label is missing")
    try:
        numbers = np.array([int(cell) for cell in cells])
    except (ValueError, OverflowError):
        return array
    return numbers if [str(n) for n in numbers] == cells else array


def classes_of(labels: NDArray[Any]) -> tuple[Label, ...]:
    """The distinct labels in rising order."""
    return tuple(np.unique(labels).tolist())


def encode_labels(labels: NDArray[Any], classes: Sequence[Label], where: Callable[[int], str]) -> NDArray[Any]:
    """Class indices (N,) in the smallest type that holds them.

    Raises:
        DataError: for a label that is none of the classes.
    """
    known = np.asarray(classes)
    if known.dtype.kind == "U" and labels.dtype.kind != "U":
        labels = labels.astype(str)
    if known.dtype.kind != "U" and labels.dtype.kind == "U":
        row = next(i for i, label in enumerate(labels) if not label.lstrip("-").isdigit() or int(label) not in classes)
        raise DataError(_unknown(where(row), str(labels[row]), classes))
    at = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    wrong = np.flatnonzero(known[at] != labels)
    if len(wrong):
        raise DataError(_unknown(where(int(wrong[0])), labels[wrong[0]].item(), classes))
    return at.astype(np.min_scalar_type(len(known) - 1))


def _unknown(where: str, label: Label, classes: Sequence[Label]) -> str:
    more = ", ..." if len(classes) > 20 else ""
    return f"{where}: label {label!r} was not seen in training; known: {', '.join(map(repr, classes[:20]))}{more}"
