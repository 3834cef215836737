"""The gradients of backprop.py again, written the slow ways: oracles for the tests and lessons to read.

All functions in `REFERENCES` are called as (params, X, y, reg) -> (loss, gradients): X is (N, D), y (N,) class indices
or (N, C) rows that sum to 1, reg the r of (6); the loss is that of (6) and the gradients are Params, all in float64.
They share no code with backprop.py; among themselves they share the forward pass and the loss, and differ in how they
differentiate. docs/explanation/derivation.md goes through them in order."""

from twolayer.reference import plain

# All of these agree to rounding.
REFERENCES: dict[str, plain.LossAndGradients] = {
    "two loops": plain.two_loops,
    "one loop": plain.one_loop,
    "outer products": plain.outer_products,
    "Jacobian chain": plain.jacobian_chain,
    "ones vectors": plain.ones_vectors,
    "complex step": plain.complex_step,
}
