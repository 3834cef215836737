"""Minibatch gradient descent: the loop of every textbook, one record per epoch, silent.

    for each epoch:
        shuffle the rows
        for each chunk of batches:
            gather its rows, and let the engine do one step per batch
        evaluate, keep the best parameters, stop if patience has run out

What the solver has done so far is plain data, so a run can be saved between any two chunks and resumed from there,
bit for bit; see `Solver.restore`."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.data.rows import ArrayRows
from twolayer.network import checks
from twolayer.network.backprop import penalty
from twolayer.network.model import Array, Params, flat_copy, flat_zeros
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.schedules import learning_rates
from twolayer.network.settings import EngineName, SolverSettings
from twolayer.solver.engine import Engine, NonFiniteStepError, NumpyEngine, TrainingState, blas_threads, chunk_steps
from twolayer.solver.metrics import Evaluator, RowSource, hidden_activity, weight_changes
from twolayer.solver.state import Best, Chunk, Record, SolverProgress, divergence, require_monitor
from twolayer.utils.blas import at_most_threads
from twolayer.utils.randomness import generator
from twolayer.utils.text import did_you_mean, printable


def make_engine(
    name: EngineName, state: TrainingState, settings: SolverSettings, batch_size: int, limit: float = math.inf
) -> Engine:
    """Make the engine called `name`; raise MissingExtraError if it is `numba` and the extra is not installed.

    No absolute value in the rows exceeds `limit`; the compiled engine is faster where it knows that.
    """
    if name == "numpy":
        return NumpyEngine(state, settings, batch_size)
    from twolayer.solver.compiled.engine import NumbaEngine  # imports Numba, which takes a while

    return NumbaEngine(state, settings, batch_size, limit)


def _checked(given: dict[str, Any]) -> SolverSettings:
    """Return the settings; raise TypeError for a name that is none of them; warn of a drop that cannot come."""
    known = [field.name for field in fields(SolverSettings)]
    for name in given:
        if name not in known:
            raise TypeError(
                f"Solver has no setting {name!r}{did_you_mean(name, known) or '.'} Its settings: {', '.join(known)}"
            )
    settings = SolverSettings(**given)
    patience, plateau_patience = settings.patience, settings.plateau_patience
    if settings.schedule == "plateau" and patience is not None and patience <= plateau_patience:
        warnings.warn(
            f"patience {patience} stops the training before plateau_patience {plateau_patience} can lower the rate: "
            "both count epochs without improvement; make patience the larger one",
            stacklevel=3,
        )
    return settings


def _ready_rows(X: Any | RowSource, y: Any, params: Params, what: str = "") -> tuple[RowSource, NDArray[Any]]:
    """Return rows and classes as the solver reads them, X (N, D) in the parameters' float type unless it is a
    `RowSource`; raise ValueError, with `what` before X and y, if they do not fit or a number of X is not finite."""
    is_source = hasattr(X, "take") and not hasattr(X, "__array__") and not hasattr(X, "toarray")
    rows: Any = X if is_source else checks.numbers(f"{what}X", X)
    checks.require_shape(f"{what}X", rows.shape, params)
    y = checks.require_classes(f"{what}y", y, rows.shape[0], params.n_classes)
    source: RowSource = X if is_source else ArrayRows(checks.finite_rows(rows, params.dtype, f"{what}X"))
    return source, y if np.can_cast(y.dtype, np.intp) else y.astype(np.intp)


class Solver:
    """Trains Params on rows; iterate over it, and each epoch gives its record.

    Attributes:
        settings: what was asked for.
        progress: how far it has come.
        best_params: the parameters of the best epoch so far (the initial ones before the first).
        state: the numbers a step changes; with `progress` and `best_params` all that a checkpoint needs.
        n_rows: N, the training rows.
        threads: BLAS threads that products of this size are worth; None for as many as there are.

    A loop over it may be interrupted anywhere, by Ctrl-C or an exception: the solver then returns to the last step that
    `progress` counts, and the next loop continues with the bits of a training that was never interrupted.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((200, 2))
        >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
        >>> solver = Solver(init_params(2, 16, 2, rng=rng), X, y, optimizer="adam", learning_rate=0.01, epochs=60)
        >>> history = list(solver)
        >>> history[-1]["train_accuracy"] > 0.95
        True
    """

    def __init__(
        self,
        params: Params,
        X: Any | RowSource,
        y: Any,
        *,
        validation: tuple[Any | RowSource, Any] | None = None,
        row_weights: Array | None = None,
        class_weights: Array | None = None,
        score: Callable[[Params], float] | None = None,
        **settings: Any,
    ) -> None:
        """
        Args:
            params: the initial parameters, Params or a tuple of arrays (W1, b1, W2, b2); they are copied, and their
                float type, float32 or float64, is the training's.
            X: (N, D) training rows: an array, nested lists, a DataFrame, or anything like `metrics.RowSource`.
            y: (N,) class indices in 0..C-1.
            validation: (X, y) of the validation rows.
            row_weights: (N,) weights w >= 0 of the rows; the objective of a batch is sum w L / sum w.
            class_weights: (C,) weights of the classes; they multiply the rows' weights.
            score: a custom metric of the parameters; larger is better. It becomes the column `score` of the records,
                which `monitor` may name.
            **settings: the fields of `settings.SolverSettings`.

        Raises:
            TypeError: for a setting that does not exist, or one of another type than its own.
            ValueError: for settings or arrays that do not fit.
            MissingExtraError: if `engine="numba"` and the extra is not installed.
        """
        self.settings = _checked(settings)
        params = checks.checked_params(params)
        self._X, self._y = _ready_rows(X, y, params)
        self.n_rows = len(self._y)
        self._row_weights = checks.weights_near_one("row_weights", row_weights, self.n_rows)
        self._class_weights = checks.weights_near_one("class_weights", class_weights, params.n_classes)
        weighing = self._y if self._row_weights is None else self._y[self._row_weights > 0]
        if self._class_weights is not None and not self._class_weights[weighing].any():
            warnings.warn("class_weights: no row has a weight above 0, so the training changes nothing", stacklevel=2)
        self._make_evaluators(params, validation)
        self._score = score
        n_slots = OPTIMIZERS[self.settings.optimizer].n_slots
        self.state, self._before = (
            TrainingState(flat_copy(params), [flat_zeros(*params.sizes, params.dtype) for _ in range(n_slots)])
            for _ in range(2)
        )
        self._before_step: int | None = None  # the step at which the state was `_before`; None: it never was
        self.best_params = params.copy()
        validated, (_, n_hidden, n_classes) = validation is not None, params.sizes
        default = "val_accuracy" if validated else "train_loss"
        monitor = default if self.settings.monitor is None else self.settings.monitor
        require_monitor(
            monitor, validation=validated, hidden=n_hidden > 0, score=score is not None, n_classes=n_classes
        )
        best = Best(monitor, tie_breaker="val_loss" if validated else "train_loss")
        self.progress = SolverProgress(0, 0, best)
        self._prepare_steps(params)

    def _prepare_steps(self, params: Params) -> None:
        """Make the engine, and the buffers for the rows of a chunk."""
        settings, (D, H, C) = self.settings, params.sizes
        batch_rows = min(settings.batch_size, self.n_rows)
        limit = self._X.limit() if settings.engine == "numba" and isinstance(self._X, ArrayRows) else math.inf
        self._engine = make_engine(settings.engine, self.state, settings, batch_rows, limit)
        self.steps_per_epoch = -(-self.n_rows // batch_rows)
        self.threads = 1 if settings.engine == "numba" else blas_threads(batch_rows, D, H, C)
        longest = chunk_steps(batch_rows, D, H, params.dtype.itemsize)
        self._chunk_steps = max(1, min(longest, self.steps_per_epoch - 1))
        n = self._chunk_steps * batch_rows
        self._gathered = np.empty(n, np.intp), np.empty((n, D), params.dtype), np.empty(n, self._y.dtype)
        self._order_of: tuple[int, NDArray[Any]] | None = None  # (epoch, its permutation)

    def _make_evaluators(self, params: Params, validation: Any) -> None:
        """Make one for the training rows, or a fixed choice of them, and one for validation rows if there are any."""
        chosen, limit = None, self.settings.evaluate_rows
        if limit is not None and limit < self.n_rows:
            rng = generator(self.settings.seed, "evaluate")
            chosen = np.sort(rng.choice(self.n_rows, limit, replace=False, shuffle=False))
        self._evaluate_train = Evaluator(params, self._X, self._y, chosen)
        self._evaluate_validation: Evaluator | None = None
        if validation is not None:
            if not (isinstance(validation, tuple | list) and len(validation) == 2):
                raise ValueError(f"validation: expected a pair (X, y), got {type(validation).__name__}")
            X, y = validation
            rows = _ready_rows(X, y, params, "validation ")
            self._evaluate_validation = Evaluator(params, *rows, by_class=True)

    @property
    def params(self) -> Params:
        """The current parameters: views of the numbers that training changes."""
        return self.state.flat.params

    @property
    def notice(self) -> str | None:
        """What the engine does before its first step, if it takes a while, such as compiling."""
        return getattr(self._engine, "notice", None)

    @property
    def finished(self) -> bool:
        """True once all epochs are done or patience has run out."""
        return self.progress.stopped_early or self.progress.epoch >= self.settings.epochs

    def __repr__(self) -> str:
        optimizer, epoch, epochs = self.settings.optimizer, self.progress.epoch, self.settings.epochs
        return f"Solver({self.params!r}, {optimizer}, {self.n_rows:,} rows, epoch {epoch} of {epochs})"

    def __iter__(self) -> Iterator[Record]:
        """Continue training; yield the record of each epoch."""
        return (chunk.record for chunk in self.run() if chunk.record is not None)

    def run(self) -> Iterator[Chunk]:
        """Continue training; yield whenever the state is whole, so that the caller can save it or stop.

        Raises:
            DivergedError: at a step whose loss or gradient is not finite, or an epoch that leaves a number that is not.
                The state is then that of the last yield.
            MonitorError: if the monitor has no value after the first epoch.
        """
        self._undo_uncounted_steps()
        while not self.finished:
            last = (self.progress.epoch + 1) * self.steps_per_epoch - 1  # the epoch's last step, which is measured
            left = last - self.progress.step
            try:
                with at_most_threads(self.threads):
                    self._before_step = None
                    _copy_state(self.state, self._before)
                    self._before_step = self.progress.step
                    chunk = self._run_chunk(min(self._chunk_steps, left)) if left > 0 else self._end_epoch()
                    if left > 0:
                        self.progress = replace(self.progress, step=self.progress.step + len(chunk.losses))
            except BaseException:
                self._undo_uncounted_steps()
                raise
            yield chunk

    def _undo_uncounted_steps(self) -> None:
        """Return to the last step counted, where an interruption came after others had changed the state. If this is
        itself interrupted, the next `run` does it again."""
        if self._before_step == self.progress.step:
            _copy_state(self._before, self.state)

    def state_arrays(self) -> dict[str, Array]:
        """Return the parameters as W1, b1, W2, b2; the best as best/W1, ...; the optimiser's state as slot0/W1, ..."""
        parts = {"": self.params, "best/": self.best_params}
        parts |= {f"slot{k}/": slot.params for k, slot in enumerate(self.state.slots)}
        return {prefix + name: array for prefix, part in parts.items() for name, array in part.named().items()}

    def state_header(self) -> dict[str, Any]:
        """Return everything else that a checkpoint needs, for JSON: the progress and the count of updates."""
        return {"updates": self.state.t, "progress": asdict(self.progress)}

    def restore(self, arrays: Mapping[str, Array], header: Mapping[str, Any], *, same_rows: bool) -> None:
        """Put a solver, made with the settings and the data of the run, where the checkpoint was.

        `arrays` and `header` are from an untrusted file: if they are not those of such a solver, ValueError is raised,
        and the solver's state is undefined. With `same_rows` the checkpoint is from training on as many rows as the
        solver has, so its counts must fit.
        """
        for name, array in self.state_arrays().items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                what = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(f"array {name}: expected {array.dtype} {array.shape}, got {what}")
            if not name.startswith("slot") and not np.isfinite(given).all():  # a mean of squares may overflow
                raise ValueError(f"array {name}: expected finite numbers, got NaN or infinity")
            np.copyto(array, given)
        try:
            found, updates = SolverProgress.from_header(header["progress"]), header["updates"]
            if same_rows:
                best, own = found.best, self.progress.best
                if found.step // self.steps_per_epoch != found.epoch or best.epoch > found.epoch:
                    raise ValueError(f"step {found.step} in epoch {found.epoch}")
                if (best.monitor, best.tie_breaker) != (own.monitor, own.tie_breaker):
                    raise ValueError(f"monitor is {best.monitor!r}")
                if type(updates) is not int or not 0 <= updates <= found.step:
                    raise ValueError(f"updates is {updates!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the header is not that of this training's checkpoint: {printable(str(error))}") from None
        self.progress, self.state.t, self._before_step = found, updates, None

    def _end_epoch(self) -> Chunk:
        """Do the epoch's last step, a chunk of its own; then the record, the best parameters, the decision to stop."""
        chunk = self._run_chunk(1, measure=True)
        record = self._record(self._before.flat.params, chunk)
        finite_loss = math.isfinite(record["train_loss"] or 0.0)
        if not (finite_loss and self.state.is_finite()):
            loss = float(chunk.losses[-1]) if finite_loss else math.nan
            error = NonFiniteStepError(chunk.losses, loss, self._engine.gradient_norm)
            rows = self._gathered[1][: chunk.batch_rows[-1]]
            raise divergence(chunk.first_step, float(chunk.rates[-1]), error, self.params, rows, self.settings)
        done, settings = self.progress, self.settings
        best = done.best.after_epoch(record, settings.min_delta)
        best_params = self.params.copy() if best.epoch == record["epoch"] else self.best_params
        scale = done.plateau_scale
        # The plateau and the patience share one count: the rate drops after every `plateau_patience` such epochs.
        due = best.bad_epochs > 0 and best.bad_epochs % (settings.plateau_patience or 1) == 0
        if due and settings.schedule == "plateau":
            scale *= settings.factor
        stop = settings.patience is not None and best.bad_epochs >= settings.patience
        progress = SolverProgress(done.epoch + 1, done.step + 1, best, scale, stop)
        self.progress, self.best_params = progress, best_params
        return chunk._replace(record=record)

    def _run_chunk(self, n_steps: int, measure: bool = False) -> Chunk:
        """Gather the rows of the next steps and let the engine do them."""
        first_step, size = self.progress.step, self.settings.batch_size
        start = first_step % self.steps_per_epoch * size
        stop = min(start + n_steps * size, self.n_rows)
        rows, X, y = (buffer[: stop - start] for buffer in self._gathered)
        rows[...] = self._order()[start:stop]
        self._X.take(rows, X)
        np.take(self._y, rows, out=y, mode="clip")
        steps = np.arange(first_step, first_step + n_steps)
        rates = learning_rates(self.settings, steps, self.steps_per_epoch, self.progress.plateau_scale)
        weights = self._weights(rows, y)
        try:
            losses = self._engine.run(X, y, weights, rates, measure=measure, objective=self.settings.objective)
        except NonFiniteStepError as error:
            bad = len(error.losses)
            step, rate = first_step + bad + 1, float(rates[bad])
            raise divergence(step, rate, error, self.params, X, self.settings) from None
        batch_rows = np.minimum(size, stop - start - size * np.arange(n_steps))
        return Chunk(self.progress.epoch + 1, first_step + 1, rates, losses, batch_rows)

    def _order(self) -> NDArray[Any]:
        """Return the order in which this epoch visits the rows: a permutation, the same at every call."""
        if self._order_of is None or self._order_of[0] != self.progress.epoch:
            order = np.arange(self.n_rows, dtype=np.min_scalar_type(self.n_rows))
            if self.settings.shuffle:
                generator(self.settings.seed, "shuffle", self.progress.epoch).shuffle(order)
            self._order_of = self.progress.epoch, order
        return self._order_of[1]

    def _weights(self, rows: NDArray[np.intp], y: Array) -> Array | None:
        """Return w of a chunk's rows, (n,) in the training's float type, or None if all weigh the same."""
        if self._row_weights is None and self._class_weights is None:
            return None
        weights = np.ones(len(rows)) if self._row_weights is None else self._row_weights[rows]
        if self._class_weights is not None:
            weights = weights * self._class_weights[y]
        return weights.astype(self.params.dtype)

    def _record(self, before: Params, last: Chunk) -> Record:
        """Return the record of the epoch after its last step, all of it at the parameters after the epoch."""
        train = self._evaluate_train(self.params)
        validation = self._evaluate_validation(self.params)._asdict() if self._evaluate_validation else {}
        decoupled = OPTIMIZERS[self.settings.optimizer].decoupled
        record: Record = {
            "epoch": self.progress.epoch + 1,
            "step": last.first_step,
            "learning_rate": float(last.rates[-1]),
            "train_loss": train.loss,
            "val_loss": validation.get("loss"),
            "train_accuracy": train.accuracy,
            "val_accuracy": validation.get("accuracy"),
            "val_f1": validation.get("f1"),
            "val_balanced_accuracy": validation.get("balanced_accuracy"),
            "val_auc": validation.get("auc"),
            "penalty": 0.0 if decoupled else penalty(self.params, self.settings.reg),
            "gradient_norm": None if math.isnan(self._engine.gradient_norm) else self._engine.gradient_norm,
            **weight_changes(before, self.params),
            **hidden_activity(train),
        }
        return record if self._score is None else {**record, "score": float(self._score(self.params))}


def _copy_state(source: TrainingState, target: TrainingState) -> None:
    for old, new in zip((source.flat, *source.slots), (target.flat, *target.slots), strict=True):
        np.copyto(new.vector, old.vector)
    target.t = source.t
