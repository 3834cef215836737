"""What is shown is text: nothing in a label, a name or a note steers the terminal, and no matplotlibrc the pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from twolayer.commands.explain import Explanation
from twolayer.commands.init import propose
from twolayer.config import config_from_dict
from twolayer.network.model import init_params
from twolayer.training.build import Start
from twolayer.training.run import train
from twolayer.utils.errors import DataError
from twolayer.utils.process import TerminalStream, module_command, module_environment
from twolayer.utils.text import plain
from twolayer.views.curves import draw_loss_curve
from twolayer.views.evaluation import Figures, evaluate_run

HOSTILE = ["\x1b[2Jgone", "\u202eevil", "two\nlines\r\x9b1A", "\u2066x", "\x07" * 500]


@pytest.mark.parametrize("label", HOSTILE)
def test_labels_are_shown_as_text_on_one_line(label):
    classes = [label, "b"]
    figures = Figures.of(f"rows of {label}", classes, np.array([0, 1]), np.array([[0.9, 0.1], [0.4, 0.6]]))
    for text in (figures.table(), plain(label)):
        assert all(line.isprintable() and len(line) < 300 for line in text.split("\n"))
    harmless = Figures.of("rows", ["a", "b"], np.array([0, 1]), np.eye(2))
    assert figures.table().count("\n") == harmless.table().count("\n")


@pytest.mark.parametrize("label", HOSTILE)
def test_an_explanation_shows_labels_as_text(label):
    params = init_params(2, 3, 2, rng=np.random.default_rng(0))
    start = Start(params, np.ones((2, 2)), np.array([0, 1]), np.arange(2), (label, "b"))
    shown = Explanation(start, 0.1, 0.1, (0, 1), "two rows").text()
    assert all(line.isprintable() for line in shown.split("\n"))


def test_a_terminal_gets_no_control_characters_but_line_ends_tabs_and_carriage_returns():
    written = io.BytesIO()
    stream = TerminalStream(written, "utf-8", newline="")
    assert stream.write("a\tb\rc\nü" + "".join(HOSTILE)) == 7 + sum(map(len, HOSTILE))
    stream.flush()
    text = written.getvalue().decode()
    assert text.startswith("a\tb\rc\nü\\x1b[2Jgone\\u202eevil")
    assert text.replace("\t", "").replace("\r", "").replace("\n", "").isprintable()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_on_a_terminal_the_commands_escape_and_in_a_pipe_they_do_not(tmp_path):
    rows = "a,kind\n" + "".join(f"{k},y\n{k + 0.5},\x1b[2Jx\n" for k in range(20))
    (tmp_path / "rows.csv").write_text(rows)
    config = {
        "data": {"train": str(tmp_path / "rows.csv"), "label": "kind", "validation": 0.2},
        "model": {"hidden": 0},
        "solver": {"epochs": 40},
    }
    run = train(config_from_dict(config), run_dir=tmp_path / "run").run_dir
    command = module_command("twolayer", "predict", str(run), str(tmp_path / "rows.csv"))
    piped = subprocess.run(command, env=module_environment(), capture_output=True, check=True).stdout
    assert b"\x1b[2Jx\n" in piped
    ours, theirs = os.openpty()
    subprocess.run(command, env=module_environment(), stdout=theirs, check=True)
    os.close(theirs)
    seen = os.read(ours, 100_000)
    os.close(ours)
    assert b"\x1b" not in seen
    assert b"\\x1b[2Jx" in seen
    assert "\x1b" not in evaluate_run(run).table()


def test_a_matplotlibrc_does_not_act_on_the_pictures(tmp_path):
    columns = {name: np.array([3.0, 2.0, 1.0]) for name in ("epoch", "step", "train_loss", "train_accuracy")}
    columns |= {name: np.array([np.nan] * 3) for name in ("val_loss", "val_accuracy")}
    draw_loss_curve(columns, tmp_path / "a.png", 2, title="a $title$")
    hostile = {"text.usetex": True, "lines.linewidth": 9, "savefig.facecolor": "red", "font.size": 30, "savefig.dpi": 7}
    with matplotlib.rc_context(hostile):
        draw_loss_curve(columns, tmp_path / "b.png", 2, title="a $title$")
        assert all(matplotlib.rcParams[name] == value for name, value in hostile.items())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_init_refuses_a_file_whose_name_is_not_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text("a,kind\n1,x\n2,y\n")
    with pytest.raises(DataError, match=r"caf\\udce9\.csv: expected a name in UTF-8, .*; rename the file"):
        propose(path, None)
