"""A stretch of training steps as one compiled function: equations (1) to (13) for batch after batch.

The way through the network and back, for a lane's part of it: equations (1) to (3) and (8) to (12) for one batch."""

from __future__ import annotations

import math

from twolayer.network.model import Array
from twolayer.solver.compiled.jit import CACHE_LINE, compiled, compiled_and_kept, compiled_apart, compiled_within, fetch
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
from twolayer.solver.compiled.partition import Block, Own, Room, copy_share
from twolayer.solver.compiled.products import product, product_at, product_tt
from twolayer.solver.compiled.sync import (
    GRADIENT,
    SAFE,
    WEIGHTS,
    Team,
    add_up,
    announce,
    announced,
    get_ready_to_write,
    meet,
    parity,
    stretch_announced,
)
from twolayer.solver.compiled.updates import ADAMW, Rule, add_penalty_gradient, scale, sum_of_squares, update


@compiled_within
def forward_apart(gemm: int, block: Block, own: Own, room: Room, x: Array, n: int, summand: Array) -> bool:
    """(1) to (3) as far as a lane can get by itself with the rows x (n D,): to its summand of the scores, transposed
    (C n,), or of Z1 (n H,). Returns whether all was bounded."""
    M, by_features = block.M, block.F < block.D
    if not by_features:
        get_ready_to_write(summand, block.C * n)
    if M:
        product(gemm, n, block.F, M, x[block.row :], block.D, own.W1, M, summand if by_features else room.A1, M)
    if by_features:
        return True
    A, width = (room.A1, M) if M else (x, block.D)
    return bool(_to_scores(gemm, n, block.C, A, width, own.b1, own.W2, own.b2, summand, room.scratch))


@compiled_within
def forward_together(gemm: int, block: Block, own: Own, room: Room, n: int, summands: Array) -> bool:
    """The rest of (1) to (3), once all lanes have told their summands: the scores, transposed, into `room.dS`.

    Returns whether all was bounded: as |dS| <= 1, dZ1 is then bounded, too.
    """
    if block.F < block.D:
        A1, M = room.A1, block.M
        add_up(summands, n * M, A1)
        return bool(_to_scores(gemm, n, block.C, A1, M, own.b1, own.W2, own.b2, room.dS, room.scratch))
    add_up(summands, block.C * n, room.dS)
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
def backward(gemm: int, block: Block, own: Own, room: Room, x: Array, n: int) -> None:
    """(8) to (12), but for dW1: from dS^T to dZ1 and the gradients of W2, b1 and b2."""
    M, C = block.M, block.C
    dZ1, dS = room.dZ1[: n * M], room.dS
    if M:
        product_tt(gemm, n, C, M, dS, n, own.W2, C, dZ1, M, room.scratch)
        relu_gradient(dZ1, room.A1)
        column_sums(dZ1, n, own.db1)
    A, width = (room.A1, M) if M else (x, block.D)
    product_tt(gemm, width, n, C, A, width, dS, n, own.dW2, C, room.scratch)
    row_sums(dS, n, own.db2)


@compiled_within
def backward_to_rows(gemm: int, block: Block, own: Own, room: Room, x: Array, n: int, begin: int, end: int) -> None:
    """(11): some rows of the lane's part of dW1."""
    M = block.M
    product_at(
        gemm, end - begin, n, M, x[block.row + begin :], block.D, room.dZ1, M, own.dW1[begin * M :], M, room.scratch
    )


FINISHED, NOT_FINITE = 0, 1
MEASURE, OBJECTIVE = 1, 2  # flags
PIECE = 1 << 16  # weights of W1 updated at a time
AHEAD_BYTES = 1 << 16  # of a batch's rows up to which they are fetched during the step before


