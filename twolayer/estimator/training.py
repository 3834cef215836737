"""From an estimator's parameters to a solver, and from what the solver yields to the fitted attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, check_scalar, compute_class_weight  # type: ignore[import-untyped]

from twolayer.estimator.fit_rows import FitRows
from twolayer.estimator.going_on import Checkpoint, checkpoint_of, epochs_done, go_on
from twolayer.estimator.monitors import Monitor, resolve_monitor
from twolayer.network.model import Array, Params, init_params
from twolayer.solver.settings import SolverSettings
from twolayer.solver.solver import Solver
from twolayer.solver.state import EpochEnd
from twolayer.utils.progress import Progress
from twolayer.utils.randomness import generator

Callback = Callable[[Any, Mapping[str, float]], bool | None]

_FROM_FIT = ("epochs", "seed", "monitor", "objective", "learning_rate")
_SETTINGS = [field.name for field in fields(SolverSettings) if field.name not in _FROM_FIT]
_SMALL_RATE = ("rmsprop", "adam", "adamw")


def seed_of(estimator: Any) -> int:
    """The seed of a call of fit: `random_state` itself if it is an integer, else one drawn when training begins."""
    given = estimator.random_state
    if isinstance(given, Integral):
        return int(check_scalar(given, "random_state", Integral, min_val=0))
    if hasattr(estimator, "_checkpoint"):
        return int(estimator._checkpoint.seed)
    return int(check_random_state(given).randint(2**31 - 1))


def forget(estimator: Any) -> None:
    """Takes out all that earlier calls of fit left behind, so that one that fails leaves no mixture of two models."""
    for name in [name for name in vars(estimator) if name.endswith("_") or name == "_checkpoint"]:
        delattr(estimator, name)


def train(
    estimator: Any,
    rows: FitRows,
    epochs: int,
    seed: int,
    initial_params: Params | None = None,
    callback: Callback | None = None,
) -> None:
    """Trains for some epochs, on from the estimator's checkpoint where it has one, and sets the fitted attributes."""
    checkpoint: Checkpoint | None = getattr(estimator, "_checkpoint", None)
    check_scalar(epochs, "epochs", Integral, min_val=1)
    done = epochs_done(checkpoint)
    monitor = resolve_monitor(estimator.monitor, estimator.patience, rows.validation is not None)
    solver = _make_solver(estimator, rows, done + int(epochs), seed, monitor, initial_params)
    if checkpoint is not None:
        go_on(solver, checkpoint)
    past: dict[str, list[float]] = getattr(estimator, "history_", {})
    records = [dict(zip(past, values, strict=True)) for values in zip(*past.values(), strict=True)]
    moving = _shadow(estimator, solver.params)
    n_rows = len(rows.y)
    with Progress(n_rows * (done + epochs), n_rows * done, done + epochs, quiet=not estimator.verbose) as progress:
        total, counted = 0.0, 0
        for event in solver.run():
            stretch = event.stretch if isinstance(event, EpochEnd) else event
            weighing = ~np.isnan(stretch.losses)
            total += float((stretch.losses * stretch.batch_rows)[weighing].sum())
            counted += int(stretch.batch_rows[weighing].sum())
            progress.rows(int(stretch.batch_rows.sum()))
            if isinstance(event, EpochEnd):
                progress.epoch(event.record)
                record = {name: np.nan if value is None else value for name, value in event.record.items()}
                records.append({**record, "objective": total / counted if counted else np.nan})
                total, counted = 0.0, 0
                if callback is not None and callback(moving, records[-1]):
                    break
    _set_fitted(estimator, solver, records, chosen=monitor.column is not None)


def _make_solver(
    estimator: Any, rows: FitRows, epochs: int, seed: int, monitor: Monitor, initial_params: Params | None
) -> Solver:
    """A solver of these parameters, at the start."""
    for name in ("hidden", "batch_size"):
        check_scalar(getattr(estimator, name), name, Integral, min_val=int(name != "hidden"))
    settings = {name: getattr(estimator, name) for name in _SETTINGS}
    rate = estimator.learning_rate
    if rate is None:
        rate = 0.001 if estimator.optimizer in _SMALL_RATE else 0.1
    params = _initial(estimator, rows, seed) if initial_params is None else initial_params
    checkpoint: Checkpoint | None = getattr(estimator, "_checkpoint", None)
    dtype = rows.X.dtype if checkpoint is None else checkpoint.arrays["W2"].dtype
    return Solver(
        params.map(lambda array: np.asarray(array, dtype)),
        rows.X,
        rows.y,
        validation=rows.validation,
        row_weights=rows.weights,
        class_weights=_class_weights(estimator, rows),
        score=_scorer(estimator, rows, monitor),
        epochs=epochs,
        seed=seed,
        monitor=monitor.column,
        objective=True,
        learning_rate=rate,
        **settings,
    )


def _initial(estimator: Any, rows: FitRows, seed: int) -> Params:
    if estimator.init not in ("he", "xavier", "normal"):
        raise ValueError(f"init must be one of he, xavier, normal; got {estimator.init!r}")
    return init_params(
        rows.X.shape[1],
        int(estimator.hidden),
        len(estimator.classes_),
        rng=generator(seed, "init"),
        init=estimator.init,
        init_std=estimator.init_std,
        dtype=rows.X.dtype,
    )


def _class_weights(estimator: Any, rows: FitRows) -> Array | None:
    if estimator.class_weight is None:
        return None
    classes = estimator.classes_
    weights: Array = compute_class_weight(estimator.class_weight, classes=classes, y=classes[rows.y])
    return weights


def _scorer(estimator: Any, rows: FitRows, monitor: Monitor) -> Callable[[Params], float] | None:
    """The scorer as a function of the parameters alone, on the validation rows or else the training rows."""
    if monitor.scorer is None:
        return None
    scorer = monitor.scorer
    X, y = rows.validation or (rows.X, rows.y)
    labels = estimator.classes_[y]

    def score(params: Params) -> float:
        model = _shadow(estimator, params)
        vars(model).pop("feature_names_in_", None)  # X has lost them
        return float(scorer(model, X, labels))

    return score


def _shadow(estimator: Any, params: Params) -> Any:
    """The estimator with other parameters; the arrays are not copied, so they may move on."""
    shadow = copy.copy(estimator)
    shadow.params_ = params
    return shadow


def _set_fitted(estimator: Any, solver: Solver, records: list[dict[str, float]], *, chosen: bool) -> None:
    names = dict.fromkeys(name for record in records for name in record)
    history = {name: [record.get(name, np.nan) for record in records] for name in names}
    estimator.params_ = (solver.best_params if chosen else solver.params).copy()
    estimator.n_iter_ = solver.progress.epoch
    estimator.best_epoch_ = solver.progress.best.epoch if chosen else solver.progress.epoch
    estimator.history_ = history
    estimator.loss_curve_ = history["objective"]
    estimator.train_loss_curve_ = history["train_loss"]
    measured = any(np.isfinite(history["val_loss"]))
    estimator.validation_loss_curve_ = history["val_loss"] if measured else None
    estimator._checkpoint = checkpoint_of(solver)
