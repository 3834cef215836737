"""What the views know of a run: its folder read once, its config as flat keys, and the keys in which runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.config import Config, load_config
from twolayer.network.model import Array
from twolayer.runs.checkpoint import read_model_arrays
from twolayer.runs.folder import RunFolder, open_run
from twolayer.runs.logs import read_history
from twolayer.runs.saved_model import read_predictions
from twolayer.utils.columns import larger_is_better
from twolayer.utils.errors import RunError, TwoLayerError
from twolayer.utils.files import read_at_most
from twolayer.utils.jsonfile import parse_object, read_json
from twolayer.utils.text import shown

# Keys that say where a run is or how it reports, not what it computes.
_NOT_COMPARED = ("run.",)
SEED = "seed"
ENDED = ("finished", "stopped_early")
_MAX_JOURNAL_BYTES = 64 << 20


@dataclass(frozen=True)
class RunData:
    """One run, as far as it got.

    Attributes:
        path: the run folder.
        history: columns of history.csv by name, (epochs,) each, NaN where there is no value.
        config: the resolved config as nested dictionaries.
        summary: summary.json; empty while the run trains.
        environment: environment.json.
        predictions: arrays of predictions.npz; empty before the end.
        classes: C labels; empty before the end.
        status: finished, stopped_early, interrupted, diverged, pruned, running, or gone: the process was killed.
    """

    path: Path
    history: Mapping[str, NDArray[np.float64]]
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Array] = field(default_factory=dict)
    classes: Sequence[Any] = ()
    status: str = "finished"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def monitor(self) -> str:
        """The column that picks the best epoch."""
        return str((self.config.get("solver") or {}).get("monitor") or "val_accuracy")

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose parameters were kept; while the run trains, the best so far by its monitor."""
        epoch = self.summary.get("best_epoch")
        if isinstance(epoch, int):
            return epoch if epoch > 0 else None
        k = best_index(self.column(self.monitor), self.monitor)
        return None if k is None else int(self.history["epoch"][k])

    @property
    def n_classes(self) -> int:
        """C; before the end that of best.npz, which a run has from its first moment; 0 if the file is gone.

        Raises:
            RunError: if that file is damaged.
        """
        best = RunFolder(self.path).best
        if self.classes or not best.exists():
            return len(self.classes)
        return len(read_model_arrays(best, kinds=("model",))[0]["b2"])

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column of the history; empty if it is absent or holds no number."""
        values = self.history.get(name, np.empty(0))
        return values if np.isfinite(values).any() else np.empty(0)

    def at_best(self, name: str) -> float | None:
        """Return a column's value at the best epoch."""
        values, at = self.column(name), np.flatnonzero(self.history.get("epoch", np.empty(0)) == self.best_epoch)
        return float(values[at[0]]) if at.size and values.size and np.isfinite(values[at[0]]) else None


def best_index(values: NDArray[np.float64], column: str) -> int | None:
    """Return the index of a column's best value, the first of equal ones; None if there is no number."""
    if not np.isfinite(values).any():
        return None
    return int(np.nanargmax(values) if larger_is_better(column) else np.nanargmin(values))


def run_folders(place: Path) -> list[Path]:
    """Return the run folder at `place` or those in it, by name: of a folder of runs, a sweep, or a folder of sweeps.

    The list is empty where there are none.
    """
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


def status_of(folder: RunFolder, summary: Mapping[str, Any], journal: Mapping[str, str] | None = None) -> str:
    """Return the status of a run, see `RunData`: whether a process uses it, else what the run left."""
    if folder.in_use():
        return "running"
    status = str(summary.get("status", "gone"))
    return (journal or {}).get(folder.path.name, status) if status not in ENDED else status


