"""What the curves say, in words: each verdict names a fault of a training, its evidence and a remedy.

A verdict is a pure function of what the run left (history, validation predictions, config) and silent if all is well.
The bounds stand together at the top; they are rules of thumb, wide enough that a sound run passes them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twolayer.network.model import Array
from twolayer.views.run_data import RunData
from twolayer.views.style import within_reach

RATIO_HIGH = 0.1  # |update| / |weights| of one step: a weight matrix replaced in ten steps cannot settle
RATIO_LARGE = 1e-2  # enough to blame the rate for a loss above that of guessing
RATIO_LOW = 5e-4  # about 1e-3 is usual (Karpathy, CS231n); below this, a thousand steps change little
SLOW_LOSS = 0.5  # of ln C: where small steps have not yet led anywhere
RISE = 1.5  # a training loss that ends this many times above its lowest
STILL_FALLING = 0.05  # share of the loss that the last tenth of the epochs still took away
OVERFIT_RISE = 1.25  # the validation loss ends this many times above its lowest
UNDERFIT_LOSS = 0.2  # of ln C: a training loss above this share of guessing's
UNDERFIT_ACCURACY = 0.99  # with more of the training rows right, a high loss is due to the penalty, not to capacity
UNDERFIT_GAP = 1.15  # validation loss over training loss: below this, more capacity is what is missing
DEAD = 0.2  # share of hidden units that fire for no row
MIN_ROWS = 50  # what the hidden units do on fewer says little about them
ACTIVATION_HIGH = 20.0  # a unit's mean activation; about 0.4 with standardised inputs and `he` weights
GRADIENT_HIGH = 50.0  # without a hidden layer: the norm of the gradient, about 1 with standardised inputs
IGNORED_RECALL = 0.1  # a class found less often than this
IMBALANCE = 4.0  # rows of the average class over the rows of the ignored one
MIN_EPOCHS = 5  # fewer epochs say little about a trend


class Verdict(NamedTuple):
    """One fault found.

    Attributes:
        name: of the rule, a key of `RULES`.
        evidence: what was seen, with its numbers.
        remedy: what to try.
    """

    name: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} Try: {self.remedy}"


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        history: columns of history.csv by name, one value per epoch, NaN where there is none.
        n_classes: C; 0 while unknown.
        config: the resolved config as nested dictionaries.
        status: of summary.json: finished, interrupted, diverged or stopped_early; `running` before there is one.
        validation_y: (N,) class indices of the validation rows, if there are any.
        validation_proba: (N, C) predicted probabilities of those rows.
        classes: C labels.
    """

    history: Mapping[str, ArrayLike]
    n_classes: int
    config: Mapping[str, Any] = field(default_factory=dict)
    status: str = "finished"
    validation_y: NDArray[Any] | None = None
    validation_proba: NDArray[Any] | None = None
    classes: Sequence[Any] = ()

    def column(self, name: str) -> Array:
        """A column of the history, empty if it is not there or holds no number."""
        values = within_reach(np.asarray(self.history.get(name, ()), float))
        return values if np.isfinite(values).any() else np.empty(0)

    def setting(self, section: str, key: str) -> Any:
        """A value of the config, or None."""
        return (self.config.get(section) or {}).get(key)

    @property
    def has_few_rows(self) -> bool:
        """Whether the batches of an epoch cannot hold `MIN_ROWS` rows."""
        steps, batch_size = self.column("step"), self.setting("solver", "batch_size")
        return bool(steps.size) and batch_size is not None and steps[0] * batch_size < MIN_ROWS


def diagnose(evidence: Evidence) -> tuple[Verdict, ...]:
    """All verdicts on a run, the gravest first; empty if nothing stands out or C is unknown."""
    if evidence.n_classes < 2 or not evidence.column("train_loss").size:
        return ()
    found = []
    for name, rule in RULES.items():
        if said := rule(evidence):
            found.append(Verdict(name, *said))
            if name in _ENOUGH:
                break
    return tuple(found)


