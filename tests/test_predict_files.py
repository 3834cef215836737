"""Predictions for many files and in pieces: whole or not at all, resumable, the same answers however it is done."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from twolayer.__main__ import run as run_command
from twolayer.commands import same_again
from twolayer.data import files as pieces
from twolayer.runs import predict_files as module
from twolayer.runs.predict_files import predict_files
from twolayer.training.run import train
from twolayer.utils.errors import RunError, TwoLayerError
from twolayer.utils.workers.pool import Job, JobResult, call


def rows_csv(n_rows: int, seed: int, label: bool = False) -> str:
    X = np.random.default_rng(seed).normal(size=(n_rows, 2)).round(3)
    lines = (f"{a},{b}" + (f",{'yes' if a > b else 'no'}" if label else "") for a, b in X.tolist())
    return "\n".join(["a,b" + (",y" if label else ""), *lines]) + "\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "rows.csv").write_text(rows_csv(200, 0, label=True))
    config = "data: {train: rows.csv, label: y}\nmodel: {hidden: 4}\nsolver: {epochs: 3}\n"
    (folder / "c.yaml").write_text(config)
    return train(folder / "c.yaml", run_dir=folder / "run").run_dir


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(5):
        (folder / f"day{i}.csv").write_text(rows_csv(50 * (i + 1), i))
    return sorted(folder.iterdir())


class HerePool:
    """Runs a job when it is waited for; the last one submitted first."""

    jobs_done: list[str]

    def __init__(self, count, threads, folder):
        self._jobs: list[Job] = []

    def free(self):
        return 3 - len(self._jobs)

    def submit(self, job):
        self._jobs.append(job)

    def wait(self, seconds):
        job = self._jobs.pop()
        HerePool.jobs_done.append(job.name)
        kind, value = call(job.function, job.arguments, lambda message: "go")
        return [JobResult(job, **{kind: value})]

    def stop(self):
        self._jobs.clear()

    def close(self):
        pass


@pytest.fixture
def here(monkeypatch):
    HerePool.jobs_done = []
    monkeypatch.setattr(module, "LocalPool", HerePool)
    return HerePool


def small_pieces(monkeypatch, size):
    cut = pieces.cut
    monkeypatch.setattr(module, "cut", lambda path, **options: cut(path, piece_bytes=size, **options))


def alone(model, path, capsys) -> str:
    assert run_command(["predict", str(model), str(path), "--proba"]) == 0
    return capsys.readouterr().out


def assert_same(first: str, second: str) -> None:
    """The labels to the letter; the probabilities up to the last bits, which depend on the number of rows at a time."""
    one, two = (list(csv.reader(text.splitlines())) for text in (first, second))
    assert [row[0] for row in one] == [row[0] for row in two]
    np.testing.assert_allclose(*(np.array([row[1:] for row in each[1:]], float) for each in (one, two)), rtol=1e-5)


def test_answers_in_pieces_in_any_order_are_those_of_whole_files(model, inputs, tmp_path, here, monkeypatch, capsys):
    small_pieces(monkeypatch, 400)
    result = predict_files(model, inputs, tmp_path / "out", options={"proba": True})
    assert [answer.name for answer in result.answers] == [path.name for path in inputs]
    assert len(here.jobs_done) > 15
    for path in inputs:
        assert_same((tmp_path / "out" / path.name).read_text(), alone(model, path, capsys))
    left = {each.name for each in (tmp_path / "out").iterdir()}
    assert left == {".lock"} | {path.name for path in inputs} | {f".{path.name}.json" for path in inputs}


def test_what_is_done_is_skipped_until_input_model_or_options_change(model, inputs, tmp_path, here):
    out = tmp_path / "out"
    predict_files(model, inputs, out, options={"proba": False})
    here.jobs_done.clear()
    again = predict_files(model, inputs, out, options={"proba": False})
    assert (again.skipped, len(again.answers), here.jobs_done) == (5, 5, [])
    inputs[1].write_text(rows_csv(60, 9))
    (out / inputs[2].name).write_text("label\nforged\n")
    predict_files(model, inputs, out, options={"proba": False})
    assert sorted(here.jobs_done) == [str(inputs[1]), str(inputs[2])]
    predict_files(model, inputs, out, options={"proba": True})
    assert len(here.jobs_done) == 7


def test_pieces_that_were_done_before_an_interruption_are_not_done_again(
    model, inputs, tmp_path, here, monkeypatch, capsys
):
    small_pieces(monkeypatch, 400)
    out, wait = tmp_path / "out", HerePool.wait

    def dying(self, seconds):
        if len(here.jobs_done) == 7:
            raise KeyboardInterrupt
        return wait(self, seconds)

    monkeypatch.setattr(HerePool, "wait", dying)
    with pytest.raises(KeyboardInterrupt):
        predict_files(model, inputs, out, options={"proba": True})
    first = set(here.jobs_done)
    monkeypatch.setattr(HerePool, "wait", wait)
    result = predict_files(model, inputs, out, options={"proba": True})
    assert not first & set(here.jobs_done[7:])
    assert len(result.answers) == 5
    for path in inputs:
        assert_same((out / path.name).read_text(), alone(model, path, capsys))


def test_an_error_is_placed_in_its_file_and_costs_its_answer_alone(model, inputs, tmp_path, here, monkeypatch):
    small_pieces(monkeypatch, 400)
    lines = inputs[3].read_text().splitlines()
    lines[149] = "1.5,many"
    inputs[3].write_text("\n".join(lines) + "\n")
    result = predict_files(model, [*inputs, tmp_path / "nowhere.csv"], tmp_path / "out", options={})
    assert [answer.name for answer in result.answers] == ["day0.csv", "day1.csv", "day2.csv", "day4.csv"]
    assert not (tmp_path / "out" / "day3.csv").exists()
    wrong, missing = sorted(result.errors, key=lambda error: "nowhere" in error)
    assert f"{inputs[3]}:150: column 'b'" in wrong
    assert "nowhere.csv: cannot be read" in missing


@pytest.mark.parametrize("cluster", [None, ("tcp://nowhere:1",)], ids=["processes", "cluster"])
def test_an_input_that_vanishes_in_the_middle_costs_its_answer_alone(
    model, inputs, tmp_path, here, monkeypatch, cluster
):
    """It is gone after its first piece was answered, before the next one is read."""
    small_pieces(monkeypatch, 400)

    class Pool(HerePool):
        def free(self):
            return 1 - len(self._jobs)

        def wait(self, seconds):
            ended = super().wait(seconds)
            if str(inputs[3]) in ended[0].job.name:
                inputs[3].unlink(missing_ok=True)
            return ended

    monkeypatch.setattr(module, "LocalPool", Pool)
    monkeypatch.setattr(module, "ClusterPool", lambda *arguments: Pool(1, 1, tmp_path))
    result = predict_files(model, inputs, tmp_path / "out", options={}, cluster=cluster)
    assert [answer.name for answer in result.answers] == ["day0.csv", "day1.csv", "day2.csv", "day4.csv"]
    (error,) = result.errors
    assert error.startswith(f"{inputs[3]}: cannot be read: No such file")
    assert not (tmp_path / "out" / "day3.csv").exists()


def test_answer_files_that_clash_or_would_replace_an_input_are_refused(model, inputs, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "day0.csv"
    twin.write_text("a,b\n1,2\n")
    with pytest.raises(TwoLayerError, match="is also that of"):
        predict_files(model, [*inputs, twin], tmp_path / "out", options={})
    with pytest.raises(TwoLayerError, match="is an input"):
        predict_files(model, inputs, inputs[0].parent, options={})


def test_a_folder_in_use_is_refused(model, inputs, tmp_path):
    from twolayer.runs.folder import folder_lock

    (tmp_path / "out").mkdir()
    with folder_lock(tmp_path / "out"), pytest.raises(RunError, match="in use"):
        predict_files(model, inputs, tmp_path / "out", options={})


def test_what_travels_to_a_cluster_gives_the_same_answers(model, inputs, tmp_path, here, monkeypatch, capsys):
    small_pieces(monkeypatch, 400)
    monkeypatch.setattr(module, "ClusterPool", lambda *arguments: HerePool(1, 1, tmp_path))
    out = tmp_path / "out"
    predict_files(model, inputs, out, options={"proba": True}, cluster=("tcp://nowhere:1",))
    for path in inputs:
        assert_same((out / path.name).read_text(), alone(model, path, capsys))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_command_with_processes_killed_and_started_again_ends_with_all_answers(model, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for i in range(50):
        (tmp_path / "in" / f"{i:02d}.csv").write_text(rows_csv(30, i))
    files, out = sorted((tmp_path / "in").iterdir()), tmp_path / "out"
    command = [sys.executable, "-m", "twolayer", "predict", str(model), *map(str, files), "-o", str(out), "--proba"]
    process = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.csv"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, timeout=60, check=True)
    assert "predicted 50 of 50 files" in done.stdout
    assert "of them from before" in done.stdout
    assert_same((out / "07.csv").read_text(), alone(model, files[7], capsys))
    assert len(list(out.glob("*.csv"))) == 50


@pytest.mark.skipif(os.name == "nt", reason="the module resource is of POSIX")
def test_the_memory_of_a_prediction_does_not_depend_on_the_size_of_the_file():
    """A file of 5 MiB and one of 20 MiB in pieces of 1/4 MiB, by the benchmark's code (whole: 68 apart)."""
    options = ["200_000", "800_000", "--piece-mib", "0.25", "--workers", "1"]
    command = [sys.executable, "-m", "benchmarks.predict_rows", *options]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=root)
    small, large = map(json.loads, done.stdout.splitlines())
    assert (small["answer_lines"], large["answer_lines"]) == (200_001, 800_001)
    assert large["peak_mib"] - small["peak_mib"] < 12


