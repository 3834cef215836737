"""The six updates against PyTorch's optimisers, against formulas worked by hand, and on a quadratic."""

import math

import numpy as np
import pytest

from twolayer.network.optim import OPTIMIZERS, Hyperparameters

# A new optimiser adds a row: a rate at which 500 steps on the quadratic below come within 1e-2 of its minimum, and the
# same optimiser of PyTorch, made from its module `optim`, the parameter, the rate and the hyperparameters.
CASES = {
    "sgd": (0.1, lambda optim, q, a, h: optim.SGD(q, a)),
    "momentum": (0.02, lambda optim, q, a, h: optim.SGD(q, a, momentum=h.momentum)),
    "nesterov": (0.02, lambda optim, q, a, h: optim.SGD(q, a, momentum=h.momentum, nesterov=True)),
    "rmsprop": (0.002, lambda optim, q, a, h: optim.RMSprop(q, a, alpha=h.rho, eps=h.epsilon)),
    "adam": (0.05, lambda optim, q, a, h: optim.Adam(q, a, (h.beta1, h.beta2), h.epsilon)),
    "adamw": (0.05, lambda optim, q, a, h: optim.AdamW(q, a, (h.beta1, h.beta2), h.epsilon, weight_decay=0)),
}
CURVATURES = {"round": [1.0, 1.0, 1.0], "a valley": [4.0, 1.0, 0.5]}


def run(name, q, gradient, rate, steps, h=Hyperparameters()):  # noqa: B008
    """q after `steps` steps, the state starting at 0."""
    optimizer = OPTIMIZERS[name]
    state = tuple(np.zeros_like(q) for _ in range(optimizer.n_slots))
    scratch = np.empty_like(q)
    for t in range(1, steps + 1):
        optimizer.update(q, gradient(q, t), state, scratch, rate, t, h)
    return q


def test_every_optimiser_of_the_table_is_tested_here():
    assert CASES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_finds_the_minimum_of_a_quadratic(name, curvature):
    a, target = np.array(CURVATURES[curvature]), np.array([0.3, -0.7, 0.5])
    q = run(name, np.zeros(3), lambda q, t: a * (q - target), CASES[name][0], 500)
    np.testing.assert_allclose(q, target, atol=1e-2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_on_a_zero_gradient_from_rest_changes_nothing(name):
    q = run(name, np.array([1.5, -2.0]), lambda q, t: np.zeros(2), 0.1, 3)
    np.testing.assert_array_equal(q, [1.5, -2.0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_in_pieces_is_the_update_of_the_whole(name):
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((5, 10))
    whole = run(name, np.ones(10), lambda q, t: gradients[t - 1].copy(), 0.01, 5)
    pieces = [run(name, np.ones(len(part)), lambda q, t, p=part: gradients[t - 1][p], 0.01, 5) for part in (
        [0, 1, 2], [3, 4, 5, 6, 7, 8, 9])]  # fmt: skip
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_two_steps_of_each_worked_by_hand():
    """Q = 1, gradients 0.5 and then -0.25, rate 0.1, mu 0.9, rho 0.9, b1 0.9, b2 0.99, eps 0.1."""
    h = Hyperparameters(momentum=0.9, rho=0.9, beta1=0.9, beta2=0.99, epsilon=0.1)
    gradients = [np.array([0.5]), np.array([-0.25])]
    c1 = 0.1 * 0.25  # (1 - rho) g^2
    c2 = 0.9 * c1 + 0.1 * 0.0625
    m1, v1 = 0.05, 0.0025
    m2, v2 = 0.9 * m1 - 0.025, 0.99 * v1 + 0.01 * 0.0625
    adam = 1 - 0.1 * (m1 / 0.1) / (math.sqrt(v1 / 0.01) + 0.1)  # 1 - 0.1 * 0.5 / 0.6
    adam -= 0.1 * (m2 / (1 - 0.81)) / (math.sqrt(v2 / (1 - 0.9801)) + 0.1)
    expected = {
        "sgd": 1 - 0.05 + 0.025,
        "momentum": 1 - 0.05 + (0.9 * -0.05 + 0.025),
        "nesterov": 1 + (0.9 * -0.05 - 0.05) + (0.9 * (0.9 * -0.05 + 0.025) + 0.025),
        "rmsprop": 1 - 0.05 / (math.sqrt(c1) + 0.1) + 0.025 / (math.sqrt(c2) + 0.1),
        "adam": adam,
        "adamw": adam,
    }
    for name, value in expected.items():
        q = run(name, np.ones(1), lambda q, t: gradients[t - 1].copy(), 0.1, 2, h)
        assert q[0] == pytest.approx(value, rel=1e-14), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_are_pytorchs(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    rate, h = 0.01, Hyperparameters(momentum=0.8, rho=0.95, beta1=0.85, beta2=0.98, epsilon=1e-6)
    rng = np.random.default_rng(3)
    start, gradients = rng.standard_normal(20).astype(dtype), rng.standard_normal((50, 20)).astype(dtype)
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = CASES[name][1](torch.optim, [parameter], rate, h)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        theirs.step()
    ours = run(name, start.copy(), lambda q, t: gradients[t - 1].copy(), rate, 50, h)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, parameter.detach().numpy(), rtol=tolerance, atol=tolerance)
