"""The NumPy engine: one training step is backprop, then the update, both in place, with nothing allocated.

An engine is whatever has `run`: it takes a chunk of consecutive batches and does one step for each. The compiled
engine (`compiled`) does the same steps, and `solver.make_engine` chooses."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from twolayer.network.backprop import Workspace, data_loss_and_gradients, penalty
from twolayer.network.model import Array, FlatParams, init_params
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.settings import SolverSettings
from twolayer.utils.blas import AdaptiveThreads, at_most_threads, usable_threads

CHUNK_BYTES = 1 << 25  # of rows in a chunk: enough that the cost of a chunk itself is small
CHUNK_STEPS, CHUNK_WORK = 1000, 10**10  # steps and multiplications at most, so that a chunk ends soon
BLOCK = 1 << 16  # numbers updated at a time: few enough to stay in cache, enough to forget what a call costs


class TrainingState:
    """The numbers a step changes: the parameters, the optimiser's vectors, and how many updates were made.

    Attributes:
        flat: the parameters.
        slots: the optimiser's state, each laid out as the parameters are.
        t: updates made, the t of adam; a skipped batch does not count.
    """

    def __init__(self, flat: FlatParams, slots: Sequence[FlatParams], t: int = 0) -> None:
        self.flat = flat
        self.slots = tuple(slots)
        self.t = t

    def is_finite(self) -> bool:
        """True if all numbers are finite."""
        return all(np.isfinite(flat.vector).all() for flat in (self.flat, *self.slots))


class NonFiniteStepError(ArithmeticError):
    """A step's loss or gradient was not finite. The update was not made.

    Attributes:
        losses: those of the good steps of the chunk before it.
        loss: the loss of the bad step.
        gradient_norm: the norm of its gradient.
    """

    def __init__(self, losses: Array, loss: float, gradient_norm: float) -> None:
        super().__init__(f"loss {loss}, gradient norm {gradient_norm}")
        self.losses = losses
        self.loss = loss
        self.gradient_norm = gradient_norm


def chunk_steps(batch_rows: int, n_features: int, n_hidden: int, itemsize: int) -> int:
    """How many batches make a chunk; numbers of `itemsize` bytes."""
    numbers = batch_rows * n_features
    by_work = CHUNK_WORK // (2 * numbers * max(1, n_hidden))
    return min(CHUNK_STEPS, max(1, min(CHUNK_BYTES // (numbers * itemsize), by_work)))


class Engine(Protocol):
    """What the solver drives.

    Attributes:
        gradient_norm: joint norm of the last step's gradients, r W included, before clipping; only after
            `run(..., measure=True)`, and NaN if all its batches were skipped.
    """

    gradient_norm: float

    def run(
        self, X: Array, y: Array, weights: Array | None, rates: Array, *, measure: bool = False, objective: bool = False
    ) -> Array:
        """One step for each batch of a chunk.

        Args:
            X: (n, D) the rows of K batches one after the other, in the parameters' float type; all batches are full
                except the last, which may be short.
            y: (n,) class indices.
            weights: (n,) row weights, or None. A batch whose weights are all 0 is skipped.
            rates: (K,) the learning rate of each step.
            measure: also set `gradient_norm`.
            objective: report equation (6) in full; without it the penalty is left out and its cost saved.

        Returns:
            (K,) each step's loss before its update, float64; NaN for a skipped batch.

        Raises:
            NonFiniteStepError: at the first step whose loss or gradient is not finite.
        """
        ...


# Operations of a step's largest product: fewer are always done on one thread; from the second number on, a second
# thread gains a fifth.
ONE_THREAD, WORTH_THREADS = 4_000_000, 40_000_000
DOT_ONE_THREAD = 10_000  # numbers up to which BLAS adds up squares on one thread


def blas_threads(batch_rows: int, n_features: int, n_hidden: int, n_classes: int) -> int | None:
    """Return on how many BLAS threads products of this size are computed; None for as many as there are."""
    return None if _operations(batch_rows, n_features, n_hidden, n_classes) >= ONE_THREAD else 1


def _operations(batch_rows: int, n_features: int, n_hidden: int, n_classes: int) -> int:
    return 2 * batch_rows * n_features * (n_hidden or n_classes)


class NumpyEngine:
    """Steps in NumPy; see `Engine`.

    Small networks have one BLAS thread. Others have all, except where BLAS gives the same bits on one, as a trial on
    random numbers shows: then full batches have one, or where a second is worth it, as many as are faster now.
    """

    def __init__(self, state: TrainingState, settings: SolverSettings, batch_size: int) -> None:
        params = state.flat.params
        shape = params.sizes
        self.state, self.settings, self.batch_size = state, settings, batch_size
        self.gradient_norm = math.nan
        self._optimizer = OPTIMIZERS[settings.optimizer]
        self._work = Workspace(batch_size, *shape, params.dtype)
        scratch = np.empty(min(BLOCK, len(state.flat.vector)), params.dtype)
        self._weight_blocks = self._blocks(0, state.flat.n_weights, scratch)
        self._bias_blocks = self._blocks(state.flat.n_weights, len(state.flat.vector), scratch)
        self._threads = blas_threads(batch_size, *shape)
        self._adaptive: AdaptiveThreads | None = None
        if self._threads is None and usable_threads() > 1 and self._threads_change_no_bit():
            self._adaptive = AdaptiveThreads(_operations(batch_size, *shape) >= WORTH_THREADS)

    def _threads_change_no_bit(self) -> bool:
        """Try whether BLAS gives the same gradients of a full batch on one thread as on all."""
        params = self.state.flat.params
        shape = params.sizes
        rng, results = np.random.default_rng(0), []
        X, y = rng.standard_normal((self.batch_size, shape[0])).astype(params.dtype), np.zeros(self.batch_size, np.intp)
        trial = init_params(*shape, rng=rng, dtype=params.dtype)
        for threads in (None, 1):
            with at_most_threads(threads):
                data_loss_and_gradients(trial, X, y, self._work)
            results.append(self._work.vector.tobytes())
        return results[0] == results[1]

    def _blocks(self, start: int, end: int, scratch: Array) -> list[tuple[Array, Array, tuple[Array, ...], Array]]:
        """The pieces (q, g, state, scratch) in which the update goes over all vectors, so that each stays in cache."""
        vectors = self.state.flat.vector, self._work.vector, *(slot.vector for slot in self.state.slots)
        blocks = []
        for at in range(start, end, BLOCK):
            q, g, *slots = (vector[at : min(at + BLOCK, end)] for vector in vectors)
            blocks.append((q, g, tuple(slots), scratch[: len(q)]))
        return blocks

    def run(
        self, X: Array, y: Array, weights: Array | None, rates: Array, *, measure: bool = False, objective: bool = False
    ) -> Array:
        """One step for each batch of a chunk; see `Engine.run`."""
        full = len(X) == len(rates) * self.batch_size
        with self._adaptive.chunk(len(rates)) if self._adaptive and full else at_most_threads(self._threads):
            return self._run(X, y, weights, rates, measure, objective)

    def _run(self, X: Array, y: Array, weights: Array | None, rates: Array, measure: bool, objective: bool) -> Array:
        losses = np.full(len(rates), np.nan)
        if measure:
            self.gradient_norm = math.nan
        penalized = objective and not self._optimizer.decoupled
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # _step looks for what these would say
            for k, rate in enumerate(rates.tolist()):
                batch = slice(k * self.batch_size, (k + 1) * self.batch_size)
                batch_weights = None if weights is None else weights[batch]
                if batch_weights is not None and not batch_weights.any():
                    continue
                added = penalty(self.state.flat.params, self.settings.reg) if penalized else 0.0
                loss = data_loss_and_gradients(self.state.flat.params, X[batch], y[batch], self._work, batch_weights)
                if not self._update(loss, rate, measure):
                    raise NonFiniteStepError(losses[:k], loss, self.gradient_norm)
                losses[k] = loss + added
        return losses

    def _squared_norm(self, g: Array) -> float:
        """Return the sum of squares; in float64 by halves, as two threads compute it."""
        if self._threads == 1:  # `run` has seen to it
            return float(np.dot(g, g))
        half = -(-len(g) // 2) if g.itemsize == 8 and len(g) > DOT_ONE_THREAD else len(g)
        with at_most_threads(1):
            return float(np.dot(g[:half], g[:half]) + np.dot(g[half:], g[half:]))

    def _update(self, loss: float, rate: float, measure: bool) -> bool:
        """Equation (13), or another optimiser's step; False, and nothing done, where loss or gradient is not finite."""
        g = self._work.vector
        r = self.settings.reg
        clip = self.settings.max_grad_norm
        decoupled = self._optimizer.decoupled
        penalty_due = r != 0 and not decoupled
        if penalty_due and (measure or clip is not None):  # the norm needs r W before the blocks would add it
            for q, g_piece, _, scratch in self._weight_blocks:
                g_piece += np.multiply(q, r, out=scratch)
            penalty_due = False
        norm = math.sqrt(self._squared_norm(g))
        if not math.isfinite(norm):  # perhaps the squares alone were too large for float32
            norm = float(np.linalg.norm(g.astype(np.float64)))
        if measure:
            self.gradient_norm = norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.gradient_norm = norm
            return False
        if clip is not None and norm > clip:
            g *= clip / norm

        self.state.t += 1
        update, t, h = self._optimizer.update, self.state.t, self.settings
        for q, g_piece, slots, scratch in self._weight_blocks:
            if penalty_due:
                g_piece += np.multiply(q, r, out=scratch)
            if decoupled:
                q *= 1 - rate * r
            update(q, g_piece, slots, scratch, rate, t, h)
        for q, g_piece, slots, scratch in self._bias_blocks:
            update(q, g_piece, slots, scratch, rate, t, h)
        return True
