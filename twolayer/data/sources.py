"""Files that hold arrays: npz, npy, IDX, CIFAR-10's binary version; and generators. A table (csv) is read by `table`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.generated import GENERATORS
from twolayer.data.idx import read_idx
from twolayer.data.packed import digest
from twolayer.errors import DataError, FileError
from twolayer.npyfile import read_npy, read_npz

Array = NDArray[Any]
Source = str | Mapping[str, Any]

FEATURE_KEYS = ("X", "x", "features", "data", "images")
LABEL_KEYS = ("y", "Y", "labels", "label", "target")
CIFAR_ROW = 1 + 3 * 32 * 32
TABLE_ENDINGS = (".csv", ".csv.gz", ".txt", ".data", ".tsv")


@dataclass(frozen=True)
class Arrays:
    """Raw rows from a file of arrays.

    Attributes:
        where: the file, for messages.
        values: (N, D) numbers, in memory or mapped.
        labels: (N,) labels, or None if the file has none.
        image_shape: of a row that is an image: (height, width), or (channels, height, width).
        digests: SHA-256 by path.
    """

    where: str
    values: Array
    labels: Array | None
    image_shape: tuple[int, ...] | None = None
    digests: dict[str, str] = field(default_factory=dict)

    def place(self, row: int) -> str:
        """The place of a row, for a message."""
        return f"{self.where}: row {row}"


def is_table(source: Source) -> bool:
    """Whether a source is a CSV file."""
    return isinstance(source, str) and not source.endswith(
        (".npz", ".npy", ".bin", "ubyte", "ubyte.gz", ".idx", ".idx.gz")
    )


def read_arrays(source: Source, rng: np.random.Generator) -> Arrays:
    """Reads a source that is no table.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    if isinstance(source, Mapping) and "generator" in source:
        options = {key: value for key, value in source.items() if key != "generator" and value is not None}
        X, y = GENERATORS[source["generator"]](rng, **options)
        return Arrays(f"generator {source['generator']}", X, y)
    try:
        if isinstance(source, Mapping):
            return _read_pair(Path(source["features"]), Path(source["labels"]))
        path = Path(source)
        digests = {str(path): digest(path)}
        if path.suffix == ".npz":
            return _read_npz(path, digests)
        if path.suffix == ".bin":
            return _read_cifar(path, digests)
        values, shape = _as_rows(_read_array(path), path)
        return Arrays(str(path), values, None, shape, digests)
    except FileError as error:
        raise error if isinstance(error, DataError) else DataError(str(error)) from None
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _read_array(path: Path) -> Array:
    return read_npy(path, mapped=True) if path.suffix == ".npy" else read_idx(path)


def _read_pair(features: Path, labels: Path) -> Arrays:
    digests = {str(path): digest(path) for path in (features, labels)}
    values, shape = _as_rows(_read_array(features), features)
    y = np.array(_read_array(labels))
    if len(y) != len(values):
        raise DataError(f"{features}: {len(values):,} rows, but {labels} has {len(y):,} labels; they must be as many")
    return Arrays(str(features), values, y, shape, digests)


def _read_npz(path: Path, digests: dict[str, str]) -> Arrays:
    arrays = read_npz(path)
    features = next((key for key in FEATURE_KEYS if key in arrays), None)
    if features is None:
        raise DataError(f"{path}: no array named {' or '.join(FEATURE_KEYS)}; it has {', '.join(arrays) or 'none'}")
    labels = next((arrays[key] for key in LABEL_KEYS if key in arrays), None)
    values, shape = _as_rows(arrays[features], path)
    if labels is not None and len(np.atleast_1d(labels)) != len(values):
        raise DataError(f"{path}: {len(values):,} rows and {len(np.atleast_1d(labels)):,} labels; they must be as many")
    return Arrays(str(path), values, labels, shape, digests)


def _read_cifar(path: Path, digests: dict[str, str]) -> Arrays:
    """CIFAR-10's binary version: rows of a label byte and 3 x 32 x 32 pixels, channel by channel."""
    size = path.stat().st_size
    if size == 0 or size % CIFAR_ROW:
        raise DataError(f"{path}: {size:,} bytes; CIFAR-10's binary version has {CIFAR_ROW:,} bytes for each image")
    rows = np.memmap(path, np.uint8, mode="r", shape=(size // CIFAR_ROW, CIFAR_ROW))
    labels = np.array(rows[:, 0])
    if labels.max() > 9:
        row = int(labels.argmax())
        raise DataError(f"{path}: row {row}: label {labels[row]}; CIFAR-10 has the labels 0 to 9")
    return Arrays(str(path), rows[:, 1:], labels, (3, 32, 32), digests)


def _as_rows(array: Array, path: Path) -> tuple[Array, tuple[int, ...] | None]:
    """The array as (N, D), and the shape of an image if a row was one."""
    if array.dtype.kind not in "uif" or array.ndim < 2 or 0 in array.shape:
        what = "empty" if 0 in array.shape else f"{array.dtype} of shape {array.shape}"
        raise DataError(f"{path}: {what}; numbers of shape (N, D) or (N, height, width) are wanted")
    shape = tuple(array.shape[1:]) if array.ndim > 2 else None
    return array.reshape(len(array), -1), shape
