"""From the config's `data` section to training, validation and test rows: read, split, fit on the training rows, and
prepare all rows in the same way.

Missing cells of a table: refused with their place, dropped with their rows, or filled with training means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike, NDArray

from twolayer.data.columns import Column, ColumnChoice, TableForm, reading_of
from twolayer.data.files import digest_of
from twolayer.data.labels import MISSING, Label
from twolayer.data.preparation import Preparation
from twolayer.data.rows import ArrayRows, Method, Raw, RowNumbers, ScaledRows, fit_scaling, row_numbers
from twolayer.data.sources import Source, files_of, read_split, read_training
from twolayer.network.model import Array
from twolayer.utils.randomness import generator
from twolayer.utils.text import counted, data_error, shown

_MOST_COMPARED = 1 << 28  # bytes of two sources that are compared row by row


def handle_missing(raw: Raw, policy: str, form: TableForm | None, notes: list[str]) -> tuple[Raw, RowNumbers]:
    """Return the rows of a source that can be used, and which of its rows they are; of arrays, all.

    For `mean`, missing features stay NaN until they are filled; rows without a label are dropped.

    Raises:
        DataError: for a missing cell that the policy does not allow, or if no row is left.
    """
    none = np.zeros(len(raw.X), np.bool_)
    unlabelled: NDArray[np.bool_] = none if raw.labels is None else raw.labels.codes == MISSING
    cells: Any = none if policy == "mean" or form is None else np.isnan(raw.X).any(axis=1)
    bad: NDArray[np.bool_] = unlabelled | cells
    kept = row_numbers(~bad)
    if len(kept) == len(bad):
        return raw, kept
    row = int(np.argmax(bad))
    j = int(np.argmax(np.isnan(raw.X[row]))) if cells[row] else None
    if policy == "refuse":
        if j is None:
            raise data_error(raw.place(row), "a label in each row, or missing: drop or mean", "no label")
        where = f"{raw.place(row)}: {raw.feature(j)}"
        raise data_error(where, "a number, or missing: drop or mean", "a missing cell")
    if unlabelled.all():
        raise data_error(raw.name, "labels", "no label in any row", "is it the label's column?")
    if not len(kept):
        raise data_error(raw.name, "some whole rows", "a missing cell in every row", "missing: mean fills cells")
    lack = "with a missing cell" if policy == "drop" else "without a label"
    text = raw.spelling(row, j).strip()
    spelled = f"{shown(text)}, which data.missing_values lists" if text else "empty"
    first = f"the first at {raw.place(row)}: {'the label' if j is None else raw.feature(j)} is {spelled}"
    notes.append(f"{raw.name}: {len(bad) - len(kept):,} of {len(bad):,} rows dropped, each {lack}; {first}")
    labels = None if raw.labels is None else replace(raw.labels, codes=raw.labels.codes[kept])

    def place(row: int) -> str:
        return raw.place(int(kept[row]))

    return replace(raw, X=raw.X[kept], labels=labels, place=place, label_place=place), kept


def training_means(raw: Raw, rows: RowNumbers | None) -> Array:
    """Return the means (D,) of the training rows, missing cells left out; raise DataError for a feature without any."""
    X = raw.X if rows is None else raw.X[rows]
    there = ~np.isnan(X)
    counts = there.sum(axis=0)
    if not counts.all():
        expected = "at least one number in the training rows, or the column in 'ignore'"
        raise data_error(f"{raw.name}: {raw.feature(int(np.argmin(counts)))}", expected, "none")
    means: Array = np.where(there, X, 0).sum(axis=0) / counts
    return means


@dataclass(frozen=True, eq=False)
class Split:
    """Rows for one purpose."""

    X: ArrayRows  # N rows of D features
    y: NDArray[np.integer[Any]]  # (N,) class indices, in the smallest unsigned type that holds them
    row_numbers: RowNumbers  # (N,) which row of its source each one was, from 0

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """All rows of a run."""

    train: Split
    validation: Split | None
    test: Split | None
    preparation: Preparation  # what turns raw rows into these
    notes: tuple[str, ...]  # in words, what was left out or filled in
    leaks: tuple[str, ...]  # in words: a column gives labels away, or rows for another purpose are training rows
    digests: dict[str, str]  # SHA-256 of each file that was read, by its path

    @property
    def n_features(self) -> int:
        """D."""
        return self.preparation.n_features

    @property
    def classes(self) -> tuple[Label, ...]:
        """The C labels in the order of the class indices."""
        return self.preparation.classes

    def __repr__(self) -> str:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = ", ".join(f"{name}={len(part):,}" for name, part in parts.items() if part is not None)
        return f"Dataset({sizes}, {self.n_features:,} features, {len(self.classes)} classes)"


def load_dataset(
    *,
    train: Source,
    test: float | Source | None = None,
    validation: float | Source | None = 0.15,
    label: Column | None = None,
    ignore: Sequence[Column] = (),
    categorical: Sequence[Column] = (),
    missing: str = "refuse",
    missing_values: Sequence[str | int | float] | None = None,
    unseen: str = "none",
    constant: str = "keep",
    header: str | bool = "auto",
    separator: str = "auto",
    decimal: str = "auto",
    encoding: str = "utf-8",
    scale: Method = "standardize",
    seed: int = 0,
    dtype: DTypeLike = "float32",
) -> Dataset:
    """Read the data of a run; the keywords are those of the config's section `data`.

    Args:
        train: a path (CSV, Parquet, Feather, xlsx, npz, CIFAR-10 .bin), a list of CIFAR-10 files, {"features": PATH,
            "labels": PATH} of IDX or .npy files, {"generator": NAME, ...}, or a data frame of pandas, polars or Arrow.
        test: as above, or a fraction of `train`, taken before anything else; None or 0: no test rows.
        validation: as above, a fraction of what remains, or {"fold": I, "folds": K}, part I (from 1) of K for
            cross-validation; None or 0: no validation rows.
        missing_values, header, separator, decimal, encoding: how the text of a table is read, see `columns.Reading`.
        dtype: float32 or float64, the network's; for the others see `config.models.DataConfig`.

    Raises:
        DataError: for any error in the data, naming its place.
    """
    notes: list[str] = []
    reading = reading_of(missing_values, header, separator, decimal, encoding)
    raw, form = read_training(train, ColumnChoice(label, ignore, categorical), seed, reading, constant, unseen, notes)
    raw, kept = handle_missing(raw, missing, form, notes)
    assert raw.labels is not None
    labels = raw.labels.present(raw.name)
    y = labels.codes.astype(np.min_scalar_type(len(labels.values) - 1), copy=False)
    parts = _split(raw.name, y, labels.values, test, validation, seed)
    means = training_means(raw, parts["train"]) if form is not None and missing == "mean" else None
    raw = raw if means is None else raw.filled(means, notes)
    with raw.finite(np.dtype(np.float64)):
        scaling = fit_scaling(raw.X, scale, parts["train"])
    preparation = Preparation(labels.values, scaling, scale, missing, means, form, raw.image_shape, np.dtype(dtype))
    rows = preparation.rows(raw)
    splits = {name: _part_of(Split(rows, y, kept), chosen) for name, chosen in parts.items()}
    leaks, narrower = [*raw.leaks], raw.X.dtype.itemsize > preparation.dtype.itemsize
    for name, split in splits.items():
        if name != "train" or (narrower and scale in ("none", "center")):  # the fit has not checked these
            _require_finite(split.X, raw, preparation.dtype)
    for part, (name, source) in enumerate((("validation", validation), ("test", test)), start=1):
        if source is not None and not isinstance(source, int | float) and not is_fold(source):
            splits[name] = _read_split(source, preparation, seed, part, notes)
            leaks += _shared_note(name, splits["train"].X, splits[name].X)
    digests = {str(path): digest_of(path) for source in (train, test, validation) for path in files_of(source)}
    held_out = splits.get("validation"), splits.get("test")
    return Dataset(splits["train"], *held_out, preparation, tuple(notes), tuple(leaks), digests)


def _shared_note(name: str, train: ArrayRows, held: ArrayRows) -> list[str]:
    """Return a sentence if many rows of a source of their own are training rows."""
    if type(train) is not type(held) or train.X.nbytes + held.X.nbytes > _MOST_COMPARED:
        return []
    known, asked = (row_hashes(rows.raw(np.arange(rows.shape[0]))) for rows in (train, held))
    shared = int(np.isin(asked, known).sum())
    if shared < 0.2 * held.shape[0]:
        return []
    found = f"{shared:,} of {held.shape[0]:,} {name} rows have the features of a training row"
    return [f"possible leak: {found}: a model can memorise them"]


def _split(
    name: str, y: Array, classes: Sequence[Label], test: Source | None, validation: Source | None, seed: int
) -> dict[str, RowNumbers | None]:
    """Return which rows of the training source are for what; None for all. The test rows are taken first."""
    parts: dict[str, RowNumbers | None] = {"train": None}
    for part, share in (("test", test), ("validation", validation)):
        left = parts["train"]
        there = y if left is None else y[left]
        if is_fold(share):
            folds = share["folds"]
            fold = stratified_folds(there, folds, classes, generator(seed, "folds"), f"{name}, {folds} folds")
            held = fold == share["fold"] - 1
            halves = row_numbers(~held), row_numbers(held)
        elif isinstance(share, int | float) and share:
            rng = generator(seed, "test_split" if part == "test" else "split")
            halves = stratified_split(there, share, classes, rng, f"{name}, {part} rows")
        else:
            continue
        parts["train"], parts[part] = halves if left is None else (left[halves[0]], left[halves[1]])
    return parts


def _part_of(whole: Split, chosen: RowNumbers | None) -> Split:
    """Return some rows of the training source, or all; their numbers take no memory twice."""
    if chosen is None:
        return whole
    numbers = whole.row_numbers
    none_left_out = numbers[-1] == len(numbers) - 1
    return Split(whole.X.subset(chosen), whole.y[chosen], chosen if none_left_out else numbers[chosen])


def _require_finite(rows: ArrayRows, raw: Raw, dtype: np.dtype[Any]) -> None:
    """Check rows that stay in their file, as the network will get them; those in memory have been checked."""
    if isinstance(rows, ScaledRows) and raw.X.dtype.kind == "f":
        with raw.finite(dtype):
            rows.scale_all(dtype)


def _read_split(source: Source, preparation: Preparation, seed: int, part: int, notes: list[str]) -> Split:
    """Return the rows of a source of their own, prepared as the training rows were."""
    raw = read_split(source, preparation.form, preparation.n_features, "needed", notes, seed, part)
    raw, kept = handle_missing(raw, preparation.missing, preparation.form, notes)
    if preparation.fill is not None:
        raw = raw.filled(preparation.fill, notes)
    assert raw.labels is not None
    y = raw.labels.indices(preparation.classes, raw.label_place)
    rows = preparation.rows(raw)
    _require_finite(rows, raw, preparation.dtype)
    return Split(rows, y, kept)


def is_fold(source: object) -> TypeGuard[Mapping[str, int]]:
    """Return whether a config's validation rows are one fold of the training source: {fold: I, folds: K}."""
    return isinstance(source, Mapping) and "folds" in source


