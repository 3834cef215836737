"""What the views know of a run: its folder read once, its config as flat keys, and the keys that set runs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.runs.checkpoint import read_model_arrays
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.runs.saved_model import read_predictions
from twolayer.utils.errors import RunError
from twolayer.utils.jsonfile import read_json
from twolayer.utils.text import shown

# Keys that say where a run is or how it reports, not what it computes.
_NOT_COMPARED = ("run.",)
SEED = "seed"


@dataclass(frozen=True)
class RunData:
    """One run, as far as it got.

    Attributes:
        path: the run folder.
        history: columns of history.csv by name, (epochs,) each, NaN where there is no value.
        config: the resolved config as nested dictionaries.
        summary: summary.json; empty while the run goes on.
        environment: environment.json.
        predictions: arrays of predictions.npz; empty before the end.
        classes: C labels; empty before the end.
    """

    path: Path
    history: Mapping[str, NDArray[np.float64]]
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Array] = field(default_factory=dict)
    classes: Sequence[Any] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose parameters were kept, once the run has ended."""
        epoch = self.summary.get("best_epoch")
        return epoch if isinstance(epoch, int) and epoch > 0 else None

    @property
    def n_classes(self) -> int:
        """C; before the end that of best.npz, which a run has from its first moment; 0 if somebody took it away.

        Raises:
            RunError: if that file is damaged.
        """
        best = RunFolder(self.path).best
        if self.classes or not best.exists():
            return len(self.classes)
        return len(read_model_arrays(best, kinds=("model",))[0]["b2"])

    def column(self, name: str) -> NDArray[np.float64]:
        """A column of the history; empty if it is not there or holds no number."""
        values = self.history.get(name, np.empty(0))
        return values if np.isfinite(values).any() else np.empty(0)


def read_run(path: str | Path, config: Mapping[str, Any]) -> RunData:
    """Reads a run folder.

    Args:
        path: the folder.
        config: its resolved config as nested dictionaries; the views do not read YAML.

    Raises:
        RunError: if the folder is no run folder, holds no epoch yet, or a file in it is damaged.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise RunError(f"{path}: no such folder; a run folder is wanted, such as one in runs/")
    folder.require_box()
    if not folder.history.exists():
        raise RunError(f"{path}: no history.csv in it: not a run folder, or no epoch has ended yet")
    history = read_history(folder.history)
    if not len(history.get("epoch", ())):
        raise RunError(f"{folder.history}: holds no epoch yet; wait for the first one to end")
    predictions: dict[str, Array] = {}
    classes: Sequence[Any] = ()
    if folder.predictions.exists():
        predictions, classes = read_predictions(folder.predictions)
    return RunData(
        path=folder.path.resolve(),
        history=history,
        config=config,
        summary=read_summary(folder.summary),
        environment=read_json(folder.environment) if folder.environment.exists() else {},
        predictions=predictions,
        classes=classes,
    )


def read_summary(path: Path) -> dict[str, Any]:
    """What summary.json holds, nothing before there is one; it may be anybody's, so what the views show is checked.

    Raises:
        RunError: if the file cannot be read, or a figure in it is no number of a common size.
    """
    summary = read_json(path) if path.exists() else {}
    for name in ("best_epoch", "test_accuracy"):
        value = summary.get(name)
        if value is not None and not (isinstance(value, int | float) and abs(value) < 1 << 53):
            raise RunError(f"{path}: {name} is {shown(value)}; wanted: a number or null, as a run writes it")
    return summary


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys: {"solver": {"reg": 0}} becomes {"solver.reg": 0}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dotted keys whose values are not the same in all configs, in the first config's order."""
    flat = [flattened(config) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [
        key
        for key in keys
        if not key.startswith(_NOT_COMPARED) and any(one.get(key) != flat[0].get(key) for one in flat[1:])
    ]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Dotted keys without their sections, where that leaves them different."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def value_text(value: Any) -> str:
    """A config's value as a legend shows it: short numbers, YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and "/" in value:
        return value.rsplit("/", 1)[-1]  # a file's name; its folder says nothing in a legend
    return str(value)


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone, or a single run.

    Attributes:
        label: the config keys in which it differs from the other groups.
        runs: one or more.
    """

    label: str
    runs: tuple[RunData, ...]


def grouped(runs: Sequence[RunData], by_seed: bool = True) -> list[Group]:
    """Groups of runs whose configs are the same but for the seed, labelled by what sets the groups apart.

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
        groups.append(Group(label or same[0].name, tuple(same)))
    return groups
