"""A call of fit, from the arguments to the fitted attributes: rows and labels checked in scikit-learn's words and split
for validation; what picks the best parameters; the solver; and what of it an estimator keeps, so that `warm_start` and
`partial_fit` continue where it stopped, with the optimiser's state and the count of epochs."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator  # type: ignore[import-untyped]
from sklearn.metrics import get_scorer, get_scorer_names  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from sklearn.utils import check_random_state, check_scalar  # type: ignore[import-untyped]
from sklearn.utils.multiclass import check_classification_targets  # type: ignore[import-untyped]
from sklearn.utils.validation import validate_data  # type: ignore[import-untyped]

from twolayer.network.checks import check_settings, checked_params, count, refuse_masked, setting
from twolayer.network.model import Array, Init, Params, init_params
from twolayer.network.settings import MONITORS, SolverSettings, needs_validation
from twolayer.solver.metrics import weights_of_classes
from twolayer.solver.solver import Solver
from twolayer.utils.errors import DivergedError, MonitorError
from twolayer.utils.process import ProgressBar
from twolayer.utils.randomness import generator
from twolayer.utils.text import counted

FLOATS = (np.float64, np.float32)


class FitRows(NamedTuple):
    """What the solver is given."""

    X: Array  # (N, D), float32 or float64
    y: NDArray[np.intp]  # (N,) class indices
    weights: Array | None = None  # (N,) of the rows
    validation: tuple[Array, NDArray[np.intp]] | None = None  # X and y of the validation rows


def rows_and_labels(
    estimator: BaseEstimator, X: Any, y: Any, *, reset: bool, names: tuple[str, str] = ("X", "y")
) -> tuple[Array, Array]:
    """Return X (N, D) in a float type and the labels y (N,), checked in scikit-learn's words; also raise ValueError for
    masked arrays, whose mask would be lost, and labels of several kinds."""
    refuse_masked(names[0], X)
    refuse_masked(names[1], y)
    if hasattr(y, "isna") and (missing := np.count_nonzero(y.isna())):
        raise ValueError(f"{names[1]}: expected a label in every row, got {missing} missing ones (NaN or NA)")
    exact = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    if exact is not None:  # of pandas' nullable types, which scikit-learn makes float64
        y = y.to_numpy(exact)
    X, y = validate_data(estimator, X, y, dtype=FLOATS, reset=reset)
    try:
        check_classification_targets(y)
        np.unique(y)
    except TypeError:  # they cannot be sorted
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise ValueError(f"{names[1]}: expected labels of one kind, got {', '.join(kinds)}") from None
    return X, y


def encode(y: Array, classes: Array, name: str = "y") -> NDArray[np.intp]:
    """Return class indices (N,) of labels y (N,); raise ValueError for one that is not among `classes` (C,), sorted."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(f"{name} has labels {unknown.tolist()} that are not among the classes {classes.tolist()}")
    return np.searchsorted(classes, y)


def validation_rows(estimator: BaseEstimator, X: Array, X_val: Any, y_val: Any) -> tuple[Array, Array] | None:
    """Return the validation rows given to fit, or None; raise ValueError if one of the two is missing or they do not
    fit, and warn if they look unscaled beside the training rows X."""
    if X_val is None and y_val is None:
        return None
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val go together: give both or neither")
    X_val, y_val = rows_and_labels(estimator, X_val, y_val, reset=False, names=("X_val", "y_val"))
    # Unscaled: most columns are centred 5 standard deviations of X away, or spread 10 times more or less.
    spread, spread_val = X.std(axis=0), X_val.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = spread_val / spread
    other = np.abs(X_val.mean(axis=0) - X.mean(axis=0)) > 5 * spread
    other |= (ratio > 10) | ((ratio < 0.1) & (len(X_val) >= 10))
    if (spread > 0).any() and other[spread > 0].mean() > 0.5:
        warnings.warn(
            "X_val looks unscaled beside X: most of its columns are centred or spread very differently. In a Pipeline "
            "the steps before do not transform X_val unless it is named: Pipeline(steps, transform_input=['X_val']), "
            "with sklearn.set_config(enable_metadata_routing=True) and set_fit_request(X_val=True, y_val=True)",
            stacklevel=3,
        )
    return X_val, encode(y_val, estimator.classes_, "y_val")


def split_off(rows: FitRows, fraction: float, seed: int) -> FitRows:
    """Hold a fraction of the rows out for validation, every class in proportion; raise ValueError for too few rows."""
    try:
        train, held_out = train_test_split(
            np.arange(len(rows.y)), test_size=fraction, stratify=rows.y, random_state=seed % 2**32
        )
    except ValueError as error:
        raise ValueError(f"validation={fraction!r} of {len(rows.y)} rows cannot be held out: {error}") from None
    weights = None if rows.weights is None else rows.weights[train]
    return FitRows(rows.X[train], rows.y[train], weights, (rows.X[held_out], rows.y[held_out]))


