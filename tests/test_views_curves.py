"""Runs side by side: what the legend says, what a band is, what the table holds."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from view_runs import config_with, made_history, made_run

from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import HISTORY_COLUMNS
from twolayer.utils.errors import RunError
from twolayer.views import style
from twolayer.views.curves import curves_figure, differing_keys, grouped, run_table, text_plot
from twolayer.views.interactive import interactive_curves
from twolayer.views.run_data import RunData, flattened, read_run, run_folders, sweep_statuses
from twolayer.views.style import PANELS, THICK, THIN, X_AXES, downsample, panel_lines, panels_named


def val_loss_of(group, by="epoch"):
    """The line of the validation loss, if there is one."""
    return next((line for line in panel_lines(PANELS["loss"], group, by) if line.column == "val_loss"), None)


def run(name="a", history=None, summary=None, **changes):
    return RunData(Path(name), history or made_history(), config_with(**changes), summary or {})


def test_the_legend_names_only_the_keys_that_differ():
    runs = [run(solver__learning_rate=rate, model__hidden=hidden) for rate, hidden in ((0.1, 8), (0.3, 8), (0.3, 64))]
    assert [group.label for group in grouped(runs)] == [
        "hidden=8, learning_rate=0.1",
        "hidden=8, learning_rate=0.3",
        "hidden=64, learning_rate=0.3",
    ]


def test_runs_of_one_config_are_named_by_their_folders():
    assert [group.label for group in grouped([run("a"), run("b")])] == ["a", "b"]
    assert grouped([run("alone")])[0].label == "alone"


def test_where_and_how_a_run_reports_is_no_difference():
    assert differing_keys([run(run__dir="x"), run(run__dir="y")]) == {}
    assert differing_keys([run(), run(seed=1, solver__reg=0.5)]) == {"seed": "seed", "solver.reg": "reg"}


def test_a_key_that_only_one_config_has_is_a_difference():
    configs = {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}
    assert differing_keys([RunData(Path("x"), {}, config) for config in configs]) == {"a.c": "c"}
    assert flattened({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}


def test_files_of_the_same_name_in_other_folders_are_not_one_setting():
    runs = [run(data__train="/x/train.csv", seed=0), run(data__train="/y/train.csv", seed=1)]
    assert [len(group.runs) for group in grouped(runs)] == [1, 1]


def test_runs_that_differ_in_the_seed_alone_become_one_curve_in_a_band():
    histories = [made_history(30, noise=0.1, seed=seed) for seed in range(4)]
    runs = [run(history=history, seed=seed) for seed, history in enumerate(histories)]
    (group,) = grouped(runs)
    assert group.label == "mean of 4 runs"
    curve = val_loss_of(group)
    values = np.array([history["val_loss"] for history in histories])
    np.testing.assert_allclose(curve.y, values.mean(axis=0))
    np.testing.assert_allclose(curve.band[0], values.min(axis=0))
    np.testing.assert_allclose(curve.band[1], values.max(axis=0))
    assert len(grouped(runs, by_seed=False)) == 4


def test_a_band_ends_where_the_first_of_its_runs_ends():
    runs = [run(history=made_history(epochs), seed=epochs) for epochs in (10, 25)]
    curve = val_loss_of(grouped(runs)[0])
    assert (curve.x[0], curve.x[-1]) == (1, 10)


def test_seeds_of_different_speed_are_compared_at_the_same_second():
    histories = [
        made_history(20, seconds=np.arange(1, 21) * pace, val_loss=np.linspace(2, 0, 20)) for pace in (1.0, 2.0)
    ]
    runs = [run(history=history, seed=seed) for seed, history in enumerate(histories)]
    curve = val_loss_of(grouped(runs)[0], "seconds")
    k = int(np.abs(curve.x - 10).argmin())
    expected = np.mean([np.interp(curve.x[k], h["seconds"], h["val_loss"]) for h in histories])
    assert curve.x[0] == 2
    assert curve.x[-1] == 20
    assert curve.y[k] == pytest.approx(expected)


def test_seeds_that_share_no_second_have_no_mean():
    histories = [made_history(5, seconds=np.arange(1, 6) + later) for later in (0, 10)]
    runs = [run(history=history, seed=seed) for seed, history in enumerate(histories)]
    assert val_loss_of(grouped(runs)[0], "seconds") is None
    style.picture(curves_figure(runs, by="seconds"))


@pytest.mark.parametrize(("by", "seconds", "place"), [("epoch", ((1,), (2,)), 1), ("seconds", ((1, 2), (2, 3)), 2)])
def test_seeds_that_share_one_place_have_one_point(by, seconds, place):
    histories = [made_history(len(each), seconds=each, val_loss=[0.5] * len(each)) for each in seconds]
    (group,) = grouped([run(history=history, seed=seed) for seed, history in enumerate(histories)])
    curve = val_loss_of(group, by)
    assert [values.tolist() for values in (curve.x, curve.y, *curve.band)] == [[place], [0.5], [0.5], [0.5]]


def test_a_long_curve_is_thinned_and_keeps_its_extremes():
    history = made_history(10_000, noise=0.05)
    curve = val_loss_of(grouped([run(history=history)])[0])
    assert len(curve.x) <= 800
    assert (curve.y.min(), curve.y.max()) == (history["val_loss"].min(), history["val_loss"].max())


@pytest.mark.parametrize("by", ["epoch", "step", "seconds"])
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_many_runs_are_drawn_over_any_axis_into_any_kind_of_file(tmp_path, by, ending):
    runs = [run(f"a$_{k}^", made_history(12, seed=k), seed=k % 2, solver__reg=0.1 * (k // 2)) for k in range(12)]
    path = tmp_path / f"curves.{ending}"
    style.save(curves_figure(runs, by=by, scale="log" if by == "step" else None), path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_band_is_inside_its_panel(scale):
    losses = np.array([[0.4] * 3, [0.5] * 3, [9.0, 6.0, 3.0]])
    runs = [run(history=made_history(3, val_loss=loss), seed=seed) for seed, loss in enumerate(losses)]
    bottom, top = curves_figure(runs, scale=scale).axes[0].get_ylim()
    assert bottom < losses.min()
    assert losses.max() < top


def test_runs_without_validation_rows_are_drawn_beside_others():
    nothing = np.full(12, np.nan)
    style.picture(curves_figure([run(history=made_history(12, val_loss=nothing, val_accuracy=nothing)), run()]))


@pytest.mark.parametrize("scale", ["linear", "log", None])
@pytest.mark.parametrize("loss", [1.7e308, 5e-324, 0.0, np.nan])
def test_losses_at_the_ends_of_the_numbers_are_drawn(scale, loss):
    history = made_history(3, train_loss=[loss] * 3, val_loss=[loss, 1, loss], seconds=[1, 2, 1.7e308])
    for seeds in (1, 3):
        runs = [run(history=history, seed=k) for k in range(seeds)]
        style.picture(curves_figure(runs, scale=scale, by="seconds"))


def two_runs():
    loss, accuracy = np.linspace(2, 0.5, 9), np.linspace(0.1, 0.9, 9)
    loss[4], accuracy[6] = 0.25, 0.95
    return [
        run("a", made_history(9, val_loss=loss, val_accuracy=accuracy), {"best_epoch": 7, "test_accuracy": 0.875}),
        run("b", made_history(9, val_loss=np.full(9, np.nan), val_accuracy=np.full(9, np.nan)), {}, solver__reg=0.5),
    ]


def test_the_table_holds_names_differing_keys_final_and_best_values():
    rows = list(csv.DictReader(io.StringIO(run_table(two_runs()).as_csv())))
    expected = {"final val loss": "0.5000", "lowest val loss": "0.2500", "best val accuracy": "0.9500", "run": "a"}
    expected |= {"best epoch": "7", "epochs": "9", "test accuracy": "0.8750", "final val accuracy": "0.9000"}
    expected |= {"reg": "0.0001"}
    assert {name: rows[0][name] for name in expected} == expected
    assert rows[1]["lowest val loss"] == rows[1]["test accuracy"] == rows[1]["best epoch"] == ""
    assert rows[1]["reg"] == "0.5"


def test_the_table_has_no_empty_column():
    (_, bare) = two_runs()
    header = list(run_table([bare]).columns)
    assert "test accuracy" not in header
    assert "best val accuracy" not in header
    assert "status" not in header
    assert len(run_table([bare]).for_terminal().splitlines()) == 2


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (None, ["c", "b", "a"]),
        ("learning_rate", ["b", "a", "c"]),
        ("solver.learning_rate", ["b", "a", "c"]),
        ("best val accuracy", ["c", "b", "a"]),
        ("lowest_val_loss", ["a", "b", "c"]),
        ("run", ["a", "b", "c"]),
    ],
)
def test_the_best_run_is_first_or_the_table_is_sorted_by_a_column(sort, order):
    runs = [
        run(name, made_history(5, val_accuracy=[accuracy] * 5, val_loss=[accuracy] * 5), solver__learning_rate=rate)
        for name, accuracy, rate in (("a", 0.7, 0.2), ("b", 0.8, 0.1), ("c", 0.9, 0.3))
    ]
    assert run_table(runs, sort).columns["run"] == order


def test_a_column_to_sort_by_that_does_not_exist_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        run_table([run("a", solver__learning_rate=1.0), run("b")], "learning_rte")


def test_names_from_disk_do_not_reach_the_terminal_as_control_characters():
    text = run_table([run("\x1b[31mred\n")]).for_terminal()
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2


def test_runs_of_one_name_are_listed_by_their_paths():
    assert run_table([run("x/a"), run("y/a")]).columns["run"] == ["x/a", "y/a"]


def test_a_folder_of_runs_and_a_sweep_mean_all_their_runs(tmp_path):
    for place in ("runs/b", "runs/a", "sweep/runs/0000-seed0", "sweep/runs/0001-seed0"):
        made_run(tmp_path / place)
    (tmp_path / "sweep" / "journal.jsonl").write_text(
        '{"run": "0001-seed0", "status": "pruned", "reason": "", "seconds": 1}\n{"run": "0000-se'
    )
    (tmp_path / "runs" / ".c.tmp").mkdir()
    assert [path.name for path in run_folders(tmp_path / "runs")] == ["a", "b"]
    assert [path.name for path in run_folders(tmp_path / "sweep")] == ["0000-seed0", "0001-seed0"]
    assert [path.name for path in run_folders(tmp_path / "runs" / "a")] == ["a"]
    assert run_folders(tmp_path / "none") == []
    assert sweep_statuses(tmp_path / "sweep" / "journal.jsonl") == {"0001-seed0": "pruned"}


def test_every_monitored_column_has_a_panel():
    shown = {column for panel in PANELS.values() for column in panel.lines}
    assert set(HISTORY_COLUMNS) - shown == set(X_AXES)


def test_a_panel_is_found_by_its_own_name_or_a_columns():
    assert [panel.name for panel in panels_named(["dead_share", "update_ratio_W1"])] == ["dead_share", "update_ratio"]
    with pytest.raises(ValueError, match="did you mean 'accuracy'"):
        panels_named(["acuracy"])


@pytest.mark.parametrize("window", [(400.0, 600.0), (0.0, 99_999.0), (99_000.0, 2e5), (5.5, 5.6)])
def test_a_zoomed_curve_is_exact_in_the_window_and_whole_outside(window):
    x, y = np.arange(100_000.0), np.random.default_rng(0).standard_normal(100_000)
    a, b = downsample(x, y, window=window)
    assert len(a) <= 1300
    assert (np.diff(a) > 0).all()
    np.testing.assert_array_equal(b, y[a.astype(int)])
    assert (a[0], a[-1]) == (0, 99_999)
    inside = (x >= window[0]) & (x <= window[1])
    if inside.sum() < 800:
        assert set(x[inside]) <= set(a)
        assert a[a < window[0]].max(initial=-1) == x[x < window[0]].max()  # the line reaches the edge


@pytest.mark.parametrize("panels", [["learning_rate"], ["loss", "update_ratio", "activation"], list(PANELS)])
def test_any_choice_of_panels_is_drawn_for_one_run_and_for_several(tmp_path, panels):
    chosen = panels_named(panels)
    for runs in ([run()], [run("a"), run("b", solver__reg=0.5)]):
        style.save(curves_figure(runs, panels=chosen), tmp_path / "a.png")
    axes = curves_figure([run()], chosen).axes
    assert [each.get_ylabel() for each in axes] == [panel.axis for panel in chosen]


def test_a_panel_of_several_lines_names_each_of_them():
    for runs in ([run()], [run("a"), run("b", solver__reg=0.5)]):
        update_ratio, loss = curves_figure(runs, [PANELS["update_ratio"], PANELS["loss"]]).axes
        widths = [line.get_linewidth() for line in update_ratio.lines if len(line.get_xdata()) > 2]
        assert widths == [THIN, THICK] * len(runs)
        assert update_ratio.get_title(loc="right") == "W1, W2: from thin to thick"
        assert loss.get_title(loc="right") == ""


def test_training_is_thin_and_validation_thick_for_one_run_and_for_several():
    for runs in ([run()], [run("a"), run("b", solver__reg=0.5)]):
        lines = [line for line in curves_figure(runs).axes[0].lines if len(line.get_xdata()) > 2]
        widths = {line.get_label(): (line.get_linewidth(), line.get_linestyle()) for line in lines}
        assert widths == {"training": (THIN, "-"), "validation": (THICK, "-")}


def test_a_plot_in_the_terminal_names_the_runs_and_stays_within_its_width():
    pytest.importorskip("plotille")
    runs = [run("a", solver__learning_rate=rate) for rate in (0.1, 0.3)]
    text = text_plot(runs, panels_named(["loss", "accuracy"]), "epoch", width=80)
    assert "learning_rate=0.1" in text
    assert "cross-entropy (nats)" in text
    assert "accuracy" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_folder_is_read_back(tmp_path):
    history = made_history(6, val_loss=[np.nan] * 6)
    y = np.array([0, 1, 1])
    predictions = {"validation_y": y, "validation_proba": np.eye(2, dtype=np.float32)[y], "validation_rows": y}
    path = made_run(tmp_path / "r", history=history, predictions=predictions, classes=["no", "yes"])
    found = read_run(path, config_with())
    np.testing.assert_array_equal(found.column("train_loss"), history["train_loss"])
    assert not found.column("val_loss").size
    assert (found.classes, found.n_classes, found.best_epoch, found.name) == (("no", "yes"), 2, 6, "r")


def test_a_folder_without_history_or_epochs_says_what_is_expected(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        read_run(tmp_path / "none", {})
    full = RunFolder(made_run(tmp_path / "r")).history
    full.write_text(full.read_text().splitlines()[0] + "\n")
    with pytest.raises(RunError, match="expected a finished epoch, got none"):
        read_run(tmp_path / "r", {})
    full.unlink()
    with pytest.raises(RunError, match=r"history\.csv: cannot be read"):
        read_run(tmp_path / "r", {})


def test_a_run_that_explodes_does_not_press_the_others_flat():
    exploding = made_history(40, train_loss=np.geomspace(1, 1e17, 40), val_loss=np.geomspace(1, 1e17, 40))
    runs = [run("a", exploding), *(run(f"r{k}", solver__reg=0.1 * k) for k in range(3))]
    bottom, top = curves_figure(runs).axes[0].get_ylim()
    assert bottom < made_history()["train_loss"].min()
    assert top < 1e7
    pytest.importorskip("bokeh")
    head, _ = interactive_curves(runs)
    assert f'"end":{float(top)!r}' in head.replace("\\", "")
