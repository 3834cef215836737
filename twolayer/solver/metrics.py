"""What a model is worth on some rows: mean cross-entropy, accuracy, the figures for rare classes, how its hidden units
respond. All sums over rows are taken in float64."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array, Params, forward, softmax

BLOCK_BYTES = 1 << 20  # of rows at a time


class RowSource(Protocol):
    """Rows a model can be trained or evaluated on, in memory or not; see `data.rows`."""

    @property
    def shape(self) -> tuple[int, int]: ...  # (N, D)

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fill `out` (B, D) with the rows of these numbers, ready for the model."""


class Evaluation(NamedTuple):
    """A model's figures on N rows at fixed parameters."""

    loss: float  # mean of equation (5), without the penalty
    accuracy: float  # share of rows whose highest score is the right class's
    activation_mean: Array  # (H,) of each hidden unit; empty without a hidden layer
    fired: NDArray[np.bool_]  # (H,) whether a hidden unit was above 0 for any row
    f1: float | None  # this and the next: means over the classes, see `class_means`; None if not asked for
    balanced_accuracy: float | None
    auc: float | None  # see `auc`; None unless asked for, with two classes that both occur


class Evaluator:
    """Evaluates parameters on the same rows again and again, in blocks, with its arrays kept between calls."""

    def __init__(
        self, like: Params, X: RowSource, y: Array, rows: NDArray[np.intp] | None = None, *, by_class: bool = False
    ) -> None:
        """Make one for Params of the shape and float type of `like` on rows X (N, D) of classes y (N,), or on those
        with the numbers `rows`; `by_class` adds f1, balanced_accuracy and auc."""
        (D, H, C), dtype = like.sizes, like.dtype
        self._source, self._y, self._rows, self._by_class = X, y, rows, by_class
        self.n_rows = len(y) if rows is None else len(rows)
        self._block_rows = max(1, min(self.n_rows, BLOCK_BYTES // ((D + H) * dtype.itemsize)))
        self._X = np.empty((self._block_rows, D), dtype)
        self._A1 = np.empty((self._block_rows, H), dtype)
        self._S = np.empty((self._block_rows, C), dtype)
        self._ones = np.ones(self._block_rows, dtype)
        self._predicted = np.empty(self.n_rows, np.intp)
        self._log_odds = np.empty(self.n_rows if by_class and C == 2 else 0, dtype)

    @np.errstate(over="ignore", invalid="ignore")
    def __call__(self, params: Params) -> Evaluation:
        """Return the figures at these parameters; NaN or infinite where they overflow."""
        loss_sum = 0.0
        activation_sum, highest = np.zeros(params.n_hidden), np.zeros(params.n_hidden, params.dtype)
        for start in range(0, self.n_rows, self._block_rows):
            stop = min(start + self._block_rows, self.n_rows)
            rows = np.arange(start, stop) if self._rows is None else self._rows[start:stop]
            X, A1, S = (buffer[: len(rows)] for buffer in (self._X, self._A1, self._S))
            self._source.take(rows, X)
            forward(params, X, A1=A1, out=S)
            S.argmax(axis=1, out=self._predicted[start:stop])
            if len(self._log_odds):
                np.subtract(S[:, 1], S[:, 0], out=self._log_odds[start:stop])
            loss_sum += float(cross_entropy(S, self._y[rows]).sum(dtype=np.float64))
            if params.n_hidden:
                activation_sum += self._ones[: len(rows)] @ A1
                np.maximum(highest, A1.max(axis=0), out=highest)
        y = self._y if self._rows is None else self._y[self._rows]
        n = self.n_rows
        accuracy = int(np.count_nonzero(self._predicted == y)) / n
        f1, recall = class_means(y, self._predicted, params.n_classes) if self._by_class else (None, None)
        area = auc(y, self._log_odds) if len(self._log_odds) else None
        return Evaluation(loss_sum / n, accuracy, activation_sum / n, highest > 0, f1, recall, area)


def class_means(y: Array, predicted: Array, n_classes: int) -> tuple[float, float]:
    """Return macro F1 and balanced accuracy of class indices y (N,) and `predicted` (N,).

    F1 of a class is 2 hits / (rows of it + rows predicted as it); its mean is over the classes that occur in either.
    The balanced accuracy is the mean of hits / rows over the classes that have rows. Both as in scikit-learn.
    """
    hits = np.bincount(y[y == predicted], minlength=n_classes)
    of_class = np.bincount(y, minlength=n_classes)
    either = of_class + np.bincount(predicted, minlength=n_classes)
    f1 = float((2 * hits[either > 0] / either[either > 0]).mean())
    return f1, float((hits[of_class > 0] / of_class[of_class > 0]).mean())


def auc(y: Array, scores: Array) -> float | None:
    """Return the area under the ROC curve: the share of pairs in which the row of class 1 scores above that of class 0,
    a tie counting one half; None if one of the classes has no rows, NaN if a score is NaN.

    y (N,) is 0 or 1; scores (N,) are larger for class 1.
    """
    negative, positive = np.sort(scores[y == 0]), np.sort(scores[y == 1])
    pairs = len(negative) * len(positive)
    if pairs == 0:
        return None
    if np.isnan(negative[-1]) or np.isnan(positive[-1]):
        return float("nan")
    below, not_above = (int(np.searchsorted(negative, positive, side).sum()) for side in ("left", "right"))
    return (below + not_above) / (2 * pairs)


def cross_entropy(S: Array, y: Array) -> Array:
    """Return equation (5) row by row, (N,): logsumexp(S_i) - S_i,y_i for scores S (N, C) and class indices y (N,)."""
    shifted = S - S.max(axis=1, keepdims=True)  # (N, C)
    right = shifted[np.arange(len(y)), y]  # (N,)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - right)


def hidden_activity(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the history's columns on the hidden units: the share that fired for no row, and the spread of the units'
    mean activations; None without a hidden layer."""
    names, means = ("dead_share", "activation_min", "activation_median", "activation_max"), evaluation.activation_mean
    if not len(means):
        return dict.fromkeys(names)
    figures = np.mean(~evaluation.fired), means.min(), np.median(means), means.max()
    return dict(zip(names, map(float, figures), strict=True))


def weight_changes(before: Params, after: Params) -> dict[str, float | None]:
    """Return the history's columns on the weights: |W_after - W_before| / |W_before| of one step, and |W_after|, in the
    Euclidean norm; None for a matrix that is not there, or a ratio to 0."""
    columns: dict[str, float | None] = {}
    for name in ("W1", "W2"):
        old, new = getattr(before, name), getattr(after, name)
        with np.errstate(over="ignore", invalid="ignore"):
            norm = None if old is None else float(np.linalg.norm(old))
            columns[f"update_ratio_{name}"] = float(np.linalg.norm(new - old)) / norm if norm else None
            columns[f"weight_norm_{name}"] = None if new is None else float(np.linalg.norm(new))
    return columns


def probabilities(params: Params, X: RowSource, block_rows: int = 4096) -> Array:
    """Return class probabilities (N, C) on all rows."""
    P = np.empty((X.shape[0], params.n_classes), params.dtype)
    for start in range(0, len(P), block_rows):
        rows = np.arange(start, min(start + block_rows, len(P)))
        block = np.empty((len(rows), params.n_features), params.dtype)
        X.take(rows, block)
        P[rows] = softmax(forward(params, block))
    return P


def weights_of_classes(chosen: Any, classes: Sequence[Any], y: Array, weights: Array | None = None) -> Array | None:
    """Return the weights (C,) of the classes for class indices y (N,), or None for None.

    A mapping gives them by label, 1 for those left out. `balanced` is N / (C n_c) for each class c, so that every class
    weighs the same in the objective; with `weights` (N,) of the rows, N and n_c are sums of weights: a row of weight 2
    counts as two rows. Anything else, a label that is none of `classes`, or weights that are all 0 are a ValueError.
    """
    if chosen is None:
        return None
    if chosen == "balanced":
        counts = np.bincount(y, weights, minlength=len(classes))
        return np.asarray(counts.sum() / (len(classes) * np.where(counts > 0, counts, 1)))
    if not isinstance(chosen, Mapping):
        raise ValueError(f"expected None, 'balanced' or weights by label, got {chosen!r}")
    if unknown := [label for label in chosen if label not in set(classes)]:
        raise ValueError(f"expected labels of the data, {list(classes)}; got {unknown}")
    by_label = np.array([chosen.get(label, 1.0) for label in classes])
    if not by_label.any():
        raise ValueError("expected a weight above 0, got 0 for every class in the data; a class left out has 1")
    return by_label
