"""Whole sweeps on a small generated set: what they leave, how they resume, and that nothing is lost on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sweep_files import BASE, SPACE, InProcessPool, write_sweep

pytest.importorskip("optuna")
from twolayer.__main__ import run as run_command
from twolayer.config import load_config
from twolayer.runs.logs import read_history
from twolayer.sweep import file as sweep_file
from twolayer.sweep import search
from twolayer.sweep.file import load_sweep
from twolayer.sweep.search import run_sweep
from twolayer.sweep.trial import TrialWorkers, run_trial
from twolayer.training import recorder as recording
from twolayer.training import run as training
from twolayer.utils import files
from twolayer.utils.errors import DataError, RunError, TwoLayerError
from twolayer.utils.files import read_json
from twolayer.utils.workers.pool import Job, JobResult, LocalPool

PICTURES = ("against-keys.png", "best-curves.png")


@pytest.fixture
def in_process(monkeypatch):
    """Trains in this process and draws nothing, which takes most of the time of a small run."""
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    monkeypatch.setattr(recording, "draw_loss_curve", lambda *arguments, **options: None)
    monkeypatch.setattr(search, "_draw", lambda *arguments: None)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_leaves_ordinary_runs_a_ranked_table_pictures_and_a_config_to_train(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    drawn, draw = [], search.curves_figure
    monkeypatch.setattr(search, "curves_figure", lambda runs: (drawn.append(runs), draw(runs))[1])
    folder = tmp_path / "out"
    path = write_sweep(tmp_path, "trials: 2\nseeds: 2\nrefit: true\n", base=SHORT)
    result = run_sweep(path, folder=folder)
    rows = table(folder)
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert sorted(row["point"] for row in rows) == ["0", "1"]
    for row in rows:
        summaries = [read_json(folder / "runs" / name / "summary.json") for name in row["runs"].split()]
        assert len(summaries) == 2
        accuracies = [summary["val_accuracy"] for summary in summaries]
        assert float(row["val_accuracy_mean"]) == pytest.approx(np.mean(accuracies), rel=1e-15)
        assert float(row["val_accuracy_spread"]) == pytest.approx(np.std(accuracies, ddof=1))
        stored = load_config(folder / "runs" / row["runs"].split()[0] / "config.yaml")
        assert stored.model.hidden == int(row["model.hidden"])
        assert stored.solver.learning_rate == float(row["solver.learning_rate"])
    assert [float(row["val_accuracy_mean"]) for row in rows] == sorted(
        (float(row["val_accuracy_mean"]) for row in rows), reverse=True
    )
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    (curves,) = drawn
    assert [run.path.name for run in curves] == [row["runs"].split()[0] for row in rows]
    history = read_history(folder / "runs" / rows[0]["runs"].split()[0] / "history.csv")
    np.testing.assert_array_equal(curves[0].history["val_accuracy"], history["val_accuracy"])

    again = training.train(folder / "best.yaml", run_dir=tmp_path / "again")
    first = read_json(folder / "runs" / rows[0]["runs"].split()[0] / "summary.json")
    assert again.summary["val_accuracy"] == first["val_accuracy"]
    other = training.train(folder / "best.yaml", ["seed=1"], run_dir=tmp_path / "other")
    accuracy = np.mean([each.summary["test_accuracy"] for each in (again, other)])
    assert result.summary["test"]["accuracy"] == pytest.approx(accuracy)
    refit = next((folder / "runs").glob("refit-*"))
    assert read_json(refit / "summary.json")["n_validation"] == 0
    assert read_json(refit / "summary.json")["n_train"] == again.summary["n_train"] + again.summary["n_validation"]


@pytest.mark.usefixtures("in_process")
def test_the_test_rows_decide_nothing_and_are_in_no_table(tmp_path):
    rows = "a,b,y\n" + "".join(f"{i % 7},{i % 5},{(i % 7 + i % 5) % 2}\n" for i in range(80))
    upside_down = "a,b,y\n" + "".join(f"{i % 7},{i % 5},{1 - (i % 7 + i % 5) % 2}\n" for i in range(80))
    base = "data: {train: rows.csv, test: test.csv, label: y}\nmodel: {hidden: 4}\nsolver: {epochs: 3}\n"
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    path, tables = write_sweep(tmp_path, "trials: 2\n", base=base), []
    for name, content in (("one", rows), ("two", upside_down)):
        (tmp_path / "test.csv").write_text(content, encoding="utf-8")
        run_sweep(path, folder=tmp_path / name)
        tables.append((tmp_path / name / "results.csv").read_bytes())
        for run in (tmp_path / name / "runs").iterdir():
            assert read_json(run / "summary.json")["test_accuracy"] is None
    assert tables[0] == tables[1]
    assert b"test" not in tables[0]
    accuracies = [read_json(tmp_path / name / "summary.json")["test"]["accuracy"] for name in ("one", "two")]
    assert accuracies[0] == pytest.approx(1 - accuracies[1])


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("file", "more"),
    [("rows.csv", ""), ("test.csv", ""), ("test.csv", "  data.missing: [mean, refuse]\n")],
    ids=["rows", "test rows", "test rows for some points"],
)
def test_an_error_in_a_data_file_is_reported_before_anything_is_trained_and_can_be_corrected(tmp_path, file, more):
    rows = "a,b,y\n" + "".join(f"{i % 7},{i % 5},{(i % 7 + i % 5) % 2}\n" for i in range(80))
    for name in ("rows.csv", "test.csv"):
        (tmp_path / name).write_text(rows.replace("6,0,0\n", "6,,0\n", name == file), encoding="utf-8")
    base = "data: {train: rows.csv, test: test.csv, label: y}\nmodel: {hidden: 4}\nsolver: {epochs: 3}\n"
    path = write_sweep(tmp_path, "trials: 2\n", space=SPACE + more, base=base)
    with pytest.raises(DataError, match=rf"{file}:\d+: column 'b': .*, got a missing cell"):
        run_sweep(path, folder=tmp_path / "out")
    assert not list((tmp_path / "out" / "runs").iterdir())
    (tmp_path / file).write_text(rows, encoding="utf-8")
    assert run_sweep(path, folder=tmp_path / "out").winner is not None


@pytest.mark.usefixtures("in_process")
def test_a_data_file_that_vanishes_in_the_middle_costs_no_run_that_has_finished(tmp_path, monkeypatch):
    rows = tmp_path / "rows.csv"
    content = "a,b,y\n" + "".join(f"{i % 7},{i % 5},{(i % 7 + i % 5) % 2}\n" for i in range(80))
    base = "data: {train: rows.csv, label: y}\nmodel: {hidden: 4}\nsolver: {epochs: 3}\n"
    path, folder = write_sweep(tmp_path, "trials: 3\n", base=base), tmp_path / "out"

    class Pool(InProcessPool):
        def wait(self, seconds):
            ended = super().wait(seconds)
            rows.unlink(missing_ok=True)
            return ended

    rows.write_text(content, encoding="utf-8")
    monkeypatch.setattr(search, "LocalPool", Pool)
    with pytest.raises(TwoLayerError, match=r"data.train: .*: no such file"):
        run_sweep(path, folder=folder)
    assert [row["status"] for row in table(folder)] == ["finished", "failed", "failed"]
    first = folder / "runs" / "0000-seed0" / "history.csv"
    before = first.stat().st_mtime_ns
    rows.write_text(content, encoding="utf-8")
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    run_sweep(path, folder=folder, retry_failed=True)
    run_sweep(path, folder=tmp_path / "whole")
    assert first.stat().st_mtime_ns == before
    assert (folder / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


@pytest.mark.usefixtures("in_process")
def test_rows_that_some_points_can_read_are_no_error_of_the_sweep(tmp_path):
    """A feature too large for float32, which every point scales first or keeps in float64."""
    rows = "a,b,y\n" + "".join(f"{(i % 7) * 1e38:g},{i % 5},{(i % 7 + i % 5) % 2}\n" for i in range(80))
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    base = "data: {train: rows.csv, label: y, scale: none}\nmodel: {hidden: 4}\nsolver: {epochs: 2}\n"
    for space in ("data.scale: [standardize, max]", "model.dtype: [float32, float64]"):
        path = write_sweep(tmp_path, "trials: 2\n", space=f"base: base.yaml\nspace:\n  {space}\n", base=base)
        run_sweep(path, folder=tmp_path / space.split(":")[0])
    with pytest.raises(DataError, match="a finite number that float32 holds"):
        run_sweep(write_sweep(tmp_path, "trials: 2\n", base=base), folder=tmp_path / "none")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["test.csv", "test.parquet"])
def test_an_error_in_test_rows_that_only_some_points_have_is_reported_before_anything_is_trained(tmp_path, name):
    rows = pytest.importorskip("pandas").DataFrame({"a": [0.5, 3.5] * 20, "b": range(40), "y": [0, 1] * 20})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    rows.loc[3, "a"] = None
    rows.to_csv(tmp_path / name, index=False) if name.endswith("csv") else rows.to_parquet(tmp_path / name)
    base = f"data: {{train: rows.csv, test: {name}, label: y}}\nmodel: {{hidden: 4}}\nsolver: {{epochs: 2}}\n"
    space = "base: base.yaml\nspace:\n  data.missing: [refuse, drop]\n"
    with pytest.raises(DataError, match=f"{name}.*'a': .*missing"):
        run_sweep(write_sweep(tmp_path, "trials: 2\n", space=space, base=base), folder=tmp_path / "out")
    assert not list((tmp_path / "out" / "runs").iterdir())


@pytest.mark.usefixtures("in_process")
def test_diverged_and_failed_runs_are_recorded_with_their_reason_and_stop_nothing(tmp_path):
    rows = "a,b,y\n1,,0\n" + "".join(f"{i % 7},{i % 5},{(i % 7 + i % 5) % 2}\n" for i in range(80))
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    base = "data: {train: rows.csv, label: y}\nmodel: {hidden: 4}\nsolver: {epochs: 3, batch_size: 8}\n"
    space = "base: base.yaml\nspace:\n  data.missing: [refuse, drop]\n  solver.learning_rate: [0.1, 1e6]\n"
    result = run_sweep(write_sweep(tmp_path, "sampler: grid\n", space=space, base=base), folder=tmp_path / "out")
    by_point = {(row["data.missing"], row["solver.learning_rate"]): row for row in table(tmp_path / "out")}
    assert by_point["drop", "0.1"]["status"] == "finished"
    assert by_point["drop", "1000000.0"]["status"] == "diverged"
    assert "diverged at step" in by_point["drop", "1000000.0"]["reason"]
    assert by_point["refuse", "0.1"]["status"] == "failed"
    assert "rows.csv" in by_point["refuse", "0.1"]["reason"]
    assert result.winner.values == {"data.missing": "drop", "solver.learning_rate": 0.1}
    assert result.summary["statuses"] == {"finished": 1, "failed": 2, "diverged": 1}
    journal = tmp_path / "out" / "journal.jsonl"
    for retry, lines in ((False, 2), (True, 4)):
        run_sweep(tmp_path / "sweep.yaml", folder=tmp_path / "out", retry_failed=retry)
        assert journal.read_text("utf-8").count('"failed"') == lines


@pytest.mark.usefixtures("in_process")
def test_a_point_that_the_config_refuses_has_failed_and_the_sweep_continues(tmp_path, monkeypatch):
    space = "base: base.yaml\nspace:\n  solver.optimizer: [momentum, adam]\n  solver.momentum: [0.8, 0.95]\n"
    monkeypatch.setattr(sweep_file, "check_corners", lambda *arguments: None)
    path = write_sweep(tmp_path, "sampler: grid\nseeds: 2\n", space=space, base=SHORT)
    for _ in range(2):
        result = run_sweep(path, folder=tmp_path / "out")
        assert result.summary["statuses"] == {"finished": 2, "failed": 2}
        assert {each.values["solver.optimizer"] for each in result.ranking if each.status == "failed"} == {"adam"}
        assert all("not used by optimizer: adam" in each.reason for each in result.ranking if each.status == "failed")
    assert (tmp_path / "out" / "journal.jsonl").read_text("utf-8").count('"failed"') == 4


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("pruner", ["hyperband", "median"])
def test_a_pruned_sweep_trains_less_and_every_pruned_run_can_be_resumed(tmp_path, pruner):
    path = write_sweep(tmp_path, f"trials: 12\npruner: {pruner}\nseeds: 2\n")
    result = run_sweep(path, folder=tmp_path / "out")
    pruned = [each for each in result.ranking if each.status == "pruned"]
    assert pruned
    assert result.winner.mean is not None
    assert all(len(each.runs) == 1 for each in pruned)  # other seeds of a hopeless point are not trained
    assert sum(each.epochs for each in result.ranking) < 12 * 2 * 6
    run = tmp_path / "out" / "runs" / pruned[0].runs[0]
    assert len(read_history(run / "history.csv")["epoch"]) == pruned[0].epochs
    assert training.resume(run).summary["epochs"] == 6


@pytest.mark.usefixtures("in_process")
def test_a_judge_gets_the_best_value_so_far_after_every_epoch_and_again_on_resume(tmp_path):
    config = load_sweep(write_sweep(tmp_path)).config({"model.hidden": 4, "solver.learning_rate": 1.0})
    heard = []

    def judge(message):
        heard.append((message["epoch"], message["value"]))
        return "stop" if len(heard) == 4 else "go"

    folder = tmp_path / "run"
    assert run_trial(config.model_dump(), folder, judge).status == "interrupted"
    assert run_trial(config.model_dump(), folder, judge).status == "finished"
    history = read_history(folder / "history.csv")
    best = np.maximum.accumulate(history["val_accuracy"])
    assert (best > history["val_accuracy"]).any()
    pairs = list(zip(history["epoch"].astype(int).tolist(), best.tolist(), strict=True))
    assert heard == pairs[:4] + pairs


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("more", ["pruner: hyperband\n", "sampler: tpe\n"])
def test_with_one_worker_a_sweep_in_two_sessions_is_the_sweep_in_one(tmp_path, more):
    path = write_sweep(tmp_path, more + "trials: 12\n")
    run_sweep(path, folder=tmp_path / "one")
    run_sweep(path, ["trials=7"], folder=tmp_path / "two")
    run_sweep(path, folder=tmp_path / "two")
    assert (tmp_path / "one" / "results.csv").read_bytes() == (tmp_path / "two" / "results.csv").read_bytes()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("pruner", ["none", "hyperband"])
def test_cross_validation_trains_every_fold_of_every_seed_ranks_by_their_mean_and_resumes(tmp_path, pruner):
    more = f"trials: 6\nseeds: 2\nfolds: 3\nrefit: true\npruner: {pruner}\n"
    path = write_sweep(tmp_path, more)
    whole = run_sweep(path, folder=tmp_path / "whole")
    run_sweep(path, ["trials=2", "refit=false"], folder=tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "runs" / "0000-seed0-fold1")
    run_sweep(path, folder=tmp_path / "parts")
    assert (tmp_path / "whole" / "results.csv").read_bytes() == (tmp_path / "parts" / "results.csv").read_bytes()
    finished = [row for row in table(tmp_path / "whole") if row["status"] == "finished"]
    assert finished
    for row in finished:
        names = row["runs"].split()
        assert names == [f"{int(row['point']):04d}-seed{seed}-fold{fold}" for seed in (0, 1) for fold in (1, 2, 3)]
        values = [read_json(tmp_path / "whole" / "runs" / name / "summary.json")["val_accuracy"] for name in names]
        assert float(row["val_accuracy_mean"]) == pytest.approx(np.mean(values))
        assert float(row["val_accuracy_standard_error"]) == pytest.approx(np.std(values, ddof=1) / np.sqrt(6))
    assert [len(each.runs) for each in whole.ranking if each.status == "pruned"] in ([], [1] * (6 - len(finished)))
    assert whole.summary["best"]["tied"] >= 1
    assert any(line.startswith("ranked by the mean over 3 folds x 2 seeds") for line in whole.lines)
    held_out = []
    for fold in (1, 2, 3):
        with np.load(
            tmp_path / "whole" / "runs" / f"{whole.winner.number:04d}-seed0-fold{fold}" / "predictions.npz"
        ) as file:
            held_out += file["validation_rows"].tolist()
            test_rows = file["test_rows"]
    assert sorted(held_out + test_rows.tolist()) == list(range(90))


@pytest.mark.usefixtures("in_process")
def test_an_override_of_the_base_makes_another_sweep_of_it(tmp_path):
    path = write_sweep(tmp_path, "trials: 1\n")
    run_sweep(path, ["solver.epochs=2"], folder=tmp_path / "out")
    assert table(tmp_path / "out")[0]["epochs"] == "2"
    with pytest.raises(RunError, match="base.solver.epochs: 2 then, 6 now"):
        run_sweep(path, folder=tmp_path / "out")
    run_sweep(path, ["solver.epochs=2", "trials=2"], folder=tmp_path / "out")
    assert [row["epochs"] for row in table(tmp_path / "out")] == ["2", "2"]


@pytest.mark.usefixtures("in_process")
def test_a_sweep_that_an_older_version_began_is_resumed(tmp_path):
    path = write_sweep(tmp_path, "trials: 1\n")
    run_sweep(path, folder=tmp_path / "out")
    then = read_json(tmp_path / "out" / "sweep.json")
    for key in ("folds", "base.solver.max_grad_norm"):  # as if they were newer
        del then[key]
    (tmp_path / "out" / "sweep.json").write_text(json.dumps(then))
    assert len(run_sweep(path, ["trials=2"], folder=tmp_path / "out").ranking) == 2
    del then["base.solver.epochs"]
    (tmp_path / "out" / "sweep.json").write_text(json.dumps(then))
    with pytest.raises(RunError, match="base.solver.epochs: 40 then, 6 now"):
        run_sweep(path, folder=tmp_path / "out")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    "values",
    [
        *(
            {},
            {"a": 1},
            {"model.hidden": 5, "solver.learning_rate": 0.1},
            {"model.hidden": [4], "solver.learning_rate": 0.1},
        ),
        *({"model.hidden": 4, "solver.learning_rate": rate} for rate in (7.0, [0.1], None, "0.1x", "NaN", "\x1b[31m")),
        *({"model.hidden": 4, "solver.learning_rate": rate} for rate in (float("nan"), float("inf"), {"a": 1})),
    ],
)
def test_a_journal_with_a_point_outside_the_space_is_refused_by_name(tmp_path, values):
    path = write_sweep(tmp_path, "trials: 1\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal.jsonl").write_text(json.dumps({"point": 0, "values": values}) + "\n")
    with pytest.raises(RunError, match="journal.jsonl: point 0 is not in this sweep's space") as refused:
        run_sweep(path, folder=tmp_path / "out")
    assert str(refused.value).isprintable()


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.usefixtures("in_process")
def test_runs_behind_a_link_are_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="the sweep folder cannot be made"):
        run_sweep(write_sweep(tmp_path), folder=tmp_path / "out")


@pytest.mark.usefixtures("in_process")
def test_a_disk_that_is_full_stops_the_sweep_and_no_run_counts_as_failed(tmp_path, monkeypatch):
    path = write_sweep(tmp_path, "trials: 2\n", base=SHORT)
    train = training.train

    def full(config, **options):
        if len(list((tmp_path / "out" / "runs").iterdir())) == 1:
            raise RunError("last.npz: cannot be written: No space left on device") from OSError(28, "")
        return train(config, **options)

    monkeypatch.setattr(training, "train", full)
    with pytest.raises(TwoLayerError, match="No space left on device"):
        run_sweep(path, folder=tmp_path / "out")
    monkeypatch.setattr(training, "train", train)
    run_sweep(path, folder=tmp_path / "out")
    assert [row["status"] for row in table(tmp_path / "out")] == ["finished", "finished"]
    assert (tmp_path / "out" / "journal.jsonl").read_text().count('"run"') == 2


@pytest.mark.usefixtures("in_process")
def test_points_are_on_the_device_before_their_runs_start_and_one_flush_serves_all_that_ended(tmp_path, monkeypatch):
    """After a power cut, a run folder whose point is lost would be resumed for another point."""
    journal, flushed, on_device = tmp_path / "out" / "journal.jsonl", [], []
    sync = files.disk.sync

    def watch(descriptor):
        if os.path.samestat(os.fstat(descriptor), journal.stat()):
            flushed.append(journal.read_text())
        sync(descriptor)

    class Pool(InProcessPool):
        def submit(self, job):
            on_device.append(int(job.name[:4]) < flushed[-1].count('"point"'))
            super().submit(job)

        def wait(self, seconds):
            return [InProcessPool.wait(self, seconds)[0] for _ in range(len(self._jobs))]

    monkeypatch.setattr(files.disk, "sync", watch)
    monkeypatch.setattr(search, "LocalPool", Pool)
    run_sweep(write_sweep(tmp_path, "trials: 6\nworkers: 3\n", base=SHORT), folder=tmp_path / "out")
    assert on_device == [True] * 6
    assert [text.count('"run"') for text in flushed] == [0, 3, 6]


@pytest.mark.usefixtures("in_process")
def test_a_sweep_that_has_ended_trains_nothing_again(tmp_path, monkeypatch):
    path = write_sweep(tmp_path, "trials: 2\nrefit: true\n")
    run_sweep(path, folder=tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "runs").rglob("history.csv")}
    monkeypatch.setattr(training, "train", None)
    run_sweep(path, folder=tmp_path / "out")
    run_sweep(path, ["trials=1"], folder=tmp_path / "out")  # fewer than there are: those that are there stay
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "runs").rglob("history.csv")} == before
    assert len(table(tmp_path / "out")) == 2


@pytest.mark.usefixtures("in_process")
def test_a_run_deleted_or_damaged_since_is_trained_again(tmp_path):
    path = write_sweep(tmp_path, "trials: 2\n")
    run_sweep(path, folder=tmp_path / "out")
    before = (tmp_path / "out" / "results.csv").read_bytes()
    for file in (tmp_path / "out" / "runs" / "0000-seed0").iterdir():
        file.unlink()
    run = tmp_path / "out" / "runs" / "0001-seed0"
    (run / "summary.json").unlink()
    (run / "last.npz").write_bytes(b"damaged")
    run_sweep(path, folder=tmp_path / "out")
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


@pytest.mark.usefixtures("in_process")
def test_another_sweep_in_the_same_folder_is_refused_by_name(tmp_path):
    path = write_sweep(tmp_path, "trials: 2\n")
    run_sweep(path, folder=tmp_path / "out")
    write_sweep(tmp_path, "trials: 2\n", base=BASE.replace("epochs: 6", "epochs: 7"))
    with pytest.raises(RunError, match=r"base\.solver\.epochs: 6 then, 7 now"):
        run_sweep(path, folder=tmp_path / "out")
    write_sweep(tmp_path, "trials: 2\n", space=SPACE.replace("[4, 8]", "[4, 8, 16]"))
    with pytest.raises(RunError, match=r"space\.model\.hidden: \[4, 8\] then, \[4, 8, 16\] now"):
        run_sweep(path, folder=tmp_path / "out")
    write_sweep(tmp_path, "trials: 2\nseed: 5\n")
    with pytest.raises(RunError, match="seed: 0 then, 5 now"):
        run_sweep(path, folder=tmp_path / "out")
    write_sweep(tmp_path, "trials: 3\nworkers: 2\n")
    assert len(run_sweep(path, folder=tmp_path / "out").ranking) == 3


@pytest.mark.usefixtures("in_process")
def test_a_time_budget_that_is_used_up_starts_nothing_more(tmp_path):
    path = write_sweep(tmp_path, "minutes: 1e-9\n")
    assert run_sweep(path, folder=tmp_path / "out").ranking == []
    assert len(run_sweep(path, ["minutes=null", "trials=1"], folder=tmp_path / "out").ranking) == 1


@pytest.mark.usefixtures("in_process")
def test_what_a_killed_worker_left_of_making_a_run_folder_is_removed(tmp_path):
    config = load_sweep(write_sweep(tmp_path)).config({"model.hidden": 4, "solver.learning_rate": 1.0})
    folder = tmp_path / "runs" / "0001-seed0"
    for beginning in (folder, folder.with_name(".0001-seed0.ca412171.tmp"), folder.with_name(".0002-seed0.0.tmp")):
        beginning.mkdir(parents=True)
        (beginning / "config.yaml").write_text("")
    assert run_trial(config.model_dump(), folder).status == "finished"
    assert sorted(each.name for each in folder.parent.iterdir()) == [".0002-seed0.0.tmp", "0001-seed0"]


def sweep_process(path: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "twolayer", "sweep", str(path), "--sweep-dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(found, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


SHORT = BASE.replace("epochs: 6", "epochs: 3")
LONG = BASE.replace("epochs: 6", "epochs: 20").replace("rows_per_class: 30", "rows_per_class: 300")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_killed_and_interrupted_with_two_workers_it_ends_with_the_same_trials_and_values(tmp_path, monkeypatch):
    path = write_sweep(tmp_path, "trials: 3\nworkers: 2\n", base=LONG)
    folder = tmp_path / "killed"
    # The third run only begins in the second session: its history shows that this one is under way.
    for number, when in ((signal.SIGKILL, "0000-seed0"), (signal.SIGINT, "0002-seed0")):
        process = sweep_process(path, folder)
        history = folder / "runs" / when / "history.csv"
        wait_for(lambda history=history: history.exists() and history.read_text().count("\n") > 3, process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert b"to resume: twolayer sweep" in out
    process = sweep_process(path, folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    monkeypatch.setattr(recording, "draw_loss_curve", lambda *arguments, **options: None)
    run_sweep(path, folder=tmp_path / "whole")
    names = sorted(each.name for each in (tmp_path / "whole" / "runs").iterdir())
    assert sorted(each.name for each in (folder / "runs").iterdir()) == names
    for name in names:
        for file in ("best.npz", "steps.csv"):
            assert (folder / "runs" / name / file).read_bytes() == (tmp_path / "whole/runs" / name / file).read_bytes()
    assert (folder / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()
    assert not list(folder.glob("worker-*.log"))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_run_that_its_worker_broke_off_is_resumed_unless_that_always_happens(tmp_path, name):
    number = getattr(signal, name)
    sweep = load_sweep(write_sweep(tmp_path, base=LONG))
    pool = LocalPool(1, 1, tmp_path)
    workers = TrialWorkers(tmp_path / "runs", pool)
    point = {"model.hidden": 4, "solver.learning_rate": 0.1}
    try:
        workers.submit("once", sweep.config(point))
        history = tmp_path / "runs" / "once" / "history.csv"
        deadline = time.monotonic() + 60
        while not history.exists() and time.monotonic() < deadline:
            workers.wait(0.01)
        os.kill(pool._workers[0].process.pid, number)
        ended = []
        while not ended and time.monotonic() < deadline:
            ended = workers.wait(0.5)
        assert [(name, outcome.status) for name, outcome in ended] == [("once", "finished")]
        assert read_history(history)["epoch"].tolist() == list(range(1, 21))

        workers.submit("always", sweep.config(point))
        ended = []
        while not ended and time.monotonic() < deadline:
            os.kill(pool._workers[0].process.pid, number)
            ended = workers.wait(0.5)
        assert ended[0][1].status == "failed"
        assert re.match("broken off 3 times, last by (a )?signal ", ended[0][1].reason)
    finally:
        pool.close()


def test_what_a_killed_caller_left_of_a_run_that_came_back_is_removed(tmp_path):
    config = load_sweep(write_sweep(tmp_path)).config({"model.hidden": 4, "solver.learning_rate": 0.1}).model_dump()
    there, runs = tmp_path / "there" / "a", tmp_path / "runs"
    run_trial(config, there)
    content = {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()}
    for name in (".a.01234567.tmp", ".a.old"):
        (runs / name).mkdir(parents=True)
    came_back = JobResult(Job("a", "", {"config": config}), (("finished", ""), content))
    pool = SimpleNamespace(wait=lambda seconds: [came_back])
    assert TrialWorkers(runs, pool, digests={}).wait(0) == [("a", ("finished", ""))]
    assert [path.name for path in runs.iterdir()] == ["a"]


@pytest.mark.usefixtures("in_process")
def test_a_training_on_all_rows_that_was_broken_off_is_not_taken_for_a_finished_one(tmp_path, monkeypatch):
    def wait(self, seconds):
        ended = InProcessPool.wait(self, seconds)
        return [JobResult(each.job, stopped=True) if "refit" in each.job.name else each for each in ended]

    monkeypatch.setattr(search, "LocalPool", type("Pool", (InProcessPool,), {"wait": wait}))
    path = write_sweep(tmp_path, "trials: 1\nrefit: true\n")
    with pytest.raises(RunError, match=r"refit-0000: training on all rows interrupted: run the sweep again"):
        run_sweep(path, folder=tmp_path / "out")


def test_the_command_reports_errors_and_exits_with_2(tmp_path, capsys):
    path = write_sweep(tmp_path, "trials: 0\n")
    assert run_command(["sweep", str(path)]) == 2
    assert "trials: expected a whole number of at least 1 or null, got 0" in capsys.readouterr().err
    assert run_command(["sweep", str(path), str(path)]) == 2
    assert "expected one SWEEP" in capsys.readouterr().err


@pytest.mark.usefixtures("in_process")
def test_the_command_prints_the_table_the_boundary_and_the_winners_test_accuracy_once(tmp_path, capsys):
    path = write_sweep(tmp_path)
    assert run_command(["sweep", str(path), "trials=2", "--sweep-dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "rank  point  val_accuracy" in printed.out
    assert printed.out.count("test accuracy") == 1
    assert "lies on the" in printed.out
    assert "run 2/2" in printed.err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["statuses"] == {"finished": 2}


@pytest.mark.usefixtures("in_process")
def test_a_sweep_of_which_nothing_finishes_exits_with_2(tmp_path, capsys):
    path = write_sweep(tmp_path, space=SPACE.replace("[0.01, 1.0]", "[1e6, 1e7]"))
    assert run_command(["sweep", str(path), "trials=1", "--sweep-dir", str(tmp_path / "out"), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert "1 diverged; the first: diverged at step" in printed.out
    assert "no point has finished" in printed.err


@pytest.mark.usefixtures("in_process")
def test_a_sweep_in_use_is_refused(tmp_path):
    from twolayer.runs.folder import folder_lock

    path = write_sweep(tmp_path)
    (tmp_path / "out").mkdir()
    with folder_lock(tmp_path / "out"), pytest.raises(RunError, match="in use"):
        run_sweep(path, folder=tmp_path / "out")
