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
WIDTH_BYTES = 512  # of a row in each of more than two shards: narrower ones cost one thread more than 5 %
WIDE = 16  # features per hidden unit, and per class, from which on sharding the features is faster

# Columns of Shards.at: the first feature or unit and the end; where W2, b1 and b2 begin in q and g, and where those
# end; where the other arrays begin in `room`, after g.
BEGIN, END, W2, B1, B2, SIZE, A1, DZ1, DS, SOFTMAX, SCRATCH = range(11)


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
        at: (shards, 11) where everything begins; see the columns above.
        q, s1, s2: parameters and optimiser state ((shards, 0) where there is less), each row laid out as
            `model.FlatParams` of the shard's network.
        room: what a step computes: g, laid out as q; A1 and dZ1 (B, M); dS (C, B), scores and then their gradient, and
            (3, B) for the softmax, both of each thread's first shard only; scratch for the products.
        row_losses: (shards, B), as for dS.
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
    room: Array
    row_losses: Array


class Copies(NamedTuple):
    """How the training's parameters and state get into the shards for a chunk, and back.

    Attributes:
        vectors: the training's; empty where there is less state.
        blocks: (n, 7) matrices to copy: shard, rows, columns, where they begin in the training's vector, how far apart
            its rows are, where they begin in the shard's, and whether this shard gives them back. None where the one
            shard works on the training's own vectors.
    """

    vectors: tuple[Array, Array, Array]
    blocks: Array


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


def shards_of(state: TrainingState, batch_size: int, split: Partition) -> tuple[Shards, Copies]:
    """Make the arrays of all shards."""
    params, dtype = state.flat.params, state.flat.vector.dtype
    D, H, C, B = params.n_features, params.n_hidden, params.n_classes, batch_size
    n, line = D if split.by_features else H, CACHE_LINE // dtype.itemsize
    borders = [(n * s // split.shards + line // 2) // line * line for s in range(split.shards)] + [n]
    parts = [(begin, end) for begin, end in itertools.pairwise(borders)]
    sizes = [(end - begin, H) if split.by_features else (D, end - begin) for begin, end in parts]  # F, M of each
    starts = [_starts(F, M, C, dtype) for F, M in sizes]
    M, size = max(M for _, M in sizes), max(end for *_, end in starts)
    scratch = max(scratch_room(F, M, C, B, dtype) for F, M in sizes)
    begins = list(itertools.accumulate(whole_lines(each, dtype) for each in (size, B * M, B * M, C * B, 3 * B)))

    def rows(size: int, kind: Any = dtype) -> Array:
        return aligned_zeros(split.shards * whole_lines(size, kind), kind).reshape(
            split.shards, whole_lines(size, kind)
        )

    vector, none = state.flat.vector, np.empty(0, dtype)
    s1, s2 = [*(slot.vector for slot in state.slots), none, none][:2]
    if split.shards == 1:
        q, own1, own2 = vector[None], s1[None], s2[None]
    else:
        q, own1, own2 = rows(size), rows(size if s1.size else 0), rows(size if s2.size else 0)
    at = np.array([(*part, *start, *begins) for part, start in zip(parts, starts, strict=True)])
    room, row_losses = rows(begins[-1] + scratch), rows(B, np.float64)
    shards = Shards(D, H, C, B, split.by_features, at, q, own1, own2, room, row_losses)
    blocks = _blocks(_starts(D, H, C, dtype), at, D, H, C, split) if split.shards > 1 else []
    return shards, Copies((vector, s1, s2), np.array(blocks, np.int64).reshape(-1, 7))


def _blocks(starts: tuple[int, ...], at: Array, D: int, H: int, C: int, split: Partition) -> list[tuple[int, ...]]:
    """The rows of `Copies.blocks`; W2, b1 and b2 begin at `starts` in the training's vectors."""
    blocks: list[tuple[int, ...]] = []
    for s, (begin, end, at_W2, at_b1, at_b2, _) in enumerate(at[:, : SIZE + 1].tolist()):
        if split.by_features:  # every thread trains W2, b1 and b2 alike
            W1, column, M, n_b2, back = (end - begin, H, begin * H), 0, H, C, s == 0
        else:
            W1, column, M, n_b2, back = (D, end - begin, begin), begin, end - begin, C * (s == 0), True
        blocks += [
            (s, *W1, H, 0, True),
            (s, 1, M * C, starts[0] + column * C, 0, at_W2, back),
            (s, 1, M, starts[1] + column, 0, at_b1, back),
            (s, 1, n_b2, starts[2], 0, at_b2, back),
        ]
    return blocks


def _starts(F: int, M: int, C: int, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Where W2, b1 and b2 begin in the vector of an F-M-C network, and where it ends; see `model.FlatParams`."""
    sizes = F * M, (M or F) * C, M, C
    return tuple(itertools.accumulate(whole_lines(each, dtype) for each in sizes))


@compiled_apart
def shard_at(shards: Shards, index: int) -> Shard:
    """Return one shard."""
    at, q, room = shards.at[index], shards.q[index], shards.room[index]
    begin, n = at[BEGIN], at[END] - at[BEGIN]
    row, F, M = (begin, n, shards.H) if shards.by_features else (0, shards.D, n)
    first_W2, first_b1, first_b2 = at[W2], at[B1], at[B2]
    end_W2 = first_W2 + (M if M else F) * shards.C
    end_b1 = first_b1 + M
    end_b2 = first_b2 + (shards.C if shards.by_features or index == 0 else 0)
    return Shard(
        row, F, M, q[: at[SIZE]], shards.s1[index], shards.s2[index], room[: at[SIZE]],
        q[first_W2:end_W2], q[first_b1:end_b1], q[first_b2:end_b2],
        room[first_W2:end_W2], room[first_b1:end_b1], room[first_b2:end_b2],
        room[at[A1] : at[DZ1]], room[at[DZ1] : at[DS]], room[at[DS] : at[SOFTMAX]], room[at[SOFTMAX] : at[SCRATCH]],
        room[at[SCRATCH] :], first_b1, F * M if shards.by_features and index else at[SIZE],
    )  # fmt: skip


@compiled_within
def copy_shards(back: bool, copies: Copies, shards: Shards, first: int, last: int) -> None:
    """Copy the training's parameters and state into shards `first` to `last` - 1, or back."""
    _copy(np.bool_(back), copies.blocks, first, last, copies.vectors[0], shards.q)
    _copy(np.bool_(back), copies.blocks, first, last, copies.vectors[1], shards.s1)
    _copy(np.bool_(back), copies.blocks, first, last, copies.vectors[2], shards.s2)


@compiled_apart
def _copy(back: bool, blocks: Array, first: int, last: int, vector: Array, own: Array) -> None:
    for block in blocks if vector.size else blocks[:0]:
        shard, rows, columns, theirs, ld, ours = block[0], block[1], block[2], block[3], block[4], block[5]
        if shard < first or shard >= last or (back and not block[6]):
            continue
        for i in range(rows):
            for j in range(columns):
                if back:
                    vector[theirs + i * ld + j] = own[shard, ours + i * columns + j]
                else:
                    own[shard, ours + i * columns + j] = vector[theirs + i * ld + j]
