"""Data files of every format, damaged at random: each is read to rows that make sense, or refused with its place."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.campaign import TRAIN_SECONDS, Campaign, SurpriseError, Tally, memory_limit
from tests.fuzz.data_files import MAKERS, write_broken
from tests.fuzz.training import trained
from twolayer.data import Dataset, load_dataset
from twolayer.utils.errors import DataError
from twolayer.utils.randomness import generator


def fuzz_data(campaign: Campaign, count: int, train: int, seed: int) -> Tally:
    """Run the campaign.

    Args:
        campaign: runs the cases.
        count: how many sources, each with at least one damaged file.
        train: how many of the accepted ones are also trained.
        seed: of all that is random.
    """
    accepted = []
    with memory_limit():
        for number in range(count):
            if campaign.case(number, partial(_read, campaign.folder, seed, number)) == "accepted":
                accepted.append(number)
    for number in accepted[:: max(1, len(accepted) // max(train, 1))][:train]:
        campaign.case(number, partial(_trained, campaign.folder, seed, number), TRAIN_SECONDS)
    return campaign.tally


def _source(folder: Path, seed: int, number: int) -> tuple[dict[str, Any], Path, np.random.Generator]:
    """Write the files of a case; the keywords to read them with, and the damaged file."""
    rng = generator(seed, "fuzz", number)
    make = MAKERS[number % len(MAKERS)]
    files, keys = make(rng)
    broken = write_broken(files, folder, rng)
    for part in ("train", "test", "validation"):
        keys[part] = _placed(keys.get(part), folder)
    keys["scale"] = str(rng.choice(["none", "center", "standardize", "max"]))
    if keys.get("test") is None:
        keys["test"] = float(rng.choice([0, 0, 0.25]))
    if keys.get("validation") is None:
        keys["validation"] = float(rng.choice([0, 0.2]))
    return keys, broken, rng


def _placed(source: Any, folder: Path) -> Any:
    if isinstance(source, dict):
        return {key: str(folder / name) for key, name in source.items()}
    return None if source is None else str(folder / source)


def _read(folder: Path, seed: int, number: int) -> str:
    keys, broken, rng = _source(folder, seed, number)
    try:
        dataset = load_dataset(**keys, dtype=str(rng.choice(["float32", "float64"])))
    except DataError as error:
        return _refused(error, folder)
    _require_sound(dataset)
    try:  # the same damaged file, as rows to be predicted
        X, y = dataset.preparation.read(broken)
    except DataError as error:
        _refused(error, folder)
    else:
        if not np.isfinite(X).all() or (y is not None and not set(y.tolist()) <= set(range(len(dataset.classes)))):
            raise SurpriseError("rows to be predicted that are not finite, or of no class")
    return "accepted"


def _refused(error: DataError, folder: Path) -> str:
    if str(folder) not in str(error) or not str(error).isprintable():
        raise SurpriseError(f"a refusal without the file's name, or not on one line: {error}") from error
    return "refused"


def _require_sound(dataset: Dataset) -> None:
    """Raise SurpriseError for rows that no network could take."""
    for part in (dataset.train, dataset.validation, dataset.test):
        if part is None:
            continue
        n, C = part.X.shape[0], len(dataset.classes)
        rows = np.empty(part.X.shape, dataset.preparation.dtype)
        part.X.take(np.arange(n), rows)
        if not (n == len(part.y) == len(part.row_numbers) > 0 and dataset.n_features == rows.shape[1]):
            raise SurpriseError(f"{n} rows, {len(part.y)} labels, {len(part.row_numbers)} row numbers")
        if not np.isfinite(rows).all() or part.y.max() >= C or C < 2:
            raise SurpriseError("rows that are not finite, or of no class")


def _trained(folder: Path, seed: int, number: int) -> str:
    keys, _, _ = _source(folder, seed, number)
    values = {"data": keys, "model": {"hidden": 8}, "solver": {"epochs": 2}, "run": {"evaluate_rows": 1000}}
    return trained(values, folder / "run")
