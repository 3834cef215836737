"""A config's network before its first step, and some of its training rows: what explain and gradcheck look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.config import Config
from twolayer.data import load_dataset
from twolayer.network.model import Array, Params, init_params
from twolayer.utils.errors import DataError
from twolayer.utils.randomness import generator


class Start(NamedTuple):
    """Parameters and rows, in float64.

    Attributes:
        params: the network that training would start from.
        X: (B, D) model-ready rows.
        y: (B,) class indices.
        row_numbers: (B,) where each row stands in its source file, counted from 0.
        classes: the labels by index.
    """

    params: Params
    X: Array
    y: NDArray[np.intp]
    row_numbers: NDArray[np.intp]
    classes: tuple[str | int, ...]


def load_start(config: Config, rows: Sequence[int] | None = None, n_rows: int = 20) -> Start:
    """Loads the data of a config and draws its initial parameters.

    Args:
        config: the config.
        rows: which training rows, counted from 0; None draws `n_rows` at random.
        n_rows: how many to draw.

    Raises:
        DataError: for a fault in the data, or a row that is not there.
    """
    dataset = load_dataset(**config.data.model_dump(), seed=config.seed, dtype="float64")
    N = len(dataset.train.y)
    if rows is None:
        rows = generator(config.seed, "check").permutation(N)[:n_rows].tolist()
    outside = [row for row in rows if not 0 <= row < N]
    if outside:
        raise DataError(f"there is no training row {outside[0]}: the rows are counted from 0 to {N - 1}")
    picked = np.array(rows, np.intp)
    X = np.empty((len(picked), dataset.n_features))
    dataset.train.X.take(picked, X)
    params = init_params(
        dataset.n_features,
        config.model.hidden,
        len(dataset.classes),
        rng=generator(config.seed, "init"),
        init=config.model.init,
        init_std=config.model.init_std,
        dtype=np.float64,
    )
    y, row_numbers = dataset.train.y[picked], dataset.train.row_numbers[picked]
    return Start(params, X, np.asarray(y, np.intp), np.asarray(row_numbers, np.intp), tuple(dataset.classes))
