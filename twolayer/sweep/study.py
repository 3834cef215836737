"""Optuna's part of a sweep: it picks the points and decides which trials are hopeless.

A new sampler is made for every point, from the sweep's seed and the point's number. What it draws depends on these and
on the results so far, never on how often the sweep was interrupted."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from twolayer.config.models import SweepFile
from twolayer.sweep.space import Dimension, Value
from twolayer.utils.errors import import_extra

NAME = "twolayer"  # Hyperband assigns trials to its brackets by the study's name: it must never change
STARTUP_TRIALS = 5  # trials that finish before the median pruner ends one


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
            study_name=NAME,
            direction="maximize" if maximize else "minimize",
            pruner=make_pruner(),
            sampler=optuna.samplers.RandomSampler(),
        )

    @_quiet()
    def ask(self) -> tuple[int, dict[str, Value]]:
        """Return the number and the values of the next point."""
        number = self._n_points
        sampler = self._sampler_of(number)
        if self._settings.sampler == "random":  # in a study of its own: Optuna's time for a point grows with the study
            values: dict[str, Value] = dict(self._optuna.create_study(sampler=sampler).ask(self._distributions).params)
            self.restore(values)
            return number, values
        self._n_points += 1
        self._study.sampler = sampler
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

    def _sampler_of(self, number: int) -> Any:
        samplers, kind, seed = self._optuna.samplers, self._settings.sampler, self._settings.seed
        if kind == "grid":
            return samplers.GridSampler({d.key: d.grid() for d in self._space}, seed=seed)
        seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        if kind == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, constant_liar=True)  # points in training count as bad: no crowding

    def _distribution(self, dimension: Dimension) -> Any:
        distributions = self._optuna.distributions
        if self._settings.sampler == "grid" or dimension.kind == "list":
            return distributions.CategoricalDistribution(dimension.grid())
        low, high = dimension.values
        if dimension.kind == "integer":
            return distributions.IntDistribution(low, high, log=dimension.log, step=dimension.step)
        return distributions.FloatDistribution(low, high, log=dimension.is_log)
