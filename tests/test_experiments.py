"""The experiments find what they claim, and each leaves a picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from twolayer.__main__ import run
from twolayer.commands import experiment as experiments
from twolayer.commands.experiment import EXPERIMENTS, ClaimPanel, draw_panels, exaggeration, ladder, loss, separable


def test_softmax_exceeds_the_plain_share_exactly_where_the_gap_exceeds_the_log_ratio() -> None:
    softmax, *plain = exaggeration().panels[0].curves
    for curve, x1 in zip(plain, (0.1, 1.0), strict=True):
        gap = curve.x[1:]
        np.testing.assert_array_equal((softmax.y > curve.y)[1:], gap > np.log((x1 + gap) / x1))


def test_repeated_exp_starts_at_two_thirds_falls_and_ends_at_1() -> None:
    shares = exaggeration().panels[1].curves[0].y
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[1] == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert shares[1] < shares[0]
    assert shares[-1] == 1


def test_the_loss_of_point_9_point_5_point_1_and_point_01() -> None:
    points = loss().panels[0].points
    assert [(p, round(cost, 3)) for p, cost, _ in points] == [(0.9, 0.105), (0.5, 0.693), (0.1, 2.303), (0.01, 4.605)]


def test_the_weights_grow_without_bound_for_r_0_and_settle_for_r_above_0() -> None:
    """With r = 0, |W| grows like the logarithm of the steps: by as much for each factor of ten."""
    free, held = separable(steps=2000, regs=(0.0, 0.05)).panels[0].curves
    at = [np.searchsorted(free.x, steps) for steps in (20, 200, 2000)]
    first, second = np.diff(free.y[at])
    assert second > 0.8 * first > 0.3
    assert held.y[at[2]] == pytest.approx(held.y[at[1]], rel=1e-4)


def test_the_ladder_has_a_rung_for_each_way_and_skips_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from twolayer.utils.errors import MissingExtraError

    make = experiments.make_engine

    def without_numba(name, *arguments):  # type: ignore[no-untyped-def]
        if name == "numba":
            raise MissingExtraError("engine: numba needs the package 'numba'")
        return make(name, *arguments)

    monkeypatch.setattr(experiments, "make_engine", without_numba)
    result = ladder(seconds=0.0)
    assert [name for _, name, _ in result.panels[0].points][:2] == ["two loops", "outer products, row by row"]
    assert len(result.panels[0].points) == 6
    assert "needs the package" in result.findings[-1]


@pytest.mark.parametrize("name", ["exaggeration", "loss"])
def test_the_command_prints_numbers_and_draws_a_picture(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    assert run(["experiment", name, "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert EXPERIMENTS[name]().findings[0] in capsys.readouterr().out


def test_a_picture_of_named_values_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "ladder.svg"
    panel = ClaimPanel("times", "microseconds", points=((100.0, "slow", "1x"), (2.0, "fast", "50x")), log="x")
    draw_panels("Speed", (panel,), path)
    assert "<svg" in path.read_text()
