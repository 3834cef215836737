"""Draw the pictures of the documentation by training: `python docs/pictures.py`.

Every picture comes from a command that its page shows, the bars from explanation/speed.json. Those that exist are kept;
remove docs/pictures/ to draw them again. A run that should show a verdict and does not stops the build, as the page
would be wrong."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from twolayer.__main__ import run

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from benchmarks.table import draw_benchmark  # noqa: E402

PICTURES = DOCS / "pictures"
CONFIGS = DOCS.parent / "configs"


class Picture(NamedTuple):
    """One training and what is drawn of it.

    Attributes:
        config: a shipped config.
        overrides: of its keys, as on the command line.
        verdict: the diagnosis that the training must print; "" where it must print none.
        code: the exit code.
    """

    config: str
    overrides: tuple[str, ...]
    verdict: str = ""
    code: int = 0


_SPIRAL = "data.train={generator: spiral, classes: 3, rows_per_class: 100, noise: 0.8}"
_ARMS = ("data.validation=0.5", "solver.reg=0", "model.hidden=200", "solver.epochs=300")

# By the file's name. The examples come first, then one run for each verdict of views/diagnosis.py.
TRAININGS = {
    "optdigits": Picture("optdigits", ()),
    "letter": Picture("letter", ("solver.epochs=25",)),
    "fashion-mnist": Picture("fashion-mnist", ("solver.epochs=8",)),
    "toy": Picture("toy", ()),
    "spiral": Picture("spiral", ("run.snapshot_epochs=20",)),
    "unscaled-inputs": Picture(
        "fashion-mnist", ("data.scale=none", "solver.learning_rate=1e-5", "solver.epochs=6"), "unscaled inputs"
    ),
    "rate-too-high": Picture("optdigits", ("solver.learning_rate=0.5", "solver.schedule=constant"), "rate too high"),
    "rate-too-low": Picture("optdigits", ("solver.learning_rate=3e-5",), "rate too low"),
    "dead-units": Picture("optdigits", ("solver.learning_rate=0.3", "solver.schedule=constant"), "dead units"),
    "overfitting": Picture("spiral", (_SPIRAL, *_ARMS), "overfitting"),
    "stopped-too-early": Picture(
        "letter", ("solver.epochs=5", "solver.schedule=constant", "data.validation=0.7"), "stopped too early"
    ),
    "underfitting": Picture("spiral", ("model.hidden=0", "data.validation=0.2"), "underfitting"),
    "ignored-class": Picture("parts", ("solver.class_weight=none", "solver.monitor=val_accuracy"), "ignored class"),
    "few-validation-rows": Picture("spiral", ("data.validation=0.1",), "few validation rows"),
}
EXPERIMENTS = ("exaggeration", "loss", "separable")


def main() -> None:
    """Draw the pictures that are missing."""
    PICTURES.mkdir(exist_ok=True)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in TRAININGS:
            if not (PICTURES / f"{name}.png").exists():
                draw(name, Path(folder))
        draw_benchmark(json.loads((DOCS / "explanation" / "speed.json").read_text("utf-8")), PICTURES / "speed.png")
        for name in EXPERIMENTS:
            if not (PICTURES / f"experiment-{name}.png").exists():
                command("experiment", name, "--out", str(PICTURES / f"experiment-{name}.png"))


def draw(name: str, folder: Path) -> None:
    """Train and draw one picture; of the spiral, draw the decision boundary as well."""
    picture = TRAININGS[name]
    config = make_parts(folder) if picture.config == "parts" else CONFIGS / f"{picture.config}.yaml"
    output = command("train", str(config), *picture.overrides, "--run-dir", name, "--quiet", code=picture.code)
    assert picture.verdict in output, f"{name}: expected the verdict {picture.verdict!r}, got {output}"
    assert picture.verdict or "Try: " not in output, f"{name}: expected no verdict, got {output}"
    command("curves", name, "-o", str(PICTURES / f"{name}.png"))
    if name == "spiral":
        command("curves", name, "--boundary", "-o", str(PICTURES / "spiral-boundary.png"))
        command("curves", name, "--boundary", "-o", str(PICTURES / "spiral.gif"))


def make_parts(folder: Path) -> Path:
    """Write the table of faulty parts that howto/imbalanced.md makes, and its config."""
    page = (DOCS / "howto" / "imbalanced.md").read_text("utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "howto/imbalanced.md", "exec"), {})
    command("init", "parts.csv")
    return folder / "parts.yaml"


def command(*arguments: str, code: int = 0) -> str:
    """Run a command of twolayer and return what it printed."""
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        actual = run(arguments)
    assert actual == code, f"twolayer {' '.join(arguments)}: exit code {actual}\n{errors.getvalue()}"
    return output.getvalue()


if __name__ == "__main__":
    main()
