"""Rows a solver can take batches from, wherever they are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class ArrayRows:
    """Rows in an array (N, D) that is ready for the model."""

    def __init__(self, X: Array) -> None:
        self.X = X

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.X.shape[0], self.X.shape[1]

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fills `out` (B, D) with the rows of these numbers, without a temporary."""
        np.take(self.X, rows, axis=0, out=out, mode="clip")
