"""Rows the package makes from a seed: the spiral, and the five rows of the source texts' toy network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def spiral(
    rng: np.random.Generator, *, classes: int = 3, rows_per_class: int = 100, noise: float = 0.2
) -> tuple[Array, Array]:
    """Interleaved arms in the plane, one per class (after CS231n's example): no straight line can part them.

    Along an arm the radius rises evenly from 0 to 1 and the angle by 4 radians with it, plus Gaussian noise.

    Args:
        rng: where the noise comes from.
        classes: arms.
        rows_per_class: points on an arm.
        noise: standard deviation of the angle, radians.

    Returns:
        X (N, 2) and y (N,).
    """
    radius = np.tile(np.linspace(0, 1, rows_per_class), classes)
    y = np.repeat(np.arange(classes), rows_per_class)
    angle = 4 * radius + 2 * np.pi * y / classes + noise * rng.standard_normal(len(y))
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]), y


def toy(rng: np.random.Generator, *, rows: int = 5, classes: int = 3, features: int = 4) -> tuple[Array, Array]:
    """A few rows of random numbers, as the 4-10-3 network of CS231n's assignment has them: nothing to learn but by heart.

    Args:
        rng: where the numbers come from.
        rows: N.
        classes: C; each occurs if there are rows enough.
        features: D.

    Returns:
        X (N, D), of standard deviation 10, and y (N,).
    """
    return 10 * rng.standard_normal((rows, features)), rng.permutation(np.arange(rows) % classes)


GENERATORS: dict[str, Callable[..., tuple[Array, Array]]] = {"spiral": spiral, "toy": toy}
