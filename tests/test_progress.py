"""The bar at the widths of real terminals, in a notebook, and the lines of a log."""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from contextlib import suppress
from types import SimpleNamespace

import pytest

from twolayer.utils.process import ProgressBar, Tally

RECORD = {
    "epoch": 40,
    "train_loss": 0.05234,
    "val_loss": 0.13166,
    "train_accuracy": 0.9991,
    "val_accuracy": 0.9581,
    "learning_rate": 0.0125,
}
BARE = RECORD | {"val_loss": None, "val_accuracy": None}


def shown_on_a_terminal(columns, record, epochs=100):
    """The last state of the bar on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stream, ProgressBar(1000, 0, epochs, stream=stream) as bar:
        bar.show(400, record)
        bar._bar.refresh()
    data = b""
    with suppress(OSError):  # the end of a terminal is an error on Linux
        while part := os.read(ours, 4096):
            data += part
    os.close(ours)
    text = data.decode()
    return re.split(r"[\r\n]+", text.strip("\r\n"))[-1].rstrip()


@pytest.mark.parametrize("record", [RECORD, BARE])
@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_the_bar_fits_its_terminal_and_shows_epoch_and_accuracy_first(monkeypatch, columns, record):
    monkeypatch.delenv("COLUMNS", raising=False)
    line = shown_on_a_terminal(columns, record)
    assert len(line) <= columns
    accuracy = "val acc 0.9581" if record is RECORD else "train acc 0.9991"
    assert line.startswith(f"epoch 40/100, {accuracy}")
    assert "40%" in line
    assert len(re.search(r"\|(.*)\|", line)[1]) >= (2 if columns == 40 else 3)
    if columns >= 80:
        assert "loss 0.0523" in line
    if columns >= 80 and record is RECORD:
        assert "val loss 0.132" in line


def test_a_log_gets_plain_lines():
    stream = io.StringIO()
    with ProgressBar(1000, 0, 40, stream=stream) as bar:
        bar.show(1000, RECORD)
    line = stream.getvalue()
    pattern = r"epoch 40/40: val acc 0.9581, loss 0.0523, val loss 0.132, rate 0.0125, [\d,]+ rows/s\n"
    assert re.fullmatch(pattern, line)


def test_a_notebook_gets_a_bar_on_standard_output(monkeypatch, capsys):
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    with ProgressBar(1000, 0, 100) as bar:
        bar.show(400, RECORD)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "epoch 40/100, val acc 0.9581" in shown.out
    assert max(map(len, re.split(r"[\r\n]", shown.out))) <= 100


def test_a_quiet_bar_shows_nothing_and_a_tally_counts_in_lines(capsys):
    with ProgressBar(10, 0, 1, quiet=True) as bar:
        bar.show(10, RECORD | {"epoch": 1})
    stream = io.StringIO()
    with Tally(3, 1, "run", stream=stream) as tally:
        tally.done("finished", "best 0.9")
    assert stream.getvalue() == "run 2/3: finished; best 0.9\n"
    assert capsys.readouterr() == ("", "")
