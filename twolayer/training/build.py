"""From a config to its rows, its initial parameters and its solver; or to a network with a few rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from twolayer.config import Config
from twolayer.data import Dataset, load_dataset
from twolayer.network.model import Array, Params, init_params
from twolayer.solver.metrics import RowSource, weights_of_classes
from twolayer.solver.solver import Solver
from twolayer.utils.errors import ConfigError, DataError
from twolayer.utils.randomness import generator


class Start(NamedTuple):
    """The network that a training would start from and B of its rows, in float64."""

    params: Params
    X: Array  # (B, D), ready for the model
    y: NDArray[np.intp]  # (B,) class indices
    row_numbers: NDArray[np.intp]  # (B,) positions in their source file, counted from 0
    classes: tuple[str | int, ...]  # the labels by index


def load_start(config: Config, rows: Sequence[int] | None = None) -> Start:
    """Load training rows of a config, those counted from 0 or 20 at random, and draw its initial parameters; raise
    DataError for an error in the data or a row number that does not exist."""
    dataset = load_dataset(**config.data.model_dump(), seed=config.seed, dtype="float64")
    N = len(dataset.train.y)
    if rows is None:
        rows = generator(config.seed, "check").permutation(N)[:20].tolist()
    outside = [row for row in rows if not 0 <= row < N]
    if outside:
        raise DataError(f"row {outside[0]}: expected a training row from 0 to {N - 1}")
    picked = np.array(rows, np.intp)
    X = np.empty((len(picked), dataset.n_features))
    dataset.train.X.take(picked, X)
    y, row_numbers = (np.asarray(each[picked], np.intp) for each in (dataset.train.y, dataset.train.row_numbers))
    return Start(initial_params(config, dataset, np.float64), X, y, row_numbers, tuple(dataset.classes))


def initial_params(config: Config, dataset: Dataset, dtype: DTypeLike | None = None) -> Params:
    """Return the parameters that a training of this config starts from, in its float type or in `dtype`."""
    model = config.model
    return init_params(
        dataset.n_features,
        model.hidden,
        len(dataset.classes),
        rng=generator(config.seed, "init"),
        init=model.init,
        init_std=model.init_std,
        dtype=model.dtype if dtype is None else dtype,
    )


def read_data(config: Config, rows: Any = None, digests: Mapping[str, str] | None = None) -> Dataset:
    """Read the rows of a config, or those of a data frame in place of its file of training rows, of which `digests` are
    the SHA-256 by name; raise DataError for an error in the data, or more rows than there is memory for."""
    keys = config.data.model_dump()
    if rows is not None:
        keys["train"] = rows
    try:
        dataset = load_dataset(**keys, seed=config.seed, dtype=config.model.dtype)
    except MemoryError:
        raise DataError(
            f"{config.source or 'the config'}: data: the rows need more memory than is free; use fewer rows, or a .npy "
            "file, which is read from the disk as it is used"
        ) from None
    return replace(dataset, digests={**dataset.digests, **(digests or {})})


class JoinedRows:
    """The rows of two sources, the first's before the second's; see `metrics.RowSource`."""

    def __init__(self, first: RowSource, second: RowSource) -> None:
        self._first, self._second = first, second
        self.shape = (first.shape[0] + second.shape[0], first.shape[1])

    def take(self, rows: NDArray[np.intp], out: Array) -> None:
        """Fill `out` (B, D) with the rows of these numbers."""
        N = self._first.shape[0]
        for source, chosen, start in ((self._first, rows < N, 0), (self._second, rows >= N, N)):
            part = np.empty((int(chosen.sum()), out.shape[1]), out.dtype)
            source.take(rows[chosen] - start, part)
            out[chosen] = part


def make_solver(config: Config, dataset: Dataset, *, refit: bool = False) -> tuple[Solver, tuple[str, ...]]:
    """Return the solver of a config, at the start, on the training rows, and what it warns about.

    With `refit` it is on the training and validation rows together, which leaves none to judge by; the rates and the
    order of the rows are drawn from the same seed and schedule. A class weight of a label that is not in the data,
    weights that are all 0, or a monitor that has no value for these classes is a ConfigError.
    """
    n_classes = len(dataset.classes)
    if config.solver.monitor == "val_auc" and n_classes != 2:
        problem = f"val_auc needs two classes, the data has {n_classes}; use val_balanced_accuracy"
        raise _config_error(config, "solver.monitor", problem)
    settings = config.solver.model_dump(exclude={"class_weight"})
    settings |= {"seed": config.seed, "evaluate_rows": config.run.evaluate_rows}
    train, validation = dataset.train, dataset.validation
    X: RowSource = train.X
    y = train.y
    if refit and validation is not None:
        X, y = JoinedRows(train.X, validation.X), np.concatenate([train.y, validation.y])
        settings |= {"monitor": "train_loss", "patience": None}
    elif validation is not None:
        settings["validation"] = validation.X, validation.y
    settings |= {"class_weights": _class_weights(config, dataset, y)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        solver = Solver(initial_params(config, dataset), X, y, **settings)
    return solver, tuple(str(warning.message) for warning in caught)


def _class_weights(config: Config, dataset: Dataset, y: Array) -> Array | None:
    chosen = None if config.solver.class_weight == "none" else config.solver.class_weight
    try:
        return weights_of_classes(chosen, [str(label) for label in dataset.classes], y)
    except ValueError as error:
        raise _config_error(config, "solver.class_weight", str(error)) from None


def _config_error(config: Config, key: str, problem: str) -> ConfigError:
    return ConfigError([f"{config.source}: {key}: {problem}" if config.source else f"{key}: {problem}"])
