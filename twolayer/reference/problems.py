"""Problems on which to check a gradient: each shows a mistake that the others would miss."""

from typing import NamedTuple

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.reference.plain import gradient_step, ones_vectors
from twolayer.utils.randomness import generator


class Problem(NamedTuple):
    """Parameters and rows on which to check a gradient: X (N, D), y (N,) class indices, reg the r of (6)."""

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
    """Draw normal weights, rows and biases for a shape (N, D, H, C). With `zero_rows` every third row is 0, from the
    first on; with `zero_biases` the biases are 0."""
    N, D, H, C = shape

    def layer(fan_in: int, fan_out: int) -> tuple[Array, Array]:
        W = rng.normal(scale=fan_in**-0.5, size=(fan_in, fan_out))
        return W, np.zeros(fan_out) if zero_biases else rng.normal(size=fan_out)

    W1, b1 = layer(D, H) if H else (None, None)
    params = Params(W1, b1, *layer(H or D, C))
    X = rng.normal(size=(N, D))
    if zero_rows:
        X[::3] = 0
    return Problem(name, params, X, rng.integers(0, C, N), reg)


def after_steps(problem: Problem, steps: int = 20, length: float = 0.02) -> Problem:
    """Return the problem after some steps of gradient descent, (13), where other units are on and P is nearer to Y.
    Each step has `length` relative to the norm of the parameters, so that rows of any scale are possible."""

    def norm(params: Params) -> float:
        return float(np.sqrt(sum(np.square(array).sum() for array in params.named().values())))

    params = problem.params
    for _ in range(steps):
        _, gradients = ones_vectors(params, problem.X, problem.y, problem.reg)
        params = gradient_step(params, gradients, alpha=length * norm(params) / max(norm(gradients), 1e-300))
    return problem._replace(name=f"{problem.name}, after {steps} steps", params=params)


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
    large.params.W2[:] *= 1000
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
