"""What the curves say, in words: each verdict names a problem of a training, its evidence, and what to change.

A verdict is a pure function of what the run left (history, validation predictions, config) and silent if all is well.
It names keys of the config with their present and a proposed value, and never one that has this value already. The
bounds are together at the top; they are rules of thumb, wide enough that a sound run passes them all."""

import math
from typing import Any, NamedTuple

import numpy as np

from twolayer.utils.text import counted
from twolayer.views.run_data import ENDED, RunData, value_text

RATIO_HIGH = 0.1  # |update| / |weights| of one step: a weight matrix replaced in ten steps cannot settle
RATIO_LARGE = 1e-2  # enough to blame the rate for a loss above that of guessing
RATIO_LOW = 5e-4  # about 1e-3 is usual (Karpathy, CS231n); below this, a thousand steps change little
SLOW_LOSS = 0.5  # of ln C: where small steps have not yet led anywhere
RISE = 1.5  # a training loss that ends this many times above its lowest
STILL_FALLING = 0.05  # share of the loss that the last tenth of the epochs still took away
OVERFIT_RISE = 1.25  # the validation loss ends this many times above its lowest
OVERFIT_GAP = 0.25  # nats between training and validation loss, and ...
OVERFIT_ACCURACY = 0.05  # ... between the accuracies, or lost since the best epoch, beyond two standard errors
FEW_ROWS = 200  # validation rows, below which the accuracy is reported with its uncertainty
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


class Change(NamedTuple):
    """A key of the config that should have another value."""

    key: str
    present: Any
    proposed: Any

    def __str__(self) -> str:
        return f"{self.key}={value_text(self.proposed)} (now {value_text(self.present)})"


class Verdict(NamedTuple):
    """One problem found: the name of its rule, what was seen with its numbers, and what may help, changes of the config
    and words for what no key does."""

    name: str
    evidence: str
    remedies: tuple[Change | str, ...]

    @property
    def remedy(self) -> str:
        """What to try, in a sentence."""
        *most, last = map(str, self.remedies)
        return f"{', '.join(most)}{', or ' if most else ''}{last}."

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} Try: {self.remedy}"


def diagnose(run: RunData) -> tuple[Verdict, ...]:
    """Return all verdicts on a run, the gravest first; none if there is no problem or C is unknown. Raises RunError if
    the run has not ended and its model is damaged."""
    if not run.column("train_loss").size or run.n_classes < 2:
        return ()
    found: list[Verdict] = []
    for name, rule in RULES.items():
        if said := rule(run):
            evidence, *remedies = said
            found.append(Verdict(name, evidence, tuple(filter(None, remedies))))
            if name in _ENOUGH:
                break
    return tuple(found)


# Evidence, then what to try: `Change | str`, None for a change that is already in place.
Said = tuple[Any, ...] | None


def _set(run: RunData, key: str, proposed: Any, now: Any = ...) -> Change | None:
    """Return the change of a key to another value, if the config has the key and (where given) the value `now`."""
    present = run.settings.get(key, proposed)
    return None if present == proposed or (now is not ... and present != now) else Change(key, present, proposed)


def _scaled(run: RunData, key: str, factor: float, least: int = 0) -> Change | None:
    """Return the change of a key's number to a multiple of it, with two digits; None if it has none."""
    present = run.settings.get(key)
    if isinstance(present, bool) or not isinstance(present, int | float) or not present:
        return None
    return _set(run, key, type(present)(float(f"{max(least, present * factor):.2g}")))


