"""What turns raw rows into the model's rows, and class indices into labels: stored with the model, so that it predicts
from the files one has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Columns
from twolayer.data.labels import Label, as_labels, encode_labels
from twolayer.data.scaling import Scaling
from twolayer.data.sources import is_table, read_arrays
from twolayer.data.table import read_table
from twolayer.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Preparation:
    """From raw rows to the model's.

    Attributes:
        classes: the C labels, in the order of the class indices.
        scaling: of the D features.
        columns: how a table's columns are used; None for arrays.
        image_shape: of a row that is an image: (height, width) or (channels, height, width).
        dtype: the model's float type.
    """

    classes: tuple[Label, ...]
    scaling: Scaling
    columns: Columns | None = None
    image_shape: tuple[int, ...] | None = None
    dtype: str = "float32"

    @property
    def n_features(self) -> int:
        """D."""
        return len(self.scaling.center)

    @property
    def label(self) -> str | int | None:
        """The label column's name, or its position; None for arrays."""
        if self.columns is None or self.columns.label is None:
            return None
        return self.columns.names[self.columns.label] if self.columns.names else self.columns.label

    @property
    def feature_names(self) -> list[str]:
        """D names."""
        if self.columns is not None:
            return self.columns.feature_names
        return [f"feature {i}" for i in range(self.n_features)]

    def transform(self, X: Any) -> Array:
        """The model's rows (N, D) of raw ones.

        Args:
            X: (N, D) numbers; images may keep their shape. Where the model was trained on a table: a data frame with its
                columns, or (N, columns) cells as they stand in the file, the label left out.

        Raises:
            DataError: for columns, numbers or categories that do not fit.
        """
        if self.columns is not None:
            raw = self.columns.encode_cells(X)
        else:
            raw = np.asarray(X)
            raw = raw.reshape(len(raw), -1) if raw.ndim > 1 else raw
        if raw.dtype.kind not in "uifb" or raw.ndim != 2 or raw.shape[1] != self.n_features:
            raise DataError(f"rows of shape {np.shape(X)}, {raw.dtype}; wanted numbers of shape (N, {self.n_features})")
        return self._scaled(raw, lambda row: f"row {row}")

    def read(self, path: str | Path) -> tuple[Array, Array | None]:
        """The model's rows (N, D) of a file, and their class indices (N,) if it has labels.

        Raises:
            DataError: for a file that does not fit the model.
        """
        if self.columns is not None:
            if not is_table(str(path)):
                raise DataError(f"{path}: the model was trained on a table; a csv file with its columns is wanted")
            table = read_table(Path(path), self.label)
            positions, label = self.columns.positions_in(table, label_needed=False)
            values = self.columns.encode(table, positions)
            X = self._scaled(values, table.place)
            if label is None:
                return X, None

            def where(row: int) -> str:
                return table.place(row, label)

            return X, encode_labels(as_labels(table.strings(label), where), self.classes, where)
        if is_table(str(path)):
            raise DataError(f"{path}: the model was trained on arrays; an npz, npy or IDX file is wanted")
        raw = read_arrays(str(path), np.random.default_rng(0))
        if raw.values.shape[1] != self.n_features:
            raise DataError(f"{path}: {raw.values.shape[1]} numbers in a row, wanted {self.n_features} as in training")
        X = self._scaled(raw.values, raw.place)
        if raw.labels is None:
            return X, None
        return X, encode_labels(as_labels(raw.labels, raw.place), self.classes, raw.place)

    def _scaled(self, raw: Array, where: Any) -> Array:
        if raw.dtype.kind == "f":
            bad = ~np.isfinite(raw) if self.scaling.fill is None else np.isinf(raw)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                raise DataError(
                    f"{where(int(row))}: '{self.feature_names[column]}': {raw[row, column]}: a finite number is wanted"
                )
        out = np.empty(raw.shape, self.dtype)
        self.scaling.apply(raw, out)
        return out

    def to_header(self) -> dict[str, Any]:
        """Everything but the arrays, for a JSON header."""
        columns = None
        if self.columns is not None:
            columns = {
                "names": list(self.columns.names) if self.columns.names else None,
                "width": self.columns.width,
                "label": self.columns.label,
                "features": list(self.columns.features),
                "categories": {str(column): list(values) for column, values in self.columns.categories.items()},
            }
        shape = list(self.image_shape) if self.image_shape else None
        return {"classes": list(self.classes), "columns": columns, "image_shape": shape, "dtype": self.dtype}

    def to_arrays(self) -> dict[str, Array]:
        """The arrays, named data/..."""
        arrays = {"data/center": self.scaling.center, "data/scale": self.scaling.scale}
        return arrays if self.scaling.fill is None else {**arrays, "data/fill": self.scaling.fill}

    @classmethod
    def from_stored(cls, header: Any, arrays: Mapping[str, Array]) -> Preparation:
        """What `to_header` and `to_arrays` gave.

        Raises:
            ValueError, KeyError, TypeError: if it is not that.
        """
        classes = tuple(header["classes"])
        if (
            len(classes) < 2
            or not all(type(each) in (str, int) for each in classes)
            or len(set(classes)) != len(classes)
        ):
            raise ValueError("classes must be two or more different labels")
        vectors = [arrays["data/center"], arrays["data/scale"]] + [arrays[k] for k in ("data/fill",) if k in arrays]
        for vector in vectors:
            if (
                vector.dtype != np.float64
                or vector.shape != vectors[0].shape
                or vector.ndim != 1
                or not np.isfinite(vector).all()
            ):
                raise ValueError("the scaling's arrays must be finite float64 of one length")
        if (vectors[1] == 0).any():
            raise ValueError("a scale of 0")
        scaling = Scaling(vectors[0], vectors[1], vectors[2] if len(vectors) > 2 else None)
        if header["dtype"] not in ("float32", "float64"):
            raise ValueError(f"dtype {header['dtype']!r}")
        shape = header["image_shape"]
        image_shape = None if shape is None else tuple(int(n) for n in shape)
        columns = None if header["columns"] is None else _stored_columns(header["columns"])
        if columns is not None and columns.n_features != len(scaling.center):
            raise ValueError(f"columns give {columns.n_features} features, the scaling {len(scaling.center)}")
        return cls(classes, scaling, columns, image_shape, header["dtype"])


def _stored_columns(stored: Mapping[str, Any]) -> Columns:
    names = None if stored["names"] is None else tuple(map(str, stored["names"]))
    width, label = int(stored["width"]), stored["label"]
    features: Sequence[int] = [int(column) for column in stored["features"]]
    categories = {int(column): tuple(map(str, values)) for column, values in stored["categories"].items()}
    if (names is not None and len(names) != width) or not all(0 <= c < width for c in (*features, *categories)):
        raise ValueError("columns that do not fit each other")
    if label is not None and not 0 <= int(label) < width:
        raise ValueError("a label column that is not there")
    return Columns(names, width, label, tuple(features), categories)
