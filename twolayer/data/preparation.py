"""All it takes to turn raw rows into the network's rows, and class indices into labels: fitted on training rows,
stored with the model, the same for training, evaluation and prediction.

In a model file it is plain JSON and a few arrays. The file is untrusted: every part of it is checked."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.cells import MISSING_VALUES, MISSING_VALUES_0_1, Reading
from twolayer.data.columns import Labelling, TableForm, unique_names
from twolayer.data.frames import frame_of, is_frame
from twolayer.data.labels import MISSING, Label, class_indices
from twolayer.data.rows import METHODS, ArrayRows, NotFiniteError, Rows, ScaledRows, Scaling
from twolayer.data.sources import read_split
from twolayer.data.table import Raw
from twolayer.network.model import Array
from twolayer.utils.text import data_error, expected_got, shown

READING_0_1 = Reading(missing_values=MISSING_VALUES_0_1)
MISSING_POLICIES = ("refuse", "drop", "mean")


@dataclass(frozen=True, eq=False)
class Preparation:
    """From raw rows to the network's rows.

    Attributes:
        classes: the C labels, ascending; class index k means `classes[k]`.
        scaling: of the D features.
        method: how it was fitted: none, center, standardize or max.
        missing: what a table's missing cells are: refuse, drop or mean.
        fill: (D,) training means that missing cells get, where `missing` is mean; else None.
        form: the columns of a table; None for arrays and images.
        image_shape: (height, width) or (height, width, colours) of a row that is a picture, else None.
        dtype: the network's float type.
    """

    classes: tuple[Label, ...]
    scaling: Scaling
    method: str
    missing: str
    fill: Array | None
    form: TableForm | None
    image_shape: tuple[int, ...] | None
    dtype: np.dtype[Any]

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
            source = X if is_frame(X) else frame_of(X)
            raw = read_split(source, form, self.n_features, labels="left", notes=collected)
        else:
            raw = self._raw_of_numbers(np.asarray(X))
        if notes is None:
            for note in collected:
                warnings.warn(note, stacklevel=_outside())
        return self._ready(raw)

    def _raw_of_numbers(self, X: Array) -> Raw:
        names = self.feature_names
        if X.dtype.kind not in "biuf":
            raise data_error("rows", "numbers", f"values of type {X.dtype}")
        rows = X.reshape(len(X), -1) if X.ndim > 2 else X
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise data_error("rows", f"(N, {self.n_features}), one row for each prediction", f"shape {X.shape}")
        rows = rows.view()
        rows.flags.writeable = False  # they are the caller's

        def place(row: int) -> str:
            return f"row {row}"

        return Raw("rows", rows, None, None, place, place, lambda j: f"column {shown(names[j])}")

    def read(
        self, path: str | Path, with_labels: bool = True, notes: list[str] | None = None
    ) -> tuple[Array, Array | None]:
        """Return the rows of a file (a table, npz, npy, IDX or CIFAR-10) as the network takes them.

        Args:
            path: the file.
            with_labels: whether its labels are looked at.
            notes: as of `transform`.

        Returns:
            X (N, D) in the network's float type; y (N,) class indices, or None if the file has no labels or they are
            not looked at.

        Raises:
            DataError: for any error in the file, or if it does not fit the training's.
        """
        labels: Labelling = "taken" if with_labels else "left"
        raw = read_split(str(path), self.form, self.n_features, labels=labels, notes=notes)
        X = self._ready(raw)
        if raw.labels is None:
            return X, None
        without = np.flatnonzero(raw.labels.codes == MISSING)
        if len(without):
            raise data_error(raw.place(int(without[0])), "a label in every row", "no label")
        return X, class_indices(raw.labels, self.classes, raw.label_place)

    def rows(self, raw: Raw) -> Rows:
        """Return a source's rows, without missing cells, as the solver takes them.

        Numbers in a file stay there, and those smaller than the network's floats (bytes of images) as they are, until
        a batch needs them; others are made ready once.
        """
        if not raw.mapped and raw.X.dtype.itemsize >= self.dtype.itemsize:
            return ArrayRows(self._ready(raw))
        return ScaledRows(raw.X, self.scaling)

    def _ready(self, raw: Raw) -> Array:
        """Return rows as the network takes them, in `raw.X` itself if it may be written to.

        Raises:
            DataError: for a missing cell without a mean to fill it, or a number that is not finite.
        """
        if self.form is not None:
            raw = fill(raw, self.fill, [])
        in_place = raw.X.dtype == self.dtype and raw.X.flags.writeable and raw.X.flags.c_contiguous
        out = raw.X if in_place else np.empty(raw.X.shape, self.dtype)
        try:
            ScaledRows(raw.X, self.scaling).scale_all(self.dtype, out)
        except NotFiniteError as error:
            raise not_finite(raw, error, self.dtype) from None
        return out

    def to_header(self) -> dict[str, Any]:
        """Return what `from_stored` needs beside the arrays, for JSON."""
        table = None
        if form := self.form:
            table = {
                "names": list(form.names) if form.names else None,
                "width": form.width,
                "label": form.label,
                "features": list(form.features),
                "categories": [[position, list(values)] for position, values in form.categories.items()],
                "unseen": form.unseen,
                **_reading_to_header(form.reading),
            }
        return {
            "classes": list(self.classes),
            "scale": self.method,
            "missing": self.missing,
            "dtype": self.dtype.name,
            "image_shape": list(self.image_shape) if self.image_shape else None,
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
        _require(isinstance(header, dict), "preparation", header, "an object")
        classes, method, missing, dtype, shape = (
            header.get(key) for key in ("classes", "scale", "missing", "dtype", "image_shape")
        )
        _require(isinstance(classes, list) and len(classes) > 1, "classes", classes, "two labels or more")
        same = type(classes[0]) in (str, int) and len(set(map(type, classes))) == 1
        _require(same, "classes", classes, "all text or integers")
        _require(len(set(classes)) == len(classes), "classes", classes, "distinct labels")
        _require(method in METHODS, "scale", method, f"one of {METHODS}")
        _require(missing in MISSING_POLICIES, "missing", missing, f"one of {MISSING_POLICIES}")
        _require(dtype in ("float32", "float64"), "dtype", dtype, "float32 or float64")
        center, scale = _vector(arrays, "data/center"), _vector(arrays, "data/scale")
        D = len(center)
        not_zero = len(scale) == D and (np.abs(scale) >= np.finfo(np.float64).tiny).all()
        _require(not_zero, "data/scale", scale, f"{D} numbers, none 0")
        means = _vector(arrays, "data/fill") if "data/fill" in arrays else None
        fits = means is None or (len(means) == D and missing == "mean")
        _require(fits, "data/fill", means, f"{D} numbers, for missing: mean")
        if shape is not None:
            sides = _are(int, shape) and 2 <= len(shape) <= 3 and min(shape) > 0
            good = sides and int(np.prod(shape, dtype=object)) == D
            _require(good, "image_shape", shape, f"2 or 3 sides whose product is {D}")
        form = None if header.get("table") is None else _table_form(header["table"])
        encoded = D if form is None else len(form.origins)
        _require(encoded == D, "table", encoded, f"{D} features")
        shape = None if shape is None else tuple(shape)
        return cls(tuple(classes), Scaling(center, scale), method, missing, means, form, shape, np.dtype(dtype))

    def __repr__(self) -> str:
        kind = "table" if self.form else "image" if self.image_shape else "array"
        return f"Preparation({kind} of {self.n_features:,} features, {len(self.classes)} classes, scale={self.method})"


def fill(raw: Raw, means: Array | None, notes: list[str]) -> Raw:
    """Return rows with the means (D,) in place of NaN, in `raw.X` itself if it may be written to; note their number.

    Raises:
        DataError: for a NaN, if there are no means.
    """
    missing = np.isnan(raw.X)
    if not missing.any():
        return raw
    if means is None:
        row, column = map(int, np.argwhere(missing)[0])
        place = f"{raw.place(row)}: {raw.feature(column)}"
        raise data_error(place, "a number", "a missing cell", "the model has no means to fill it")
    X = raw.X if raw.X.flags.writeable else raw.X.copy()
    np.copyto(X, means, where=missing)
    notes.append(f"{raw.name}: {int(missing.sum()):,} missing cells filled with the means of the training rows")
    return replace(raw, X=X)


def not_finite(raw: Raw, error: NotFiniteError, dtype: np.dtype[Any]) -> Exception:
    """Return the error of a NaN, an infinity or a number that is too large for the network's floats."""
    place = f"{raw.place(error.row)}: {raw.feature(error.column)}"
    return data_error(place, f"a finite number that {dtype} holds, also scaled", f"{error.value:g}")


