"""Optuna's part of a sweep: it picks the points and decides which trials are hopeless.

A new sampler is made for every point, from the sweep's seed and the point's number. What it draws depends on these and
on the results so far, never on how often the sweep was interrupted."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from twolayer.sweep.space import Dimension, Value
from twolayer.utils.errors import import_extra

NAME = "twolayer"  # Hyperband assigns trials to its brackets by the study's name: it must never change
STARTUP_TRIALS = 5  # trials that finish before the median pruner ends one


class Study:
    """One search, in this process's memory; raises MissingExtraError without the extra `sweep`.

    A pruner leaves every trial its first `min_epochs` of `epochs`.
    """

    def __init__(
        self,
        space: tuple[Dimension, ...],
        *,
        sampler: str,
        seed: int,
        maximize: bool,
        pruner: str = "none",
        min_epochs: int = 1,
        epochs: int = 1,
    ) -> None:
        optuna = self._optuna = import_extra("optuna", "sweep", "sweep")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler, self._seed = sampler, seed
        self._grid = {d.key: d.grid() for d in space} if sampler == "grid" else {}
        self._distributions = {d.key: self._distribution(d) for d in space}
        self._n_points = 0
        self._varied = [d.key for d in space if d.varies]
        pruners = {
            "none": optuna.pruners.NopPruner,
            "median": partial(optuna.pruners.MedianPruner, n_startup_trials=STARTUP_TRIALS, n_warmup_steps=min_epochs),
            "hyperband": partial(optuna.pruners.HyperbandPruner, min_resource=min_epochs, max_resource=epochs),
        }
        self._study = optuna.create_study(
            study_name=NAME,
            direction="maximize" if maximize else "minimize",
            pruner=pruners[pruner](),
            sampler=optuna.samplers.RandomSampler(),
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
        """Add a point that was picked before, with the next number; raise ValueError if it is not in the space."""
        self._n_points += 1
        optuna = self._optuna.trial
        running = optuna.TrialState.RUNNING
        self._study.add_trial(optuna.create_trial(state=running, params=dict(point), distributions=self._distributions))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Note the best value after an epoch, unless it was noted before; return whether the trial is hopeless."""
        known = self._study.get_trials(deepcopy=False)[number]
        trial = self._optuna.trial.Trial(self._study, known._trial_id)
        if epoch not in known.intermediate_values:
            trial.report(value, epoch)
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
            shares = {key: float(found[key]) for key in self._varied if np.isfinite(found.get(key, np.nan))}
            return dict(sorted(shares.items(), key=lambda item: -item[1]))
        return {}

    def _sampler_of(self, number: int) -> Any:
        samplers = self._optuna.samplers
        if self._sampler == "grid":
            return samplers.GridSampler(self._grid, seed=self._seed)
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, constant_liar=True)  # points in training count as bad: no crowding

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
