"""From an estimator's parameters to a solver, and from what the solver yields to the fitted attributes.

Rows, labels and weights of one call of fit, checked in scikit-learn's words and split for validation.

What picks an estimator's best parameters: a column of the history, or any of scikit-learn's scorers.

What a fitted estimator keeps of its solver, so that `warm_start` and `partial_fit` go on where it stopped, the
optimiser's state and the count of epochs included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator  # type: ignore[import-untyped]
from sklearn.metrics import get_scorer, get_scorer_names  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from sklearn.utils import check_random_state, check_scalar, compute_class_weight  # type: ignore[import-untyped]
from sklearn.utils.validation import _check_sample_weight, validate_data  # type: ignore[import-untyped]

from twolayer.network.model import Array, Params, init_params
from twolayer.network.settings import SolverSettings
from twolayer.solver.solver import Solver
from twolayer.solver.state import EpochEnd
from twolayer.solver.state_dict import restore, state_arrays, state_header
from twolayer.utils.columns import MONITORS, needs_validation
from twolayer.utils.progress import ProgressBar
from twolayer.utils.randomness import generator

FLOATS = (np.float64, np.float32)


class FitRows(NamedTuple):
    """What the solver is given.

    Attributes:
        X: (N, D) training rows, float32 or float64.
        y: (N,) class indices.
        weights: (N,) weights of the rows, or None.
        validation: X and y of the validation rows, or None.
    """

    X: Array
    y: NDArray[np.intp]
    weights: Array | None = None
    validation: tuple[Array, NDArray[np.intp]] | None = None


def encode(y: Array, classes: Array, name: str = "y") -> NDArray[np.intp]:
    """Class indices (N,) of labels y (N,).

    Args:
        y: the labels.
        classes: (C,) all labels, sorted.
        name: what to call y in the message.

    Raises:
        ValueError: for a label that is not among the classes.
    """
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(f"{name} has labels {unknown.tolist()} that are not among the classes {classes.tolist()}")
    return np.searchsorted(classes, y)


def row_weights(sample_weight: Any, X: Array) -> Array | None:
    """The rows' weights (N,) in float64, or None where none are given."""
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("sample_weight must have a weight that is not zero")
    return weights


def validation_rows(estimator: BaseEstimator, X_val: Any, y_val: Any) -> tuple[Array, NDArray[np.intp]] | None:
    """The validation rows given to fit, or None.

    Raises:
        ValueError: if one of the two is missing, or they do not fit the training rows.
    """
    if X_val is None and y_val is None:
        return None
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val go together: give both or neither")
    X_val, y_val = validate_data(estimator, X_val, y_val, dtype=FLOATS, reset=False)
    return X_val, encode(y_val, estimator.classes_, "y_val")


