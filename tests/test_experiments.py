"""The experiments find what they claim, and each leaves a picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from twolayer.__main__ import run
from twolayer.commands import experiment
from twolayer.commands.experiment import EXPERIMENTS, exaggeration, ladder, loss, separable
from twolayer.utils.errors import MissingExtraError


def test_softmax_exceeds_the_plain_share_exactly_where_the_gap_exceeds_the_log_ratio() -> None:
    (_, gap, softmax), *plain = exaggeration().panels[0].curves
    for (_, _, share), x1 in zip(plain, (0.1, 1.0), strict=True):
        larger = gap[1:] > np.log((x1 + gap[1:]) / x1)
        np.testing.assert_array_equal((softmax > share)[1:], larger)


def test_repeated_exp_starts_at_two_thirds_falls_and_ends_at_1() -> None:
    _, _, shares = exaggeration().panels[1].curves[0]
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[1] == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert shares[1] < shares[0]
    assert shares[-1] == 1


def test_the_loss_of_point_9_point_5_point_1_and_point_01() -> None:
    points = loss().panels[0].points
    assert [(p, round(cost, 3)) for p, cost, _ in points] == [(0.9, 0.105), (0.5, 0.693), (0.1, 2.303), (0.01, 4.605)]


def test_the_weights_grow_without_bound_for_r_0_and_settle_for_r_above_0() -> None:
    """With r = 0, |W| grows like the logarithm of the steps: by as much for each factor of ten."""
    (_, steps, free), (_, _, held) = separable(steps=2000, regs=(0.0, 0.05)).panels[0].curves
    at = np.searchsorted(steps, (20, 200, 2000))
    first, second = np.diff(free[at])
    assert second > 0.8 * first > 0.3
    assert held[at[2]] == pytest.approx(held[at[1]], rel=1e-4)


def test_the_ladder_has_a_rung_for_each_way_and_says_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make = experiment.make_engine

    def without_numba(name, *arguments):  # type: ignore[no-untyped-def]
        if name == "numba":
            raise MissingExtraError("engine: numba needs the package 'numba'")
        return make(name, *arguments)

    monkeypatch.setattr(experiment, "make_engine", without_numba)
    monkeypatch.setattr("timeit.Timer.autorange", lambda self: (2, self.timeit(2)))
    result = ladder()
    assert [name for _, name, _ in result.panels[0].points] == [
        "two loops",
        "outer products, row by row",
        "one loop",
        "ones vectors, no loop",
        "loss_and_gradients",
        "engine numpy, step included",
    ]
    assert "needs the package" in result.findings[-1]
    result.draw(tmp_path / "ladder.svg")
    assert "<svg" in (tmp_path / "ladder.svg").read_text()


@pytest.mark.parametrize("name", ["exaggeration", "loss"])
def test_the_command_prints_numbers_and_draws_a_picture(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    assert run(["experiment", name, "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert EXPERIMENTS[name]().findings[0] in capsys.readouterr().out


def test_another_ending_of_the_picture_is_refused_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experiment", "separable", "--out", "x.xyz"]) == 2
    assert "--out: expected a name that ends in .png, .svg, .pdf, got x.xyz" in capsys.readouterr().err
