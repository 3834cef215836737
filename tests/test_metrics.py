"""Metrics against scikit-learn where it is installed, and against counting by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from twolayer.data.rows import ArrayRows
from twolayer.network.model import Params, forward, init_params, softmax
from twolayer.solver.metrics import (
    Evaluator,
    auc,
    cross_entropy,
    hidden_activity,
    probabilities,
    weight_changes,
    weights_of_classes,
)
from twolayer.views.evaluation import Figures, class_figures, confusion_matrix

RNG = np.random.default_rng(5)


def test_evaluation_in_blocks_equals_the_whole_at_once(monkeypatch):
    params = init_params(4, 6, 3, rng=RNG, dtype=np.float64)
    X, y = RNG.standard_normal((101, 4)), RNG.integers(0, 3, 101)
    P = softmax(forward(params, X))
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
    totals = np.bincount(y, weights=weights_of_classes("balanced", [0, 1, 2], y)[y])
    np.testing.assert_allclose(totals, 100 / 3)


def test_weight_changes_are_relative_to_the_weights_before():
    before = Params(None, None, np.array([[3.0], [4.0]]), np.zeros(1))
    after = Params(None, None, np.array([[3.0], [4.5]]), np.zeros(1))
    changes = weight_changes(before, after)
    assert changes["update_ratio_W2"] == pytest.approx(0.1)
    assert changes["weight_norm_W2"] == pytest.approx(np.hypot(3, 4.5))
    assert changes["update_ratio_W1"] is changes["weight_norm_W1"] is None


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_figures_for_rare_classes_are_scikit_learns(n_classes, dtype, monkeypatch):
    metrics = pytest.importorskip("sklearn.metrics")
    monkeypatch.setattr("twolayer.solver.metrics.BLOCK_BYTES", 7 * 10 * 8)
    params = init_params(4, 6, n_classes, rng=RNG, dtype=dtype)
    X = RNG.integers(-1, 2, (300, 4)).astype(dtype)  # few distinct rows: many scores are equal
    y = RNG.choice(n_classes - (n_classes > 2), 300, p=None if n_classes > 2 else [0.95, 0.05])  # the last has no rows
    result = Evaluator(params, ArrayRows(X), y, by_class=True)(params)
    S = forward(params, X)
    predicted = S.argmax(axis=1)
    assert result.f1 == pytest.approx(metrics.f1_score(y, predicted, average="macro"), rel=1e-12)
    assert result.balanced_accuracy == pytest.approx(
        np.mean(metrics.recall_score(y, predicted, average=None, labels=np.unique(y), zero_division=0)), rel=1e-12
    )
    if n_classes == 2:
        assert result.auc == pytest.approx(metrics.roc_auc_score(y, S[:, 1] - S[:, 0]), rel=1e-12)
        assert len(np.unique(S[:, 1] - S[:, 0])) < 100
    else:
        assert result.auc is None


def test_auc_counts_ties_as_one_half_and_needs_both_classes():
    y = np.array([0, 0, 1, 1])
    assert auc(y, np.array([0.1, 0.5, 0.5, 0.9])) == (2 + 1.5) / 4
    assert auc(y, np.zeros(4)) == 0.5
    assert auc(np.ones(4, int), np.arange(4.0)) is None
    assert np.isnan(auc(y, np.array([0, 1, np.nan, 2])))


class TestEvaluate:
    """What `evaluate` shows of some probabilities."""

    def figures(self, n_classes=2):
        y = np.repeat([0, 1], [60, 4]) if n_classes == 2 else RNG.integers(0, n_classes, 200)
        P = RNG.dirichlet(np.ones(n_classes) * 2, len(y))
        if n_classes == 2:
            P[:, 0] = np.maximum(P[:, 0], 0.51)  # nothing is predicted as the rare class
            P[:, 1] = 1 - P[:, 0]
        return y, P, Figures.of("test rows", [f"c{k}" for k in range(n_classes)], y, P)

    def test_the_means_are_scikit_learns(self):
        metrics = pytest.importorskip("sklearn.metrics")
        for n_classes in (2, 4):
            y, P, figures = self.figures(n_classes)
            predicted = P.argmax(axis=1)
            assert figures.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
            assert figures.f1 == pytest.approx(metrics.f1_score(y, predicted, average="macro", zero_division=0))
            if n_classes == 2:
                assert figures.auc == pytest.approx(metrics.roc_auc_score(y, P[:, 1]))

    def test_a_model_that_finds_none_of_the_rare_class_is_said_to_beat_nothing(self):
        text = self.figures()[2].table()
        assert "always guessing c0, the most frequent class: accuracy 0.9375" in text
        assert "balanced accuracy 0.5000, macro F1 0.4839, AUC" in text
        assert "The model does not beat that guess." in text

    def test_a_model_that_beats_the_guess_gets_no_such_line(self):
        y = np.arange(20) % 4
        P = 0.1 + 0.6 * np.eye(4)[y]
        assert "does not beat" not in Figures.of("rows", [1, 2, 3, 4], y, P).table()

    def test_the_json_holds_what_the_table_shows(self):
        y, P, figures = self.figures(3)
        found = json.loads(json.dumps(figures.as_json(), allow_nan=False))
        assert found["rows"] == len(y)
        assert found["accuracy"] == (P.argmax(axis=1) == y).mean()
        assert [each["label"] for each in found["classes"]] == ["c0", "c1", "c2"]
        assert sum(each["rows"] for each in found["classes"]) == sum(map(sum, found["confusion"])) == len(y)
        assert found["auc"] is None
        assert found["most_frequent"]["accuracy"] == np.bincount(y).max() / len(y)

    def test_auc_keeps_apart_what_rounds_to_one(self):
        P0 = np.array([1e-9, 1e-10, 1e-11, 1e-12], np.float32)
        P = np.stack([P0, 1 - P0], axis=1).astype(np.float32)
        assert Figures.of("rows", ["a", "b"], np.array([0, 0, 1, 1]), P).auc == 1.0
