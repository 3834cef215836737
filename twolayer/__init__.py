"""twolayer: affine -> ReLU -> affine -> softmax with L2, every gradient derived by hand.

    from twolayer import train
    result = train("configs/optdigits.yaml")

The public names are listed in __init__.pyi. Each loads what it needs when it is first used, so that importing the
package is quick."""

import sys
import warnings
from types import ModuleType
from typing import Any

import lazy_loader

from twolayer.utils.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _MovedModule(ModuleType):
    """A module under its name of version 0.1, for one more release: each use warns and gives the public name."""

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        text = f"{self.__name__}.{name} has moved; use twolayer.{name}. The old name goes in the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules["twolayer"], name)


for _name in ("bridges", "estimator", "saved_model"):  # of the README of 0.1
    globals()[_name] = sys.modules[f"twolayer.{_name}"] = _MovedModule(f"twolayer.{_name}")