def _ratio(run: RunData, layer: str) -> float:
    """Return the median |update| / |weights| of the first half of the epochs, before the rate is lowered; or 0."""
    ratio = run.column(f"update_ratio_{layer}")
    ratio = ratio[: max(1, (len(ratio) + 1) // 2)]
    return float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 0.0


def _has_few_rows(run: RunData) -> bool:
    steps, batch_size = run.column("step"), run.settings.get("solver.batch_size")
    return bool(steps.size) and batch_size is not None and steps[0] * batch_size < MIN_ROWS


def _rate_too_high(run: RunData) -> Said:
    loss, epochs, guessing = run.column("train_loss"), run.column("epoch"), math.log(run.n_classes)
    ratio, layer = max((_ratio(run, layer), layer) for layer in ("W1", "W2"))
    at = int(np.nanargmin(loss))
    slower = _scaled(run, "solver.learning_rate", 1 / 5) or "a lower learning rate"
    if run.status == "diverged" or not np.isfinite(loss).all():
        clipped = _set(run, "solver.max_grad_norm", 5.0, now=None)
        return "the loss or a gradient stopped being a finite number.", slower, clipped
    if loss[-1] > max(RISE * loss[at], loss[at] + 0.1):
        seen = f"the training loss rose from {loss[at]:.3g} (epoch {epochs[at]:.0f}) to {loss[-1]:.3g}."
    elif len(loss) >= 2 and loss[-1] > 1.05 * guessing and ratio > RATIO_LARGE:
        seen = f"the training loss is {loss[-1]:.3g}, above the {guessing:.3g} of guessing."
    elif ratio > RATIO_HIGH:
        seen = f"one step changes {layer} by {ratio:.0%} of its size (about 0.1 % is usual)."
    else:
        return None
    return seen, slower


def _rate_too_low(run: RunData) -> Said:
    loss, ratio = run.column("train_loss")[-1], max(_ratio(run, "W1"), _ratio(run, "W2"))
    if not 0 < ratio <= RATIO_LOW or loss < SLOW_LOSS * math.log(run.n_classes):
        return None
    return (
        f"one step changes the weights by {ratio:.1g} of their size (about 1e-3 is usual), and the training loss is "
        f"still {loss:.3g}.",
        _scaled(run, "solver.learning_rate", 5) or "a higher learning rate",
    )


def _unscaled_inputs(run: RunData) -> Said:
    if run.settings.get("data.scale") != "none" or _has_few_rows(run):
        return None
    activation, gradient = run.column("activation_max"), run.column("gradient_norm")
    if activation.size and np.nanmax(activation) > ACTIVATION_HIGH:
        seen = f"hidden units have mean activations up to {np.nanmax(activation):.3g}"
    elif not run.column("update_ratio_W1").size and gradient.size and gradient[0] > GRADIENT_HIGH:
        seen = f"the gradient's norm is {gradient[0]:.3g}"
    else:
        return None
    return f"data.scale is none and {seen} (about 1 with scaled inputs).", _set(run, "data.scale", "standardize")


def _ignored_class(run: RunData) -> Said:
    rows = run.predicted("validation")
    if rows is None:
        return None
    y, P = rows
    C = P.shape[1]
    counts, hits = (np.bincount(of, minlength=C) for of in (y, y[P.argmax(axis=1) == y]))
    rarely = (counts >= 3) & (counts * IMBALANCE < len(y) / C) & (hits < IGNORED_RECALL * counts)
    ignored = rarely | ((counts >= 5) & (counts < len(y) / C) & (hits == 0))  # no hit at all needs no great imbalance
    if not ignored.any():
        return None
    k = int(np.flatnonzero(ignored)[counts[ignored].argmin()])
    return (
        f"class {run.classes[k]!r} has {counts[k]} of {len(y)} validation rows, and {hits[k]} of them were recognised "
        f"(always guessing the most frequent class is right for {counts.max() / len(y):.1%} of the rows).",
        _set(run, "solver.class_weight", "balanced", now="none"),
        "more rows of that class",
    )


def _dead_units(run: RunData) -> Said:
    dead = run.column("dead_share")
    if not dead.size or not dead[-1] > DEAD or _has_few_rows(run):
        return None
    return (
        f"{dead[-1]:.0%} of the hidden units fire for no row; they give nothing and learn nothing.",
        _set(run, "data.scale", "standardize", now="none"),
        _set(run, "model.init", "he"),
        _scaled(run, "solver.learning_rate", 1 / 5) or "a lower learning rate",
        _scaled(run, "model.hidden", 1 - dead[-1], least=1) if dead[-1] < 1 else None,
    )


def _overfitting(run: RunData) -> Said:
    epochs, train, val = run.column("epoch"), run.column("train_loss"), run.column("val_loss")
    right, held_out = run.column("train_accuracy"), run.column("val_accuracy")
    if len(val) < MIN_EPOCHS or not np.isfinite(val).all():
        return None
    k, rows = int(val.argmin()), len(run.predictions.get("validation_y", ()))
    gap, lost, best = 0.0, 0.0, 0
    if right.size and held_out.size:
        best = int(held_out.argmax())
        noise = 2 * math.sqrt(max(0.0, held_out[best] * (1 - held_out[best])) / rows) if rows else 0.0
        gap, lost = right[-1] - held_out[-1] - noise, held_out[best] - held_out[-1] - noise
    if val[-1] > OVERFIT_RISE * val[k] and val[-1] > val[k] + 0.05 and train[-1] < train[k]:
        seen = (
            f"since epoch {epochs[k]:.0f} the training loss fell from {train[k]:.3g} to {train[-1]:.3g} while the "
            f"validation loss rose from {val[k]:.3g} to {val[-1]:.3g}."
        )
    elif lost > OVERFIT_ACCURACY and right[-1] >= right[best]:
        seen = (
            f"since epoch {epochs[best]:.0f} the validation accuracy fell from {held_out[best]:.1%} to "
            f"{held_out[-1]:.1%} while the training accuracy is {right[-1]:.1%}."
        )
    elif gap > OVERFIT_ACCURACY and val[-1] - train[-1] > OVERFIT_GAP:
        seen = (
            f"the training loss is {train[-1]:.2g} and the validation loss {val[-1]:.2g}; {right[-1]:.1%} of the "
            f"training rows are right and {held_out[-1]:.1%} of the validation rows."
        )
    else:
        return None
    return (
        seen,
        _set(run, "solver.reg", 1e-3, now=0) or _scaled(run, "solver.reg", 10),
        _scaled(run, "model.hidden", 1 / 2, least=1),
        _set(run, "solver.patience", 10, now=None),
        "more rows",
    )


def _stopped_too_early(run: RunData) -> Said:
    kind = "validation" if run.column("val_loss").size else "training"
    loss = run.column("val_loss" if kind == "validation" else "train_loss")
    if run.status not in ENDED or len(loss) < 2:
        return None
    back = max(1, len(loss) // 10)
    fell = 1 - loss[-1] / loss[-1 - back] if loss[-1 - back] > 0 else 0.0
    if fell < STILL_FALLING or loss[-1] > loss.min() or loss[-1] < 0.02 * math.log(run.n_classes):
        return None
    return (
        f"the {kind} loss was still falling, by {fell:.0%} over the last {counted(back, 'epoch')}.",
        _scaled(run, "solver.patience" if run.status == "stopped_early" else "solver.epochs", 2) or "a longer training",
        _scaled(run, "solver.learning_rate", 3),
    )


def _underfitting(run: RunData) -> Said:
    train, val, accuracy = run.column("train_loss"), run.column("val_loss"), run.column("train_accuracy")
    if len(train) < MIN_EPOCHS or train[-1] < UNDERFIT_LOSS * math.log(run.n_classes):
        return None
    if (val.size and val[-1] > UNDERFIT_GAP * train[-1]) or (accuracy.size and accuracy[-1] > UNDERFIT_ACCURACY):
        return None
    share = f" ({accuracy[-1]:.1%} of the training rows right)" if accuracy.size else ""
    no_worse = ", and the validation loss is no worse" if val.size else ""
    return (
        f"the training loss stays at {train[-1]:.3g}{share}{no_worse}.",
        _set(run, "model.hidden", 64, now=0) or _scaled(run, "model.hidden", 2),
        _scaled(run, "solver.reg", 1 / 10),
        "better features; the classes may overlap, and then no model does better",
    )


def _few_validation_rows(run: RunData) -> Said:
    rows = run.predicted("validation")
    if rows is None or len(rows[0]) >= FEW_ROWS:
        return None
    y, P = rows
    n, z = len(y), 1.96
    share = float((P.argmax(axis=1) == y).mean())
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))  # Wilson, 1927
    low, high = ((centre + side * half) / (1 + z * z / n) for side in (-1, 1))
    return (
        f"the validation accuracy {share:.3f} comes from {n} rows; the true accuracy is probably (95 %) between "
        f"{low:.2f} and {high:.2f}, so smaller differences between runs mean nothing.",
        "more validation rows, or the mean over several seeds",
    )


# In this order: a verdict in `_ENOUGH` explains what the later ones would see.
_IN_ORDER = (
    *(_unscaled_inputs, _rate_too_high, _rate_too_low, _dead_units, _ignored_class, _overfitting, _stopped_too_early),
    *(_underfitting, _few_validation_rows),
)
RULES = {rule.__name__.strip("_").replace("_", " "): rule for rule in _IN_ORDER}
_ENOUGH = {"rate too high", "rate too low"}