def load_runs(places: Sequence[Path]) -> tuple[list[tuple[RunData, Config]], list[str]]:
    """Read runs with their configs, wherever their data files have gone.

    Args:
        places: run folders, or folders of runs or of a sweep.

    Returns:
        The runs, and a note on each that had to be left out of a folder.

    Raises:
        RunError: if a place is neither, or a run that was named cannot be read.
    """
    runs, notes = [], []
    for place in places:
        named = _is_run(place)
        paths = run_folders(place) or [open_run(place).path]  # which raises, and says what it found
        for path in paths:
            try:
                config = load_config(open_run(path).config, require_files=False)
                runs.append((read_run(path, config.model_dump()), config))
            except TwoLayerError as error:
                if named:
                    raise
                notes.append(f"left out: {error}")
    if not runs:
        raise RunError(f"{places[0]}: no run in it has finished an epoch" + "".join(f"\n{note}" for note in notes))
    return runs, notes


def read_run(path: str | Path, config: Mapping[str, Any]) -> RunData:
    """Read a run folder.

    Args:
        path: the folder.
        config: its resolved config as nested dictionaries.

    Raises:
        RunError: if the folder is no run folder, holds no epoch yet, or a file in it is damaged.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise RunError(f"{path}: no such folder; give a run folder, such as one in runs/")
    folder.require_box()
    if not folder.history.exists():
        raise RunError(f"{path}: no history.csv in it: not a run folder, or no epoch has ended yet")
    history = read_history(folder.history)
    if not len(history.get("epoch", ())):
        raise RunError(f"{folder.history}: holds no epoch yet; wait until the first one ends")
    predictions: dict[str, Array] = {}
    classes: Sequence[Any] = ()
    if folder.predictions.exists():
        predictions, classes = read_predictions(folder.predictions)
    summary = read_summary(folder.summary)
    return RunData(
        path=folder.path.resolve(),
        history=history,
        config=config,
        summary=summary,
        environment=read_json(folder.environment) if folder.environment.exists() else {},
        predictions=predictions,
        classes=classes,
        status=status_of(folder, summary, sweep_statuses(folder.path.parent.parent / "journal.jsonl")),
    )


def read_summary(path: Path) -> dict[str, Any]:
    """Read summary.json, which may be untrusted, and check what the views show; empty if absent.

    Raises:
        RunError: if the file cannot be read, or a figure in it is no number of a common size.
    """
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
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the dotted keys whose values are not the same in all configs, in the first config's order."""
    flat = [flattened(config) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [
        key
        for key in keys
        if not key.startswith(_NOT_COMPARED) and any(one.get(key) != flat[0].get(key) for one in flat[1:])
    ]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return dotted keys without their sections, where that leaves them different."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def value_text(value: Any) -> str:
    """Return a config's value as a legend shows it: short numbers, YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, str) and "/" in value:
        return value.rsplit("/", 1)[-1]  # a file's name; its folder says nothing in a legend
    return str(value)


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in their seed alone, or a single run.

    Attributes:
        label: the config keys in which it differs from the other groups.
        runs: one or more.
    """

    label: str
    runs: tuple[RunData, ...]


def grouped(runs: Sequence[RunData], by_seed: bool = True) -> list[RunGroup]:
    """Group runs whose configs differ in the seed alone, labelled by the keys in which the groups differ.

    Args:
        runs: at least one.
        by_seed: False keeps every run by itself.
    """
    keys = differing_keys([run.config for run in runs])
    shown = [key for key in keys if key != SEED or not by_seed]
    names = short_names(shown)
    members: dict[tuple[str, ...], list[RunData]] = {}
    for index, run in enumerate(runs):
        flat = flattened(run.config)
        alone = () if by_seed and SEED in keys else (str(index),)
        members.setdefault((*(repr(flat.get(key)) for key in shown), *alone), []).append(run)
    groups = []
    for same in members.values():
        flat = flattened(same[0].config)
        label = ", ".join(f"{names[key]}={value_text(flat.get(key))}" for key in shown)
        if len(same) > 1:
            label = f"{label}, mean of {len(same)} runs" if label else f"mean of {len(same)} runs"
        groups.append(RunGroup(label or same[0].name, tuple(same)))
    return groups
