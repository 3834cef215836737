"""The one place that knows which reader a source needs: it turns each into rows of numbers and labels."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.columns import ColumnChoice, Labelling, Layout
from twolayer.data.csv_reader import Table
from twolayer.data.files import format_of, is_gzipped
from twolayer.data.generated import generate
from twolayer.data.images import read_cifar, read_idx
from twolayer.data.labels import Labels, labels_of_array
from twolayer.data.table import TableForm, read_table, read_training_table
from twolayer.network.model import Array
from twolayer.utils.npy import read_npy, read_npz
from twolayer.utils.text import as_data_error, data_error, shown, some

Source = str | Path | Sequence[str | Path] | Mapping[str, Any]

FEATURE_KEYS = ("X", "x", "features", "data", "images", "X_train", "x_train")
LABEL_KEYS = ("y", "labels", "target", "y_train")


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows as a source has them.

    Attributes:
        name: the source, for messages.
        X: (N, D) numbers of any type, in memory or mapped; NaN where a table's cell is missing.
        labels: of the rows; None where the source has none.
        image_shape: shape of a row as a picture, (height, width) or (height, width, colours), where it is one.
        place: words for where row i stands.
        label_place: words for where the label of row i stands.
        feature: words for feature j.
    """

    name: str
    X: Array
    labels: Labels | None
    image_shape: tuple[int, ...] | None
    place: Callable[[int], str]
    label_place: Callable[[int], str]
    feature: Callable[[int], str]

    @property
    def mapped(self) -> bool:
        """Whether the numbers are in a file and not in memory."""
        owner: Any = self.X
        while isinstance(owner, np.ndarray):
            owner = owner.base
        return isinstance(owner, mmap.mmap)


def is_table(source: object) -> bool:
    """Whether a source is a CSV file, with columns that can be named."""
    return isinstance(source, str | Path) and format_of(source) == "csv"


def read_training(source: Source, choice: ColumnChoice, seed: int) -> tuple[Raw, TableForm | None]:
    """The rows of a training source, and for a table what its columns are.

    Raises:
        DataError: for any fault in it.
    """
    with as_data_error():
        if is_table(source):
            table, form = read_training_table(Path(str(source)), choice)
            return _of_table(table, form, str(source)), form
        return _of_arrays(*_arrays(source, seed, part=0, need_labels=True)), None


def read_more(source: Source, form: TableForm | None, n_features: int, seed: int, part: int, labels: Labelling) -> Raw:
    """The rows of another source of the same kind as the training's.

    Args:
        source: where they are.
        form: the columns of the training table; None if it was none.
        n_features: D of the training.
        seed: the run's seed, for generated rows.
        part: 1 for validation, 2 for test.
        labels: whether rows without labels are a fault, or labels not looked at.

    Raises:
        DataError: for any fault in it, or another number of features.
    """
    with as_data_error():
        if is_table(source):
            if form is None and labels == "needed":
                wanted = "rows with labels as in training: an npz or .bin file, or {features: FILE, labels: FILE}"
                raise data_error(str(source), wanted, "a csv, though the training rows are in none")
            layout = form.layout if form else Layout(None, n_features, None, tuple(range(n_features)), frozenset())
            table = read_table(Path(str(source)), layout, labels)
            raw = _of_table(table, form or TableForm(layout, {}), str(source))
        else:
            name, X, y, label_name = _arrays(source, seed, part, need_labels=labels == "needed")
            raw = _of_arrays(name, X, None if labels == "left" else y, label_name)
    if raw.X.shape[1] != n_features:
        raise data_error(raw.name, f"{n_features:,} features, as in training", f"{raw.X.shape[1]:,}")
    return raw


def files_of(source: object) -> list[Path]:
    """The files a source is read from."""
    if isinstance(source, str | Path):
        return [Path(source)]
    if isinstance(source, Mapping):
        return [Path(source[key]) for key in ("features", "labels") if isinstance(source.get(key), str | Path)]
    return [Path(part) for part in source] if isinstance(source, Sequence) else []


def _of_table(table: Table, form: TableForm, name: str) -> Raw:
    names = form.feature_names
    return Raw(
        name,
        form.encode(table, name),
        table.labels,
        None,
        place=table.place,
        label_place=table.place,
        feature=lambda j: f"column {shown(names[j])}",
    )


def _of_arrays(name: str, X: Array, y: Array | None, label_name: str) -> Raw:
    """Rows of arrays: X (N, D), or (N, height, width) or (N, height, width, colours) pictures; y (N,)."""
    if X.dtype.kind not in "biuf":
        raise data_error(name, "numbers", f"features of type {X.dtype}")
    if not 2 <= X.ndim <= 4 or not X.size:
        raise data_error(
            name, "(N, D), or pictures (N, height, width) or (N, height, width, 3)", f"features of shape {X.shape}"
        )
    if y is not None and len(np.atleast_1d(y)) != len(X):
        raise data_error(
            name, "one label for each row", f"{len(X):,} rows of features and {len(np.atleast_1d(y)):,} labels"
        )
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


def _arrays(source: Source, seed: int, part: int, need_labels: bool) -> tuple[str, Array, Array | None, str]:
    """(name, X, y, name of the labels) of a source that is no table."""
    if isinstance(source, Mapping):
        if "generator" in source:
            X, y, name = generate(source, seed, part)
            return name, X, y, name
        if set(source) != {"features", "labels"}:
            raise data_error("source", "features and labels, or generator", f"keys {some(source)}")
        features, labels = Path(source["features"]), Path(source["labels"])
        return str(features), _one_array(features), _one_array(labels), str(labels)
    if not isinstance(source, str | Path):
        paths = [Path(path) for path in source]
        if not paths or any(format_of(path) != "cifar" for path in paths):
            raise data_error("source", "one file, or a list of CIFAR-10's .bin files", f"a list of {some(paths)}")
        return str(paths[0]), *read_cifar(paths), str(paths[0])
    path = Path(source)
    form = format_of(path)
    if form == "cifar":
        return str(path), *read_cifar([path]), str(path)
    if form == "npz":
        return _pick(path, need_labels)
    if need_labels:
        raise data_error(path, "{features: FILE, labels: FILE}", "features without labels")
    return str(path), _one_array(path), None, ""


def _one_array(path: Path) -> Array:
    """The array in an IDX or .npy file, mapped where it is not compressed."""
    form = format_of(path)
    if form == "npy":
        if is_gzipped(path):
            raise data_error(path, "an .npy or .npz file", "a gzipped .npy file", "unpack it")
        return read_npy(path, mapped=True)
    if form in ("npz", "cifar"):
        raise data_error(
            path, "the file's name alone, not {features: ..., labels: ...}", "features and labels in one file"
        )
    return read_idx(path)


def _pick(path: Path, need_labels: bool) -> tuple[str, Array, Array | None, str]:
    arrays = read_npz(path)
    features = [key for key in FEATURE_KEYS if key in arrays]
    labels = [key for key in LABEL_KEYS if key in arrays]
    if len(features) != 1 or len(labels) > 1 or (need_labels and not labels):
        wanted = f"one of {some(FEATURE_KEYS)}" + f", and one of {some(LABEL_KEYS)}" * need_labels
        raise data_error(path, wanted, f"arrays {some(arrays)}")
    return str(path), arrays[features[0]], arrays[labels[0]] if labels else None, f"{path} ({''.join(labels)})"
