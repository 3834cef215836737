"""The command line as a person meets it: messages, exit codes, signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import BashComplete
from conftest import ROOT
from fault_injection import start_python

import twolayer
from twolayer import train
from twolayer.commands import COMMANDS, GROUPS, cli
from twolayer.commands.verify_resume import differences, verify_resume
from twolayer.runs.folder import RunFolder


def test_help_lists_every_command_and_each_has_its_own(run_twolayer):
    shown = run_twolayer("--help")
    assert shown.returncode == 0
    assert all(re.search(rf"^  {name} ", shown.stdout, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    from click.testing import CliRunner

    from twolayer.commands import cli

    shown = CliRunner().invoke(cli, [name, "--help"], prog_name="twolayer")
    assert shown.exit_code == 0
    assert f"twolayer {name}" in shown.output
    assert "--quiet" in shown.output
    assert "--version" in shown.output


def test_version(run_twolayer):
    assert run_twolayer("--version").stdout == f"twolayer, version {twolayer.__version__}\n"


def test_a_mistyped_command_is_answered_with_the_nearest(run_twolayer):
    answer = run_twolayer("trian", "x.yaml")
    assert answer.returncode == 2
    assert "Did you mean 'train'?" in answer.stderr


def test_six_planted_errors_are_all_reported_at_once_with_their_places(run_twolayer, tmp_path):
    config = tmp_path / "six.yaml"
    config.write_text(
        "data:\n"
        "  train: missing.csv\n"
        "  label: digit\n"
        "solver:\n"
        "  learning_rte: 0.1\n"
        "  batch_size: many\n"
        "  reg: -1e-4\n"
        "  optimizer: sgdd\n"
        "  epochs: 3\n"
        "  epochs: 4\n"
    )
    answer = run_twolayer("train", config, cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stdout == ""
    for place, words in {
        "2:3": "no such file",
        "5:3": "unknown key; did you mean 'learning_rate'?",
        "6:3": "many",
        "7:3": "-0.0001",
        "8:3": "did you mean 'sgd'",
        "10:3": "duplicate",
    }.items():
        line = next((line for line in answer.stderr.splitlines() if f"six.yaml:{place}: " in line), None)
        assert line is not None, (place, answer.stderr)
        assert words in line
    assert len(answer.stderr.splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "expected one CONFIG (a YAML file), got none"),
        (["train", "a.yaml", "b.yaml"], "got a.yaml, b.yaml"),
        (["train", "nowhere.yaml"], "nowhere.yaml"),
        (["sweep", "a.yaml", "b.yaml", "workers=4"], "got 2: a.yaml, b.yaml"),
        (["train", "configs/toy.yaml", "--resume", "runs/x"], "--resume RUN uses the config of that run"),
        (["train", "configs/toy.yaml", "--force"], "--force is an option of --resume"),
        (["train", "configs/toy.yaml", "solver.epocs=3"], "did you mean 'epochs'?"),
        (["train", "--resume", "nowhere"], "nowhere: no such run folder"),
        (["train", "--nonsense"], "No such option"),
        (["train", "data/letter-train.csv.gz"], "twolayer init data/letter-train.csv.gz"),
        (["train", "nowhere.csv"], "nowhere.csv: no such file"),
        (["evaluate", "nowhere"], "nowhere: expected a run folder, got nothing"),
        (["evaluate", "configs/toy.yaml"], "configs/toy.yaml: expected a run folder, got a file"),
        (["predict", "nowhere", "rows.csv"], "nowhere"),
    ],
)
def test_wrong_arguments_end_with_a_message_and_exit_code_2(run_twolayer, arguments, words):
    answer = run_twolayer(*arguments)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_divergence_ends_with_exit_code_3(run_twolayer, tmp_path):
    answer = run_twolayer("train", "configs/spiral.yaml", "solver.learning_rate=1e30", "--run-dir", tmp_path / "r")
    assert answer.returncode == 3
    assert "diverged at step" in answer.stderr
    assert "Traceback" not in answer.stderr


def start(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "twolayer", *map(str, arguments)],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(cwd)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_and_prints_the_command_to_resume(run_twolayer, root, tmp_path, number, code):
    run_dir = tmp_path / "run"
    process = start("train", "configs/spiral.yaml", "solver.epochs=100000", "solver.schedule=constant",
                    "--run-dir", run_dir, cwd=root)  # fmt: skip
    deadline = time.monotonic() + 60
    while not (run_dir / "history.csv").exists() or (run_dir / "history.csv").stat().st_size < 1000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"to resume: twolayer train --resume {run_dir}" in output
    assert "Traceback" not in errors
    epochs = len((run_dir / "history.csv").read_text().splitlines()) - 1
    resumed = run_twolayer("train", "--resume", run_dir, f"solver.epochs={epochs + 2}")
    assert resumed.returncode == 0
    assert len((run_dir / "history.csv").read_text().splitlines()) - 1 == epochs + 2


def test_a_finished_run_is_not_trained_again(run_twolayer, tmp_path):
    run_twolayer("train", "configs/toy.yaml", "solver.epochs=2", "--run-dir", tmp_path / "r")
    answer = run_twolayer("train", "--resume", tmp_path / "r")
    assert answer.returncode == 0
    assert "nothing to resume" in answer.stdout


def test_train_evaluate_and_predict_on_real_rows(run_twolayer, root, tmp_path):
    run = tmp_path / "run"
    trained = run_twolayer("train", "configs/letter.yaml", "solver.epochs=1", "--run-dir", run)
    assert "16-128-26 network" in trained.stdout
    (run / "last.npz").unlink()  # of use for resuming alone
    evaluated = run_twolayer("evaluate", run)
    accuracy = re.search(r"test accuracy (0\.\d+)", trained.stdout)[1]
    assert f"accuracy {accuracy}" in evaluated.stdout
    rows = tmp_path / "rows.csv"
    rows.write_text("note,y-ege,x-box,y-box,width,high,onpix,x-bar,y-bar,x2bar,y2bar,xybar,x2ybr,xy2br,x-ege,xegvy,yegvx\n"
                    "columns may be in any order,8,2,8,3,5,1,8,13,0,6,6,10,8,0,8,8\n")  # fmt: skip
    predicted = run_twolayer("predict", run, rows, "--proba")
    header, row = predicted.stdout.splitlines()
    assert header.split(",") == ["label", *(f"p({letter})" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]
    assert sum(map(float, row.split(",")[1:])) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("command", "encoding", "shown"), [("predict", "utf-8", "日本"), ("evaluate", "cp1252", r"\u65e5\u672c")]
)
def test_labels_that_the_streams_encoding_lacks(run_twolayer, tmp_path, monkeypatch, command, encoding, shown):
    rows = "".join(f"{i},{('日本', 'né')[i % 2]}\n" for i in range(20))
    (tmp_path / "rows.csv").write_text(f"a,kind\n{rows}", encoding="utf-8")
    (tmp_path / "c.yaml").write_text("data: {train: rows.csv, label: kind, validation: 0}\nmodel: {hidden: 0}\n")
    train(tmp_path / "c.yaml", ["solver.epochs=1"], run_dir=tmp_path / "run")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    option = "--proba" if command == "predict" else "--data"
    answer = run_twolayer(command, tmp_path / "run", option, tmp_path / "rows.csv", encoding=encoding)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert shown in answer.stdout
    assert "né" in answer.stdout


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_does_not_fail_a_training(root, tmp_path, name):
    arguments = ["train", str(root / "configs/toy.yaml"), "solver.epochs=2", "--run-dir", str(tmp_path / "run")]
    program = f"import sys\nsys.{name} = None\nfrom twolayer.__main__ import main\nmain({arguments!r})"
    process = start_python(program)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert (output, errors)[name == "stderr"] == ""
    assert RunFolder(tmp_path / "run").summary.exists()


def test_verify_resume_finds_a_killed_run_equal(run_twolayer, tmp_path):
    answer = run_twolayer("verify-resume", "configs/spiral.yaml", "solver.epochs=200", "--kills", "2")
    assert answer.returncode == 0, answer.stderr
    assert "equal to the run never stopped, bit for bit: 2 kills" in answer.stdout


def test_verify_resume_kills_where_there_is_no_sigkill(root, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: os.kill(process.pid, 9))  # its own needs the name
    monkeypatch.delattr(signal, "SIGKILL")
    rng = np.random.default_rng(0)
    _, different = verify_resume(root / "configs/spiral.yaml", ["solver.epochs=200"], tmp_path, kills=1, rng=rng)
    assert different == []


def test_verify_resume_would_see_a_difference(root, tmp_path):
    short = ["solver.epochs=3"]
    for name, changes in {"a": [], "b": [], "c": ["solver.reg=2e-5"]}.items():
        train(root / "configs/spiral.yaml", [*short, *changes], run_dir=tmp_path / name)
    a, b, c = (RunFolder(tmp_path / name) for name in "abc")
    assert list(differences(a, b)) == []
    found = " ".join(differences(a, c))
    assert all(each in found for each in ("best.npz", "steps.csv", "array W1", "column train_loss"))


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "curves", "sweep"])
def test_a_script_is_its_command(root, tmp_path, name):
    shown = subprocess.run(
        [sys.executable, root / "scripts" / f"{name}.py", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"twolayer {name}" in shown.stdout


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("solver.optimizer", ["plain,solver.optimizer="]),
        ("solver.optimizer=ada", ["plain,solver.optimizer=adam", "plain,solver.optimizer=adamw"]),
        ("data.categ", ["plain,data.categorical="]),
        ("configs/opt", ["file,configs/opt"]),
    ],
)
@pytest.mark.parametrize("command", ["train", "check", "explain", "verify-resume"])
def test_the_shell_completes_config_keys_their_choices_and_files(word, expected, command):
    complete = BashComplete(cli, {}, "twolayer", "_TWOLAYER_COMPLETE")
    found = complete.get_completions([command] if command == "train" else [command, "configs/toy.yaml"], word)
    assert [complete.format_completion(item) for item in found] == expected


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_a_key_and_writes_no_space_after_its_equals_sign(tmp_path):
    command = tmp_path / "twolayer"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m twolayer "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    script = """
        eval "$(_TWOLAYER_COMPLETE=bash_source twolayer)"
        compopt() { echo "$*"; }
        COMP_WORDS=(twolayer train configs/toy.yaml solver.opt); COMP_CWORD=3
        _twolayer_completion twolayer; echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "-o\nnospace\nsolver.optimizer=\n", done.stderr


