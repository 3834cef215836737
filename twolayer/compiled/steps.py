"""A stretch of training steps as one compiled function: equations (1) to (13) for batch after batch."""

from __future__ import annotations

import math

from twolayer.compiled.jit import compiled, compiled_and_kept, compiled_within
from twolayer.compiled.lanes import GRADIENT, SAFE, WEIGHTS, announce, announced, expect, meet, parity
from twolayer.compiled.layers import bounded, softmax_gradient, sum_of
from twolayer.compiled.machine import CACHE_LINE, array_at, fetch
from twolayer.compiled.passes import backward, forward
from twolayer.compiled.products import product_at
from twolayer.compiled.shares import copy_share
from twolayer.compiled.updates import (
    ADAMW,
    add_penalty_gradient,
    scale,
    sum_of_squares,
    update,
)
from twolayer.model import Array

FINISHED, NOT_FINITE = 0, 1
MEASURE, OBJECTIVE = 1, 2  # flags
PIECE = 1 << 16  # weights of W1 updated at a time
AHEAD_BYTES = 1 << 16  # of a batch's rows up to which they are fetched during the step before


@compiled_and_kept
def run_steps(
    lane: int, lanes: int, counts: Array, orders: Array, notes: Array, scores: Array, gemm: int,
    sizes: tuple[int, int, int, int, int], column: int, own: tuple[Array, Array, Array, Array],
    starts: tuple[int, int, int], vectors: tuple[Array, Array, Array], vector_starts: tuple[int, int, int],
    room: tuple[Array, ...], row_losses: Array, optimizer: int, n_vectors: int, h: Array, r: float, clip: float,
    X: Array, y: Array, weights: Array, rates: Array, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, int, int, float]:  # fmt: skip
    """Lane 0 does its share of one step for each batch of a stretch; see `engine.Engine.run` for what that means.
    The other lanes do theirs of whatever stretches lane 0 announces, until there is none for a while.

    Args:
        lane, lanes: which of how many.
        counts: (lanes APART,) what each lane counts.
        orders: (11,) the stretch announced.
        notes: (2, lanes, APART) float64, what lanes note for each other.
        scores: (2, lanes, C B) the lanes' summands of the scores.
        gemm: address of BLAS's product.
        sizes, column, own, starts, vectors, vector_starts, room, row_losses: see `shares.Share`.
        optimizer: its code, see `updates`.
        n_vectors: how many of `vectors` there are.
        h: its hyperparameters.
        r: L2 strength.
        clip: bound on the gradients' norm, 0 for none.
        X, y, weights, rates: lane 0's stretch, X flat; weights (0,) for none.
        flags: MEASURE and OBJECTIVE, as in `Engine.run`.
        t: updates made so far.
        losses: (K,) filled by lane 0 with each step's loss; NaN for a skipped batch.
        norm: (1,) filled by lane 0 with the last gradient norm, where one was computed.

    Returns:
        FINISHED or NOT_FINITE, steps done, updates made so far, the last loss.
    """
    outcome = FINISHED, 0, t, math.nan
    if lane == 0:
        announce(orders, X, y, weights, rates, flags, t)
    while lane == 0 or announced(orders, counts, lane):
        if lane > 0:
            X, y = array_at(orders[1], orders[5], X), array_at(orders[2], orders[6], y)
            weights, rates = array_at(orders[3], orders[7], weights), array_at(orders[4], orders[8], rates)
            flags, t = orders[9], orders[10]
        for i in range(n_vectors if lanes > 1 else 0):
            copy_share(False, lane, vectors[i], vector_starts, own[i], starts, sizes, column)
        outcome = _share_of_steps(
            lane, lanes, counts, notes, scores, gemm, sizes, own, starts, room, row_losses, optimizer, h, r, clip, X, y,
            weights, rates, flags, t, losses, norm,
        )  # fmt: skip
        for i in range(n_vectors if lanes > 1 else 0):
            copy_share(True, lane, vectors[i], vector_starts, own[i], starts, sizes, column)
        meet(counts, lane, lanes)
        if lane == 0:
            break
    return outcome


