"""The settings of a training: each one's default, type, range and meaning, written once. The config's section `solver`,
its JSON Schema, its rules and the documentation's table are derived from here; a test compares the estimator's."""

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from inspect import cleandoc
from itertools import chain
from typing import Any, Literal, get_args

from twolayer.network.checks import check_settings, count, setting
from twolayer.network.optim import OPTIMIZERS, Hyperparameters, Optimizer
from twolayer.network.schedules import SCHEDULES, Schedule, ScheduleKind

EngineName = Literal["numpy", "numba"]

# The columns of a history that may pick the best parameters.
MONITORS = (
    "val_accuracy", "val_loss", "train_accuracy", "train_loss", "val_f1", "val_balanced_accuracy", "val_auc", "penalty",
    "gradient_norm", "update_ratio_W1", "update_ratio_W2", "weight_norm_W1", "weight_norm_W2", "dead_share",
    "activation_min", "activation_median", "activation_max",
)  # fmt: skip


def larger_is_better(column: str) -> bool:
    """Return True for an accuracy, F1, AUC or a custom score; of all other columns, less is better."""
    return column.endswith(("accuracy", "score", "f1", "auc"))


def needs_validation(column: str) -> bool:
    """Return whether the column has values only with validation rows."""
    return column.startswith("val_")


def needs_hidden_layer(column: str) -> bool:
    """Return whether the column has values only with a hidden layer."""
    return column.endswith("W1") or column.startswith(("dead_", "activation_"))


@dataclass(frozen=True, kw_only=True)
class SolverSettings(Hyperparameters, Schedule):
    """What the solver does with the rows; the names are those of the config's section `solver`.

    A `learning_rate` or `factor` that is left out (None) becomes the default of the optimizer or schedule. Three
    defaults are not those of a config and of TwoLayerClassifier. A Solver has the plainest, equation (13) for a look at
    its steps: sgd, 10 epochs, the last parameters unless there are validation rows. A config has what suits most data
    at the default rate: momentum, 40 epochs, val_accuracy. The estimator is close to MLPClassifier: adam, 100 epochs.

    A setting of another type is a TypeError, a name that is none of the choices or a number out of range a ValueError.
    """

    engine: EngineName = setting(  # noqa: RUF009
        "numpy", "backend that runs the training steps; numba is compiled (extra numba)", choices=get_args(EngineName)
    )
    optimizer: str = setting("sgd", "the update, equation (13) or a refinement of it", choices=OPTIMIZERS)
    learning_rate: float = setting(None, "a of the updates, at its highest", gt=0)
    schedule: str = setting("constant", "how the learning rate falls", choices=SCHEDULES)
    reg: float = setting(0.0, "L2 strength r of equation (6)", ge=0)
    batch_size: int = count(64, "rows per update")
    epochs: int = count(10, "passes over the training rows")
    shuffle: bool = setting(True, "visit the rows in a new random order in each epoch")
    seed: int = setting(0, "of the shuffles and of the choice of evaluation rows", ge=0, lt=2**63)
    monitor: str | None = setting(
        None,
        "column of the history that picks the best parameters; left out: val_accuracy, or train_loss without "
        "validation rows",
    )
    patience: int | None = count(
        None, "stop after this many epochs without improvement of monitor; null: never stop early"
    )
    min_delta: float = setting(
        0.0, "an improvement of monitor must be larger than this, for patience and plateau_patience", ge=0
    )
    max_grad_norm: float | None = setting(None, "clip gradients to this global norm; null: no clipping", gt=0)
    evaluate_rows: int | None = count(None, "maximum number of training rows in train_loss and train_accuracy")
    objective: bool = setting(False, "report each step's loss with the penalty, which costs a pass over the weights")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.engine == "numba" and not OPTIMIZERS[self.optimizer].compiled:
            raise ValueError(f"engine: expected numpy, as optimizer {self.optimizer} has no compiled form; got numba")
        for name, (chooser, values) in DEPENDENT_DEFAULTS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, values[getattr(self, chooser)])


# Defaults that depend on another setting: that setting, and the default for each of its choices.
DEPENDENT_DEFAULTS = {
    "learning_rate": ("optimizer", {name: row.learning_rate for name, row in OPTIMIZERS.items()}),
    "factor": ("schedule", {name: row.factor for name, row in SCHEDULES.items()}),
}


_TABLES: dict[str, Mapping[str, Optimizer | ScheduleKind]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
# For each setting that only some choices use: the setting that chooses, and those choices.
OWNERS = {
    name: (chooser, tuple(choice for choice, row in table.items() if name in row.uses))
    for chooser, table in _TABLES.items()
    for name in dict.fromkeys(name for row in table.values() for name in row.uses)
}


def settings_in_order() -> list[Field[Any]]:
    """Return the fields of `SolverSettings` as the config lists them: each choice before the numbers it uses."""
    by_name, own = {each.name: each for each in fields(SolverSettings)}, SolverSettings.__annotations__
    after = {"learning_rate": fields(Hyperparameters), "schedule": fields(Schedule)}
    names = ([name, *(each.name for each in after.get(name, ()) if each.name not in own)] for name in own)
    return [by_name[name] for name in chain(*names)]


def described(settings: Iterable[Field[Any]]) -> str:
    """Return a line of a docstring for each: its name, its meaning, its choices or the choices that use it."""
    lines = []
    for each in settings:
        choices, owners = each.metadata["choices"], OWNERS.get(each.name, ("", ()))[1]
        more = f": {', '.join(choices)}" if choices else f" (of {', '.join(owners)})" if owners else ""
        lines.append(f"    {each.name}: {each.metadata['meaning'].replace('null', 'None')}{more}.")
    return "\n".join(lines)


SolverSettings.__doc__ = f"{cleandoc(SolverSettings.__doc__ or '')}\n\nAttributes:\n{described(settings_in_order())}"
