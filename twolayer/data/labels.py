"""Labels, or categories, as tables and arrays have them: each row's index among the distinct values, and from there to
class indices 0..C-1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import canonical, number_of
from twolayer.network.model import Array
from twolayer.utils.text import data_error, did_you_mean, shown, some

Label = str | int
Place = Callable[[int], str]

MAX_CLASSES = 10_000
MISSING = -1

_BLOCK = 1 << 16  # rows


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N rows."""

    codes: NDArray[np.integer[Any]]  # (N,) indices into `values`; `MISSING` where a row has no label
    values: tuple[Label, ...]  # the distinct labels in ascending order

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

    def indices(self, classes: Sequence[Label], place: Place) -> Array:
        """Return the labels, none missing, as indices into the training's classes, (N,) in the smallest unsigned type.

        Raises:
            DataError: for a label that is not among `classes`.
        """
        codes, unknown = self.among(classes)
        if len(unknown):
            row = int(unknown[0])
            value = self.values[self.codes[row]]
            hint = did_you_mean(str(value), map(str, classes))
            raise data_error(place(row), f"a label known from training: {some(classes)}", f"label {shown(value)}", hint)
        return codes.astype(np.min_scalar_type(len(classes) - 1))

    def present(self, name: str) -> Self:
        """Return the labels, none missing, with only those values that some row has; raise DataError if it is one."""
        rows = np.bincount(self.codes, minlength=len(self.values))
        kept = np.flatnonzero(rows)
        if len(kept) < 2:
            found = f"one, {shown(self.values[kept[0]])}"
            raise data_error(name, "two or more classes", found, "is it the label's column?")
        if len(kept) == len(rows):
            return self
        return type(self)(np.searchsorted(kept, self.codes), tuple(self.values[k] for k in kept))


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
