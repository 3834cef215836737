"""The public names, once for type checkers and for `lazy_loader`, which imports each when it is first used."""

from .config import load_config as load_config
from .interop.bridges import params_from_mlp as params_from_mlp
from .interop.bridges import params_from_torch as params_from_torch
from .interop.bridges import params_to_mlp as params_to_mlp
from .interop.bridges import params_to_torch as params_to_torch
from .interop.classifier import TwoLayerClassifier as TwoLayerClassifier
from .network.backprop import loss_and_gradients as loss_and_gradients
from .network.model import Params as Params
from .network.model import forward as forward
from .network.model import init_params as init_params
from .reference.gradcheck import check_gradients as check_gradients
from .runs.checkpoint import load_model as load_model
from .solver.solver import Solver as Solver
from .training.run import resume as resume
from .training.run import train as train
from .utils.errors import ConfigError as ConfigError
from .utils.errors import DataError as DataError
from .utils.errors import DivergedError as DivergedError
from .utils.errors import RunError as RunError
from .utils.errors import TwoLayerError as TwoLayerError
from .views.curves import plot as plot

__version__: str
