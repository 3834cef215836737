"""`twolayer init`: from a data file to a commented config: values that fit the data, the reason above each, the key's
meaning beside it; and which files belong together: images and their labels, training rows and the test rows."""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from twolayer.commands import PATH
from twolayer.config import SCHEMA_NAME, config_from_dict, config_schema, dump_config, yaml_value
from twolayer.config.document import MAX_BYTES
from twolayer.data.columns import ColumnChoice, Reading, require_distinct
from twolayer.data.csv_reader import CsvFile
from twolayer.data.files import ENDINGS, TEXT_ENDINGS, format_of
from twolayer.data.profile import TableGuess, class_codes, guess_table
from twolayer.data.sources import is_table, read_training
from twolayer.utils.errors import DataError, FileError
from twolayer.utils.files import read_whole, write_atomically
from twolayer.utils.npy import read_npz
from twolayer.utils.text import counted, data_error, printable, shown, some

_LABELS_OF = (("images-idx3", "labels-idx1"), ("images", "labels"), ("features", "labels"), ("X", "y"), ("x", "y"))
_TEST_OF = (("train", "test"), ("train", "t10k"), ("training", "test"), ("Train", "Test"), ("TRAIN", "TEST"))
_FEW_ROWS = 10_000  # below, `init` proposes to refit on training and validation rows
_UPDATES, _UPDATES_FEW = 4000, 2000  # in a training, about; below 1,000 rows
_MOST_REASONS = 8  # for one key
_TABLE_KEYS = ("label", "ignore", "categorical", "missing", "missing_values", "unseen", "constant")
_TEXT_KEYS = ("header", "separator", "decimal", "encoding")
_KNOWN = "|".join(map(re.escape, (*TEXT_ENDINGS, *ENDINGS, ".idx")))
_ENDING = re.compile(rf"(-images-idx3)?(-ubyte)?({_KNOWN})?(\.(gz|bz2|zst|xz))?$")
_SHOWN_KEYS = ("data.label", "data.ignore", "data.categorical", "data.constant", "data.missing", "data.test",
               "solver.class_weight", "solver.monitor")  # fmt: skip
_SEAL = "# written by init, unchanged: "


def source_of(path: Path) -> Any:
    """Return the file as `data.train` has it: itself, or with its labels if those have their own file. A file that does
    not exist or whose labels are not found is a DataError."""
    if not path.is_file():
        kind = "a folder; name one of the files in it" if path.is_dir() else "no such file"
        raise data_error(path, "a table (CSV, Parquet, Feather, xlsx), npz, npy or IDX file", kind)
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # how Python spells bytes that are not UTF-8
        name = printable(str(path))
        raise data_error(name, "a name in UTF-8, which a config can hold", "another one", "rename the file")
    if format_of(path) not in ("npy", "idx"):
        return str(path)
    for features, labels in _LABELS_OF:
        for here, there in ((features, labels), (labels, features)):
            name = re.sub(rf"(?<![A-Za-z]){here}(?![A-Za-z])", there, path.name)
            if name != path.name and (other := path.with_name(name)).is_file():
                pair = (path, other) if here == features else (other, path)
                return {"features": str(pair[0]), "labels": str(pair[1])}
    names = "names such as X.npy and y.npy, or ...images... and ...labels..."
    raise data_error(path, names, "no file with its labels beside it")


def test_of(source: Any) -> Any:
    """Return the test rows: x_test in the same npz, or files named `test` beside those named `train`; or None."""
    if isinstance(source, str) and source.endswith(".npz") and {"x_test", "X_test"} & set(read_npz(source)):
        return source
    paths = {key: Path(name) for key, name in (source if isinstance(source, dict) else {"": source}).items()}
    for train, test in _TEST_OF:
        others = {key: path.with_name(path.name.replace(train, test)) for key, path in paths.items()}
        if all(other != paths[key] and other.is_file() for key, other in others.items()):
            found = {key: str(other) for key, other in others.items()}
            return found if isinstance(source, dict) else found[""]
    return None


def name_of(source: Any) -> str:
    """Return a name for the config: the file's, without ending and `train`; if nothing is left, the folder's."""
    path = Path(source["features"] if isinstance(source, dict) else source).absolute()
    name = _ENDING.sub("", path.name)
    return name.replace("train", "").strip("-_. ") or path.parent.name or name


