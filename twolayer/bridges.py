"""Parameters from and to PyTorch's Sequential(Linear, ReLU, Linear). The way from and to scikit-learn's MLPClassifier
is in `estimator`.

A Linear keeps its weight as (outputs, inputs), the transpose of W1 and W2; nothing else differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twolayer.network.model import Params
from twolayer.utils.errors import import_extra

if TYPE_CHECKING:
    import torch


def params_from_torch(network: torch.nn.Sequential) -> Params:
    """The parameters of a Sequential(Linear, ReLU, Linear), or of a Sequential(Linear), copied.

    Args:
        network: with biases, in float32 or float64, on any device.

    Raises:
        ValueError: if it is another network.
    """
    torch = import_extra("torch", "bench", "params_from_torch")
    layers = list(network)
    kinds = [type(layer).__name__ for layer in layers]
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    if kinds not in (["Linear", "ReLU", "Linear"], ["Linear"]) or any(layer.bias is None for layer in linear):
        raise ValueError(f"wanted a Sequential(Linear, ReLU, Linear) with biases; got Sequential({', '.join(kinds)})")

    def array(tensor: Any) -> Any:
        return tensor.detach().cpu().numpy().copy()

    pairs = [(np.ascontiguousarray(array(layer.weight).T), array(layer.bias)) for layer in linear]
    W1, b1 = pairs[0] if len(pairs) == 2 else (None, None)
    return Params(W1, b1, *pairs[-1])


def params_to_torch(params: Params) -> torch.nn.Sequential:
    """A Sequential(Linear, ReLU, Linear) with these parameters, copied; without a hidden layer a Sequential(Linear).

    It gives scores; softmax or a cross-entropy loss comes after it.

    Args:
        params: Params of a D-H-C network.
    """
    library = import_extra("torch", "bench", "params_to_torch")
    layers: list[Any] = []
    for W, b in ((params.W1, params.b1), (params.W2, params.b2)):
        if W is None or b is None:
            continue
        if layers:
            layers.append(library.nn.ReLU())
        layer = library.nn.utils.skip_init(library.nn.Linear, *W.shape)
        layer.weight = library.nn.Parameter(library.tensor(W.T.copy()))
        layer.bias = library.nn.Parameter(library.tensor(b))
        layers.append(layer)
    return cast("torch.nn.Sequential", library.nn.Sequential(*layers))
