"""What the curves say, in words: each verdict names a problem of a training, its evidence, and what to change.

A verdict is a pure function of what the run left (history, validation predictions, config) and silent if all is well.
It names keys of the config with their present and a proposed value, and never one that has this value already. The
bounds are together at the top; they are rules of thumb, wide enough that a sound run passes them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twolayer.network.model import Array
from twolayer.views.run_data import ENDED, RunData, value_text
from twolayer.views.style import within_reach

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
    """One problem found.

    Attributes:
        name: of the rule, a key of `RULES`.
        evidence: what was seen, with its numbers.
        changes: of the config, each by itself.
        advice: what else to try, where no key does it.
    """

    name: str
    evidence: str
    changes: tuple[Change, ...]
    advice: tuple[str, ...]

    @property
    def remedy(self) -> str:
        """What to try, in a sentence."""
        *most, last = (*map(str, self.changes), *self.advice)
        return f"{', '.join(most)}{', or ' if most else ''}{last}."

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} Try: {self.remedy}"


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        history: columns of history.csv by name, one value per epoch, NaN where there is none.
        n_classes: C; 0 while unknown.
        config: the resolved config as nested dictionaries.
        status: see `RunData`.
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
        """Return a column of the history, empty if it is absent or holds no number."""
        values = within_reach(np.asarray(self.history.get(name, ()), float))
        return values if np.isfinite(values).any() else np.empty(0)

    def setting(self, section: str, key: str) -> Any:
        """Return a value of the config, or None."""
        return (self.config.get(section) or {}).get(key)

    def change(self, key: str, proposed: Callable[[Any], Any] | object) -> tuple[Change, ...]:
        """Return the change of a key to a value, or by a function of its present value.

        It is empty if the config has no such key, the present value is no number where one is needed, or nothing
        would change.
        """
        section, _, name = key.partition(".")
        values = self.config.get(section) or {}
        if name not in values:
            return ()
        present = values[name]
        if callable(proposed):
            if isinstance(present, bool) or not isinstance(present, int | float) or not present:
                return ()
            proposed = type(present)(float(f"{proposed(present):.2g}"))
        return () if proposed == present else (Change(key, present, proposed),)

    @property
    def has_few_rows(self) -> bool:
        """Whether an epoch has fewer than `MIN_ROWS` rows."""
        steps, batch_size = self.column("step"), self.setting("solver", "batch_size")
        return bool(steps.size) and batch_size is not None and steps[0] * batch_size < MIN_ROWS


def diagnose(evidence: Evidence) -> tuple[Verdict, ...]:
    """Return all verdicts on a run, the gravest first; none if nothing stands out or C is unknown."""
    if evidence.n_classes < 2 or not evidence.column("train_loss").size:
        return ()
    found = []
    for name, rule in RULES.items():
        if said := rule(evidence):
            seen, *remedies = said
            changes = tuple(one for each in remedies if not isinstance(each, str) for one in each)
            advice = tuple(each for each in remedies if isinstance(each, str) and each)
            found.append(Verdict(name, seen, changes, advice))
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


# Evidence, then what to try: changes of the config, and words for what no key does.
Said = tuple[Any, ...] | None


def _rate_too_high(run: Evidence) -> Said:
    loss, guessing = run.column("train_loss"), math.log(run.n_classes)
    lower = run.change("solver.learning_rate", lambda rate: rate / 5)
    ratios = {name: _typical(run.column(f"update_ratio_{name}")) for name in ("W1", "W2")}
    if run.status == "diverged" or not np.isfinite(loss).all():
        clipped = run.change("solver.max_grad_norm", 5.0) if run.setting("solver", "max_grad_norm") is None else ()
        return "the loss or a gradient stopped being a finite number.", lower, clipped, _unless(lower, "a lower rate")
    seen = ""
    if len(loss) >= 2 and loss[-1] > max(RISE * loss.min(), loss.min() + 0.1):
        at = int(loss.argmin())
        seen = f"the training loss rose from {loss[at]:.3g} (epoch {_epoch(run, at)}) to {loss[-1]:.3g}."
    elif len(loss) >= 2 and loss[-1] > 1.05 * guessing and max(ratios.values()) > RATIO_LARGE:
        seen = f"the training loss is {loss[-1]:.3g}, above the {guessing:.3g} of guessing."
    elif max(ratios.values()) > RATIO_HIGH:
        name = max(ratios, key=lambda each: ratios[each])
        seen = f"one step changes {name} by {ratios[name]:.0%} of its size (about 0.1 % is usual)."
    return (seen, lower, _unless(lower, "a lower learning rate")) if seen else None


def _rate_too_low(run: Evidence) -> Said:
    loss, ratios = run.column("train_loss"), [_typical(run.column(f"update_ratio_{name}")) for name in ("W1", "W2")]
    if not 0 < max(ratios) <= RATIO_LOW or loss[-1] < SLOW_LOSS * math.log(run.n_classes):
        return None
    seen = (
        f"one step changes the weights by {max(ratios):.1g} of their size (about 1e-3 is usual), and the training "
        f"loss is still {loss[-1]:.3g}."
    )
    higher = run.change("solver.learning_rate", lambda rate: rate * 5)
    return seen, higher, _unless(higher, "a higher learning rate")


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
    return f"data.scale is none and {seen} (about 1 with scaled inputs).", run.change("data.scale", "standardize")


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
    weights = run.change("solver.class_weight", "balanced") if run.setting("solver", "class_weight") == "none" else ()
    return (
        f"class {label!r} has {counts[k]} of {len(y)} validation rows, and {hits[k]} of them were recognised "
        f"(always guessing the most frequent class is right for {counts.max() / len(y):.1%} of the rows).",
        weights,
        "more rows of that class",
    )


def _dead_units(run: Evidence) -> Said:
    dead = run.column("dead_share")
    if not dead.size or not dead[-1] > DEAD or run.has_few_rows:
        return None
    return (
        f"{dead[-1]:.0%} of the hidden units fire for no row; they give nothing and learn nothing.",
        run.change("data.scale", "standardize") if run.setting("data", "scale") == "none" else (),
        run.change("model.init", "he"),
        run.change("solver.learning_rate", lambda rate: rate / 5),
        run.change("model.hidden", lambda hidden: max(1, hidden * (1 - dead[-1]))),
        "" if run.config else "a lower learning rate",
    )


def _overfitting(run: Evidence) -> Said:
    train, val = run.column("train_loss"), run.column("val_loss")
    right, held_out = run.column("train_accuracy"), run.column("val_accuracy")
    if len(val) < MIN_EPOCHS or not np.isfinite(val).all():
        return None
    k, rows = int(val.argmin()), 0 if run.validation_y is None else len(run.validation_y)
    gap, lost, best = 0.0, 0.0, 0
    if right.size and held_out.size:
        best = int(held_out.argmax())
        noise = 2 * math.sqrt(max(0.0, held_out[best] * (1 - held_out[best])) / rows) if rows else 0.0
        gap, lost = right[-1] - held_out[-1] - noise, held_out[best] - held_out[-1] - noise
    if val[-1] > OVERFIT_RISE * val[k] and val[-1] > val[k] + 0.05 and train[-1] < train[k]:
        seen = (
            f"since epoch {_epoch(run, k)} the training loss fell from {train[k]:.3g} to {train[-1]:.3g} while the "
            f"validation loss rose from {val[k]:.3g} to {val[-1]:.3g}."
        )
    elif lost > OVERFIT_ACCURACY and right[-1] >= right[best]:
        seen = (
            f"since epoch {_epoch(run, best)} the validation accuracy fell from {held_out[best]:.1%} to "
            f"{held_out[-1]:.1%} while the training accuracy is {right[-1]:.1%}."
        )
    elif gap > OVERFIT_ACCURACY and val[-1] - train[-1] > OVERFIT_GAP:
        seen = (
            f"the training loss is {train[-1]:.2g} and the validation loss {val[-1]:.2g}; {right[-1]:.1%} of the "
            f"training rows are right and {held_out[-1]:.1%} of the validation rows."
        )
    else:
        return None
    reg = run.change("solver.reg", 1e-3) if run.setting("solver", "reg") == 0 else ()
    return (
        seen,
        reg or run.change("solver.reg", lambda value: value * 10),
        run.change("model.hidden", lambda hidden: max(1, hidden / 2)),
        run.change("solver.patience", 10) if run.setting("solver", "patience") is None else (),
        "more rows",
    )


def _stopped_too_early(run: Evidence) -> Said:
    kind = "validation" if run.column("val_loss").size else "training"
    loss = run.column("val_loss" if kind == "validation" else "train_loss")
    if run.status not in ENDED or len(loss) < 2:
        return None
    back = max(1, len(loss) // 10)
    fell = 1 - loss[-1] / loss[-1 - back] if loss[-1 - back] > 0 else 0.0
    if fell < STILL_FALLING or loss[-1] > loss.min() or loss[-1] < 0.02 * math.log(run.n_classes):
        return None
    key = "solver.patience" if run.status == "stopped_early" else "solver.epochs"
    longer = run.change(key, lambda value: 2 * value)
    return (
        f"the {kind} loss was still falling, by {fell:.0%} over the last {back} epoch{'s' * (back > 1)}.",
        longer,
        run.change("solver.learning_rate", lambda rate: rate * 3),
        _unless(longer, "a longer training"),
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
    return (
        f"the training loss stays at {train[-1]:.3g}{share}{no_worse}.",
        run.change("model.hidden", 64) if hidden == 0 else run.change("model.hidden", lambda units: 2 * units),
        run.change("solver.reg", lambda value: value / 10),
        "better features; the classes may overlap, and then no model does better",
    )


def _few_validation_rows(run: Evidence) -> Said:
    y, P = run.validation_y, run.validation_proba
    if y is None or P is None or not 0 < len(y) < FEW_ROWS:
        return None
    n, z = len(y), 1.96
    share = float((P.argmax(axis=1) == y).mean())
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))  # Wilson, 1927
    low, high = ((centre + side * half) / (1 + z * z / n) for side in (-1, 1))
    return (
        f"the validation accuracy {share:.3f} comes from {n} rows; the true one is probably (95 %) between {low:.2f} "
        f"and {high:.2f}, so smaller differences between runs say nothing.",
        "more validation rows, or the mean over several seeds",
    )


def _unless(changes: tuple[Change, ...], words: str) -> str:
    """Return the words where no key can be named."""
    return "" if changes else words


def _typical(ratio: Array) -> float:
    """Return the median over the first half of the epochs, before a schedule lowers the rate; 0 if unknown."""
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
    "few validation rows": _few_validation_rows,
}
_ENOUGH = {"rate too high", "rate too low"}
