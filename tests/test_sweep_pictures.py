"""The picture of a sweep's points, drawn from made-up ones."""

import numpy as np
import pytest

from twolayer.sweep import search
from twolayer.sweep.points import Point


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written, for a look at what is in them."""
    figures, save = [], search.save
    monkeypatch.setattr(search, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def points_with(values):
    return [
        Point(k, {"k": value}, "finished", ("run",), 0.5 + k / 10, spread=k / 100) for k, value in enumerate(values)
    ]


def test_values_and_names_that_look_like_formulas_are_drawn_unchanged(tmp_path, drawn):
    values = ["income_$_per_$", "$x", "^$^$", None, True]
    search.draw_against_keys(points_with(values), {"k": False}, "val_accuracy", tmp_path / "a.png")
    ticks = [text.get_text().replace(r"\$", "$") for text in drawn[0].axes[0].get_xticklabels()]
    assert sorted(ticks) == sorted(map(str, values))


@pytest.mark.parametrize(
    ("values", "logarithmic", "ticks"),
    [
        ([64, 16, 32], True, ["16", "32", "64"]),
        (np.geomspace(0.001, 10, 30).tolist(), True, ["0.001", "0.01", "0.1", "1", "10"]),
        (np.linspace(0, 1, 30).tolist(), False, ["0", "0.25", "0.5", "0.75", "1"]),
        ([3], False, ["3"]),
    ],
)
def test_numbers_have_a_few_plain_ticks_on_their_own_scale(tmp_path, drawn, values, logarithmic, ticks):
    search.draw_against_keys(points_with(values), {"k": logarithmic}, "val_loss", tmp_path / "a.png")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ticks
    assert axes.get_xscale() == ("log" if logarithmic else "linear")
    assert axes.lines[-1].get_xydata().tolist() == [[values[0], 0.5]]  # the star
