"""The documentation is true: its commands and its Python run, the outputs it shows are what comes out, its links lead
somewhere, and its generated pages are those of the code.

Each page is one session: its blocks run in order, in a folder with `configs/` and `data/`, and share their Python
names. A `text` block right after a block is that block's output; a line `...` in it matches any lines. A comment
before a block directs the test: `<!-- test: skip REASON -->`, `<!-- test: add KEY=VALUE ... -->` (appended to each
command, so that a long training is short here; its output is not compared), `<!-- test: exit N -->` (the expected
exit code), and `<!-- test: interrupt when FILE exists -->` or `... when served -->` (the command, without a `timeout`
before it, is started in a process and gets a Ctrl-C when the file exists, or its page has answered)."""

from __future__ import annotations

import importlib
import io
import json
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
import tracker_stubs
from nbclient import NotebookClient

import twolayer
from twolayer.__main__ import run
from twolayer.commands import COMMANDS
from twolayer.config.models import KEYS
from twolayer.views.diagnosis import RULES

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted(path for path in (ROOT / "docs").rglob("*") if "_build" not in path.parts)
PAGES = [ROOT / "README.md", *(path for path in DOCS if path.suffix == ".md")]
# What needs the registry or a shell of its own; .ci/run installs by the README's command.
ELSEWHERE = ("python -m pytest", "pip install", "source .venv")
# Numbers on which machines agree closely; times and names of run folders differ and are masked.
RELATIVE, ABSOLUTE = 0.05, 0.01
_VARYING = re.compile(
    r"-\d{8}-\d{6}(-\d+)?|\b[\d.,]+(?= (s|ms|us|rows/s|MiB|minutes?)\b)|best epoch \d+|epoch \d+|/tmp/\S*"
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


class Block(NamedTuple):
    """A fenced block that runs: its language, its text, the directive before it and the output shown after it."""

    language: str
    text: str
    directive: str
    output: str | None


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page that run."""
    found = re.finditer(
        r"(?:^<!-- test: (?P<directive>.*?) -->\n+)?^```(?P<language>bash|python)\n(?P<text>.*?)^```\n"
        r"(?:\n```text\n(?P<output>.*?)^```\n)?",
        page,
        re.MULTILINE | re.DOTALL,
    )
    return [Block(m["language"], m["text"], m["directive"] or "", m["output"]) for m in found]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with what the pages name: configs, data and a table of your own; the current folder of the test."""
    for folder in ("configs", "data", "docs/files"):
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "flowers.csv").write_text(
        "id,sepal length,petal length,garden,species\n"
        + "".join(f"{i},{5 + i % 3 + i % 7 / 10},{1 + i % 3 * 2},{'NS'[i % 2]},{'xyz'[i % 3]}\n" for i in range(90))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["twolayer"])
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p.read_text("utf-8"))], ids=lambda p: p.stem)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(page: Path, clone: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page.read_text("utf-8")):
        word, _, rest = block.directive.partition(" ")
        assert word in ("", "skip", "add", "exit", "interrupt"), block.directive
        if word == "skip":
            assert rest, "a skipped block needs a reason"
            continue
        if word == "interrupt":
            if sys.platform != "win32":  # there a Ctrl-C cannot be sent to one process alone
                interrupt(block.text, rest)
            continue
        if block.language == "python":
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(block.text, str(page), "exec"), names)
            actual = printed.getvalue()
        else:
            code = int(rest) if word == "exit" else 0
            actual = "".join(run_line(line, rest if word == "add" else "", code) for line in lines_of(block.text))
        if block.output is not None and word != "add":
            compare(actual, block.output, block.text)


