"""Gradients without any derivation: change one number a little and see how the loss changes."""

from __future__ import annotations

from collections.abc import Callable
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

    def difference(probe: Callable[[float], Any]) -> float:
        return float((probe(STEP) - probe(-STEP)) / (2 * STEP))

    gradients = _one_by_one(params, lambda changed: loss(changed, X, y, reg), difference)
    return float(loss(params, X, y, reg)), gradients


def complex_step(params: Params, X: Array, y: Array, reg: float = 0.0) -> tuple[float, Params]:
    """Return loss and gradients by dL/dq = Im L(q + ih) / h, exact to float64's rounding.

    From Taylor's L(q + ih) = L(q) + ih L'(q) - h^2/2 L''(q) - ...: the imaginary part holds the derivative with no
    difference taken. It needs a loss that runs on complex numbers, as `plain.loss` does (Squire and Trapp, 1998).
    """
    params, X = in_float64(params, X)

    def imaginary_part(probe: Callable[[complex], Any]) -> float:
        return float(np.imag(probe(1j * COMPLEX_STEP)) / COMPLEX_STEP)

    complex_params = params.map(lambda array: array.astype(np.complex128))
    gradients = _one_by_one(complex_params, lambda changed: loss(changed, X, y, reg), imaginary_part)
    return float(loss(params, X, y, reg)), gradients


def _one_by_one(
    params: Params, function: Callable[[Params], Any], derivative: Callable[[Callable[[Any], Any]], float]
) -> Params:
    """Return Params of `derivative(probe)` for every number, where `probe(change)` is the function with it changed."""
    changed = params.copy()

    def of_array(array: Array) -> Array:
        result = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            before = array[index]

            def probe(change: Any, at: tuple[int, ...] = index, before: Any = before) -> Any:
                array[at] = before + change
                return function(changed)

            result[index] = derivative(probe)
            array[index] = before
        return result

    return changed.map(of_array)
