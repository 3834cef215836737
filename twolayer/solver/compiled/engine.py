"""The compiled engine: the steps of `engine.NumpyEngine`, whole stretches of them compiled with Numba.

Elementwise work is fused, small products are done here, larger ones by BLAS, weights are updated while their
gradient is still in cache, and the network is shared by as many threads as BLAS may use and it is worth. Given the same
calls and the same number of threads it gives the same bits.

The threads behind the lanes: they spin for a while after a stretch, in case another follows, and then sleep."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType

import numpy as np

from twolayer.network.model import Array
from twolayer.solver.compiled.partition import share_of, split_for
from twolayer.solver.compiled.products import gemm_address
from twolayer.solver.compiled.steps import MEASURE, NOT_FINITE, OBJECTIVE, run_steps
from twolayer.solver.compiled.sync import team_of
from twolayer.solver.compiled.updates import rule_in_numbers
from twolayer.solver.engine import NonFiniteStepError, TrainingState, UpdateRule
from twolayer.utils.blas import at_most_threads, usable_threads


class Crew:
    """The threads of all lanes but the first, which is the caller's own.

    While it is entered, its threads are awake.

    Args:
        work: called in a thread of its own for each lane, again and again while the crew is entered; it returns
            when there has been nothing to do for a while.
        lanes: how many lanes there are.
    """

    def __init__(self, work: Callable[[int], object], lanes: int) -> None:
        self._work, self._lanes = work, lanes
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> None:
        if not (self._threads and all(thread.is_alive() for thread in self._threads)):
            self._start()  # the first time, and in a process forked since
        with self._state.changed:
            self._state.wanted = True
            self._state.changed.notify_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.wanted = False

    def _start(self) -> None:
        self._state = state = _State()
        self._threads = [
            threading.Thread(target=_serve, args=(state, self._work, lane), name=f"twolayer lane {lane}", daemon=True)
            for lane in range(1, self._lanes)
        ]
        for thread in self._threads:
            thread.start()
        weakref.finalize(self, state.dismiss)


class _State:
    """What a crew and its threads tell each other; the threads hold no reference to the crew."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.wanted = self.dismissed = False

    def dismiss(self) -> None:
        with self.changed:
            self.dismissed = True
            self.changed.notify_all()


def _serve(state: _State, work: Callable[[int], object], lane: int) -> None:
    while not state.dismissed:
        work(lane)
        with state.changed:
            while not (state.wanted or state.dismissed):
                state.changed.wait()


__all__ = ["NumbaEngine"]


class NumbaEngine:
    """Compiled steps; see `engine.Engine`.

    How steps are divided into calls of `run`, and what is measured, makes no difference to the bits.

    Raises:
        MissingExtraError: where Numba is not installed, on import of this module; or SciPy, where it is needed: see
            `products.gemm_address`.
    """

    def __init__(self, state: TrainingState, rule: UpdateRule, batch_size: int) -> None:
        params = state.flat.params
        D, H, C, dtype = params.n_features, params.n_hidden, params.n_classes, params.dtype
        self.state, self.rule, self.batch_size = state, rule, batch_size
        self.gradient_norm = math.nan
        self._norm = np.empty(1)
        self._no_weights = np.empty(0, dtype)

        split = split_for(D, H, C, batch_size, dtype, usable_threads())
        team = team_of(split.lanes, batch_size * (H if split.by_features else C), dtype)
        shares = [share_of(state, batch_size, lane, split) for lane in range(split.lanes)]
        common = rule_in_numbers(rule), gemm_address(dtype)
        nothing = self._no_weights, np.empty(0, np.intp), self._no_weights, np.empty(0), 0, 0, np.empty(0), np.empty(1)
        self._fixed = team, *shares[0], *common
        self._blas_threads = 1 if split.lanes > 1 else None  # lanes multiply side by side
        crew = Crew(lambda lane: run_steps(team, *shares[lane], *common, *nothing), split.lanes)
        self._crew = crew if split.lanes > 1 else nullcontext()

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
        self._norm[0] = math.nan
        with self._crew, at_most_threads(self._blas_threads):
            outcome, done, self.state.t, loss = run_steps(
                *self._fixed,
                np.ascontiguousarray(X, dtype).reshape(-1),
                np.ascontiguousarray(y, np.intp),
                self._no_weights if weights is None else np.ascontiguousarray(weights, dtype),
                np.ascontiguousarray(rates, np.float64),
                MEASURE * measure + OBJECTIVE * objective,
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
