"""Optuna's part of a sweep: it picks the points and says which trials are hopeless.

The sampler is made anew for every point, from the sweep's seed and the point's number, so what it draws depends on
these and on the results it was told, never on how often the sweep was interrupted."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twolayer.sweep.space import Dimension, Value
from twolayer.utils.errors import import_extra

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

NAME = "twolayer"  # Hyperband assigns trials to its brackets by the study's name: it must never change
STARTUP_TRIALS = 5  # of the median pruner: so many finish before one is ended


class PrunerSettings(NamedTuple):
    """What a pruner needs to know.

    Attributes:
        name: none, median or hyperband.
        min_epochs: epochs that every trial gets.
        epochs: of a whole training.
    """

    name: str
    min_epochs: int
    epochs: int


def load_optuna() -> Any:
    """Optuna, silent; raises MissingExtraError without the extra."""
    module = import_extra("optuna", "sweep", "sweep")
    module.logging.set_verbosity(module.logging.WARNING)
    return module


class Study:
    """One search.

    Args:
        space: the dimensions.
        sampler: grid, random or tpe.
        seed: of the sampler.
        maximize: whether larger values are better.
        pruner: who ends trials early.
        storage: where Optuna keeps it; None for this process's memory.
    """

    def __init__(
        self,
        space: tuple[Dimension, ...],
        *,
        sampler: str,
        seed: int,
        maximize: bool,
        pruner: PrunerSettings,
        storage: BaseStorage | None = None,
    ) -> None:
        self._optuna = load_optuna()
        self._sampler, self._seed = sampler, seed
        self._grid = {d.key: d.grid() for d in space} if sampler == "grid" else {}
        self._distributions = {d.key: self._distribution(d) for d in space}
        self._varied = {d.key for d in space if d.varies}
        self._study = self._optuna.create_study(
            study_name=NAME,
            storage=storage,
            direction="maximize" if maximize else "minimize",
            pruner=make_pruner(pruner),
            sampler=self._optuna.samplers.RandomSampler(),
        )

    def ask(self) -> tuple[int, dict[str, Value]]:
        """The number and the values of the next point."""
        number = len(self._study.get_trials(deepcopy=False))
        with _quiet():
            self._study.sampler = self._sampler_of(number)
            trial = self._study.ask(self._distributions)
            self._study.sampler = self._optuna.samplers.RandomSampler()  # GridSampler stops an exhausted study by force
        assert trial.number == number
        return number, dict(trial.params)

    def restore(self, point: Mapping[str, Value]) -> None:
        """Adds a point that an earlier session picked; its number is the next one."""
        states = self._optuna.trial.TrialState
        trial = self._optuna.trial.create_trial(
            state=states.RUNNING, params=dict(point), distributions=self._distributions
        )
        self._study.add_trial(trial)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Notes the best value so far after an epoch; whether the trial is hopeless."""
        return report(self._study, number, epoch, value)

    def tell(self, number: int, value: float | None) -> None:
        """Notes the value of a point that ended; None for one that was pruned or diverged: worse than all others."""
        states = self._optuna.trial.TrialState
        if value is None:
            self._study.tell(number, state=states.PRUNED)
        else:
            self._study.tell(number, value)

    def importances(self) -> dict[str, float]:
        """The share of each key in the differences between points, by PED-ANOVA; empty where there are too few."""
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
        return samplers.TPESampler(seed=seed, constant_liar=True)  # what is being trained counts as bad: no crowding

    def _distribution(self, dimension: Dimension) -> Any:
        distributions = self._optuna.distributions
        if self._sampler == "grid" or dimension.kind == "list":
            return distributions.CategoricalDistribution(dimension.grid())
        low, high = dimension.values
        if dimension.kind == "integer":
            return distributions.IntDistribution(low, high, log=dimension.log, step=dimension.step)
        return distributions.FloatDistribution(low, high, log=dimension.is_log)


def join(storage: BaseStorage, pruner: PrunerSettings) -> optuna.Study:
    """The study that another process made in a storage."""
    optuna = load_optuna()
    sampler = optuna.samplers.RandomSampler()
    study: Any = optuna.load_study(study_name=NAME, storage=storage, pruner=make_pruner(pruner), sampler=sampler)
    return study  # type: ignore[no-any-return]


def report(study: optuna.Study, number: int, epoch: int, value: float) -> bool:
    """As `Study.report`; of a value that was reported before, only the judgement is new."""
    optuna = load_optuna()
    known = study.get_trials(deepcopy=False)[number]
    trial = optuna.trial.Trial(study, known._trial_id)
    if epoch not in known.intermediate_values:
        trial.report(value, epoch)
    return bool(trial.should_prune())


def dask_storage(name: str, client: Any) -> Any:
    """Optuna's storage in the memory of a Dask scheduler: whoever gives the same name shares it."""
    module = import_extra("optuna_integration.dask", "cluster", "--scheduler")
    with _quiet():
        return module.DaskStorage(name=name, client=client)


def make_pruner(settings: PrunerSettings) -> Any:
    """Optuna's pruner of that name."""
    pruners = load_optuna().pruners
    if settings.name == "hyperband":
        return pruners.HyperbandPruner(min_resource=settings.min_epochs, max_resource=settings.epochs)
    if settings.name == "median":
        return pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=settings.min_epochs)
    return pruners.NopPruner()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks that a feature is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
