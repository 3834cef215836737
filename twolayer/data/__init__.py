"""Data: from files of several formats, or a seed, to rows the solver can take batches from."""

from twolayer.data.dataset import Dataset, Split, load_dataset
from twolayer.data.preparation import Preparation
from twolayer.data.rows import ArrayRows, ScaledRows

__all__ = ["ArrayRows", "Dataset", "Preparation", "ScaledRows", "Split", "load_dataset"]
