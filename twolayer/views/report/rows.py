"""The rows themselves for a report or a boundary: read again from the data files of the run's config, in their own
units, split as the run split them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.config import load_config
from twolayer.data import Dataset, Preparation, load_dataset
from twolayer.data.sources import files_of
from twolayer.network.model import Array
from twolayer.runs.environment import recorded_digests
from twolayer.runs.folder import RunFolder
from twolayer.utils.errors import FileError


class RawRows(NamedTuple):
    """Rows in their own units: X (N, D) as the files have them, categories as one-hot features; class indices y (N,);
    their numbers (N,) in the source; and what prepares them."""

    X: Array
    y: Array
    row_numbers: NDArray[np.intp]
    preparation: Preparation

    def cells(self, k: int) -> dict[str, str]:
        """Return row k as its file has it, by column."""
        form, names = self.preparation.form, self.preparation.feature_names
        origins = form.origins if form else [(name, None) for name in names]
        found = {}
        for (column, category), value in zip(origins, self.X[k], strict=True):
            if category is None:
                found[column] = str(value).removesuffix(".0")
            elif value == 1:
                found[column] = category
            elif value:  # a missing category, filled with the means
                found[f"{column}={category}"] = f"{value:g}"
        return found


def raw_rows(
    run: Path, part: str, chosen: NDArray[np.intp] | None = None, numbers: NDArray[np.intp] | None = None
) -> RawRows:
    """Read the `train`, `validation` or `test` rows of a run again, all or those at the `chosen` positions, which must
    have these `numbers`.

    Raises:
        FileError: if a file is gone, cannot be read, or has another content than the run recorded.
    """
    folder = RunFolder(run)
    config = load_config(folder.config, require_files=False)
    files = [path for key in ("train", "validation", "test") for path in files_of(getattr(config.data, key))]
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists())
    dataset = _load(json.dumps({**config.data.model_dump(), "scale": "none"}), config.seed, stamps)
    recorded = recorded_digests(folder.environment)
    if recorded and sorted(recorded.values()) != sorted(dataset.digests.values()):
        changed = [path for path, digest in dataset.digests.items() if digest not in recorded.values()]
        raise FileError(f"{', '.join(changed[:3])}: expected the content that the run recorded, got another one")
    rows = getattr(dataset, part)
    if rows is None:
        raise FileError(f"the config names no {part} rows")
    if chosen is None:
        chosen = np.arange(len(rows.y))
    if chosen.max(initial=-1) >= len(rows.y):
        raise FileError(f"the {part} rows are fewer than when the run was made: the data files have changed")
    found = RawRows(rows.X.raw(chosen), rows.y[chosen], rows.row_numbers[chosen], dataset.preparation)
    if numbers is not None and not np.array_equal(numbers, found.row_numbers):
        raise FileError(f"the {part} rows are not those the run was made from: the data files have changed")
    return found


@lru_cache(maxsize=1)
def _load(data: str, seed: int, stamps: tuple[tuple[int, int], ...]) -> Dataset:
    """Load a config's data section (JSON); `stamps`, the files' sizes and times, make another entry of the cache."""
    return load_dataset(**json.loads(data), seed=seed, dtype="float64")