Scorer = Callable[[Any, Any, Any], float]


def resolve_monitor(
    monitor: str | Scorer | None, patience: int | None, has_validation: bool
) -> tuple[str | None, Scorer | None]:
    """Return how the estimator chooses the best epoch: the column of the records, None for the last epoch; and the
    scorer(estimator, X, y) that fills the column `score`, if it is that one."""
    if monitor is None:
        return "val_accuracy" if has_validation else None if patience is None else "train_loss", None
    if callable(monitor):
        return "score", monitor
    if monitor in get_scorer_names():
        return "score", get_scorer(monitor)
    if monitor not in MONITORS:
        raise ValueError(
            f"monitor: expected a column of the history ({', '.join(MONITORS)}), a scorer or the name of one of "
            f"scikit-learn's, got {monitor!r}"
        )
    if needs_validation(monitor) and not has_validation:
        raise ValueError(f"monitor: {monitor!r} needs validation rows; set validation=0.15, or give fit X_val, y_val")
    return monitor, None


def resume_from(solver: Solver, checkpoint: Mapping[str, Any]) -> None:
    """Put a new solver, perhaps on other rows, where the checkpoint was; raise ValueError for another network or
    optimiser. Steps are counted as if all epochs so far had been on the rows at hand."""
    shapes = {name: array.shape for name, array in solver.params.named().items()}
    before = {name: checkpoint[name].shape for name in Params._fields if name in checkpoint}
    optimizers = checkpoint["optimizer"], solver.settings.optimizer
    for what, expected, got in (("shapes", before, shapes), ("optimizer", *optimizers)):
        if got != expected:
            raise ValueError(f"training cannot continue with other {what}: expected {expected}, got {got}; fit a clone")
    new_best = solver.progress.best
    solver.restore(checkpoint, checkpoint, same_rows=False)
    done = solver.progress
    best = done.best if done.best.monitor == new_best.monitor else new_best
    if done.stopped_early:
        best = replace(best, bad_epochs=0)  # asked to continue, it gets its patience back
    solver.progress = replace(done, step=done.epoch * solver.steps_per_epoch, best=best, stopped_early=False)


Callback = Callable[[Any, Mapping[str, float]], bool | None]

_SETTINGS = {field.name for field in fields(SolverSettings)} - {"epochs", "seed", "monitor", "objective"}


@dataclass(frozen=True)
class EstimatorSettings:
    """The estimator's parameters that are not the solver's, checked as those are."""

    hidden: int = count(64, "H, hidden units", ge=0)
    epochs: int = count(100, "passes over the rows in a call of fit")
    init: Init = setting("he", "how the weights are drawn", choices=get_args(Init))  # noqa: RUF009
    init_std: float = setting(0.01, "standard deviation of the weights", gt=0)
    validation: float = setting(0.0, "fraction of the rows held out", ge=0, lt=1)
    warm_start: bool = setting(False, "continue the last fit")

    def __post_init__(self) -> None:
        check_settings(self)


def seed_of(estimator: Any) -> int:
    """Return the seed of a call of fit: `random_state` if it is an integer, else one drawn when training begins."""
    given = estimator.random_state
    if isinstance(given, Integral):
        return int(check_scalar(given, "random_state", Integral, min_val=0, max_val=2**63 - 1))
    if hasattr(estimator, "_checkpoint"):
        return int(estimator._checkpoint["seed"])
    return int(check_random_state(given).randint(2**31 - 1))


@contextmanager
def trial(estimator: Any, *, keep: bool) -> Iterator[Any]:
    """Yield a copy to train, with what was learned before or without (`keep`), so that a call of fit that fails changes
    nothing. In the end the estimator takes over what the copy learned; what a callback has set on it stays."""
    EstimatorSettings(**{each.name: getattr(estimator, each.name) for each in fields(EstimatorSettings)})
    model, before = copy.copy(estimator), _learned(estimator)
    for name in () if keep else before:
        delattr(model, name)
    yield model
    for name in before.keys() - vars(model).keys():
        vars(estimator).pop(name, None)
    vars(estimator).update(_learned(model))


def _learned(estimator: Any) -> dict[str, Any]:
    """Return the fitted attributes, and the state from which training continues."""
    return {name: value for name, value in vars(estimator).items() if name.endswith("_") or name == "_checkpoint"}


