"""Softmax regression as Jesse Waite writes it: one matrix of weights, no bias, a likelihood to maximise, and sums over
the samples where the rest of this package takes means.

W is (D, C), one column w_k per class; X is (N, D); Y is (N, C), one-hot."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array
from twolayer.reference.plain import softmax


def likelihood(W: Array, X: Array, Y: Array) -> float:
    """Return prod_n prod_k S_nk ^ Y_nk: the probability that the model gives to all the labels together."""
    return float((softmax(X @ W) ** Y).prod())


def negative_log_likelihood(W: Array, X: Array, Y: Array) -> float:
    """Return J = - sum_n sum_k Y_nk (w_k . x_n) + sum_n log sum_j exp(w_j . x_n), N times our mean loss.

    It is -log of `likelihood`, but as a sum, which does not underflow; the sum of exponentials is shifted by the
    maximum of each row.
    """
    scores = X @ W  # (N, C)
    largest = scores.max(axis=1, keepdims=True)
    logsumexp = largest[:, 0] + np.log(np.exp(scores - largest).sum(axis=1))  # (N,)
    return float(logsumexp.sum() - (Y * scores).sum())


def likelihood_gradient(W: Array, X: Array, Y: Array) -> Array:
    """Return dJ/dW = sum_n x_n (x) (s_n - y_n), (D, C): "x crossed s minus y"."""
    total = np.zeros_like(W)
    for x, s, y in zip(X, softmax(X @ W), Y, strict=True):
        total += np.outer(x, s - y)
    return total


def likelihood_step(W: Array, X: Array, Y: Array, alpha: float) -> Array:
    """Return W - alpha dJ/dW, one update from all rows at once, with the learning rate alpha.

    As J is a sum, the step is N times as large as that of equation (13) with the same alpha.
    """
    return W - alpha * likelihood_gradient(W, X, Y)
