"""Rows that the solver takes its batches from, in any form: one interface, and no copy of the data.

Scaling: (x - center) / scale for each feature, fitted on training rows alone, in one pass over them."""

import copy
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from twolayer.data.labels import Labels, Place
from twolayer.network.model import Array
from twolayer.utils.text import counted, data_error

RowNumbers = NDArray[np.integer[Any]]


def row_numbers(mask: NDArray[np.bool_]) -> RowNumbers:
    """Return the numbers of the rows that a mask (N,) has, int32 where that holds them."""
    numbers: RowNumbers = np.arange(len(mask), dtype=np.int32 if len(mask) <= np.iinfo(np.int32).max else np.int64)
    return numbers[mask]


Method = Literal["none", "center", "standardize", "max"]
METHODS: tuple[Method, ...] = get_args(Method)
_BLOCK_BYTES = 1 << 20  # of float64 at a time


class NotFiniteError(ValueError):
    """A NaN, an infinity or a number too large for the model's floats; `args`: its row, column and value."""


class Scaling:
    """z = (x - center) / scale; both (D,) float64, no scale 0."""

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
            block = _float64(X[part if rows is None else rows[part]])
            bad = ~np.isfinite(block)
            row, column = divmod(int(np.argmax(bad if bad.any() else np.abs(block))), D)
            value = float(block[row, column])
            raise NotFiniteError(start + row if rows is None else int(rows[start + row]), column, value)
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


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows as a source has them."""

    name: str  # the source, for messages
    X: Array  # (N, D) numbers of any type, in memory or mapped; NaN where a table's cell is missing
    labels: Labels | None  # of the rows; None if the source has none
    image_shape: tuple[int, ...] | None  # (height, width[, colours]) of a row that is a picture, else None
    place: Place  # words for where row i is
    label_place: Place  # words for where its label is
    feature: Callable[[int], str]  # words for feature j
    spelling: Callable[[int, int | None], str] = lambda row, j: ""  # how a table's row writes feature j, or its label
    leaks: Sequence[str] = ()  # sentences on columns of a training table that give the label away

    @property
    def mapped(self) -> bool:
        """Return whether the numbers are in a file and not in memory."""
        owner: Any = self.X
        while isinstance(owner, np.ndarray):
            owner = owner.base
        return isinstance(owner, mmap.mmap)

    def filled(self, means: Array | None, notes: list[str]) -> Self:
        """Return the rows with the means (D,) in place of NaN, in X itself if it may be written to; note their number;
        raises DataError for a NaN if there are no means."""
        missing = np.isnan(self.X)
        if not missing.any():
            return self
        if means is None:
            row, column = map(int, np.argwhere(missing)[0])
            place = f"{self.place(row)}: {self.feature(column)}"
            raise data_error(place, "a number", "a missing cell", "the model has no means to fill it")
        X = self.X if self.X.flags.writeable else self.X.copy()
        np.copyto(X, means, where=missing)
        rows = counted(int(missing.any(axis=1).sum()), "row")
        notes.append(f"{self.name}: missing cells filled with the means of the training rows: {rows}")
        return replace(self, X=X)

    @contextmanager
    def finite(self, dtype: np.dtype[Any]) -> Iterator[None]:
        """Turn a `NotFiniteError` into a DataError: a NaN, an infinity, or too large for the network's floats."""
        try:
            yield
        except NotFiniteError as error:
            row, column, value = error.args
            expected = f"a finite number that {dtype} holds, also scaled"
            raise data_error(f"{self.place(row)}: {self.feature(column)}", expected, f"{value:g}") from None


class ArrayRows:
    """N rows of D features in an array X (M, D) of floats that are ready for the model, in C order for speed.

    `index` (N,) says which of them, and in which order; None for all.
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

    def limit(self) -> float:
        """Return a number that no absolute value in the rows exceeds; infinity or NaN where it is not known."""
        return float(max(self.X.max(), -self.X.min()))

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

    def limit(self) -> float:
        """Return it for bytes and other integers, by their type; floats may be in a large file and are not read."""
        if self.X.dtype.kind not in "iu":
            return math.inf
        ends = np.array([[np.iinfo(self.X.dtype).min], [np.iinfo(self.X.dtype).max]], np.float64)
        return float((np.abs(ends - self.scaling.center) / np.abs(self.scaling.scale)).max())

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