def test_help_lists_the_commands_by_purpose_the_shortest_path_first(run_twolayer):
    assert list(GROUPS) == ["Train", "Look", "Understand", "Use", "Search"]
    assert list(GROUPS["Train"])[:2] == ["init", "train"]
    text = run_twolayer("--help").stdout
    assert [text.index(f"\n{title}:\n") for title in GROUPS] == sorted(text.index(f"\n{title}:\n") for title in GROUPS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hidden", "32"], "No such option '--hidden'. To set the key, write model.hidden=32."),
        (["--lr=0.1"], "write solver.learning_rate=0.1"),
        (["--l2"], "write solver.reg=VALUE"),
        (["model.hidden", "=", "32"], "expected KEY=VALUE without spaces: write model.hidden=32"),
        (["model.hidden", "=32", "seed=1"], "write model.hidden=32"),
        (["model.hidden=", "32"], "write model.hidden=32"),
        (["seed=1", "model.hidden", "32"], "write model.hidden=32"),
    ],
)
def test_a_key_given_as_an_option_or_with_spaces_is_answered_with_the_way_to_write_it(run_twolayer, arguments, said):
    done = run_twolayer("train", "configs/toy.yaml", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_option_of_a_sweep_means_a_key_of_the_sweep_file_first(run_twolayer):
    for option, way in (("--dir", "dir=X"), ("--workers", "workers=X"), ("--epochs", "solver.epochs=X")):
        done = run_twolayer("sweep", "configs/sweeps/optdigits.yaml", option, "X")
        assert done.returncode == 2
        assert f"write {way}." in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_unwritable_standard_error_ends_no_training(root, tmp_path):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "twolayer", "train", "configs/toy.yaml", "--run-dir", str(tmp_path / "run")]
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.returncode == 0
    assert "200 epochs" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the current folder cannot be deleted")