def lines_of(text: str) -> list[str]:
    """Return the commands of a block, continued lines joined and comments removed."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.split("#")[0].strip()]


def run_line(line: str, more: str, code: int) -> str:
    """Run one command line in this process and return what it printed: standard error, where it is to fail."""
    line = line.rpartition("&& .venv/bin/")[2]  # the installation is .ci/run's to try
    if line.startswith(ELSEWHERE):
        return ""
    words = shlex.split(line, comments=True) + shlex.split(more)
    target = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if target else words
    assert words[0] in ("twolayer", "python"), f"no way to run {line!r}; use a directive"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        if words[0] == "python":
            assert words[1].endswith(".py"), line
            runpy.run_path(words[1], run_name="__main__")
            actual = 0
        else:
            actual = run(words[1:])
    assert actual == code, (line, out.getvalue(), err.getvalue())
    if target:
        Path(target).write_text(out.getvalue(), "utf-8")
        return ""
    return err.getvalue() if code else out.getvalue()


def interrupt(text: str, when: str) -> None:
    """Start a command as the page has it, interrupt it when a file exists or its page has answered, and see it end."""
    words = shlex.split(re.sub(r"^timeout --signal=INT \d+ ", "", text))
    words += ["--no-open", "--port", "0"] if when == "when served" else []
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        if when == "when served":
            assert process.stdout is not None
            address = next(found for line in process.stdout if (found := re.search(r"http://[\w.:]+/\S*", line)))
            assert urllib.request.urlopen(address[0], timeout=30).status == 200
        else:
            file = Path(when.removeprefix("when ").removesuffix(" exists"))
            while not file.exists() and process.poll() is None:
                time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, 130), output


def compare(actual: str, shown: str, block: str) -> None:
    """Compare an output with the one that a page shows: words exactly, numbers closely, times not at all."""
    lines = [line.rstrip() for line in actual.splitlines() if line.strip()]
    place = 0
    skipping = False
    for line in (line.rstrip() for line in shown.splitlines() if line.strip()):
        if line.strip() == "...":
            skipping = True
            continue
        while skipping and place < len(lines) and not same_line(lines[place], line):
            place += 1
        assert place < len(lines), f"{line!r} is not printed by\n{block}\nbut:\n{actual}"
        assert same_line(lines[place], line), f"shown:   {line}\nprinted: {lines[place]}\nby\n{block}\nwhole:\n{actual}"
        place, skipping = place + 1, False
    assert skipping or place == len(lines), f"also printed by\n{block}\n{lines[place:]}"


def same_line(actual: str, shown: str) -> bool:
    """Return whether two lines have equal words and close numbers."""
    actual, shown = (re.sub(r"\s+", " ", _VARYING.sub("~", line.replace("\\", "/"))) for line in (actual, shown))
    if _NUMBER.sub("#", actual) != _NUMBER.sub("#", shown):
        return False
    pairs = zip(_NUMBER.findall(actual), _NUMBER.findall(shown), strict=True)
    numbers = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    return all(abs(a - b) <= max(ABSOLUTE, RELATIVE * abs(b)) for a, b in numbers)


def test_a_wrong_output_is_noticed() -> None:
    compare("loss 0.52 in 3 s\nend\n", "loss 0.521 in 9 s\nend\n", "")
    compare("a\nb\nc\n", "a\n...\n", "")
    for actual, shown in (
        ("loss 0.6\n", "loss 0.5\n"),
        ("loss 0.5\n", "cost 0.5\n"),
        ("a\nb\n", "a\n"),
        ("a\n", "a\nb\n"),
    ):
        with pytest.raises(AssertionError):
            compare(actual, shown, "")


NOTEBOOKS = [path for path in DOCS if path.suffix == ".ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook's own libraries
def test_a_notebook_runs_and_its_outputs_are_those_it_shows(notebook: Path, clone: Path) -> None:
    shown = nbformat.read(notebook, as_version=4)
    again = nbformat.read(notebook, as_version=4)
    NotebookClient(again, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(clone)}}).execute()
    for before, after in zip(shown.cells, again.cells, strict=True):
        if before.cell_type == "code":
            assert kinds_of(after.outputs) == kinds_of(before.outputs), before.source
            compare(printed(after.outputs), printed(before.outputs), before.source)


def printed(outputs: list[Any]) -> str:
    """Return what a cell printed and the text of its values, without the states of a bar."""
    text = "".join(each["text"] if each.output_type == "stream" else each["data"]["text/plain"] for each in outputs)
    return "\n".join(line for line in re.split(r"[\r\n]", text) if not re.search(r"\|.*\|\s*\d+%", line))


def kinds_of(outputs: list[Any]) -> set[str]:
    """Return the kinds of a cell's outputs: the streams it wrote to, the forms of its values."""
    return {kind for each in outputs for kind in ([each["name"]] if each.output_type == "stream" else each["data"])}


