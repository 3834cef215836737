"""What the columns of a table look like, and the signs that a test accuracy will be too good: a column that gives the
label away, test rows that are training rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.cells import Reading, canonical
from twolayer.data.labels import encoded, numpy_of
from twolayer.data.table import Opened, fill_numbers
from twolayer.network.model import Array
from twolayer.utils.text import shown

MAX_VALUES = 1000  # different values of a column that are counted
_BINS = 64
_LEAST_ACCURACY = 0.98
_LEAST_ROWS = 100  # held out, to judge a quantity
_SAMPLE = 500  # different texts that are looked at where there are more
_MOST_CLASSES = 1000
_KEY_COLUMNS = 32


@dataclass(frozen=True, eq=False)
class Profile:
    """What a column looks like.

    Attributes:
        position: in the table.
        name: of the column; its position in a table without a header.
        missing: number of missing cells.
        distinct: different values, equal ones counted once, missing cells left out.
        is_number: whether every cell that is there is a number or a boolean.
        is_whole: whether every one is a whole number.
        counts: how often each value occurs; empty above `MAX_VALUES` of them.
        sample: some of the different values of a column of texts, as they are written.
        data: (N,) its numbers, NaN where missing; or the codes of its texts, empty where those are too many.
    """

    position: int
    name: str
    missing: int
    distinct: int
    is_number: bool
    is_whole: bool
    counts: dict[str, int]
    sample: tuple[str, ...]
    data: Array


def profile_columns(opened: Opened, reading: Reading) -> list[Profile]:
    """Return the profile of each column of a table.

    Raises:
        DataError: for a row that is too short or too long, or no rows.
    """
    columns = opened.columns([], range(opened.width))
    names = opened.names or tuple(map(str, range(opened.width)))
    return [_profile(columns.pop(at), at, names[at], reading, opened.decimal) for at in range(opened.width)]


def _profile(column: Any, at: int, name: str, reading: Reading, decimal: str) -> Profile:
    numbers = np.empty(len(column))
    if fill_numbers(column, numbers, reading, decimal, give_up=True) is None:
        values, counts = _counted(numbers)
        whole = bool(np.isfinite(values).all() and (values == np.trunc(values)).all())
        few = {canonical(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)
               } if len(values) <= MAX_VALUES else {}  # fmt: skip
        return Profile(at, name, int(np.isnan(numbers).sum()), len(values), True, whole, few, (), numbers)
    codes, texts = encoded(column)
    occurs = np.bincount(codes + 1, minlength=len(texts) + 1)
    if len(texts) > 2 * MAX_VALUES:
        return Profile(
            at, name, int(occurs[0]), len(texts), False, False, {}, tuple(texts[:_SAMPLE].to_pylist()), codes[:0]
        )
    merged: dict[str, int] = {}
    new_codes = np.full(len(texts) + 1, -1)
    few, missing = {}, int(occurs[0])
    for k, text in enumerate(texts.to_pylist()):
        word, count = canonical(text, decimal), int(occurs[k + 1])
        if not word or reading.is_missing(word):
            missing += count
            continue
        new_codes[k] = merged.setdefault(word, len(merged))
        few[word] = few.get(word, 0) + count
    sample = tuple(text for text in texts[:_SAMPLE].to_pylist() if not reading.is_missing(canonical(text, decimal)))
    return Profile(at, name, missing, len(merged), False, False, few, sample, new_codes[codes])


def _counted(numbers: Array) -> tuple[Array, NDArray[np.integer[Any]]]:
    """The different numbers and how often each occurs, missing ones left out."""
    import pyarrow as pa
    from pyarrow import compute

    known = numbers[~np.isnan(numbers)] + 0.0
    found = compute.value_counts(pa.Array.from_buffers(pa.float64(), len(known), [None, pa.py_buffer(known)]))
    return numpy_of(found.field(0), np.nan), numpy_of(found.field(1), 0)


@dataclass(frozen=True)
class Leak:
    """A column that predicts the label almost alone.

    Attributes:
        name: of the column.
        accuracy: on held-out rows, by the most frequent label of each of its values or ranges.
        is_copy: whether each of its values stands for one label.
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


