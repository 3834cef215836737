"""A chunk of training steps as one compiled function: equations (1) to (13) for batch after batch."""

from __future__ import annotations

import math

from twolayer.network.model import Array
from twolayer.solver.compiled.jit import compiled, compiled_and_kept, compiled_apart, compiled_within, ticks
from twolayer.solver.compiled.layers import (
    add_to_rows,
    bias_relu,
    bounded,
    column_sums,
    relu_gradient,
    row_sums,
    softmax_gradient,
    sum_of,
)
from twolayer.solver.compiled.partition import Shard, Shards, copy_shards, shard_at
from twolayer.solver.compiled.products import product, product_at, product_tt
from twolayer.solver.compiled.sync import (
    GRADIENT,
    SAFE,
    WEIGHTS,
    Team,
    all_reduce,
    barrier,
    begin_chunk,
    join_chunk,
    parity,
)
from twolayer.solver.compiled.updates import ADAMW, Rule, add_penalty_gradient, scale, sum_of_squares, update

FINISHED, NOT_FINITE = 0, 1
MEASURE, OBJECTIVE = 1, 2  # flags
PIECE = 1 << 16  # weights of W1 updated at a time


@compiled_and_kept
def run_steps(
    team: Team, shards: Shards, rule: Rule, gemm: int, chunk: int, thread: int, threads: int,
    X: Array, y: Array, weights: Array, rates: Array, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, int, int, float]:  # fmt: skip
    """Do a thread's part of one step for each batch of a chunk; see `engine.Engine.run` for what that means.

    Args:
        team: what the threads have in common.
        shards: the network.
        rule: how a gradient becomes a step.
        gemm: address of BLAS's product.
        chunk: number of the chunk, from 1.
        thread, threads: which thread this is, of how many.
        X, y, weights, rates: the chunk, X flat; weights (0,) for none.
        flags: MEASURE and OBJECTIVE, as in `Engine.run`.
        t: updates made before.
        losses: (K,) filled by the first thread with each step's loss; NaN for a skipped batch.
        norm: (1,) filled by the first thread with the last gradient norm, where one was computed.

    Returns:
        FINISHED or NOT_FINITE, steps done, updates made, the last loss; of the first thread.
    """
    asked = threads
    threads = join_chunk(team, chunk, thread) if thread else begin_chunk(team, chunk, threads)
    if thread and threads == 1:
        return FINISHED, 0, t, math.nan
    n_shards = len(shards.layout)
    first, last = n_shards * thread // threads, n_shards * (thread + 1) // threads
    copy_shards(False, shards, first, last)
    outcome, k, loss, parting = FINISHED, 0, math.nan, False
    while k < rates.size and outcome == FINISHED:
        done, loss, parting = _step(
            team, shards, rule, gemm, thread, threads, first, last, X, y, weights, rates[k], k, flags, t, losses, norm
        )
        outcome, t, k = (NOT_FINITE, t, k) if done < 0 else (FINISHED, t + done, k + 1)
        if parting:
            barrier(team, thread, threads)
            if thread:
                return outcome, k, t, loss
            threads, last = 1, n_shards
    copy_shards(True, shards, first, last)
    barrier(team, thread, threads)
    if thread == 0:
        team.times[1] = ticks()
        if threads < asked:  # too late, or dismissed: what was waited is lost
            team.times[2] = max(team.times[2], 1)
        else:
            team.times[2] = 0
    return outcome, k, t, loss