def train(
    model: Any,
    rows: FitRows,
    epochs: int,
    seed: int,
    initial_params: Params | None = None,
    callback: Callback | None = None,
) -> None:
    """Train for some epochs, on from the model's checkpoint if it has one, and set the fitted attributes."""
    checkpoint: dict[str, Any] | None = getattr(model, "_checkpoint", None)
    done = 0 if checkpoint is None else int(checkpoint["progress"]["epoch"])
    column, scorer = resolve_monitor(model.monitor, model.patience, rows.validation is not None)
    settings = {name: getattr(model, name) for name in _SETTINGS}
    settings |= {"epochs": done + int(epochs), "seed": seed, "monitor": column, "objective": True}
    if initial_params is None:
        sizes, rng = (rows.X.shape[1], int(model.hidden), len(model.classes_)), generator(seed, "init")
        initial_params = init_params(*sizes, rng=rng, init=model.init, init_std=model.init_std, dtype=rows.X.dtype)
    try:
        class_weights = weights_of_classes(model.class_weight, model.classes_.tolist(), rows.y, rows.weights)
    except ValueError as error:
        raise ValueError(f"class_weight: {error}") from None
    dtype = rows.X.dtype if checkpoint is None else checkpoint["W2"].dtype
    solver = Solver(
        checked_params(initial_params).map(lambda array: np.asarray(array, dtype)),
        rows.X,
        rows.y,
        validation=rows.validation,
        row_weights=rows.weights,
        class_weights=class_weights,
        score=None if scorer is None else _score(model, rows, scorer),
        **settings,
    )
    if checkpoint is not None:
        resume_from(solver, checkpoint)
    past: dict[str, list[float]] = getattr(model, "history_", {})
    records = [dict(zip(past, values, strict=True)) for values in zip(*past.values(), strict=True)]
    chosen, n_before = column is not None, len(records)
    try:
        _train_epochs(model, rows, solver, records, callback)
    except KeyboardInterrupt:
        if len(records) == n_before:
            raise
        so_far = counted(solver.progress.epoch, "epoch")
        warnings.warn(f"fit was interrupted after {so_far}; its parameters are kept", stacklevel=3)
    except MonitorError as error:
        raise MonitorError(str(error).replace("'score'", repr(model.monitor))) from None
    except DivergedError as error:
        words = str(error).replace("data.scale: standardize", "a StandardScaler").replace("solver.", "")
        raise DivergedError(f"{words}. The estimator is what it was before this call") from None
    _set_fitted(model, solver, records, chosen=chosen)


def _train_epochs(
    model: Any, rows: FitRows, solver: Solver, records: list[dict[str, float]], callback: Callback | None
) -> None:
    """Run the solver to its end, or until the callback ends it; append the records of its epochs."""
    moving = _shadow(model, solver.params)
    n_rows, done, epochs = len(rows.y), solver.progress.epoch, solver.settings.epochs
    with ProgressBar(n_rows * epochs, n_rows * done, epochs, quiet=not model.verbose) as progress:
        total, counted = 0.0, 0
        for chunk in solver.run():
            weighing = ~np.isnan(chunk.losses)
            total += float((chunk.losses * chunk.batch_rows)[weighing].sum())
            counted += int(chunk.batch_rows[weighing].sum())
            progress.show(int(chunk.batch_rows.sum()), chunk.record)
            if chunk.record is not None:
                record = {name: np.nan if value is None else value for name, value in chunk.record.items()}
                records.append({**record, "objective": total / counted if counted else np.nan})
                total, counted = 0.0, 0
                if callback is not None and callback(moving, records[-1]):
                    break


def _score(model: Any, rows: FitRows, scorer: Scorer) -> Callable[[Params], float]:
    """Return the scorer as a function of the parameters alone, on the validation rows or else the training rows."""
    X, y = rows.validation or (rows.X, rows.y)
    labels = model.classes_[y]

    def score(params: Params) -> float:
        shadow = _shadow(model, params)
        vars(shadow).pop("feature_names_in_", None)  # X has lost them
        return float(scorer(shadow, X, labels))

    return score


def _shadow(model: Any, params: Params) -> Any:
    """Return the model with other parameters; the arrays are not copied, so they may move on."""
    shadow = copy.copy(model)
    shadow.params_ = params
    return shadow


def _set_fitted(model: Any, solver: Solver, records: list[dict[str, float]], *, chosen: bool) -> None:
    names = dict.fromkeys(name for record in records for name in record)
    history = {name: [record.get(name, np.nan) for record in records] for name in names}
    model.params_ = (solver.best_params if chosen else solver.params).copy()
    model.n_iter_ = solver.progress.epoch
    model.best_epoch_ = solver.progress.best.epoch if chosen else solver.progress.epoch
    model.history_ = history
    model.loss_curve_ = history["objective"]
    model.train_loss_curve_ = history["train_loss"]
    measured = any(np.isfinite(history["val_loss"]))
    model.validation_loss_curve_ = history["val_loss"] if measured else None
    # All that continues the training: arrays and header of the solver's state, and with what it was made.
    made_with = {"optimizer": solver.settings.optimizer, "seed": solver.settings.seed}
    arrays = {name: array.copy() for name, array in solver.state_arrays().items()}
    model._checkpoint = arrays | solver.state_header() | made_with
