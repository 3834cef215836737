"""The space of a sweep: the values of each config key, its boundary and what lies beyond; the check of its corners by
the config's own rules; and Optuna's part, which picks the points and decides which trials are hopeless.

A new sampler is made for every point, from the sweep's seed and the point's number. What it draws depends on these and
on the results so far, never on how often the sweep was interrupted."""

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from twolayer.config import Config
from twolayer.config.checking import check
from twolayer.config.document import ConfigProblem, Document, KeyPath, Place, Report
from twolayer.config.models import SweepFile
from twolayer.utils.errors import ConfigError, import_extra
from twolayer.utils.text import shown

Value = str | int | float | bool | None
Kind = Literal["list", "uniform", "log_uniform", "integer"]
RANGES = ("uniform", "log_uniform", "integer")
Complain = Callable[[KeyPath, str], None]

NEAR_BOUNDARY = 0.05  # of a range's length, on its own scale
MAX_CORNERS = 500
_OTHER_CHOICE = "not used by"  # how the rules' message about a key of another optimizer or schedule begins
STUDY_NAME = "twolayer"  # Hyperband assigns trials to its brackets by the study's name: it must never change
STARTUP_TRIALS = 5  # trials that finish before the median pruner ends one


@dataclass(frozen=True)
class Dimension:
    """The values of one key."""

    key: str  # dotted, e.g. `solver.reg`
    kind: Kind  # the form in which the values are given
    values: tuple[Value, ...]  # the choices of a list, or the lower and the upper end, both included
    step: int = 1  # distance of two integers
    log: bool = False  # whether integers are spaced by ratios
    points: int | None = None  # number of values a grid takes from a range; None: every integer

    @property
    def is_log(self) -> bool:
        """True if the scale of the key is logarithmic."""
        if self.kind == "list":
            return _is_geometric(self.numbers)
        return self.kind == "log_uniform" or self.log

    @property
    def numbers(self) -> list[float]:
        """The distinct numbers in ascending order; empty if any value is not a number."""
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in self.values):
            return []
        return sorted({value for value in self.values if isinstance(value, int | float)})

    @property
    def varies(self) -> bool:
        """True if there is more than one value."""
        return len(set(self.values)) > 1

    def grid(self) -> list[Value]:
        """Return the values that a grid visits."""
        if self.kind == "list":
            return list(self.values)
        low, high = self.numbers[0], self.numbers[-1]
        if self.kind == "integer" and self.points is None:
            return list(range(int(low), int(high) + 1, self.step))
        spaced = (np.geomspace if self.is_log else np.linspace)(low, high, self.points or 2)
        if self.kind == "integer":
            steps = np.rint((spaced - low) / self.step).astype(int)
            return [int(low) + self.step * int(k) for k in dict.fromkeys(steps.tolist())]
        return [float(f"{value:.12g}") for value in spaced]

    def side(self, value: Value) -> Literal["low", "high"] | None:
        """Return at which end of the key's numbers a value lies, or None."""
        numbers = self.numbers
        if len(numbers) < 2 or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        scale = math.log if self.is_log and self.kind != "list" else float
        low, high, at = scale(numbers[0]), scale(numbers[-1]), scale(value)
        near = 0.0 if self.kind == "list" else NEAR_BOUNDARY * (high - low)
        return "low" if at <= low + near else "high" if at >= high - near else None

    def beyond(self, side: Literal["low", "high"]) -> float:
        """Return a value beyond that end to extend the space to: one more step of a list, half a range."""
        inner, outer = self.numbers[1::-1] if side == "low" else self.numbers[-2:]
        steps = 1 if self.kind == "list" else 0.5
        by_ratio = _is_geometric([number for number in self.numbers if number]) if self.kind == "list" else self.is_log
        value = outer * (outer / inner) ** steps if by_ratio and outer else outer + (outer - inner) * steps
        whole = self.kind == "integer" or all(isinstance(each, int) for each in self.values)
        return round(value) if whole else float(f"{value:.3g}")


def _is_geometric(numbers: list[float]) -> bool:
    """Return whether neighbours differ by a factor of 2 or more on average."""
    return len(numbers) > 1 and numbers[0] > 0 and numbers[-1] >= numbers[0] * 2.0 ** (len(numbers) - 1)