@compiled_within
def _step(
    team: Team, shards: Shards, rule: Rule, gemm: int, thread: int, threads: int, first: int, last: int, X: Array,
    y: Array, weights: Array, rate: float, k: int, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, float, bool]:  # fmt: skip
    """Do batch k with the thread's shards, `first` to `last` - 1.

    Returns:
        Updates made: 1, 0 for a batch of zero weight, -1 if loss or gradient is not finite; the loss; whether the
        threads part after this step.
    """
    D, C, by_features = shards.D, shards.C, shards.by_features
    begin, n = k * shards.B, min(shards.B, y.size - k * shards.B)
    x, labels, w = X[begin * D : (begin + n) * D], y[begin : begin + n], weights[begin : begin + n]
    total_weight = sum_of(w) if w.size else float(n)
    if total_weight == 0:
        if thread == 0:
            losses[k] = math.nan
        return 0, math.nan, False

    now = parity(team, thread)
    notes, summands = team.notes[now], team.summands[now]
    for index in range(first, last):
        shard = shard_at(shards, index)
        if flags & OBJECTIVE:
            notes[index, WEIGHTS] = sum_of_squares(shard.q[: min(shard.n_weights, shard.counted)])
        notes[index, SAFE] = _forward_apart(shards, shard, gemm, x, n, summands[index])
    parting = barrier(team, thread, threads)
    head, dS, row_losses = shard_at(shards, first), shards.dS[first, : C * n], shards.row_losses[first, :n]
    safe = _forward_together(shards, head, gemm, n, summands, dS)
    for index in range(len(notes)):
        safe &= notes[index, SAFE] != 0
    safe &= softmax_gradient(
        dS, n, labels, w, total_weight, shards.top[first], shards.total[first], shards.part[first], row_losses
    )
    loss = sum_of(row_losses)
    safe &= math.isfinite(loss)
    if thread == 0:
        losses[k] = loss
        if flags & OBJECTIVE and rule.optimizer != ADAMW:
            losses[k] += rule.r / 2 * sum_of(notes[:, WEIGHTS])

    whole = bool(flags & MEASURE) or rule.clip > 0 or not safe
    for index in range(first, last):
        shard = shard_at(shards, index)
        if index == first or not by_features:
            _backward(gemm, shard, C, D, dS, x, n)
        _backward_to_first(gemm, shard, head if by_features else shard, D, rule, x, n, whole, rate, t)
        if whole:
            _note_gradient(shard, rule, by_features and index > first, notes)
    length = 0.0
    if whole:
        parting |= barrier(team, thread, threads)
        length = math.sqrt(sum_of(notes[:, GRADIENT]))
        if thread == 0:
            norm[0] = length
        if not (math.isfinite(loss) and math.isfinite(length)):
            return -1, loss, parting
    _update_rest(shards, rule, first, last, whole, length, rate, t)
    return 1, loss, parting


@compiled_within
def _update_rest(
    shards: Shards, rule: Rule, first: int, last: int, whole: bool, length: float, rate: float, t: int
) -> None:
    """Update what `_backward_to_first` has not: W2 and the biases and, where the `whole` gradient was asked for and has
    this `length`, W1."""
    r_due = 0.0 if whole and rule.optimizer != ADAMW else rule.r
    for index in range(first, last):
        shard = shard_at(shards, index)
        if 0 < rule.clip < length:
            scale(shard.g, rule.clip / length)
        n_first, rows_only = shard.F * shard.M, shards.by_features and index > first
        _update(rule, shard, 0 if whole else n_first, n_first if rows_only else shard.n_weights, rate, r_due, t + 1)
        if not rows_only:
            _update(rule, shard, shard.n_weights, shard.q.size, rate, 0.0, t + 1)