def _table_form(table: Any) -> TableForm:
    _require(isinstance(table, dict), "table", table, "an object")
    names, width, label, features, categories = (
        table.get(key) for key in ("names", "width", "label", "features", "categories")
    )
    _require(type(width) is int and 0 < width <= 1 << 24, "table.width", width, "a number of columns")
    if names is not None:
        _require(_are(str, names) and len(names) == width, "table.names", names, f"{width} names")
        named = list(filter(None, names))  # ignored columns may lack a name
        _require(len(named) == len(set(named)), "table.names", names, "distinct names")
    _require(label is None or (type(label) is int and 0 <= label < width), "table.label", label, "a position")
    _require(_are(int, features) and features, "table.features", features, "positions")
    rising = features[0] >= 0 and features[-1] < width and all(first < second for first, second in pairwise(features))
    expected = "ascending positions other than the label's"
    _require(rising and label not in features, "table.features", features, expected)
    _require(isinstance(categories, list), "table.categories", categories, "a list")
    known: dict[int, tuple[str, ...]] = {}
    positions = set(features)
    for entry in categories:
        _require(isinstance(entry, list) and len(entry) == 2, "table.categories", entry, "[position, values]")
        position, values = entry
        once = type(position) is int and position in positions and position not in known
        _require(once, "table.categories", position, "the position of a feature, once")
        distinct = _are(str, values) and values and len(set(values)) == len(values)
        _require(distinct, "table.categories", values, "distinct values")
        known[position] = tuple(values)
    unseen = table.get("unseen", "none")
    _require(unseen in ("none", "error"), "table.unseen", unseen, "none or error")
    unique = unique_names(names) if names else None
    return TableForm(unique, width, label, tuple(features), known, _reading(table), unseen)


