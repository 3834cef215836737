"""How threads meet: a barrier, and what they publish to each other around it.

No thread waits long for one that does not run. A chunk begins with the threads that have come in time, and the first
thread dismisses the others, in the middle of a chunk, where it spends more time waiting for them than it would spend
doing their work. So on a busy machine the first thread works alone. None of this changes the bits: see `partition`.

    first thread       the others
    begin_chunk        join_chunk     until all have come, for PATIENCE at most
    step, barrier      step, barrier  once a step, after the forward pass
    barrier            barrier        at the end of the chunk, or after a step in which the others were dismissed
"""

from typing import Any, NamedTuple

import numpy as np

from twolayer.network.model import Array, aligned_zeros, whole_lines
from twolayer.solver.compiled.jit import (
    compiled_apart,
    compiled_within,
    pause,
    publish,
    published,
    ticks,
    yield_processor,
)

APART = 16  # int64 numbers between those of two threads: two cache lines, which processors fetch in pairs
SPINS = 250  # looks, two to ten microseconds, before a waiting thread offers the processor to others
FOREVER = np.int64(0)  # a limit of `wait`; 0 itself is a type of its own to Numba
ARRIVAL = 1 << 32  # times the number of a chunk: what its barriers are counted from
CHUNK, THREADS, LAST_BARRIER = range(3)  # what the first thread publishes in `orders`
SAFE, WEIGHTS, GRADIENT = range(3)  # what is noted for each shard: all numbers bounded? and two sums of squares


class Team(NamedTuple):
    """What the threads have in common.

    Attributes:
        counts: (threads APART,) the last barrier that each thread has reached, the first of a chunk when it comes.
        orders: (3,) the chunk begun, on how many threads, and the barrier at which they part.
        times: (3,) of the last chunk: ticks at its beginning and end, and those that the first thread waited.
        notes: (2, shards, APART) float64, what shards note for each other.
        summands: (2, shards, n) of the shards: of the scores or, where they share the features, of Z1.
        patience: ticks that may be lost in waiting before it counts; below 0: part at once.
    """

    counts: Array
    orders: Array
    times: Array
    notes: Array
    summands: Array
    patience: int


def team_of(shards: int, n_summands: int, dtype: np.dtype[Any], patience: int) -> Team:
    """Make the team of at most one thread for each shard; a shard has `n_summands` summands."""
    notes = aligned_zeros(2 * shards * APART, np.float64).reshape(2, shards, APART)
    summands = aligned_zeros(2 * shards * whole_lines(n_summands, dtype), dtype).reshape(2, shards, -1)
    counts, orders = aligned_zeros(shards * APART, np.int64), aligned_zeros(3, np.int64)
    return Team(counts, orders, np.zeros(3, np.int64), notes, summands, patience)


@compiled_apart
def wait(counts: Array, at: int, least: int, limit: int) -> int:
    """Wait until counts[at] is `least` or more, or for `limit` ticks. Returns the ticks waited."""
    began = 0
    spins = 0
    while published(counts, at) < least:
        if spins == 0:
            began = ticks()
        spins += 1
        if spins < SPINS:
            pause()
        else:
            yield_processor()
            if 0 < limit < ticks() - began:
                break
    return ticks() - began if spins else 0


@compiled_within
def begin_chunk(team: Team, chunk: int, threads: int) -> int:
    """Begin a chunk as the first thread. Returns how many threads take part: all that were asked for, or 1."""
    counts, orders, arrival = team.counts, team.orders, chunk * ARRIVAL
    team.times[0], team.times[2] = ticks(), 0
    for other in range(1, threads):
        team.times[2] += wait(counts, other * APART, arrival, team.patience)
    for other in range(1, threads):
        if published(counts, other * APART) < arrival:
            threads = 1
    counts[0], orders[THREADS], orders[LAST_BARRIER] = arrival, threads, -1
    publish(orders, CHUNK, chunk)
    return threads


@compiled_within
def join_chunk(team: Team, chunk: int, thread: int) -> int:
    """Come for a chunk as another thread. Returns how many take part; 1 if this one was too late."""
    publish(team.counts, thread * APART, chunk * ARRIVAL)
    wait(team.orders, np.int64(CHUNK), chunk, FOREVER)
    return 1 if published(team.orders, CHUNK) > chunk else int(team.orders[THREADS])


@compiled_apart
def barrier(team: Team, thread: int, threads: int) -> bool:
    """Wait until all threads have come here. Returns whether they part after this step.

    The first thread decides so at one barrier, and all of them read it at the next.
    """
    if threads == 1:
        return False
    counts, orders, times = team.counts, team.orders, team.times
    here = counts[thread * APART] + 1
    publish(counts, thread * APART, here)
    waited = 0
    for other in range(threads):
        waited += wait(counts, other * APART, here, FOREVER)
    parting = orders[LAST_BARRIER] == here
    if thread == 0 and orders[LAST_BARRIER] < 0:
        times[2] += waited
        lost_half = times[2] > team.patience and 2 * times[2] > ticks() - times[0]
        if lost_half or team.patience < 0:
            orders[LAST_BARRIER] = here + 1
    return bool(parting)


@compiled_apart
def all_reduce(tables: Array, size: int, total: Array) -> None:
    """total (size,) <- the sum over all shards, in their order."""
    for i in range(size):
        total[i] = tables[0, i]
    for shard in range(1, len(tables)):
        for i in range(size):
            total[i] += tables[shard, i]
