"""Softmax regression as Jesse Waite writes it: one matrix of weights, no bias, a likelihood to be made large, and
sums over the samples where the rest of this package takes means."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array
from twolayer.reference.plain import softmax


def likelihood(W: Array, X: Array, Y: Array) -> float:
    """prod_n prod_k S_nk ^ Y_nk: the probability that the model gives to all the labels together.

    Args:
        W: (D, C), one column w_k per class.
        X: (N, D).
        Y: (N, C) one-hot.
    """
    return float((softmax(X @ W) ** Y).prod())


def negative_log_likelihood(W: Array, X: Array, Y: Array) -> float:
    """J = - sum_n sum_k Y_nk (w_k . x_n) + sum_n log sum_j exp(w_j . x_n); N times our mean loss.

    It is -log of `likelihood`, but as a sum, which does not underflow; the sum of exponentials is shifted by each
    row's maximum. Arguments as in `likelihood`.
    """
    scores = X @ W  # (N, C)
    largest = scores.max(axis=1, keepdims=True)
    logsumexp = largest[:, 0] + np.log(np.exp(scores - largest).sum(axis=1))  # (N,)
    return float(logsumexp.sum() - (Y * scores).sum())


def likelihood_gradient(W: Array, X: Array, Y: Array) -> Array:
    """dJ/dW = sum_n x_n (x) (s_n - y_n), (D, C): "x crossed s minus y". Arguments as in `likelihood`."""
    total = np.zeros_like(W)
    for x, s, y in zip(X, softmax(X @ W), Y, strict=True):
        total += np.outer(x, s - y)
    return total


def likelihood_step(W: Array, X: Array, Y: Array, alpha: float) -> Array:
    """W - alpha dJ/dW, one update from all rows at once.

    As J is a sum, alpha means N times as large a step as in equation (13). Arguments as in `likelihood`, and

    Args:
        alpha: learning rate.
    """
    return W - alpha * likelihood_gradient(W, X, Y)
