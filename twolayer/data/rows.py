"""Rows that the solver takes its batches from, in any form: one interface, and no copy of the data; and their labels.

Scaling: (x - center) / scale for each feature, fitted on training rows alone, in one pass over them."""

import copy
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import canonical, number_of
from twolayer.network.model import Array
from twolayer.utils.text import data_error, did_you_mean, shown, some

Label = str | int
Place = Callable[[int], str]
RowNumbers = NDArray[np.integer[Any]]

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


Method = Literal["none", "center", "standardize", "max"]

METHODS: tuple[Method, ...] = get_args(Method)

_BLOCK_BYTES = 1 << 20  # of float64 at a time


class NotFiniteError(ValueError):
    """A NaN, an infinity or a number too large for the model's floats, at a row and column of what was scaled."""

    def __init__(self, row: int, column: int, value: float) -> None:
        super().__init__(f"row {row}, column {column}: {value}")
        self.row, self.column, self.value = row, column, value


class Scaling:
    """z = (x - center) / scale.

    Args:
        center: (D,) float64.
        scale: (D,) float64, none of them 0.
    """

    def __init__(self, center: Array, scale: Array) -> None:
        self.center = center
        self.scale = scale
        self.identity = not center.any() and bool((scale == 1).all())
        self._ready: dict[np.dtype[Any], tuple[Array, Array]] = {}

    def apply(self, X: Array, out: Array) -> Array:
        """Fill `out` (B, D) of floats with the scaled rows X (B, D) of any numbers, and return it.

        Rows that `out` holds exactly are scaled in place there; others, such as float64 rows for a float32 model,
        are centered in float64 first, where a large offset costs no digits.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # the caller reports an infinity with its place
            exact = out
            if not self.identity and not np.can_cast(X.dtype, out.dtype):
                exact = np.empty(X.shape)
            exact[...] = X
            if not self.identity:
                if exact.dtype not in self._ready:  # a product costs less than a quotient
                    self._ready[exact.dtype] = self.center.astype(exact.dtype), (1 / self.scale).astype(exact.dtype)
                center, factor = self._ready[exact.dtype]
                exact -= center
                exact *= factor
            if exact is not out:
                out[...] = exact
        return out


def fit_scaling(X: Array, method: Method, rows: RowNumbers | None = None) -> Scaling:
    """Return the scaling of training rows.

        none         center 0, scale 1
        center       center the mean, scale 1
        standardize  center the mean, scale the standard deviation (divided by N)
        max          center 0, scale the largest absolute value

    A feature that is the same in every row gets scale 1 where its own would be 0.

    Args:
        X: (M, D) numbers, in memory or mapped; read once, in blocks.
        method: one of the four.
        rows: (N,) the training rows; None for all.

    Raises:
        NotFiniteError: for a NaN, an infinity or numbers whose squares are beyond float64.
    """
    D = X.shape[1]
    center, scale = np.zeros(D), np.ones(D)
    if method == "none" and X.dtype.kind != "f":
        return Scaling(center, scale)
    origin = _float64(X[0 if rows is None else rows[0]])  # (D,) sums of x - origin cancel no digits
    total, squares, largest = np.zeros(D), np.zeros(D), np.zeros(D)
    count = len(X) if rows is None else len(rows)
    size = max(1, _BLOCK_BYTES // (8 * D))
    for start in range(0, count, size):
        part = slice(start, start + size)
        block = _float64(X[part if rows is None else rows[part]])
        with np.errstate(over="ignore", invalid="ignore"):
            if method in ("none", "max"):
                np.maximum(largest, np.abs(block).max(axis=0), out=largest)
            else:
                block -= origin
                total += block.sum(axis=0)
            if method == "standardize":
                squares += np.einsum("ij,ij->j", block, block)
        if not (np.isfinite(total).all() and np.isfinite(squares).all() and np.isfinite(largest).all()):
            raise _first_not_finite(X, rows, start, len(block))
    mean = total / count  # (D,) from the origin
    if method in ("center", "standardize"):
        center = origin + mean
    if method == "standardize":
        scale = np.sqrt(np.maximum(squares / count - mean**2, 0))
    elif method == "max":
        scale = largest
    digits = np.finfo(X.dtype if X.dtype.kind == "f" else np.float64)
    # A spread below the last digits of the numbers themselves is rounding, not information.
    scale[scale <= np.maximum(4 * digits.eps * np.abs(center), digits.tiny)] = 1
    return Scaling(center, scale)


def _float64(X: Array) -> Array:
    """Return a copy of X as float64; a signalling NaN passes in silence, as it is reported later."""
    with np.errstate(invalid="ignore"):
        return X.astype(np.float64)


def _first_not_finite(X: Array, rows: RowNumbers | None, start: int, count: int) -> NotFiniteError:
    numbers = np.arange(start, start + count) if rows is None else rows[start : start + count]
    block = _float64(X[numbers])
    bad = ~np.isfinite(block)
    at = np.argmax(bad if bad.any() else np.abs(block))
    i, j = divmod(int(at), X.shape[1])
    return NotFiniteError(int(numbers[i]), j, float(block[i, j]))


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows as a source has them.

    Attributes:
        name: the source, for messages.
        X: (N, D) numbers of any type, in memory or mapped; NaN where a table's cell is missing.
        labels: of the rows; None if the source has none.
        image_shape: (height, width) or (height, width, colours) of a row that is a picture; otherwise None.
        place, label_place: words for where row i, and its label, is.
        feature: words for feature j.
        spelling: how row i of a table writes feature j, or its label (None).
        leaks: sentences on columns of a training table that give the label away.
    """

    name: str
    X: Array
    labels: Labels | None
    image_shape: tuple[int, ...] | None
    place: Place
    label_place: Place
    feature: Callable[[int], str]
    spelling: Callable[[int, int | None], str] = lambda row, j: ""
    leaks: Sequence[str] = ()

    @property
    def mapped(self) -> bool:
        """Return whether the numbers are in a file and not in memory."""
        owner: Any = self.X
        while isinstance(owner, np.ndarray):
            owner = owner.base
        return isinstance(owner, mmap.mmap)