def read_dimension(key: str, written: Any, complain: Complain) -> Dimension | None:
    """Return the dimension of an entry of `space` whose parts are of the right types, or None and `complain` if they do
    not go together."""
    where = ("space", key)
    if isinstance(written, list):
        values = [(type(value) is bool, value) for value in written]
        twin = next((i for i, value in enumerate(values) if value in values[:i]), None)
        if twin is None:
            return Dimension(key, "list", tuple(written))
        complain((*where, twin), f"{shown(written[twin])} occurs more than once; remove one")
        return None
    kinds: list[Any] = [kind for kind in RANGES if kind in written]
    if len(kinds) != 1:
        complain(where, f"expected one of {', '.join(RANGES)}, got {' and '.join(kinds) or 'none'}")
        return None
    (kind,) = kinds
    low, high = written[kind]
    options = {name: value for name, value in written.items() if name != kind}
    step, log = options.get("step", 1), options.get("log", False)
    if kind != "integer" and (unused := {"step", "log"} & options.keys()):
        complain((*where, min(unused)), "only integers have this key; remove it")
    elif low >= high:
        complain((*where, kind), f"expected the lower end first, got {low} and {high}")
    elif low <= 0 and (log or kind == "log_uniform"):
        complain((*where, kind), f"expected a logarithmic range to start above 0, got {low}")
    elif kind == "integer" and (high - low) % step:
        complain((*where, "step"), f"{high} cannot be reached from {low} in steps of {step}")
    elif log and step != 1:
        complain((*where, "step"), "integers spaced by ratios (log: true) have no step; remove it")
    else:
        return Dimension(key, kind, (low, high), **options)
    return None


_End = tuple[str, Value, Place | None]  # a key, one of its values, and where that was written


def config_with(base: Config, values: Mapping[str, Any], report: Report) -> Config:
    """Return a config in which some keys have other values, by dotted key; raise ConfigError.

    The values are overrides: another choice takes the keys of the old one (`solver.momentum`, when the optimizer is now
    adam) out with it.
    """
    document = Document(base.model_dump(exclude_unset=True))
    for number, (key, value) in enumerate(values.items()):
        section, _, name = key.rpartition(".")
        holder = document.data.setdefault(section, {}) if section else document.data
        path = tuple(key.split("."))
        document.places[path] = Place("point", number, 0)
        document.replaced[path] = holder.get(name, ...)
        holder[name] = value
    config = check(document, report, {}, require_files=True)
    config._source = base.source
    return config


def check_corners(space: Sequence[Dimension], base: Config, document: Document, report: Report) -> None:
    """Check the ends of the space by the config's own rules: each alone, and if these are right the corners where they
    meet. Problems of the base config with these values are reported at the values in the sweep file, `document`."""
    ends: list[list[_End]] = []
    for d in space:
        inside: list[KeyPath] = [(i,) if d.kind == "list" else (d.kind, i) for i in range(len(d.values))]
        places = [document.place(("space", d.key, *path)) for path in inside]
        ends.append([(d.key, value, place) for value, place in zip(d.values, places, strict=True)])
    keys = {d.key for d in space}
    reported: set[ConfigProblem] = set()
    for corners in ([(end,) for end in itertools.chain(*ends)], _corners(space, ends)):
        for corner in corners:
            found, own = Report(), {key: place for key, _, place in corner}
            with contextlib.suppress(ConfigError):
                config_with(base, {key: value for key, value, _ in corner}, found)
            for path, message, _ in found.problems:
                key = ".".join(map(str, path[:2]))
                if len(corner) < len(ends) and (_OTHER_CHOICE in message or key in keys - own.keys()):
                    continue  # the space may hold the choice that uses it, or the value it needs: the corners will show
                problem = ConfigProblem(("space", key), message, own.get(key))
                if key not in own:  # of the base, with these values
                    beside = ", ".join(f"{key}: {value}" for key, value, _ in corner)
                    problem = ConfigProblem(path, f"{message} (with {beside})", corner[0][2])
                if problem not in reported:
                    reported.add(problem)
                    report.add(*problem)
        if reported or len(ends) == 1:
            return


