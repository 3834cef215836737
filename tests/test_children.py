"""Processes of our own: what they run, and what they leave alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import twolayer
from twolayer.utils.process import module_command, module_environment

PACKAGE = Path(twolayer.__file__).parent


@pytest.mark.parametrize("python_path", [None, "", "elsewhere"])
def test_a_child_finds_the_package_and_takes_no_module_from_the_current_folder(tmp_path, monkeypatch, python_path):
    for name in ("twolayer", "queue", "numpy", "click"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the current folder')\n", encoding="utf-8")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if python_path is not None:
        monkeypatch.setenv("PYTHONPATH", python_path)
    done = subprocess.run(
        module_command("twolayer", "check", str(PACKAGE.parent / "configs/spiral.yaml")),
        env=module_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_other_module_makes_such_a_command_of_its_own():
    modules = [path for path in PACKAGE.rglob("*.py") if '"-m"' in path.read_text("utf-8")]
    assert modules == [PACKAGE / "utils" / "process.py"]