@dataclass
class Proposal:
    """A config for the user's data."""

    name: str  # for the file
    summary: str = ""  # what the data is, in words
    values: dict[str, dict[str, Any]] = field(default_factory=lambda: {"data": {}})  # the config's sections
    why: dict[str, list[str]] = field(default_factory=dict)  # the reasons for a dotted key's value
    warnings: list[str] = field(default_factory=list)  # what to look at before a training
    candidates: list[tuple[str, str]] = field(default_factory=list)  # likely labels, each (name, reason)
    is_clear: bool = True  # whether the label was given, or its first candidate leaves no doubt

    def set(self, key: str, value: Any, *why: str) -> None:
        """Choose a value, and say why."""
        section, name = key.split(".")
        self.values.setdefault(section, {})[name] = value
        if len(why) > _MOST_REASONS:
            why = (*why[:_MOST_REASONS], f"... and {len(why) - _MOST_REASONS:,} more")
        self.why[key] = list(why)


def propose(source: Any, label: str | None = None) -> Proposal:
    """Look at data and choose a config's values.

    Args:
        source: a path (test rows and labels in files beside it are found by their names), or a data frame of pandas,
            polars or Arrow: then `values` lack `data.train`, and `train(values, rows=frame)` takes both.
        label: the label's column in a table, by name or position; None guesses it.

    Raises:
        DataError: if the data cannot be used, or no label is found.
    """
    is_file = isinstance(source, str | Path)
    found = source_of(Path(source)) if is_file else source
    proposal = Proposal(name_of(found) if is_file else "rows")
    if is_file:
        proposal.set("data.train", found)
    if is_table(found):
        _propose_for_table(proposal, found, label, test_of(found) if is_file else None)
    elif label is not None:
        raise FileError(f"{source}: --label names a column of a table, and this file has none")
    else:
        _propose_for_arrays(proposal, found)
    return proposal


def _propose_for_table(proposal: Proposal, source: Any, label: str | None, test: Any) -> None:
    guess = guess_table(source, label, test)
    opened, ignored = guess.opened, guess.of("ignore")
    if opened.names:
        require_distinct(opened.where, opened.names, {profile.position for profile in ignored})
    if isinstance(opened, CsvFile):
        proposal.set("data.header", opened.names is not None, *opened.notes)
    proposal.warnings += opened.notes
    proposal.candidates = [(profile.name, profile.signs) for profile in guess.candidates[:3]]
    proposal.is_clear = label is not None or guess.is_clear
    proposal.warnings += [*(guess.quantities if label is None else ()), *guess.warnings]
    numbers, categories, constant = guess.of("number"), guess.of("categorical"), guess.of("constant")
    D = len(numbers) + sum(profile.distinct for profile in categories)
    proposal.summary = (
        f"{counted(guess.rows, 'row')}, {counted(guess.label.distinct, 'class')}; "
        f"{counted(len(numbers), 'column')} of numbers, {len(categories):,} of categories, {len(ignored):,} left out"
        + (f", {len(constant):,} constant" if constant else "")
    )
    needed = {column.name for column in guess.columns if column.use not in ("ignore", "constant")}
    _propose_split(proposal, test, guess.label.counts, [name for name in guess.lacking if name in needed])
    proposal.set("data.label", guess.reference(guess.label), *guess.why("label"))
    proposal.set("data.ignore", [guess.reference(profile) for profile in ignored], *guess.why("ignore"))
    proposal.set("data.categorical", [guess.reference(p) for p in categories], *guess.why("categorical"))
    if constant:
        proposal.set("data.constant", "drop", f"one value in all rows: {counted(len(constant), 'column')}")
    _propose_missing(proposal, guess)
    values = [np.nanmax(np.abs(profile.data)) for profile in numbers]
    reach = f"numbers reach up to {max(values):g}; " if values else ""
    proposal.set("data.scale", "standardize", f"{reach}columns of any range then count alike")
    _propose_training(proposal, guess.rows, D, guess.label.distinct)


def _propose_missing(proposal: Proposal, guess: TableGuess) -> None:
    label = guess.label
    gaps = [profile for profile in (*guess.of("number"), *guess.of("categorical")) if profile.missing]
    dropped = []
    if label.missing:
        dropped = [f"rows without a label are dropped ({label.missing:,})"]
        codes = class_codes(label)
        text = guess.opened.cell(int(np.argmax(codes < 0)), label.position).strip() if len(codes) else ""
        way = f": if {shown(text)} is a class, set data.missing_values to a list without it" if text else ""
        proposal.warnings.append(f"{label.missing:,} of {guess.rows:,} rows without a label ({shown(label.name)}){way}")
    if gaps:
        where, cells = some([profile.name for profile in gaps], 4), sum(profile.missing for profile in gaps)
        why = f"{counted(cells, 'missing cell')}, in {where}"
        proposal.set("data.missing", "mean", f"{why}; so that rows with gaps can be predicted", *dropped)
    elif dropped:
        proposal.set("data.missing", "drop", *dropped)
    else:
        proposal.set("data.missing", "refuse", "no cell is missing; one that is would be an error")


