"""A sweep file -> Sweep, or all problems of it and of its base config in one report, each with its place. Corners of
the space are put into the base config and judged by the config's own checks before anything is trained.

The keys of a sweep file beside `space`: what each wants, its default and its meaning."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from twolayer.config import Config
from twolayer.config.errors_report import Place, Report, hint_for, similar_file
from twolayer.config.loading import apply_override
from twolayer.config.schema import known_keys
from twolayer.config.yaml_reader import Document, read_document
from twolayer.sweep.space import FORMS, Dimension, Value, check_corners, config_with, read_dimension
from twolayer.utils.columns import larger_is_better
from twolayer.utils.errors import ConfigError
from twolayer.utils.text import nearest, shown

SAMPLERS = ("grid", "random", "tpe")
PRUNERS = ("none", "median", "hyperband")


class Key(NamedTuple):
    """One key.

    Attributes:
        default: `...` where the key is required.
        wants: in words.
        meaning: for the reference table.
        choices: the words that may stand there, if it is one of some words.
    """

    default: Any
    wants: str
    meaning: str
    choices: tuple[str, ...] = ()


KEYS: dict[str, Key] = {
    "base": Key(..., "a file name", "the config that every trial starts from, relative to the sweep file"),
    "space": Key(..., "a mapping", "the config keys to vary, each with its values"),
    "sampler": Key("random", f"one of {', '.join(SAMPLERS)}", "who picks the points", SAMPLERS),
    "seed": Key(0, "a whole number from 0 to 4294967295", "what the sampler draws from"),
    "seeds": Key(1, "a whole number from 1 to 1000", "runs per point, with the base's seed, the next one, ..."),
    "pruner": Key("none", f"one of {', '.join(PRUNERS)}", "who ends hopeless trials early", PRUNERS),
    "min_epochs": Key(1, "a whole number of at least 1", "epochs that every trial gets before a pruner may end it"),
    "trials": Key(None, "a whole number of at least 1 or null", "at most so many points; null: no limit"),
    "minutes": Key(None, "a number greater than 0 or null", "no new run starts after so long; null: no limit"),
    "workers": Key(1, "a whole number from 1 to 512", "processes that train side by side"),
    "threads": Key(1, "a whole number from 1 to 512", "BLAS threads of each process"),
    "refit": Key(False, "true or false", "train the winner once more on training and validation rows together"),
    "dir": Key("runs/sweeps", "a folder name", "folder of the sweep folders, relative to the current folder"),
}

# Keys that may be others when a sweep goes on: they change neither the points nor what is learned at one.
FREE_KEYS = ("trials", "minutes", "workers", "refit", "dir")
_LIMITS = {"seed": (0, 2**32 - 1), "seeds": (1, 1000), "min_epochs": (1, 10**9), "trials": (1, 10**6)}
_LIMITS |= {"workers": (1, 512), "threads": (1, 512)}


def problem_of(name: str, data: Mapping[str, Any]) -> str | None:
    """What is wrong with a key of a sweep file, or None."""
    key = KEYS[name]
    if name not in data:
        return f"missing key; expected {key.wants}" if key.default is ... else None
    value = data[name]
    if _fits(name, key, value):
        return None
    guess = nearest(value, key.choices) if isinstance(value, str) and key.choices else None
    hint = f"; did you mean '{guess}'?" if guess else ""
    return f"expected {key.wants}, got {shown(value)}{hint}"


def _fits(name: str, key: Key, value: Any) -> bool:
    if value is None:
        return key.default is None
    if key.choices:
        return isinstance(value, str) and value in key.choices
    if name in _LIMITS:
        low, high = _LIMITS[name]
        return type(value) is int and low <= value <= high
    if name == "minutes":
        return type(value) in (int, float) and math.isfinite(value) and value > 0
    if name == "refit":
        return type(value) is bool
    return isinstance(value, dict) if name == "space" else isinstance(value, str) and bool(value)


MAX_GRID = 100_000
NOT_SEARCHED = {
    "seed": "the runs of a point differ in their seeds: say how many with 'seeds'",
    "data": "other rows make other figures, which do not compare; of the section data only scale and missing vary",
    "run": "the section run never changes what is learned",
    "solver.monitor": "it is what the points are ranked by, and must be the same for all",
}
DATA_KEYS = ("data.scale", "data.missing")


@dataclass(frozen=True)
class Sweep:
    """A search, checked.

    Attributes:
        path: the sweep file.
        base_path: the config it starts from.
        base: that config.
        space: one dimension for each key.
        settings: the other keys of the file, see `keys.KEYS`.
    """

    path: Path
    base_path: Path
    base: Config
    space: tuple[Dimension, ...]
    settings: Mapping[str, Any]
    _document: Document = field(repr=False)

    @property
    def name(self) -> str:
        """The file's name without folder and ending."""
        return self.path.stem

    @property
    def monitor(self) -> str:
        """The column of the history that ranks, of validation rows."""
        return self.base.solver.monitor

    @property
    def larger_is_better(self) -> bool:
        """Whether the better of two points has the larger value."""
        return larger_is_better(self.monitor)

    @property
    def seeds(self) -> list[int]:
        """The seeds of each point's runs."""
        return [self.base.seed + i for i in range(self.settings["seeds"])]

    @property
    def max_points(self) -> int | None:
        """At most so many points; None if only time limits them."""
        limits = [self.settings["trials"]] if self.settings["trials"] is not None else []
        if self.settings["sampler"] == "grid":
            limits.append(_grid_size(self.space))
        return min(limits, default=None)

    @property
    def has_test_source(self) -> bool:
        """Whether the test rows come from a source of their own, and not out of the training rows'."""
        return not isinstance(self.base.data.test, float | int | None)

    def config(self, point: Mapping[str, Value], **changes: Any) -> Config:
        """The base config with a point's values and further changes (`solver__epochs=10`).

        Raises:
            ConfigError: if they do not fit together.
        """
        values = {**point, **{key.replace("__", "."): value for key, value in changes.items()}}
        places = {key: Place(f"{self.path}: point", number, 0) for number, key in enumerate(values)}
        return config_with(self._document, values, places, self.base_path, Report())


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Reads and checks a sweep file.

    Args:
        path: the YAML file; `base` is relative to its folder.
        overrides: `KEY=VALUE` for keys of the sweep file, such as `workers=4`.

    Raises:
        ConfigError: with all problems.
    """
    path, report = Path(path), Report()
    document = read_document(path, report)
    if document is None:
        raise report.error()
    for number, override in enumerate(overrides):
        apply_override(document, override, number, report)
    if not isinstance(document.data, dict):
        report.add((), f"expected the keys {', '.join(KEYS)}, got {shown(document.data)}", document.place(()))
        raise report.error()

    def complain(where: tuple[str | int, ...], message: str) -> None:
        report.add(where, message, document.place(where))

    settings: dict[str, Any] = {}
    for name in document.data:
        if name not in KEYS:
            hint = f"; it belongs under 'space': {{{name}: [...]}}" if "." in name else hint_for(name, list(KEYS))
            complain((name,), f"unknown key{hint}")
    for name, key in KEYS.items():
        settings[name] = document.data.get(name, key.default)
        if not report.is_usable((name,)):
            settings[name] = key.default
        elif (problem := problem_of(name, document.data)) is not None:
            complain((name,), problem)
            settings[name] = key.default
    space = _read_space(document, report, settings["sampler"])
    base_report = Report()
    base_path, base_document, base = _read_base(path, settings["base"], document, report, base_report)
    if base is not None and base_document is not None:
        _check_base(base, settings, complain, document)
        check_corners(space, base_document, base_path, document, report)
    if not report.problems:
        _check_together(space, settings, base, complain)
    problems = [problem for each in (report, base_report) if each.problems for problem in each.error().problems]
    if problems or base is None or base_document is None:
        raise ConfigError(problems)
    return Sweep(path, base_path, base, tuple(space), settings, base_document)


def _read_space(document: Document, report: Report, sampler: str) -> list[Dimension]:
    written = document.data.get("space")
    if not isinstance(written, dict):
        return []  # told already

    def complain(where: tuple[str | int, ...], message: str) -> None:
        report.add(where, message, document.place(where))

    space = []
    for key, value in written.items():
        where = ("space", key)
        if not report.is_usable(where):
            continue
        if (problem := _key_fault(key)) is not None:
            complain(where, problem)
            continue
        dimension = read_dimension(key, value, where, complain)
        if dimension is None:
            continue
        if sampler == "grid" and dimension.kind in ("uniform", "log_uniform") and dimension.points is None:
            complain(where, "a grid needs to know how many values: add points: 5, or give a list")
        elif sampler != "grid" and dimension.points is not None:
            complain((*where, "points"), f"only sampler: grid uses it, and the sampler is {sampler}; remove it")
        space.append(dimension)
    return space


def _key_fault(key: str) -> str | None:
    """Why a key cannot be searched over, or None."""
    names = known_keys
    known = [f"{section}.{name}" for section in names(()) for name in names((section,))]
    section = key.partition(".")[0]
    for refused in (key, section):
        if refused in NOT_SEARCHED and key not in DATA_KEYS and (key in known or key == "seed"):
            return f"cannot be searched over: {NOT_SEARCHED[refused]}"
    if key in known:
        return None
    bare = key.rpartition(".")[2]
    guess = nearest(key, known) or next((each for each in known if each.endswith("." + bare)), None)
    return f"no key of a config; did you mean '{guess}'?" if guess else "no key of a config, such as solver.reg"


def _read_base(
    path: Path, written: Any, document: Document, report: Report, base_report: Report
) -> tuple[Path, Document | None, Config | None]:
    """The base config with its document; its problems go into a report of their own."""
    if not isinstance(written, str):
        return path, None, None
    place = document.place(("base",))
    folder = Path() if place is not None and place.column == 0 else path.parent
    base_path = folder / os.path.expanduser(written)
    if not base_path.is_file():
        report.add(("base",), f"no such file: {shown(written)}, that is {base_path}{similar_file(base_path)}", place)
        return base_path, None, None
    base_document = read_document(base_path, base_report)
    if base_document is None or not isinstance(base_document.data, dict):
        if base_document is not None:
            base_report.add((), f"expected a config, got {shown(base_document.data)}", base_document.place(()))
        return base_path, None, None
    try:
        return base_path, base_document, config_with(base_document, {}, {}, base_path, base_report)
    except ConfigError:
        return base_path, base_document, None


def _check_base(base: Config, settings: Mapping[str, Any], complain: Any, document: Document) -> None:
    """What a search asks of its base."""
    ranking = ("val_accuracy", "val_loss", "val_f1", "val_balanced_accuracy", "val_auc")
    if base.solver.monitor not in ranking:
        complain(
            ("base",),
            f"its solver.monitor is {base.solver.monitor}, and points are ranked by validation rows: "
            f"set data.validation, and monitor: one of {', '.join(ranking)}",
        )
    if settings["refit"] and not isinstance(base.data.validation, float | int):
        complain(
            ("refit",) if "refit" in document.data else ("base",),
            "the validation rows are a file of their own, which cannot be joined to the training rows: "
            "set refit: false, or data.validation: a fraction",
        )


def _check_together(
    space: Sequence[Dimension], settings: Mapping[str, Any], base: Config | None, complain: Any
) -> None:
    """What has to fit together in the sweep file itself."""
    sampler, trials = settings["sampler"], settings["trials"]
    if not space:
        complain(("space",), f"empty; expected config keys with {FORMS}")
    elif sampler == "grid" and _grid_size(space) > MAX_GRID:
        complain(("space",), f"the grid has {_grid_size(space):,} points, at most {MAX_GRID:,} are possible")
    if sampler != "grid" and trials is None and settings["minutes"] is None:
        complain(("sampler",), f"{sampler} never ends by itself: give a budget, trials or minutes")
    varied = {d.key for d in space if d.varies}
    if settings["pruner"] != "none" and "solver.epochs" in varied:
        complain(
            ("space", "solver.epochs"), f"pruner: {settings['pruner']} compares trials of equal length; fix the epochs"
        )
    if settings["pruner"] == "hyperband" and base is not None and settings["min_epochs"] >= base.solver.epochs:
        complain(("min_epochs",), f"found {settings['min_epochs']}, the training has {base.solver.epochs} epochs")


def _grid_size(space: Sequence[Dimension]) -> int:
    size = 1
    for dimension in space:
        size *= len(dimension.grid())
    return size