def stratified_split(
    y: NDArray[np.integer[Any]], fraction: float, classes: Sequence[object], rng: np.random.Generator, name: str
) -> tuple[RowNumbers, RowNumbers]:
    """Part N rows of classes y in two, class by class; return the rows of both parts, each in ascending order.

    The second part has round(fraction N) rows, shared among the classes in proportion to their rows (largest
    remainders first), but at least one of each class, and never all of a class.

    Raises:
        DataError: if a class has a single row; `classes` and `name`, what is split and for what, are for the message.
    """
    counts = _class_counts(y, classes, name)
    exact = fraction * counts
    shares = np.floor(exact).astype(np.int64)
    left = round(fraction * len(y)) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[: max(left, 0)]] += 1
    held = np.zeros(len(y), np.bool_)
    for index, share in enumerate(np.minimum(np.maximum(shares, 1), counts - 1)):
        rows = np.flatnonzero(y == index)
        held[rng.choice(rows, share, replace=False, shuffle=False)] = True
    return row_numbers(~held), row_numbers(held)


def stratified_folds(
    y: NDArray[np.integer[Any]], folds: int, classes: Sequence[object], rng: np.random.Generator, name: str
) -> NDArray[np.integer[Any]]:
    """Return the fold (N,) of each row of classes y, 0 to folds - 1, for cross-validation.

    The sizes of two folds, and their numbers of rows of a class, differ by at most one.

    Raises:
        DataError: if a class has a single row, which no training rows would have when it is held out, or there are
            fewer rows than folds.
    """
    _class_counts(y, classes, name)
    if len(y) < folds:
        raise data_error(name, f"at least {folds} rows, one for each fold", f"{len(y)}")
    order = np.lexsort((rng.permutation(len(y)), y))  # class by class, in random order within a class
    fold = np.empty(len(y), np.uint8)
    fold[order] = np.arange(len(y)) % folds
    return fold


def _class_counts(y: NDArray[np.integer[Any]], classes: Sequence[object], name: str) -> NDArray[np.intp]:
    """Return the number of rows of each class (C,); refuse a class that cannot be in both parts."""
    counts = np.bincount(y, minlength=len(classes))
    rare = int(counts.argmin())
    if counts[rare] < 2:
        found = f"class {shown(classes[rare])} has {counted(int(counts[rare]), 'row')}"
        expected = "at least 2 of each class, one for each part"
        raise data_error(name, expected, found, "leave the class out or ask for no split")
    return counts


def row_hashes(X: Array) -> NDArray[np.int64]:
    """Return a hash (N,) of each row of X (N, D); rows of equal numbers, among them 0.0 and -0.0, have equal ones."""
    rows = np.ascontiguousarray(X + X.dtype.type(0))  # there is no -0.0 in it
    cells = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel().tolist()
    return np.fromiter(map(hash, cells), np.int64, len(X))
