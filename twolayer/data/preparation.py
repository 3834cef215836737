"""All it takes to turn raw rows into the network's rows, and class indices into labels: fitted on training rows,
stored with the model, the same for training, evaluation and prediction.

In a model file it is plain JSON and a few arrays. The file is untrusted: every part of it is checked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.columns import MISSING_VALUES, Labelling, Reading, TableForm, is_frame, unique_names
from twolayer.data.labels import MISSING, Label
from twolayer.data.rows import METHODS, ArrayRows, Raw, ScaledRows, Scaling
from twolayer.data.sources import read_split
from twolayer.network.model import Array
from twolayer.utils.text import data_error, expected_got, shown

MISSING_POLICIES = ("refuse", "drop", "mean")
_READING_0_1 = Reading(missing_values=("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"))


@dataclass(frozen=True, eq=False, repr=False)
class Preparation:
    """From raw rows to the network's rows."""

    classes: tuple[Label, ...]  # the C labels, ascending; class index k means `classes[k]`
    scaling: Scaling  # of the D features
    method: str  # how it was fitted: none, center, standardize or max
    missing: str  # what a table's missing cells are: refuse, drop or mean
    fill: Array | None  # (D,) training means that missing cells get, where `missing` is mean; else None
    form: TableForm | None  # the columns of a table; None for arrays and images
    image_shape: tuple[int, ...] | None  # (height, width[, colours]) of a row that is a picture, else None
    dtype: np.dtype[Any]  # the network's float type

    @property
    def n_features(self) -> int:
        """D."""
        return len(self.scaling.center)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """D names: of the columns, `column=value` for a category, else x0, x1, ..."""
        return self.form.feature_names if self.form else tuple(f"x{j}" for j in range(self.n_features))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that `transform` takes, in order; for arrays those of the features."""
        return tuple(map(self.form.name, self.form.features)) if self.form else self.feature_names

    @property
    def label(self) -> str | None:
        """The name (or position) of a table's label column."""
        return self.form.name(self.form.label) if self.form and self.form.label is not None else None

    def transform(self, X: Any, notes: list[str] | None = None) -> Array:
        """Return raw rows as the network takes them.

        Args:
            X: (N, columns) numbers or cells in the order of `columns`, for pictures also (N, height, width[, colours]);
                or a data frame of pandas, polars or Arrow, read by its columns' names if training had names.
            notes: gets a sentence for columns that are not used and categories that training did not have; if left out,
                they are warnings.

        Returns:
            (N, D) in the network's float type.

        Raises:
            DataError: for another shape, a missing column, a cell that is no number, a NaN or an infinity.
        """
        collected: list[str] = [] if notes is None else notes
        form = self.form
        if is_frame(X) or (form is not None and (bool(form.categories) or np.asarray(X).dtype.kind in "OUS")):
            source = X if is_frame(X) or isinstance(X, np.ndarray) else np.asarray(X, object)
            raw = read_split(source, form, self.n_features, "left", collected, seed=0, part=0)
        else:
            given = np.asarray(X)
            if given.dtype.kind not in "biuf":
                raise data_error("rows", "numbers", f"values of type {given.dtype}")
            rows = given.reshape(len(given), -1) if given.ndim > 2 else given
            if rows.ndim != 2 or rows.shape[1] != self.n_features:
                raise data_error("rows", f"(N, {self.n_features}), one row for each prediction", f"shape {given.shape}")
            rows = rows.view()
            rows.flags.writeable = False  # they are the caller's
            names = self.feature_names
            raw = Raw("rows", rows, None, None, "row {}".format, "row {}".format, lambda j: f"column {shown(names[j])}")
        if notes is None:
            for note in collected:
                warnings.warn(note, stacklevel=3)
        return self._ready(raw)

    def read(
        self, path: str | Path, with_labels: bool = True, notes: list[str] | None = None
    ) -> tuple[Array, Array | None]:
        """Return the rows of a file (a table, npz, npy, IDX or CIFAR-10) as the network takes them.

        Returns:
            X (N, D) in the network's float type; y (N,) class indices, or None if the file has no labels or
            `with_labels` is false. `notes` gets what it does in `transform`.

        Raises:
            DataError: for any error in the file, or if it does not fit the training's.
        """
        labels: Labelling = "taken" if with_labels else "left"
        collected: list[str] = [] if notes is None else notes
        raw = read_split(str(path), self.form, self.n_features, labels, collected, seed=0, part=0)
        X = self._ready(raw)
        if raw.labels is None:
            return X, None
        without = np.flatnonzero(raw.labels.codes == MISSING)
        if len(without):
            raise data_error(raw.place(int(without[0])), "a label in every row", "no label")
        return X, raw.labels.indices(self.classes, raw.label_place)

    def rows(self, raw: Raw) -> ArrayRows:
        """Return a source's rows, without missing cells, as the solver takes them.

        Numbers in a file stay there, and those smaller than the network's floats (bytes of images) as they are, until
        a batch needs them; others are made ready once.
        """
        if not raw.mapped and raw.X.dtype.itemsize >= self.dtype.itemsize:
            return ArrayRows(self._ready(raw))
        return ScaledRows(raw.X, self.scaling)

    def _ready(self, raw: Raw) -> Array:
        """Return rows as the network takes them, in `raw.X` itself if it may be written to; raises DataError."""
        if self.form is not None:
            raw = raw.filled(self.fill, [])
        in_place = raw.X.dtype == self.dtype and raw.X.flags.writeable and raw.X.flags.c_contiguous
        out = raw.X if in_place else np.empty(raw.X.shape, self.dtype)
        with raw.finite(self.dtype):
            ScaledRows(raw.X, self.scaling).scale_all(self.dtype, out)
        return out

    def to_header(self) -> dict[str, Any]:
        """Return what `from_stored` needs beside the arrays, for JSON."""
        table = None
        if form := self.form:
            table = {key: getattr(form, key) for key in ("names", "width", "label", "features", "categories", "unseen")}
            table["categories"] = [list(entry) for entry in form.categories.items()]
            stored = ("separator", "decimal", "encoding", "missing_values", "header")
            table |= {key: getattr(form.reading, key) for key in stored}
        return {
            "classes": self.classes,
            "scale": self.method,
            "missing": self.missing,
            "dtype": self.dtype.name,
            "image_shape": self.image_shape,
            "table": table,
        }

    def to_arrays(self) -> dict[str, Array]:
        """Return the arrays that `from_stored` needs, by name."""
        arrays = {"data/center": self.scaling.center, "data/scale": self.scaling.scale}
        return arrays if self.fill is None else {**arrays, "data/fill": self.fill}

    @classmethod
    def from_stored(cls, header: Any, arrays: Mapping[str, Array]) -> Preparation:
        """Return the preparation in a model file: what `to_header` and `to_arrays` gave, checked.

        Raises:
            ValueError: for anything that is missing, of another type, or does not fit the rest.
        """
        _take({"preparation": header}, "preparation", lambda value: isinstance(value, dict), "an object")
        D = np.size(arrays.get("data/center", ()))

        def is_vector(array: Any) -> bool:
            is_float = array is not None and array.dtype == np.float64 and array.shape == (D,)
            return is_float and D > 0 and bool(np.isfinite(array).all())

        def are_labels(values: Any) -> bool:
            return (_are(str, values) or _are(int, values)) and len(set(values)) == len(values) > 1

        def is_scale(scale: Any) -> bool:
            return is_vector(scale) and bool((np.abs(scale) >= np.finfo(np.float64).tiny).all())

        def are_means(means: Any) -> bool:
            return means is None or (is_vector(means) and missing == "mean")

        def is_shape(sides: Any) -> bool:
            whole = _are(int, sides) and 2 <= len(sides) <= 3 and min(sides) > 0
            return sides is None or (whole and math.prod(sides) == D)

        classes = _take(header, "classes", are_labels, "two or more distinct labels, all text or all integers")
        method = _take(header, "scale", METHODS.__contains__, f"one of {METHODS}")
        missing = _take(header, "missing", MISSING_POLICIES.__contains__, f"one of {MISSING_POLICIES}")
        dtype = _take(header, "dtype", ("float32", "float64").__contains__, "float32 or float64")
        center = _take(arrays, "data/center", is_vector, "finite float64 numbers")
        scale = _take(arrays, "data/scale", is_scale, f"{D} finite float64 numbers, none 0")
        means = _take(arrays, "data/fill", are_means, f"{D} finite float64 numbers, for missing: mean")
        shape = _take(header, "image_shape", is_shape, f"2 or 3 sides whose product is {D}")
        shape = None if shape is None else tuple(shape)
        table = _take(header, "table", lambda value: value is None or isinstance(value, dict), "an object")
        later = {"unseen": "none", "encoding": "utf-8", "missing_values": list(MISSING_VALUES)}  # absent in older files
        form = None if table is None else _table_form({**later, **table}, D)
        return cls(tuple(classes), Scaling(center, scale), method, missing, means, form, shape, np.dtype(dtype))

    def __repr__(self) -> str:
        kind = "table" if self.form else "image" if self.image_shape else "array"
        return f"Preparation({kind} of {self.n_features:,} features, {len(self.classes)} classes, scale={self.method})"


