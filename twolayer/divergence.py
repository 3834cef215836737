"""What to tell someone whose training diverged: where, with which numbers, and what to try, as far as they point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.settings import SolverSettings

LARGE_FEATURE = 50.0  # standardised rows stay far below this
LARGE_GRADIENT = 10.0  # ordinary ones are around 1


class Divergence(NamedTuple):
    """The step that went wrong, or the one after which the training loss was not finite.

    Attributes:
        step: its number, from 1.
        rate: its learning rate.
        loss: its loss.
        gradient_norm: the norm of its gradient.
        losses: those of the steps just before it.
    """

    step: int
    rate: float
    loss: float
    gradient_norm: float
    losses: Array


def explain_divergence(found: Divergence, params: Params, X: Array, settings: SolverSettings) -> str:
    """The message of a DivergedError.

    Args:
        found: what happened.
        params: the parameters at that point.
        X: (n, D) some rows of the training.
        settings: what was asked for.
    """
    weights = {name: W for name, W in params.named().items() if name.startswith("W")}
    with np.errstate(over="ignore", invalid="ignore"):
        norms = ", ".join(f"|{name}| = {np.linalg.norm(W):.3g}" for name, W in weights.items())
    message = (
        f"diverged at step {found.step}: loss {found.loss:.3g}, gradient norm {found.gradient_norm:.3g} "
        f"at learning rate {found.rate:.3g} ({norms})"
    )
    before = found.losses[np.isfinite(found.losses)]
    if len(before) and before[-1] > before[0]:
        message += f"; the loss rose from {before[0]:.3g} to {before[-1]:.3g} in the {len(before)} steps before"
    remedies = [f"a lower solver.learning_rate, such as {settings.learning_rate / 10:.1g}"]
    if settings.warmup_epochs == 0:
        remedies.append("solver.warmup_epochs: 1")
    largest = float(np.abs(X).max())
    if not largest < LARGE_FEATURE:
        remedies.insert(0, f"data.scale: standardize (a feature reaches {largest:.3g})")
    if settings.max_grad_norm is None and not found.gradient_norm < LARGE_GRADIENT:
        remedies.append("solver.max_grad_norm: 1")
    return f"{message}. The best parameters so far were kept. Try {', or '.join(remedies)}"
