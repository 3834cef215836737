"""Stratified splits: every class gives the same share of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.errors import DataError


def stratified_split(
    y: NDArray[Any], fraction: float, rng: np.random.Generator, classes: Sequence[str | int], where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers that are kept, and row numbers that are held out, both in rising order.

    Args:
        y: (N,) class indices.
        fraction: the share of each class to hold out, rounded to the nearest row, at least one and not all of them.
        rng: decides which.
        classes: the labels, for the message.
        where: what is split, for the message.

    Raises:
        DataError: for a class with a single row, which cannot be in both parts.
    """
    held: list[NDArray[np.intp]] = []
    for index, label in enumerate(classes):
        rows = np.flatnonzero(y == index)
        if len(rows) == 1:
            raise DataError(
                f"{where}: class {label!r} has 1 row, and a split needs at least 2 of each class: add rows, "
                "leave the class out, or give a file for the rows to hold out"
            )
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1) if len(rows) else 0
        held.append(rng.permutation(rows)[:count])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(y)), out, assume_unique=True), out
