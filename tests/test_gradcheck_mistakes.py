"""The tester tested: gradients made wrong on purpose, each of which must be caught, by the comparison that can see it.

A mistake is made twice: in the gradient alone, with the right loss, and in loss and gradient together, so that the
gradient is the right derivative of the wrong loss. The second kind agrees with its own differences; only a reference
distinguishes it from the truth."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from twolayer.network.model import Array, Params
from twolayer.reference.gradcheck import check_gradients
from twolayer.reference.problems import standard_problems

Network = Callable[[Params, Array, Array, float], tuple[float, Params]]


def network(mistake: str | None = None) -> Network:
    """A plain backprop with at most one mistake, made consistently in loss and gradient."""

    def function(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        W1, b1, W2, b2 = params
        assert W1 is not None
        assert b1 is not None
        N, C = len(X), len(b2)
        if mistake == "off-by-one labels":
            y = (y - 1) % C
        Y = np.eye(C)[y]
        bias_scale = 1 / N if mistake == "db by mean instead of sum" else 1.0
        towards = W2.T if mistake == "W2 transposed" else W2  # what A1 is multiplied by

        Z1 = X @ W1 + bias_scale * b1
        on = {"mask with >=": Z1 >= 0, "no ReLU mask": np.ones_like(Z1, bool)}.get(mistake or "", Z1 > 0)
        A1 = Z1 * on
        S = A1 @ towards + bias_scale * b2
        if mistake == "unshifted softmax":
            losses = -np.log(np.exp(S)[np.arange(N), y] / np.exp(S).sum(axis=1))
            P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
        elif mistake == "softmax over the whole batch":
            shift = S - S.max()
            P = np.exp(shift) / np.exp(shift).sum()
            losses = np.log(np.exp(shift).sum()) - shift[np.arange(N), y]
            P = P * N  # the derivative of the mean of these losses is P - Y / N
        else:
            shift = S - S.max(axis=1, keepdims=True)
            P = np.exp(shift) / np.exp(shift).sum(axis=1, keepdims=True)
            losses = np.log(np.exp(shift).sum(axis=1)) - shift[np.arange(N), y]

        dS = (P - Y) / N
        dA1 = dS @ towards.T
        dZ1 = dA1 * on
        dW2 = dS.T @ A1 if mistake == "W2 transposed" else A1.T @ dS
        data = Params(X.T @ dZ1, bias_scale * dZ1.sum(axis=0), dW2, bias_scale * dS.sum(axis=0))
        data_loss = losses.mean()
        penalty = reg / 2 * ((W1**2).sum() + (W2**2).sum())
        of_penalty = [reg * W1, 0 * b1, reg * W2, 0 * b2]

        if mistake == "no 1/N":
            data_loss, data = losses.sum(), data.map(lambda g: g * N)
        elif mistake == "sum instead of mean":  # of what each row adds to the objective, its own penalty included
            data_loss, data = losses.sum(), data.map(lambda g: g * N)
            penalty, of_penalty = N * penalty, [N * g for g in of_penalty]
        elif mistake == "L2 doubled":
            penalty, of_penalty = 2 * penalty, [2 * g for g in of_penalty]
        elif mistake == "L2 missing":
            penalty, of_penalty = 0.0, [0 * g for g in of_penalty]
        elif mistake == "L2 on the biases":
            penalty += reg / 2 * ((b1**2).sum() + (b2**2).sum())
            of_penalty = [reg * W1, reg * b1, reg * W2, reg * b2]
        elif mistake == "sign flipped":
            return -(data_loss + penalty), Params(*(-(g + h) for g, h in zip(data, of_penalty, strict=True)))
        return data_loss + penalty, Params(*(g + h for g, h in zip(data, of_penalty, strict=True)))

    return function


def in_the_gradient_alone(mistake: str) -> Network:
    def function(params: Params, X: Array, y: Array, reg: float) -> tuple[float, Params]:
        return network()(params, X, y, reg)[0], network(mistake)(params, X, y, reg)[1]

    return function


# Where a mistake cannot show in a difference: a mask with >= is wrong on the kink only, where no difference is right.
# Where a wrong loss disagrees with its own gradient: exp overflows, and neither is a number.
MISTAKES = {
    "no 1/N": ({"differences", "reference"}, {"reference"}),
    "sum instead of mean": ({"differences", "reference"}, {"reference"}),
    "L2 doubled": ({"differences", "reference"}, {"reference"}),
    "L2 missing": ({"differences", "reference"}, {"reference"}),
    "L2 on the biases": ({"differences", "reference"}, {"reference"}),
    "no ReLU mask": ({"differences", "reference"}, {"reference"}),
    "mask with >=": ({"reference"}, {"reference"}),
    "sign flipped": ({"differences", "reference"}, {"reference"}),
    "softmax over the whole batch": ({"differences", "reference"}, {"reference"}),
    "unshifted softmax": ({"differences", "reference"}, {"differences", "reference"}),
    "db by mean instead of sum": ({"differences", "reference"}, {"reference"}),
    "W2 transposed": ({"differences", "reference"}, {"reference"}),
    "off-by-one labels": ({"differences", "reference"}, {"reference"}),
}


@functools.cache
def caught(mistake: str | None, in_gradient_alone: bool = False) -> dict[str, set[str]]:
    """The built-in problems that show the mistake, each with the comparisons that did."""
    function = in_the_gradient_alone(mistake) if in_gradient_alone and mistake else network(mistake)
    square_only = mistake == "W2 transposed"  # elsewhere the shapes do not fit
    found = {}
    for problem in standard_problems():
        H, C = problem.params.n_hidden, problem.params.n_classes
        if H == 0 or (square_only and H != C):
            continue
        check = check_gradients(function, problem.params, problem.X, problem.y, problem.reg)
        assert not check.problems
        if not check.passed:
            found[problem.name] = {"differences" if name == "differences" else "reference" for name in check.caught_by}
    return found


def test_the_network_without_a_mistake_passes() -> None:
    assert not caught(None)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_gradient_alone_is_caught(mistake: str) -> None:
    found = caught(mistake, in_gradient_alone=True)
    assert set().union(*found.values()) == MISTAKES[mistake][0]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_loss_and_gradient_together_is_caught(mistake: str) -> None:
    found = caught(mistake)
    assert set().union(*found.values()) == MISTAKES[mistake][1]


@pytest.mark.parametrize(
    ("mistake", "problem", "shows"),
    [
        ("mask with >=", "zero rows, zero biases", True),
        ("mask with >=", "random", False),
        ("L2 on the biases", "zero rows, biases", True),
        ("L2 on the biases", "zero rows, zero biases", False),
        ("unshifted softmax", "scores near 1000", True),
        ("unshifted softmax", "random", False),
        ("softmax over the whole batch", "one row (N=1)", False),
        ("no 1/N", "one row (N=1)", False),
        ("db by mean instead of sum", "one row (N=1)", False),
        ("L2 doubled", "no penalty", False),
    ],
)
def test_each_kind_of_data_shows_what_the_others_let_pass(mistake: str, problem: str, shows: bool) -> None:
    assert (problem in caught(mistake)) == shows
