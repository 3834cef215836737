"""A run folder appears whole under a name of its own, and is found again or missed with a helpful message."""

from __future__ import annotations

import os
import re
import shutil
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from fault_injection import KILL_AT_EVERY_OPERATION, full_at_every_operation, run_python

from twolayer.runs.checkpoint import load_model, packed, read_arrays
from twolayer.runs.folder import RunFolder, create_run_folder, create_run_folder_at, open_run
from twolayer.utils import files
from twolayer.utils.errors import RunError
from twolayer.utils.files import write_new

NOW = datetime(2024, 2, 29, 7, 5, 9)
MODEL = {"W2": np.ones((3, 2)), "b2": np.zeros(2)}
FILES = {
    "config.yaml": b"seed: 0\n",
    "environment.json": b"{}\n",
    "last.npz": packed(MODEL, {"kind": "checkpoint", "step": 0}),
    "best.npz": packed(MODEL, {"kind": "model", "step": 0}),
}


def assert_whole(run: RunFolder) -> None:
    assert open_run(run.path).path == run.path
    assert run.config.read_bytes() == FILES["config.yaml"]
    assert run.environment.is_file()
    assert read_arrays(run.best)[1]["kind"] == "model"
    assert read_arrays(run.last)[1]["kind"] == "checkpoint"


def test_the_folder_is_named_by_config_and_time_and_holds_its_files(tmp_path):
    run = create_run_folder(FILES, parent=tmp_path / "a" / "runs", name="optdigits", now=NOW)
    assert run.path == tmp_path / "a" / "runs" / "optdigits-20240229-070509"
    assert_whole(run)
    assert sorted(each.name for each in run.path.iterdir()) == sorted(FILES)
    assert list(run.path.parent.iterdir()) == [run.path]


def test_the_time_in_the_name_is_the_clocks(tmp_path):
    before = datetime.now().replace(microsecond=0)
    name = create_run_folder(FILES, parent=tmp_path, name="a").path.name
    assert before <= datetime.strptime(name, "a-%Y%m%d-%H%M%S") <= datetime.now()


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    runs = [create_run_folder(FILES, parent=tmp_path, name="a", now=NOW) for _ in range(3)]
    assert [run.path.name for run in runs] == [f"a-20240229-070509{end}" for end in ("", "-2", "-3")]


def test_runs_that_start_at_the_same_moment_get_folders_of_their_own(tmp_path):
    together, runs = threading.Barrier(8), []

    def start():
        together.wait()
        runs.append(create_run_folder(FILES, parent=tmp_path, name="a", now=NOW))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.path for run in runs}) == 8
    for run in runs:
        assert_whole(run)
    assert len(list(tmp_path.iterdir())) == 8


def test_a_file_with_the_name_of_the_run_is_left_alone(tmp_path):
    (tmp_path / "a-20240229-070509").write_bytes(b"mine")
    assert create_run_folder(FILES, parent=tmp_path, name="a", now=NOW).path.name == "a-20240229-070509-2"
    assert (tmp_path / "a-20240229-070509").read_bytes() == b"mine"


def test_a_chosen_folder_is_made_with_its_parents(tmp_path):
    run = create_run_folder_at(FILES, tmp_path / "x" / "y")
    assert run.path == tmp_path / "x" / "y"
    assert_whole(run)
    assert list((tmp_path / "x").iterdir()) == [run.path]


def test_an_empty_folder_is_filled_in_place(tmp_path, monkeypatch):
    target = tmp_path / "x"
    target.mkdir()
    same_folder = target.stat().st_ino
    monkeypatch.chdir(target)
    assert_whole(create_run_folder_at(FILES, "."))
    assert target.stat().st_ino == same_folder


