"""Problems on which to check a gradient: each shows a mistake that the others would miss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.matrices import ones_vectors
from twolayer.reference.plain import gradient_step
from twolayer.utils.randomness import generator


@dataclass(frozen=True)
class Problem:
    """Parameters and rows on which to check a gradient.

    Attributes:
        name: what is special about it.
        params: float64.
        X: (N, D).
        y: (N,) class indices.
        reg: r.
    """

    name: str
    params: Params
    X: Array
    y: Array
    reg: float


def random_problem(
    rng: np.random.Generator,
    name: str = "random",
    *,
    shape: tuple[int, int, int, int] = (6, 3, 4, 3),
    reg: float = 0.1,
    zero_rows: bool = False,
    zero_biases: bool = False,
) -> Problem:
    """Draw normal weights, rows and biases.

    Args:
        rng: the source of the numbers.
        name: of the problem.
        shape: (N, D, H, C).
        reg: r.
        zero_rows: set every third row to 0, from the first on.
        zero_biases: set the biases to 0.
    """
    N, D, H, C = shape

    def bias(size: int) -> Array:
        return np.zeros(size) if zero_biases else rng.normal(size=size)

    def weights(fan_in: int, fan_out: int) -> Array:
        return rng.normal(scale=fan_in**-0.5, size=(fan_in, fan_out))

    W1 = weights(D, H) if H else None
    params = Params(W1, bias(H) if H else None, weights(H or D, C), bias(C))
    X = rng.normal(size=(N, D))
    if zero_rows:
        X[::3] = 0
    return Problem(name, params, X, rng.integers(0, C, N), reg)


def after_steps(problem: Problem, steps: int = 20, length: float = 0.02) -> Problem:
    """Return the problem after some steps of gradient descent, (13), where other units are on and P is nearer to Y.

    Each step has `length` relative to the norm of the parameters, so that rows of any scale are possible.
    """
    params = problem.params
    for _ in range(steps):
        _, gradients = ones_vectors(params, problem.X, problem.y, problem.reg)
        alpha = length * _norm(params) / max(_norm(gradients), 1e-300)
        params = gradient_step(params, gradients, alpha)
    return replace(problem, name=f"{problem.name}, after {steps} steps", params=params)


def _norm(params: Params) -> float:
    return float(np.sqrt(sum(np.square(array).sum() for array in params.named().values())))


def standard_problems(seed: int = 0) -> list[Problem]:
    """Return the built-in problems of `twolayer gradcheck`.

    A row of zeros with zero biases puts a ReLU exactly on its kink and shows a mask with >=; it never shows a penalty
    on the biases, which needs biases that are not 0. With H = C a forgotten transpose has the right shape, N > 1 shows
    a sum taken for a mean, and scores near 1000 overflow an unshifted exp.
    """
    rng = generator(seed, "check")
    usual = random_problem(rng)
    ties = random_problem(rng, "ties in the scores")
    ties.params.W2[:, 1] = ties.params.W2[:, 0]
    ties.params.b2[1] = ties.params.b2[0]
    large = random_problem(rng, "scores near 1000", shape=(5, 3, 4, 3))
    large = replace(large, params=large.params._replace(W2=large.params.W2 * 1000))
    return [
        usual,
        after_steps(usual),
        random_problem(rng, "no penalty", reg=0.0),
        random_problem(rng, "zero rows, zero biases", zero_rows=True, zero_biases=True),
        random_problem(rng, "zero rows, biases", zero_rows=True),
        random_problem(rng, "one row (N=1)", shape=(1, 3, 4, 3)),
        random_problem(rng, "one hidden unit (H=1)", shape=(6, 3, 1, 3)),
        random_problem(rng, "two classes (C=2)", shape=(6, 3, 4, 2)),
        random_problem(rng, "as many units as classes (H=C)", shape=(6, 3, 3, 3)),
        random_problem(rng, "no hidden layer (H=0)", shape=(6, 3, 0, 3)),
        ties,
        large,
    ]
