"""Rows, labels and weights of one call of fit, checked in scikit-learn's words and split for validation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from sklearn.utils.validation import _check_sample_weight, validate_data  # type: ignore[import-untyped]

from twolayer.network.model import Array

FLOATS = (np.float64, np.float32)


class FitRows(NamedTuple):
    """What the solver is given.

    Attributes:
        X: (N, D) training rows, float32 or float64.
        y: (N,) class indices.
        weights: (N,) weights of the rows, or None.
        validation: X and y of the validation rows, or None.
    """

    X: Array
    y: NDArray[np.intp]
    weights: Array | None = None
    validation: tuple[Array, NDArray[np.intp]] | None = None


def encode(y: Array, classes: Array, name: str = "y") -> NDArray[np.intp]:
    """Class indices (N,) of labels y (N,).

    Args:
        y: the labels.
        classes: (C,) all labels, sorted.
        name: what to call y in the message.

    Raises:
        ValueError: for a label that is not among the classes.
    """
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(f"{name} has labels {unknown.tolist()} that are not among the classes {classes.tolist()}")
    return np.searchsorted(classes, y)


def row_weights(sample_weight: Any, X: Array) -> Array | None:
    """The rows' weights (N,) in float64, or None where none are given."""
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("sample_weight must have a weight that is not zero")
    return weights


def validation_rows(estimator: BaseEstimator, X_val: Any, y_val: Any) -> tuple[Array, NDArray[np.intp]] | None:
    """The validation rows given to fit, or None.

    Raises:
        ValueError: if one of the two is missing, or they do not fit the training rows.
    """
    if X_val is None and y_val is None:
        return None
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val go together: give both or neither")
    X_val, y_val = validate_data(estimator, X_val, y_val, dtype=FLOATS, reset=False)
    return X_val, encode(y_val, estimator.classes_, "y_val")


def split_off(rows: FitRows, fraction: float, seed: int) -> FitRows:
    """Holds a fraction of the rows out for validation, every class in proportion.

    Args:
        rows: all rows.
        fraction: greater than 0, less than 1.
        seed: of the choice.

    Raises:
        ValueError: if there are too few rows of a class, or for a fraction out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation must be a fraction from 0 up to, but not including, 1; got {fraction!r}")
    try:
        train, held_out = train_test_split(
            np.arange(len(rows.y)), test_size=fraction, stratify=rows.y, random_state=seed % 2**32
        )
    except ValueError as error:
        raise ValueError(f"validation={fraction!r} of {len(rows.y)} rows cannot be held out: {error}") from None
    weights = None if rows.weights is None else rows.weights[train]
    return FitRows(rows.X[train], rows.y[train], weights, (rows.X[held_out], rows.y[held_out]))
