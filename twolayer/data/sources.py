"""From a source to rows of numbers and labels: which reader it needs, and the readers of what is no table: npz and npy
files, IDX, CIFAR-10's binary version, and rows made from a seed.

IDX is the format of MNIST and Fashion-MNIST: a big-endian header (two zero bytes, the type of the numbers, the count of
axes, the length of each axis) and the numbers. CIFAR-10: rows of 3,073 bytes, the label, then 32 x 32 pixels in a red,
a green and a blue plane. Uncompressed IDX and npy files are mapped, never loaded."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import ColumnChoice, Labelling, Reading, TableForm, is_frame
from twolayer.data.files import GZIP, TABLES, format_of, open_file, read_bytes
from twolayer.data.labels import labels_of_array
from twolayer.data.rows import Raw
from twolayer.network.model import Array
from twolayer.utils.npy import map_array, read_npy, read_npz
from twolayer.utils.randomness import generator
from twolayer.utils.text import as_data_error, data_error, some

Source = Any
"""A path, a list of CIFAR-10 files, {"features": PATH, "labels": PATH}, {"generator": NAME, ...} or a data frame."""

# The names of features and labels in an npz: training rows (0), and those for validation (1) and test (2) beside them.
PART_KEYS = (
    (("X", "x", "features", "data", "images", "X_train", "x_train"), ("y", "labels", "target", "y_train")),
    (("X_val", "x_val", "X_valid", "x_valid"), ("y_val", "y_valid")),
    (("X_test", "x_test"), ("y_test",)),
)


def is_table(source: object) -> bool:
    """Return whether a source is a table, with columns that can be named: a file by its name, a data frame, cells."""
    if isinstance(source, str | Path):
        return format_of(source) in TABLES
    return is_frame(source) or isinstance(source, np.ndarray)


def read_training(
    source: Source, choice: ColumnChoice, seed: int, reading: Reading, constant: str, unseen: str, notes: list[str]
) -> tuple[Raw, TableForm | None]:
    """Return the rows of a training source, and for a table what its columns are; raises DataError."""
    with as_data_error():
        if is_table(source):
            from twolayer.data.table import read_training_table  # pyarrow is for tables alone

            return read_training_table(source, choice, reading, constant, unseen, notes)
        return _of_arrays(*read_arrays(source, seed, part=0, need_labels=True)), None


def read_split(
    source: Source, form: TableForm | None, n_features: int, labels: Labelling, notes: list[str], seed: int, part: int
) -> Raw:
    """Return the rows of another source of the same kind as the training's: `form`, or None, and D features.

    `part` is 1 for validation, 2 for test; `labels` says whether rows without them are an error, or they are not looked
    at; `notes` gets what was decided.

    Raises:
        DataError: for any error in it, or another number of features.
    """
    with as_data_error():
        if is_table(source):
            from twolayer.data.table import read_table

            if form is None and labels == "needed":
                expected = "rows with labels as in training: an npz or .bin file, or {features: FILE, labels: FILE}"
                where = source if isinstance(source, str | Path) else "rows"
                raise data_error(where, expected, "a table, though the training rows are in none")
            form = form or TableForm(None, n_features, None, tuple(range(n_features)), {})
            raw = read_table(source, form, labels, notes)
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


def read_arrays(source: Any, seed: int, part: int, need_labels: bool) -> tuple[str, Array, Array | None, str]:
    """Return (name, X, y, name of the labels) of a source that is no table."""
    if isinstance(source, Mapping):
        if "generator" in source:
            return generate(source, seed, part)
        if set(source) != {"features", "labels"}:
            raise data_error("source", "features and labels, or generator", f"keys {some(source)}")
        features, labels = Path(source["features"]), Path(source["labels"])
        return str(features), _one_array(features), _one_array(labels), str(labels)
    is_one = isinstance(source, str | Path)
    paths = [Path(source)] if is_one else [Path(path) for path in source]
    if not paths or not (is_one or all(format_of(path) == "cifar" for path in paths)):
        raise data_error("source", "one file, or a list of CIFAR-10's .bin files", f"a list of {some(paths)}")
    path = paths[0]
    if format_of(path) == "cifar":
        return str(path), *_read_cifar(paths), str(path)
    if format_of(path) == "npz":
        arrays, names = read_npz(path), PART_KEYS[part]
        if not any(key in arrays for key in names[0]):  # it holds no rows for this part alone
            names = PART_KEYS[0]
        found, targets = ([key for key in keys if key in arrays] for keys in names)
        if len(found) != 1 or len(targets) > 1 or (need_labels and not targets):
            expected = f"one of {some(names[0])}" + f", and one of {some(names[1])}" * need_labels
            raise data_error(path, expected, f"arrays {some(arrays)}")
        return str(path), arrays[found[0]], arrays[targets[0]] if targets else None, f"{path} ({''.join(targets)})"
    if need_labels:
        raise data_error(path, "{features: FILE, labels: FILE}", "features without labels")
    return str(path), _one_array(path), None, ""


def _one_array(path: Path) -> Array:
    """Return the array in an IDX or .npy file, mapped where it is not compressed."""
    form = format_of(path)
    if form == "npy":
        with open_file(path) as file:
            if file.read(2) == GZIP:
                raise data_error(path, "it unpacked, or an .npz", "a gzipped .npy file")
        return read_npy(path, mapped=True)
    if form in ("npz", "cifar"):
        raise data_error(path, "its name alone, not {features: ..., labels: ...}", "features and labels in one file")
    return _read_idx(path)


_MAX_AXES = 8
_CIFAR_ROW = 1 + 3 * 32 * 32  # bytes
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _read_idx(path: Path) -> NDArray[Any]:
    """Return the array in an IDX file, plain (then mapped and read-only) or gzipped; raises DataError."""
    with open_file(path) as file:
        start, size = file.read(4 + 4 * _MAX_AXES), file.seek(0, 2)
        packed = start.startswith(GZIP)
        if packed:
            content = read_bytes(path)
            start, size = content[: 4 + 4 * _MAX_AXES], len(content)
        magic = start[:4].ljust(4, b"\0")
        zeros, kind, n_axes = magic[:2], magic[2], magic[3]
        if zeros != b"\0\0" or kind not in _TYPES or not 0 < n_axes <= _MAX_AXES:
            expected = "an IDX file: 0x00000803 (images of bytes), 0x00000801 (labels) or another IDX type"
            raise data_error(path, expected, f"magic number 0x{start[:4].hex()}")
        shape = tuple(int.from_bytes(start[at : at + 4], "big") for at in range(4, 4 + 4 * n_axes, 4))
        dtype, offset = np.dtype(_TYPES[kind]), 4 + 4 * n_axes
        announced, there = math.prod(shape) * dtype.itemsize, max(size - offset, 0)
        if announced != there:
            times = " x ".join(f"{length:,}" for length in shape)
            raise data_error(path, f"{announced:,} bytes of data, as its header announces {times}", f"{there:,}")
        if not announced:
            raise data_error(path, "at least one row of at least one number", f"axes of {shape}")
        if packed:
            return np.frombuffer(content, dtype, offset=offset).reshape(shape)
        return map_array(file, dtype, shape, offset)


def _read_cifar(paths: Sequence[Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images (N, 32, 32, 3) and labels (N,) of one or more files, such as the five data_batch_*.bin."""
    parts = []
    for path in paths:
        content = read_bytes(path)
        if not content or len(content) % _CIFAR_ROW:
            expected = f"CIFAR-10's binary version: rows of {_CIFAR_ROW:,} bytes, at least one"
            raise data_error(path, expected, f"{len(content):,} bytes")
        rows = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_ROW)
        row = int(rows[:, 0].argmax())
        if rows[row, 0] > 9:
            raise data_error(f"{path}, row {row}", "0 to 9", f"label {rows[row, 0]}", "CIFAR-100 has another form")
        parts.append(rows)
    images = np.empty((sum(map(len, parts)), 32, 32, 3), np.uint8)
    np.concatenate([rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for rows in parts], out=images)
    return images, np.concatenate([rows[:, 0] for rows in parts])


