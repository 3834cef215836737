"""What version 0.1 left is still read, with the same numbers: a finished run, its model, and an interrupted run.

`from_0_1/` was written by the code of 0.1: 240 made-up rows with a category, missing cells and an identifier, trained
for 12 epochs, and for 8 of 3,000 until Ctrl-C; `expected.json` is what 0.1 printed about them. Only the folder's name
was changed in config.yaml and environment.json; `trees` puts the test's folder there."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twolayer import load_model, resume

STORED = Path(__file__).with_name("from_0_1")
EXPECTED = json.loads((STORED / "expected.json").read_text("utf-8"))
NUMBER = re.compile(r"\d+\.\d+")
CLOSE = 2e-5  # relative; float32 products differ in their last bits between machines


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """A copy of the folder whose runs name the copy's own rows."""
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    for file in [*tmp_path.glob("*/config.yaml"), *tmp_path.glob("*/environment.json")]:
        file.write_text(file.read_text("utf-8").replace("/home/student/trees", tmp_path.as_posix()), "utf-8")
    return tmp_path


def same_lines(actual: str, expected: str) -> None:
    """Assert that every line of `expected` is in `actual`, in order, with equal words and close numbers."""
    lines = iter(actual.splitlines())
    for line in filter(str.strip, expected.splitlines()):
        words = NUMBER.sub("#", line).split()
        found = next((each for each in lines if NUMBER.sub("#", each).split() == words), None)
        assert found is not None, f"{line!r} is not in\n{actual}"
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (found, line)]
        np.testing.assert_allclose(*numbers, rtol=2e-4, atol=2e-4)


def same_figures(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {name: actual[name] for name in expected} == {
        name: pytest.approx(value, rel=CLOSE) for name, value in expected.items()
    }


def test_a_model_of_0_1_predicts_what_it_did(trees: Path) -> None:
    model = load_model(trees / "run" / "best.npz")
    rows = list(csv.reader((trees / "new.csv").read_text("utf-8").splitlines()))
    expected = list(csv.reader(EXPECTED["predicted"].splitlines()))
    assert [str(label) for label in model.classes] == ["ash", "birch", "oak"]
    frame = {name: [row[k] for row in rows[1:]] for k, name in enumerate(rows[0])}
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(frame)
    table[["height", "weight"]] = table[["height", "weight"]].replace("", "nan").astype(float)
    assert [str(label) for label in model.predict(table)] == [row[0] for row in expected[1:]]
    probabilities = np.array([row[1:] for row in expected[1:]], float)
    np.testing.assert_allclose(model.predict_proba(table), probabilities, rtol=CLOSE)


def test_the_commands_read_a_run_of_0_1(trees: Path, run_twolayer) -> None:  # type: ignore[no-untyped-def]
    for name, arguments in (
        ("predicted", ("predict", "run", "new.csv", "--proba")),
        ("evaluated", ("evaluate", "run")),
    ):
        done = run_twolayer(*arguments, cwd=trees)
        assert done.returncode == 0, done.stderr
        same_lines(done.stdout, EXPECTED[name])


def test_views_read_a_run_of_0_1(trees: Path, run_twolayer) -> None:  # type: ignore[no-untyped-def]
    done = run_twolayer("curves", "run", "interrupted", "-o", "both.png", cwd=trees)
    assert done.returncode == 0, done.stderr
    assert "0.2238" in done.stdout
    done = run_twolayer("report", "run", cwd=trees)
    assert done.returncode == 0, done.stderr
    assert "birch" in (trees / "run" / "report.html").read_text("utf-8")


def test_a_finished_run_of_0_1_trains_further(trees: Path) -> None:
    result = resume(trees / "run", quiet=True, force=True)
    same_figures(result.summary, EXPECTED["summary"])
    further = resume(trees / "run", ["solver.epochs=20"], quiet=True, force=True)
    same_figures(further.summary, EXPECTED["resumed"])


def test_an_interrupted_run_of_0_1_resumes_to_the_same_end(trees: Path) -> None:
    result = resume(trees / "interrupted", ["solver.epochs=20"], quiet=True, force=True)
    same_figures(result.summary, EXPECTED["resumed"])
    epochs = np.loadtxt(trees / "interrupted" / "history.csv", delimiter=",", skiprows=1, usecols=0)
    np.testing.assert_array_equal(epochs, np.arange(1, 21))
