"""The one place that knows which reader a source needs: it turns each into rows of numbers and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.arrays import read_arrays
from twolayer.data.cells import Reading
from twolayer.data.columns import ColumnChoice, Labelling, TableForm
from twolayer.data.files import TABLES, format_of
from twolayer.data.frames import Frame, is_frame
from twolayer.data.labels import labels_of_array
from twolayer.data.table import Raw, read_table, read_training_table
from twolayer.network.model import Array
from twolayer.utils.text import as_data_error, data_error

Source = Any
"""A path, a list of CIFAR-10 files, {"features": PATH, "labels": PATH}, {"generator": NAME, ...} or a data frame."""


def is_table(source: object) -> bool:
    """Return whether a source is a table, with columns that can be named: a file by its name, or a data frame."""
    if isinstance(source, str | Path):
        return format_of(source) in TABLES
    return isinstance(source, Frame) or is_frame(source)


def read_training(
    source: Source,
    choice: ColumnChoice,
    seed: int,
    reading: Reading | None = None,
    constant: str = "keep",
    unseen: str = "none",
    notes: list[str] | None = None,
) -> tuple[Raw, TableForm | None]:
    """Return the rows of a training source, and for a table what its columns are; raises DataError."""
    with as_data_error():
        if is_table(source):
            collected: list[str] = [] if notes is None else notes
            return read_training_table(source, choice, reading or Reading(), constant, unseen, collected)
        return _of_arrays(*read_arrays(source, seed, part=0, need_labels=True)), None


def read_split(
    source: Source,
    form: TableForm | None,
    n_features: int,
    seed: int = 0,
    part: int = 0,
    labels: Labelling = "taken",
    notes: list[str] | None = None,
) -> Raw:
    """Return the rows of another source of the same kind as the training's.

    Args:
        source: where they are.
        form: the columns of the training table; None if it was none.
        n_features: D of the training.
        seed: the run's, for generated rows.
        part: 1 for validation, 2 for test.
        labels: whether rows without labels are an error, or labels not looked at.
        notes: gets what was decided.

    Raises:
        DataError: for any error in it, or another number of features.
    """
    with as_data_error():
        if is_table(source):
            if form is None and labels == "needed":
                expected = "rows with labels as in training: an npz or .bin file, or {features: FILE, labels: FILE}"
                where = source if isinstance(source, str | Path) else "rows"
                raise data_error(where, expected, "a table, though the training rows are in none")
            form = form or TableForm(None, n_features, None, tuple(range(n_features)), {})
            collected: list[str] = [] if notes is None else notes
            raw = read_table(source, form, labels, collected)
        else:
            name, X, y, label_name = read_arrays(source, seed, part, need_labels=labels == "needed")
            raw = _of_arrays(name, X, None if labels == "left" else y, label_name)
    if raw.X.shape[1] != n_features:
        raise data_error(raw.name, f"{n_features:,} features, as in training", f"{raw.X.shape[1]:,}")
    return raw


def files_of(source: object) -> list[Path]:
    """Return the files a source is read from."""
    if isinstance(source, str | Path):
        return [Path(source)]
    if isinstance(source, Mapping):
        return [Path(source[key]) for key in ("features", "labels") if isinstance(source.get(key), str | Path)]
    return [Path(part) for part in source] if isinstance(source, Sequence) else []


def _of_arrays(name: str, X: Array, y: Array | None, label_name: str) -> Raw:
    """Return the rows of arrays: X (N, D), or (N, height, width) or (N, height, width, colours) pictures; y (N,)."""
    if X.dtype.kind not in "biuf":
        raise data_error(name, "numbers", f"features of type {X.dtype}")
    if not 2 <= X.ndim <= 4 or not X.size:
        expected = "(N, D), or pictures (N, height, width) or (N, height, width, 3)"
        raise data_error(name, expected, f"features of shape {X.shape}")
    if y is not None and np.atleast_1d(y).shape[0] != len(X):
        found = f"{len(X):,} rows of features and {np.atleast_1d(y).shape[0]:,} labels"
        raise data_error(name, "one label for each row", found)
    labels = None if y is None else labels_of_array(y, label_name)
    return Raw(
        name,
        X if X.ndim == 2 else X.reshape(len(X), -1),
        labels,
        X.shape[1:] if X.ndim > 2 else None,
        place=lambda row: f"{name}, row {row}",
        label_place=lambda row: f"{label_name}, row {row}",
        feature=lambda j: f"feature {j}",
    )
