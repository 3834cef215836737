"""What the compiled engine's tricks gain: a step with each of them and without, turn by turn.

Without a trick, the engine runs as `python -m benchmarks.tricks NAME`, which takes the requests of `worker`."""

from __future__ import annotations

import importlib
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cases import Shape
from benchmarks.race import SECONDS, Contestant
from benchmarks.worker import serve


class Trick(NamedTuple):
    """A trick: the network that shows it best; module of `solver.compiled`, names and values that switch it off."""

    shape: Shape
    module: str
    off: dict[str, Any]


def _by_units(D: int, H: int, C: int, B: int, dtype: Any) -> Any:
    from twolayer.solver.compiled.partition import split_for

    return split_for(1, H, 1, B * D, dtype)


TRICKS = {
    "a second thread": Trick(Shape(784, 128, 10, 128), "engine", {"usable_threads": lambda: 1}),
    "a second thread, small": Trick(Shape(64, 100, 10, 32), "engine", {"usable_threads": lambda: 1}),
    "sharding features": Trick(Shape(784, 30, 10, 64), "engine", {"split_for": _by_units}),
    "tiles, larger products": Trick(Shape(784, 128, 10, 128), "products", {"CACHED_BYTES": 0, "PAGES": 0}),
    "fetching ahead": Trick(Shape(64, 32, 10, 64), "steps", {"AHEAD": 0}),
    "bounds in place of norms": Trick(Shape(784, 128, 10, 128), "layers", {"BOUND": 0.0}),
    "tiny numbers as 0": Trick(Shape(4, 10, 3, 5), "steps", {"FLUSH": 0}),
    "exponentials in registers": Trick(Shape(64, 32, 10, 64), "layers", {"exp_of_nonpositive": np.exp}),
}


class Gain(NamedTuple):
    """Microseconds a step with a trick and without, medians, and the ratio turn by turn (median)."""

    trick: str
    shape: Shape
    with_us: float
    without_us: float
    ratio: float


def measure_tricks(rounds: int, say: Callable[[str], None] = lambda _: None) -> list[Gain]:
    """Measure all tricks, `rounds` turns each. Code without a trick is compiled for that and kept nowhere."""
    gains = []
    for name, trick in TRICKS.items():
        say(f"{name}: {trick.shape}")
        with ExitStack() as stack:
            cache = {"NUMBA_CACHE_DIR": stack.enter_context(TemporaryDirectory())}
            engine = Contestant("with", "benchmarks.worker", "twolayer numba")
            engines = [engine, Contestant("without", "benchmarks.tricks", name, variables=cache)]
            for each in engines:
                stack.enter_context(each).ask({"shape": trick.shape, "optimizer": "momentum"})
            turns = [
                [statistics.median(each.ask({"seconds": SECONDS})["us"]) for each in engines] for _ in range(rounds)
            ]
        ratio = statistics.median(without / with_it for with_it, without in turns)
        gains.append(Gain(name, trick.shape, *(statistics.median(each) for each in zip(*turns, strict=True)), ratio))
    return gains


def switch_off(name: str) -> None:
    """Switch a trick off in this process, before anything is compiled."""
    trick = TRICKS[name]
    module = importlib.import_module(f"twolayer.solver.compiled.{trick.module}")
    for constant, value in trick.off.items():
        setattr(module, constant, value)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    switch_off(sys.argv[1])
    serve("twolayer numba", sys.stdin, answers)
