"""The gradients of backprop.py again, written the slow ways: oracles for the tests and lessons to read.

All functions in `REFERENCES` are called as (params, X, y, reg) -> (loss, gradients): X is (N, D), y (N,) class indices
or (N, C) rows that sum to 1, reg the r of (6); the loss is that of (6) and the gradients are Params, all in float64.
They share no code with backprop.py; among themselves they share the forward pass and the loss of plain.py, and differ
in how they differentiate. docs/explanation/derivation.md goes through them in order."""

from __future__ import annotations

from twolayer.reference.by_rows import outer_products
from twolayer.reference.jacobians import JacobianError, jacobian_chain, softmax_jacobian
from twolayer.reference.likelihood import likelihood, likelihood_gradient, likelihood_step, negative_log_likelihood
from twolayer.reference.loops import one_loop, two_loops
from twolayer.reference.matrices import ones_vectors
from twolayer.reference.numerical import centred_differences, complex_step
from twolayer.reference.plain import LossAndGradients, Pass, forward_pass, gradient_step, loss, softmax
from twolayer.reference.problems import Problem, after_steps, random_problem, standard_problems

# All of these agree to rounding; `centred_differences` has the same signature and agrees to 1e-6.
REFERENCES: dict[str, LossAndGradients] = {
    "two loops": two_loops,
    "one loop": one_loop,
    "outer products": outer_products,
    "Jacobian chain": jacobian_chain,
    "ones vectors": ones_vectors,
    "complex step": complex_step,
}

__all__ = [
    "REFERENCES",
    "JacobianError",
    "LossAndGradients",
    "Pass",
    "Problem",
    "after_steps",
    "centred_differences",
    "complex_step",
    "forward_pass",
    "gradient_step",
    "jacobian_chain",
    "likelihood",
    "likelihood_gradient",
    "likelihood_step",
    "loss",
    "negative_log_likelihood",
    "one_loop",
    "ones_vectors",
    "outer_products",
    "random_problem",
    "softmax",
    "softmax_jacobian",
    "standard_problems",
    "two_loops",
]
