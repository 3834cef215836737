"""Pictures of a sweep, drawn from made-up points."""

import numpy as np
import pytest

from twolayer.sweep import charts as sweep_charts
from twolayer.sweep.charts import draw_against_keys, draw_best_curves
from twolayer.sweep.points import PointResult


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written, for a look at what is in them."""
    figures, save = [], sweep_charts.save
    monkeypatch.setattr(sweep_charts, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def test_values_and_names_that_look_like_formulas_are_drawn_unchanged(tmp_path, drawn):
    values = ["income_$_per_$", "$x", "^$^$"]
    points = [
        PointResult(k, {"data.label": value}, "finished", ("run",), 0.5 + k / 10) for k, value in enumerate(values)
    ]
    draw_against_keys(points, {"data.label": False}, "val_accuracy", tmp_path / "a.png")
    draw_best_curves([(f"0: label {values[0]}", np.arange(1.0, 4), np.ones(3))], "val_accuracy", tmp_path / "c.png")
    ticks = [text.get_text().replace(r"\$", "$") for text in drawn[0].axes[0].get_xticklabels()]
    assert ticks == sorted(values)


def test_curves_of_a_single_epoch_are_marks(tmp_path, drawn):
    one = np.ones(1)
    draw_best_curves([("0: rate 0.1", one, one), ("1: rate 0.2", one, 2 * one)], "val_loss", tmp_path / "c.png")
    assert [line.get_marker() for line in drawn[0].axes[0].lines] == ["o", "o"]
