"""Reliability and the most confident mistakes, against hand-worked values and a loop."""

import numpy as np
import pytest
from view_runs import made_run

from twolayer.utils.errors import RunError
from twolayer.views.evaluation import evaluate_run, most_confident_mistakes, reliability


def test_the_calibration_error_of_a_hand_worked_example():
    # Confidences .9, .9, .6, .6 with one, one, one and no hit: |1 - .9| / 2 + |.5 - .6| / 2
    P = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]])
    confidence, accuracy, rows, ece = reliability(np.array([0, 1, 0, 1]), P)
    assert ece == pytest.approx(0.1)
    np.testing.assert_allclose(confidence, [0.6, 0.9])
    np.testing.assert_allclose(accuracy, [0.5, 1.0])
    assert rows.tolist() == [2, 2]


def test_the_bins_agree_with_a_loop_over_rows_and_edges():
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(4), 500)
    P[:3] = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]]
    y = rng.integers(0, 4, 500)
    ece = 0.0
    for k in range(10):
        held = [i for i in range(500) if k / 10 < P[i].max() <= (k + 1) / 10]
        if held:
            right = sum(P[i].argmax() == y[i] for i in held)
            ece += abs(right - sum(P[i].max() for i in held)) / 500
    assert reliability(y, P)[3] == pytest.approx(ece)


def test_probabilities_that_mean_what_they_say_have_a_small_error_and_overconfident_ones_a_large_one():
    rng = np.random.default_rng(1)
    P = rng.dirichlet(np.ones(3), 20_000)
    y = (rng.random((20_000, 1)) > P.cumsum(axis=1)).sum(axis=1)
    sharper = P**4 / (P**4).sum(axis=1, keepdims=True)
    assert reliability(y, P)[3] < 0.015
    assert reliability(y, sharper)[3] > 0.15


def test_mistakes_come_most_confident_first_and_right_rows_never():
    rng = np.random.default_rng(2)
    P, y = rng.dirichlet(np.ones(5), 300), rng.integers(0, 5, 300)
    found = most_confident_mistakes(y, P, limit=20)
    confidence = P.max(axis=1)
    assert len(found) == 20
    assert (P[found].argmax(axis=1) != y[found]).all()
    assert (np.diff(confidence[found]) <= 0).all()
    wrong = P.argmax(axis=1) != y
    assert confidence[found].min() >= np.sort(confidence[wrong])[-20]
    assert not most_confident_mistakes(P.argmax(axis=1), P).size


def test_a_bin_holds_its_upper_edge():
    P = np.array([[0.5, 0.25, 0.25], [0.45, 0.3, 0.25], [0.55, 0.3, 0.15]])
    assert reliability(np.zeros(3, int), P)[2].tolist() == [2, 1]


def test_a_folder_of_runs_a_file_and_a_run_without_an_end_are_named_as_such(tmp_path):
    for name in "ab":
        made_run(tmp_path / "runs" / name)
    for place, said in (
        ("runs", "a folder that holds 2: 'a', 'b'; choose one"),
        ("runs/a", "a run that has ended, got one without predictions.npz; give rows with --data"),
        ("runs/a/best.npz", "a run folder, got a file; for a model file give rows with --data"),
        ("none", "a run folder, got nothing; for a model file give rows with --data"),
    ):
        with pytest.raises(RunError, match=said):
            evaluate_run(tmp_path / place)
