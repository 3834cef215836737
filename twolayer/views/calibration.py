"""Whether a probability means what it says: of the rows predicted with 80 % confidence, are 80 % right?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N_BINS = 10


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of equal width; the confidence of a row is its largest probability.

    Attributes:
        confidence: (M,) mean confidence in each bin that holds a row.
        accuracy: (M,) share of its rows whose most probable class is right.
        rows: (M,) how many it holds.
        ece: expected calibration error, sum over bins of rows / N |accuracy - confidence|
            (Naeini, Cooper and Hauskrecht, AAAI 2015).
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    rows: NDArray[np.intp]
    ece: float


def reliability(y: NDArray[Any], P: NDArray[Any], n_bins: int = N_BINS) -> Reliability:
    """The reliability diagram's numbers.

    Args:
        y: (N,) class indices, N >= 1.
        P: (N, C) probabilities.
        n_bins: bins of equal width over 0..1; each holds its upper edge, not its lower one.
    """
    confidence = P.max(axis=1).astype(np.float64)
    right = P.argmax(axis=1) == y
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.intp) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    used = count > 0
    mean_confidence = np.bincount(bins, confidence, n_bins)[used] / count[used]
    accuracy = np.bincount(bins, right, n_bins)[used] / count[used]
    ece = float((count[used] / len(y)) @ np.abs(accuracy - mean_confidence))
    return Reliability(mean_confidence, accuracy, count[used], ece)


def most_confident_mistakes(y: NDArray[Any], P: NDArray[Any], limit: int = 12) -> NDArray[np.intp]:
    """Positions of the wrongly predicted rows, the most confident first, at most `limit`.

    Args:
        y: (N,) class indices.
        P: (N, C) probabilities.
        limit: how many at most.
    """
    wrong = np.flatnonzero(P.argmax(axis=1) != y)
    order = np.argsort(-P[wrong].max(axis=1), kind="stable")
    found: NDArray[np.intp] = wrong[order[:limit]]
    return found
