"""The six updates of `optim.py`, each in one pass over parameters, gradient and state."""

import math
from typing import NamedTuple

import numpy as np

from twolayer.network.model import Array
from twolayer.network.settings import SolverSettings
from twolayer.solver.compiled.jit import compiled, compiled_apart

SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM, ADAMW = range(6)
CODES = {"sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "rmsprop": RMSPROP, "adam": ADAM, "adamw": ADAMW}


class Rule(NamedTuple):
    """How a gradient becomes a step, in numbers.

    Attributes:
        optimizer: one of the codes above.
        h: (5,) mu, rho, beta1, beta2, epsilon.
        r: L2 strength.
        clip: bound on the gradients' norm, 0 for none.
    """

    optimizer: int
    h: Array
    r: float
    clip: float


def rule_in_numbers(settings: SolverSettings) -> Rule:
    """Return what compiled code needs of the settings."""
    epsilon = max(settings.epsilon, float(np.finfo(np.float32).tiny))  # a smaller one would be 0 in steps
    numbers = [settings.momentum, settings.rho, settings.beta1, settings.beta2, epsilon]
    return Rule(CODES[settings.optimizer], np.array(numbers), settings.reg, settings.max_grad_norm or 0.0)


@compiled_apart
def add_penalty_gradient(q: Array, g: Array, r: float) -> None:
    """g <- g + r q."""
    r = q.dtype.type(r)
    for i in range(q.size):
        g[i] += r * q[i]


@compiled
def scale(v: Array, factor: float) -> None:
    """v <- factor v."""
    factor = v.dtype.type(factor)
    for i in range(v.size):
        v[i] *= factor


@compiled
def sum_of_squares(v: Array) -> float:
    """In float64, which no float32 overflows."""
    total = 0.0
    for x in v:
        total += np.float64(x) * np.float64(x)
    return total


@compiled_apart
def update(optimizer: int, q: Array, g: Array, s1: Array, s2: Array, rate: float, r: float, h: Array, t: int) -> None:
    """The optimiser's step on one piece of the vectors; see `optim.py` for the formulas.

    s1 is v, c or m, s2 adam's v (any vector where there is less); r is 0 for biases and where g has r W already; t
    counts this update as well.
    """
    number = q.dtype.type
    a, r, one = number(rate), number(r), number(1)
    if optimizer == SGD:
        for i in range(q.size):
            q[i] -= a * (g[i] + r * q[i])
    elif optimizer == MOMENTUM:
        mu = number(h[0])
        for i in range(q.size):
            v = mu * s1[i] - a * (g[i] + r * q[i])
            s1[i] = v
            q[i] += v
    elif optimizer == NESTEROV:
        mu = number(h[0])
        for i in range(q.size):
            step = a * (g[i] + r * q[i])
            v = mu * s1[i] - step
            s1[i] = v
            q[i] += mu * v - step
    elif optimizer == RMSPROP:
        rho, eps, rest = number(h[1]), number(h[4]), number(1 - h[1])
        for i in range(q.size):
            d = g[i] + r * q[i]
            c = rho * s1[i] + rest * d * d
            s1[i] = c
            q[i] -= a * d / (np.sqrt(c) + eps)
    else:
        beta1, rest1 = number(h[2]), number(1 - h[2])
        beta2, rest2 = number(h[3]), number(1 - h[3])
        eps = number(h[4])
        a_hat = number(rate / (1 - h[2] ** t))
        root = number(math.sqrt(1 - h[3] ** t))
        keep, coupled = (one - a * r, number(0)) if optimizer == ADAMW else (one, r)
        for i in range(q.size):
            d = g[i] + coupled * q[i]
            m = beta1 * s1[i] + rest1 * d
            v = beta2 * s2[i] + rest2 * d * d
            s1[i] = m
            s2[i] = v
            q[i] = keep * q[i] - a_hat * m / (np.sqrt(v) / root + eps)
