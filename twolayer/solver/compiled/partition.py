"""The partition of a network into shards, and the arrays of each.

It follows from the network's shape alone, never from the number of threads, and so does the order of every sum. A
thread has one shard or several consecutive ones; with one thread it has all of them."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from twolayer.network.model import Array, aligned_zeros, whole_lines
from twolayer.solver.compiled.jit import CACHE_LINE, compiled_apart, compiled_within
from twolayer.solver.compiled.products import scratch_room
from twolayer.solver.engine import TrainingState

WORTH_A_SHARD = 100_000  # multiplications of X W1: the fewest for which a second thread gains a fifth
MOST_SHARDS = 8
PAIR = 2 * CACHE_LINE  # bytes between the arrays of two shards: processors fetch lines in pairs
WIDTH_BYTES = 512  # of a row in each of more than two shards: narrower ones cost one thread more than 5 %
WIDE = 16  # features per hidden unit, and per class, from which on sharding the features is faster

# Columns of Shards.at.
BEGIN, END, W2, B1, B2, SIZE = range(6)


class Partition(NamedTuple):
    """How many shards there are, and of what: the features or else the hidden units."""

    shards: int
    by_features: bool


class Shards(NamedTuple):
    """All shards; each array has a row for each of them.

    Shards of the hidden units each train their columns of W1, their rows of W2 and their part of b1; b2 is shard 0's.
    Shards of the features each train their rows of W1; the thread's first shard trains W2, b1 and b2 for itself.

    Attributes:
        D, H, C, B: the network's sizes, and the rows of a full batch.
        by_features: what is sharded.
        at: (shards, 6) first feature or unit of each shard, and the end; where W2, b1 and b2 begin in q, and its end.
        q, s1, s2: parameters and optimiser state (unused where there is less), each row laid out as
            `model.FlatParams` of the shard's network.
        g: the gradient, laid out as q.
        A1, dZ1: (B, M) of each shard.
        dS: (C, B) the scores and then their gradient; this and the next two are used of each thread's first shard only.
        softmax: (3, B) for what the softmax computes row by row.
        row_losses: (B,) float64.
        scratch: for the products.
        vectors: parameters and state as the training has them. One shard works on them; more have copies.
        starts: where W2, b1 and b2 begin in those.
    """

    D: int
    H: int
    C: int
    B: int
    by_features: bool
    at: Array
    q: Array
    s1: Array
    s2: Array
    g: Array
    A1: Array
    dZ1: Array
    dS: Array
    softmax: Array
    row_losses: Array
    scratch: Array
    vectors: tuple[Array, Array, Array]
    starts: tuple[int, ...]


class Shard(NamedTuple):
    """One shard: its part of W1, F rows from `row` on and M columns; its arrays, flat (b2 is empty where another shard
    trains it); how many numbers of q are weights; and how many count for it in sums over the whole network."""

    row: int
    F: int
    M: int
    q: Array
    s1: Array
    s2: Array
    g: Array
    W2: Array
    b1: Array
    b2: Array
    dW2: Array
    db1: Array
    db2: Array
    A1: Array
    dZ1: Array
    dS: Array
    softmax: Array
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
    (D, H, C), B = params.sizes, batch_size
    n, line = D if split.by_features else H, CACHE_LINE // dtype.itemsize
    borders = [(n * s // split.shards + line // 2) // line * line for s in range(split.shards)] + [n]
    parts = list(itertools.pairwise(borders))
    sizes = [(end - begin, H) if split.by_features else (D, end - begin) for begin, end in parts]  # F, M of each
    at = np.array([(*part, *_starts(F, M, C, dtype)) for part, (F, M) in zip(parts, sizes, strict=True)])
    M, size = max(M for _, M in sizes), int(at[:, SIZE].max())
    scratch = max(scratch_room(F, M, C, B, dtype) for F, M in sizes)

    def rows(size: int, kind: Any = dtype) -> Array:
        width = whole_lines(size, kind) + PAIR // np.dtype(kind).itemsize
        return aligned_zeros(split.shards * width, kind).reshape(split.shards, width)

    s1, s2 = [*(slot.vector for slot in state.slots), *[np.empty(0, dtype)] * 2][:2]
    vectors = state.flat.vector, s1, s2
    q, own1, own2 = (each[None] if split.shards == 1 else rows(size if each.size else 0) for each in vectors)
    return Shards(
        D, H, C, B, split.by_features, at, q, own1, own2, g=rows(size), A1=rows(B * M), dZ1=rows(B * M),
        dS=rows(C * B), softmax=rows(3 * B), row_losses=rows(B, np.float64), scratch=rows(scratch),
        vectors=vectors, starts=_starts(D, H, C, dtype)[:3],
    )  # fmt: skip


def _starts(F: int, M: int, C: int, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Where W2, b1 and b2 begin in the vector of an F-M-C network, and where it ends; see `model.FlatParams`."""
    sizes = F * M, (M or F) * C, M, C
    return tuple(itertools.accumulate(whole_lines(each, dtype) for each in sizes))


