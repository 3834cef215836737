"""The config itself: values that fit the data, the reason above each, the key's meaning beside it.

Which files belong together: images and their labels, training rows and the test rows beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.commands.init.columns import TableGuess, guess_columns
from twolayer.config import config_from_dict, config_schema, dump_config
from twolayer.data.columns import ColumnChoice, is_header
from twolayer.data.csv_reader import CsvText
from twolayer.data.files import format_of
from twolayer.data.sources import is_table, read_training
from twolayer.utils.errors import FileError
from twolayer.utils.files import write_atomically
from twolayer.utils.text import data_error, shown, some

_LABELS_OF = (("images-idx3", "labels-idx1"), ("images", "labels"), ("features", "labels"), ("X", "y"), ("x", "y"))
_TEST_OF = (("train", "test"), ("train", "t10k"), ("training", "test"), ("Train", "Test"), ("TRAIN", "TEST"))


def source_of(path: Path) -> Any:
    """The file as `data.train` has it: itself, or with its labels where those have a file of their own.

    Raises:
        DataError: if there is no such file, or its labels are not found.
    """
    if not path.is_file():
        raise data_error(path, "a csv, npz, npy or IDX file", "no such file")
    if format_of(path) not in ("npy", "idx"):
        return str(path)
    for features, labels in _LABELS_OF:
        for here, there in ((features, labels), (labels, features)):
            name = re.sub(rf"(?<![A-Za-z]){here}(?![A-Za-z])", there, path.name)
            if name != path.name and (other := path.with_name(name)).is_file():
                pair = (path, other) if here == features else (other, path)
                return {"features": str(pair[0]), "labels": str(pair[1])}
    raise data_error(
        path, "names such as X.npy and y.npy, or ...images... and ...labels...", "no file with its labels beside it"
    )


def test_of(source: Any) -> Any:
    """The test rows in files beside the training rows, named `test` where those are named `train`; None without any."""
    for train, test in _TEST_OF:
        found = {}
        for key, name in (source if isinstance(source, dict) else {"": source}).items():
            path = Path(name)
            other = path.with_name(path.name.replace(train, test))
            if train not in path.name or not other.is_file():
                break
            found[key] = str(other)
        else:
            return found if isinstance(source, dict) else found[""]
    return None


def lacking_columns(train: str, test: str) -> list[str]:
    """The names in the header of one CSV file that the header of another lacks; none where one has no header."""
    headers = []
    for path in (train, test):
        text = CsvText(Path(path))
        if not is_header(ColumnChoice(), text.is_number):
            return []
        headers.append([cell.strip() for cell in text.first])
    return [name for name in headers[0] if name not in headers[1]]


def name_of(source: Any) -> str:
    """A name for the config: the file's, without ending and without `train`; where nothing is left, the folder's."""
    path = Path(source["features"] if isinstance(source, dict) else source).absolute()
    name = path.name
    for ending in (".gz", ".csv", ".npz", ".npy", ".idx", ".bin", "-ubyte", "-images-idx3"):
        name = name.removesuffix(ending)
    shorter = name.replace("train", "").strip("-_. ")
    return shorter or path.parent.name or name


SCHEMA_NAME = "twolayer.schema.json"
_UPDATES = 4000  # about so many in a training
_OF_TABLES = ("label", "ignore", "categorical", "missing")


@dataclass
class Proposal:
    """A config for somebody's data.

    Attributes:
        name: for the file.
        summary: what the data is, in words.
        values: the config's sections.
        why: for each dotted key that was chosen by looking at the data, the reasons.
    """

    name: str
    summary: str
    values: dict[str, dict[str, Any]]
    why: dict[str, list[str]] = field(default_factory=dict)

    def set(self, key: str, value: Any, *why: str) -> None:
        """Chooses a value, and says why."""
        section, name = key.split(".")
        self.values.setdefault(section, {})[name] = value
        self.why[key] = list(why)


def propose(path: str | Path, label: str | None = None) -> Proposal:
    """Looks at a csv, npz, npy or IDX file and chooses a config's values.

    Args:
        path: the training rows; test rows and labels in files beside it are found by their names.
        label: the label's column in a csv, by name or position; None guesses it.

    Raises:
        DataError: if the file cannot be used, or no label is found.
    """
    source = source_of(Path(path))
    proposal = Proposal(name_of(source), "", {})
    proposal.set("data.train", source)
    if is_table(source):
        test = test_of(source)
        lacking = lacking_columns(source, test) if test else []
        _propose_for_table(proposal, guess_columns(Path(source), label, lacking), source, lacking)
    elif label is not None:
        raise FileError(f"{path}: --label names a column of a csv; this file is none")
    else:
        _propose_for_arrays(proposal, source)
    return proposal


def _propose_for_table(proposal: Proposal, guess: TableGuess, source: Any, lacking: Sequence[str]) -> None:
    label = guess.label
    numbers, categories = guess.of("number"), guess.of("categorical")
    D = len(numbers) + sum(len(column.counts) for column in categories)
    proposal.summary = (
        f"{guess.rows:,} rows, {len(label.counts)} classes; {len(numbers)} columns of numbers, {len(categories)} of "
        f"categories, {len(guess.of('ignore'))} left out"
    )
    needed = [column.reference for column in guess.columns if column.use != "ignore"]
    lacking = [name for name in lacking if name in needed]
    _propose_split(proposal, source, {str(value): count for value, count in label.counts.items()}, lacking)
    proposal.set("data.label", label.reference, f"{shown(label.reference)}: {label.why}")
    for use in ("ignore", "categorical"):
        columns = guess.of(use)
        reasons = [f"{shown(column.reference)}: {column.why}" for column in columns]
        proposal.set(f"data.{use}", [column.reference for column in columns], *reasons)
    gaps = [column for column in (*numbers, *categories) if column.missing]
    dropped = []
    if label.missing:
        dropped = [f"{label.missing:,} row{'s have' if label.missing > 1 else ' has'} no label: dropped"]
    if gaps:
        where, cells = some([column.reference for column in gaps], 4), sum(column.missing for column in gaps)
        why = f"{cells:,} cell{'s are' if cells > 1 else ' is'} missing, in {where}"
        proposal.set("data.missing", "mean", f"{why}; so rows with gaps can be predicted, too", *dropped)
    elif dropped:
        proposal.set("data.missing", "drop", *dropped)
    else:
        proposal.set("data.missing", "refuse", "no cell is missing; one that is would be a fault")
    values = [abs(float(value)) for column in numbers for value in column.counts]
    reach = f"numbers reach up to {max(values):g}; " if values else ""
    proposal.set("data.scale", "standardize", f"{reach}columns of any range then count alike")
    _propose_training(proposal, guess.rows, D, len(label.counts))


def _propose_for_arrays(proposal: Proposal, source: Any) -> None:
    raw, _ = read_training(source, ColumnChoice(), 0)
    assert raw.labels is not None  # training rows have them
    counts = np.bincount(raw.labels.codes[raw.labels.codes >= 0], minlength=len(raw.labels.values))
    N, D = raw.X.shape
    what = f"pictures of {' x '.join(map(str, raw.image_shape))}" if raw.image_shape else f"rows of {D} numbers"
    proposal.summary = f"{N:,} {what}, {len(counts)} classes"
    _propose_split(proposal, source, dict(zip(map(str, raw.labels.values), counts.tolist(), strict=True)))
    some_rows = raw.X[:1000]
    proposal.set("data.scale", "standardize", f"numbers from {some_rows.min():g} to {some_rows.max():g}")
    _propose_training(proposal, N, D, len(counts))


def _propose_split(proposal: Proposal, source: Any, counts: dict[str, int], lacking: Sequence[str] = ()) -> None:
    rarest = min(counts, key=lambda name: counts[name])
    fewest, rows = counts[rarest], sum(counts.values())
    few = f"class {shown(rarest)} has {fewest} row{'s' * (fewest > 1)}"
    found = test_of(source)
    unfit = []
    if lacking:
        unfit = [f"{Path(found).name} beside the training rows has no column {some(lacking)}: only to predict"]
        found = None
    if found is not None:
        proposal.set("data.test", found, "found beside the training rows")
    elif fewest < 3:
        proposal.set("data.test", None, f"{few}: too few to hold any out", *unfit)
    else:
        proposal.set("data.test", 0.2, "a fifth of the rows, which training never sees", *unfit)
    if fewest < (2 if found is not None or fewest < 3 else 3):
        proposal.set("data.validation", 0.0, f"{few}: too few to hold any out")
    else:
        proposal.set("data.validation", 0.2 if rows < 500 else 0.15)
    if fewest < 5 or rows / len(counts) > 5 * fewest:
        hint = f"{few} of {rows:,}; 'balanced' would give it the weight of the others"
        proposal.set("solver.class_weight", "none", hint)


def _propose_training(proposal: Proposal, rows: int, n_features: int, n_classes: int) -> None:
    hidden = 16 if rows < 500 else 64 if rows < 10_000 else 128
    hidden *= 2 if n_classes > 20 else 1
    batch_size = 16 if rows < 1000 else 64 if rows < 50_000 else 128
    epochs = int(np.clip(_UPDATES * batch_size / rows, 40, 200))
    updates = f"about {epochs * rows // batch_size:,} updates"
    proposal.set("model.hidden", hidden, f"{rows:,} rows of {n_features} features, {n_classes} classes")
    proposal.set("solver.optimizer", "adam", "least sensitive to how the features are spread")
    proposal.set("solver.learning_rate", 0.003)
    proposal.set("solver.schedule", "cosine")
    proposal.set("solver.reg", 1e-3 if rows < 1000 else 1e-4, *(["few rows"] if rows < 1000 else []))
    proposal.set("solver.batch_size", batch_size)
    proposal.set("solver.epochs", epochs, updates)


def config_text(proposal: Proposal, folder: Path) -> str:
    """The proposal as YAML, for a file in `folder`: every key with its meaning, the reasons above it."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_NAME}",
        f"# {proposal.summary}.",
        "# Written by 'twolayer init' from a look at the data; lines of their own say why. Change what needs it.",
    ]
    section, tabular = "", is_table(proposal.values["data"]["train"])
    for line in dump_config(config_from_dict(proposal.values), folder).splitlines():
        name = line.strip().partition(":")[0]
        if not line.startswith(" "):
            section = name
            if name == "seed":
                line += "  # what split, first weights and order of the rows are drawn from"
        elif section == "data" and name in _OF_TABLES and not tabular:
            continue
        elif (section, name) == ("run", "dir"):
            line = "  dir: runs  # " + line.partition("  # ")[2]
        lines += [f"  # {_one_line(reason)}" for reason in proposal.why.get(f"{section}.{name}", ())]
        lines.append(line)
    return "\n".join(lines) + "\n"


def write_config(proposal: Proposal, path: str | Path) -> Sequence[Path]:
    """Writes the config, and beside it the schema that its first line names; returns what was written.

    Raises:
        FileError: if the config is there already, or cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise FileError(f"{path}: is there already; remove it, or name another with --out")
    schema = path.parent / SCHEMA_NAME
    text = config_text(proposal, path.parent.resolve())
    write_atomically(schema, (json.dumps(config_schema(), indent=2) + "\n").encode())
    write_atomically(path, text.encode())
    return path, schema


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
