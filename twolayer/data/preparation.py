"""All it takes to turn raw rows into the network's rows, and class indices into labels: fitted on training rows,
stored with the model, the same for training, evaluation and prediction.

The preparation as it stands in a model file: plain JSON and a few arrays, believed only after every part of it has
been checked, since the file is untrusted."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from twolayer.data.cells import MISSING_VALUES, MISSING_VALUES_0_1, Reading
from twolayer.data.columns import Labelling, Layout, unique_names
from twolayer.data.frames import frame_of, is_frame
from twolayer.data.labels import MISSING, Label, class_indices
from twolayer.data.rows import METHODS, ArrayRows, Rows, ScaledRows, Scaling
from twolayer.data.sources import Raw, read_split
from twolayer.data.table import TableForm
from twolayer.network.model import Array
from twolayer.utils.text import data_error, expected_got, shown

Name = Callable[[int], str]

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Preparation:
    """From raw rows to the network's rows.

    Attributes:
        classes: the C labels, ascending; class index k stands for `classes[k]`.
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
        if self.form is None:
            return self.feature_names
        return tuple(self.form.layout.name(position) for position in self.form.layout.features)

    @property
    def label(self) -> str | None:
        """The name (or position) of a table's label column."""
        layout = self.form.layout if self.form else None
        return layout.name(layout.label) if layout and layout.label is not None else None

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
        as_table = is_frame(X) or (
            self.form is not None and (bool(self.form.categories) or np.asarray(X).dtype.kind in "OUS")
        )
        if as_table:
            raw = read_split(
                X if is_frame(X) else frame_of(X), self.form, self.n_features, labels="left", notes=collected
            )
        else:
            raw = self._raw_of_numbers(np.asarray(X))
        if notes is None:
            for note in collected:
                warnings.warn(note, stacklevel=_outside())
        return self.ready(self.filled(raw.X, raw.place, raw.feature), raw.place, raw.feature)

    def _raw_of_numbers(self, X: Array) -> Raw:
        names = self.feature_names
        if X.dtype.kind not in "biuf":
            raise data_error("rows", "numbers", f"values of type {X.dtype}")
        rows = X.reshape(len(X), -1) if X.ndim > 2 else X
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise data_error("rows", f"(N, {self.n_features}), one row for each prediction", f"shape {X.shape}")

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
            notes: gets a sentence for columns that are not used and categories that training did not have.

        Returns:
            X (N, D) in the network's float type; y (N,) class indices, or None if the file has no labels or they are
            not looked at.

        Raises:
            DataError: for any error in the file, or if it does not fit the training's.
        """
        labels: Labelling = "taken" if with_labels else "left"
        raw = read_split(str(path), self.form, self.n_features, labels=labels, notes=notes)
        X = self.ready(self.filled(raw.X, raw.place, raw.feature), raw.place, raw.feature)
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
        if raw.mapped or raw.X.dtype.itemsize < self.dtype.itemsize:
            return ScaledRows(raw.X, self.scaling)
        return ArrayRows(self.ready(raw.X, raw.place, raw.feature, overwrite=True))

    def filled(self, X: Array, place: Name, feature: Name) -> Array:
        """Return X (N, D) with the training means in place of NaN, if it was trained so; a new array if any changes.

        Raises:
            DataError: for a NaN, if it was not.
        """
        if self.form is None or X.dtype.kind != "f":
            return X
        missing = np.isnan(X)
        if not missing.any():
            return X
        row, column = map(int, np.argwhere(missing)[0])
        if self.fill is None:
            raise data_error(
                f"{place(row)}: {feature(column)}", "a number", "a missing cell", "the model has no means to fill it"
            )
        return np.where(missing, self.fill, X)

    def ready(self, X: Array, place: Name, feature: Name, overwrite: bool = False) -> Array:
        """Return X (N, D) scaled, in the network's float type; in X itself if possible and `overwrite` allows it.

        Raises:
            DataError: for a number that is not finite, or not any more in that type.
        """
        in_place = overwrite and X.dtype == self.dtype and X.flags.writeable and X.flags.c_contiguous
        out = X if in_place else np.empty(X.shape, self.dtype)
        step = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
        for start in range(0, len(X), step):
            block = out[start : start + step]
            self.scaling.apply(X[start : start + step], block)
            if not np.isfinite(block).all():
                row, column = map(int, np.argwhere(~np.isfinite(block))[0])
                value = float(X[start + row, column])
                raise not_finite(place(start + row), feature(column), value, self.dtype)
        return out

    def to_header(self) -> dict[str, Any]:
        """Return what `from_stored` needs beside the arrays, for JSON."""
        return to_header(self)

    def to_arrays(self) -> dict[str, Array]:
        """Return the arrays that `from_stored` needs, by name."""
        arrays = {"data/center": self.scaling.center, "data/scale": self.scaling.scale}
        return arrays if self.fill is None else {**arrays, "data/fill": self.fill}

    @classmethod
    def from_stored(cls, header: Any, arrays: Mapping[str, Array]) -> Preparation:
        """Return the preparation in a model file.

        Args:
            header: what `to_header` gave, from an untrusted file.
            arrays: those of `to_arrays`, perhaps among others.

        Raises:
            ValueError: for anything that is missing, of another type, or does not fit the rest.
        """
        return cls(**checked(header, arrays))

    def __repr__(self) -> str:
        kind = "table" if self.form else "image" if self.image_shape else "array"
        return f"Preparation({kind} of {self.n_features:,} features, {len(self.classes)} classes, scale={self.method})"


def not_finite(place: str, feature: str, value: float, dtype: DTypeLike) -> Exception:
    """Return the error of a NaN, an infinity or a number that is too large for the network's floats."""
    return data_error(f"{place}: {feature}", f"a finite number that {np.dtype(dtype)} holds, also scaled", f"{value:g}")


