"""How lanes, one thread each, share a stretch of steps: each trains a part of W1.

What a lane computes with its part is a summand: of the scores, if it has some of the hidden units, or of Z1, if it has
some of the features. So once in a step every lane tells the others its own and waits for theirs. They wait spinning,
since a step takes microseconds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from twolayer.network.model import Array, aligned_zeros, whole_lines
from twolayer.solver.compiled.jit import (
    CACHE_LINE,
    array_at,
    compiled,
    compiled_apart,
    compiled_within,
    fetch,
    fetch_to_write,
    pause,
    publish,
    published,
)

APART = 16  # numbers of 8 bytes between those of two lanes: two cache lines, which processors fetch in pairs
WAITS = 20_000  # looks for another stretch before a lane goes to sleep: a millisecond or less
MEETINGS, STRETCHES = 0, 1  # what a lane counts
SAFE, WEIGHTS, GRADIENT = range(3)  # what it notes for the others: whether all is bounded, and two sums of squares


class Team(NamedTuple):
    """What the lanes have in common.

    Attributes:
        lanes: how many they are.
        counts: (lanes APART,) what each lane counts.
        orders: (11,) the stretch announced.
        notes: (2, lanes, APART) float64, what lanes note for each other.
        summands: (2, lanes, n) at least, of the lanes: of the scores or, where they share the features, of Z1.
    """

    lanes: int
    counts: Array
    orders: Array
    notes: Array
    summands: Array


def team_of(lanes: int, n_summands: int, dtype: np.dtype[Any]) -> Team:
    """So many lanes that tell each other so many numbers in each step."""
    counts, orders = aligned_zeros(lanes * APART, np.int64), aligned_zeros(11, np.int64)
    notes = aligned_zeros(2 * lanes * APART, np.float64).reshape(2, lanes, APART)
    summands = aligned_zeros(2 * lanes * whole_lines(n_summands, dtype), dtype).reshape(2, lanes, -1)
    return Team(lanes, counts, orders, notes, summands)


@compiled
def meet(team: Team, lane: int) -> None:
    """Waits until all lanes have come here."""
    counts = team.counts
    meeting = counts[lane * APART + MEETINGS] + 1
    publish(counts, lane * APART + MEETINGS, meeting)
    for other in range(team.lanes):
        while published(counts, other * APART + MEETINGS) < meeting:
            pause()


@compiled_within
def parity(team: Team, lane: int) -> int:
    """Which of two copies of what lanes tell each other to use until the next meeting: the other one may still be read
    by a lane behind."""
    return int(team.counts[lane * APART + MEETINGS] & 1)


@compiled
def get_ready_to_write(table: Array, size: int) -> None:
    """Begins to fetch what a lane is to tell, from the lanes that read it last."""
    for i in range(0, size, CACHE_LINE // table.itemsize):
        fetch_to_write(table, i)


@compiled_apart
def add_up(tables: Array, size: int, total: Array) -> None:
    """total (size,) <- the sum of what all lanes told, in their order."""
    for lane in range(1, len(tables)):
        for i in range(0, size, CACHE_LINE // tables.itemsize):
            fetch(tables[lane], i)
    for i in range(size):
        total[i] = tables[0, i]
    for lane in range(1, len(tables)):
        for i in range(size):
            total[i] += tables[lane, i]


@compiled_within
def announce(team: Team, X: Array, y: Array, weights: Array, rates: Array, flags: int, t: int) -> None:
    """Tells the other lanes of a stretch: where its arrays begin, how long they are, and the rest."""
    orders = team.orders
    orders[1], orders[2], orders[3], orders[4] = X.ctypes.data, y.ctypes.data, weights.ctypes.data, rates.ctypes.data
    orders[5], orders[6], orders[7], orders[8] = X.size, y.size, weights.size, rates.size
    orders[9], orders[10] = flags, t
    publish(orders, 0, orders[0] + 1)


@compiled_within
def announced(team: Team, lane: int) -> bool:
    """Waits for a stretch that the lane has not done yet; false if there is none for a while."""
    counts = team.counts
    for _ in range(WAITS):
        number = published(team.orders, 0)
        if number != counts[lane * APART + STRETCHES]:
            counts[lane * APART + STRETCHES] = number
            return True
        pause()
    return False


@compiled_within
def stretch_announced(team: Team, X: Array, y: Array, weights: Array, rates: Array) -> Any:
    """X, y, weights, rates, flags and t as announced; of the arguments only their types count."""
    orders = team.orders
    X, y = array_at(orders[1], orders[5], X), array_at(orders[2], orders[6], y)
    weights, rates = array_at(orders[3], orders[7], weights), array_at(orders[4], orders[8], rates)
    return X, y, weights, rates, orders[9], orders[10]
