"""From labels as files have them to class indices 0..C-1 in the smallest type that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.utils.text import data_error, did_you_mean, shown, some

Label = str | int
Place = Callable[[int], str]

MAX_CLASSES = 10_000
MISSING = -1

_BLOCK = 1 << 16  # rows


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N rows.

    Attributes:
        codes: (N,) indices into `values`; `MISSING` where a row has no label.
        values: the distinct labels in ascending order.
    """

    codes: NDArray[np.integer[Any]]
    values: tuple[Label, ...]


def labels_of_array(array: Array, name: str) -> Labels:
    """The labels in an array (N,) of whole numbers (floats too, if they are whole) or text, read in blocks.

    Raises:
        DataError: for another shape or type, a float that is not whole, a number that int64 does not hold, or far too
            many different labels.
    """
    if array.ndim != 1:
        raise data_error(name, "one label for each row, shape (N,)", f"labels of shape {array.shape}")
    if array.dtype.kind not in "biufUS":
        raise data_error(name, "whole numbers or text", f"labels of type {array.dtype}")
    distinct: Array | None = None
    for start in range(0, len(array), _BLOCK):
        block = array[start : start + _BLOCK]
        if block.dtype.kind == "f":
            bad = np.flatnonzero(~(np.abs(block) <= 2.0**53) | (block != np.trunc(block)))
            if len(bad):
                place = f"{name}, row {start + bad[0]}"
                raise data_error(place, "labels that are whole numbers or text", f"label {block[bad[0]]}")
        found = np.unique(block)
        distinct = found if distinct is None else np.union1d(distinct, found)
        require_few(len(distinct), name)
    if distinct is None:
        raise data_error(name, "at least one row", "no labels")
    if distinct.dtype.kind == "u" and distinct[-1] > np.iinfo(np.int64).max:
        raise data_error(name, "whole numbers below 2**63, or text", f"label {distinct[-1]}")
    codes = np.empty(len(array), np.min_scalar_type(max(len(distinct) - 1, 0)))
    for start in range(0, len(array), _BLOCK):
        codes[start : start + _BLOCK] = np.searchsorted(distinct, array[start : start + _BLOCK])
    text = array.dtype.kind in "US"
    values = [item.decode("latin-1") if isinstance(item, bytes) else item for item in distinct.tolist()]
    return Labels(codes, tuple(str(value) if text else int(value) for value in values))


def labels_of_cells(codes: NDArray[np.int32], cells: Sequence[str], missing: frozenset[str]) -> Labels:
    """The labels of a table's column: integers if every label is written as one, else text.

    Args:
        codes: (N,) indices into `cells`.
        cells: the different cells, as they are written.
        missing: cells that stand for no label.
    """
    words = [cell.strip() for cell in cells]
    present = sorted({word for word in words if word not in missing})
    values: list[Label] = list(present)
    if all(_is_canonical_integer(word) for word in present):
        values = sorted(map(int, present))
    index = {str(value): k for k, value in enumerate(values)} | dict.fromkeys(missing, MISSING)
    return Labels(np.array([index[word] for word in words], np.int32)[codes], tuple(values))


def require_few(count: int, name: str) -> None:
    """Refuses more different labels than classes make sense.

    Raises:
        DataError: above `MAX_CLASSES`.
    """
    if count > MAX_CLASSES:
        found = f"more than {MAX_CLASSES:,} different labels"
        raise data_error(name, "classes", found, "a quantity cannot be learned as one. Is it the right column?")


def class_indices(labels: Labels, classes: Sequence[Label], place: Place) -> Array:
    """The labels as indices into the training's `classes`, (N,) in the smallest unsigned type.

    Args:
        labels: without missing ones.
        classes: the C labels known from training.
        place: words for where row i stands.

    Raises:
        DataError: for a label that is not among `classes`.
    """
    known = {str(label): index for index, label in enumerate(classes)}
    mapping = np.array([known.get(str(value), MISSING) for value in labels.values], np.int64)
    unknown = np.flatnonzero((mapping == MISSING) & (np.bincount(labels.codes, minlength=len(mapping)) > 0))
    if len(unknown):
        value = labels.values[unknown[0]]
        row = int(np.argmax(labels.codes == unknown[0]))
        hint = did_you_mean(str(value), known)
        raise data_error(place(row), f"a label known from training: {some(classes)}", f"label {shown(value)}", hint)
    indices: Array = mapping.astype(np.min_scalar_type(len(classes) - 1))[labels.codes]
    return indices


def without_absent(labels: Labels) -> Labels:
    """The same labels, with only those values that some row has."""
    present = np.flatnonzero(np.bincount(labels.codes, minlength=len(labels.values)))
    if len(present) == len(labels.values):
        return labels
    codes = np.searchsorted(present, labels.codes)
    return Labels(codes, tuple(labels.values[k] for k in present))


def _is_canonical_integer(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 18 and str(int(word)) == word