def test_several_files_need_a_folder_and_one_file_may_name_its_answer(model, inputs, tmp_path, capsys):
    assert run_command(["predict", str(model), str(inputs[0]), str(inputs[1])]) == 2
    assert "need -o FOLDER" in capsys.readouterr().err
    assert run_command(["predict", str(model), str(inputs[0]), "--proba", "-o", str(tmp_path / "one.csv")]) == 0
    assert (tmp_path / "one.csv").read_text() == alone(model, inputs[0], capsys)


@pytest.mark.parametrize("argv", [["twolayer", "predict", "a b", "-o", "c"], ["scripts/predict.py", "a b", "-o", "c"]])
def test_the_command_to_resume_is_that_of_the_call_from_a_script_as_well(monkeypatch, argv):
    monkeypatch.setattr(sys, "argv", argv)
    assert same_again("predict") == "twolayer predict 'a b' -o c"


def test_nothing_is_left_in_the_temporary_folder(model, inputs, tmp_path, here, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    predict_files(model, inputs, tmp_path / "out", options={})
    assert not list(Path(tmp_path / "tmp").iterdir())


def answer_of(run_twolayer, *arguments, cwd):
    done = run_twolayer("predict", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def test_kept_columns_are_in_front_and_ids_are_kept_in_files(tmp_path, run_twolayer):
    rows = "".join(f"{i + 1},{i / 7:.3f},{'=1+1' if i % 2 else '-2'},{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "t.csv").write_text("row_id,x,note,y\n" + rows)
    (tmp_path / "c.yaml").write_text("data: {train: t.csv, label: y, ignore: [row_id, note]}\nsolver: {epochs: 20}\n")
    assert run_twolayer("train", "c.yaml", "--run-dir", "run", "--quiet", cwd=tmp_path).returncode == 0
    (tmp_path / "new.csv").write_text("x,note,row_id\n0.1,=1+1,007\n9,-2,008\n")
    assert answer_of(run_twolayer, "run", "new.csv", cwd=tmp_path).stdout.splitlines()[0] == "label"
    answer_of(run_twolayer, "run", "new.csv", "-o", "a.csv", cwd=tmp_path)
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "row_id,label"
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("007,")
    done = answer_of(run_twolayer, "run", "new.csv", "--keep", "note,x", "--safe-csv", "--proba", cwd=tmp_path)
    head, first, second = done.stdout.splitlines()
    assert head == "note,x,label,p(a),p(b)"
    assert first.startswith("'=1+1,0.1,")
    assert second.startswith("-2,9,"), "a number is no formula"
    answer_of(run_twolayer, "run", "new.csv", "--keep", "all", "--proba", "-o", "a.parquet", cwd=tmp_path)
    frame = pytest.importorskip("pandas").read_parquet(tmp_path / "a.parquet")
    assert list(frame) == ["x", "note", "row_id", "label", "p(a)", "p(b)"]
    assert (frame["p(a)"] + frame["p(b)"]).round(5).eq(1).all()
    done = run_twolayer("predict", "run", "new.csv", "--keep", "nothing", cwd=tmp_path)
    assert "expected one of 'x', 'note', 'row_id', got --keep 'nothing'" in done.stderr


def test_kept_columns_called_like_ours_keep_their_names_and_an_answer_never_replaces_its_input(tmp_path, run_twolayer):
    rows = "".join(f"n{i},L{i},p{i},{i / 7:.3f},{'uv'[i % 2]}\n" for i in range(40))
    (tmp_path / "t.csv").write_text("p(u),label,predicted label,a,y\n" + rows)
    (tmp_path / "c.yaml").write_text(
        "data: {train: t.csv, label: y, ignore: [p(u), label, predicted label]}\nsolver: {epochs: 2}\n"
    )
    assert run_twolayer("train", "c.yaml", "--run-dir", "run", "--quiet", cwd=tmp_path).returncode == 0
    names = ["p(u)", "label", "predicted label", "a", "y", "predicted predicted label", "predicted p(u)", "p(v)"]
    answer_of(run_twolayer, "run", "t.csv", "--keep", "all", "--proba", "-o", "a.parquet", cwd=tmp_path)
    frame = pytest.importorskip("pandas").read_parquet(tmp_path / "a.parquet")
    assert list(frame) == names
    assert frame.iloc[3, :3].tolist() == ["n3", "L3", "p3"]
    done = run_twolayer("predict", "run", "t.csv", "-o", "./t.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "would replace it; choose another file with -o" in done.stderr
    assert (tmp_path / "t.csv").read_text().endswith(rows)
    done = answer_of(run_twolayer, "run", "t.csv", "./t.csv", "-o", "out", cwd=tmp_path)
    assert done.stdout.startswith("predicted 1 of 1 file ")