def verdicts_on(run: RunData) -> tuple[Verdict, ...]:
    """Return `diagnose` of a run folder's files.

    Raises:
        RunError: if its model is damaged.
    """
    return diagnose(
        Evidence(
            history=run.history,
            n_classes=run.n_classes,
            config=run.config,
            status=run.status,
            validation_y=run.predictions.get("validation_y"),
            validation_proba=run.predictions.get("validation_proba"),
            classes=run.classes,
        )
    )


Said = tuple[str, str] | None  # evidence and remedy


def _rate_too_high(run: Evidence) -> Said:
    loss, rate = run.column("train_loss"), run.setting("solver", "learning_rate")
    lower = "a learning rate 3 to 10 times lower" + (f" than {rate:g}" if rate else "")
    if run.status == "diverged" or not np.isfinite(loss).all():
        return "the loss or a gradient stopped being a finite number.", f"{lower}, or solver.max_grad_norm=5."
    if len(loss) >= 2 and loss[-1] > max(RISE * loss.min(), loss.min() + 0.1):
        at = int(loss.argmin())
        return f"the training loss rose from {loss[at]:.3g} (epoch {_epoch(run, at)}) to {loss[-1]:.3g}.", f"{lower}."
    guessing = math.log(run.n_classes)
    ratios = {name: _typical(run.column(f"update_ratio_{name}")) for name in ("W1", "W2")}
    if len(loss) >= 2 and loss[-1] > 1.05 * guessing and max(ratios.values()) > RATIO_LARGE:
        return f"the training loss is {loss[-1]:.3g}, above the {guessing:.3g} of guessing.", f"{lower}."
    for name, ratio in ratios.items():
        if ratio > RATIO_HIGH:
            return f"one step changes {name} by {ratio:.0%} of its size (about 0.1 % is usual).", f"{lower}."
    return None


def _rate_too_low(run: Evidence) -> Said:
    loss, rate = run.column("train_loss"), run.setting("solver", "learning_rate")
    ratios = [_typical(run.column(f"update_ratio_{name}")) for name in ("W1", "W2")]
    if not 0 < max(ratios) <= RATIO_LOW or loss[-1] < SLOW_LOSS * math.log(run.n_classes):
        return None
    return (
        f"one step changes the weights by {max(ratios):.1g} of their size (about 1e-3 is usual), and the training "
        f"loss is still {loss[-1]:.3g}.",
        "a learning rate 3 to 10 times higher" + (f" than {rate:g}." if rate else "."),
    )


def _unscaled_inputs(run: Evidence) -> Said:
    if run.setting("data", "scale") != "none" or run.has_few_rows:
        return None
    activation, gradient = run.column("activation_max"), run.column("gradient_norm")
    if activation.size and np.nanmax(activation) > ACTIVATION_HIGH:
        seen = f"hidden units have mean activations up to {np.nanmax(activation):.3g}"
    elif not run.column("update_ratio_W1").size and gradient.size and gradient[0] > GRADIENT_HIGH:
        seen = f"the gradient's norm is {gradient[0]:.3g}"
    else:
        return None
    return f"data.scale is none and {seen} (about 1 with scaled inputs).", "data.scale=standardize."


def _ignored_class(run: Evidence) -> Said:
    y, P = run.validation_y, run.validation_proba
    if y is None or P is None or not len(y):
        return None
    C = P.shape[1]
    counts, hits = (np.bincount(rows, minlength=C) for rows in (y, y[P.argmax(axis=1) == y]))
    rarely = (counts >= 3) & (counts * IMBALANCE < len(y) / C) & (hits < IGNORED_RECALL * counts)
    ignored = rarely | ((counts >= 5) & (counts < len(y) / C) & (hits == 0))  # no hit at all needs no great imbalance
    if not ignored.any():
        return None
    k = int(np.flatnonzero(ignored)[counts[ignored].argmin()])
    label = run.classes[k] if len(run.classes) == C else k
    return (
        f"class {label!r} has {counts[k]} of {len(y)} validation rows, and {hits[k]} of them were recognised "
        f"(always guessing the commonest class is right for {counts.max() / len(y):.1%} of the rows).",
        "solver.class_weight=balanced, or more rows of that class.",
    )


