"""The updates: six ways to turn a gradient into a step. Each is one function on vectors of any length, working in
place, and one row of the table `OPTIMIZERS`; its state is as many vectors of the same length as the row says.

`q` is a piece of the parameters, `g` the gradient there (r W included, but for adamw), `a` the rate. All three
vectors may be overwritten; `g` serves as scratch and holds nothing of meaning afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twolayer.network.model import Array


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers of the updates, named as in the config; each optimiser reads its own.

    Attributes:
        momentum: mu, of momentum and nesterov.
        rho: decay of rmsprop's mean of squares.
        beta1: decay of adam's mean of gradients.
        beta2: decay of adam's mean of squares.
        epsilon: keeps the denominators from 0; where it stands is in each docstring.
    """

    momentum: float = 0.9
    rho: float = 0.99
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


def sgd(q: Array, g: Array, state: tuple[Array, ...], scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """Q <- Q - a g."""
    g *= a
    q -= g


def momentum(
    q: Array, g: Array, state: tuple[Array, ...], scratch: Array, a: float, t: int, h: Hyperparameters
) -> None:
    """v <- mu v - a g;  Q <- Q + v. The rate is inside the velocity (CS231n's and scikit-learn's form)."""
    (v,) = state
    v *= h.momentum
    g *= a
    v -= g
    q += v


def nesterov(
    q: Array, g: Array, state: tuple[Array, ...], scratch: Array, a: float, t: int, h: Hyperparameters
) -> None:
    """v <- mu v - a g;  Q <- Q + mu v - a g. Momentum, looking one step ahead (CS231n's and scikit-learn's form)."""
    (v,) = state
    v *= h.momentum
    g *= a
    v -= g
    np.multiply(v, h.momentum, out=scratch)
    scratch -= g
    q += scratch


def rmsprop(q: Array, g: Array, state: tuple[Array, ...], scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """c <- rho c + (1 - rho) g^2;  Q <- Q - a g / (sqrt(c) + eps). Epsilon stands outside the root."""
    (c,) = state
    np.multiply(g, g, out=scratch)
    scratch *= 1 - h.rho
    c *= h.rho
    c += scratch
    np.sqrt(c, out=scratch)
    scratch += h.epsilon
    g *= a
    g /= scratch
    q -= g


def adam(q: Array, g: Array, state: tuple[Array, ...], scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  Q <- Q - a mhat / (sqrt(vhat) + eps).

    mhat = m / (1 - b1^t), vhat = v / (1 - b2^t), and epsilon is added to the root of vhat, after the correction:
    Kingma and Ba's algorithm 1, and PyTorch's. (scikit-learn adds it to sqrt(v), before.)
    """
    m, v = state
    np.multiply(g, g, out=scratch)
    scratch *= 1 - h.beta2
    v *= h.beta2
    v += scratch
    g *= 1 - h.beta1
    m *= h.beta1
    m += g
    np.sqrt(v, out=scratch)
    scratch /= math.sqrt(1 - h.beta2**t)
    scratch += h.epsilon
    np.multiply(m, a / (1 - h.beta1**t), out=g)
    g /= scratch
    q -= g


class Optimizer(NamedTuple):
    """A row of the table.

    Attributes:
        update: the function.
        n_slots: how many state vectors it keeps.
        decoupled: whether L2 acts on the weights directly, Q <- Q - a r W before the update, in place of
            adding r W to the gradient (adamw, after Loshchilov and Hutter, 2019).
    """

    update: Callable[[Array, Array, tuple[Array, ...], Array, float, int, Hyperparameters], None]
    n_slots: int
    decoupled: bool = False


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(sgd, n_slots=0),
    "momentum": Optimizer(momentum, n_slots=1),
    "nesterov": Optimizer(nesterov, n_slots=1),
    "rmsprop": Optimizer(rmsprop, n_slots=1),
    "adam": Optimizer(adam, n_slots=2),
    "adamw": Optimizer(adam, n_slots=2, decoupled=True),
}
