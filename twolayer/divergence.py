"""What to tell someone whose training diverged: where, with which numbers, and what to try, as far as they point."""

from __future__ import annotations

import numpy as np

from twolayer.engine import NonFiniteStepError
from twolayer.metrics import weight_changes
from twolayer.model import Array, Params
from twolayer.settings import SolverSettings

LARGE_FEATURE = 50.0  # standardised rows stay far below this
LARGE_GRADIENT = 10.0  # ordinary ones are around 1


def explain_divergence(
    error: NonFiniteStepError, first_step: int, rate: float, params: Params, X: Array, settings: SolverSettings
) -> str:
    """The message of a DivergedError.

    Args:
        error: what the engine found.
        first_step: steps done before the stretch that diverged.
        rate: the learning rate of the bad step.
        params: the parameters before the bad step.
        X: (n, D) the stretch's rows.
        settings: what was asked for.
    """
    done = len(error.losses)
    norms = ", ".join(
        f"|{name[-2:]}| = {value:.3g}"
        for name, value in weight_changes(params, params).items()
        if name.startswith("weight_norm") and value is not None
    )
    where = (
        f"step {first_step + done + 1}: the loss is {error.loss:.3g} and the gradient's norm {error.gradient_norm:.3g}"
        f" at learning rate {rate:.3g} ({norms})"
    )
    good = error.losses[np.isfinite(error.losses)]
    if len(good) and good[-1] > good[0]:
        where += f"; the loss had risen from {good[0]:.3g} to {good[-1]:.3g} in the {done} steps before"
    remedies = [f"a lower solver.learning_rate, such as {settings.learning_rate / 10:.1g}"]
    if settings.warmup_epochs == 0:
        remedies.append("solver.warmup_epochs: 1")
    largest = float(np.abs(X).max())
    if not largest < LARGE_FEATURE:
        remedies.insert(0, f"data.scale: standardize (a feature reaches {largest:.3g})")
    if settings.max_grad_norm is None and not error.gradient_norm < LARGE_GRADIENT:
        remedies.append("solver.max_grad_norm: 1")
    return f"{where}. The best parameters so far were kept. Try " + ", or ".join(remedies)