@compiled_and_kept
def run_steps(
    team: Team, block: Block, vectors: tuple[Array, Array, Array], own: Own, room: Room, rule: Rule, gemm: int,
    X: Array, y: Array, weights: Array, rates: Array, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, int, int, float]:  # fmt: skip
    """Lane 0 does its share of one step for each batch of a stretch; see `engine.Engine.run` for what that means.
    The other lanes do theirs of whatever stretches lane 0 announces, until there is none for a while.

    Args:
        team: what the lanes have in common.
        block, vectors, own, room: see `shares.Share`.
        rule: how a gradient becomes a step.
        gemm: address of BLAS's product.
        X, y, weights, rates: lane 0's stretch, X flat; weights (0,) for none.
        flags: MEASURE and OBJECTIVE, as in `Engine.run`.
        t: updates made so far.
        losses: (K,) filled by lane 0 with each step's loss; NaN for a skipped batch.
        norm: (1,) filled by lane 0 with the last gradient norm, where one was computed.

    Returns:
        FINISHED or NOT_FINITE, steps done, updates made so far, the last loss.
    """
    outcome = FINISHED, 0, t, math.nan
    copies = own.q, own.s1, own.s2
    if block.lane == 0:
        announce(team, X, y, weights, rates, flags, t)
    while block.lane == 0 or announced(team, block.lane):
        if block.lane > 0:
            X, y, weights, rates, flags, t = stretch_announced(team, X, y, weights, rates)
        for i in range(block.n_copied):
            copy_share(False, block, vectors[i], copies[i])
        outcome = _share_of_steps(team, block, own, room, rule, gemm, X, y, weights, rates, flags, t, losses, norm)
        for i in range(block.n_copied):
            copy_share(True, block, vectors[i], copies[i])
        meet(team, block.lane)
        if block.lane == 0:
            break
    return outcome


@compiled_within
def _share_of_steps(
    team: Team, block: Block, own: Own, room: Room, rule: Rule, gemm: int, X: Array, y: Array, weights: Array,
    rates: Array, flags: int, t: int, losses: Array, norm: Array,
) -> tuple[int, int, int, float]:  # fmt: skip
    """The lane's share of all steps of a stretch; see `run_steps`."""
    lane, D, B, n_weights = block.lane, block.D, block.B, block.n_weights
    loss = math.nan
    for k in range(rates.size):
        rate, first, n = rates[k], k * B, min(B, y.size - k * B)
        x, labels, w = X[first * D : (first + n) * D], y[first : first + n], weights[first : first + n]
        total_weight = sum_of(w) if w.size else float(n)
        if total_weight == 0:
            if lane == 0:
                losses[k] = math.nan
            continue

        now = parity(team, lane)
        notes = team.notes[now]
        if flags & OBJECTIVE:
            notes[lane, WEIGHTS] = sum_of_squares(own.q[: min(n_weights, block.counted)])
        safe = _forward(team, block, own, room, gemm, X, first + n, x, n, now)
        dS, row_losses = room.dS[: block.C * n], room.row_losses[:n]
        safe &= softmax_gradient(dS, n, labels, w, total_weight, room.top, room.total, room.part, row_losses)
        loss = sum_of(row_losses)
        safe &= math.isfinite(loss)
        if lane == 0:
            losses[k] = loss
            if flags & OBJECTIVE and rule.optimizer != ADAMW:
                losses[k] += rule.r / 2 * sum_of(notes[:, WEIGHTS])
        _fetch_ahead(X, (first + n) * D, n * D, 2)

        backward(gemm, block, own, room, x, n)
        whole = flags & MEASURE or rule.clip > 0 or not safe
        _backward_to_first(team, block, own, room, rule, gemm, x, n, whole, rate, t)
        _fetch_ahead(X, (first + n) * D, n * D, 3)
        if whole:
            length = _whole_norm(team, block, own, rule, notes)
            if lane == 0:
                norm[0] = length
            if not (math.isfinite(loss) and math.isfinite(length)):
                return NOT_FINITE, k, t, loss
            if rule.clip > 0 and length > rule.clip:
                scale(own.g, rule.clip / length)

        t += 1
        r_due = 0.0 if whole and rule.optimizer != ADAMW else rule.r
        _update(rule, own, 0 if whole else own.W1.size, n_weights, rate, r_due, t)
        _update(rule, own, n_weights, own.q.size, rate, 0.0, t)
    return FINISHED, rates.size, t, loss