@compiled_within
def _share_of_steps(
    lane: int, lanes: int, counts: Array, notes: Array, scores: Array, gemm: int,
    sizes: tuple[int, int, int, int, int], own: tuple[Array, Array, Array, Array], starts: tuple[int, int, int],
    room: tuple[Array, ...], row_losses: Array, optimizer: int, h: Array, r: float, clip: float, X: Array, y: Array,
    weights: Array, rates: Array, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, int, int, float]:  # fmt: skip
    """The lane's share of all steps of a stretch; see `run_steps`."""
    D, M, C, B, _ = sizes
    q, s1, s2, g = own
    _, dZ1, dS, top, total, share, scratch = room
    n_weights = starts[1]
    loss = math.nan
    for k in range(rates.size):
        rate, first, n = rates[k], k * B, min(B, y.size - k * B)
        x, labels, w = X[first * D : (first + n) * D], y[first : first + n], weights[first : first + n]
        total_weight = sum_of(w) if w.size else float(n)
        if total_weight == 0:
            if lane == 0:
                losses[k] = math.nan
            continue

        now = parity(counts, lane)
        expect(scores[now], lane, lanes, C * n, True)
        # One lane looks at the rows or, where that is less to read, at the gradient; several would have to meet.
        safe = lanes > 1 or n * D < 2 * q.size
        if safe:
            safe = bounded(x[n * lane // lanes * D : n * (lane + 1) // lanes * D])
        safe &= forward(gemm, x, n, lane, sizes, own, starts, room, scores[now, lane])
        notes[now, lane, SAFE] = safe
        if flags & OBJECTIVE:
            notes[now, lane, WEIGHTS] = sum_of_squares(q[:n_weights])
        _fetch_ahead(X, (first + n) * D, n * D, 0)
        meet(counts, lane, lanes)
        expect(scores[now], lane, lanes, C * n, False)
        _fetch_ahead(X, (first + n) * D, n * D, 1)

        for other in range(lanes):
            safe &= notes[now, other, SAFE] != 0
        safe &= softmax_gradient(scores[now], n, labels, w, total_weight, top, total, share, dS[: C * n], row_losses)
        loss = sum_of(row_losses[:n])
        safe &= math.isfinite(loss)
        if lane == 0:
            losses[k] = loss
            if flags & OBJECTIVE and optimizer != ADAMW:
                losses[k] += r / 2 * sum_of(notes[now, :, WEIGHTS])
        _fetch_ahead(X, (first + n) * D, n * D, 2)

        backward(gemm, x, n, lane, sizes, own, starts, room)
        # Unless the whole gradient is asked for, lanes update W1 by pieces, while the gradient's piece is in cache. In
        # one lane BLAS may use several threads, which pieces would hold up.
        whole = flags & MEASURE or clip > 0 or not safe
        piece = D if lanes == 1 else PIECE // M + 1
        for i in range(0, D if M else 0, piece):
            end = min(i + piece, D)
            p = slice(i * M, end * M)
            product_at(gemm, end - i, n, M, x[i:], D, dZ1, M, g[p], M, scratch)
            if not whole:
                update(optimizer, q[p], g[p], s1[p], s2[p], rate, r, h, t + 1)
        _fetch_ahead(X, (first + n) * D, n * D, 3)

        r_due = r
        if whole:
            if optimizer != ADAMW:
                add_penalty_gradient(q[:n_weights], g[:n_weights], r)
                r_due = 0.0
            notes[now, lane, GRADIENT] = sum_of_squares(g)
            meet(counts, lane, lanes)
            length = math.sqrt(sum_of(notes[now, :, GRADIENT]))
            if lane == 0:
                norm[0] = length
            if not (math.isfinite(loss) and math.isfinite(length)):
                return NOT_FINITE, k, t, loss
            if clip > 0 and length > clip:
                scale(g, clip / length)

        t += 1
        left = slice(0 if whole else starts[0], n_weights)
        update(optimizer, q[left], g[left], s1[left], s2[left], rate, r_due, h, t)
        biases = slice(n_weights, q.size)
        update(optimizer, q[biases], g[biases], s1[biases], s2[biases], rate, 0.0, h, t)
    return FINISHED, rates.size, t, loss


@compiled
def _fetch_ahead(X: Array, begin: int, size: int, quarter: int) -> None:
    """Begins to fetch a quarter of the next batch's rows; all at once would hold up the step."""
    if size * X.itemsize <= AHEAD_BYTES:
        first = begin + size * quarter // 4
        for i in range(first, min(X.size, first + size // 4), CACHE_LINE // X.itemsize):
            fetch(X, i)
