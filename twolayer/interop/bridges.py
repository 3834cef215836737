"""Parameters from and to PyTorch's Sequential(Linear, ReLU, Linear) and scikit-learn's fitted MLPClassifier.

A Linear keeps its weight as (outputs, inputs), the transpose of W1 and W2; nothing else differs. An MLPClassifier for
three or more classes has the same softmax and the same parameters. A binary one has a single output s and
P(class 1) = 1 / (1 + e^-s), the softmax of the scores (0, s): on the way here the first column of W2 and b2 is 0, and
on the way back the output's weights are the difference of the two columns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.utils.errors import import_extra

if TYPE_CHECKING:
    import torch
    from sklearn.neural_network import MLPClassifier as MLP  # type: ignore[import-untyped]


def params_from_torch(network: torch.nn.Sequential) -> Params:
    """Return the parameters of a Sequential(Linear, ReLU, Linear), or of a Sequential(Linear), copied.

    It has biases, is in float32 or float64, and may be on any device.

    Raises:
        ValueError: if it is another network.
    """
    torch = import_extra("torch", "bench", "params_from_torch")
    layers = list(network)
    kinds = [type(layer).__name__ for layer in layers]
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    if kinds not in (["Linear", "ReLU", "Linear"], ["Linear"]) or any(layer.bias is None for layer in linear):
        raise ValueError(f"expected a Sequential(Linear, ReLU, Linear) with biases, got Sequential({', '.join(kinds)})")

    def array(tensor: Any) -> Any:
        return tensor.detach().cpu().numpy().copy()

    pairs = [(np.ascontiguousarray(array(layer.weight).T), array(layer.bias)) for layer in linear]
    W1, b1 = pairs[0] if len(pairs) == 2 else (None, None)
    return Params(W1, b1, *pairs[-1])


def params_to_torch(params: Params) -> torch.nn.Sequential:
    """Return a Sequential(Linear, ReLU, Linear) with these parameters, copied; a Sequential(Linear) if none is hidden.

    It gives scores; softmax or a cross-entropy loss comes after it.
    """
    library = import_extra("torch", "bench", "params_to_torch")

    def linear(W: Array, b: Array) -> Any:
        layer = library.nn.utils.skip_init(library.nn.Linear, *W.shape)
        layer.weight = library.nn.Parameter(library.tensor(W.T.copy()))
        layer.bias = library.nn.Parameter(library.tensor(b))
        return layer

    layers = [linear(params.W2, params.b2)]
    if params.W1 is not None and params.b1 is not None:
        layers = [linear(params.W1, params.b1), library.nn.ReLU(), *layers]
    return cast("torch.nn.Sequential", library.nn.Sequential(*layers))


def params_from_mlp(mlp: MLP) -> Params:
    """Return the parameters of a fitted MLPClassifier, copied; they give the same probabilities for the same rows.

    Args:
        mlp: fitted, on one label per row, with `hidden_layer_sizes=(H,)` and ReLU, or `()` for softmax regression.

    Raises:
        ValueError: if it is another network.
    """
    if len(mlp.coefs_) > 2:
        raise ValueError(f"expected an MLPClassifier with one hidden layer, got {len(mlp.coefs_) - 1} of them")
    if len(mlp.coefs_) == 2 and mlp.activation != "relu":
        raise ValueError(f"expected an MLPClassifier with activation='relu', got {mlp.activation!r}")
    if mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1:
        raise ValueError("expected an MLPClassifier for one label per row, got a multilabel one")
    W1, b1 = (mlp.coefs_[0].copy(), mlp.intercepts_[0].copy()) if len(mlp.coefs_) == 2 else (None, None)
    W2, b2 = mlp.coefs_[-1].copy(), mlp.intercepts_[-1].copy()
    if mlp.n_outputs_ == 1:
        W2 = np.concatenate([np.zeros_like(W2), W2], axis=1)  # (H, 2)
        b2 = np.concatenate([np.zeros_like(b2), b2])
    return Params(W1, b1, W2, b2)


def params_to_mlp(params: Params, classes: Sequence[Any] | Array | None = None) -> MLP:
    """Return a fitted MLPClassifier with these parameters, copied; it gives the same probabilities for the same rows.

    `classes` are the C labels in the order of the columns, ascending, as scikit-learn has them; 0..C-1 if None.

    Raises:
        ValueError: if the labels are not C ascending ones.
    """
    import_extra("sklearn", "sklearn", "params_to_mlp")
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
    from sklearn.neural_network import MLPClassifier

    labels = np.arange(params.n_classes) if classes is None else np.asarray(classes)
    if not np.array_equal(np.unique(labels), labels) or len(labels) != params.n_classes:
        raise ValueError(f"classes must be {params.n_classes} labels in ascending order; got {labels.tolist()}")
    W2, b2 = params.W2, params.b2
    if params.n_classes == 2:
        W2, b2 = W2[:, 1:] - W2[:, :1], b2[1:] - b2[:1]
    hidden = (params.n_hidden,) if params.n_hidden else ()
    mlp = MLPClassifier(hidden_layer_sizes=hidden, activation="relu", max_iter=1, batch_size=params.n_classes)
    with warnings.catch_warnings():  # one epoch on made-up rows gives the object its inner parts, and a warning
        warnings.simplefilter("ignore", ConvergenceWarning)
        mlp.fit(np.zeros((params.n_classes, params.n_features), params.dtype), labels)
    mlp.coefs_ = [W.copy() for W in (params.W1, W2) if W is not None]
    mlp.intercepts_ = [b.copy() for b in (params.b1, b2) if b is not None]
    return mlp
