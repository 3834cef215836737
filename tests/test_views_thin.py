"""Thinned curves keep what the eye would see: ends, extremes, gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer.views.style import downsample


@given(st.integers(1, 3000), st.integers(4, 300), st.integers(0, 2**32 - 1))
def test_a_thinned_curve_is_a_short_part_of_it_with_the_same_ends_and_extremes(n, points, seed):
    x, y = np.arange(n, dtype=float), np.random.default_rng(seed).standard_normal(n)
    a, b = downsample(x, y, points)
    assert len(a) <= points or n <= points
    assert (np.diff(a) > 0).all()
    np.testing.assert_array_equal(b, y[a.astype(int)])
    assert (a[0], a[-1]) == (0, n - 1)
    assert (b.min(), b.max()) == (y.min(), y.max())


@pytest.mark.parametrize("at", [1, 777, 49_998])
def test_a_single_spike_among_many_points_stays_at_its_place(at):
    y = np.zeros(50_000)
    y[at], y[-at - 1] = 7.0, -7.0
    a, b = downsample(np.arange(50_000.0), y, 100)
    assert (a[b == 7.0].tolist(), a[b == -7.0].tolist()) == ([at], [49_999 - at])


def test_a_gap_of_missing_values_stays_a_gap_and_hides_no_extreme():
    y = np.linspace(0, 1, 10_000)
    y[4000:6000] = np.nan
    y[7000] = np.inf
    _, b = downsample(np.arange(10_000.0), y, 200)
    assert np.isnan(b).any()
    assert np.nanmax(b[np.isfinite(b)]) == 1.0


def test_a_short_curve_stays_as_it_is():
    x, y = np.arange(5.0), np.arange(5.0)
    a, b = downsample(x, y, 5)
    assert a is x
    assert b is y
