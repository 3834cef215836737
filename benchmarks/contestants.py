"""The contestants that need NumPy, Numba or scikit-learn: each takes the work and gives a function that does one pass
over the batches, and one that gives the parameters it has reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cases import MOMENTUM, REG, Work
from twolayer.data.rows import ArrayRows
from twolayer.network.model import Array, Params, flat_copy, flat_zeros
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.settings import EngineName, SolverSettings
from twolayer.solver.engine import TrainingState, chunk_steps
from twolayer.solver.solver import make_engine


class Ready(NamedTuple):
    """A contestant at the start line.

    Attributes:
        run_pass: does one step for each batch, and returns when the last is done.
        params: the parameters reached.
    """

    run_pass: Callable[[], object]
    params: Callable[[], Params]


def twolayer_engine(engine_name: EngineName, work: Work) -> Ready:
    """This package's steps, in chunkes as long as `Solver` makes them."""
    D, H, C, B = work.case.shape
    optimizer: str = "sgd" if work.case.optimizer == "sgd" else "momentum"
    slots = [flat_zeros(D, H, C, np.float32) for _ in range(OPTIMIZERS[optimizer].n_slots)]
    state = TrainingState(flat_copy(work.params), slots)
    settings = SolverSettings(optimizer=optimizer, momentum=MOMENTUM, reg=REG)
    engine = make_engine(engine_name, state, settings, B, ArrayRows(work.X).limit())  # as `Solver` does
    chunk = chunk_steps(B, D, H, 4)
    rates = np.full(work.case.steps, work.case.learning_rate)

    def run_pass() -> None:
        for first in range(0, work.case.steps, chunk):
            rows = slice(first * B, (first + chunk) * B)
            engine.run(work.X[rows], work.y[rows], None, rates[first : first + chunk])

    return Ready(run_pass, state.flat.params.copy)


def plain_numpy(work: Work) -> Ready:
    """The obvious program: every step makes all its arrays."""
    B, rate, mu = work.case.shape.B, work.case.learning_rate, MOMENTUM
    parameters: list[Array] = [array.copy() for array in work.params.named().values()]
    velocities = [np.zeros_like(array) for array in parameters]
    use_momentum = work.case.optimizer == "momentum"

    def run_pass() -> None:
        for first in range(0, len(work.X), B):
            X, y = work.X[first : first + B], work.y[first : first + B]
            W1, b1, W2, b2 = parameters
            A1 = np.maximum(X @ W1 + b1, 0)  # (B, H)
            S = A1 @ W2 + b2  # (B, C)
            S = S - S.max(axis=1, keepdims=True)
            P = np.exp(S)
            total = P.sum(axis=1, keepdims=True)
            np.mean(np.log(total[:, 0]) - S[np.arange(B), y])  # the loss, which all contestants compute
            dS = P / total
            dS[np.arange(B), y] -= 1
            dS /= B
            dZ1 = dS @ W2.T * (A1 > 0)  # (B, H)
            gradients = [X.T @ dZ1 + REG * W1, dZ1.sum(axis=0), A1.T @ dS + REG * W2, dS.sum(axis=0)]
            for q, g, v in zip(parameters, gradients, velocities, strict=True):
                if use_momentum:
                    v *= mu
                    v -= rate * g
                    q += v
                else:
                    q -= rate * g

    return Ready(run_pass, lambda: Params(*parameters))


def five_products(work: Work) -> Ready:
    """Nothing but the matrix products of a step, into arrays that are there: the floor under every step."""
    B, (W1, _, W2, _) = work.case.shape.B, work.params
    assert W1 is not None
    A1, S = np.ones((B, len(W2)), np.float32), np.ones((B, W2.shape[1]), np.float32)
    Z1, dA1, scores, dW1, dW2 = (np.empty_like(array) for array in (A1, A1, S, W1, W2))

    def run_pass() -> None:
        for first in range(0, len(work.X), B):
            X = work.X[first : first + B]
            np.matmul(X, W1, out=Z1)
            np.matmul(A1, W2, out=scores)
            np.matmul(A1.T, S, out=dW2)
            np.matmul(S, W2.T, out=dA1)
            np.matmul(X.T, A1, out=dW1)

    return Ready(run_pass, lambda: work.params)


def scikit_learn(work: Work) -> Ready:
    """MLPClassifier.partial_fit, unshuffled: its own loop over the batches. It divides alpha by the batch's rows."""
    from sklearn.neural_network import MLPClassifier  # type: ignore[import-untyped]

    _, H, C, B = work.case.shape
    momentum = MOMENTUM if work.case.optimizer == "momentum" else 0.0
    model: Any = MLPClassifier(
        (H,), solver="sgd", alpha=REG * B, batch_size=B, learning_rate_init=work.case.learning_rate,
        momentum=momentum, nesterovs_momentum=False, shuffle=False, random_state=0,
    )  # fmt: skip
    model.partial_fit(work.X[:B], work.y[:B], classes=np.arange(C))  # makes its arrays
    W1, b1, W2, b2 = work.params
    for array, start in zip(model.coefs_ + model.intercepts_, (W1, W2, b1, b2), strict=True):
        array[...] = start
    del model._optimizer  # its velocities; the next call makes new ones

    def params() -> Params:
        return Params(model.coefs_[0], model.intercepts_[0], model.coefs_[1], model.intercepts_[1])

    return Ready(lambda: model.partial_fit(work.X, work.y), params)
