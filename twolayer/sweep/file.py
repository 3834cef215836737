"""A sweep file -> Sweep, or all problems of it and of its base config in one report, each with its place; and the check
that a resumed sweep is the same one."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from twolayer.config import Config, by_dotted_key, load_config
from twolayer.config.checking import check_types, known_keys
from twolayer.config.document import KeyPath, Report, apply_override, file_problem, read_document
from twolayer.config.models import KEYS, Fold, SweepFile
from twolayer.data.files import digest_of
from twolayer.data.sources import files_of
from twolayer.network.settings import needs_validation
from twolayer.sweep.space import Complain, Dimension, check_corners, config_with, read_dimension
from twolayer.utils.errors import ConfigError, RunError
from twolayer.utils.files import read_json, write_json
from twolayer.utils.text import nearest, plain, shown

# Keys that may change when a sweep is resumed: they change neither the points nor the result of one.
FREE_KEYS = ("trials", "minutes", "workers", "refit", "dir")
MAX_GRID = 100_000
NOT_SEARCHED = {
    "seed": "the runs of a point differ in their seeds: set their number with 'seeds'",
    "data": "results on other rows do not compare; of the section data only scale and missing vary",
    "run": "the section run never changes what is learned",
    "solver.monitor": "it is what the points are ranked by, and must be the same for all",
}
DATA_KEYS = ("data.scale", "data.missing")


class Repeat(NamedTuple):
    """What distinguishes the runs of a point: the seed and, in cross-validation, the fold held out, from 1."""

    seed: int
    fold: int | None


@dataclass(frozen=True)
class Sweep:
    """A search, checked."""

    path: Path  # the sweep file
    base: Config  # the config it starts from, overrides applied
    space: tuple[Dimension, ...]
    settings: SweepFile  # the other keys of the file

    @property
    def monitor(self) -> str:
        """The column of the history that ranks, of validation rows."""
        return self.base.solver.monitor

    @property
    def repeats(self) -> list[Repeat]:
        """The runs of each point."""
        folds = [None] if self.settings.folds is None else list(range(1, self.settings.folds + 1))
        return [Repeat(self.base.seed + i, fold) for i in range(self.settings.seeds) for fold in folds]

    @property
    def max_points(self) -> int | None:
        """The maximum number of points; None if only time limits them."""
        limits = [self.settings.trials, _grid_size(self.space) if self.settings.sampler == "grid" else None]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def for_a_run(self) -> dict[str, Any]:
        """What all runs change in the config: test rows of a source of their own are for the winner only."""
        changes: dict[str, Any] = {"run.snapshot_epochs": None, "run.refit": False}
        return changes if isinstance(self.base.data.test, float | int | None) else changes | {"data.test": None}

    def config(self, values: Mapping[str, Any], repeat: Repeat | None = None) -> Config:
        """Return the base config with other values by dotted key, such as a point's, and the seed and the fold of a run
        (None: the base's seed and validation rows); raise ConfigError."""
        changes = dict(values)
        if repeat is not None:
            changes["seed"] = repeat.seed
            if repeat.fold is not None:
                changes["data.validation"] = {"fold": repeat.fold, "folds": self.settings.folds}
        return config_with(self.base, changes, Report())


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file; raise ConfigError with all problems.

    Args:
        path: the YAML file; `base` is relative to its folder.
        overrides: `KEY=VALUE` for keys of the sweep file, such as `workers=4`, and of its base config, such as
            `solver.epochs=8`; paths in the latter are relative to the current folder.
    """
    path, report = Path(path), Report()
    document = read_document(path, report)
    if document is None:
        raise report.error()
    for_base, sections = [], known_keys(())
    for number, override in enumerate(overrides):
        section, dot, _ = override.partition("=")[0].strip().partition(".")
        if dot and section in sections:  # a key of the base config
            for_base.append(override)
        else:
            apply_override(document, override, number, report)

    def complain(where: KeyPath, message: str) -> None:
        report.add(where, message, document.place(where))

    for name in document.data if isinstance(document.data, dict) else ():
        if "." in name:
            complain((name,), f"unknown key; it belongs under 'space': {{{name}: [...]}}")
    check_types(document, report, SweepFile)
    if not isinstance(document.data, dict):
        raise report.error()
    usable = {key: value for key, value in document.data.items() if report.is_usable((key,))}
    if isinstance(document.data.get("space"), dict):
        usable["space"] = document.data["space"]  # whose keys are checked one by one
    settings = SweepFile.model_construct(**{"base": "", "space": {}} | usable)
    space = _read_space(settings, report, complain)
    base, problems = None, []
    if settings.base:
        place = document.place(("base",))
        folder = Path() if place is not None and place.column == 0 else path.parent  # column 0: an override
        base_path = folder / os.path.expanduser(settings.base)
        if problem := file_problem(base_path):
            complain(("base",), f"{shown(settings.base)}, that is {base_path}: {problem}")
        else:
            try:
                base = load_config(base_path, for_base)
                _check_base(base, settings, complain)
                check_corners(space, base, document, report)
            except ConfigError as error:
                problems = error.problems
    if not report.problems:
        _check_together(space, settings, base, for_base, complain)
    if report.problems:
        problems = [*report.error().problems, *problems]
    if problems or base is None:
        raise ConfigError(problems)
    return Sweep(path, base, tuple(space), settings)


def _read_space(settings: SweepFile, report: Report, complain: Complain) -> list[Dimension]:
    space = []
    for key, value in settings.space.items():
        where = ("space", key)
        if not report.is_usable(where):
            continue
        if problem := _key_problem(key):
            complain(where, problem)
        elif dimension := read_dimension(key, value, complain):
            if settings.sampler != "grid" and dimension.points is not None:
                complain((*where, "points"), f"only used by sampler: grid, not by {settings.sampler}; remove it")
            if settings.sampler == "grid" and dimension.kind in ("uniform", "log_uniform") and dimension.points is None:
                complain(where, "a grid needs the number of values: add points: 5, or give a list")
            space.append(dimension)
    return space


def _key_problem(key: str) -> str | None:
    """Return why a key cannot be searched over, or None."""
    known = [f"{section}.{name}" for section in known_keys(()) for name in known_keys((section,))]
    reason = NOT_SEARCHED.get(key) or NOT_SEARCHED.get(key.partition(".")[0])
    if reason is not None and key not in DATA_KEYS:
        return f"cannot be searched over: {reason}"
    if key in known:
        return None
    guess = nearest(key, known) or next((each for each in known if each.endswith(f".{key}")), None)
    return f"no key of a config; did you mean '{guess}'?" if guess else "no key of a config, such as solver.reg"


def _check_base(base: Config, settings: SweepFile, complain: Complain) -> None:
    if not needs_validation(base.solver.monitor):
        complain(
            ("base",),
            f"its solver.monitor is {base.solver.monitor}, and points are ranked by validation rows: "
            "set data.validation, and a monitor such as val_accuracy or val_loss",
        )
    if not isinstance(base.data.validation, float | int | Fold):
        what = "the base's validation rows are a file; remove this key, or set data.validation to a fraction"
        if settings.folds:
            complain(("folds",), f"folds are parts of the training rows, but {what}")
        if settings.refit:
            complain(("refit",), f"it trains on training and validation rows together, but {what}")


def _check_together(
    space: Sequence[Dimension], settings: SweepFile, base: Config | None, overrides: Iterable[str], complain: Complain
) -> None:
    """Check what has to fit together in the sweep file itself."""
    if settings.sampler == "grid" and _grid_size(space) > MAX_GRID:
        complain(("space",), f"the grid has {_grid_size(space):,} points, at most {MAX_GRID:,} are possible")
    if settings.sampler != "grid" and settings.trials is None and settings.minutes is None:
        complain(("sampler",), f"{settings.sampler} never ends by itself: give a budget, trials or minutes")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in settings.space:
            complain(("space", key), f"varied here and set by the override {override}; remove one")
    varied = {d.key for d in space if d.varies}
    if settings.pruner != "none" and "solver.epochs" in varied:
        where = ("space", "solver.epochs")
        complain(where, f"pruner: {settings.pruner} compares trials of equal length; fix the epochs")
    if settings.pruner == "hyperband" and base is not None and settings.min_epochs >= base.solver.epochs:
        complain(("min_epochs",), f"expected fewer than the training's {base.solver.epochs}, got {settings.min_epochs}")


def _grid_size(space: Sequence[Dimension]) -> int:
    return math.prod(len(dimension.grid()) for dimension in space)


def require_same_sweep(sweep: Sweep, folder: Path) -> dict[str, str]:
    """Write what the sweep is into sweep.json of its folder, or compare it with what that file says; return the SHA-256
    of each data file by its path. Raise RunError if a key or a data file has changed, naming the first few."""
    base = sweep.base.model_dump(mode="json")
    digests = {
        str(path): digest_of(path) for key in ("train", "test", "validation") for path in files_of(base["data"][key])
    }
    base["run"] = {"evaluate_rows": base["run"]["evaluate_rows"]}
    settings = dict(sweep.settings)
    today = {f"base.{key}": value for key, value in by_dotted_key(base).items()}
    today |= {f"space.{key}": value for key, value in settings["space"].items()}
    today |= {key: value for key, value in settings.items() if key not in (*FREE_KEYS, "base", "space")}
    today |= {f"SHA-256 of {path}": digest for path, digest in digests.items()}
    path = folder / "sweep.json"
    if not path.exists():
        write_json(path, today)
        return digests
    fields = {f"base.{key}": field for key, field in KEYS.items()} | SweepFile.model_fields
    defaults = {key: fields[key].default for key in today if key in fields}  # of keys newer than the sweep
    then = defaults | read_json(path)
    both = {key: (then.get(key), today.get(key)) for key in then | today}
    changed = [f"{key}: {_shown(old)} then, {_shown(new)} now" for key, (old, new) in both.items() if old != new]
    if changed:
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise RunError(
            f"{folder}: holds another sweep: {'; '.join(changed[:5])}{more}. Undo that to resume it, or start this one "
            f"in a new folder with --sweep-dir; only {', '.join(FREE_KEYS)} may change"
        )
    return digests


def _shown(value: Any) -> str:
    return plain(json.dumps(value)) if isinstance(value, dict | list) else shown(value)
