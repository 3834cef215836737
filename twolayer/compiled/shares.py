"""A lane's share of the network: which hidden units it trains, and the arrays it does that with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from twolayer.compiled.jit import compiled, compiled_apart
from twolayer.compiled.machine import CACHE_LINE
from twolayer.compiled.products import TILES, scratch_room
from twolayer.engine import TrainingState
from twolayer.model import Array, FlatParams, flat_zeros

WORTH_A_LANE = 1 << 16  # multiplications of a product: the least that gains more than meeting costs
BLAS_COLUMNS = 64  # the least width of a lane's large products; BLAS is slow at narrower ones


class Share(NamedTuple):
    """What stays the same from stretch to stretch for one lane; M hidden units are its own.

    Attributes:
        sizes: D, M, C, B and the network's H.
        column: the first of its hidden units.
        own: its parameters, the two vectors of optimiser's state (any vector where it keeps fewer) and the gradient,
            all laid out as `model.FlatParams` of a D-M-C network. A lane that has all units works on the training's
            own vectors.
        starts: where W2, b1 and b2 begin in them.
        vectors: the training's parameters and state.
        vector_starts: where W2, b1 and b2 begin in those.
        room: A1 (B M), dZ1 (B M), dS^T (C B), three of (B,) for the softmax, and the products' scratch.
        row_losses: (B,).
    """

    sizes: tuple[int, int, int, int, int]
    column: int
    own: tuple[Array, Array, Array, Array]
    starts: tuple[int, int, int]
    vectors: tuple[Array, Array, Array]
    vector_starts: tuple[int, int, int]
    room: tuple[Array, ...]
    row_losses: Array


def lanes_for(D: int, H: int, B: int, dtype: np.dtype[Any], threads: int) -> int:
    """How many lanes a network of this shape is worth, at most `threads`."""
    work = B * D * H
    most = H // BLAS_COLUMNS if work > TILES else min(work // WORTH_A_LANE, H * dtype.itemsize // CACHE_LINE)
    return max(1, min(threads, most))


def share_of(state: TrainingState, batch_size: int, lane: int, lanes: int) -> Share:
    """The share of one of so many lanes."""
    params, dtype = state.flat.params, state.flat.vector.dtype
    D, H, C, B = params.n_features, params.n_hidden, params.n_classes, batch_size
    begin, end = (_border(H, at, lanes, CACHE_LINE // dtype.itemsize) for at in (lane, lane + 1))
    M = end - begin
    slots = [slot.vector for slot in state.slots]
    vectors = [state.flat.vector, *slots, state.flat.vector, state.flat.vector][:3]
    own = flat_zeros(D, M, C, dtype)
    copies = vectors if lanes == 1 else [own.vector, own.vector.copy(), own.vector.copy()]
    room = (B * M, B * M, C * B, B, B, B, scratch_room(D, M, C, B, dtype))
    return Share(
        (D, M, C, B, H),
        begin,
        (copies[0], copies[1], copies[2], np.zeros_like(own.vector)),
        _starts(own),
        (vectors[0], vectors[1], vectors[2]),
        _starts(state.flat),
        tuple(np.empty(size, dtype) for size in room),
        np.empty(B),
    )


def _border(n: int, lane: int, lanes: int, whole: int) -> int:
    """Where a lane's part of n columns begins: at a multiple of `whole`, so that no cache line has two owners."""
    return n if lane == lanes else (n * lane // lanes + whole // 2) // whole * whole


def _starts(flat: FlatParams) -> tuple[int, int, int]:
    def start(view: Array) -> int:
        return (view.ctypes.data - flat.vector.ctypes.data) // view.itemsize

    _, b1, W2, b2 = flat.params
    return start(W2), start(b2 if b1 is None else b1), start(b2)


@compiled_apart
def copy_share(
    back: bool, lane: int, vector: Array, vector_starts: tuple[int, int, int], own: Array, starts: tuple[int, int, int],
    sizes: tuple[int, int, int, int, int], column: int,
) -> None:  # fmt: skip
    """Copies the lane's columns of W1, rows of W2 and numbers of b1 into `own`, or back; b2 is lane 0's."""
    D, M, C, _, H = sizes
    for i in range(D):
        _copy(back, vector[i * H + column :], own[i * M :], M)
    _copy(back, vector[vector_starts[0] + column * C :], own[starts[0] :], M * C)
    _copy(back, vector[vector_starts[1] + column :], own[starts[1] :], M)
    if lane == 0:
        _copy(back, vector[vector_starts[2] :], own[starts[2] :], C)


@compiled
def _copy(back: bool, ours: Array, theirs: Array, n: int) -> None:
    source, target = (theirs, ours) if back else (ours, theirs)
    for i in range(n):
        target[i] = source[i]
