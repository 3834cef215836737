"""Curves thinned to what a screen can show: the lowest and the highest value of each stretch stay, so no spike is
lost and none is made up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def thinned(x: Array, y: Array, points: int = 800) -> tuple[Array, Array]:
    """At most `points` points of a curve, in their order: first, last, and each stretch's extremes.

    Args:
        x: (N,) positions, rising.
        y: (N,) values. Extremes are those of the finite ones; a stretch without any keeps one NaN, so that the gap
            is seen.
        points: how many points may remain, 4 at least.

    Returns:
        (x, y) of what remains; the arrays themselves if they are short enough.
    """
    N = len(y)
    if points >= N:
        return x, y
    stretches = max(1, (points - 2) // 2)
    edges = np.linspace(0, N, stretches + 1).astype(np.intp)
    lowest = _extremes(np.where(np.isfinite(y), y, np.inf), edges)
    highest = _extremes(np.where(np.isfinite(y), -y, np.inf), edges)
    keep = np.unique(np.concatenate([[0], lowest, highest, [N - 1]]))
    return x[keep], y[keep]


def _extremes(y: Array, edges: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the lowest value in each stretch edges[k] <= i < edges[k + 1]."""
    return np.array([a + int(y[a:b].argmin()) for a, b in pairwise(edges)], np.intp)
