"""The compiled engine: the steps of `engine.NumpyEngine`, whole stretches of them compiled with Numba.

Elementwise work is fused and stays on one thread, small products are done here, larger ones by SciPy's BLAS, and plain
SGD and momentum let the update ride on the product that makes the gradient. Given the same calls it gives the same
bits."""

from __future__ import annotations

import math

import numpy as np

from twolayer.compiled.blas import gemm_address, scratch_room
from twolayer.compiled.steps import NOT_FINITE, run_steps
from twolayer.compiled.updates import CODES
from twolayer.engine import NonFiniteStepError, TrainingState, UpdateRule
from twolayer.model import Array, flat_zeros

__all__ = ["NumbaEngine"]


class NumbaEngine:
    """Compiled steps; see `engine.Engine`.

    A step with `measure` or clipping computes its gradient before it updates, and rounds a little differently from one
    that does not; otherwise how steps are divided into calls of `run` makes no difference.

    Raises:
        MissingExtraError: on import of this module, where Numba or SciPy is not installed.
    """

    def __init__(self, state: TrainingState, rule: UpdateRule, batch_size: int) -> None:
        params = state.flat.params
        D, H, C = params.n_features, params.n_hidden, params.n_classes
        self.state, self.rule, self.batch_size = state, rule, batch_size
        self.gradient_norm = math.nan
        vector, dtype = state.flat.vector, params.dtype
        starts = tuple(
            0 if view is None else (view.ctypes.data - vector.ctypes.data) // dtype.itemsize
            for view in (params.W1, params.W2, params.b1, params.b2)
        )
        h = rule.hyperparameters
        hyperparameters = np.array([h.momentum, h.rho, h.beta1, h.beta2, h.epsilon], np.float64)
        slots = [slot.vector for slot in state.slots] + [vector, vector]
        self._norm = np.empty(1)
        self._no_weights = np.empty(0, dtype)
        gradients = flat_zeros(D, H, C, dtype).vector
        B, room = batch_size, scratch_room(D, H, C, batch_size, dtype)
        scratch = [np.empty(shape, dtype) for shape in ((B, H), (B, H), C * B, (3, B), room)]
        self._gemm = gemm_address(dtype)
        self._fixed = (
            batch_size, (D, H, C), starts, state.flat.n_weights, vector, gradients, slots[0], slots[1],
            *scratch, CODES[rule.optimizer], hyperparameters, float(rule.reg), float(rule.max_grad_norm or 0),
        )  # fmt: skip

    def run(
        self,
        X: Array,
        y: Array,
        weights: Array | None,
        rates: Array,
        *,
        measure: bool = False,
        objective: bool = False,
    ) -> Array:
        """One step for each batch of a stretch; see `engine.Engine.run`."""
        dtype = self.state.flat.vector.dtype
        losses = np.empty(len(rates))
        outcome, done, self.state.t, loss = run_steps(
            self._gemm,
            np.ascontiguousarray(X, dtype),
            np.ascontiguousarray(y, np.intp),
            self._no_weights if weights is None else np.ascontiguousarray(weights, dtype),
            np.ascontiguousarray(rates, np.float64),
            *self._fixed,
            measure,
            objective,
            self.state.t,
            losses,
            self._norm,
        )
        if outcome == NOT_FINITE:
            self.gradient_norm = float(self._norm[0])
            raise NonFiniteStepError(losses[:done], loss, self.gradient_norm)
        if measure:
            self.gradient_norm = float(self._norm[0])
        return losses
