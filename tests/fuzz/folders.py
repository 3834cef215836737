"""Run folders as a whole: any of their files replaced by any kind of thing, or damaged, and every command run on them.
Each ends in its output or in a message, at once, and nothing outside of the folder is read or written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.fuzz.campaign import Campaign, SurpriseError, Tally, memory_limit
from tests.fuzz.damage import change
from tests.fuzz.mutate import damaged
from twolayer.commands import cli
from twolayer.config import config_from_dict
from twolayer.runs.checkpoint import read_arrays, write_arrays
from twolayer.training.run import train
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.randomness import generator

NAMES = ["config.yaml", "environment.json", "history.csv", "steps.csv", "predictions.npz", "best.npz", "last.npz",
         "loss_curve.png", "summary.json", ".lock", "snapshots", "snapshots/epoch-00001.npz"]  # fmt: skip
SECONDS = 30.0
SECRET = "a file outside of the run folder, not to be shown\n"
# fmt: off
TOKENS = [b"[" * 5000, b"{", b"null", b"NaN", b"1e999", b"9" * 400, b"-1", b'"', b"\n", b"\x00", b"\xff", b",",
          b"PK\x05\x06", b"\x93NUMPY", b"\x1b[2J", "\u202e".encode(), b"'shape': (9999999999,)", b"\\ud800", b"end",
          b"<script>"]
# fmt: on


def fuzz_folders(campaign: Campaign, scratch: Path, count: int, seed: int) -> Tally:
    """Run the campaign: `count` copies of a good run, each with a thing or two in it that no run has."""
    rows = scratch / "rows.csv"
    rows.write_text("a,b,kind\n" + "".join(f"{k % 7},{k % 5}.5,{'xyz'[k % 3]}\n" for k in range(60)))
    data = {"train": str(rows), "label": "kind", "test": 0.2}
    values = {"data": data, "model": {"hidden": 3}, "solver": {"epochs": 3}, "run": {"snapshot_epochs": 1}}
    good = train(config_from_dict(values), run_dir=scratch / "good").run_dir
    shutil.copytree(good, scratch / "copy")
    for command in COMMANDS:  # what the libraries load at their first use is not any input's doing
        _run(command(scratch / "copy", rows, scratch))
    with memory_limit():
        for number in range(count):
            rng = generator(seed, "fuzz", number)
            campaign.case(number, partial(_attacked, campaign.folder, good, rows, number, rng), SECONDS)
    return campaign.tally


COMMANDS: list[Callable[[Path, Path, Path], list[str]]] = [
    lambda run, rows, out: ["evaluate", str(run)],
    lambda run, rows, out: ["predict", str(run), str(rows)],
    lambda run, rows, out: ["curves", str(run), "--text"],
    lambda run, rows, out: ["curves", str(run), "-o", str(out / "curves.png")],
    lambda run, rows, out: ["curves", str(run), "--boundary", "-o", str(out / "boundary.gif")],
    lambda run, rows, out: ["report", str(run), "-o", str(out / "report.html")],
    lambda run, rows, out: ["train", "--resume", str(run), "solver.epochs=4", "--quiet"],
]


def _attacked(folder: Path, good: Path, rows: Path, number: int, rng: np.random.Generator) -> str:
    run, outside = folder / "run", folder / "outside"
    shutil.copytree(good, run)
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    for _ in range(int(rng.choice([1, 1, 2]))):
        _put(run / NAMES[rng.integers(len(NAMES))], run, outside, rng)
    before = [each.read_bytes() for each in outside.iterdir()]
    chosen = {int(each) for each in rng.choice(len(COMMANDS) - 1, 2, replace=False)}
    words = [_run(COMMANDS[each](run, rows, folder)) for each in (*sorted(chosen), len(COMMANDS) - 1)]
    if [each.read_bytes() for each in outside.iterdir()] != before:
        raise SurpriseError("a file outside of the run folder was written")
    return f"{words.count('refused')} of {len(words)} commands refused"


def _put(path: Path, run: Path, outside: Path, rng: np.random.Generator) -> None:
    """Put a thing in the place of one of the run's files."""
    small = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20  # not the sparse file of before
    content = path.read_bytes() if small else b""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    if not path.parent.is_dir():
        return
    match int(rng.integers(18)):
        case 0:
            os.mkfifo(path)
        case 1:
            os.mknod(path, stat.S_IFSOCK | 0o666)
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.symlink_to(path.name)
        case 4:
            path.symlink_to(outside / "secret")
        case 5:  # what it was, elsewhere
            (outside / path.name).write_bytes(content)
            path.symlink_to(outside / path.name)
        case 6:
            path.mkdir()
        case 7:
            path.write_bytes(rng.bytes(int(rng.integers(3000))))
        case 8:
            path.write_bytes(b"")
            os.truncate(path, 1 << 40)
        case 9:
            files = sorted(each for each in run.iterdir() if each.is_file() and not each.is_symlink())
            path.write_bytes(files[rng.integers(len(files))].read_bytes()[: 1 << 20])
        case 10:
            pass  # it is gone
        case 11 | 12 | 13 if content and path.suffix in (".json", ".npz"):
            _forge(path, content, rng)
        case _:
            path.write_bytes(damaged(content, rng, TOKENS))


def _forge(path: Path, content: bytes, rng: np.random.Generator) -> None:
    """Write a file with right checksums that says what no run would say."""
    path.write_bytes(content)
    with contextlib.suppress(TwoLayerError, ValueError):  # it was damaged before
        if path.suffix == ".json":
            facts = json.loads(content)
            change(facts, rng)
            path.write_text(json.dumps(facts))
        else:
            arrays, header = read_arrays(path)
            header.pop("format")
            change(header, rng)
            write_arrays(path, arrays, header)


def _run(arguments: list[str]) -> str:
    """Run a command; what it prints and what it refuses must be text."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            cli.main(args=arguments, prog_name="twolayer", standalone_mode=False)
        word = "done"
    except TwoLayerError as error:
        shown.write(str(error))
        word = "refused"
    text = shown.getvalue()
    if SECRET.strip() in text:
        raise SurpriseError(f"{arguments[0]} showed a file outside of the run folder: {text[:300]!r}")
    if not all(letter.isprintable() or letter in "\n\t" for letter in text):
        raise SurpriseError(f"{arguments[0]} showed control characters: {text[:300]!r}")
    return word