def _take(stored: Mapping[str, Any], key: str, is_good: Callable[[Any], Any], expected: str) -> Any:
    """Return a value of a model file, None if it is absent; raise ValueError if it is not good."""
    value = stored.get(key)
    if not is_good(value):
        raise ValueError(f"{key}: {expected_got(expected, shown(str(value)))}")
    return value


def _table_form(table: Mapping[str, Any], D: int) -> TableForm:
    width = _take(table, "width", lambda n: type(n) is int and 0 < n <= 1 << 24, "a number of columns")
    names = _take(table, "names", lambda v: v is None or (_are(str, v) and len(v) == width), f"{width} names")
    label = _take(table, "label", lambda at: at is None or (type(at) is int and 0 <= at < width), "a position")

    def are_features(at: Any) -> bool:
        return _are(int, at) and all(a < b for a, b in pairwise((-1, *at, width))) and label not in at

    def are_categories(entries: Any) -> bool:
        if not _are(list, entries) or not all(len(entry) == 2 and _are(str, entry[1]) for entry in entries):
            return False
        known = [position for position, _ in entries]
        once = _are(int, known) and len(set(known)) == len(known) and set(features).issuperset(known)
        return once and all(values and len(set(values)) == len(values) for _, values in entries)

    features = _take(table, "features", are_features, "ascending positions other than the label's")
    entries = _take(table, "categories", are_categories, "[position of a feature, its distinct values], ...")
    categories = {position: tuple(values) for position, values in entries}
    unseen = _take(table, "unseen", ("none", "error").__contains__, "none or error")
    reading = _READING_0_1
    if "header" in table:
        header = _take(table, "header", lambda value: isinstance(value, bool), "true or false")
        mark = _take(table, "separator", lambda v: v is None or (isinstance(v, str) and len(v) == 1), "a character")
        decimal = _take(table, "decimal", (None, ".", ",").__contains__, "a point or a comma")
        encoding = _take(table, "encoding", lambda value: isinstance(value, str), "a name")
        missing = _take(table, "missing_values", lambda values: _are(str, values), "texts")
        reading = Reading(mark, decimal, encoding, header, tuple(missing))
    form = TableForm(names and unique_names(names), width, label, tuple(features), categories, reading, unseen)
    if len(form.origins) != D:
        raise ValueError(f"table: {expected_got(f'{D} features', str(len(form.origins)))}")
    return form


def _are(kind: type, values: Any) -> bool:
    """Check for a list in JSON, or the tuple that it was, of values of one type."""
    return isinstance(values, list | tuple) and all(type(value) is kind for value in values)
