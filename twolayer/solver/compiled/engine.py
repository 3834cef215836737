"""The engine that runs compiled steps, and the threads that help it; see the package's docstring for the plan."""

import contextlib
import gc
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from twolayer.network.model import Array
from twolayer.network.settings import SolverSettings
from twolayer.solver.compiled.jit import kept_form
from twolayer.solver.compiled.layers import BOUND
from twolayer.solver.compiled.partition import shards_of, split_for
from twolayer.solver.compiled.products import gemm_address
from twolayer.solver.compiled.steps import BOUNDED, MEASURE, NOT_FINITE, OBJECTIVE, run_steps
from twolayer.solver.compiled.sync import CHUNK, THREADS, team_of
from twolayer.solver.compiled.updates import rule_in_numbers
from twolayer.solver.engine import NonFiniteStepError, TrainingState
from twolayer.utils.blas import at_most_threads, usable_threads

__all__ = ["NumbaEngine"]

WORTH_WAKING = 30_000_000  # multiplications of X W1 in a chunk from which on waking threads is worth it
PATIENCE = 1 << 20  # ticks, well under a millisecond, that may be lost in waiting before it counts, in a short chunk
SHARE = 16  # a longer chunk may lose this part of its time: other systems on a computer stop a thread now and then
COMPILE_SECONDS = 7
RECOVERY = 32  # times as long as threads have lost by waiting, the first one works alone, at most
RARE = 4  # times as long as what was lost: after a longer time together the first one is not alone for longer than that


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Collect no garbage meanwhile: a compiler makes many objects, and to look through them takes it a tenth longer."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class NumbaEngine:
    """Compiled steps; see `engine.Engine`.

    How steps are divided into calls of `run`, what is measured and how many threads there are makes no difference to
    the bits.

    A step that sees that all numbers in it are below BOUND needs no norm to know that its gradient is finite. Where no
    number in the rows exceeds `limit`, and that is below BOUND, it need not read the rows to see that.

    Raises:
        MissingExtraError: if Numba is not installed, on import of this module; or SciPy, where it is needed: see
            `products.gemm_address`.
    """

    def __init__(
        self, state: TrainingState, settings: SolverSettings, batch_size: int, limit: float = math.inf
    ) -> None:
        params = state.flat.params
        D, H, C, dtype = params.n_features, params.n_hidden, params.n_classes, params.dtype
        self.state, self.batch_size = state, batch_size
        self._bounded = limit < BOUND
        self.gradient_norm = math.nan
        self._norm = np.empty(1)
        self._no_weights = np.empty(0, dtype)
        split = split_for(D, H, C, batch_size, dtype)
        self._shards, self._work = split.shards, batch_size * D * H
        team = team_of(split.shards, batch_size * (H if split.by_features else C), dtype, PATIENCE)
        self._orders, self._times = team.orders, team.times
        self._fixed = team, shards_of(state, batch_size, split), rule_in_numbers(settings), gemm_address(dtype)
        self._pool: ThreadPoolExecutor | None = None  # helping threads, which sleep between chunks
        self._process = self._chunk = 0
        self._step_ticks = self._alone_until = 0
        self._recovery = 1  # times as long as the last loss

    @property
    def notice(self) -> str | None:
        """What the first call of `run` does that takes a while, as a sentence; None if there is nothing."""
        dtype = self.state.flat.vector.dtype
        no_rows = self._no_weights, np.empty(0, np.intp), self._no_weights, np.empty(0), 0, 0, np.empty(0), np.empty(1)
        form = kept_form(run_steps, (*self._fixed, 0, 0, 1, *no_rows))
        compiling = f"engine: numba: compiling the training step for {dtype}, about {COMPILE_SECONDS} s"
        if form == "to keep":
            return f"{compiling}, once: later runs load it from disk"
        if form == "to compile":
            return f"{compiling}, in every run: no folder to keep it in can be written; set NUMBA_CACHE_DIR to one"
        return None

    def run(
        self, X: Array, y: Array, weights: Array | None, rates: Array, *, measure: bool = False, objective: bool = False
    ) -> Array:
        """Do one step for each batch of a chunk; see `engine.Engine.run`."""
        dtype = self.state.flat.vector.dtype
        losses = np.empty(len(rates))
        self._norm[0] = math.nan
        chunk = (
            np.ascontiguousarray(X, dtype).reshape(-1),
            np.ascontiguousarray(y, np.intp),
            self._no_weights if weights is None else np.ascontiguousarray(weights, dtype),
            np.ascontiguousarray(rates, np.float64),
            MEASURE * measure + OBJECTIVE * objective + BOUNDED * self._bounded,
            self.state.t,
        )
        with at_most_threads(1), _without_collection() if self._chunk == 0 else contextlib.nullcontext():
            outcome, done, self.state.t, loss = self._run_on_threads(chunk, losses)
        if measure or outcome == NOT_FINITE:
            self.gradient_norm = float(self._norm[0])
        if outcome == NOT_FINITE:
            raise NonFiniteStepError(losses[:done], loss, self.gradient_norm)
        return losses

    def _run_on_threads(self, chunk: tuple[object, ...], losses: Array) -> tuple[int, int, int, float]:
        """Run the chunk on as many threads as are worth it now."""
        self._chunk += 1
        threads = self._threads_now(len(losses))
        team, *network = self._fixed
        if PATIENCE > 0:
            team = team._replace(patience=max(PATIENCE, self._step_ticks * len(losses) // SHARE))
        common = team, *network, self._chunk

        def help_as(thread: int) -> None:
            run_steps(*common, thread, threads, *chunk, losses, np.empty(1))

        try:
            if threads > 1 and not self._call(help_as, threads):
                threads = 1
            result: tuple[int, int, int, float] = run_steps(*common, 0, threads, *chunk, losses, self._norm)
        except BaseException:  # Ctrl-C before the chunk began: send the others home
            self._chunk += 1
            self._orders[[THREADS, CHUNK]] = 1, self._chunk
            raise
        began, ended, lost = map(int, self._times)
        self._step_ticks = (ended - began) // len(losses)
        if lost:
            is_rare = ended - self._alone_until > RARE * lost
            self._recovery = min(RECOVERY, 1 if is_rare else 2 * self._recovery)
            self._alone_until = ended + self._recovery * lost
        return result

    def _call(self, help_as: Callable[[int], None], threads: int) -> bool:
        """Have `help_as` called in helping threads, for each thread but the first; false if there are not enough."""
        if self._pool is None or self._process != os.getpid():  # also in a process forked since, which has no threads
            self._pool, self._process = ThreadPoolExecutor(self._shards, "twolayer helper"), os.getpid()
        try:
            for thread in range(1, threads):
                self._pool.submit(help_as, thread)
        except RuntimeError:
            return False
        return True

    def _threads_now(self, n_steps: int) -> int:
        if self._shards == 1 or n_steps * self._work < WORTH_WAKING or self._times[1] < self._alone_until:
            return 1
        return min(self._shards, usable_threads())
