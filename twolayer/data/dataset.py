"""From the config's section `data` to rows ready to train on: read, split, fill, scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import Columns, choose_columns
from twolayer.data.labels import as_labels, classes_of, encode_labels
from twolayer.data.packed import digest
from twolayer.data.preparation import Preparation
from twolayer.data.rows import ArrayRows, Rows, ScaledRows
from twolayer.data.scaling import ScaleName, Scaling, fit_scaling
from twolayer.data.sources import Source, is_table, read_arrays
from twolayer.data.splits import stratified_split
from twolayer.data.table import read_table
from twolayer.errors import DataError
from twolayer.randomness import generator

Array = NDArray[Any]
Missing = Literal["refuse", "drop", "mean"]

BLOCK_BYTES = 8 << 20  # of rows looked at in one piece


@dataclass(frozen=True)
class Split:
    """Rows with their classes.

    Attributes:
        X: N rows of D features.
        y: (N,) class indices.
        row_numbers: (N,) where each row stands in its source, from 0.
    """

    X: Rows
    y: Array
    row_numbers: Array


@dataclass(frozen=True)
class Dataset:
    """All rows of a run.

    Attributes:
        train: the rows to train on.
        validation: the rows to choose by, or None.
        test: the rows that only the end sees, or None.
        preparation: how raw rows become the model's.
        notes: what was left out or filled, in words.
        digests: SHA-256 of each file by its path.
    """

    train: Split
    validation: Split | None
    test: Split | None
    preparation: Preparation
    notes: tuple[str, ...]
    digests: dict[str, str]

    @property
    def n_features(self) -> int:
        """D."""
        return self.preparation.n_features

    @property
    def classes(self) -> tuple[str | int, ...]:
        """The C labels."""
        return self.preparation.classes

    def __repr__(self) -> str:
        counts = [f"{n} {len(s.y):,}" for n in ("train", "validation", "test") if (s := getattr(self, n)) is not None]
        return f"Dataset({', '.join(counts)} rows, {self.n_features} features, {len(self.classes)} classes)"


@dataclass
class _Part:
    """Raw rows on their way: values (N, D), NaN for missing, classes, and which of the source's rows they are."""

    where: Callable[[int, int | None], str]
    values: Array
    labels: Array
    chosen: Array
    y: Array | None = None


def load_dataset(
    *,
    train: Source,
    test: Source | float | None = None,
    validation: Source | float | None = 0.15,
    label: str | int | None = None,
    ignore: Sequence[str | int] = (),
    categorical: Sequence[str | int] = (),
    missing: Missing = "refuse",
    scale: ScaleName = "standardize",
    seed: int = 0,
    dtype: str = "float32",
) -> Dataset:
    """Reads and prepares all rows; the arguments are the keys of the config's section `data`.

    A fraction as `test` is held out of the training rows before anything else, one as `validation` of what remains, both
    stratified. Categories come from the training file, means and scaling from the training rows alone.

    Raises:
        DataError: for the first fault found, naming its file, row and column.
    """
    reader = _Reader(label, ignore, categorical, seed)
    parts = {"train": reader.read(train)}
    classes = classes_of(parts["train"].labels)
    if len(classes) < 2:
        raise DataError(f"{_name(train)}: only one class, {classes[0]!r}; a classifier needs two or more")
    _encode(parts["train"], classes)
    for name, source in (("test", test), ("validation", validation)):
        if isinstance(source, int | float):
            if source > 0:
                kept, held = _hold_out(parts["train"], name, float(source), seed, classes, _name(train))
                parts |= {"train": kept, name: held}
        elif source is not None:
            parts[name] = reader.read(source)
            _encode(parts[name], classes)
    width = parts["train"].values.shape[1]
    for name, part in parts.items():
        if part.values.shape[1] != width:
            raise DataError(f"{name}: {part.values.shape[1]} features in a row, but training rows have {width}")
    notes = [note for name, part in parts.items() for note in _treat_missing(name, part, missing, reader.columns)]
    scaling = fit_scaling(_blocks(parts["train"]), width, scale, fill=missing == "mean")
    preparation = Preparation(classes, scaling, reader.columns, reader.image_shape, dtype)
    splits = {name: _ready(part, scaling, dtype) for name, part in parts.items()}
    return Dataset(
        splits["train"], splits.get("validation"), splits.get("test"), preparation, tuple(notes), reader.digests
    )


