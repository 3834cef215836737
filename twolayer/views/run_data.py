"""What the views know of a run: its folder read once, its config as flat keys, the keys in which runs differ, and its
rows, read again from their files."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.config import load_config
from twolayer.data import Dataset, Preparation, load_dataset
from twolayer.data.sources import files_of
from twolayer.network.model import Array
from twolayer.network.settings import larger_is_better
from twolayer.runs.checkpoint import read_model_arrays, read_predictions
from twolayer.runs.folder import RunFolder, open_run, recorded_digests
from twolayer.runs.logs import read_history
from twolayer.utils.errors import FileError, RunError, TwoLayerError
from twolayer.utils.files import parse_object, read_at_most, read_json
from twolayer.utils.text import counted, shown

Cell = str | float | int | None

ENDED = ("finished", "stopped_early")
SEED = "seed"
_NOT_COMPARED = ("run.",)  # keys that say where a run is or how it reports, not what it computes
_MAX_JOURNAL_BYTES = 64 << 20
LARGEST = 1e37  # what is larger is drawn here: with a margin, it must fit into float32, in which a report keeps curves


def within_reach(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with the finite ones clipped to -`LARGEST` and `LARGEST`."""
    return np.where(np.isfinite(values), np.clip(values, -LARGEST, LARGEST), values)


