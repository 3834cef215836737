"""`twolayer curves` and `twolayer report` on runs that really were trained."""

import json
import re
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from twolayer.commands.curves import command as curves
from twolayer.commands.report import command as report
from twolayer.config import config_from_dict
from twolayer.runs.checkpoint import read_arrays, write_arrays
from twolayer.training.run import train
from twolayer.utils.errors import DataError, RunError
from twolayer.views.curves import plot


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on two features with snapshots, and one on 4x4 images read from files that can be taken away."""
    base = tmp_path_factory.mktemp("trained")
    spiral = {"generator": "spiral", "rows_per_class": 30}
    train(
        config_from_dict(
            {
                "data": {"train": spiral, "validation": 0.2},
                "solver": {"epochs": 4},
                "run": {"snapshot_epochs": 2},
                "model": {"hidden": 8},
            }
        ),
        run_dir=base / "spiral",
    )
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    images = (rng.integers(0, 120, (120, 4, 4)) + 40 * (np.arange(16).reshape(4, 4) == y[:, None, None])).astype(
        np.uint8
    )
    np.save(base / "x.npy", images.reshape(120, 16))
    np.save(base / "y.npy", y)
    data = {"train": {"features": str(base / "x.npy"), "labels": str(base / "y.npy")}, "test": 0.25}
    for hidden in (4, 8):
        train(
            config_from_dict({"data": data, "solver": {"epochs": 3}, "model": {"hidden": hidden}}),
            run_dir=base / f"images{hidden}",
        )
    return base


def run(command, *arguments):
    """The command's output; what it raises is raised."""
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def test_one_run_is_redrawn_in_its_folder_and_its_table_printed(trained):
    picture = trained / "spiral" / "loss_curve.png"
    picture.unlink()
    output = run(curves, trained / "spiral")
    assert picture.exists()
    assert output.splitlines()[0].startswith("run ")


def test_several_runs_are_overlaid_with_a_table_beside_them(trained, tmp_path):
    output = run(curves, trained / "images4", trained / "images8", "-o", tmp_path / "both.svg", "--by", "seconds")
    assert (tmp_path / "both.svg").exists()
    header, *rows = output.splitlines()[:3]
    assert header.split()[:2] == ["run", "hidden"]
    assert {row.split()[1] for row in rows} == {"4", "8"}
    assert (tmp_path / "both.csv").read_text().startswith("run,hidden,epochs,best epoch,final train loss")
    assert "final train loss" not in header
    both = trained / "images4", trained / "images8"
    output = run(curves, *both, "-o", tmp_path / "c.svg", "--sort", "final_train_loss")
    assert "final train loss" in output


def test_a_folder_of_runs_is_taken_whole_and_what_cannot_be_read_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs")
    (tmp_path / "runs" / "spiral" / "history.csv").unlink()
    result = CliRunner().invoke(curves, [str(tmp_path / "runs"), "-o", str(tmp_path / "all.png")])
    assert "left out" in result.stderr
    assert "spiral" in result.stderr
    assert "images4" in result.stdout
    assert "images8" in result.stdout
    assert "spiral" not in result.stdout
    run(report, tmp_path / "runs", "-o", tmp_path / "all.html")
    with pytest.raises(RunError, match="expected a run folder"):
        run(curves, tmp_path)


def test_other_figures_are_drawn_and_plotted_in_the_terminal(trained, tmp_path):
    pytest.importorskip("plotille")
    output = run(curves, trained / "images4", "--show", "learning_rate,dead_share")
    assert output.rstrip().endswith("learning_rate-dead_share.png")
    before = sorted(path.name for path in (trained / "images4").iterdir())
    output = run(curves, trained / "images4", trained / "images8", "--text", "--show", "gradient_norm")
    assert "norm of the gradient" in output
    assert sorted(path.name for path in (trained / "images4").iterdir()) == before
    for options in (["--show", "loss,nothing"], ["--sort", "nothing"]):
        with pytest.raises(click.UsageError, match="expected"):
            run(curves, trained / "images4", *options)