@compiled_within
def _forward(
    team: Team, block: Block, own: Own, room: Room, gemm: int, X: Array, next_row: int, x: Array, n: int, now: int
) -> bool:
    """(1) to (3) for the rows x (n D,), with the other lanes. Returns whether all was bounded."""
    lane, summands, notes = block.lane, team.summands[now], team.notes[now]
    # One lane looks at the rows or, where that is less to read, at the gradient; several would have to meet.
    safe = team.lanes > 1 or n * block.D < 2 * own.q.size
    if safe:
        safe = _bounded_part(block, team.lanes, x, n)
    safe &= forward_apart(gemm, block, own, room, x, n, summands[lane])
    notes[lane, SAFE] = safe
    _fetch_ahead(X, next_row * block.D, n * block.D, 0)
    meet(team, lane)
    _fetch_ahead(X, next_row * block.D, n * block.D, 1)
    safe = forward_together(gemm, block, own, room, n, summands)
    for other in range(team.lanes):
        safe &= notes[other, SAFE] != 0
    return bool(safe)


@compiled_within
def _backward_to_first(
    team: Team, block: Block, own: Own, room: Room, rule: Rule, gemm: int, x: Array, n: int, whole: bool, rate: float,
    t: int,
) -> None:  # fmt: skip
    """(11), and W1's update too unless the `whole` gradient is asked for.

    Lanes do both by pieces, so that the update finds the gradient in cache. In one lane BLAS may use several threads,
    which pieces would hold up.
    """
    F, M = block.F, block.M
    piece = F if team.lanes == 1 else PIECE // M + 1
    for begin in range(0, F if M else 0, piece):
        end = min(begin + piece, F)
        backward_to_rows(gemm, block, own, room, x, n, begin, end)
        if not whole:
            _update(rule, own, begin * M, end * M, rate, rule.r, t + 1)


@compiled_within
def _whole_norm(team: Team, block: Block, own: Own, rule: Rule, notes: Array) -> float:
    """The norm of the gradients of all lanes, to which the penalty's are added before, but for adamw."""
    if rule.optimizer != ADAMW:
        add_penalty_gradient(own.q[: block.n_weights], own.g[: block.n_weights], rule.r)
    notes[block.lane, GRADIENT] = sum_of_squares(own.g[: block.counted])
    meet(team, block.lane)
    return math.sqrt(sum_of(notes[:, GRADIENT]))


@compiled_within
def _bounded_part(block: Block, lanes: int, x: Array, n: int) -> bool:
    """Whether the part of the rows x (n D,) that the lane looks at for all is bounded."""
    D, row, F = block.D, block.row, block.F
    if F == D:
        return bool(bounded(x[n * block.lane // lanes * D : n * (block.lane + 1) // lanes * D]))
    safe = True
    for i in range(n):
        safe &= bounded(x[i * D + row : i * D + row + F])
    return bool(safe)


@compiled_within
def _update(rule: Rule, own: Own, begin: int, end: int, rate: float, r: float, t: int) -> None:
    """The optimiser's step on some of the lane's numbers; L2 strength r is not yet in the gradient."""
    p = slice(begin, end)
    update(rule.optimizer, own.q[p], own.g[p], own.s1[p], own.s2[p], rate, r, rule.h, t)


@compiled
def _fetch_ahead(X: Array, begin: int, size: int, quarter: int) -> None:
    """Begins to fetch a quarter of the next batch's rows; all at once would hold up the step."""
    if size * X.itemsize <= AHEAD_BYTES:
        first = begin + size * quarter // 4
        for i in range(first, min(X.size, first + size // 4), CACHE_LINE // X.itemsize):
            fetch(X, i)