def _propose_for_arrays(proposal: Proposal, source: Any) -> None:
    raw, _ = read_training(source, ColumnChoice(), 0, Reading(), "keep", "none", [])
    assert raw.labels is not None  # training rows have them
    counts = np.bincount(raw.labels.codes[raw.labels.codes >= 0], minlength=len(raw.labels.values))
    N, D = raw.X.shape
    shape = " x ".join(map(str, raw.image_shape or ()))
    what = f"pictures of {shape}" if shape else f"rows of {counted(D, 'number')}"
    proposal.summary = f"{N:,} {what}, {len(counts)} classes"
    _propose_split(proposal, test_of(source), dict(zip(map(str, raw.labels.values), counts.tolist(), strict=True)))
    some_rows = raw.X[:1000]
    proposal.set("data.scale", "standardize", f"numbers from {some_rows.min():g} to {some_rows.max():g}")
    _propose_training(proposal, N, D, len(counts))


def _propose_split(proposal: Proposal, test: Any, counts: dict[str, int], lacking: Sequence[str] = ()) -> None:
    rarest = min(counts, key=lambda name: counts[name])
    fewest, rows = counts[rarest], sum(counts.values())
    few = f"class {shown(rarest)} has {counted(fewest, 'row')}"
    unfit = []
    if lacking:
        unfit = [f"{Path(test).name} beside the training rows has no column {some(lacking)}: only to predict"]
        test = None
    if test is not None:
        same = isinstance(test, str) and test == proposal.values["data"].get("train")
        proposal.set("data.test", test, "x_test in the same file" if same else "found beside the training rows")
    elif fewest < 3:
        proposal.set("data.test", None, f"{few}: too few to hold any out", *unfit)
    else:
        proposal.set("data.test", 0.2, "a fifth of the rows, which training never sees", *unfit)
    if fewest < (2 if test is not None or fewest < 3 else 3):
        proposal.set("data.validation", 0.0, f"{few}: too few to hold any out")
    else:
        proposal.set("data.validation", 0.2 if rows < _FEW_ROWS else 0.15)
    if max(counts.values()) < 4 * fewest:
        return
    if fewest < 10 or len(counts) > 20:
        why = f"{few} of {rows:,}; 'balanced' would give it the weight of the others"
        proposal.set("solver.class_weight", "none", why)
        return
    proposal.set("solver.class_weight", "balanced", f"{few} of {rows:,}: it gets the weight of the others")
    if proposal.values["data"]["validation"]:
        why = "always guessing the most frequent class would look good by val_accuracy"
        proposal.set("solver.monitor", "val_balanced_accuracy", why)


def _propose_training(proposal: Proposal, rows: int, n_features: int, n_classes: int) -> None:
    few = rows < 1000
    batch_size = 16 if few else 64 if rows < 50_000 else 128
    epochs = int(np.clip((_UPDATES_FEW if few else _UPDATES) * batch_size / rows, 40, 200))
    shape = f"{rows:,} rows of {n_features} features, {n_classes} classes"
    proposal.set("model.hidden", 256 if n_classes > 20 else 128, shape)
    proposal.set("solver.optimizer", "adam", "least sensitive to how the features are spread")
    proposal.set("solver.learning_rate", 0.003)
    proposal.set("solver.schedule", "cosine")
    proposal.set("solver.reg", 1e-3 if few else 1e-4, *(["few rows"] if few else []))
    proposal.set("solver.batch_size", batch_size)
    proposal.set("solver.epochs", epochs, f"at most about {epochs * rows // batch_size:,} updates")
    if rows < _FEW_ROWS and proposal.values["data"]["validation"]:
        why = f"{rows:,} rows are few: those held out for validation are trained on at the end"
        proposal.set("run.refit", True, why)
        proposal.set("solver.patience", epochs // 4, "the refit trains up to the best epoch, so later ones add little")


def write_config(proposal: Proposal, path: str | Path, force: bool = False) -> tuple[Path, Path]:
    """Write the proposal as YAML, every key with its meaning and the reasons above it, and beside it the schema that
    its first line names; return the two files.

    Raises:
        FileError: if the config exists and was edited, cannot be written, or would be too long to be read again.
    """
    path = Path(path)
    if path.exists() and not force and not _is_untouched(path):
        hint = "--force replaces it, --out names another"
        raise FileError(f"{path}: expected a config as init wrote it, got another file or an edited one; {hint}")
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_NAME}",
        f"# {proposal.summary}.",
        "# Written by 'twolayer init' after a look at the data; a comment above a key gives the reason for its value.",
        *(f"# Warning: {printable(warning)}" for warning in proposal.warnings),
    ]
    data, config = proposal.values["data"], config_from_dict(proposal.values)
    rarely_needed = _TEXT_KEYS if is_table(data["train"]) else _TEXT_KEYS + _TABLE_KEYS
    without = {f"data.{name}" for name in rarely_needed if name not in data}
    body = dump_config(config, os.path.realpath(path.parent), proposal.why, without)
    text = "\n".join([*lines, body.replace(f"dir: {yaml_value(config.run.dir)}  #", "dir: runs  #")])
    text += f"{_SEAL}{_digest(text)}\n"
    if len(text.encode()) > MAX_BYTES:
        n_ignored, n_categorical = len(data.get("ignore", ())), len(data.get("categorical", ()))
        found = f"{n_ignored:,} columns to ignore and {n_categorical:,} of categories, {len(text) >> 10} KiB of YAML"
        hint = "write a table without them first, for instance with pandas' select_dtypes"
        raise FileError(f"{proposal.name}: expected a config of at most 256 KiB, got {found}; {hint}")
    schema = path.parent / SCHEMA_NAME
    write_atomically(schema, (json.dumps(config_schema(), indent=2) + "\n").encode())
    write_atomically(path, text.encode())
    return path, schema