def test_a_picture_of_another_kind_is_refused(trained, tmp_path):
    with pytest.raises(click.UsageError, match=r"\.png, \.svg, \.pdf"):
        run(curves, trained / "spiral", "-o", tmp_path / "a.jpg")
    with pytest.raises(click.UsageError, match="one RUN"):
        run(curves, trained / "images4", trained / "images8", "--boundary")


def test_the_boundary_is_drawn_and_animated_from_the_start_to_the_last_snapshot(trained, tmp_path):
    run(curves, trained / "spiral", "--boundary")
    assert (trained / "spiral" / "boundary.png").exists()
    run(curves, trained / "spiral", "--boundary", "-o", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3  # epochs 0, 2 and 4


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("summary.json", {"n_classes": -3}),
        ("summary.json", {"n_classes": "x"}),
        ("summary.json", {"n_classes": 10**30}),
        ("summary.json", {"status": ["finished"]}),
        ("environment.json", {"numpy": "\ud800", "\udcff": [{}]}),
    ],
)
def test_facts_that_no_run_would_write_do_not_stop_the_views(trained, tmp_path, file, change):
    shutil.copytree(trained / "spiral", tmp_path / "run", ignore=shutil.ignore_patterns("predictions*"))
    facts = json.loads((tmp_path / "run" / file).read_text())
    (tmp_path / "run" / file).write_text(json.dumps({**facts, **change}))
    run(curves, tmp_path / "run")
    run(report, tmp_path / "run")
    plot(tmp_path / "run").save(tmp_path / "a.png")
    assert (tmp_path / "run" / "report.html").exists()


def test_a_boundary_needs_two_features_and_an_animation_snapshots(trained, tmp_path):
    with pytest.raises(DataError, match="2 features to draw a boundary, got 16"):
        run(curves, trained / "images4", "--boundary")
    shutil.copytree(trained / "spiral", tmp_path / "bare", ignore=shutil.ignore_patterns("snapshots"))
    with pytest.raises(RunError, match="snapshot_epochs"):
        run(curves, tmp_path / "bare", "--boundary", "-o", tmp_path / "a.gif")


def test_a_report_shows_mistakes_as_pictures_with_the_rows_as_the_file_has_them(trained):
    output = run(report, trained / "images4", "--image", "4x4").strip()
    text = Path(output.splitlines()[-1]).read_text("utf-8")
    assert text.count('<img alt="row ') > 0
    assert 'alt="weights of the first layer"' in text
    cells = run(report, trained / "images4")
    assert '<table class="cells">' in Path(cells.strip().splitlines()[-1]).read_text("utf-8")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_report_shows_mistakes_with_the_cells_of_the_file(tmp_path, dtype):
    rng = np.random.default_rng(0)
    plans = rng.choice(["basic", "pro=x", ""], 60)
    rows = [f"{plan},{94000 + k},{k / 10:g},{rng.integers(2)}" for k, plan in enumerate(plans)]
    (tmp_path / "rows.csv").write_text("\n".join(["plan,zip,a=b,y", *rows]) + "\n")
    data = {"train": str(tmp_path / "rows.csv"), "label": "y", "categorical": ["plan"], "missing": "mean", "test": 0.5}
    config = {"data": data, "solver": {"epochs": 2}, "model": {"hidden": 4, "dtype": dtype}}
    train(config_from_dict(config), run_dir=tmp_path / "run")
    text = Path(run(report, tmp_path / "run").strip().splitlines()[-1]).read_text("utf-8")
    (table,) = re.findall(r'<table class="cells">(.*?)</table>', text, re.S)
    header, *body = (re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table))
    shown = [dict(zip(header, cells, strict=True)) for cells in body]
    assert {plans[int(cells["row"])] for cells in shown} == {"basic", "pro=x", ""}
    for cells in shown:
        plan, code, number, _ = rows[int(cells["row"])].split(",")
        assert (cells["plan"], cells["zip"], cells["a=b"]) == (plan, code, number)
        shares = [cells["plan=basic"], cells["plan=pro=x"]]
        assert shares == ["", ""] if plan else all(re.fullmatch(r"0\.\d+", share) for share in shares)