class ArrayRows:
    """N rows of D features in an array (M, D) of floats that are ready for the model, in C order for speed.

    Args:
        X: (M, D).
        index: (N,) which of them, and in which order; None for all.
    """

    def __init__(self, X: Array, index: RowNumbers | None = None) -> None:
        self.X = X
        self.index = index

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.X) if self.index is None else len(self.index), self.X.shape[1]

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fill `out` (B, D) with the rows of these numbers (B,), each from 0 to N - 1."""
        np.take(self.X, self._numbers(rows), axis=0, out=out, mode="clip")

    def slice(self, start: int, stop: int, out: Array) -> None:
        """Fill `out` (stop - start, D) with consecutive rows."""
        out[...] = self._consecutive(start, stop)

    def subset(self, rows: RowNumbers) -> Self:
        """Return these rows alone, in this order, without a copy of the data; `rows` must not change afterwards."""
        part = copy.copy(self)
        part.index = self._numbers(rows)
        return part

    def raw(self, rows: NDArray[np.intp]) -> Array:
        """Return (B, D) the rows of these numbers as they are kept, e.g. pixels of a picture."""
        kept: Array = self.X[self._numbers(rows)]
        return kept

    def _numbers(self, rows: RowNumbers) -> RowNumbers:
        return rows if self.index is None else self.index[rows]

    def _consecutive(self, start: int, stop: int) -> Array:
        return self.X[start:stop] if self.index is None else self.X[self.index[start:stop]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]:,} rows of {self.shape[1]:,} features, {self.X.dtype})"


class ScaledRows(ArrayRows):
    """Rows kept as they are (bytes of images, numbers in a mapped file) and scaled when they are taken."""

    def __init__(self, X: Array, scaling: Scaling, index: RowNumbers | None = None) -> None:
        super().__init__(X, index)
        self.scaling = scaling
        # Of anything else np.take would first make a copy as a whole.
        self._takeable = X.flags.c_contiguous and X.flags.aligned

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        chosen = self._numbers(rows)
        self.scaling.apply(self.X.take(chosen, axis=0, mode="clip") if self._takeable else self.X[chosen], out)

    def slice(self, start: int, stop: int, out: Array) -> None:
        self.scaling.apply(self._consecutive(start, stop), out)

    def scale_all(self, dtype: np.dtype[Any], out: Array | None = None) -> None:
        """Scale all rows, in blocks, into `out` (N, D) or, if it is None, only to see that they are finite.

        Raises:
            NotFiniteError: for a number that is not finite, or not any more in that type.
        """
        N, D = self.shape
        step = max(1, _BLOCK_BYTES // (8 * D))
        scratch = np.empty((min(step, N), D), dtype) if out is None else out
        for start in range(0, N, step):
            stop = min(start + step, N)
            block = scratch[: stop - start] if out is None else out[start:stop]
            self.slice(start, stop, block)
            if not np.isfinite(block).all():
                at, column = map(int, np.argwhere(~np.isfinite(block))[0])
                row = start + at if self.index is None else int(self.index[start + at])
                raise NotFiniteError(row, column, float(self.X[row, column]))