def _is_untouched(path: Path) -> bool:
    """Return whether a config is as init wrote it."""
    try:
        text, _, digest = read_whole(path, follow=True).decode().rpartition(_SEAL)
    except (OSError, UnicodeDecodeError):
        return False
    return bool(text) and digest.strip() == _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@click.command()
@click.argument("file", type=PATH)
@click.option("--label", metavar="NAME", help="The label's column in a table, by name or position (0 first, -1 last).")
@click.option("--out", type=PATH, help="The config to write; by default named after FILE, here.")
@click.option("--force", is_flag=True, help="Replace a config that was edited.")
def command(file: Path, label: str | None, out: Path | None, force: bool) -> None:
    """Look at FILE (CSV, Parquet, Feather, xlsx, npz, npy or IDX) and write a config that is ready to train.

    It ranks the columns that may be the label, leaves out identifiers, dates and free text, names columns that give the
    label away, and chooses the network and the training by the number of rows, features and classes. A config that
    init wrote and that was not edited since is replaced, so that a second call with --label corrects the first.
    """
    proposal = propose(file, label)
    asks = not proposal.is_clear and sys.stdin.isatty() and sys.stderr.isatty()
    if asks:
        proposal = _asked(file, proposal)
    path = out or Path(f"{proposal.name}.yaml")
    write_config(proposal, path, force)
    click.echo(f"{file}: {printable(proposal.summary)}")
    if label is None and not asks and len(proposal.candidates) > 1:
        _list_candidates(proposal, err=False)
    for key in _SHOWN_KEYS:
        for reason in proposal.why.get(key, []):
            click.echo(f"  {key.partition('.')[2]:12} {printable(reason)}")
    if not proposal.is_clear:
        names = " or ".join(f"--label {shlex.quote(name)}" for name, _ in proposal.candidates)
        click.echo(f"warning: the label is not clear; choose: {printable(names)}", err=True)
    for warning in proposal.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    click.echo(f"wrote {path}; to train: twolayer train {shlex.quote(str(path))}")


def _asked(file: Path, proposal: Proposal) -> Proposal:
    """Ask at the terminal which column is the label, again after an answer that cannot be one."""
    _list_candidates(proposal, err=True)
    numbered = {str(number): name for number, (name, _) in enumerate(proposal.candidates, start=1)}

    def proposed(answer: str) -> Proposal:
        try:
            return propose(file, numbered.get(answer.strip(), answer.strip()))
        except DataError as error:
            raise click.UsageError(printable(str(error))) from None

    question = "Which column is the label (number or name)"
    try:
        found: Proposal = click.prompt(question, default="1", value_proc=proposed, err=True)
    except click.Abort:
        click.echo(err=True)  # what follows begins on a new line
        raise
    return found


def _list_candidates(proposal: Proposal, err: bool) -> None:
    for number, (name, why) in enumerate(proposal.candidates, start=1):
        click.echo(f"  {f'label {number}?':12} {shown(name)}: {printable(why)}", err=err)
