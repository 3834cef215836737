"""What a campaign has accepted is also trained, made small: a config or a data file may look right and still not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.campaign import SurpriseError
from twolayer.config import Config, config_from_dict
from twolayer.runs.logs import read_history
from twolayer.training.run import resume, train
from twolayer.utils.errors import DivergedError, TwoLayerError

EPOCHS, HIDDEN, ROWS = 2, 64, 60


def warm_up(folder: Path) -> None:
    """Train once, unwatched: what the libraries load and store at their first use is not due to any input."""
    train(config_from_dict({"data": {"train": {"generator": "toy"}, "validation": 0}}), run_dir=folder)


def small(config: Config) -> dict[str, Any]:
    """Return a config as a dict, with its epochs, its hidden units and the rows of its generators capped.

    Sources that are files become made rows, since the config may name any file.
    """
    values = config.model_dump()
    data, solver = values["data"], values["solver"]
    for part in ("train", "validation", "test"):
        data[part] = _small_source(data[part])
    for key in ("label", "ignore", "categorical"):  # they belong to tables
        del data[key]
    data["missing"] = "refuse"
    values["model"]["hidden"] = min(values["model"]["hidden"], HIDDEN)
    solver["epochs"] = min(solver["epochs"], EPOCHS)
    solver["engine"] = "numpy"  # Numba would compile again for many of them, and its own cache is made of pickles
    return values


def trained(values: dict[str, Any], run_dir: Path) -> str:
    """Train a config given as a dict and open what is left.

    Args:
        values: the config.
        run_dir: the run's folder, which must not exist.

    Returns:
        `trained`, `diverged`, or `refused when trained`.

    Raises:
        SurpriseError: if the run folder is not what it should be.
    """
    try:
        config = config_from_dict(values)
        result = train(config, run_dir=run_dir)
    except DivergedError:
        resumed_or_diverged(run_dir)
        return "diverged"
    except TwoLayerError as error:
        if run_dir.exists():
            raise SurpriseError(f"a run that began ended in: {error}") from error
        return "refused when trained"
    if not np.isfinite(result.model.params.W2).all() or not np.isfinite(result.history["train_loss"]).all():
        raise SurpriseError("numbers that are not finite in a run that did not diverge")
    if "nothing to resume" not in resume(run_dir).notes[0]:
        raise SurpriseError("a finished run was trained again")
    return "trained"


def resumed_or_diverged(run_dir: Path) -> None:
    """Resume a diverged run: it must end the same way, in a folder that can be read."""
    try:
        resume(run_dir)
    except DivergedError:
        read_history(run_dir / "history.csv")
    else:
        raise SurpriseError("a run that diverged does not diverge when it is resumed")


def _small_source(source: Any) -> Any:
    if isinstance(source, str) or (isinstance(source, dict) and "generator" not in source):
        return {"generator": "spiral", "rows_per_class": ROWS // 3}
    if isinstance(source, dict):
        caps = {"rows": ROWS, "rows_per_class": ROWS, "classes": 5, "features": ROWS}
        return {key: min(value, caps[key]) if key in caps else value for key, value in source.items()}
    return source