class _Reader:
    """Reads sources; the first one, the training rows, decides how a table's columns are used."""

    def __init__(self, label: str | int | None, ignore: Sequence[Any], categorical: Sequence[Any], seed: int) -> None:
        self._label, self._ignore, self._categorical, self._seed = label, ignore, categorical, seed
        self.columns: Columns | None = None
        self.image_shape: tuple[int, ...] | None = None
        self.digests: dict[str, str] = {}
        self._count = 0

    def read(self, source: Source) -> _Part:
        if self._count and is_table(source) != (self.columns is not None):
            raise DataError(
                f"{_name(source)}: training rows are {'a table' if self.columns else 'arrays'}, and so must these be"
            )
        part = self._table(Path(str(source))) if is_table(source) else self._arrays(source)
        self._count += 1
        return part

    def _table(self, path: Path) -> _Part:
        table = read_table(path, self._label)
        self.digests[str(path)] = digest(path)
        if self.columns is None:
            self.columns = choose_columns(table, self._label, self._ignore, self._categorical)
        positions, label = self.columns.positions_in(table, label_needed=True)
        values = self.columns.encode(table, positions)
        assert label is not None  # label_needed
        labels = as_labels(table.strings(label), lambda row: table.place(row, label))
        return _Part(table.place, values, labels, np.arange(len(values), dtype=np.int32))

    def _arrays(self, source: Source) -> _Part:
        raw = read_arrays(source, generator(self._seed, "generate", self._count))
        self.digests |= raw.digests
        if raw.labels is None:
            raise DataError(f"{raw.where}: no labels; give {{features: FILE, labels: FILE}}, or an npz with X and y")
        if self._count == 0:
            self.image_shape = raw.image_shape
        rows = np.arange(len(raw.values), dtype=np.int32 if len(raw.values) < 2**31 else np.int64)
        place = lambda row, column: raw.place(row) + ("" if column is None else f", column {column}")  # noqa: E731
        return _Part(place, raw.values, as_labels(raw.labels, raw.place), rows)


def _name(source: Any) -> str:
    return (
        str(source.get("features", f"generator {source.get('generator')}")) if isinstance(source, dict) else str(source)
    )


def _encode(part: _Part, classes: Sequence[str | int]) -> None:
    part.y = encode_labels(part.labels, classes, lambda row: part.where(row, None))


def _hold_out(part: _Part, name: str, fraction: float, seed: int, classes: Any, where: str) -> tuple[_Part, _Part]:
    assert part.y is not None
    rng = generator(seed, "test_split" if name == "test" else "split")
    y = part.y[part.chosen]
    kept, held = stratified_split(y, fraction, rng, classes, where)
    return tuple(_Part(part.where, part.values, part.labels, part.chosen[rows], part.y) for rows in (kept, held))  # type: ignore[return-value]


def _blocks(part: _Part) -> Iterator[Array]:
    step = max(1, BLOCK_BYTES // (part.values.shape[1] * 8))
    for start in range(0, len(part.chosen), step):
        yield part.values[part.chosen[start : start + step]]


def _treat_missing(name: str, part: _Part, missing: Missing, columns: Columns | None) -> Iterator[str]:
    """Refuses infinite and, if so asked, missing numbers; drops rows that have one, if so asked."""
    if part.values.dtype.kind != "f":
        return
    bad_rows, done = [], 0
    for block in _blocks(part):
        if not np.isfinite(block).all():
            for row, column in np.argwhere(~np.isfinite(block)).tolist():
                value = block[row, column]
                number = int(part.chosen[done + row])
                if np.isinf(value) or missing == "refuse":
                    what = "missing" if np.isnan(value) else "not finite"
                    raise DataError(
                        f"{_feature_place(part, number, column, columns)}: the value is {what}; correct it"
                        + ("" if np.isinf(value) else ", or set data.missing to drop or mean")
                    )
                bad_rows.append(done + row)
        done += len(block)
    if not bad_rows:
        return
    rows = np.unique(bad_rows)
    if missing == "mean":
        yield f"{name}: missing values in {len(rows):,} of {done:,} rows filled with the training mean"
        return
    part.chosen = np.delete(part.chosen, rows)
    if not len(part.chosen):
        raise DataError(f"{part.where(0, None)}: every row has a missing value; data.missing: mean keeps them")
    yield f"{name}: {len(rows):,} of {done:,} rows with missing values dropped"


def _feature_place(part: _Part, row: int, feature: int, columns: Columns | None) -> str:
    if columns is None:
        return part.where(row, feature)
    widths = [len(columns.categories.get(column, ("",))) for column in columns.features]
    position = columns.features[int(np.searchsorted(np.cumsum(widths), feature, side="right"))]
    return part.where(row, position)


def _ready(part: _Part, scaling: Scaling, dtype: str) -> Split:
    """Scaled at once if the rows are floats in memory; when a batch takes them if they are bytes or mapped."""
    assert part.y is not None
    y = part.y[part.chosen]
    if isinstance(part.values, np.memmap) or isinstance(part.values.base, np.memmap) or part.values.dtype.itemsize == 1:
        everything = len(part.chosen) == len(part.values)
        return Split(ScaledRows(part.values, scaling, None if everything else part.chosen), y, part.chosen)
    X = np.empty((len(part.chosen), part.values.shape[1]), dtype)
    scaling.apply(part.values[part.chosen], X)
    return Split(ArrayRows(X, scaling), y, part.chosen)
