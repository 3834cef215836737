"""What a config asks for: its rows, and its solver at the start."""

from __future__ import annotations

import numpy as np

from twolayer.config import Config
from twolayer.data import Dataset, load_dataset
from twolayer.network.model import Array, init_params
from twolayer.solver.metrics import balanced_class_weights
from twolayer.solver.solver import Solver
from twolayer.utils.errors import ConfigError
from twolayer.utils.randomness import generator


def read_data(config: Config) -> Dataset:
    """The rows of a config.

    Raises:
        DataError: for a fault in the data.
    """
    return load_dataset(**config.data.model_dump(), seed=config.seed, dtype=config.model.dtype)


def make_solver(config: Config, dataset: Dataset) -> Solver:
    """The solver of a config, at the start, on a dataset.

    Raises:
        ConfigError: for a class weight of a label that is not in the data, or weights that are all 0.
    """
    rng = generator(config.seed, "init")
    model = config.model
    params = init_params(
        dataset.n_features,
        model.hidden,
        len(dataset.classes),
        rng=rng,
        init=model.init,
        init_std=model.init_std,
        dtype=model.dtype,
    )
    validation = dataset.validation
    settings = config.solver.model_dump(exclude={"class_weight"})
    return Solver(
        params,
        dataset.train.X,
        dataset.train.y,
        validation=(validation.X, validation.y) if validation else None,
        class_weights=_class_weights(config, dataset),
        seed=config.seed,
        evaluate_rows=config.run.evaluate_rows,
        **settings,
    )


def _class_weights(config: Config, dataset: Dataset) -> Array | None:
    chosen = config.solver.class_weight
    if chosen == "none":
        return None
    if chosen == "balanced":
        return balanced_class_weights(dataset.train.y, len(dataset.classes))
    by_name = {str(label): index for index, label in enumerate(dataset.classes)}
    unknown = sorted(set(chosen) - set(by_name))
    if unknown:
        raise ConfigError(
            [
                f"{config.source}: solver.class_weight: no class {label!r} in the data: {list(by_name)}"
                for label in unknown
            ]
        )
    weights = np.ones(len(by_name))
    for label, weight in chosen.items():
        weights[by_name[label]] = weight
    if not weights.any():
        raise ConfigError(
            [
                f"{config.source}: solver.class_weight: found 0 for every class in the data; wanted: one above 0 at "
                "least; a class that is left out has 1"
            ]
        )
    return weights
