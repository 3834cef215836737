"""The settings of a training, checked once, when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import get_args

from twolayer.network.optim import OPTIMIZERS, Hyperparameters
from twolayer.network.schedules import SCHEDULES, Schedule
from twolayer.solver.engine import EngineName, UpdateRule


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
        plateau_patience: of plateau: lower the rate after this many epochs without improvement of the monitor.
        reg: r, the L2 strength of equation (6).
        batch_size: rows per update.
        epochs: how often every row is visited.
        shuffle: whether each epoch visits the rows in a new random order.
        seed: of the shuffles and of the choice of evaluation rows.
        monitor: the column of the history that picks the best parameters; None takes val_accuracy, or train_loss
            without validation rows.
        patience: stop after this many epochs without improvement of the monitor; None never stops early.
        min_delta: an improvement of the monitor must be larger than this, for `patience` and `plateau_patience`.
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
    min_delta: float = 0.0
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
        for name in ("reg", "warmup_epochs", "min_learning_rate", "seed", "plateau_patience", "min_delta"):
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