@compiled_apart
def shard_at(shards: Shards, index: int, head: bool) -> Shard:
    """Return one shard, where the features are sharded without W2, b1 and b2 unless it is its thread's first, the
    `head`."""
    at, q, g = shards.at[index], shards.q[index], shards.g[index]
    begin, n = at[BEGIN], at[END] - at[BEGIN]
    row, F, M = (begin, n, shards.H) if shards.by_features else (0, shards.D, n)
    first_W2, first_b1, first_b2 = at[W2], at[B1], at[B2]
    end_W2 = first_W2 + (M if M else F) * shards.C
    end_b1 = first_b1 + M
    end_b2 = first_b2 + (shards.C if shards.by_features or index == 0 else 0)
    size = at[SIZE] if head or not shards.by_features else F * M
    return Shard(
        row, F, M, q[:size], shards.s1[index], shards.s2[index], g[:size],
        q[first_W2:end_W2], q[first_b1:end_b1], q[first_b2:end_b2],
        g[first_W2:end_W2], g[first_b1:end_b1], g[first_b2:end_b2],
        shards.A1[index], shards.dZ1[index], shards.dS[index], shards.softmax[index], shards.scratch[index],
        min(first_b1, size), F * M if shards.by_features and index else at[SIZE],
    )  # fmt: skip


@compiled_within
def copy_shards(back: bool, shards: Shards, first: int, last: int) -> None:
    """Copy the training's parameters and state into shards `first` to `last` - 1, or back, where there are copies."""
    if len(shards.at) > 1:
        for index in range(first, last):
            _copy(np.bool_(back), shards, index, shards.vectors[0], shards.q[index])
            _copy(np.bool_(back), shards, index, shards.vectors[1], shards.s1[index])
            _copy(np.bool_(back), shards, index, shards.vectors[2], shards.s2[index])


@compiled_apart
def _copy(back: bool, shards: Shards, index: int, vector: Array, own: Array) -> None:
    """Copy one of the vectors into one shard, or back."""
    H, C, at = shards.H, shards.C, shards.at[index]
    begin, M = at[BEGIN], at[END] - at[BEGIN]
    first_W2, first_b1, first_b2 = shards.starts
    if vector.size == 0:
        return
    if shards.by_features:
        _block(back, 1, M * H, vector[begin * H :], 0, own)
        begin, M = 0, H if not back or index == 0 else 0  # the others have trained the same W2 and b1
    else:
        _block(back, shards.D, M, vector[begin:], H, own)
    _block(back, 1, M * C, vector[first_W2 + begin * C :], 0, own[at[W2] :])
    _block(back, 1, M, vector[first_b1 + begin :], 0, own[at[B1] :])
    _block(back, 1, C if index == 0 or (shards.by_features and not back) else 0, vector[first_b2:], 0, own[at[B2] :])


@compiled_apart
def _block(back: bool, n: int, m: int, theirs: Array, ld: int, ours: Array) -> None:
    """Copy the n rows of m numbers that begin `ld` apart in `theirs` to `ours`, one after the other, or back."""
    for i in range(n):
        for j in range(m):
            if back:
                theirs[i * ld + j] = ours[i * m + j]
            else:
                ours[i * m + j] = theirs[i * ld + j]
