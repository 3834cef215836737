"""The preparation as it stands in a model file: plain JSON and a few arrays, believed only after every part of it has
been checked, since the file may be anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Layout
from twolayer.data.scaling import METHODS, Scaling
from twolayer.data.table_form import TableForm

if TYPE_CHECKING:
    from twolayer.data.preparation import Preparation

Array = NDArray[Any]

MISSING_POLICIES = ("refuse", "drop", "mean")


def to_header(preparation: Preparation) -> dict[str, Any]:
    """A preparation without its arrays, for JSON."""
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
        }
    return header


def checked(header: Any, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The arguments of a Preparation.

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
    for entry in categories:
        _require(isinstance(entry, list) and len(entry) == 2, "table.categories", entry, "[position, values]")
        position, values = entry
        _require(type(position) is int and position in features and position not in known, "table.categories", position,
                 "the position of a feature, once")  # fmt: skip
        texts = isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)
        _require(texts and len(set(values)) == len(values), "table.categories", values, "distinct values")
        known[position] = tuple(values)
    layout = Layout(tuple(names) if names else None, width, label, tuple(features), frozenset(known))
    return TableForm(layout, known)


def _vector(arrays: Mapping[str, Array], name: str) -> Array:
    array = arrays.get(name)
    good = (
        array is not None and array.dtype == np.float64 and array.ndim == 1 and len(array) and np.isfinite(array).all()
    )
    _require(good, name, None if array is None else f"{array.dtype} {array.shape}", "finite float64 numbers")
    assert array is not None
    return array


def _require(good: Any, what: str, found: object, wanted: str) -> None:
    if not good:
        raise ValueError(f"{what}: {str(found)[:80]}; wanted: {wanted}")