def find_leaks(
    columns: Iterable[tuple[str, Array]], n_columns: int, y: NDArray[np.integer[Any]], max_rows: int = 20_000
) -> list[Leak]:
    """Return the columns that predict the label almost alone, the most accurate first.

    Half of the rows give the most frequent label for each value of a column, or for each of 64
    ranges of a quantity; the other half judges it. Few rows or a rare second class can show such a column by chance:
    then none is returned.

    Args:
        columns: name and values (N,) of each: floats of a quantity, or integers of categories.
        n_columns: their number.
        y: (N,) class indices, -1 for no label.
        max_rows: rows that are looked at, drawn at random.
    """
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(y >= 0)
    rows = rng.permutation(rows)[:max_rows]
    half = len(rows) // 2
    if half < 20 or not n_columns:
        return []
    fit, judge = rows[:half], rows[half:]
    n_classes = int(y.max()) + 1
    base = float(np.bincount(y[judge]).max() / len(judge))
    chance = len(judge) * -math.log10(max(base, 1e-3)) if base < 1 else 0
    if n_classes > _MOST_CLASSES or chance < 3 + math.log10(n_columns):
        return []
    found = []
    for name, values in columns:
        bins, n_bins = _bins(values, fit)
        accuracy, used = _accuracy(bins[fit], y[fit], bins[judge], y[judge], n_bins, n_classes)
        enough = values.dtype.kind in "iu" or half >= _LEAST_ROWS  # few rows of a quantity are easily parted
        if enough and accuracy >= _LEAST_ACCURACY and 1 - accuracy <= 0.1 * (1 - base):
            found.append(Leak(name, accuracy, used == len(np.unique(y[fit]))))
    return sorted(found, key=lambda leak: (-leak.is_copy, -leak.accuracy))


def _bins(values: Array, fit: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    """(N,) the number of each row's value, or of its range, and how many there are; 0 for a missing one."""
    if values.dtype.kind in "iu":
        return values.astype(np.intp) + 1, int(values.max()) + 2
    known = values[fit]
    known = known[np.isfinite(known)]
    if not len(known):
        return np.zeros(len(values), np.intp), 1
    edges = np.unique(known)
    if len(edges) > _BINS:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, values, "right") + 1
    else:
        bins = np.searchsorted(edges, values) + 1
    bins[np.isnan(values)] = 0
    return bins, len(edges) + 2


def _accuracy(
    bins: Array, y: Array, bins_judged: Array, y_judged: Array, n_bins: int, n_classes: int
) -> tuple[float, int]:
    counts = np.bincount(bins * n_classes + y, minlength=n_bins * n_classes).reshape(n_bins, n_classes)
    guess = counts.argmax(axis=1)
    empty = counts.sum(axis=1) == 0
    guess[empty] = np.bincount(y, minlength=n_classes).argmax()
    return float((guess[bins_judged] == y_judged).mean()), int((~empty).sum())


def count_shared_rows(train: Array, test: Array) -> int:
    """Return how many test rows have the features of a training row.

    Args:
        train: (N, D) numbers.
        test: (M, D) numbers.
    """
    D = train.shape[1]
    columns = np.unique(np.linspace(0, D - 1, min(D, _KEY_COLUMNS)).astype(np.intp))
    keys, other = _keys(train, columns), _keys(test, columns)
    order = np.argsort(keys, kind="stable")
    at = np.searchsorted(keys, other, sorter=order)
    shared = 0
    for row in np.flatnonzero(keys[order[np.minimum(at, len(keys) - 1)]] == other).tolist():
        twin = order[at[row]]
        shared += bool(np.array_equal(train[twin], test[row], equal_nan=True))
    return shared


def _keys(X: Array, columns: NDArray[np.intp]) -> NDArray[np.uint64]:
    """(N,) a number for each row, equal where the chosen columns are."""
    odd = np.random.default_rng(1).integers(1 << 62, size=len(columns), dtype=np.uint64) * 2 + 1
    keys = np.zeros(len(X), np.uint64)
    for column, factor in zip(columns.tolist(), odd, strict=True):
        keys += (X[:, column].astype(np.float64) + 0.0).view(np.uint64) * factor
        keys ^= keys >> np.uint64(29)
    return keys
