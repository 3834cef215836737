"""The package as a user gets it: built, installed from the wheel alone, used from an empty folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("build", "hatchling", "pip", "venv")),
    reason="needs build, hatchling, pip and venv",
)


def run(*command, cwd, **environment):
    """Runs a command without this checkout on its path."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist, and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def twolayer(built, tmp_path_factory):
    """Runs the command `twolayer` of a new environment that has the wheel, and the dependencies from this one."""
    home = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home).returncode == 0
    folder = "Scripts" if os.name == "nt" else "bin"
    python = home / folder / ("python.exe" if os.name == "nt" else "python")
    (wheel,) = built.glob("*.whl")
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    done = run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *install, cwd=home)
    assert done.returncode == 0, done.stderr
    asked = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home)
    (Path(asked.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import twolayer; print(twolayer.__file__)", cwd=home).stdout
    assert str(home) in where

    def command(*arguments, cwd):
        done = run(home / folder / "twolayer", *arguments, cwd=cwd, PYTHONWARNINGS="error")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return command


def test_the_wheel_has_the_package_the_data_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {name for name in names if name.startswith("twolayer/")}
    assert all(name.startswith("twolayer-") for name in names - ours)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "twolayer").rglob("*.py")}
    shipped = {
        f"twolayer/shipped/{path.relative_to(ROOT).as_posix()}"
        for folder in ("configs", "data")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    }
    assert modules | shipped | {"twolayer/py.typed"} <= ours


def test_the_sdist_has_what_a_packager_needs(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        "pyproject.toml",
        "LICENSE",
        "PKG-INFO",
        "tests/conftest.py",
        "configs/optdigits.yaml",
        "scripts/train.py",
    }
    assert expected <= names
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert "docs/optdigits.png" in links
    assert {link for link in links if not (ROOT / link).is_dir()} <= names


def test_the_version_and_the_python_versions_are_said_once_and_agree(built):
    from twolayer.utils.version import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"twolayer-{__version__}-py3-none-any.whl"
    versions = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert project["requires-python"] == f">={versions[0]}"
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in versions


def test_from_the_wheel_an_example_trains_predicts_and_reports_in_an_empty_folder(twolayer, tmp_path):
    twolayer("example", "optdigits", cwd=tmp_path)
    out = twolayer("train", "optdigits.yaml", "solver.epochs=3", "--run-dir", "run", "--quiet", cwd=tmp_path)
    assert "test accuracy 0.9" in out
    labels = twolayer("predict", "run", "data/optdigits-test.csv.gz", cwd=tmp_path).split()
    assert len(labels) == 1 + 1797
    assert set(labels[1:]) == set("0123456789")
    assert (tmp_path / "run" / "loss_curve.png").stat().st_size > 5000
    twolayer("report", "run", cwd=tmp_path)
    assert "<html" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_from_the_wheel_a_users_file_becomes_a_model(twolayer, tmp_path):
    rows = [f"{i % 7},{(i * 5) % 11},{'yes' if i % 7 > 3 else 'no'}" for i in range(90)]
    (tmp_path / "mine.csv").write_text("\n".join(["a,b,late", *rows]) + "\n")
    assert "'late'" in twolayer("init", "mine.csv", cwd=tmp_path)
    twolayer("train", "mine.yaml", "solver.epochs=40", "--run-dir", "run", "--quiet", cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_accuracy"] > 0.9
    assert twolayer("predict", "run", "mine.csv", cwd=tmp_path).split()[1:4] == ["no", "no", "no"]


def test_from_the_wheel_help_and_version_answer(twolayer, tmp_path):
    from twolayer.utils.version import __version__

    assert __version__ in twolayer("--version", cwd=tmp_path)
    assert "example" in twolayer("--help", cwd=tmp_path)
