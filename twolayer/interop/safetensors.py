"""safetensors: the parameters under the names and in the layout of torch.nn.Sequential(Linear, ReLU, Linear), and all
else a model needs in the metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from twolayer.network.model import Array
from twolayer.runs.saved_model import Model
from twolayer.utils.errors import import_extra
from twolayer.utils.files import write_atomically
from twolayer.utils.version import __version__


def export_safetensors(model: Model, path: str | Path) -> None:
    """Writes `0.weight` (H, D), `0.bias`, `2.weight` (C, H) and `2.bias`; without a hidden layer `0.weight` (C, D) and
    `0.bias`, for a Sequential(Linear).

    The metadata's `preparation` is JSON: what `Preparation.to_header` gives (classes, columns, categories), and the D
    numbers each of `center`, `scale` and, where missing values are filled, `fill`: x -> (x - center) / scale.

    Args:
        model: a trained model.
        path: the file; replaced whole.

    Raises:
        MissingExtraError: if safetensors is not installed.
        RunError: if the file cannot be written.
    """
    safetensors = import_extra("safetensors.numpy", "safetensors", "export --to safetensors")
    params, preparation = model.params, model.preparation
    layers = [(W, b) for W, b in ((params.W1, params.b1), (params.W2, params.b2)) if W is not None and b is not None]
    tensors: dict[str, Array] = {}
    for number, (W, b) in zip(("0", "2"), layers, strict=False):
        tensors |= {f"{number}.weight": np.ascontiguousarray(W.T), f"{number}.bias": np.ascontiguousarray(b)}
    arrays = {name.removeprefix("data/"): array.tolist() for name, array in preparation.to_arrays().items()}
    stored = {"twolayer": __version__, **preparation.to_header(), **arrays}
    metadata = {"preparation": json.dumps(stored, allow_nan=False)}  # one entry: the order of several is not fixed
    write_atomically(path, safetensors.save(tensors, metadata))
