"""A stretch of training steps as one compiled function: equations (1) to (13) for batch after batch."""

from __future__ import annotations

import math

from twolayer.compiled.blas import product, product_at, product_tt
from twolayer.compiled.jit import compiled, compiled_and_kept
from twolayer.compiled.layers import bias_relu, bounded, relu_gradient, softmax_gradient
from twolayer.compiled.updates import (
    ADAMW,
    MOMENTUM,
    SGD,
    add_penalty_gradient,
    move_by_velocity,
    sum_of_squares,
    update,
)
from twolayer.model import Array

FINISHED, NOT_FINITE = 0, 1
RIDE_FROM = 1 << 16  # weights; fewer stay in cache, where BLAS's way to scale by beta costs more than an update


@compiled
def _views(
    vector: Array, starts: tuple[int, int, int, int], D: int, H: int, C: int
) -> tuple[Array, Array, Array, Array]:
    """W1, W2, b1, b2 as views of a vector laid out as `model.FlatParams`; W1 and b1 are empty without hidden layer."""
    width = H if H else D
    at1, at2, at3, at4 = starts
    return (
        vector[at1 : at1 + D * H].reshape((D, H)),
        vector[at2 : at2 + width * C].reshape((width, C)),
        vector[at3 : at3 + H],
        vector[at4 : at4 + C],
    )


@compiled_and_kept
def run_steps(
    gemm: int, X: Array, y: Array, weights: Array, rates: Array, batch_size: int, sizes: tuple[int, int, int],
    starts: tuple[int, int, int, int], n_weights: int, q: Array, g: Array, s1: Array, s2: Array, Z1: Array, dZ1: Array,
    scores: Array, rows: Array, scratch: Array, optimizer: int, h: Array, r: float, clip: float, measure: bool,
    objective: bool, t: int, losses: Array, norm: Array,
) -> tuple[int, int, int, float]:  # fmt: skip
    """Does one step for each batch of a stretch; see `engine.Engine.run` for what that means.

    Args:
        gemm: address of BLAS's product.
        X, y, weights, rates: the stretch; weights (0,) for none.
        batch_size: B.
        sizes: D, H, C.
        starts: where W1, W2, b1, b2 begin in the vectors.
        n_weights: where the biases begin.
        q, g, s1, s2: parameters, gradients, and the optimiser's state (any vector where it keeps less).
        Z1, dZ1, scores, rows, scratch: room for (B, H), (B, H), (C B,), (3, B) and the products' transposes.
        optimizer: its code, see `updates`.
        h: its hyperparameters.
        r: L2 strength.
        clip: bound on the gradients' norm, 0 for none.
        measure, objective: as in `Engine.run`.
        t: updates made so far.
        losses: (K,) filled with each step's loss; NaN for a skipped batch.
        norm: (1,) the last gradient norm, where one was computed.

    Returns:
        FINISHED or NOT_FINITE, steps done, updates made so far, the last loss.
    """
    D, H, C = sizes
    W1, W2, b1, b2 = _views(q, starts, D, H, C)
    dW1, dW2, db1, db2 = _views(g, starts, D, H, C)
    velocity1, velocity2, _, _ = _views(s1, starts, D, H, C)
    number = q.dtype.type
    zero, one = number(0), number(1)
    loss = math.nan
    large = n_weights >= RIDE_FROM
    for k in range(len(rates)):
        rate = rates[k]
        first, last = k * batch_size, min((k + 1) * batch_size, len(X))
        n = last - first
        x, labels, w = X[first:last], y[first:last], weights[first:last]
        if w.size and not w.any():
            losses[k] = math.nan
            continue

        A1 = x
        safe = bounded(x)
        if H:
            A1 = Z1[:n]
            product(gemm, x, W1, A1)
            safe &= bias_relu(A1, b1)
        S = dS = scores[: C * n].reshape((C, n))  # transposed
        product_tt(gemm, W2, A1, one, zero, S, scratch)
        loss, scores_bounded = softmax_gradient(S, b2, labels, w, rows, db2)
        safe &= scores_bounded
        if H:
            product_tt(gemm, dS, W2, one, zero, dZ1[:n], scratch)
            safe &= relu_gradient(dZ1[:n], A1, db1)
        safe &= math.isfinite(loss)

        losses[k] = loss
        if objective and optimizer != ADAMW:
            losses[k] += r / 2 * sum_of_squares(q[:n_weights])
        # Where no gradient is asked for, the update rides on the product that would make it.
        riding = large and safe and not measure and clip == 0 and optimizer in (SGD, MOMENTUM)
        alpha, beta, target1, target2 = one, zero, dW1, dW2
        if riding and optimizer == SGD:
            alpha, beta, target1, target2 = number(-rate), number(1 - rate * r), W1, W2
        elif riding:
            alpha, beta, target1, target2 = number(-rate), number(h[0]), velocity1, velocity2
        product_tt(gemm, A1, dS, alpha, beta, target2, scratch)
        if H:
            product_at(gemm, x, dZ1[:n], alpha, beta, target1, scratch)

        penalty_due = optimizer != ADAMW
        if measure or clip > 0 or not safe:
            if penalty_due:
                add_penalty_gradient(q[:n_weights], g[:n_weights], r)
                penalty_due = False
            norm[0] = math.sqrt(sum_of_squares(g))
            if not (math.isfinite(loss) and math.isfinite(norm[0])):
                return NOT_FINITE, k, t, loss
            if clip > 0 and norm[0] > clip:
                g *= number(clip / norm[0])

        t += 1
        if riding and optimizer == MOMENTUM:
            move_by_velocity(q[:n_weights], s1[:n_weights], rate, r)
        for begin, end in ((0, n_weights), (n_weights, len(q))):
            if begin == 0 and riding:
                continue
            r_due = r if begin == 0 and (penalty_due or optimizer == ADAMW) else 0.0
            update(optimizer, q[begin:end], g[begin:end], s1[begin:end], s2[begin:end], rate, r_due, h, t)
    return FINISHED, len(rates), t, loss
