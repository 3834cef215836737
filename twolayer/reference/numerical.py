"""Gradients without any derivation: change one number a little and see how the loss changes."""

from __future__ import annotations

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import in_float64, loss

STEP = 1e-20  # nothing is subtracted, so nothing is lost, however small


def complex_step(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients by dL/dq = Im L(q + ih) / h, one number q after the other, exact to float64's rounding.

    From Taylor's L(q + ih) = L(q) + ih L'(q) - h^2/2 L''(q) - ...: the imaginary part holds the derivative with no
    difference taken. It needs a loss that runs on complex numbers, as `plain.loss` does (Squire and Trapp, 1998).
    """
    params, X = in_float64(params, X)
    changed = params.map(lambda array: array.astype(np.complex128))

    def slopes(array: Array) -> Array:
        found = np.zeros(array.shape)
        for at in np.ndindex(array.shape):
            array[at] += 1j * STEP
            found[at] = loss(changed, X, y, reg).imag / STEP
            array[at] = array[at].real
        return found

    return float(loss(params, X, y, reg)), changed.map(slopes)