def _reading_to_header(reading: Reading) -> dict[str, Any]:
    """How the training table was read; what is as by default is left out."""
    chosen = {"separator": reading.separator, "decimal": reading.decimal}
    given: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    if reading.encoding != "utf-8":
        given["encoding"] = reading.encoding
    if reading.missing_values != MISSING_VALUES:
        given["missing_values"] = list(reading.missing_values)
    return {**given, "header": reading.header}


def _reading(table: Mapping[str, Any]) -> Reading:
    if "header" not in table:  # a model of version 0.1
        return READING_0_1
    header, separator, decimal = table["header"], table.get("separator"), table.get("decimal")
    _require(isinstance(header, bool), "table.header", header, "true or false")
    one = separator is None or (isinstance(separator, str) and len(separator) == 1)
    _require(one, "table.separator", separator, "a character")
    _require(decimal in (None, ".", ","), "table.decimal", decimal, "a point or a comma")
    encoding, missing = table.get("encoding", "utf-8"), table.get("missing_values", list(MISSING_VALUES))
    _require(isinstance(encoding, str), "table.encoding", encoding, "a name")
    _require(_are(str, missing), "table.missing_values", missing, "texts")
    return Reading(separator, decimal, encoding, header, tuple(missing))


def _vector(arrays: Mapping[str, Array], name: str) -> Array:
    array = arrays.get(name)
    if array is None or array.dtype != np.float64 or array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        found = None if array is None else f"{array.dtype} {array.shape}"
        raise ValueError(f"{name}: {expected_got('finite float64 numbers', shown(str(found)))}")
    return array


def _are(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _require(good: Any, what: str, found: object, expected: str) -> None:
    if not good:
        raise ValueError(f"{what}: {expected_got(expected, shown(str(found)))}")


def _outside() -> int:
    """Return the stack level of the first caller outside this package, for a warning."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("twolayer."):
        level, frame = level + 1, frame.f_back
    return level