@pytest.mark.parametrize(
    ("content", "beside"),
    [
        *((name, beside) for name in ("notes.txt", ".hidden", *FILES) for beside in ([], [".lock"])),
        (".config.yaml.0123abcd.tmp", []),
    ],
)
def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path, content, beside):
    for name in [content, *beside]:
        (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(RunError, match=f"got one with {re.escape(content)} in it; choose a new or empty folder"):
        create_run_folder_at(FILES, tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {content, *beside}
    assert (tmp_path / content).read_bytes() == b"mine"


def test_a_filling_that_fails_removes_what_it_wrote_and_nothing_else(tmp_path, monkeypatch):
    def fail_at_the_second(path, content):
        if path.name == "environment.json":
            (tmp_path / "best.npz").write_bytes(b"mine")  # at the last moment
            raise RunError("no room")
        write_new(path, content)

    monkeypatch.setattr(files, "write_atomically", fail_at_the_second)
    with pytest.raises(RunError, match="no room"):
        create_run_folder_at(FILES, tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {".lock", "best.npz"}


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "f").write_bytes(b"mine")
    for path in (tmp_path / "f", tmp_path / "f" / "x"):
        with pytest.raises(RunError, match=r"Not a directory|part of the path is a file|File exists"):
            create_run_folder_at(FILES, path)
    with pytest.raises(RunError, match="folder of runs cannot be made"):
        create_run_folder(FILES, parent=tmp_path / "f", name="a")
    assert (tmp_path / "f").read_bytes() == b"mine"


def test_a_full_disk_at_any_operation_leaves_no_folder_or_a_whole_one(tmp_path):
    def create(k):
        return create_run_folder(FILES, parent=tmp_path / str(k), name="a", now=NOW)

    k = 0
    for k, error in full_at_every_operation(create):
        assert "No space left" in str(error)
        assert str(error).startswith(str(tmp_path / str(k)))
        for folder in (tmp_path / str(k)).glob("*"):
            assert_whole(RunFolder(folder))
    assert k > 3 * len(FILES)
    assert_whole(RunFolder(tmp_path / str(k + 1) / "a-20240229-070509"))


def test_a_full_disk_at_any_operation_leaves_a_chosen_folder_usable(tmp_path):
    (tmp_path / "x").mkdir()
    for _ in full_at_every_operation(lambda k: create_run_folder_at(FILES, tmp_path / "x")):
        assert not RunFolder(tmp_path / "x").last.exists()
    assert_whole(RunFolder(tmp_path / "x"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_operation_leaves_hidden_folders_and_whole_ones(tmp_path):
    program = f"""
{KILL_AT_EVERY_OPERATION}
from pathlib import Path
from test_runs_folder import FILES, RunFolder, assert_whole, create_run_folder
place = Path({str(tmp_path)!r})
def check(k):
    for folder in (place / str(k)).glob("*"):
        if not folder.name.startswith("."):
            assert_whole(RunFolder(folder))
kill_at_every_operation(lambda k: create_run_folder(FILES, parent=place / str(k), name="a"), check)
"""
    assert int(run_python(program)) > 3 * len(FILES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("there_before", [False, True])
def test_a_kill_at_any_operation_leaves_a_chosen_folder_whole_or_without_a_checkpoint(tmp_path, there_before):
    program = f"""
{KILL_AT_EVERY_OPERATION}
from pathlib import Path
from test_runs_folder import FILES, RunFolder, assert_whole, create_run_folder_at
def attempt(k):
    place = Path({str(tmp_path)!r}, str(k))
    if {there_before}:
        place.mkdir()
    create_run_folder_at(FILES, place)
def check(k):
    run = RunFolder(Path({str(tmp_path)!r}, str(k)))
    if not run.last.exists():
        assert {there_before} or not run.path.exists()
        return
    assert_whole(run)
kill_at_every_operation(attempt, check)
"""
    assert int(run_python(program)) > 3 * len(FILES)


def test_the_message_about_a_wrong_path_says_what_was_meant(tmp_path):
    with pytest.raises(RunError, match=r"nowhere: no such run folder$"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"expected a run folder, .* got one without config\.yaml and last\.npz"):
        open_run(tmp_path)
    older = create_run_folder(FILES, parent=tmp_path / "runs", name="a", now=NOW)
    newer = create_run_folder(FILES, parent=tmp_path / "runs", name="b", now=NOW)
    os.utime(older.last, (1, 1))
    for opening in (open_run, load_model):
        with pytest.raises(
            RunError, match=rf"got one without .*; the newest run in {tmp_path / 'runs'} is {newer.path}"
        ):
            opening(tmp_path / "runs")
    with pytest.raises(RunError, match=rf"no such run folder; the newest run in {tmp_path / 'runs'} is {newer.path}"):
        open_run(tmp_path / "runs" / "c")
    with pytest.raises(RunError, match=rf"best\.npz: expected a run folder, got a file; did you mean {older.path}\?"):
        open_run(older.best)
    older.last.unlink()
    with pytest.raises(RunError, match=r"got one without last\.npz"):
        open_run(older.path)


def test_a_path_that_the_system_does_not_take_is_refused_with_its_reason(tmp_path):
    too_long = tmp_path / ("x" * 300)
    with pytest.raises(RunError, match="cannot be read: File name too long"):
        open_run(too_long)
    with pytest.raises(RunError, match="the run folder cannot be made: File name too long; choose a shorter name"):
        create_run_folder_at(FILES, too_long)


def test_the_folder_of_snapshots_is_made_once_and_refused_where_it_cannot_be(tmp_path):
    run = create_run_folder_at(FILES, tmp_path / "x")
    for epoch in (4, 5):
        run.write_snapshot(epoch, b"parameters")
    assert sorted(each.name for each in run.snapshots.iterdir()) == ["epoch-00004.npz", "epoch-00005.npz"]
    assert (run.snapshots / "epoch-00005.npz").read_bytes() == b"parameters"
    shutil.rmtree(run.snapshots)
    run.snapshots.write_bytes(b"")
    with pytest.raises(RunError, match="snapshots: cannot be written: expected a folder, got a file"):
        run.write_snapshot(6, b"parameters")


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    run = create_run_folder_at(FILES, tmp_path / "x")
    mine = ["history.csv", ".best.npz", "best.npz.tmp", ".lock", ".notes.txt.tmp"]
    replaced = [run.config, run.environment, run.predictions, run.best, run.last, run.loss_curve, run.summary]
    for name in [*(f".{path.name}.0123abcd.tmp" for path in replaced), *mine]:
        (run.path / name).write_bytes(b"")
    run.remove_leftovers()
    assert sorted(each.name for each in run.path.iterdir()) == sorted([*FILES, *mine])


def test_every_path_is_in_the_folder():
    run = RunFolder(Path("runs/a"))
    assert (run.config, run.environment) == (Path("runs/a/config.yaml"), Path("runs/a/environment.json"))
    assert (run.history, run.steps) == (Path("runs/a/history.csv"), Path("runs/a/steps.csv"))
    assert (run.best, run.last) == (Path("runs/a/best.npz"), Path("runs/a/last.npz"))
    assert (run.predictions, run.summary) == (Path("runs/a/predictions.npz"), Path("runs/a/summary.json"))
    assert run.loss_curve == Path("runs/a/loss_curve.png")
