"""A run folder is a box: whatever is put in the place of one of its files, nothing outside is read or written."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.fuzz.campaign import time_limit
from twolayer import __main__ as main
from twolayer.commands import cli
from twolayer.config import config_from_dict
from twolayer.runs.checkpoint import load_model, read_arrays, write_arrays
from twolayer.runs.folder import RunFolder, open_run
from twolayer.runs.predict_files import _write_part
from twolayer.sweep.trial import run_trial
from twolayer.training.run import resume, train
from twolayer.utils.errors import RunError, TwoLayerError
from twolayer.utils.files import (
    UNPACKED_FLOOR,
    held,
    open_regular,
    open_to_read,
    read_at_most,
    read_whole,
    remove,
    write_atomically,
)
from twolayer.views.boundary import snapshot_models
from twolayer.views.curves import plot
from twolayer.views.evaluation import evaluate_run
from twolayer.views.run_data import load_runs
from twolayer.views.style import default_look

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")

needs_held_folders = pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="needs pipes and links")

NAMES = [
    *("config.yaml", "environment.json", "history.csv", "steps.csv", "predictions.npz", "best.npz", "last.npz"),
    *("loss_curve.png", "summary.json", ".lock", "snapshots"),
]
READERS = {
    "train --resume": lambda run: resume(run, ["solver.epochs=4"]),
    "curves, report": lambda run: load_runs((run,), print),
    "evaluate": evaluate_run,
    "plot": plot,
}
ROWS = "x,y,kind\n" + "1,2,0\n3,4,1\n" * 10
CONFIG = {
    "data": {"train": {"generator": "spiral", "rows_per_class": 10}, "test": 0.2},
    "model": {"hidden": 4},
    "solver": {"epochs": 2},
    "run": {"snapshot_epochs": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(config_from_dict(CONFIG), run_dir=tmp_path_factory.mktemp("box") / "run").run_dir


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def put(kind: str, path: Path) -> None:
    """Replaces a file of a run."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a socket":
            here = os.getcwd()
            os.chdir(path.parent)  # a socket's path must be short
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
            os.chdir(here)
        case "a folder":
            path.mkdir()
        case "a file":
            path.write_bytes(b"x")
        case "a link to a device":
            path.symlink_to("/dev/zero")
        case "a link to itself":
            path.symlink_to(path.name)
        case "a sparse file":
            path.write_bytes(b"")
            os.truncate(path, 1 << 40)
        case "a link to a file":
            path.symlink_to("outside")
        case "a link to nothing":
            path.symlink_to("nothing")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kind", ["a pipe", "a socket", "a folder", "a link to a device", "a link to itself", "a link to nothing"]
)
def test_what_is_not_a_file_is_refused_by_name_at_once(run, name, kind):
    put("a file" if (name, kind) == ("snapshots", "a folder") else kind, run / name)
    for reader in READERS.values():
        with pytest.raises(RunError, match=rf"{name}: cannot be read: expected a .*, got a ") as caught:
            reader(run)
        assert ("a symbolic link" in str(caught.value)) == kind.startswith("a link")
    assert not (run / "nothing").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_a_good_file_outside_is_neither_read_nor_written(run, name, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(run / name, outside)
    (run / name).symlink_to(outside)
    before = content_of(outside)
    for reader in READERS.values():
        with pytest.raises(RunError, match=rf"{name}: cannot be read: expected a .*, got a symbolic link"):
            reader(run)
    assert content_of(outside) == before


def content_of(path: Path) -> object:
    return sorted((each.name, each.read_bytes()) for each in path.iterdir()) if path.is_dir() else path.read_bytes()


def test_a_file_system_that_counts_no_blocks_has_no_sparse_files(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_bytes(b"1,2\n" * 1000)
    monkeypatch.setattr("twolayer.utils.files.UNPACKED_FLOOR", 10)
    monkeypatch.setattr("os.fstat", lambda descriptor: SimpleNamespace(st_mode=0o100644, st_size=4000, st_blocks=0))
    with open_to_read(tmp_path / "rows.csv") as file:
        assert file.read(4) == b"1,2\n"


def test_a_snapshot_that_is_a_link_is_replaced_and_its_target_left_alone(run, tmp_path):
    put("a link to nothing", run / "snapshots" / "epoch-00002.npz")
    resume(run, ["solver.epochs=2", "run.snapshot_epochs=1"])
    assert not (run / "snapshots" / "nothing").exists()


def swap(folder: Path, outside: Path) -> None:
    """Puts a link to another folder in the place of a folder."""
    folder.rename(folder.with_name("moved"))
    outside.mkdir()
    folder.symlink_to(outside)


def test_snapshots_swapped_for_a_link_between_two_epochs_are_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    said = r"snapshots: cannot be written: expected a folder, got a symbolic link"
    with pytest.raises(RunError, match=said):
        train(config_from_dict(CONFIG), run_dir=run.path, stop=lambda _: swap(run.snapshots, tmp_path / "outside"))
    assert not list((tmp_path / "outside").iterdir())
    with pytest.raises(RunError, match="snapshots: cannot be read: expected a folder, got a symbolic link"):
        resume(run.path)


@needs_held_folders
def test_a_folder_swapped_after_it_was_checked_is_not_left(run, tmp_path, monkeypatch):
    snapshots, outside = RunFolder(run).snapshots, tmp_path / "outside"
    monkeypatch.setattr("twolayer.utils.files.require_regular", lambda *arguments, **options: None)
    with held(snapshots):
        swap(snapshots, outside)
        assert b"sha256" in read_whole(snapshots / "epoch-00001.npz")
        write_atomically(snapshots / "epoch-00007.npz", b"new")
        remove(snapshots / "epoch-00002.npz")
    names = ["epoch-00000.npz", "epoch-00001.npz", "epoch-00007.npz"]
    assert sorted(each.name for each in (run / "moved").iterdir()) == names
    assert not list(outside.iterdir())
    for action in (lambda: RunFolder(run).write_snapshot(1, b"new"), lambda: snapshot_models(run, load_model(run))):
        (outside / "epoch-00001.npz").write_bytes(b"mine")
        with pytest.raises(RunError, match="snapshots: cannot be .*: Not a directory"):
            action()
    assert content_of(outside) == [("epoch-00001.npz", b"mine")]


@needs_held_folders
def test_a_run_folder_swapped_during_the_training_takes_no_file_elsewhere(tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    straight = train(config_from_dict(CONFIG), run_dir=tmp_path / "straight").run_dir
    train(config_from_dict(CONFIG), run_dir=run, stop=lambda record: record["epoch"] == 1 and swap(run, outside))
    assert not list(outside.iterdir())
    moved = tmp_path / "moved"
    assert content_of_all(moved).keys() == {name.replace("straight", "moved") for name in content_of_all(straight)}
    assert (moved / "best.npz").read_bytes() == (straight / "best.npz").read_bytes()


def test_the_run_folder_itself_may_be_a_link_and_so_may_a_model_that_is_named(run, tmp_path):
    (tmp_path / "current").symlink_to(run)
    (tmp_path / "model.npz").symlink_to(run / "best.npz")
    classes = load_model(run).classes
    assert load_model(tmp_path / "current").classes == load_model(tmp_path / "model.npz").classes == classes
    assert open_run(tmp_path / "current").path == tmp_path / "current"
    assert resume(tmp_path / "current", ["solver.epochs=3"]).summary["epochs"] == 3


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a link to a device", "a link to itself"])
def test_a_model_that_is_no_file_is_refused_whether_it_is_named_or_in_a_run(run, kind):
    put(kind, run / "best.npz")
    for path in (run, run / "best.npz"):
        with pytest.raises(RunError, match=r"best\.npz: cannot be read: "):
            load_model(path)


def test_what_changed_between_the_check_and_the_opening_is_still_refused(run, monkeypatch):
    monkeypatch.setattr("twolayer.utils.files.require_regular", lambda *arguments, **options: None)
    put("a link to nothing", run / "history.csv")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT):
        with pytest.raises(OSError, match="symbolic links"):
            open_regular(run / "history.csv", flags)
    put("a pipe", run / "history.csv")
    with pytest.raises(OSError, match="expected a regular file, got a pipe"):
        open_regular(run / "history.csv")


def test_a_file_whose_size_is_made_of_holes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"a,b\n")
        file.truncate(UNPACKED_FLOOR)
    open_to_read(path).close()
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match=r"got a sparse file of 1,099,511,627,776 bytes of which [\d,]+ are on the disk"):
        open_to_read(path)
    with pytest.raises(RunError, match="sparse: cannot be read: expected at most"):
        read_at_most(path, 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays, header: header.pop("epoch"), r"epoch: expected a number from 0, got nothing"),
        (lambda arrays, header: header.update(epoch="x"), r"epoch: .*, got 'x'"),
        (lambda arrays, header: header.update(epoch=float("inf")), r"epoch: .*, got inf"),
        (lambda arrays, header: header.update(epoch=-1), r"epoch: .*, got -1"),
        (lambda arrays, header: arrays.update(W1=np.ones((5, 4), np.float32)), "expected a network like Params"),
        (lambda arrays, header: header.update(kind="model"), "expected a file of kind snapshot"),
    ],
)
def test_a_snapshot_that_no_run_would_write_is_refused(run, change, said):
    path = run / "snapshots" / "epoch-00001.npz"
    arrays, header = read_arrays(path)
    header.pop("format")
    change(arrays, header)
    write_arrays(path, arrays, header)
    with pytest.raises(RunError, match=rf"epoch-00001\.npz: {said}"):
        snapshot_models(run, load_model(run))


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a link to a device", "a link to itself", "a sparse file"])
@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("rows.csv", ["predict", "run", "rows.csv"]),
        ("rows.csv", ["predict", "run", "rows.csv", "more.csv", "-o", "out"]),
        ("rows.parquet", ["predict", "run", "rows.parquet", "more.csv", "-o", "out"]),
        ("rows.xlsx", ["predict", "run", "rows.xlsx"]),
        ("out/.lock", ["predict", "run", "rows.csv", "more.csv", "-o", "out"]),
        ("model.npz", ["predict", "model.npz", "rows.csv"]),
        ("rows.npy", ["init", "rows.npy"]),
        ("rows.yaml", ["init", "rows.csv"]),
        ("spiral.yaml", ["example", "spiral"]),
        ("loss.png", ["experiment", "loss"]),
        ("curves.png", ["curves", "run", "-o", "curves.png"]),
        ("config.yaml", ["train", "config.yaml"]),
        ("sweep.yaml", ["sweep", "sweep.yaml"]),
        ("rows.csv", ["evaluate", "run", "--data", "rows.csv"]),
    ],
)
def test_whatever_is_in_the_place_of_a_file_that_is_named_ends_in_words_at_once(
    run, tmp_path, monkeypatch, capsys, place, command, kind
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for name in ("rows.csv", "more.csv", place):
        (tmp_path / name).write_text(ROWS)
    put(kind, tmp_path / place)
    words = ""
    with time_limit(60):
        try:
            cli.main(args=command, prog_name="twolayer", standalone_mode=False)
        except TwoLayerError as error:
            words = str(error)
    assert place in words + str(capsys.readouterr())


@pytest.mark.parametrize("kind", ["a pipe", "a link to a file", "a link to nothing"])
@pytest.mark.parametrize(
    ("place", "command", "said"),
    [
        ("rows.yaml", ["init", "rows.csv"], "expected a config as init wrote it, got another file or an edited one"),
        ("rows.yaml", ["init", "rows.csv", "--force"], None),
        ("twolayer.schema.json", ["init", "rows.csv"], None),
        ("spiral.yaml", ["example", "spiral"], "already exists with other content"),
        ("loss.png", ["experiment", "loss"], None),
    ],
)
def test_an_output_beside_a_pipe_or_a_link_of_its_name_is_refused_or_replaces_that_itself(
    tmp_path, monkeypatch, capsys, place, command, said, kind
):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(ROWS)
    Path("outside").write_bytes(b"mine")
    Path(place).write_bytes(b"")
    put(kind, Path(place))
    refused = said is not None and kind != "a link to nothing"
    with time_limit(60):
        assert main.run(command) == (2 if refused else 0)
    assert not refused or f"twolayer: {place}: {said}" in capsys.readouterr().err
    assert Path("outside").read_bytes() == b"mine"
    assert not Path("nothing").exists()
    if not refused:
        assert Path(place).is_file()
        assert not Path(place).is_symlink()


def test_files_that_the_system_makes_up_end_in_words_at_once(run, tmp_path):
    """They are regular files by their kind; /proc/kmsg waits for the next message of the kernel."""
    there = [path for path in map(Path, ("/proc/self/mem", "/proc/self/pagemap", "/proc/kcore")) if path.exists()]
    for path in there:
        with time_limit(60), pytest.raises(OSError, match=r"\[Errno"):
            open_to_read(path)
    for path in [*there, *filter(os.path.exists, ("/proc/kmsg", "/dev/zero", "/dev/kmsg"))]:
        for command in (["predict", str(run), str(path)], ["predict", str(path), str(path)], ["train", str(path)]):
            with time_limit(60), pytest.raises(TwoLayerError, match=str(path)):
                cli.main(args=command, prog_name="twolayer", standalone_mode=False)


def test_a_special_file_that_gives_nothing_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """The way of /proc/kmsg for a reader that must not wait."""
    (tmp_path / "rows.csv").write_bytes(b"")

    def refuse(descriptor, length, offset):
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))

    monkeypatch.setattr("os.pread", refuse)
    with pytest.raises(OSError, match="Illegal seek"):
        open_to_read(tmp_path / "rows.csv")


