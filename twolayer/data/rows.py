"""Rows a solver can take batches from, wherever they are kept: ready in an array, or raw (pixels, a mapped file) and
made ready batch by batch."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twolayer.data.scaling import Scaling

Array = NDArray[Any]
RowNumbers = NDArray[Any]  # integers


class Rows(Protocol):
    """N rows of D features."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        ...

    def take(self, rows: RowNumbers, out: Array) -> None:
        """Fills `out` (B, D) with the rows of these numbers (B,), ready for the model."""
        ...

    def raw(self, rows: RowNumbers) -> Array:
        """The rows of these numbers as they were before scaling, (B, D)."""
        ...


class ArrayRows:
    """Rows in an array (N, D) that is ready for the model.

    Args:
        X: (N, D), of the model's float type.
        scaling: what was done to them, for `raw`.
    """

    def __init__(self, X: Array, scaling: Scaling | None = None) -> None:
        self.X = X
        self._scaling = scaling

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.X.shape[0], self.X.shape[1]

    def take(self, rows: RowNumbers, out: Array) -> None:
        """Fills `out` (B, D) with the rows of these numbers, without a temporary."""
        np.take(self.X, rows, axis=0, out=out, mode="clip")

    def raw(self, rows: RowNumbers) -> Array:
        """The rows of these numbers as they were before scaling."""
        taken = self.X[rows]
        return taken if self._scaling is None else self._scaling.undo(taken)


class ScaledRows:
    """Raw rows that are scaled when a batch takes them, so that pixels stay bytes and files stay on the disk.

    Args:
        values: (M, D) of any number type, in memory or mapped.
        scaling: how rows are made ready.
        chosen: (N,) which of the M rows these are; None for all.
    """

    def __init__(self, values: Array, scaling: Scaling, chosen: RowNumbers | None = None) -> None:
        self._values, self._scaling, self._chosen = values, scaling, chosen

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self._values) if self._chosen is None else len(self._chosen), self._values.shape[1]

    def take(self, rows: RowNumbers, out: Array) -> None:
        """Fills `out` (B, D) with the scaled rows of these numbers."""
        self._scaling.apply(self.raw(rows), out)

    def raw(self, rows: RowNumbers) -> Array:
        """The rows of these numbers as they stand in the file."""
        return np.take(self._values, rows if self._chosen is None else self._chosen[rows], axis=0)