def _corners(space: Sequence[Dimension], ends: Sequence[Sequence[_End]]) -> Iterator[tuple[_End, ...]]:
    """Yield the corners, of numbers those of the smallest and the largest, which break every rule that the numbers
    between them break; if these are too many, enough that any two values of two keys meet."""
    borders = [(d.numbers[0], d.numbers[-1]) if d.numbers else d.values for d in space]
    ends = [[end for end in choice if end[1] in border] for choice, border in zip(ends, borders, strict=True)]
    if math.prod(map(len, ends)) <= MAX_CORNERS:
        yield from itertools.product(*ends)
        return
    for pair in itertools.combinations(range(len(ends)), 2):
        yield from itertools.product(*(choice if i in pair else choice[:1] for i, choice in enumerate(ends)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's warnings: experimental features, a value that is ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Study:
    """One search, in this process's memory, of trials of `epochs` epochs; raises MissingExtraError without the extra
    `sweep`."""

    def __init__(self, space: tuple[Dimension, ...], settings: SweepFile, *, maximize: bool, epochs: int) -> None:
        optuna = self._optuna = import_extra("optuna", "sweep", "sweep")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._settings = space, settings
        self._distributions = {d.key: self._distribution(d) for d in space}
        self._n_points = 0
        least, pruners = settings.min_epochs, optuna.pruners
        make_pruner = {
            "none": pruners.NopPruner,
            "median": partial(pruners.MedianPruner, n_startup_trials=STARTUP_TRIALS, n_warmup_steps=least),
            "hyperband": partial(pruners.HyperbandPruner, min_resource=least, max_resource=epochs),
        }[settings.pruner]
        self._study = optuna.create_study(
            study_name=STUDY_NAME,
            direction="maximize" if maximize else "minimize",
            pruner=make_pruner(),
            sampler=optuna.samplers.RandomSampler(),
        )

    def _distribution(self, dimension: Dimension) -> Any:
        distributions = self._optuna.distributions
        if self._settings.sampler == "grid" or dimension.kind == "list":
            return distributions.CategoricalDistribution(dimension.grid())
        low, high = dimension.values
        if dimension.kind == "integer":
            return distributions.IntDistribution(low, high, log=dimension.log, step=dimension.step)
        return distributions.FloatDistribution(low, high, log=dimension.is_log)

    @_quiet()
    def ask(self) -> tuple[int, dict[str, Value]]:
        """Return the number and the values of the next point."""
        number, settings, samplers = self._n_points, self._settings, self._optuna.samplers
        seed = int(np.random.SeedSequence((settings.seed, number)).generate_state(1)[0])
        if settings.sampler == "random":  # in a study of its own: Optuna's time for a point grows with the study
            own = self._optuna.create_study(sampler=samplers.RandomSampler(seed=seed))
            values: dict[str, Value] = dict(own.ask(self._distributions).params)
            self.restore(values)
            return number, values
        self._n_points += 1
        if settings.sampler == "grid":
            self._study.sampler = samplers.GridSampler({d.key: d.grid() for d in self._space}, seed=settings.seed)
        else:  # points in training count as bad: no crowding
            self._study.sampler = samplers.TPESampler(seed=seed, constant_liar=True)
        trial = self._study.ask(self._distributions)
        self._study.sampler = samplers.RandomSampler()  # GridSampler stops an exhausted study by force
        assert trial.number == number
        return number, dict(trial.params)

    def restore(self, point: Mapping[str, Value]) -> None:
        """Add a point that was picked before, with the next number; raise ValueError if it is not in the space."""
        self._n_points += 1
        optuna = self._optuna.trial
        running = optuna.TrialState.RUNNING
        self._study.add_trial(optuna.create_trial(state=running, params=dict(point), distributions=self._distributions))

    @_quiet()
    def report(self, number: int, epoch: int, value: float) -> bool:
        """Note the best value after an epoch, unless it was noted before; return whether the trial is hopeless."""
        known = self._study.get_trials(deepcopy=False)[number]
        trial = self._optuna.trial.Trial(self._study, known._trial_id)
        trial.report(value, epoch)  # a second value for an epoch is ignored
        return bool(trial.should_prune())

    def tell(self, number: int, value: float | None) -> None:
        """Note the value of a point that ended; None for one that was pruned or diverged: worse than all others."""
        state = self._optuna.trial.TrialState.PRUNED if value is None else None
        self._study.tell(number, value, state)

    def importances(self) -> dict[str, float]:
        """Return the share of each key in the differences between points, by PED-ANOVA, the largest first; empty with
        too few points."""
        importance = self._optuna.importance
        with _quiet(), contextlib.suppress(ValueError, RuntimeError, ZeroDivisionError):
            found = importance.get_param_importances(self._study, evaluator=importance.PedAnovaImportanceEvaluator())
            return {key: float(share) for key, share in found.items() if np.isfinite(share)}
        return {}
