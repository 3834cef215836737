"""The partition of a network into shards, and the arrays of each.

It follows from the network's shape alone, never from the number of threads, and so does the order of every sum. A
thread has one shard or several consecutive ones; with one thread it has all of them."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from twolayer.network.model import Array, FlatParams, aligned_zeros, flat_zeros, whole_lines
from twolayer.solver.compiled.jit import CACHE_LINE, compiled, compiled_apart
from twolayer.solver.compiled.products import scratch_room
from twolayer.solver.engine import TrainingState

WORTH_A_SHARD = 100_000  # multiplications of X W1: the fewest for which a second thread gains a fifth
MOST_SHARDS = 8
WIDTH_BYTES = 512  # of a row in each of more than two shards: narrower ones cost one thread more than 5 %
WIDE = 16  # features per hidden unit, and per class, from which on sharding the features is faster


class Partition(NamedTuple):
    """How many shards there are, and of what: the features or else the hidden units."""

    shards: int
    by_features: bool


class Shards(NamedTuple):
    """All shards: arrays with one row for each.

    Shards of the hidden units each train their columns of W1, their rows of W2 and their part of b1; b2 is shard 0's.
    Shards of the features each train their rows of W1; the thread's first shard trains W2, b1 and b2 for itself.

    Attributes:
        D, H, C, B: the network's sizes, and the rows of a full batch.
        by_features: what is sharded.
        n_copied: how many vectors are copied for a chunk; 0 where the one shard works on the training's own.
        borders: (shards + 1,) the first feature or unit of each shard, and the end of the last.
        starts: (3,) where W2, b1 and b2 begin in the training's vectors.
        layout: (shards, 4) where they begin in a shard's, and where that ends.
        vectors: the training's parameters and optimiser state.
        q, s1, s2: parameters and optimiser state (any vector where there is less), each row laid out as
            `model.FlatParams` of the shard's network.
        g: their gradient.
        A1, dZ1: (shards, n) room for (B, M) at least.
        dS: (shards, C B) scores, then their gradient, class after class; of each thread's first shard only.
        top, total, part, row_losses: (shards, B) for the softmax; as for dS.
        scratch: for the products.
    """

    D: int
    H: int
    C: int
    B: int
    by_features: bool
    n_copied: int
    borders: Array
    starts: Array
    layout: Array
    vectors: tuple[Array, Array, Array]
    q: Array
    s1: Array
    s2: Array
    g: Array
    A1: Array
    dZ1: Array
    dS: Array
    top: Array
    total: Array
    part: Array
    row_losses: Array
    scratch: Array


class Shard(NamedTuple):
    """One shard: its part of W1, F rows from `row` and M columns from `column` on; views of its parameters (b2 is empty
    where another shard trains it) and gradients; its arrays in `Shards`, flat; where the biases begin in q; and how
    many numbers of q count for it in sums over the whole network."""

    number: int
    row: int
    F: int
    column: int
    M: int
    W2: Array
    b1: Array
    b2: Array
    dW2: Array
    db1: Array
    db2: Array
    q: Array
    s1: Array
    s2: Array
    g: Array
    A1: Array
    dZ1: Array
    scratch: Array
    n_weights: int
    counted: int


def split_for(D: int, H: int, C: int, B: int, dtype: np.dtype[Any]) -> Partition:
    """Choose the shards of a network of this shape; each has a cache line of every row at least.

    Shards of the units each read the whole batch and sum up scores; those of the features each read a part of it and
    sum up Z1, and what comes after Z1 is computed by every thread.
    """

    def most(n: int) -> int:
        """A power of two, so that two and four threads have equal parts; at most for `n` features or units."""
        shards = MOST_SHARDS
        while shards > 1 and not (
            shards * WORTH_A_SHARD <= B * D * H
            and n * dtype.itemsize >= shards * (WIDTH_BYTES if shards > 2 else CACHE_LINE)
        ):
            shards //= 2
        return shards

    by_units, by_features = most(H), most(D)
    if 3 * C > D:  # the three products with W2 take more than a second thread saves with W1
        by_features = 1
    if by_features > 1 and (by_units == 1 or max(H, C) * WIDE < D):
        return Partition(by_features, True)
    return Partition(by_units, False)


def shards_of(state: TrainingState, batch_size: int, split: Partition) -> Shards:
    """Make the arrays of all shards."""
    params, dtype = state.flat.params, state.flat.vector.dtype
    D, H, C, B = params.n_features, params.n_hidden, params.n_classes, batch_size
    n, line = D if split.by_features else H, CACHE_LINE // dtype.itemsize
    borders = [(n * s // split.shards + line // 2) // line * line for s in range(split.shards)] + [n]
    parts = [end - begin for begin, end in itertools.pairwise(borders)]
    sizes = [(part, H) if split.by_features else (D, part) for part in parts]  # F, M of each
    slots = [slot.vector for slot in state.slots]
    vectors = [state.flat.vector, *slots, state.flat.vector, state.flat.vector][:3]
    layout = [_starts(flat_zeros(F, M, C, dtype)) for F, M in sizes]

    def rows(size: int, kind: Any = dtype) -> Array:
        return aligned_zeros(split.shards * whole_lines(size, kind), kind).reshape(split.shards, -1)

    size = max(end for *_, end in layout)
    own = [vector[None] for vector in vectors] if split.shards == 1 else [rows(size) for _ in vectors]
    M = max(M for _, M in sizes)
    scratch = max(scratch_room(F, M, C, B, dtype) for F, M in sizes)
    return Shards(
        D, H, C, B, split.by_features, 0 if split.shards == 1 else 1 + len(slots),
        np.array(borders), np.array(_starts(state.flat)[:3]), np.array(layout), (vectors[0], vectors[1], vectors[2]),
        own[0], own[1], own[2], rows(size), rows(B * M), rows(B * M),
        rows(C * B), rows(B), rows(B), rows(B), rows(B, np.float64), rows(scratch),
    )  # fmt: skip


def _starts(flat: FlatParams) -> tuple[int, int, int, int]:
    """Where W2, b1 and b2 begin in the vector, and where it ends."""

    def start(view: Array) -> int:
        return (view.ctypes.data - flat.vector.ctypes.data) // view.itemsize

    _, b1, W2, b2 = flat.params
    return start(W2), start(b2 if b1 is None else b1), start(b2), len(flat.vector)


@compiled
def shard_at(shards: Shards, index: int) -> Shard:
    """Return one shard."""
    begin, n = shards.borders[index], shards.borders[index + 1] - shards.borders[index]
    row, F, column, M = (begin, n, 0, shards.H) if shards.by_features else (0, shards.D, begin, n)
    at_W2, at_b1, at_b2, end = shards.layout[index]
    W2, b1 = slice(at_W2, at_W2 + (M if M else F) * shards.C), slice(at_b1, at_b1 + M)
    b2 = slice(at_b2, at_b2 + (shards.C if shards.by_features or index == 0 else 0))
    q, g = shards.q[index, :end], shards.g[index, :end]
    return Shard(
        index, row, F, column, M, q[W2], q[b1], q[b2], g[W2], g[b1], g[b2],
        q, shards.s1[index, :end], shards.s2[index, :end], g, shards.A1[index], shards.dZ1[index],
        shards.scratch[index], at_b1, F * M if shards.by_features and index else end,
    )  # fmt: skip


@compiled_apart
def copy_shards(back: bool, shards: Shards, first: int, last: int) -> None:
    """Copy the parts of shards `first` to `last` - 1 of the training's vectors into their own, or back."""
    for index in range(first, last):
        shard = shard_at(shards, index)
        if shards.n_copied > 0:
            _copy_shard(back, shards, shard, shards.vectors[0], shard.q)
        if shards.n_copied > 1:
            _copy_shard(back, shards, shard, shards.vectors[1], shard.s1)
        if shards.n_copied > 2:
            _copy_shard(back, shards, shard, shards.vectors[2], shard.s2)


@compiled
def _copy_shard(back: bool, shards: Shards, shard: Shard, vector: Array, own: Array) -> None:
    C, M, ours, theirs = shards.C, shard.M, shards.layout[shard.number], shards.starts
    for i in range(shard.F):
        _copy(back, vector[(shard.row + i) * shards.H + shard.column :], own[i * M :], M)
    if back and shards.by_features and shard.number > 0:
        return  # W2, b1 and b2 are trained alike by every thread
    _copy(back, vector[theirs[0] + shard.column * C :], own[ours[0] :], M * C)
    _copy(back, vector[theirs[1] + shard.column :], own[ours[1] :], M)
    _copy(back, vector[theirs[2] :], own[ours[2] :], shard.b2.size)


@compiled
def _copy(back: bool, ours: Array, theirs: Array, n: int) -> None:
    source, target = (theirs, ours) if back else (ours, theirs)
    for i in range(n):
        target[i] = source[i]
