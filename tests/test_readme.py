"""The README is true: its commands run, its Python runs, its tables are those of the code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from twolayer.commands import COMMANDS
from twolayer.config import reference_table

# Commands that take long, shown in the README in full and tried here in small.
SMALLER = {
    "twolayer train configs/optdigits.yaml --run-dir runs/digits": "solver.epochs=2",
    "twolayer train configs/spiral.yaml run.snapshot_epochs=10 --run-dir runs/spiral": "solver.epochs=20",
    "twolayer verify-resume configs/toy.yaml --kills 2": "solver.epochs=5",
}
# Commands that another test or the CI script runs, or that need another machine.
ELSEWHERE = (
    "python3 -m venv",
    "pip install",
    "twolayer sweep",
    "dask ",
    "pre-commit",
    "python -m benchmarks",
    "python -m tests.fuzz",
)


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text("utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_every_command_of_the_readme_runs(readme, root, tmp_path):
    for folder in ("configs", "data"):
        shutil.copytree(root / folder, tmp_path / folder)
    (tmp_path / "flowers.csv").write_text(
        "id,sepal length,petal length,garden,species\n"
        + "".join(f"{i},{5 + i % 3 + i % 7 / 10},{1 + i % 3 * 2},{'NS'[i % 2]},{'xyz'[i % 3]}\n" for i in range(90))
    )
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    lines = [line.split("#")[0].strip() for block in blocks(readme, "bash") for line in block.splitlines()]
    commands = [line for line in lines if line and not line.startswith(ELSEWHERE)]
    assert len(commands) >= 14
    for command in commands:
        words = shlex.split(f"{command} {SMALLER.get(command, '')}")
        assert words[0] == "twolayer", command
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, (command, done.stderr)


def test_the_shortened_commands_are_still_in_the_readme(readme):
    assert all(command in readme for command in SMALLER)


def test_the_python_of_the_readme_prints_what_it_says(readme, capsys):
    for code, output in re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
        exec(compile(code, "README.md", "exec"), {})
        assert capsys.readouterr().out == output
    assert blocks(readme, "python")


def test_the_config_reference_is_that_of_the_code(readme):
    rows = [
        f"| `{row.key}` | {row.wants.replace('|', ' or ')} | {row.default} | {row.meaning} |"
        for row in reference_table()
    ]
    assert "\n".join(rows) in readme


def test_every_command_and_every_file_it_names_is_there(readme, root):
    assert all(f"twolayer {name}" in readme for name in COMMANDS)
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert link.startswith("http") or (root / link).exists(), link


def test_the_first_screen_shows_the_picture_the_command_and_its_output(readme):
    first = "\n".join(readme.splitlines()[:40])
    assert "docs/optdigits.png" in first
    assert ".venv/bin/twolayer train configs/optdigits.yaml" in first
    assert "test accuracy 0.96" in first


def test_the_ci_script_runs_the_readmes_test_command(readme, root):
    script = (root / ".ci/run").read_text()
    assert ".venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m pytest" in readme
    assert "pip install -q -e '.[dev]'" in script
    assert '"$python" -m pytest' in script
