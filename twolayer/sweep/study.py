"""Optuna's part of a sweep: it picks the points and decides which trials are hopeless.

A new sampler is made for every point, from the sweep's seed and the point's number. What it draws depends on these and
on the results so far, never on how often the sweep was interrupted."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from twolayer.sweep.space import Dimension, Value
from twolayer.utils.errors import import_extra

NAME = "twolayer"  # Hyperband assigns trials to its brackets by the study's name: it must never change
STARTUP_TRIALS = 5  # trials that finish before the median pruner ends one


class PrunerSettings(NamedTuple):
    """Settings of a pruner.

    Attributes:
        name: none, median or hyperband.
        min_epochs: epochs that every trial gets.
        epochs: epochs of a whole training.
    """

    name: str
    min_epochs: int
    epochs: int


def load_optuna() -> Any:
    """Import Optuna and silence it; raise MissingExtraError without the extra."""
    module = import_extra("optuna", "sweep", "sweep")
    module.logging.set_verbosity(module.logging.WARNING)
    return module


class Study:
    """One search, in this process's memory.

    Args:
        space: the dimensions.
        sampler: grid, random or tpe.
        seed: seed of the sampler.
        maximize: whether larger values are better.
        pruner: settings of the pruner.
    """

    def __init__(
        self,
        space: tuple[Dimension, ...],
        *,
        sampler: str,
        seed: int,
        maximize: bool,
        pruner: PrunerSettings,
    ) -> None:
        self._optuna = load_optuna()
        self._sampler, self._seed = sampler, seed
        self._grid = {d.key: d.grid() for d in space} if sampler == "grid" else {}
        self._distributions = {d.key: self._distribution(d) for d in space}
        self._n_points = 0
        self._varied = {d.key for d in space if d.varies}
        self._study = self._optuna.create_study(
            study_name=NAME,
            direction="maximize" if maximize else "minimize",
            pruner=self._pruner(pruner),
            sampler=self._optuna.samplers.RandomSampler(),
        )

    def ask(self) -> tuple[int, dict[str, Value]]:
        """Return the number and the values of the next point."""
        number = self._n_points
        if self._sampler == "random":  # drawn in a study of its own: Optuna's time for a point grows with the study
            with _quiet():
                fresh = self._optuna.create_study(sampler=self._sampler_of(number))
                values: dict[str, Value] = dict(fresh.ask(self._distributions).params)
            self.restore(values)
            return number, values
        self._n_points += 1
        with _quiet():
            self._study.sampler = self._sampler_of(number)
            trial = self._study.ask(self._distributions)
            self._study.sampler = self._optuna.samplers.RandomSampler()  # GridSampler stops an exhausted study by force
        assert trial.number == number
        return number, dict(trial.params)

    def restore(self, point: Mapping[str, Value]) -> None:
        """Add a point that was picked before; its number is the next one.

        Raises:
            ValueError: if it is no point of the space.
        """
        self._n_points += 1
        states = self._optuna.trial.TrialState
        trial = self._optuna.trial.create_trial(
            state=states.RUNNING, params=dict(point), distributions=self._distributions
        )
        self._study.add_trial(trial)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Note the best value after an epoch and return whether the trial is hopeless.

        A value that was noted before is kept, and only the decision is made again.
        """
        known = self._study.get_trials(deepcopy=False)[number]
        trial = self._optuna.trial.Trial(self._study, known._trial_id)
        if epoch not in known.intermediate_values:
            trial.report(value, epoch)
        return bool(trial.should_prune())

    def tell(self, number: int, value: float | None) -> None:
        """Note the value of a point that ended; None for one that was pruned or diverged: worse than all others."""
        states = self._optuna.trial.TrialState
        if value is None:
            self._study.tell(number, state=states.PRUNED)
        else:
            self._study.tell(number, value)

    def importances(self) -> dict[str, float]:
        """Return the share of each key in the differences between points, by PED-ANOVA; empty with too few points."""
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator
        with _quiet(), contextlib.suppress(ValueError, RuntimeError, ZeroDivisionError):
            found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator())
            return {key: float(share) for key, share in found.items() if key in self._varied and np.isfinite(share)}
        return {}

    def _sampler_of(self, number: int) -> Any:
        samplers = self._optuna.samplers
        if self._sampler == "grid":
            return samplers.GridSampler(self._grid, seed=self._seed)
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, constant_liar=True)  # points in training count as bad: no crowding

    def _pruner(self, settings: PrunerSettings) -> Any:
        pruners = self._optuna.pruners
        if settings.name == "hyperband":
            return pruners.HyperbandPruner(min_resource=settings.min_epochs, max_resource=settings.epochs)
        if settings.name == "median":
            return pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=settings.min_epochs)
        return pruners.NopPruner()

    def _distribution(self, dimension: Dimension) -> Any:
        distributions = self._optuna.distributions
        if self._sampler == "grid" or dimension.kind == "list":
            return distributions.CategoricalDistribution(dimension.grid())
        low, high = dimension.values
        if dimension.kind == "integer":
            return distributions.IntDistribution(low, high, log=dimension.log, step=dimension.step)
        return distributions.FloatDistribution(low, high, log=dimension.is_log)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's warnings that a feature is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