def test_the_boundary_and_the_rows_on_it_are_in_the_units_of_the_file(tmp_path, monkeypatch):
    from twolayer.views import boundary

    X = np.random.default_rng(0).integers(30, 70, (40, 2))
    rows = [f"{a},{b},{a > b}" for a, b in X]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    data = {"train": str(tmp_path / "rows.csv"), "label": "y", "validation": 0}
    train(config_from_dict({"data": data, "solver": {"epochs": 1}}), run_dir=tmp_path / "run")
    planes = []
    drawn = boundary.boundary_figure
    monkeypatch.setattr(boundary, "boundary_figure", lambda plane, model: planes.append(plane) or drawn(plane, model))
    run(curves, tmp_path / "run", "--boundary")
    assert sorted(map(tuple, planes[0].X)) == sorted(map(tuple, X))


def test_a_report_outlives_its_data_files_and_says_that_they_are_gone(trained, tmp_path):
    shutil.copytree(trained / "images8", tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("x.npy", "gone.npy"))
    run(report, tmp_path / "run", "-o", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "The rows are not shown" in text
    assert "gone.npy" in text
    assert "Most confident mistakes" in text


@pytest.mark.parametrize("command", [curves, report])
def test_a_run_that_was_killed_or_still_trains_is_shown_as_far_as_it_got(trained, tmp_path, command):
    shutil.copytree(trained / "images8", tmp_path / "run")
    for name in ("summary.json", "predictions.npz"):
        (tmp_path / "run" / name).unlink()
    for kept in ("best.npz there", "best.npz gone"):
        output = run(command, tmp_path / "run")
        assert Path(output.strip().splitlines()[-1]).exists(), kept
        (tmp_path / "run" / "best.npz").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("predictions.npz", lambda arrays, header: arrays["test_y"].fill(3), "N class indices below 3"),
        ("predictions.npz", lambda arrays, header: arrays.pop("test_rows"), "rows: expected N row numbers"),
        ("predictions.npz", lambda arrays, header: header.update(classes=5), "classes: expected a list of labels"),
        ("summary.json", lambda summary: summary.update(test_accuracy=10**39), "number or null, got 1000"),
        ("summary.json", lambda summary: summary.update(test_accuracy=10**400), "over 40 digits"),
        ("summary.json", lambda summary: summary.update(test_accuracy="high"), "number or null, got 'high'"),
        ("summary.json", lambda summary: summary.update(best_epoch=[1]), "best_epoch: expected"),
    ],
)
def test_a_file_that_no_run_would_write_is_refused(trained, tmp_path, file, damage, said):
    shutil.copytree(trained / "images8", tmp_path / "run")
    path = tmp_path / "run" / file
    if path.suffix == ".json":
        summary = json.loads(path.read_text())
        damage(summary)
        path.write_text(json.dumps(summary))
    else:
        arrays, header = read_arrays(path)
        damage(arrays, header)
        write_arrays(path, arrays, header)
    views = [lambda folder: run(curves, folder), lambda folder: run(report, folder), plot]
    for view in views[: 3 if path.suffix == ".json" else 2]:  # plot looks at no prediction
        with pytest.raises(RunError, match=rf"{path.name}: .*{said}"):
            view(tmp_path / "run")


def test_changed_data_files_are_noticed(trained, tmp_path):
    shutil.copytree(trained / "images8", tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    for name in "xy":
        np.save(tmp_path / f"{name}.npy", np.load(trained / f"{name}.npy")[:60])
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    run(report, tmp_path / "run", "-o", tmp_path / "page.html")
    assert "The rows are not shown" in (tmp_path / "page.html").read_text("utf-8")


def test_rows_that_are_not_those_of_the_run_are_not_shown(trained, tmp_path):
    shutil.copytree(trained / "images8", tmp_path / "run")
    (tmp_path / "run" / "environment.json").write_text("{}")  # without the digests of the files
    config = tmp_path / "run" / "config.yaml"
    config.write_text(re.sub("(?m)^seed: 0", "seed: 1", config.read_text()))  # other test rows
    run(report, tmp_path / "run", "-o", tmp_path / "page.html")
    assert "not those the run was made from" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize("image", ["8", "x8", "0x8", "8x-1", "axb"])
def test_an_invalid_shape_is_refused(trained, image):
    with pytest.raises(click.UsageError, match="ROWSxCOLUMNS"):
        run(report, trained / "images4", "--image", image)
