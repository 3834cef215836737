"""How lanes, one thread each, share a stretch of steps: each trains some of the hidden units, as a network of its own.

The lanes' scores are summands of the network's, so once in a step every lane tells the others its own and waits for
theirs; all else that a step changes belongs to one lane. They wait spinning, since a step takes microseconds."""

from __future__ import annotations

from twolayer.compiled.jit import compiled
from twolayer.compiled.machine import CACHE_LINE, fetch, fetch_to_write, pause, publish, published
from twolayer.model import Array

APART = 16  # numbers of 8 bytes between those of two lanes: two cache lines, which processors fetch in pairs
WAITS = 20_000  # looks for another stretch before a lane goes to sleep: a millisecond or less
MEETINGS, STRETCHES = 0, 1  # what a lane counts
SAFE, WEIGHTS, GRADIENT = range(3)  # what it notes for the others: whether all is bounded, and two sums of squares


@compiled
def meet(counts: Array, lane: int, lanes: int) -> None:
    """Waits until all lanes have come here."""
    meeting = counts[lane * APART + MEETINGS] + 1
    publish(counts, lane * APART + MEETINGS, meeting)
    for other in range(lanes):
        while published(counts, other * APART + MEETINGS) < meeting:
            pause()


@compiled
def parity(counts: Array, lane: int) -> int:
    """Which of two copies of what lanes tell each other to use until the next meeting: the other one may still be read
    by a lane behind."""
    return int(counts[lane * APART + MEETINGS] & 1)


@compiled
def expect(tables: Array, lane: int, lanes: int, size: int, ours: bool) -> None:
    """Begins to fetch the lane's own table (`ours`), to write it, or those of the others, to read them."""
    for other in range(lanes):
        table = tables[other]
        if ours and other == lane and lanes > 1:
            for i in range(0, size, CACHE_LINE // tables.itemsize):
                fetch_to_write(table, i)
        elif not ours and other != lane:
            for i in range(0, size, CACHE_LINE // tables.itemsize):
                fetch(table, i)


@compiled
def announce(orders: Array, X: Array, y: Array, weights: Array, rates: Array, flags: int, t: int) -> None:
    """Tells the other lanes of a stretch: where its arrays begin, how long they are, and the rest."""
    orders[1], orders[2], orders[3], orders[4] = X.ctypes.data, y.ctypes.data, weights.ctypes.data, rates.ctypes.data
    orders[5], orders[6], orders[7], orders[8] = X.size, y.size, weights.size, rates.size
    orders[9], orders[10] = flags, t
    publish(orders, 0, orders[0] + 1)


@compiled
def announced(orders: Array, counts: Array, lane: int) -> bool:
    """Waits for a stretch that the lane has not done yet; false if there is none for a while."""
    for _ in range(WAITS):
        number = published(orders, 0)
        if number != counts[lane * APART + STRETCHES]:
            counts[lane * APART + STRETCHES] = number
            return True
        pause()
    return False
