"""Metrics against scikit-learn where it is installed, and against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twolayer.data.rows import ArrayRows
from twolayer.network.model import Params, init_params, predict_proba
from twolayer.solver.metrics import (
    Evaluator,
    balanced_class_weights,
    cross_entropy,
    hidden_activity,
    probabilities,
    weight_changes,
)
from twolayer.views.evaluation import class_figures, confusion_matrix

RNG = np.random.default_rng(5)


def test_evaluation_in_blocks_equals_the_whole_at_once(monkeypatch):
    params = init_params(4, 6, 3, rng=RNG, dtype=np.float64)
    X, y = RNG.standard_normal((101, 4)), RNG.integers(0, 3, 101)
    P = predict_proba(params, X)
    A1 = np.maximum(0, X @ params.W1 + params.b1)
    monkeypatch.setattr("twolayer.solver.metrics.BLOCK_BYTES", 7 * 10 * 8)
    result = Evaluator(params, ArrayRows(X), y)(params)
    assert result.loss == pytest.approx(-np.log(P[np.arange(101), y]).mean(), rel=1e-12)
    assert result.accuracy == (P.argmax(axis=1) == y).mean()
    np.testing.assert_allclose(result.activation_mean, A1.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(result.fired, (A1 > 0).any(axis=0))
    np.testing.assert_allclose(probabilities(params, ArrayRows(X), block_rows=9), P, rtol=1e-12)


def test_evaluation_on_chosen_rows_looks_at_those_only():
    params = init_params(4, 6, 3, rng=RNG, dtype=np.float64)
    X, y = RNG.standard_normal((50, 4)), RNG.integers(0, 3, 50)
    chosen = np.array([3, 8, 9, 40])
    whole = Evaluator(params, ArrayRows(X[chosen]), y[chosen])(params)
    assert Evaluator(params, ArrayRows(X), y, chosen)(params).loss == whole.loss


def test_a_unit_that_never_fires_counts_as_dead():
    params = init_params(2, 4, 2, rng=RNG, dtype=np.float64)
    params.b1[1] = -1e6
    X = RNG.standard_normal((30, 2))
    activity = hidden_activity(Evaluator(params, ArrayRows(X), np.zeros(30, int))(params))
    A1 = np.maximum(0, X @ params.W1 + params.b1)
    assert activity["dead_share"] == (A1.max(axis=0) == 0).mean() >= 0.25
    assert activity["activation_max"] == pytest.approx(A1.mean(axis=0).max())


def test_cross_entropy_stays_finite_at_scores_that_overflow_exp():
    S = np.array([[1000.0, 0.0], [0.0, 1000.0]], np.float32)
    np.testing.assert_array_equal(cross_entropy(S, np.array([0, 0])), [0, 1000])


def test_class_figures_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    y, predicted = RNG.integers(0, 4, 200), RNG.integers(0, 3, 200)  # class 3 is never predicted
    confusion = confusion_matrix(y, predicted, 4)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(y, predicted))
    theirs = metrics.precision_recall_fscore_support(y, predicted, zero_division=0)
    for ours, expected in zip(class_figures(confusion), theirs, strict=True):
        np.testing.assert_allclose(ours, expected)


def test_balanced_weights_give_every_class_the_same_total():
    y = np.repeat([0, 1, 2], [5, 20, 75])
    totals = np.bincount(y, weights=balanced_class_weights(y, 3)[y])
    np.testing.assert_allclose(totals, 100 / 3)


def test_weight_changes_are_relative_to_the_weights_before():
    before = Params(None, None, np.array([[3.0], [4.0]]), np.zeros(1))
    after = Params(None, None, np.array([[3.0], [4.5]]), np.zeros(1))
    changes = weight_changes(before, after)
    assert changes["update_ratio_W2"] == pytest.approx(0.1)
    assert changes["weight_norm_W2"] == pytest.approx(np.hypot(3, 4.5))
    assert changes["update_ratio_W1"] is changes["weight_norm_W1"] is None
