"""The learning-rate schedules: values worked by hand, PyTorch's schedulers, and what must hold for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twolayer.network.schedules import SCHEDULES, Schedule, learning_rates


def test_rates_worked_by_hand():
    at_epochs = np.array([0, 10, 20, 30, 40])  # of ten steps each: e = 0, 1, 2, 3, 4
    expected = {
        "constant": [0.8] * 5,
        "plateau": [0.8] * 5,
        "step": [0.8, 0.8, 0.4, 0.4, 0.2],  # factor 0.5 every two epochs
        "exponential": [0.8, 0.4, 0.2, 0.1, 0.05],
        "cosine": [0.8, 0.4 + 0.4 * math.sqrt(0.5), 0.4, 0.4 - 0.4 * math.sqrt(0.5), 0.0],
    }
    assert expected.keys() == SCHEDULES.keys()
    for name, rates in expected.items():
        schedule = Schedule(name, 0.8, epochs=4, factor=0.5, step_epochs=2)
        np.testing.assert_allclose(learning_rates(schedule, at_epochs, 10), rates, atol=1e-16)


def test_the_warm_up_rises_in_equal_parts_to_the_full_rate_and_the_schedule_starts_after_it():
    schedule = Schedule("exponential", 1.0, epochs=5, warmup_epochs=1, factor=0.5)
    rates = learning_rates(schedule, np.arange(12), steps_per_epoch=4)
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-15)
    np.testing.assert_allclose(rates[[4, 8]], [1.0, 0.5], rtol=1e-15)


def test_the_floor_holds_except_during_the_warm_up():
    schedule = Schedule("exponential", 1.0, epochs=50, warmup_epochs=1, factor=0.1, min_learning_rate=0.3)
    rates = learning_rates(schedule, np.arange(100), steps_per_epoch=4)
    assert rates[0] == pytest.approx(0.2)
    assert rates[4:].min() == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["step", "exponential", "cosine"])
def test_rates_at_whole_epochs_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.4)
    module = torch.optim.lr_scheduler
    theirs = {
        "step": lambda: module.StepLR(optimizer, step_size=3, gamma=0.2),
        "exponential": lambda: module.ExponentialLR(optimizer, gamma=0.2),
        "cosine": lambda: module.CosineAnnealingLR(optimizer, T_max=12, eta_min=0.05),
    }[name]()
    expected = []
    for _ in range(13):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    floor = 0.05 if name == "cosine" else 0.0
    schedule = Schedule(name, 0.4, epochs=12, factor=0.2, step_epochs=3, min_learning_rate=floor)
    np.testing.assert_allclose(learning_rates(schedule, 7 * np.arange(13), steps_per_epoch=7), expected, rtol=1e-9)


def test_a_drop_of_plateau_also_lowers_the_warm_up():
    schedule = Schedule("plateau", 0.8, warmup_epochs=2)
    before, after = (learning_rates(schedule, np.arange(40), 10, scale) for scale in (1.0, 0.25))
    np.testing.assert_array_equal(after, 0.25 * before)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps_per_epoch=st.integers(1, 50),
    warmup=st.floats(0, 3),
    factor=st.floats(0.05, 1),
    cut=st.integers(1, 99),
)
def test_rates_depend_on_the_step_alone_never_rise_after_the_warm_up_and_stay_in_range(
    name, steps_per_epoch, warmup, factor, cut
):
    schedule = Schedule(name, 0.7, epochs=8, warmup_epochs=warmup, factor=factor, min_learning_rate=0.01)
    steps = np.arange(100)
    rates = learning_rates(schedule, steps, steps_per_epoch)
    in_two = [learning_rates(schedule, part, steps_per_epoch) for part in (steps[:cut], steps[cut:])]
    np.testing.assert_array_equal(rates, np.concatenate(in_two))
    assert (rates > 0).all()
    assert (rates <= 0.7 * (1 + 1e-12)).all()
    after = rates[steps >= warmup * steps_per_epoch]
    assert (np.diff(after) <= 1e-12).all()


def test_only_cosine_has_a_horizon():
    assert [name for name in SCHEDULES if SCHEDULES[name].has_horizon] == ["cosine"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_near_the_largest_float_gives_rates_and_no_warning(name):
    schedule = Schedule(name, 1.7e308, epochs=4, warmup_epochs=1, factor=0.5)
    assert (learning_rates(schedule, np.arange(8), 2) > 0).all()