READING_0_1 = Reading(missing_values=MISSING_VALUES_0_1)
MISSING_POLICIES = ("refuse", "drop", "mean")


def to_header(preparation: Preparation) -> dict[str, Any]:
    """Return a preparation without its arrays, for JSON."""
    header: dict[str, Any] = {
        "classes": list(preparation.classes),
        "scale": preparation.method,
        "missing": preparation.missing,
        "dtype": preparation.dtype.name,
        "image_shape": list(preparation.image_shape) if preparation.image_shape else None,
        "table": None,
    }
    if preparation.form:
        layout = preparation.form.layout
        header["table"] = {
            "names": list(layout.names) if layout.names else None,
            "width": layout.width,
            "label": layout.label,
            "features": list(layout.features),
            "categories": [[position, list(values)] for position, values in preparation.form.categories.items()],
            "unseen": preparation.form.unseen,
            **_reading_to_header(preparation.form.reading),
        }
    return header


def checked(header: Any, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return the arguments of a Preparation.

    Raises:
        ValueError: naming what is wrong.
    """
    _require(isinstance(header, dict), "preparation", header, "an object")
    classes = header.get("classes")
    _require(isinstance(classes, list) and len(classes) > 1, "classes", classes, "two labels or more")
    kind = type(classes[0])
    _require(
        kind in (str, int) and all(type(label) is kind for label in classes), "classes", classes, "all text or integers"
    )
    _require(len(set(classes)) == len(classes), "classes", classes, "distinct labels")
    method, missing, dtype = (header.get(key) for key in ("scale", "missing", "dtype"))
    _require(method in METHODS, "scale", method, f"one of {METHODS}")
    _require(missing in MISSING_POLICIES, "missing", missing, f"one of {MISSING_POLICIES}")
    _require(dtype in ("float32", "float64"), "dtype", dtype, "float32 or float64")
    center, scale = (_vector(arrays, name) for name in ("data/center", "data/scale"))
    D = len(center)
    _require(
        len(scale) == D and (np.abs(scale) >= np.finfo(np.float64).tiny).all(),
        "data/scale",
        scale,
        f"{D} numbers, none 0",
    )
    fill = _vector(arrays, "data/fill") if "data/fill" in arrays else None
    _require(
        fill is None or (len(fill) == D and missing == "mean"), "data/fill", fill, f"{D} numbers, for missing: mean"
    )
    shape = header.get("image_shape")
    if shape is not None:
        sides = (
            isinstance(shape, list) and 2 <= len(shape) <= 3 and all(type(side) is int and side > 0 for side in shape)
        )
        _require(
            sides and int(np.prod(shape, dtype=object)) == D, "image_shape", shape, f"2 or 3 sides whose product is {D}"
        )
    form = None if header.get("table") is None else _table_form(header["table"])
    if form is not None:
        encoded = sum(len(form.categories.get(position, "1")) for position in form.layout.features)
        _require(encoded == D, "table", encoded, f"{D} features")
    return {
        "classes": tuple(classes),
        "scaling": Scaling(center, scale),
        "method": method,
        "missing": missing,
        "fill": fill,
        "form": form,
        "image_shape": tuple(shape) if shape is not None else None,
        "dtype": np.dtype(dtype),
    }


def _table_form(table: Any) -> TableForm:
    _require(isinstance(table, dict), "table", table, "an object")
    names, width, label, features, categories = (
        table.get(key) for key in ("names", "width", "label", "features", "categories")
    )
    _require(type(width) is int and 0 < width <= 1 << 24, "table.width", width, "a number of columns")
    if names is not None:
        texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
        _require(texts and len(names) == width, "table.names", names, f"{width} names")
        named = list(filter(None, names))  # ignored columns may lack a name
        _require(len(named) == len(set(named)), "table.names", names, "distinct names")
    _require(label is None or (type(label) is int and 0 <= label < width), "table.label", label, "a position")
    whole = isinstance(features, list) and features and all(type(position) is int for position in features)
    _require(whole, "table.features", features, "positions")
    inside = features[0] >= 0 and features[-1] < width and label not in features
    _require(
        inside and all(first < second for first, second in pairwise(features)),
        "table.features",
        features,
        "ascending positions other than the label's",
    )
    _require(isinstance(categories, list), "table.categories", categories, "a list")
    known: dict[int, tuple[str, ...]] = {}
    positions = set(features)
    for entry in categories:
        _require(isinstance(entry, list) and len(entry) == 2, "table.categories", entry, "[position, values]")
        position, values = entry
        once = type(position) is int and position in positions and position not in known
        _require(once, "table.categories", position, "the position of a feature, once")
        texts = isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)
        _require(texts and len(set(values)) == len(values), "table.categories", values, "distinct values")
        known[position] = tuple(values)
    layout = Layout(unique_names(names) if names else None, width, label, tuple(features), frozenset(known))
    unseen = table.get("unseen", "none")
    _require(unseen in ("none", "error"), "table.unseen", unseen, "none or error")
    return TableForm(layout, known, _reading(table), unseen)


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
    texts = isinstance(missing, list) and all(isinstance(value, str) for value in missing)
    _require(texts, "table.missing_values", missing, "texts")
    return Reading(separator, decimal, encoding, header, tuple(missing))


def _vector(arrays: Mapping[str, Array], name: str) -> Array:
    array = arrays.get(name)
    good = (
        array is not None and array.dtype == np.float64 and array.ndim == 1 and len(array) and np.isfinite(array).all()
    )
    _require(good, name, None if array is None else f"{array.dtype} {array.shape}", "finite float64 numbers")
    assert array is not None
    return array


def _require(good: Any, what: str, found: object, expected: str) -> None:
    if not good:
        raise ValueError(f"{what}: {expected_got(expected, shown(str(found)))}")


def _outside() -> int:
    """Return the stack level of the first caller outside this package, for a warning."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("twolayer."):
        level, frame = level + 1, frame.f_back
    return level
