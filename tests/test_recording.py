"""What a run leaves while it trains, where the system or the numbers fail: the last good state, and the way on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from fault_injection import FullDisk, using_disk

from twolayer.commands.verify_resume import differences
from twolayer.config import config_from_dict, dump_config
from twolayer.runs.checkpoint import read_arrays
from twolayer.runs.folder import RunFolder
from twolayer.training.recorder import Recorder
from twolayer.training.run import resume, train
from twolayer.utils.errors import DivergedError, RunError


def config(**run):
    return config_from_dict(
        {
            "data": {"train": {"generator": "spiral", "rows_per_class": 20}, "validation": 0.2},
            "model": {"hidden": 4},
            "solver": {"epochs": 3, "batch_size": 8},
            "run": run,
        }
    )


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file-size limits")
def test_a_file_size_limit_ends_in_one_message_and_the_run_resumes_without_it(root, tmp_path, without_pictures):
    limited = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
runpy.run_module("twolayer", run_name="__main__")
"""
    arguments = ["configs/toy.yaml", "solver.epochs=120", "run.checkpoint_seconds=0", "run.redraw_seconds=100"]
    stopped = subprocess.run(
        [sys.executable, "-c", limited, "train", *arguments, "--run-dir", tmp_path / "run", "--quiet"],
        cwd=root, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (stopped.returncode, stopped.stdout) == (2, "")
    first, second = stopped.stderr.splitlines()
    assert "history.csv: cannot be written: File too large; raise the file-size limit (ulimit -f)" in first
    assert second.endswith(f"To resume: twolayer train --resume {tmp_path / 'run'}")
    resume(tmp_path / "run")
    train(root / arguments[0], arguments[1:], run_dir=tmp_path / "straight")
    assert list(differences(RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "run"))) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("where", ["run.dir=/proc/nowhere", "run.dir=/dev/null"])
def test_an_unwritable_folder_ends_in_one_message(run_twolayer, where):
    answer = run_twolayer("train", "configs/toy.yaml", where)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert f"{where.removeprefix('run.dir=')}: the folder of runs cannot be made: " in answer.stderr


@pytest.mark.parametrize(
    "error", [RunError("no room"), OSError(errno.ENOSPC, "no room"), PermissionError("no room"), TypeError("no room")]
)
def test_a_picture_that_cannot_be_drawn_costs_a_note_and_not_the_run(tmp_path, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", fail)
    result = train(config(redraw_seconds=0), run_dir=tmp_path / "run")
    assert result.summary["status"] == "finished"
    assert [note for note in result.notes if "loss curve could not be drawn" in note and "no room" in note]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a name is text")
def test_a_config_and_a_folder_whose_names_are_not_utf8_train_to_a_summary(tmp_path):
    path, run = tmp_path / os.fsdecode(b"n\xff.yaml"), tmp_path / os.fsdecode(b"r\xff")
    path.write_bytes(dump_config(config()).encode())
    result = train(path, run_dir=run)
    assert (run / "summary.json").exists()
    (note,) = (note for note in result.notes if note.startswith("the loss curve could not be drawn: TypeError: "))
    assert len(note.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no folder with open files")
@pytest.mark.parametrize("seconds", [0, 1000], ids=["a checkpoint at each step", "only at the end"])
def test_a_run_folder_deleted_during_training_ends_in_a_message_that_offers_no_resume(
    tmp_path, without_pictures, seconds
):
    def stop(record):
        if record["epoch"] == 2:
            shutil.rmtree(tmp_path / "run")
        return False

    with pytest.raises(RunError, match="it was deleted or moved during the training") as caught:
        train(config(checkpoint_seconds=seconds), run_dir=tmp_path / "run", stop=stop)
    assert len(str(caught.value).splitlines()) == 1
    assert "--resume" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames no folder with open files")
def test_a_run_folder_moved_during_training_is_written_where_it_is(tmp_path, without_pictures):
    def stop(record):
        if record["epoch"] == 2:
            (tmp_path / "run").rename(tmp_path / "moved")
        return False

    train(config(checkpoint_seconds=0), run_dir=tmp_path / "run", stop=stop)
    assert not (tmp_path / "run").exists()
    assert resume(tmp_path / "moved").summary["status"] == "finished"
    train(config(checkpoint_seconds=0), run_dir=tmp_path / "straight")
    assert list(differences(RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "moved"))) == []


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, without_pictures):
    def no_locks(descriptor, shared):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", no_locks)
    result = train(config(), run_dir=tmp_path / "run", stop=lambda record: True)
    assert "this file system has no locks" in result.notes[0]
    assert "this file system has no locks" in resume(tmp_path / "run").notes[0]


def test_parameters_that_overflowed_are_never_saved(tmp_path, monkeypatch, without_pictures):
    train(config(checkpoint_seconds=0), run_dir=tmp_path / "straight")

    class Overflowing(Recorder):
        def record(self, event):
            if self._solver.progress.epoch == 2:
                self._solver.state.flat.vector[0] = np.inf
            super().record(event)

    with monkeypatch.context() as patch:
        patch.setattr("twolayer.training.run.Recorder", Overflowing)
        with pytest.raises(DivergedError):
            train(config(checkpoint_seconds=0), run_dir=tmp_path / "run")
    arrays, header = read_arrays(tmp_path / "run/last.npz")
    assert header["progress"]["epoch"] == 1
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert resume(tmp_path / "run").summary["status"] == "finished"
    assert list(differences(RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "run"))) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_ends_in_one_message(root):
    command = [sys.executable, "-m", "twolayer", "schema"]
    with open("/dev/full", "w") as full:
        answer = subprocess.run(command, cwd=root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert answer.returncode == 2
    assert answer.stderr == "twolayer: output: No space left on device\n"


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("fail_at", range(1, 120, 7))
def test_a_full_disk_gives_one_error_and_leaves_no_file_open(tmp_path, without_pictures, fail_at):
    before = open_files()
    with using_disk(FullDisk(fail_at)), pytest.raises(RunError, match="No space left on device"):
        train(config(checkpoint_seconds=0, snapshot_epochs=1), run_dir=tmp_path / "run")
    assert open_files() == before


def test_a_log_that_cannot_be_continued_leaves_no_file_open(tmp_path, without_pictures):
    run = train(config(), run_dir=tmp_path / "run", stop=lambda record: True).run_dir
    (run / "steps.csv").write_text("something else\n")
    before = open_files()
    with pytest.raises(RunError, match="steps.csv:1: expected the columns"):
        resume(run)
    assert open_files() == before
