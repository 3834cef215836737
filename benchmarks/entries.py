"""The list of contestants: what each is called, what it needs, and how it gets ready."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import c_step, contestants, frameworks
from benchmarks.cases import Work
from benchmarks.contestants import Ready


class Entry(NamedTuple):
    """A contestant.

    Attributes:
        needs: packages it is made of, besides NumPy.
        prepare: from the work to the start line.
        peer: True for another project's.
    """

    needs: tuple[str, ...]
    prepare: Callable[[Work], Ready]
    peer: bool = False

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


FLOOR = "five products"
ENTRIES = {
    "twolayer numpy": Entry((), lambda work: contestants.twolayer_engine("numpy", work)),
    "twolayer numba": Entry(("numba",), lambda work: contestants.twolayer_engine("numba", work)),
    "plain NumPy": Entry((), contestants.plain_numpy),
    "scikit-learn": Entry(("sklearn",), contestants.scikit_learn, peer=True),
    "PyTorch eager": Entry(("torch",), lambda work: frameworks.pytorch(work, compile=False), peer=True),
    "torch.compile": Entry(("torch",), lambda work: frameworks.pytorch(work, compile=True), peer=True),
    "JAX jit+scan": Entry(("jax",), frameworks.jax_scan, peer=True),
    "Keras XLA": Entry(("keras", "jax"), frameworks.keras_xla, peer=True),
    "plain C": Entry((), c_step.plain_c, peer=True),
    FLOOR: Entry((), contestants.five_products),
}
