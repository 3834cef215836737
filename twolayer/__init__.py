"""twolayer: affine -> ReLU -> affine -> softmax with L2, every gradient derived by hand.

    from twolayer import train
    result = train("configs/optdigits.yaml")

The names below load what they need when they are first used, so that importing the package is quick."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from twolayer.utils.version import __version__

if TYPE_CHECKING:
    from twolayer.config import load_config as load_config
    from twolayer.interop import TwoLayerClassifier as TwoLayerClassifier
    from twolayer.network.backprop import loss_and_gradients as loss_and_gradients
    from twolayer.network.model import Params as Params
    from twolayer.network.model import forward as forward
    from twolayer.network.model import init_params as init_params
    from twolayer.reference.gradcheck import check_gradients as check_gradients
    from twolayer.runs.saved_model import load_model as load_model
    from twolayer.solver import Solver as Solver
    from twolayer.training import resume as resume
    from twolayer.training import train as train
    from twolayer.views.loss_curve import plot as plot

_HOMES = {
    "Params": "network.model",
    "Solver": "solver",
    "TwoLayerClassifier": "interop",
    "check_gradients": "reference.gradcheck",
    "forward": "network.model",
    "init_params": "network.model",
    "load_config": "config",
    "load_model": "runs.saved_model",
    "loss_and_gradients": "network.backprop",
    "plot": "views.loss_curve",
    "resume": "training",
    "train": "training",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twolayer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"twolayer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
