"""The updates: six ways to turn a gradient into a step. Each is one function that works in place on vectors of any
length, and one row of the table `OPTIMIZERS`, which says how many state vectors of that length it keeps, which
hyperparameters it uses and its default learning rate.

`q` is a piece of the parameters, `g` the gradient there (including r W, except for adamw), `a` the learning rate, `t`
the number of the step from 1. `g` and `scratch` are overwritten and hold nothing of meaning afterwards."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twolayer.network.checks import setting
from twolayer.network.model import Array

State = tuple[Array, ...]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The numbers of the updates; the rows of `OPTIMIZERS` say which of them each optimiser uses."""

    momentum: float = setting(0.9, "mu, how much of the velocity a step keeps", ge=0, lt=1)
    rho: float = setting(0.99, "decay of the mean of squared gradients", ge=0, lt=1)
    beta1: float = setting(0.9, "decay of the mean of gradients", ge=0, lt=1)
    beta2: float = setting(0.999, "decay of the mean of squared gradients", ge=0, lt=1)
    epsilon: float = setting(1e-8, "added to the root of the mean of squares", gt=0)


def sgd(q: Array, g: Array, state: State, scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """Q <- Q - a g."""
    g *= a
    q -= g


def momentum(q: Array, g: Array, state: State, scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """v <- mu v - a g;  Q <- Q + v. The rate is inside the velocity (CS231n's and scikit-learn's form)."""
    (v,) = state
    v *= h.momentum
    g *= a
    v -= g
    q += v


def nesterov(q: Array, g: Array, state: State, scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """v <- mu v - a g;  Q <- Q + mu v - a g. Momentum, looking one step ahead (CS231n's and scikit-learn's form)."""
    (v,) = state
    v *= h.momentum
    g *= a
    v -= g
    np.multiply(v, h.momentum, out=scratch)
    scratch -= g
    q += scratch


def rmsprop(q: Array, g: Array, state: State, scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
    """c <- rho c + (1 - rho) g^2;  Q <- Q - a g / (sqrt(c) + eps). Epsilon is outside the root."""
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


def adam(q: Array, g: Array, state: State, scratch: Array, a: float, t: int, h: Hyperparameters) -> None:
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
    """A row of the table. `decoupled` applies L2 to the weights directly, Q <- Q - a r W before the update, instead of
    adding r W to the gradient (adamw, after Loshchilov and Hutter, 2019)."""

    update: Callable[[Array, Array, State, Array, float, int, Hyperparameters], None]
    n_slots: int  # number of state vectors
    uses: tuple[str, ...] = ()  # the fields of `Hyperparameters` that it reads
    learning_rate: float = 0.1  # the default
    compiled: bool = False  # whether `solver.compiled.updates` has it, for engine numba
    decoupled: bool = False


_ADAM = Optimizer(adam, n_slots=2, uses=("beta1", "beta2", "epsilon"), learning_rate=0.001, compiled=True)
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(sgd, n_slots=0, compiled=True),
    "momentum": Optimizer(momentum, n_slots=1, uses=("momentum",), compiled=True),
    "nesterov": Optimizer(nesterov, n_slots=1, uses=("momentum",), compiled=True),
    "rmsprop": Optimizer(rmsprop, n_slots=1, uses=("rho", "epsilon"), learning_rate=0.001, compiled=True),
    "adam": _ADAM,
    "adamw": _ADAM._replace(decoupled=True),
}
