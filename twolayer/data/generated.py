"""Rows made by the package, from the seed: a spiral that no straight line parts, blobs that straight lines do part,
and a few rows to follow by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from twolayer.network.model import Array
from twolayer.utils.randomness import generator
from twolayer.utils.text import data_error, did_you_mean, shown, some

MAX_NUMBERS = 1 << 27  # a gibibyte of float64


def spiral(
    rng: np.random.Generator,
    classes: int = 3,
    rows_per_class: int = 100,
    noise: float = 0.2,
    turns: float = 2 / math.pi,
) -> tuple[Array, Array]:
    """Interleaved arms in the plane, one per class, as in CS231n's notes.

    Point k of arm c is at radius r = k / (rows_per_class - 1) and angle 2 pi (c / classes + turns r) + noise n, with n
    standard normal.

    Args:
        rng: where the random numbers come from.
        classes: C arms.
        rows_per_class: points on an arm.
        noise: standard deviation of the angle, radians.
        turns: how often an arm goes round; 2 / pi is an angle of 4.

    Returns:
        X (C rows_per_class, 2), y (C rows_per_class,).
    """
    y = np.repeat(np.arange(classes), rows_per_class)
    radius = np.tile(np.linspace(0, 1, rows_per_class), classes)
    angle = 2 * math.pi * (y / classes + turns * radius) + noise * rng.standard_normal(len(y))
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]), y


def blobs(
    rng: np.random.Generator, classes: int = 3, rows_per_class: int = 100, features: int = 2, noise: float = 0.2
) -> tuple[Array, Array]:
    """One round cloud per class, its centre on a circle of radius 1 in the first two features (on a line of steps of 1
    where there is one): straight lines part them while the noise is small against their distance.

    Args:
        rng: where the random numbers come from.
        classes: C.
        rows_per_class: rows of each.
        features: D.
        noise: standard deviation in each feature.

    Returns:
        X (C rows_per_class, D), y (C rows_per_class,).
    """
    y = np.repeat(np.arange(classes), rows_per_class)
    angle = 2 * math.pi * np.arange(classes) / classes
    centres = np.zeros((classes, features))
    if features == 1:
        centres[:, 0] = np.arange(classes)
    else:
        centres[:, 0], centres[:, 1] = np.cos(angle), np.sin(angle)
    return centres[y] + noise * rng.standard_normal((len(y), features)), y


def toy(rng: np.random.Generator, rows: int = 5, features: int = 4, classes: int = 3) -> tuple[Array, Array]:
    """A few rows of normal numbers, standard deviation 10, as CS231n's toy has them; row i is of class i mod C.

    Returns:
        X (rows, features), y (rows,).
    """
    return 10 * rng.standard_normal((rows, features)), np.arange(rows) % classes


GENERATORS: dict[str, Callable[..., tuple[Array, Array]]] = {"spiral": spiral, "blobs": blobs, "toy": toy}
_LEAST = {"classes": 2, "rows_per_class": 1, "rows": 2, "features": 1, "noise": 0.0, "turns": -math.inf}


def generate(source: Mapping[str, Any], seed: int, part: int) -> tuple[Array, Array, str]:
    """The rows of `{generator: NAME, ...}`; a key that is None counts as left out.

    Args:
        source: the generator and its arguments.
        seed: the run's seed.
        part: 0 for training, 1 for validation, 2 for test rows: each has random numbers of its own.

    Returns:
        X (N, D) float64, y (N,) and the generator's name.

    Raises:
        DataError: for an unknown generator or argument, or a value that cannot be.
    """
    given = {key: value for key, value in source.items() if value is not None}
    name = given.pop("generator", None)
    where = f"generator {name}"
    if not isinstance(name, str) or name not in GENERATORS:
        raise data_error("generator", f"one of {some(GENERATORS)}", shown(name), did_you_mean(str(name), GENERATORS))
    make = GENERATORS[name]
    known = make.__code__.co_varnames[1 : make.__code__.co_argcount]
    for key, value in given.items():
        if key not in known:
            raise data_error(where, f"one of {some(known)}", f"key {shown(key)}", did_you_mean(key, known))
        whole = isinstance(_LEAST[key], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
            raise data_error(where, "a whole number" if whole else "a finite number", f"{key}: {shown(value)}")
        if value < _LEAST[key]:
            raise data_error(where, f"at least {_LEAST[key]}", f"{key}: {value}")
    count = given.get("rows", given.get("rows_per_class", 100) * given.get("classes", 3))
    if count * given.get("features", 4) > MAX_NUMBERS:
        raise data_error(where, f"at most {MAX_NUMBERS:,} numbers in all", f"{count:,} rows")
    if count < given.get("classes", 3):
        raise data_error(where, "at least one row of each class", f"{count} rows for {given.get('classes', 3)} classes")
    X, y = make(generator(seed, "generate", part), **given)
    return X, y, where
