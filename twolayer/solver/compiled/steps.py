"""A chunk of training steps as one compiled function: equations (1) to (13) for batch after batch."""

import math

from twolayer.network.model import Array
from twolayer.solver.compiled import layers, sync
from twolayer.solver.compiled.jit import FLUSH, compiled_and_kept, compiled_apart, compiled_within, float_control, ticks
from twolayer.solver.compiled.partition import Shard, Shards, copy_shards, shard_at
from twolayer.solver.compiled.products import PLAIN, TRANSPOSED, product, product_tt
from twolayer.solver.compiled.sync import Team
from twolayer.solver.compiled.updates import ADAMW, Rule, add_penalty_gradient, scale, sum_of_squares, update

FINISHED, NOT_FINITE = 0, 1
MEASURE, OBJECTIVE, BOUNDED = 1, 2, 4  # flags
AHEAD = 1 << 14  # numbers of a batch up to which it is fetched into the cache during the step before


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
        flags: MEASURE and OBJECTIVE, as in `Engine.run`; BOUNDED, if the rows are known to be below `layers.BOUND`.
        t: updates made before.
        losses: (K,) filled by the first thread with each step's loss; NaN for a skipped batch.
        norm: (1,) filled by the first thread with the last gradient norm, where one was computed.

    Returns:
        FINISHED or NOT_FINITE, steps done, updates made, the last loss; of the first thread.
    """
    asked = threads
    threads = sync.join_chunk(team, chunk, thread) if thread else sync.begin_chunk(team, chunk, threads)
    if thread and threads == 1:
        return FINISHED, 0, t, math.nan
    control = float_control(-1, FLUSH)
    n_shards = len(shards.at)
    first, last = n_shards * thread // threads, n_shards * (thread + 1) // threads
    copy_shards(False, shards, first, last)
    head = shard_at(shards, first, True)
    outcome, k, loss, parting = FINISHED, 0, math.nan, False
    while k < rates.size and outcome == FINISHED:
        done, loss, parting = _step(
            team, shards, head, rule, gemm, thread, threads, first, last, X, y, weights, rates[k], k, flags, t, losses,
            norm,
        )  # fmt: skip
        outcome, t, k = (NOT_FINITE, t, k) if done < 0 else (FINISHED, t + done, k + 1)
        if parting:
            sync.barrier(team, thread, threads)
            if thread:
                float_control(0, control)
                return outcome, k, t, loss
            threads, last = 1, n_shards
    copy_shards(True, shards, first, last)
    sync.barrier(team, thread, threads)
    if thread == 0:
        team.times[1] = ticks()
        if threads < asked:  # too late, or dismissed: what was waited is lost
            team.times[2] = max(team.times[2], 1)
        else:
            team.times[2] = 0
    float_control(0, control)
    return outcome, k, t, loss


@compiled_within
def _step(
    team: Team, shards: Shards, head: Shard, rule: Rule, gemm: int, thread: int, threads: int, first: int, last: int,
    X: Array, y: Array, weights: Array, rate: float, k: int, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, float, bool]:  # fmt: skip
    """Do batch k with the thread's shards, `first`, which is the `head`, to `last` - 1.

    Returns:
        Updates made: 1, 0 for a batch of zero weight, -1 if loss or gradient is not finite; the loss; whether the
        threads part after this step.
    """
    D, C, begin, n = shards.D, shards.C, k * shards.B, min(shards.B, y.size - k * shards.B)
    x, labels, w = X[begin * D : (begin + n) * D], y[begin : begin + n], weights[begin : begin + n]
    soon = X[(begin + n) * D : (begin + 2 * n) * D] if n * D <= AHEAD else X[:0]
    total_weight = layers.sum_of(w) if w.size else float(n)
    if total_weight == 0:
        losses[k] = math.nan  # by each thread
        return 0, math.nan, False

    now = int(team.counts[thread * sync.APART] & 1)  # which of two copies: a thread behind may still read the other
    notes, summands = team.notes[now], team.summands[now]
    for index in range(first, last):
        shard = head if index == first else shard_at(shards, index, False)
        if flags & OBJECTIVE:
            notes[index, sync.WEIGHTS] = sum_of_squares(shard.q[: min(shard.n_weights, shard.counted)])
        known = bool(flags & BOUNDED)
        notes[index, sync.SAFE] = _forward_apart(shards, shard, index, gemm, x, n, known, summands[index], soon)
    parting = sync.barrier(team, thread, threads)
    dS, row_losses = head.dS[: C * n], shards.row_losses[first, :n]
    safe = _forward_together(shards, head, gemm, n, summands, dS)
    safe &= layers.softmax_gradient(dS, n, labels, w, total_weight, head.softmax, row_losses)
    for index in range(len(notes)):
        safe &= notes[index, sync.SAFE] != 0
    loss = layers.sum_of(row_losses)
    if thread == 0:
        losses[k] = loss
        if flags & OBJECTIVE and rule.optimizer != ADAMW:
            losses[k] += rule.r / 2 * layers.sum_of(notes[:, sync.WEIGHTS])

    whole = bool(flags & MEASURE) or rule.clip > 0 or not (safe and math.isfinite(loss))
    for index in range(first, last):
        shard = head if index == first else shard_at(shards, index, False)
        if index == first or not shards.by_features:
            _backward(gemm, shard, C, D, dS, x, n)
        _backward_to_first(gemm, shard, head.dZ1 if shards.by_features else shard.dZ1, D, x, n, soon)
        if whole:
            notes[index, sync.GRADIENT] = _squares_of_gradient(rule, shard)
    r, length = rule.r, 0.0
    if whole:
        parting |= sync.barrier(team, thread, threads)
        r, length = rule.r if rule.optimizer == ADAMW else 0.0, math.sqrt(layers.sum_of(notes[:, sync.GRADIENT]))
        if thread == 0:
            norm[0] = length
        if not (math.isfinite(loss) and math.isfinite(length)):
            return -1, loss, parting
    for index in range(first, last):
        shard = head if index == first else shard_at(shards, index, False)
        _update(rule, shard.q, shard.g, shard.s1, shard.s2, shard.n_weights, rate, r, length, t + 1)
    return 1, loss, parting


@compiled_within
def _forward_apart(
    shards: Shards, shard: Shard, index: int, gemm: int, x: Array, n: int, known: bool, summand: Array, soon: Array
) -> bool:
    """(1) to (3) as far as a shard gets by itself with the rows x (n D,): to its summand of the scores, transposed
    (C n,), or of Z1 (n H,). Meanwhile a half of the next batch, `soon`, is fetched.

    Returns whether all of this is bounded, and a part of the rows, unless they are known to be.
    """
    D, M, by_features, n_shards = shards.D, shard.M, shards.by_features, len(shards.at)
    safe = known or layers.bounded(x[n * index // n_shards * D : n * (index + 1) // n_shards * D])
    if M:
        Z1, x_row = summand if by_features else shard.A1, x[shard.row :]
        product(gemm, PLAIN, n, shard.F, M, x_row, D, shard.q, M, Z1, M, shard.scratch, soon[: soon.size // 2])
    if not by_features:
        A, width = (shard.A1, M) if M else (x, D)
        safe &= _to_scores(gemm, n, shards.C, A, width, shard.b1, shard.W2, shard.b2, summand, shard.scratch)
    return bool(safe)


@compiled_within
def _forward_together(shards: Shards, head: Shard, gemm: int, n: int, summands: Array, S: Array) -> bool:
    """The rest of (1) to (3), after the barrier: the scores, transposed, into S.

    Returns whether all was bounded: as |dS| <= 1, dZ1 is then bounded as well.
    """
    if not shards.by_features:
        sync.all_reduce(summands, shards.C * n, S)
        return True
    sync.all_reduce(summands, n * shards.H, head.A1)
    scores = _to_scores(gemm, n, shards.C, head.A1, shards.H, head.b1, head.W2, head.b2, S, head.scratch)
    return bool(scores)


@compiled_apart
def _to_scores(
    gemm: int, n: int, C: int, A: Array, width: int, b1: Array, W2: Array, b2: Array, S: Array, scratch: Array
) -> bool:
    """Bias and ReLU of (1) and (2), if there are any, for A (n, width), and (3), transposed, into S (C n,)."""
    safe = layers.bounded(W2)
    if b1.size:
        safe &= layers.bias_relu(A[: n * width], b1)
    product_tt(gemm, C, width, n, W2, C, A, width, S, n, scratch)
    layers.add_to_rows(S, n, b2)
    return bool(safe)


@compiled_within
def _backward(gemm: int, shard: Shard, C: int, D: int, dS: Array, x: Array, n: int) -> None:
    """(8) to (12), except dW1: from dS^T to dZ1 and the gradients of W2, b1 and b2."""
    M = shard.M
    if M:
        dZ1 = shard.dZ1[: n * M]
        product_tt(gemm, n, C, M, dS, n, shard.W2, C, dZ1, M, shard.scratch)
        layers.relu_gradient(dZ1, shard.A1)
        layers.column_sums(dZ1, n, shard.db1)
    A, width = (shard.A1, M) if M else (x, D)
    product_tt(gemm, width, n, C, A, width, dS, n, shard.dW2, C, shard.scratch)
    layers.row_sums(dS, n, shard.db2)


@compiled_within
def _backward_to_first(gemm: int, shard: Shard, dZ1: Array, D: int, x: Array, n: int, soon: Array) -> None:
    """(11): dW1. Meanwhile the rest of the next batch, `soon`, is fetched."""
    F, M = shard.F, shard.M
    if M:
        rest = soon[soon.size // 2 :]
        product(gemm, TRANSPOSED, F, n, M, x[shard.row :], D, dZ1, M, shard.g, M, shard.scratch, rest)


@compiled_within
def _squares_of_gradient(rule: Rule, shard: Shard) -> float:
    """Add the penalty's gradient, except for adamw, and return the shard's part of the squared norm."""
    if rule.optimizer != ADAMW:
        add_penalty_gradient(shard.q[: shard.n_weights], shard.g[: shard.n_weights], rule.r)
    squares: float = sum_of_squares(shard.g[: shard.counted])
    return squares


@compiled_apart
def _update(
    rule: Rule, q: Array, g: Array, s1: Array, s2: Array, n_weights: int, rate: float, r: float, length: float, t: int
) -> None:
    """Clip a gradient of this `length`, and do the optimiser's step on a shard. The L2 strength r, of the weights, is
    not yet in the gradient."""
    if 0 < rule.clip < length:
        scale(g, rule.clip / length)
    for p, due in ((slice(0, n_weights), r), (slice(n_weights, q.size), 0.0)):
        if p.start < p.stop:
            update(rule.optimizer, q[p], g[p], s1[p], s2[p], rate, due, rule.h, t)