@pytest.mark.parametrize("name", ["mlflow", "wandb", "trackio"])
def test_a_tracker_gets_every_epoch_with_the_step_of_its_own_form(name: str, clone: Path, monkeypatch: Any) -> None:
    tracker = tracker_stubs.Tracker()
    monkeypatch.setitem(sys.modules, name, getattr(tracker_stubs, name)(tracker))
    page = (ROOT / "docs/howto/trackers.md").read_text("utf-8")
    blocks = [block.text for block in blocks_of(page) if block.language == "python"]
    assert run(["train", "configs/optdigits.yaml", "solver.epochs=5", "--run-dir", "runs/digits", "--quiet"]) == 0
    names: dict[str, object] = {}
    exec(blocks[0], names)
    (block,) = [block for block in blocks if f"import {name}\n" in block]
    exec(block, names)
    assert [step for step, _ in tracker.rows] == [1, 2, 3, 4, 5]
    assert all({"train_loss", "val_accuracy"} <= metrics.keys() for _, metrics in tracker.rows)


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    # in a process of its own: a command that another test has called without its group keeps the help of that call
    code = "import json, runpy, sys; pages = runpy.run_path(sys.argv[1])['generated']()\n"
    code += "print(json.dumps({str(page): text for page, text in pages.items()}))"
    command = [sys.executable, "-c", code, str(ROOT / "docs" / "generate.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {Path(page): text for page, text in json.loads(done.stdout).items()}


def test_the_generated_pages_are_those_of_the_code(generated: dict[Path, str]) -> None:
    commands, config, _ = generated.values()
    assert all(f"\n## {name}\n" in commands and f"Usage: twolayer {name}" in commands for name in COMMANDS)
    assert all(f"| `{key}` |" in config for key in KEYS)
    for page, text in generated.items():
        assert page.read_text("utf-8") == text, f"{page.name} repeats older code: run python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target = link.partition("#")[0]
        if target and not re.match(r"https?:|mailto:", target) and "pictures/" not in target:
            assert (page.parent / target).exists(), link


def test_the_readme_is_short_and_its_first_screen_shows_picture_command_and_output() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    first = "\n".join(lines[:30])
    assert "docs/optdigits.png" in first
    assert ".venv/bin/twolayer train configs/optdigits.yaml" in first
    assert "test accuracy 0.96" in first


def test_every_verdict_has_its_picture_and_its_section() -> None:
    page = (ROOT / "docs/howto/read-a-curve.md").read_text("utf-8")
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))["TRAININGS"]
    drawn = {picture.verdict: name for name, picture in pictures.items() if picture.verdict}
    for verdict in RULES:
        assert f"\n## {verdict.capitalize()}\n" in page, verdict
        assert f"](../pictures/{drawn[verdict]}.png)" in page, verdict


def test_the_command_under_a_verdict_is_that_of_its_picture() -> None:
    page = (ROOT / "docs/howto/read-a-curve.md").read_text("utf-8")
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))["TRAININGS"]
    for picture in pictures.values():
        if picture.verdict and picture.config != "parts":
            section = page.partition(f"\n## {picture.verdict.capitalize()}\n")[2]
            command = re.match(r"\n`(twolayer train [^`]*)`\n", section)
            expected = ["twolayer", "train", f"configs/{picture.config}.yaml", *picture.overrides]
            assert command, picture.verdict
            assert shlex.split(command[1]) == expected


def test_the_derivation_names_functions_where_they_are() -> None:
    page = (ROOT / "docs/explanation/derivation.md").read_text("utf-8")
    modules = {path.stem for path in (ROOT / "twolayer/reference").glob("*.py")}
    named = [found for found in re.findall(r"`(\w+)\.(\w+)`", page) if found[0] in modules]
    named += [("plain", name) for name in re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)]
    assert len(named) > 15
    for module, name in named:
        assert callable(getattr(importlib.import_module(f"twolayer.reference.{module}"), name)), f"{module}.{name}"


def test_the_ci_script_runs_the_readmes_test_command() -> None:
    script, readme = (ROOT / ".ci/run").read_text("utf-8"), (ROOT / "README.md").read_text("utf-8")
    assert ".venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m pytest" in readme
    assert "pip install -q -e '.[dev]'" in script
    assert '"$python" -m pytest' in script


def test_every_public_name_is_in_the_python_reference() -> None:
    page = (ROOT / "docs/reference/python.md").read_text("utf-8")
    assert all(re.search(rf"\b{name}\b", page) for name in twolayer.__all__)