def split_off(rows: FitRows, fraction: float, seed: int) -> FitRows:
    """Holds a fraction of the rows out for validation, every class in proportion.

    Args:
        rows: all rows.
        fraction: greater than 0, less than 1.
        seed: of the choice.

    Raises:
        ValueError: if there are too few rows of a class, or for a fraction out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation must be a fraction from 0 up to, but not including, 1; got {fraction!r}")
    try:
        train, held_out = train_test_split(
            np.arange(len(rows.y)), test_size=fraction, stratify=rows.y, random_state=seed % 2**32
        )
    except ValueError as error:
        raise ValueError(f"validation={fraction!r} of {len(rows.y)} rows cannot be held out: {error}") from None
    weights = None if rows.weights is None else rows.weights[train]
    return FitRows(rows.X[train], rows.y[train], weights, (rows.X[held_out], rows.y[held_out]))


Scorer = Callable[[Any, Any, Any], float]


class Monitor(NamedTuple):
    """How the best epoch is chosen.

    Attributes:
        column: the column of the records that decides; None keeps the last epoch's parameters.
        scorer: scorer(estimator, X, y) that fills the column `score`; None where the solver has the column.
    """

    column: str | None
    scorer: Scorer | None


def resolve_monitor(monitor: str | Scorer | None, patience: int | None, has_validation: bool) -> Monitor:
    """What the parameters `monitor` and `patience` of the estimator mean.

    Args:
        monitor: a column of the history, the name of a scorer, a scorer, or None: val_accuracy with validation rows;
            without, nothing is chosen unless there is a patience, which then looks at train_loss.
        patience: as the estimator's.
        has_validation: whether there are validation rows.

    Raises:
        ValueError: for an unknown name, or a column of validation rows where there are none.
    """
    if monitor is None:
        return Monitor("val_accuracy" if has_validation else None if patience is None else "train_loss", None)
    if callable(monitor):
        return Monitor("score", monitor)
    if monitor in MONITORS:
        if needs_validation(monitor) and not has_validation:
            raise ValueError(
                f"monitor={monitor!r} needs validation rows: set validation=0.15, or give fit X_val, y_val"
            )
        return Monitor(monitor, None)
    if monitor in get_scorer_names():
        return Monitor("score", get_scorer(monitor))
    raise ValueError(
        f"monitor must be a column of the history ({', '.join(MONITORS)}), the name of one of scikit-learn's scorers, "
        f"a scorer or None; got {monitor!r}"
    )


class Checkpoint(NamedTuple):
    """A solver's state between two calls of fit.

    Attributes:
        arrays: as `solver_state.state_arrays` names them, copied.
        header: as `solver_state.state_header` makes it.
        optimizer: whose vectors `arrays` holds.
        seed: of the shuffles so far.
    """

    arrays: dict[str, Array]
    header: dict[str, Any]
    optimizer: str
    seed: int


def checkpoint_of(solver: Solver) -> Checkpoint:
    """The solver's state now."""
    arrays = {name: array.copy() for name, array in state_arrays(solver).items()}
    return Checkpoint(arrays, state_header(solver), solver.settings.optimizer, solver.settings.seed)


def epochs_done(checkpoint: Checkpoint | None) -> int:
    """Epochs finished at the checkpoint."""
    return 0 if checkpoint is None else int(checkpoint.header["progress"]["epoch"])


def go_on(solver: Solver, checkpoint: Checkpoint) -> None:
    """Puts a new solver, perhaps on other rows, where the checkpoint was.

    Steps are counted as if all epochs so far had been on the rows at hand; with the same rows that is what they were.

    Raises:
        ValueError: if the solver trains another network, or with another optimiser.
    """
    shapes = {name: array.shape for name, array in solver.params.named().items()}
    before = {name: array.shape for name, array in checkpoint.arrays.items() if "/" not in name}
    if shapes != before:
        raise ValueError(f"training cannot go on with other shapes: found {shapes}, wanted {before}; fit a clone")
    if solver.settings.optimizer != checkpoint.optimizer:
        raise ValueError(
            f"training cannot go on with another optimizer: found {solver.settings.optimizer!r}, wanted "
            f"{checkpoint.optimizer!r}; fit a clone"
        )
    new_best = solver.progress.best
    restore(solver, checkpoint.arrays, checkpoint.header, same_rows=False)
    done = solver.progress
    best = done.best if done.best.monitor == new_best.monitor else new_best
    if done.stopped_early:
        best = replace(best, bad_epochs=0)  # asked to go on, it gets its patience back
    step = done.epoch * solver.steps_per_epoch
    solver.progress = replace(done, step=step, best=best, stopped_early=False)


Callback = Callable[[Any, Mapping[str, float]], bool | None]

_FROM_FIT = ("epochs", "seed", "monitor", "objective")
_SETTINGS = [field.name for field in fields(SolverSettings) if field.name not in _FROM_FIT]


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
    with ProgressBar(n_rows * (done + epochs), n_rows * done, done + epochs, quiet=not estimator.verbose) as progress:
        total, counted = 0.0, 0
        for event in solver.run():
            chunk = event.chunk if isinstance(event, EpochEnd) else event
            weighing = ~np.isnan(chunk.losses)
            total += float((chunk.losses * chunk.batch_rows)[weighing].sum())
            counted += int(chunk.batch_rows[weighing].sum())
            progress.rows(int(chunk.batch_rows.sum()))
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
