"""Ctrl-C and SIGTERM at every stage of a training: nothing half done is left, nothing done is lost."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from fault_injection import start_python

from twolayer.commands.verify_resume import differences
from twolayer.config import config_from_dict
from twolayer.runs.folder import RunFolder
from twolayer.training.recorder import Recorder
from twolayer.training.run import resume, train
from twolayer.utils.process import StopRequest

CONFIG = config_from_dict(
    {
        "data": {"train": {"generator": "spiral", "rows_per_class": 20}, "validation": 0.2},
        "model": {"hidden": 4},
        "solver": {"epochs": 3, "batch_size": 8},
    }
)


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)


@pytest.fixture
def straight(tmp_path):
    train(CONFIG, run_dir=tmp_path / "straight")
    return RunFolder(tmp_path / "straight")


def require_same_end(run_dir, straight):
    assert resume(run_dir).summary["status"] == "finished"
    assert list(differences(straight, RunFolder(run_dir))) == []


def test_the_first_ctrl_c_asks_and_the_second_leaves_at_once():
    with StopRequest() as stop:
        assert stop.signal_number is None
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_sigterm_asks_however_often_it_comes():
    with StopRequest() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


@pytest.mark.parametrize("numbers", [[], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_the_earlier_handlers_are_always_restored(numbers):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def work():
        for number in numbers:
            signal.raise_signal(number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), StopRequest():
        work()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []

    def work():
        with StopRequest() as stop:
            seen.append((stop.signal_number, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, signal.getsignal(signal.SIGINT))]


def test_a_ctrl_c_before_the_first_step_is_not_lost(tmp_path, straight, monkeypatch):
    class Interrupted(Recorder):
        def __init__(self, *arguments, **options):
            signal.raise_signal(signal.SIGINT)
            super().__init__(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("twolayer.training.run.Recorder", Interrupted)
        result = train(CONFIG, run_dir=tmp_path / "run")
    assert (result.summary["status"], result.signal_number) == ("interrupted", signal.SIGINT)
    assert result.summary["epochs"] == 0
    require_same_end(tmp_path / "run", straight)


@pytest.mark.parametrize("when", ["checkpoint", "save_best", "draw"])
def test_a_second_ctrl_c_while_saving_leaves_a_run_that_can_resume(tmp_path, straight, monkeypatch, when):
    class Impatient(Recorder):
        def record(self, event):
            super().record(event)
            signal.raise_signal(signal.SIGINT)

    def twice(self, *arguments):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Impatient, when, twice)
        patch.setattr("twolayer.training.run.Recorder", Impatient)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, run_dir=tmp_path / "run")
    require_same_end(tmp_path / "run", straight)


def test_a_ctrl_c_after_the_last_epoch_does_not_undo_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(Recorder, "draw", lambda self: signal.raise_signal(signal.SIGINT))
    result = train(CONFIG, run_dir=tmp_path / "run")
    assert (result.summary["status"], result.signal_number) == ("finished", None)


# Run with a patch that sends the signal in the middle of something.
PROGRAM = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with Ctrl-C ignored
{patch}
from twolayer.__main__ import main
main(["train", {config!r}, "--run-dir", {run_dir!r}, "--quiet"])
"""
WHILE_LOADING = (
    "import twolayer.training.build as place\nplace.load_dataset = lambda **keys: os.kill(os.getpid(), {number})"
)
WHILE_FILLING = """
from twolayer.utils import files as seam
class Disk(seam.Disk):
    def sync_folder(self, path):
        os.kill(os.getpid(), {number})
seam.disk = Disk()
"""
WHILE_IMPORTING = """
import sys
class Finder:
    def find_spec(name, *rest):
        if name == "click":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize(
    "patch", [WHILE_IMPORTING, WHILE_LOADING, WHILE_FILLING], ids=["importing", "loading", "making the folder"]
)
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_before_the_run_exists_leaves_nothing_behind(root, tmp_path, patch, number, word):
    parent = tmp_path / "runs"
    config = str(root / "configs/toy.yaml")
    program = PROGRAM.format(patch=patch.format(number=int(number)), config=config, run_dir=str(parent / "run"))
    process = start_python(program)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.lstrip()) == (128 + number, "", f"twolayer: {word}\n")
    assert not parent.exists() or os.listdir(parent) == []