@pytest.mark.parametrize(
    "command",
    [
        *(["train", "LONG"], ["train", "c.yaml", "--run-dir", "LONG"], ["train", "--resume", "LONG"]),
        *(["predict", "LONG", "rows.csv"], ["predict", "run", "LONG"], ["predict", "run", "rows.csv", "-o", "LONG"]),
        ["evaluate", "run", "--data", "LONG"],
        *(["curves", "LONG"], ["curves", "run", "-o", "LONG.png"], ["report", "LONG"], ["evaluate", "LONG"]),
        *(["init", "LONG"], ["init", "rows.csv", "--out", "LONG"], ["check", "LONG"], ["gradcheck", "LONG"]),
        *(["explain", "LONG"], ["sweep", "LONG"], ["export", "LONG", "--to", "safetensors"]),
        *(["experiment", "loss", "--out", "LONG.png"], ["verify-resume", "LONG"], ["example", "LONG"]),
        *(["train", "c.yaml", "data.train=LONG"], ["train", "c.yaml", "run.dir=LONG"]),
    ],
)
def test_a_path_of_5000_letters_ends_in_words(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(ROWS)
    Path("c.yaml").write_text("data: {train: {generator: spiral, rows_per_class: 10}}\nsolver: {epochs: 1}\n")
    long = [word.replace("LONG", "x" * 5000) for word in command]
    with pytest.raises((TwoLayerError, OSError), match="x{50}"):  # which `run` writes in words
        cli.main(args=long, prog_name="twolayer", standalone_mode=False)


def test_settings_that_libraries_take_from_the_current_folder_are_not_trusted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("matplotlibrc")
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    said = "matplotlibrc: cannot be read: expected a regular file, got a pipe"
    with time_limit(60), pytest.raises(RunError, match=said), default_look():
        pass
    Path(".numba_config.yaml").write_text("cache_dir: elsewhere\n")
    monkeypatch.delitem(sys.modules, "twolayer.solver.compiled.jit", raising=False)
    with pytest.raises(TwoLayerError, match=r"\.numba_config\.yaml: Numba would take settings from this file"):
        importlib.import_module("twolayer.solver.compiled.jit")


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"run": "run", "status": ' + b"1" * 5000 + b"}", b"\xff", b"{}"])
def test_a_journal_of_any_content_does_not_stop_the_views(finished, tmp_path, line):
    (tmp_path / "journal.jsonl").write_bytes(line + b"\n" + b'{"run": "run", "status": "pruned"}\n')
    shutil.copytree(finished, tmp_path / "runs" / "run")
    (tmp_path / "runs" / "again").symlink_to(tmp_path)
    loaded = load_runs((tmp_path,), print)
    assert [run.name for run in loaded] == ["run"]


def test_leftovers_of_snapshots_are_removed_on_resume(run):
    for name in (".epoch-00001.npz.0123abcd.tmp", ".mine.0123abcd.tmp"):
        (run / "snapshots" / name).write_bytes(b"")
    RunFolder(run).remove_leftovers()
    hidden = [each.name for each in (run / "snapshots").iterdir() if each.name.startswith(".")]
    assert hidden == [".mine.0123abcd.tmp"]


@pytest.mark.parametrize("edit", [lambda facts: facts.pop("data"), lambda facts: facts.update(data=None)])
def test_an_edited_environment_does_not_switch_the_check_of_the_data_off(tmp_path, edit):
    rows = tmp_path / "rows.csv"
    rows.write_text("a,kind\n" + "".join(f"{k},{'xy'[k % 2]}\n" for k in range(30)))
    config = {**CONFIG, "data": {"train": str(rows), "label": "kind"}}
    run = train(config_from_dict(config), run_dir=tmp_path / "run").run_dir
    facts = json.loads((run / "environment.json").read_text())
    edit(facts)
    (run / "environment.json").write_text(json.dumps(facts))
    resume(run, ["solver.epochs=3"])
    rows.write_text(rows.read_text().replace("7,y", "8,y"))
    for force in (False, True):
        with pytest.raises(RunError, match=r"cannot .*: data: last\.npz was trained on other files"):
            resume(run, ["solver.epochs=4"], force=force)


def test_a_run_of_a_sweep_that_is_a_link_is_not_trained(finished, tmp_path):
    before = content_of_all(finished)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "0000-seed0").symlink_to(finished)
    config = config_from_dict({**CONFIG, "solver": {"epochs": 5}}).model_dump()
    with pytest.raises(Exception, match="0000-seed0: cannot be read: expected a folder, got a symbolic link"):
        run_trial(config, tmp_path / "runs" / "0000-seed0")
    assert content_of_all(finished) == before


def content_of_all(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_parts_swapped_for_a_link_takes_no_answer(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / ".rows.csv.0.parts").symlink_to("outside")
    with pytest.raises(RunError, match="000000.csv: cannot be written: expected a folder, got a symbolic link"):
        _write_part(tmp_path / ".rows.csv.0.parts" / "000000.csv", b"x\n")
    assert not list((tmp_path / "outside").iterdir())
