"""Stratified splits: every class gives the same share of its rows, and every class is on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from twolayer.utils.text import data_error, shown

RowNumbers = NDArray[np.integer[Any]]


def row_type(n_rows: int) -> np.dtype[Any]:
    """The type for numbers of rows: int32 where it holds them."""
    return np.dtype(np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)


def is_fold(source: object) -> TypeGuard[Mapping[str, int]]:
    """Return whether a config's validation rows are one fold of the training source: {fold: I, folds: K}."""
    return isinstance(source, Mapping) and "folds" in source


def stratified_split(
    y: NDArray[np.integer[Any]],
    fraction: float,
    classes: Sequence[object],
    rng: np.random.Generator,
    name: str,
) -> tuple[RowNumbers, RowNumbers]:
    """Parts N rows in two, class by class.

    The second part has round(fraction N) rows, shared among the classes in proportion to their rows (largest
    remainders first), but at least one of each class, and never all of a class.

    Args:
        y: (N,) class indices.
        fraction: share of the second part, between 0 and 1.
        classes: the C labels, for the message.
        rng: where the random numbers come from.
        name: what is split and for what, for the message.

    Returns:
        The rows of the first and of the second part, each in ascending order.

    Raises:
        DataError: if a class has a single row.
    """
    counts = np.bincount(y, minlength=len(classes))
    if counts.min() < 2:
        rare = int(counts.argmin())
        found = f"class {shown(classes[rare])} has {counts[rare]} row{'s' if counts[rare] != 1 else ''}"
        raise data_error(
            name, "at least 2 of each class, one for each part", found, "leave the class out or ask for no split"
        )
    held = np.zeros(len(y), np.bool_)
    for index, share in enumerate(_shares(counts, fraction)):
        rows = np.flatnonzero(y == index)
        held[rng.choice(rows, share, replace=False, shuffle=False)] = True
    kind = row_type(len(y))
    return np.flatnonzero(~held).astype(kind), np.flatnonzero(held).astype(kind)


def stratified_folds(
    y: NDArray[np.integer[Any]],
    folds: int,
    classes: Sequence[object],
    rng: np.random.Generator,
    name: str,
) -> NDArray[np.integer[Any]]:
    """(N,) Return the fold of each row, 0 to folds - 1, for cross-validation.

    The sizes of two folds, and their numbers of rows of a class, differ by at most one.

    Args:
        y: (N,) class indices.
        folds: number of folds, at least 2.
        classes: the C labels, for the message.
        rng: draws which rows of a class go into which fold.
        name: what is split, for the message.

    Raises:
        DataError: if a class has a single row, which no training rows would have when it is held out, or there are
            fewer rows than folds.
    """
    counts = np.bincount(y, minlength=len(classes))
    if counts.min() < 2:
        raise data_error(name, "at least 2 rows of each class", f"1 of class {shown(classes[int(counts.argmin())])}")
    if len(y) < folds:
        raise data_error(name, f"at least {folds} rows, one for each fold", f"{len(y)}")
    order = np.lexsort((rng.permutation(len(y)), y))  # class by class, in random order within a class
    fold = np.empty(len(y), np.uint8)
    fold[order] = np.arange(len(y)) % folds
    return fold


def _shares(counts: NDArray[np.integer[Any]], fraction: float) -> NDArray[np.int64]:
    """(C,) how many rows of each class go into the second part."""
    exact = fraction * counts
    shares = np.floor(exact).astype(np.int64)
    left = round(fraction * int(counts.sum())) - int(shares.sum())
    first = np.argsort(-(exact - shares), kind="stable")[: max(left, 0)]
    shares[first] += 1
    bounded: NDArray[np.int64] = np.minimum(np.maximum(shares, 1), counts - 1)
    return bounded
