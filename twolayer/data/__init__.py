"""Data: files and generators in, rows ready to train on out; what later rows need is kept in a Preparation."""

from twolayer.data.dataset import Dataset, Split, load_dataset
from twolayer.data.preparation import Preparation
from twolayer.data.rows import ArrayRows, Rows, ScaledRows

__all__ = ["ArrayRows", "Dataset", "Preparation", "Rows", "ScaledRows", "Split", "load_dataset"]
