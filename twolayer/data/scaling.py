"""Scaling of features: fitted on training rows alone, in one pass over them, and stored with the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ScaleName = Literal["none", "center", "standardize", "max"]


@dataclass(frozen=True)
class Scaling:
    """x -> (x - center) / scale, feature by feature; a missing x (NaN) first becomes `fill`.

    Attributes:
        center: (D,) float64.
        scale: (D,) float64, never 0.
        fill: (D,) float64, the training means, or None where missing cells are refused.
    """

    center: Array
    scale: Array
    fill: Array | None = None

    def apply(self, values: Array, out: Array) -> None:
        """Fills `out` (B, D), of a float type, with the scaled rows of `values` (B, D)."""
        if out.dtype == np.float64:
            center, scale = self.center, self.scale
        else:
            center, scale = self.center.astype(out.dtype), self.scale.astype(out.dtype)
        if values.dtype.itemsize < 8:
            np.copyto(out, values, casting="unsafe")
            out -= center
        else:
            np.subtract(values, self.center, out=out, casting="unsafe")  # before it is rounded to the model's type
        if self.fill is not None:
            np.copyto(out, (self.fill - self.center).astype(out.dtype), where=np.isnan(out))
        out /= scale

    def undo(self, ready: Array) -> Array:
        """The values (B, D) that `apply` made `ready` of, float64."""
        return ready * self.scale + self.center


class FeatureStatistics:
    """Count, mean, spread and largest size of each feature, from blocks of rows, all in float64, missing ones left out.

    Blocks are joined by the update of Chan, Golub and LeVeque (1979), which loses nothing to cancellation.
    """

    def __init__(self, n_features: int) -> None:
        self.count = np.zeros(n_features)
        self.mean = np.zeros(n_features)
        self._squares = np.zeros(n_features)  # sum of squared distances from the mean
        self.low = np.full(n_features, np.inf)
        self.high = np.full(n_features, -np.inf)

    def add(self, block: Array) -> None:
        """Takes note of a block (B, D) of rows, NaN for a missing value."""
        X = block.astype(np.float64)
        known = ~np.isnan(X)
        n = known.sum(axis=0)
        X[~known] = 0
        mean = X.sum(axis=0) / np.maximum(n, 1)
        apart = np.where(known, X - mean, 0)
        self.low = np.minimum(self.low, np.where(known, X, np.inf).min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, np.where(known, X, -np.inf).max(axis=0, initial=-np.inf))
        total = np.maximum(self.count + n, 1)
        step = mean - self.mean
        self._squares += np.square(apart).sum(axis=0) + step**2 * self.count * n / total
        self.mean += step * n / total
        self.count += n

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(D,) whether a feature has but one value."""
        return ~(self.high > self.low)

    @property
    def std(self) -> Array:
        """(D,) standard deviation, by the number of rows."""
        return np.sqrt(self._squares / np.maximum(self.count, 1))


def fit_scaling(blocks: Iterable[Array], n_features: int, how: ScaleName, *, fill: bool = False) -> Scaling:
    """The scaling of some training rows.

    Args:
        blocks: the rows, (B, D) each.
        n_features: D.
        how: `none`; `center` subtracts the mean; `standardize` divides by the standard deviation, too; `max` divides
            by the largest absolute value. A feature with one value only is never divided.
        fill: whether missing values become the training mean.
    """
    statistics = FeatureStatistics(n_features)
    for block in blocks:
        statistics.add(block)
    center, scale = np.zeros(n_features), np.ones(n_features)
    if how in ("center", "standardize"):
        center = np.where(statistics.constant, statistics.low, statistics.mean)
        center[statistics.count == 0] = 0
    if how == "standardize":
        scale = np.where(statistics.constant, 1.0, statistics.std)
    if how == "max":
        largest = np.maximum(np.abs(statistics.low), np.abs(statistics.high))
        scale = np.where(statistics.constant & (largest == 0) | ~np.isfinite(largest), 1.0, largest)
    scale[scale == 0] = 1.0
    return Scaling(center, scale, statistics.mean if fill else None)
