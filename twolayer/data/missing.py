"""Missing cells of a table: refused with their place, dropped with their rows, or filled with training means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.labels import MISSING, Labels
from twolayer.data.sources import Raw
from twolayer.data.splits import RowNumbers, row_type
from twolayer.utils.text import fault

Array = NDArray[Any]


def settle_missing(raw: Raw, policy: str, notes: list[str]) -> tuple[Raw, RowNumbers | None]:
    """The rows of a table that can be used under a policy; for `mean`, missing features stay NaN until `fill`, and rows
    without a label are dropped, as labels have no mean.

    Args:
        raw: rows of a table.
        policy: refuse, drop or mean.
        notes: gets a sentence on what was dropped.

    Returns:
        The rows, and which of the source's rows they are; None for all.

    Raises:
        DataError: for a missing cell that the policy does not allow, or if no row is left.
    """
    none = np.zeros(len(raw.X), np.bool_)
    unlabelled: NDArray[np.bool_] = none if raw.labels is None else raw.labels.codes == MISSING
    cells: Any = none if policy == "mean" else np.isnan(raw.X).any(axis=1)
    bad: NDArray[np.bool_] = unlabelled | cells
    if not bad.any():
        return raw, None
    if policy == "refuse":
        row = int(np.argmax(bad))
        if cells[row]:
            column = raw.feature(int(np.argmax(np.isnan(raw.X[row]))))
            raise fault(f"{raw.place(row)}: {column}", "a missing cell", "a number, or missing: drop or mean")
        raise fault(raw.place(row), "no label", "a label in each row, or missing: drop or mean")
    kept = np.flatnonzero(~bad).astype(row_type(len(bad)))
    if unlabelled.all():
        raise fault(raw.name, "no label in any row", "labels; is it the label's column?")
    if not len(kept):
        raise fault(raw.name, "a missing cell in every row", "some whole rows; missing: mean fills cells")
    lack = "with a missing cell" if policy == "drop" else "without a label"
    notes.append(f"{raw.name}: {len(bad) - len(kept):,} of {len(bad):,} rows dropped, each {lack}")
    labels = None if raw.labels is None else Labels(raw.labels.codes[kept], raw.labels.values)

    def place(row: int) -> str:
        return raw.place(int(kept[row]))

    return replace(raw, X=raw.X[kept], labels=labels, place=place, label_place=place), kept


def training_means(raw: Raw, rows: RowNumbers | None) -> Array:
    """(D,) the means of the training rows, missing cells left out.

    Raises:
        DataError: for a feature that all training rows lack.
    """
    X = raw.X if rows is None else raw.X[rows]
    there = ~np.isnan(X)
    counts = there.sum(axis=0)
    if not counts.all():
        column = raw.feature(int(np.argmin(counts)))
        raise fault(f"{raw.name}: {column}", "no number in any training row", "at least one; or the column in 'ignore'")
    means: Array = np.where(there, X, 0).sum(axis=0) / counts
    return means


def fill(raw: Raw, means: Array, notes: list[str]) -> Raw:
    """The rows with the means in place of NaN, in `raw.X` itself where it is no file's; adds a sentence to `notes`."""
    missing = np.isnan(raw.X)
    if not missing.any():
        return raw
    X = raw.X if raw.X.flags.writeable else raw.X.copy()
    np.copyto(X, means, where=missing)
    notes.append(f"{raw.name}: {int(missing.sum()):,} missing cells filled with the means of the training rows")
    return replace(raw, X=X)