def _dead_units(run: Evidence) -> Said:
    dead = run.column("dead_share")
    if not dead.size or not dead[-1] > DEAD or run.has_few_rows:
        return None
    return (
        f"{dead[-1]:.0%} of the hidden units fire for no row; they give nothing and learn nothing.",
        "a lower learning rate, model.init=he, scaled inputs, or fewer hidden units.",
    )


def _overfitting(run: Evidence) -> Said:
    train, val = run.column("train_loss"), run.column("val_loss")
    if len(val) < MIN_EPOCHS or not np.isfinite(val).all():
        return None
    k = int(val.argmin())
    if not (val[-1] > OVERFIT_RISE * val[k] and val[-1] > val[k] + 0.05 and train[-1] < train[k]):
        return None
    return (
        f"since epoch {_epoch(run, k)} the training loss fell from {train[k]:.3g} to {train[-1]:.3g} while the "
        f"validation loss rose from {val[k]:.3g} to {val[-1]:.3g}.",
        "more rows, a larger solver.reg, fewer hidden units, or solver.patience to stop in time.",
    )


def _stopped_too_early(run: Evidence) -> Said:
    kind = "validation" if run.column("val_loss").size else "training"
    loss = run.column("val_loss" if kind == "validation" else "train_loss")
    if run.status in ("interrupted", "running") or len(loss) < 2:
        return None
    back = max(1, len(loss) // 10)
    fell = 1 - loss[-1] / loss[-1 - back] if loss[-1 - back] > 0 else 0.0
    if fell < STILL_FALLING or loss[-1] > loss.min() or loss[-1] < 0.02 * math.log(run.n_classes):
        return None
    more = "a larger solver.patience" if run.status == "stopped_early" else f"more epochs than {len(loss)}"
    return (
        f"the {kind} loss was still falling, by {fell:.0%} over the last {back} epoch{'s' * (back > 1)}.",
        f"{more}, or a higher learning rate.",
    )


def _underfitting(run: Evidence) -> Said:
    train, val = run.column("train_loss"), run.column("val_loss")
    if len(train) < MIN_EPOCHS or train[-1] < UNDERFIT_LOSS * math.log(run.n_classes):
        return None
    hidden, accuracy = run.setting("model", "hidden"), run.column("train_accuracy")
    if (val.size and val[-1] > UNDERFIT_GAP * train[-1]) or (accuracy.size and accuracy[-1] > UNDERFIT_ACCURACY):
        return None
    share = f" ({accuracy[-1]:.1%} of the training rows right)" if accuracy.size else ""
    no_worse = ", and the validation loss is no worse" if val.size else ""
    more = f"more hidden units than {hidden}" if hidden else "a hidden layer" if hidden == 0 else "more hidden units"
    return (
        f"the training loss stays at {train[-1]:.3g}{share}{no_worse}.",
        f"{more}, a smaller solver.reg, or better features; or the classes overlap and no model does better.",
    )


def _typical(ratio: Array) -> float:
    """The median over the first half of the epochs, before a schedule has brought the rate down; 0 if unknown."""
    ratio = ratio[: max(1, (len(ratio) + 1) // 2)]
    return float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 0.0


def _epoch(run: Evidence, index: int) -> int:
    epochs = run.column("epoch")
    return int(epochs[index]) if epochs.size else index + 1


# In this order: a verdict in `_ENOUGH` explains what the later ones would see.
RULES: dict[str, Callable[[Evidence], Said]] = {
    "unscaled inputs": _unscaled_inputs,
    "rate too high": _rate_too_high,
    "rate too low": _rate_too_low,
    "dead units": _dead_units,
    "ignored class": _ignored_class,
    "overfitting": _overfitting,
    "stopped too early": _stopped_too_early,
    "underfitting": _underfitting,
}
_ENOUGH = {"rate too high", "rate too low"}
