"""Rows the solver takes its batches from, wherever and in whatever form they are kept: all of them are asked in the
same way, and none makes a copy of the data."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twolayer.data.scaling import Scaling

Array = NDArray[Any]
RowNumbers = NDArray[np.integer[Any]]


class Rows(Protocol):
    """N rows of D features, ready for the model when they are taken."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fills `out` (B, D) with the rows of these numbers (B,), each from 0 to N - 1."""

    def slice(self, start: int, stop: int, out: Array) -> None:
        """Fills `out` (stop - start, D) with consecutive rows."""

    def subset(self, rows: RowNumbers) -> Rows:
        """These rows alone, in this order, without a copy of the data; `rows` must not change afterwards."""

    def raw(self, rows: NDArray[np.intp]) -> Array:
        """(B, D) the rows of these numbers as they are kept, e.g. pixels of a picture."""


class _IndexedRows:
    """What both kinds of rows have in common: the array and which of its rows are meant."""

    def __init__(self, X: Array, index: RowNumbers | None = None) -> None:
        self.X = X
        self.index = index

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.X) if self.index is None else len(self.index), self.X.shape[1]

    def raw(self, rows: NDArray[np.intp]) -> Array:
        """(B, D) the rows of these numbers as they are kept."""
        kept: Array = self.X[rows if self.index is None else self.index[rows]]
        return kept

    def _chosen(self, rows: RowNumbers) -> RowNumbers:
        return rows if self.index is None else self.index[rows]

    def _consecutive(self, start: int, stop: int) -> Array:
        return self.X[start:stop] if self.index is None else self.X[self.index[start:stop]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]:,} rows of {self.shape[1]:,} features, {self.X.dtype})"


class ArrayRows(_IndexedRows):
    """Rows in an array (M, D) of floats that are ready for the model.

    Args:
        X: (M, D), in C order for speed.
        index: (N,) which of them, and in which order; None for all.
    """

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fills `out` (B, D) with the rows of these numbers, without a temporary of its size."""
        np.take(self.X, rows if self.index is None else self.index[rows], axis=0, out=out, mode="clip")

    def slice(self, start: int, stop: int, out: Array) -> None:
        """Fills `out` (stop - start, D) with consecutive rows."""
        out[...] = self._consecutive(start, stop)

    def subset(self, rows: RowNumbers) -> ArrayRows:
        """These rows alone, sharing the array."""
        return ArrayRows(self.X, self._chosen(rows))


class ScaledRows(_IndexedRows):
    """Rows kept as they are (bytes of images, numbers in a mapped file) and scaled when they are taken.

    Args:
        X: (M, D) numbers of any kind, in memory or mapped.
        scaling: what makes them ready for the model.
        index: (N,) which of them, and in which order; None for all.
    """

    def __init__(self, X: Array, scaling: Scaling, index: RowNumbers | None = None) -> None:
        super().__init__(X, index)
        self.scaling = scaling
        # Of anything else np.take would first make a copy as a whole.
        self._takeable = X.flags.c_contiguous and X.flags.aligned

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fills `out` (B, D) with the rows of these numbers, scaled."""
        chosen = rows if self.index is None else self.index[rows]
        self.scaling.apply(self.X.take(chosen, axis=0, mode="clip") if self._takeable else self.X[chosen], out)

    def slice(self, start: int, stop: int, out: Array) -> None:
        """Fills `out` (stop - start, D) with consecutive rows, scaled."""
        self.scaling.apply(self._consecutive(start, stop), out)

    def subset(self, rows: RowNumbers) -> ScaledRows:
        """These rows alone, sharing the array."""
        return ScaledRows(self.X, self.scaling, self._chosen(rows))