@dataclass(frozen=True, eq=False)
class RunData:
    """One run, as far as it got.

    Attributes:
        history: columns of history.csv by name, (epochs,) each, NaN where there is no value.
        config: the resolved config as nested dictionaries.
        summary, predictions, classes: summary.json, and arrays and C labels of predictions.npz; empty before the end.
        environment: environment.json.
        status: finished, stopped_early, interrupted, diverged, pruned, running, or gone: the process was killed.
        steps: columns of steps.csv by name, where they have been read.
    """

    path: Path
    history: Mapping[str, NDArray[np.float64]]
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Array] = field(default_factory=dict)
    classes: Sequence[Any] = ()
    status: str = "finished"
    steps: Mapping[str, Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config by dotted keys."""
        return flattened(self.config)

    @cached_property
    def figures(self) -> dict[str, Cell]:
        """The run's columns of the table of runs."""
        return {name: figure(self) for name, figure in FIGURES.items()}

    @property
    def monitor(self) -> str:
        """The column that picks the best epoch."""
        return str(self.settings.get("solver.monitor") or "val_accuracy")

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose parameters were kept; while the run trains, the best so far by its monitor."""
        epoch = self.summary.get("best_epoch")
        if not isinstance(epoch, int):
            best = self.best(self.monitor)
            epoch = 0 if best is None else self.history["epoch"][np.argmax(self.column(self.monitor) == best)]
        return int(epoch) if np.isfinite(epoch) and epoch > 0 else None

    @cached_property
    def n_classes(self) -> int:
        """C; before the end that of best.npz, which a run has from its first moment; 0 if the file is gone. Raises
        RunError if best.npz is damaged."""
        best = RunFolder(self.path).best
        if self.classes or not best.exists():
            return len(self.classes)
        return len(read_model_arrays(best, kinds=("model",))[0]["b2"])

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column of the history, within the range that is drawn; empty if it is absent or holds no number."""
        values = within_reach(np.asarray(self.history.get(name, ()), float))
        return values if np.isfinite(values).any() else np.empty(0)

    def predicted(self, part: str) -> tuple[Array, Array] | None:
        """Return class indices (N,) and probabilities (N, C) of the `validation` or `test` rows, if there are any."""
        y, P = self.predictions.get(f"{part}_y"), self.predictions.get(f"{part}_proba")
        return None if y is None or P is None or not len(y) else (y, P)

    def at_best(self, name: str) -> float | None:
        """Return a column's value at the best epoch."""
        values, at = self.column(name), np.flatnonzero(self.column("epoch") == self.best_epoch)
        return float(values[at[0]]) if at.size and values.size and np.isfinite(values[at[0]]) else None

    def best(self, name: str) -> float | None:
        """Return a column's best value."""
        values = self.column(name)
        return float((np.nanmax if larger_is_better(name) else np.nanmin)(values)) if values.size else None

    def last(self, name: str) -> float | None:
        """Return a column's last value."""
        values = self.column(name)
        return float(values[-1]) if values.size and np.isfinite(values[-1]) else None


FIGURES: dict[str, Callable[[RunData], Cell]] = {
    "epochs": lambda run: len(run.column("epoch")),
    "best epoch": lambda run: run.best_epoch,
    "final train loss": lambda run: run.last("train_loss"),
    "final val loss": lambda run: run.last("val_loss"),
    "final val accuracy": lambda run: run.last("val_accuracy"),
    "lowest val loss": lambda run: run.best("val_loss"),
    "best val accuracy": lambda run: run.best("val_accuracy"),
    "best val balanced accuracy": lambda run: run.best("val_balanced_accuracy"),
    "best val f1": lambda run: run.best("val_f1"),
    "best val auc": lambda run: run.best("val_auc"),
    "test accuracy": lambda run: run.summary.get("test_accuracy"),
    "seconds": lambda run: run.last("seconds"),
}


def run_folders(place: Path) -> list[Path]:
    """Return the run folder at `place` or those in it, by name: of a folder of runs, a sweep, or a folder of sweeps."""
    if _is_run(place):
        return [place]
    found = []
    with suppress(OSError):
        for each in sorted(place.iterdir()):
            if _is_run(each):
                found.append(each)
            elif each.is_symlink():
                continue  # a link to a folder above would have no end
            elif (each / "journal.jsonl").is_file() or (each.name == "runs" and (place / "journal.jsonl").is_file()):
                found += run_folders(each)
    return found


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return not path.name.startswith(".") and folder.config.is_file() and folder.last.is_file()


def sweep_statuses(path: Path) -> dict[str, str]:
    """Return what a sweep's journal says of its runs, by name: finished, pruned, diverged or failed."""
    statuses = {}
    with suppress(RunError):
        for line in read_at_most(path, _MAX_JOURNAL_BYTES).splitlines():
            with suppress(RunError, KeyError):
                entry = parse_object(line, str(path))
                statuses[str(entry["run"])] = str(entry["status"])
    return statuses


def status_of(folder: RunFolder, summary: Mapping[str, Any], journal: Mapping[str, str]) -> str:
    """Return the status of a run, see `RunData`: whether a process uses it, else what the run or its sweep says."""
    if folder.in_use():
        return "running"
    status = str(summary.get("status", "gone"))
    return status if status in ENDED else journal.get(folder.path.name, status)


def load_runs(places: Sequence[Path], say: Callable[[str], object]) -> list[RunData]:
    """Read run folders, and all runs in folders of runs or of a sweep; `say` takes a note on each run of a folder that
    is left out. Raises RunError if a place is neither, or a run that was named cannot be read."""
    runs = []
    for place in places:
        for path in run_folders(place) or [place]:
            try:
                runs.append(read_run(path))
            except TwoLayerError as error:
                if path == place:
                    raise
                say(f"left out: {error}")
    if not runs:
        raise RunError(f"{places[0]}: no run in it has finished an epoch")
    return runs


def read_run(path: str | Path, config: Mapping[str, Any] | None = None) -> RunData:
    """Read a run folder, and its resolved config as nested dictionaries unless that is given. Raises RunError if the
    folder is no run folder, holds no epoch yet, or a file in it is damaged."""
    folder = open_run(path)
    history = read_history(folder.history)
    if not len(history["epoch"]):
        raise RunError(f"{folder.history}: expected a finished epoch, got none")
    if config is None:
        config = load_config(folder.config, require_files=False).model_dump()
    predictions, classes = read_predictions(folder.predictions) if folder.predictions.exists() else ({}, ())
    summary = read_summary(folder.summary)
    environment = read_json(folder.environment) if folder.environment.exists() else {}
    status = status_of(folder, summary, sweep_statuses(folder.path.parent.parent / "journal.jsonl"))
    return RunData(folder.path.resolve(), history, config, summary, environment, predictions, classes, status)


def read_summary(path: Path) -> dict[str, Any]:
    """Read summary.json, which may be untrusted, and check what the views show; empty if absent."""
    summary = read_json(path) if path.exists() else {}
    for name in ("best_epoch", "test_accuracy"):
        value = summary.get(name)
        if value is not None and not (isinstance(value, int | float) and abs(value) < 1 << 53):
            raise RunError(f"{path}: {name}: expected a number or null, got {shown(value)}")
    return summary


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as dotted keys: {"solver": {"reg": 0}} becomes {"solver.reg": 0}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def differing_keys(runs: Sequence[RunData]) -> dict[str, str]:
    """Return the dotted keys of the config whose values are not the same in all runs, in the first config's order, each
    with its short name: without its section, where that leaves it different."""
    first = runs[0].settings
    differing = [
        key
        for key in dict.fromkeys(key for run in runs for key in run.settings)
        if not key.startswith(_NOT_COMPARED) and any(run.settings.get(key) != first.get(key) for run in runs)
    ]
    last = [key.rsplit(".", 1)[-1] for key in differing]
    return {key: name if last.count(name) == 1 else key for key, name in zip(differing, last, strict=True)}


def value_text(value: Any) -> str:
    """Return a config's value as a legend shows it: short numbers, YAML's words, of a file its name alone."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return value.rsplit("/", 1)[-1] if isinstance(value, str) else str(value)


class RunGroup(NamedTuple):
    """Runs that differ in their seed alone, or a single run; labelled by the keys in which it differs from others."""

    label: str
    runs: tuple[RunData, ...]


def grouped(runs: Sequence[RunData], by_seed: bool = True) -> list[RunGroup]:
    """Group runs whose configs differ in the seed alone (with `by_seed`; otherwise each run is a group)."""
    names = differing_keys(runs)
    together = by_seed and names.pop(SEED, None) is not None
    members: dict[tuple[str, ...], list[RunData]] = {}
    for index, run in enumerate(runs):
        values = (repr(run.settings.get(key)) for key in names)
        members.setdefault((*values, "" if together else str(index)), []).append(run)
    groups = []
    for same in members.values():
        words = [f"{name}={value_text(same[0].settings.get(key))}" for key, name in names.items()]
        if len(same) > 1:
            words.append(f"mean of {counted(len(same), 'run')}")
        groups.append(RunGroup(", ".join(words) or same[0].name, tuple(same)))
    return groups


class RawRows(NamedTuple):
    """Rows in their own units: X (N, D) as the files have them, categories as one-hot features; class indices y (N,);
    their numbers (N,) in the source; and what prepares them."""

    X: Array
    y: Array
    row_numbers: NDArray[np.intp]
    preparation: Preparation

    def cells(self, k: int) -> dict[str, str]:
        """Return row k as its file has it, by column."""
        form, names = self.preparation.form, self.preparation.feature_names
        origins = form.origins if form else [(name, None) for name in names]
        found = {}
        for (column, category), value in zip(origins, self.X[k], strict=True):
            if category is None:
                found[column] = str(value).removesuffix(".0")
            elif value == 1:
                found[column] = category
            elif value:  # a missing category, filled with the means
                found[f"{column}={category}"] = f"{value:g}"
        return found


def raw_rows(
    run: Path, part: str, chosen: NDArray[np.intp] | None = None, numbers: NDArray[np.intp] | None = None
) -> RawRows:
    """Read the `train`, `validation` or `test` rows of a run again, all or those at the `chosen` positions, which must
    have these `numbers`. Raises FileError if a file is gone, cannot be read, or is not as the run recorded it."""
    folder = RunFolder(run)
    config = load_config(folder.config, require_files=False)
    files = [path for key in ("train", "validation", "test") for path in files_of(getattr(config.data, key))]
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists())
    dataset = _load(json.dumps({**config.data.model_dump(), "scale": "none"}), config.seed, stamps)
    recorded = recorded_digests(folder.environment)
    if recorded and sorted(recorded.values()) != sorted(dataset.digests.values()):
        changed = [path for path, digest in dataset.digests.items() if digest not in recorded.values()]
        raise FileError(f"{', '.join(changed[:3])}: expected the content that the run recorded, got another one")
    rows = getattr(dataset, part)
    if rows is None:
        raise FileError(f"the config names no {part} rows")
    if chosen is None or numbers is None:
        chosen, numbers = np.arange(len(rows.y)), rows.row_numbers
    if chosen.max(initial=-1) >= len(rows.y) or not np.array_equal(numbers, rows.row_numbers[chosen]):
        raise FileError(f"the {part} rows are not those the run was made from: the data files have changed")
    return RawRows(rows.X.raw(chosen), rows.y[chosen], numbers, dataset.preparation)


@lru_cache(maxsize=1)
def _load(data: str, seed: int, stamps: tuple[tuple[int, int], ...]) -> Dataset:
    """Load a config's data section (JSON); `stamps`, the files' sizes and times, make another entry of the cache."""
    return load_dataset(**json.loads(data), seed=seed, dtype="float64")