MAX_NUMBERS = 1 << 27  # a gibibyte of float64
_TURNS = 2 / math.pi  # of a spiral's arm; an angle of 4


def spiral(
    rng: np.random.Generator, classes: int = 3, rows_per_class: int = 100, noise: float = 0.2
) -> tuple[Array, Array]:
    """Return interleaved arms in the plane, one per class, as in CS231n's notes: X (C rows_per_class, 2), y.

    Point k of arm c is at radius r = k / (rows_per_class - 1) and angle 2 pi c / classes + 4 r + noise n in radians,
    with n standard normal.
    """
    y = np.repeat(np.arange(classes), rows_per_class)
    radius = np.tile(np.linspace(0, 1, rows_per_class), classes)
    angle = 2 * math.pi * (y / classes + _TURNS * radius) + noise * rng.standard_normal(len(y))
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]), y


def toy(rng: np.random.Generator, rows: int = 5, features: int = 4, classes: int = 3) -> tuple[Array, Array]:
    """Return a few rows of normal numbers, standard deviation 10, as in CS231n's toy; row i is of class i mod C."""
    return 10 * rng.standard_normal((rows, features)), np.arange(rows) % classes


GENERATORS: dict[str, Callable[..., tuple[Array, Array]]] = {"spiral": spiral, "toy": toy}


def generate(source: Mapping[str, Any], seed: int, part: int) -> tuple[str, Array, Array, str]:
    """Return the name, X (N, D), y (N,) and again the name of `{generator: NAME, ...}`, checked by the config.

    Part 0 is for training, 1 for validation, 2 for test rows: each has random numbers of its own.

    Raises:
        DataError: for more numbers than fit, or fewer rows than classes.
    """
    given = {key: value for key, value in source.items() if value is not None}
    name = given.pop("generator")
    where, classes = f"generator {name}", given.get("classes", 3)
    count = given.get("rows", given.get("rows_per_class", 100) * classes)
    if count * given.get("features", 4) > MAX_NUMBERS:
        raise data_error(where, f"at most {MAX_NUMBERS:,} numbers in all", f"{count:,} rows")
    if count < classes:
        raise data_error(where, "at least one row of each class", f"{count} rows for {classes} classes")
    X, y = GENERATORS[name](generator(seed, "generate", part), **given)
    return where, X, y, where
