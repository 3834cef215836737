"""The gradients of backprop.py again, written the slow ways: oracles for the tests and lessons to read.

All functions in `REFERENCES` are called as (params, X, y, reg) -> (loss, gradients): X is (N, D), y (N,) class indices
or (N, C) rows that sum to 1, reg the r of (6); the loss is that of (6) and the gradients are Params, all in float64.
They share no code with backprop.py; among themselves they share the forward pass and the loss of plain.py, and differ
in how they differentiate. docs/explanation/derivation.md goes through them in order."""

from twolayer.reference.by_hand import jacobian_chain, one_loop, ones_vectors, outer_products, two_loops
from twolayer.reference.plain import LossAndGradients, complex_step

# All of these agree to rounding.
REFERENCES: dict[str, LossAndGradients] = {
    "two loops": two_loops,
    "one loop": one_loop,
    "outer products": outer_products,
    "Jacobian chain": jacobian_chain,
    "ones vectors": ones_vectors,
    "complex step": complex_step,
}
