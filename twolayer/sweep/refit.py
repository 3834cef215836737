"""The winner once more, on training and validation rows together; and the winner's figures on the test rows."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from twolayer.config import Config
from twolayer.data import load_dataset
from twolayer.runs.saved_model import load_model
from twolayer.solver.metrics import Evaluator
from twolayer.solver.settings import SolverSettings
from twolayer.sweep.results import PointResult
from twolayer.sweep.sweep_file import Sweep


def refit_name(winner: PointResult) -> str:
    """Name of the run folder."""
    return f"refit-{winner.number:04d}"


def refit_config(sweep: Sweep, winner: PointResult) -> Config:
    """The winner's config without validation rows.

    No row is left to pick the best epoch by. A schedule that ends with the training (cosine) keeps all its epochs,
    since its last rates are what makes the last epochs good; with any other one the training ends at the mean of the
    best epochs of the winner's runs. Of these the parameters of the lowest training loss are kept, and patience,
    which would wait for that, is off.
    """
    changes: dict[str, Any] = {
        "data__validation": 0,
        "solver__monitor": "train_loss",
        "solver__patience": None,
        "run__snapshot_epochs": None,
    }
    solver = sweep.config(winner.values).solver
    if not SolverSettings(schedule=solver.schedule).schedule_rule.has_horizon:
        changes["solver__epochs"] = max(1, round(statistics.fmean(winner.best_epochs)))
        changes["solver__warmup_epochs"] = min(solver.warmup_epochs, changes["solver__epochs"])
    if sweep.has_test_source:
        changes["data__test"] = None
    return sweep.config(winner.values, **changes)


def test_accuracy(config: Config, run: Path) -> float | None:
    """The accuracy of a run's best parameters on the test rows of a config; None where it has none.

    Args:
        config: the run's, with its test rows put back.
        run: its folder.
    """
    dataset = load_dataset(**config.data.model_dump(), seed=config.seed, dtype=config.model.dtype)
    if dataset.test is None:
        return None
    params = load_model(run).params
    return float(Evaluator(params, dataset.test.X, dataset.test.y)(params).accuracy)
