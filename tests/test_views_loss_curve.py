"""The loss curve: what is drawn is the history, and drawing stays within its share of the time."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from view_runs import made_history

from twolayer.views import style
from twolayer.views.curves import RedrawBudget, curves_figure, draw_loss_curve, plot
from twolayer.views.run_data import RunData


def loss_curve_figure(history, best_epoch=None, **options):
    run = RunData(Path("run"), history, summary={"best_epoch": best_epoch or 0})
    return curves_figure([run], **options)


def lines(axes):
    """The curves of a panel by label."""
    return {line.get_label(): line for line in axes.lines}


def test_training_and_validation_loss_are_drawn_as_the_history_has_them():
    history = made_history(30, noise=0.05)
    loss, accuracy = loss_curve_figure(history, best_epoch=12).axes
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        for label, name in (("training", f"train_{quantity}"), ("validation", f"val_{quantity}")):
            np.testing.assert_array_equal(lines(axes)[label].get_xdata(), history["epoch"])
            np.testing.assert_array_equal(lines(axes)[label].get_ydata(), history[name])


def test_the_best_epoch_is_marked_on_the_validation_curves():
    history = made_history(30)
    for axes, name in zip(loss_curve_figure(history, best_epoch=12).axes, ("val_loss", "val_accuracy"), strict=True):
        mark = lines(axes)["best epoch 12"]
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (12, history[name][11])


def test_the_best_epoch_is_marked_at_its_second_when_drawn_over_seconds():
    history = made_history(30)
    mark = lines(loss_curve_figure(history, best_epoch=12, by="seconds").axes[0])["best epoch 12"]
    assert mark.get_xdata()[0] == history["seconds"][11]


def test_a_run_without_validation_rows_shows_training_alone():
    nothing = np.full(20, np.nan)
    history = made_history(20, val_loss=nothing, val_accuracy=nothing)
    loss, _ = loss_curve_figure(history, best_epoch=20).axes
    assert "validation" not in lines(loss)
    assert lines(loss)["best epoch 20"].get_ydata()[0] == history["train_loss"][-1]


def test_losses_that_span_little_start_at_zero_and_others_are_logarithmic():
    flat, steep = (
        made_history(20, train_loss=np.linspace(1, 0.5, 20)),
        made_history(20, train_loss=0.5 ** np.arange(20)),
    )
    assert loss_curve_figure(flat).axes[0].get_yscale() == "linear"
    assert loss_curve_figure(flat).axes[0].get_ylim()[0] == 0
    assert loss_curve_figure(steep).axes[0].get_yscale() == "log"
    assert loss_curve_figure(steep, scale="linear").axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    "train_loss", [[2.0], [np.nan], [0.0], [np.inf, 1.0], [1e-300, 1e300], [0.0, 0.0], [5.0, np.nan, 1.0]]
)
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_any_loss_can_be_drawn(tmp_path, train_loss, scale):
    figure = loss_curve_figure(made_history(len(train_loss), train_loss=train_loss), 1, scale=scale)
    style.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_come_in_three_kinds_the_same_every_time(tmp_path, ending, magic):
    for name in ("a", "b"):
        draw_loss_curve(made_history(), tmp_path / f"{name}.{ending}", 3, title="a $b$_c {d}")
    first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("a", "b"))
    assert first.startswith(magic)
    assert ending == "svg" or first == second
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{ending}", f"b.{ending}"]


def test_drawing_needs_no_pyplot(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from twolayer.views.curves import draw_loss_curve;"
        f"draw_loss_curve({{'epoch': [1, 2], 'train_loss': [2, 1]}}, Path({str(tmp_path / 'a.png')!r}));"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("low", [1e-9, 0.003, 0.9, 40.0])
@pytest.mark.parametrize("factor", [1.5, 30, 1e4, 1e12, 1e40])
def test_a_logarithmic_axis_has_a_few_ticks_within_its_ends(low, factor):
    axes = style.new_figure(4, 3).subplots()
    style.set_log_scale(axes, low, low * factor)
    ticks = axes.yaxis.get_majorticklocs()
    assert 1 <= ((low * 0.999 <= ticks) & (ticks <= low * factor * 1.001)).sum() <= 12


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def simulate(budget, clock, cost, epochs, epoch_seconds):
    """Trains `epochs` epochs, drawing whenever it is due; returns (trained, drawn, times of the drawings)."""
    drawn, times = 0.0, []

    def draw():
        clock.now += cost(len(times))
        times.append(clock.now)

    for _ in range(epochs):
        clock.now += epoch_seconds
        before = clock.now
        budget.offer(draw)
        drawn += clock.now - before
    return epochs * epoch_seconds, drawn, times


@pytest.mark.parametrize("cost", [lambda k: 0.06, lambda k: 0.4 if k == 0 else 0.1, lambda k: 0.02 * (k + 1)])
@pytest.mark.parametrize("epoch_seconds", [0.003, 0.2, 7.0])
@pytest.mark.parametrize("seconds", [0, 2, 30])
def test_drawing_takes_at_most_two_percent_and_not_more_often_than_asked(cost, epoch_seconds, seconds):
    clock = Clock()
    trained, drawn, times = simulate(
        RedrawBudget(seconds, clock=clock), clock, cost, int(400 / epoch_seconds), epoch_seconds
    )
    assert times
    # A drawing may cost more than the one before it; here by 0.02 s at most, 2 % of another second.
    assert drawn <= 0.02 * trained + 0.02
    assert all(later - earlier >= seconds for earlier, later in pairwise(times))


def test_a_cheap_picture_is_drawn_as_often_as_asked():
    clock = Clock()
    _, _, times = simulate(RedrawBudget(2, cost=0.01, clock=clock), clock, lambda k: 0.01, 600, 0.1)
    assert len(times) >= 25


def test_plot_takes_records_columns_and_what_train_returns(tmp_path):
    history = made_history(5)
    records = [{name: None if np.isnan(column[k]) else column[k] for name, column in history.items()} for k in range(5)]

    result = SimpleNamespace(history=history, summary={"best_epoch": 2})
    for given in (records, history, result):
        picture = plot(given)
        np.testing.assert_array_equal(lines(picture.figure.axes[0])["training"].get_ydata(), history["train_loss"])
    assert "best epoch 2" in lines(picture.figure.axes[0])
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no epoch to draw"):
        plot([])


def test_plot_overlays_a_list_of_trainings():
    histories = [made_history(5), made_history(8)]
    axes = plot(histories).figure.axes[0]
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [5, 5, 8, 8]
    assert [text.get_text().strip() for text in axes.figure.legends[0].get_texts()][:2] == ["training 1", "training 2"]
