"""twolayer: affine -> ReLU -> affine -> softmax with L2, every gradient derived by hand.

    from twolayer import train
    result = train("configs/optdigits.yaml")

The names below load what they need when they are first used, so that importing the package is quick."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from twolayer.utils.version import __version__ as __version__

if TYPE_CHECKING:
    from twolayer.config import load_config as load_config
    from twolayer.interop.bridges import params_from_mlp as params_from_mlp
    from twolayer.interop.bridges import params_from_torch as params_from_torch
    from twolayer.interop.bridges import params_to_mlp as params_to_mlp
    from twolayer.interop.bridges import params_to_torch as params_to_torch
    from twolayer.interop.classifier import TwoLayerClassifier as TwoLayerClassifier
    from twolayer.network.backprop import loss_and_gradients as loss_and_gradients
    from twolayer.network.model import Params as Params
    from twolayer.network.model import forward as forward
    from twolayer.network.model import init_params as init_params
    from twolayer.reference.gradcheck import check_gradients as check_gradients
    from twolayer.runs.checkpoint import load_model as load_model
    from twolayer.solver.solver import Solver as Solver
    from twolayer.training.run import resume as resume
    from twolayer.training.run import train as train
    from twolayer.utils.errors import ConfigError as ConfigError
    from twolayer.utils.errors import DataError as DataError
    from twolayer.utils.errors import DivergedError as DivergedError
    from twolayer.utils.errors import RunError as RunError
    from twolayer.utils.errors import TwoLayerError as TwoLayerError
    from twolayer.views.curves import plot as plot

_HOMES = {
    name: home
    for home, names in {
        "config": "load_config",
        "interop.bridges": "params_from_mlp params_from_torch params_to_mlp params_to_torch",
        "interop.classifier": "TwoLayerClassifier",
        "network.backprop": "loss_and_gradients",
        "network.model": "Params forward init_params",
        "reference.gradcheck": "check_gradients",
        "runs.checkpoint": "load_model",
        "solver.solver": "Solver",
        "training.run": "resume train",
        "utils.errors": "ConfigError DataError DivergedError RunError TwoLayerError",
        "views.curves": "plot",
    }.items()
    for name in names.split()
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


class _MovedModule(ModuleType):
    """A module under its name of version 0.1, for one more release: each use warns and gives the public name."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        text = f"{self.__name__}.{name} has moved; use twolayer.{name}. The old name goes in the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules["twolayer"], name)


for _name in ("bridges", "estimator", "saved_model"):  # of the README of 0.1
    globals()[_name] = sys.modules[f"twolayer.{_name}"] = _MovedModule(f"twolayer.{_name}")
