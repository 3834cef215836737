"""A lane's share of the network: the part of W1 that it trains, and the arrays it does that with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from twolayer.network.model import Array, FlatParams, aligned_zeros, flat_zeros
from twolayer.solver.compiled.jit import CACHE_LINE, compiled, compiled_apart
from twolayer.solver.compiled.products import scratch_room
from twolayer.solver.engine import TrainingState

WORTH_A_LANE = 1 << 16  # multiplications of a product: the least that gains more than meeting costs
WIDE = 16  # features per hidden unit, and per class, from which on it is quicker to share the features


class Split(NamedTuple):
    """How many lanes share the network, and what: its features, or else its hidden units."""

    lanes: int
    by_features: bool


class Block(NamedTuple):
    """Which part of the network is a lane's.

    Of lanes that share the hidden units, each trains its columns of W1, its rows of W2 and its part of b1; b2 is lane
    0's. Of lanes that share the features, each trains its rows of W1, and all train the same W2, b1 and b2.

    Attributes:
        lane: which lane.
        D, H, C, B: the network's sizes, and the rows of a full batch.
        row, F, column, M: the lane's part of W1: F rows from `row` on, M columns from `column` on.
        starts: where W2, b1 and b2 begin in the training's vectors.
        own_starts: where they begin in the lane's.
        counted: how many of its numbers the lane counts, where something is summed over the network's.
        n_weights: where the biases begin in its vectors.
        n_copied: how many vectors it copies for a stretch; none where it works on the training's own.
    """

    lane: int
    D: int
    H: int
    C: int
    B: int
    row: int
    F: int
    column: int
    M: int
    starts: tuple[int, int, int]
    own_starts: tuple[int, int, int]
    counted: int
    n_weights: int
    n_copied: int


class Own(NamedTuple):
    """What a lane trains.

    Attributes:
        q, s1, s2: parameters and the optimiser's state (any vector where it keeps less), laid out as
            `model.FlatParams` of an F-M-C network.
        g: the gradient, laid out alike.
        W1, W2, b1, b2: views of q, flat; b2 is empty where another lane trains it.
        dW1, dW2, db1, db2: views of g.
    """

    q: Array
    s1: Array
    s2: Array
    g: Array
    W1: Array
    W2: Array
    b1: Array
    b2: Array
    dW1: Array
    dW2: Array
    db1: Array
    db2: Array


class Room(NamedTuple):
    """What a lane computes on the way, flat.

    Attributes:
        A1, dZ1: (B M,).
        dS: (C B,) the scores, then their gradient, class after class.
        top, total, part: (B,) for the softmax.
        scratch: for the products.
        row_losses: (B,).
    """

    A1: Array
    dZ1: Array
    dS: Array
    top: Array
    total: Array
    part: Array
    scratch: Array
    row_losses: Array


class Share(NamedTuple):
    """What stays the same from stretch to stretch for one lane.

    Attributes:
        block: which part of the network is its.
        vectors: the training's parameters and state, of which q, s1 and s2 of `own` are parts.
        own: what it trains.
        room: what it computes on the way.
    """

    block: Block
    vectors: tuple[Array, Array, Array]
    own: Own
    room: Room


def split_for(D: int, H: int, C: int, B: int, dtype: np.dtype[Any], threads: int) -> Split:
    """What gives a network of this shape most lanes, at most `threads`, each with a cache line of every row at least.

    Lanes that share the units each read the whole batch, and tell each other scores; those that share the features
    read a part of it each and tell each other Z1, and all compute what comes after it.
    """
    most = min(threads, B * D * H // WORTH_A_LANE)
    by_units, by_features = (max(1, min(most, n * dtype.itemsize // CACHE_LINE)) for n in (H, D))
    if 3 * C > D:  # the three products with W2, which all would compute, take more than a lane of two spares with W1
        by_features = 1
    if by_features > 1 and (by_features > by_units or max(H, C) * WIDE < D):
        return Split(by_features, True)
    return Split(by_units, False)


def share_of(state: TrainingState, batch_size: int, lane: int, split: Split) -> Share:
    """The share of one of the lanes."""
    params, dtype = state.flat.params, state.flat.vector.dtype
    D, H, C, B = params.n_features, params.n_hidden, params.n_classes, batch_size
    n = D if split.by_features else H
    begin, end = (_border(n, at, split.lanes, CACHE_LINE // dtype.itemsize) for at in (lane, lane + 1))
    row, F, column, M = (begin, end - begin, 0, H) if split.by_features else (0, D, begin, end - begin)
    alone, trains_b2 = split.lanes == 1, lane == 0 or split.by_features
    slots = [slot.vector for slot in state.slots]
    vectors = [state.flat.vector, *slots, state.flat.vector, state.flat.vector][:3]
    flat, gradient = (state.flat if alone else flat_zeros(F, M, C, dtype)), flat_zeros(F, M, C, dtype)
    q, s1, s2 = vectors if alone else [flat.vector, *(flat_zeros(F, M, C, dtype).vector for _ in range(2))]
    counted = F * M if split.by_features and lane > 0 else len(q)
    n_copied = 0 if alone else 1 + len(slots)
    sizes = (B * M, B * M, C * B, B, B, B, scratch_room(F, M, C, B, dtype))
    room = [*(aligned_zeros(size, dtype) for size in sizes), aligned_zeros(B, np.float64)]
    starts = _starts(state.flat), _starts(flat)
    return Share(
        Block(lane, D, H, C, B, row, F, column, M, *starts, counted, flat.n_weights, n_copied),
        (vectors[0], vectors[1], vectors[2]),
        Own(q, s1, s2, gradient.vector, *_views(flat, trains_b2), *_views(gradient, trains_b2)),
        Room(*room),
    )


def _border(n: int, lane: int, lanes: int, whole: int) -> int:
    """Where a lane's part of n columns begins: at a multiple of `whole`, so that no cache line has two owners."""
    return n if lane == lanes else (n * lane // lanes + whole // 2) // whole * whole


def _starts(flat: FlatParams) -> tuple[int, int, int]:
    def start(view: Array) -> int:
        return (view.ctypes.data - flat.vector.ctypes.data) // view.itemsize

    _, b1, W2, b2 = flat.params
    return start(W2), start(b2 if b1 is None else b1), start(b2)


def _views(flat: FlatParams, with_b2: bool) -> list[Array]:
    """W1, W2, b1, b2, flat; empty where there is none."""
    W1, b1, W2, b2 = flat.params
    nothing = flat.vector[:0]
    return [nothing if view is None else view.reshape(-1) for view in (W1, W2, b1, b2 if with_b2 else None)]


@compiled_apart
def copy_share(back: bool, block: Block, vector: Array, own: Array) -> None:
    """Copies the lane's part of one of the training's vectors into one of its own, or back."""
    H, C, M, by_features = block.H, block.C, block.M, block.F < block.D
    for i in range(block.F):
        _copy(back, vector[(block.row + i) * H + block.column :], own[i * M :], M)
    if back and by_features and block.lane > 0:
        return  # what all lanes train alike, lane 0 copies back
    theirs, ours = block.starts, block.own_starts
    _copy(back, vector[theirs[0] + block.column * C :], own[ours[0] :], M * C)
    _copy(back, vector[theirs[1] + block.column :], own[ours[1] :], M)
    if by_features or block.lane == 0:
        _copy(back, vector[theirs[2] :], own[ours[2] :], C)


@compiled
def _copy(back: bool, ours: Array, theirs: Array, n: int) -> None:
    source, target = (theirs, ours) if back else (ours, theirs)
    for i in range(n):
        target[i] = source[i]
