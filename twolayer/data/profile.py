"""What the columns of a table look like, and the signs that a test accuracy will be too good: a column that gives the
label away, test rows that are training rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.cells import Reading, canonical, word_of
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
    return [_profile(columns.pop(at), at, name, reading, opened.decimal) for at, name in enumerate(names)]


def _profile(column: Any, at: int, name: str, reading: Reading, decimal: str) -> Profile:
    numbers = np.empty(len(column))
    if fill_numbers(column, numbers, reading, decimal, give_up=True) is None:
        values, counts = _counted(numbers)
        whole = bool(np.isfinite(values).all() and (values == np.trunc(values)).all())
        few: dict[str, int] = {}
        if len(values) <= MAX_VALUES:
            few = dict(zip(map(canonical, values.tolist()), counts.tolist(), strict=True))
        return Profile(at, name, int(np.isnan(numbers).sum()), len(values), True, whole, few, (), numbers)
    codes, texts = encoded(column)
    occurs = np.bincount(codes + 1, minlength=len(texts) + 1).tolist()
    sample = texts[:_SAMPLE].to_pylist()
    if len(texts) > 2 * MAX_VALUES:
        return Profile(at, name, occurs[0], len(texts), False, False, {}, tuple(sample), codes[:0])
    words = [word_of(text, reading, decimal) for text in texts.to_pylist()]
    few = {}
    for word, count in zip(("", *words), occurs, strict=True):
        few[word] = few.get(word, 0) + count
    missing = few.pop("")
    index = {word: k for k, word in enumerate(few)}
    new_codes = np.array([*(index.get(word, -1) for word in words), -1])  # code -1: the last
    sample = [text for text, word in zip(sample, words, strict=False) if word]
    return Profile(at, name, missing, len(few), False, False, few, tuple(sample), new_codes[codes])


def _counted(numbers: Array) -> tuple[Array, NDArray[np.integer[Any]]]:
    """Return the different numbers and how often each occurs, missing ones left out."""
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
    fit, judge = rows[:half], rows[half:]
    n_classes = int(y.max()) + 1
    base = float(np.bincount(y[judge]).max() / len(judge))
    chance = len(judge) * -math.log10(max(base, 1e-3)) if base < 1 else 0
    if n_classes > _MOST_CLASSES or chance < 3 + math.log10(len(columns)):
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
    """Return how many rows of `test` (M, D) are rows of `train` (N, D)."""
    known = set(map(hash, _row_bytes(train)))
    return sum(hash(row) in known for row in _row_bytes(test))


def _row_bytes(X: Array) -> list[bytes]:
    rows = np.ascontiguousarray(X + X.dtype.type(0))  # there is no -0 in it
    found: list[bytes] = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel().tolist()
    return found
