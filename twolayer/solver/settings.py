"""The settings of a training, checked once, when they are made.

Whether the arrays a training is given fit each other, said in the words of the one who gave them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from twolayer.data.rows import ArrayRows
from twolayer.network.backprop import require_weights
from twolayer.network.model import Array, Params
from twolayer.network.optim import OPTIMIZERS, Hyperparameters
from twolayer.network.schedules import SCHEDULES, Schedule
from twolayer.solver.engine import EngineName, UpdateRule
from twolayer.solver.metrics import Rows


@dataclass(frozen=True)
class SolverSettings:
    """What to do with the rows; the names are those of the config's section `solver`.

    Attributes:
        engine: `numpy`, or `numba` (extra `numba`).
        optimizer: a key of `optim.OPTIMIZERS`.
        learning_rate: a of the updates.
        momentum: mu, of momentum and nesterov.
        rho: of rmsprop.
        beta1: of adam and adamw.
        beta2: of adam and adamw.
        epsilon: of rmsprop, adam and adamw.
        schedule: a key of `schedules.SCHEDULES`; the next five are its numbers, see `schedules.Schedule`.
        warmup_epochs: length of the linear warm-up, in epochs.
        min_learning_rate: floor under the rate.
        factor: of step, exponential and plateau; None takes 0.1, 0.95 and 0.5.
        step_epochs: of step, in epochs.
        plateau_patience: of plateau, in epochs.
        reg: r, the L2 strength of equation (6).
        batch_size: rows per update.
        epochs: how often every row is visited.
        shuffle: whether each epoch visits the rows in a new random order.
        seed: of the shuffles and of the choice of evaluation rows.
        monitor: the column of the history that picks the best parameters; None takes val_accuracy, or train_loss
            without validation rows.
        patience: epochs without improvement before stopping; None never stops early.
        max_grad_norm: bound on the joint norm of the gradients; None for no clipping.
        evaluate_rows: at most so many training rows in train_loss and train_accuracy; None for all.
        objective: whether each step's reported loss includes the penalty, which costs a pass over the weights.

    Raises:
        ValueError: for a name that is none of the choices or a number out of range.
    """

    engine: EngineName = "numpy"
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    rho: float = 0.99
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    min_learning_rate: float = 0.0
    factor: float | None = None
    step_epochs: float = 10.0
    plateau_patience: int = 5
    reg: float = 0.0
    batch_size: int = 64
    epochs: int = 10
    shuffle: bool = True
    seed: int = 0
    monitor: str | None = None
    patience: int | None = None
    max_grad_norm: float | None = None
    evaluate_rows: int | None = None
    objective: bool = False

    def __post_init__(self) -> None:
        choices = {"engine": get_args(EngineName), "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        for name in ("momentum", "rho", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1; got {getattr(self, name)!r}")
        positive = ("batch_size", "epochs", "evaluate_rows", "patience", "max_grad_norm", "learning_rate", "epsilon")
        for name in (*positive, "step_epochs", "factor"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be greater than 0 and finite; got {value!r}")
        for name in ("reg", "warmup_epochs", "min_learning_rate", "seed", "plateau_patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more and finite; got {getattr(self, name)!r}")

    @property
    def update_rule(self) -> UpdateRule:
        """The part that the engine needs."""
        hyperparameters = Hyperparameters(**{f.name: getattr(self, f.name) for f in fields(Hyperparameters)})
        return UpdateRule(self.optimizer, hyperparameters, self.reg, self.max_grad_norm)

    @property
    def schedule_rule(self) -> Schedule:
        """The part that the learning rate depends on."""
        factor = {"exponential": 0.95, "plateau": 0.5}.get(self.schedule, 0.1) if self.factor is None else self.factor
        return Schedule(
            self.schedule,
            self.learning_rate,
            epochs=self.epochs,
            warmup_epochs=self.warmup_epochs,
            min_learning_rate=self.min_learning_rate,
            factor=factor,
            step_epochs=self.step_epochs,
            plateau_patience=self.plateau_patience,
        )


def fitting_rows(X: Array | Rows, y: Array, params: Params) -> tuple[Rows, NDArray[Any]]:
    """The rows and their classes as the solver reads them.

    Args:
        X: (N, D) an array, converted to the parameters' float type, or anything like `metrics.Rows`.
        y: (N,) class indices.
        params: Params of a D-H-C network.

    Raises:
        ValueError: where they do not fit, or X has a NaN or an infinity.
    """
    y = np.asarray(y)
    D, C = params.n_features, params.n_classes
    if isinstance(X, np.ndarray):
        if X.ndim != 2 or X.shape[1] != D:
            raise ValueError(f"X must be (N, {D}), as the parameters have {D} features; got {X.shape}")
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            raise ValueError(f"X must be finite; row {row}, column {column} is {X[row, column]}")
        rows: Rows = ArrayRows(np.ascontiguousarray(X, params.dtype))
    else:
        rows = X
    n = rows.shape[0]
    if n == 0 or rows.shape[1] != D:
        raise ValueError(f"X must be (N, {D}) with N >= 1; got {rows.shape}")
    if y.shape != (n,) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y must be ({n},) whole numbers, one for each row of X; got {y.dtype} {y.shape}")
    if y.min() < 0 or y.max() >= C:
        raise ValueError(f"y must be class indices from 0 to {C - 1}; got {y.min()} to {y.max()}")
    return rows, y if np.can_cast(y.dtype, np.intp) else y.astype(np.intp)


def fitting_weights(
    row_weights: Array | None, class_weights: Array | None, n_rows: int, n_classes: int
) -> tuple[Array | None, Array | None]:
    """The weights as arrays, both brought near 1 by powers of two: only their ratios count, and so any float type has
    room for them.

    Raises:
        ValueError: for a wrong shape, a weight that is negative or not finite, or weights that are all 0.
    """
    checked: list[Array | None] = []
    for name, weights, n in (("row_weights", row_weights, n_rows), ("class_weights", class_weights, n_classes)):
        if weights is not None:
            weights = require_weights(name, weights, n)
            weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
        checked.append(weights)
    return checked[0], checked[1]
