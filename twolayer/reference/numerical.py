"""Gradients without any derivation: change one number a little and see how the loss changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import in_float64, loss

STEP = 1e-5  # near the cube root of float64's 2.2e-16, where rounding and truncation errors balance
COMPLEX_STEP = 1e-20  # nothing is subtracted, so nothing is lost, however small


def centred_differences(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients by dL/dq = (L(q + h) - L(q - h)) / 2h, one number q after the other.

    The error is h^2/6 times the third derivative, plus about 1e-16 / h from rounding: 1e-10 at best. It is wrong
    where a ReLU changes sides between the two probes; `twolayer.check_gradients` finds those places.
    """
    params, X = in_float64(params, X)
    slopes = _slopes(params, X, y, reg, (STEP, -STEP), lambda above, below: (above - below) / (2 * STEP))
    return float(loss(params, X, y, reg)), slopes


def complex_step(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients by dL/dq = Im L(q + ih) / h, exact to float64's rounding.

    From Taylor's L(q + ih) = L(q) + ih L'(q) - h^2/2 L''(q) - ...: the imaginary part holds the derivative with no
    difference taken. It needs a loss that runs on complex numbers, as `plain.loss` does (Squire and Trapp, 1998).
    """
    params, X = in_float64(params, X)
    numbers = params.map(lambda array: array.astype(np.complex128))
    slopes = _slopes(numbers, X, y, reg, (1j * COMPLEX_STEP,), lambda probe: probe.imag / COMPLEX_STEP)
    return float(loss(params, X, y, reg)), slopes


def _slopes(
    params: Params, X: Array, y: Array, reg: float, changes: Sequence[complex], slope: Callable[..., Any]
) -> Params:
    """Return `slope(*losses)` for every number, where the losses are those with that number changed by `changes`."""
    changed = params.copy()

    def of_array(array: Array) -> Array:
        slopes = np.zeros(array.shape)
        for at in np.ndindex(array.shape):
            before, losses = array[at], []
            for change in changes:
                array[at] = before + change
                losses.append(loss(changed, X, y, reg))
            array[at] = before
            slopes[at] = slope(*losses)
        return slopes

    return changed.map(of_array)