def test_a_deleted_current_folder_is_a_message_and_with_absolute_paths_no_obstacle(root, tmp_path):
    (tmp_path / "gone").mkdir()
    program = (
        "import os, sys; from twolayer.__main__ import run; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); "
        "sys.exit(run(sys.argv[2:]))"
    )

    def run_in_deleted_folder(*arguments):
        command = [sys.executable, "-c", program, str(tmp_path / "gone"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run_in_deleted_folder("train", "toy.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_without_asserts_the_results_are_the_same(root, tmp_path, flag):
    for name, flags in (("plain", []), ("optimised", [flag])):
        command = [sys.executable, *flags, "-m", "twolayer", "train", "configs/toy.yaml", "--quiet"]
        subprocess.run([*command, "--run-dir", str(tmp_path / name)], cwd=root, check=True, capture_output=True)
    assert (tmp_path / "plain/best.npz").read_bytes() == (tmp_path / "optimised/best.npz").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_closes_the_output_of_predict_ends_it_with_141(root, tmp_path):
    train(root / "configs/optdigits.yaml", ["solver.epochs=1"], run_dir=tmp_path / "run")
    rows = str(root / "data/optdigits-train.csv.gz")
    command = [sys.executable, "-m", "twolayer", "predict", "--proba", str(tmp_path / "run"), rows]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""