@compiled_within
def _forward_apart(shards: Shards, shard: Shard, gemm: int, x: Array, n: int, summand: Array) -> bool:
    """(1) to (3) as far as a shard gets by itself with the rows x (n D,): to its summand of the scores, transposed
    (C n,), or of Z1 (n H,). Returns whether all was bounded.

    Where there is one shard, the gradient is checked in place of the rows if that is less to read.
    """
    D, M, by_features = shards.D, shard.M, shards.by_features
    safe, n_shards = True, len(shards.layout)
    if by_features:
        for i in range(n):
            safe &= bounded(x[i * D + shard.row : i * D + shard.row + shard.F])
    elif n_shards > 1 or n * D < 2 * shard.q.size:
        safe = bounded(x[n * shard.number // n_shards * D : n * (shard.number + 1) // n_shards * D])
    else:
        safe = False
    if M:
        product(gemm, n, shard.F, M, x[shard.row :], D, shard.q, M, summand if by_features else shard.A1, M)
    if by_features:
        return bool(safe)
    A, width = (shard.A1, M) if M else (x, D)
    safe &= _to_scores(gemm, n, shards.C, A, width, shard.b1, shard.W2, shard.b2, summand, shard.scratch)
    return bool(safe)


@compiled_within
def _forward_together(shards: Shards, head: Shard, gemm: int, n: int, summands: Array, S: Array) -> bool:
    """The rest of (1) to (3), after the barrier: the scores, transposed, into S.

    Returns whether all was bounded: as |dS| <= 1, dZ1 is then bounded as well.
    """
    if shards.by_features:
        all_reduce(summands, n * shards.H, head.A1)
        return bool(
            _to_scores(gemm, n, shards.C, head.A1, shards.H, head.b1, head.W2, head.b2, S, head.scratch)
        )  # fmt: skip
    all_reduce(summands, shards.C * n, S)
    return True


@compiled_apart
def _to_scores(
    gemm: int, n: int, C: int, A: Array, width: int, b1: Array, W2: Array, b2: Array, S: Array, scratch: Array
) -> bool:
    """Bias and ReLU of (1) and (2), if there are any, for A (n, width), and (3), transposed, into S (C n,)."""
    safe = bounded(W2)
    if b1.size:
        safe &= bias_relu(A[: n * width], b1)
    product_tt(gemm, C, width, n, W2, C, A, width, S, n, scratch)
    add_to_rows(S, n, b2)
    return bool(safe)


@compiled_within
def _backward(gemm: int, shard: Shard, C: int, D: int, dS: Array, x: Array, n: int) -> None:
    """(8) to (12), except dW1: from dS^T to dZ1 and the gradients of W2, b1 and b2."""
    M = shard.M
    if M:
        dZ1 = shard.dZ1[: n * M]
        product_tt(gemm, n, C, M, dS, n, shard.W2, C, dZ1, M, shard.scratch)
        relu_gradient(dZ1, shard.A1)
        column_sums(dZ1, n, shard.db1)
    A, width = (shard.A1, M) if M else (x, D)
    product_tt(gemm, width, n, C, A, width, dS, n, shard.dW2, C, shard.scratch)
    row_sums(dS, n, shard.db2)


@compiled_within
def _backward_to_first(
    gemm: int, shard: Shard, head: Shard, D: int, rule: Rule, x: Array, n: int, whole: bool, rate: float, t: int
) -> None:
    """(11), and W1's update unless the `whole` gradient is asked for: by pieces, so that the update finds the gradient
    in cache. `head` has dZ1."""
    F, M = shard.F, shard.M
    piece = PIECE // max(M, 1) + 1
    for begin in range(0, F if M else 0, piece):
        end = min(begin + piece, F)
        rows = x[shard.row + begin :]
        product_at(gemm, end - begin, n, M, rows, D, head.dZ1, M, shard.g[begin * M :], M, shard.scratch)
        if not whole:
            _update(rule, shard, begin * M, end * M, rate, rule.r, t + 1)


@compiled
def _note_gradient(shard: Shard, rule: Rule, rows_only: bool, notes: Array) -> None:
    """Add the penalty's gradient, except for adamw, and note the shard's part of the squared norm."""
    n_weights = shard.F * shard.M if rows_only else shard.n_weights
    if rule.optimizer != ADAMW:
        add_penalty_gradient(shard.q[:n_weights], shard.g[:n_weights], rule.r)
    notes[shard.number, GRADIENT] = sum_of_squares(shard.g[: shard.counted])


@compiled
def _update(rule: Rule, shard: Shard, begin: int, end: int, rate: float, r: float, t: int) -> None:
    """The optimiser's step on some of the shard's numbers; L2 strength r is not yet in the gradient."""
    p = slice(begin, end)
    update(rule.optimizer, shard.q[p], shard.g[p], shard.s1[p], shard.s2[p], rate, r, rule.h, t)
