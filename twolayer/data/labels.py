"""From labels as tables and arrays have them to class indices 0..C-1, splits that give every class its share, and the
signs that a test accuracy will be too good: a column that gives the label away, test rows that are training rows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from twolayer.data.cells import canonical, number_of
from twolayer.network.model import Array
from twolayer.utils.text import counted, data_error, did_you_mean, shown, some

Label = str | int
Place = Callable[[int], str]
RowNumbers = NDArray[np.integer[Any]]

MAX_CLASSES = 10_000
MISSING = -1

_BLOCK = 1 << 16  # rows
_BINS = 64
_LEAST_ACCURACY = 0.98
_LEAST_ROWS = 100  # held out, to judge a quantity
_MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N rows.

    Attributes:
        codes: (N,) indices into `values`; `MISSING` where a row has no label.
        values: the distinct labels in ascending order.
    """

    codes: NDArray[np.integer[Any]]
    values: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def among(self, known: Sequence[Label]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """Return (N,) the index of each row's value in `known`, `MISSING` without one, and the rows of unknown values.

        Equal values are one, however they are written.
        """
        index = {canonical(str(value)): at for at, value in enumerate(known)}
        index |= {str(value): at for at, value in enumerate(known)}
        codes = np.array([*(index.get(str(value), MISSING) for value in self.values), MISSING], np.int32)[self.codes]
        return codes, np.flatnonzero((codes == MISSING) & (self.codes != MISSING))


def labels_of_array(array: Array, name: str) -> Labels:
    """Return the labels in an array (N,), N > 0, of whole numbers (floats as well) or text, read in blocks.

    Raises:
        DataError: for anything else, a number that int64 does not hold, or far too many different labels.
    """
    if array.ndim != 1 or array.dtype.kind not in "biufUS":
        expected = "one label for each row, shape (N,), whole numbers or text"
        raise data_error(name, expected, f"labels of shape {array.shape} and type {array.dtype}")
    starts = range(0, len(array), _BLOCK)
    distinct = array[:0]
    for start in starts:
        block = array[start : start + _BLOCK]
        if block.dtype.kind == "f":
            bad = np.flatnonzero(~(np.abs(block) <= 2.0**53) | (block != np.trunc(block)))
            if len(bad):
                place = f"{name}, row {start + bad[0]}"
                raise data_error(place, "labels that are whole numbers or text", f"label {block[bad[0]]}")
        distinct = np.union1d(distinct, block)
        require_few(len(distinct), name, MAX_CLASSES)
    if distinct.dtype.kind == "u" and distinct[-1] > np.iinfo(np.int64).max:
        raise data_error(name, "whole numbers below 2**63, or text", f"label {distinct[-1]}")
    codes = np.empty(len(array), np.min_scalar_type(len(distinct) - 1))
    for start in starts:
        codes[start : start + _BLOCK] = np.searchsorted(distinct, array[start : start + _BLOCK])
    if array.dtype.kind == "S":
        distinct = np.char.decode(distinct, "latin-1")
    return Labels(codes, tuple(distinct.tolist() if array.dtype.kind in "US" else map(int, distinct)))


def require_few(count: int, name: str, most: int) -> None:
    """Refuse more different values than classes, or categories, make sense."""
    if count > most:
        expected, what, hint = "few categories, or the column in 'ignore'", "values", ""
        if most == MAX_CLASSES:
            expected, what, hint = "classes", "labels", "a quantity cannot be learned as one; is it the right column?"
        raise data_error(name, expected, f"more than {most:,} different {what}", hint)


def near_equal_notes(values: Sequence[Label], name: str) -> list[str]:
    """Return a sentence that names the values which differ only in case, spaces or punctuation, if any do."""
    met: dict[str, str] = {}
    pairs = []
    for value in values:
        letters = "".join(c for c in str(value).casefold() if c.isprintable() and c not in "- ._,;:'\"!()")
        if isinstance(value, int) or not letters or number_of(value) is not None:
            continue
        first = met.setdefault(letters + "-" * ("-" in (value[0], value[-1])), value)  # A- is not A
        if first != value:
            pairs.append(f"{shown(first)} and {shown(value)}")
    more = f" and {len(pairs) - 4} more pairs" if len(pairs) > 4 else ""
    note = f"{name}: {', '.join(pairs[:4])}{more} differ only in case or punctuation and are kept apart"
    return [note] if pairs else []


def class_indices(labels: Labels, classes: Sequence[Label], place: Place) -> Array:
    """Return labels, none missing, as indices into the training's `classes`, (N,) in the smallest unsigned type.

    Raises:
        DataError: for a label that is not among `classes`.
    """
    codes, unknown = labels.among(classes)
    if len(unknown):
        row = int(unknown[0])
        value = labels.values[labels.codes[row]]
        hint = did_you_mean(str(value), map(str, classes))
        raise data_error(place(row), f"a label known from training: {some(classes)}", f"label {shown(value)}", hint)
    return codes.astype(np.min_scalar_type(len(classes) - 1))


def row_type(n_rows: int) -> np.dtype[Any]:
    """Return the type for numbers of rows: int32 where it holds them."""
    return np.dtype(np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)


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
    kind = row_type(len(y))
    return np.flatnonzero(~held).astype(kind), np.flatnonzero(held).astype(kind)


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


@dataclass(frozen=True)
class Leak:
    """A column that predicts the label almost alone.

    Attributes:
        name: of the column.
        accuracy: on held-out rows, by the most frequent label of each of its values or ranges.
        is_copy: whether each of its values belongs to one label.
    """

    name: str
    accuracy: float
    is_copy: bool

    def __str__(self) -> str:
        what = "is a copy of the label" if self.is_copy else "predicts the label almost alone"
        return (
            f"column {shown(self.name)} {what} ({self.accuracy:.1%} of held-out rows right by its values only): "
            "is it known before the label is?"
        )


def find_leaks(columns: Sequence[tuple[str, Array]], y: NDArray[np.integer[Any]], max_rows: int = 20_000) -> list[Leak]:
    """Return the columns that predict the label almost alone, the most accurate first.

    Half of the rows give the most frequent label for each value of a column, or for each of 64 ranges of a quantity;
    the other half judges it. None is returned where few rows or a rare second class can show such a column by chance.

    Args:
        columns: name and values (N,) of each: floats of a quantity, or integers of categories.
        y: (N,) class indices, -1 for no label.
        max_rows: rows that are looked at, drawn at random.
    """
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(y >= 0)
    rows = rng.permutation(rows)[:max_rows]
    half = len(rows) // 2
    if half < 20 or not columns:
        return []
    y = y[rows]
    n_classes = int(y.max()) + 1
    base = float(np.bincount(y[half:]).max() / (len(y) - half))
    chance = (len(y) - half) * -math.log10(max(base, 1e-3)) if base < 1 else 0
    if n_classes > _MOST_CLASSES or chance < 3 + math.log10(len(columns)):
        return []
    found = []
    for name, values in columns:
        bins = _bins(values[rows], half)
        n_bins = int(bins.max()) + 1
        counts = np.bincount(bins[:half] * n_classes + y[:half], minlength=n_bins * n_classes).reshape(n_bins, -1)
        guess = np.where(counts.any(axis=1), counts.argmax(axis=1), counts.sum(axis=0).argmax())
        accuracy = float((guess[bins[half:]] == y[half:]).mean())
        is_quantity = values.dtype.kind == "f" and counts.any(axis=1).sum() > n_classes
        enough = half >= _LEAST_ROWS or not is_quantity  # few rows of a quantity are easily parted
        if enough and accuracy >= _LEAST_ACCURACY and 1 - accuracy <= 0.1 * (1 - base):
            is_copy = bool(counts.any(axis=1).sum() == counts.any(axis=0).sum())
            found.append(Leak(name, accuracy, is_copy))
    return sorted(found, key=lambda leak: (-leak.is_copy, -leak.accuracy))


def _bins(values: Array, half: int) -> NDArray[np.intp]:
    """Return (N,) the number of each row's value, or of its range in the first half, 0 for a missing one."""
    if values.dtype.kind in "iu":
        return values.astype(np.intp) + 1
    known = values[:half][np.isfinite(values[:half])]
    edges = np.unique(known)
    if len(edges) > _BINS:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, values, "right") + 1
    else:
        bins = np.searchsorted(edges, values) + 1
    bins[np.isnan(values)] = 0
    return bins


def row_hashes(X: Array) -> NDArray[np.int64]:
    """Return a hash (N,) of each row of X (N, D); rows of equal numbers, among them 0.0 and -0.0, have equal ones."""
    rows = np.ascontiguousarray(X + X.dtype.type(0))  # there is no -0.0 in it
    cells = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel().tolist()
    return np.fromiter(map(hash, cells), np.int64, len(X))
