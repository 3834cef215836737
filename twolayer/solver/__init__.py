"""Minibatch gradient descent on arrays: silent, without files."""

from twolayer.network.settings import SolverSettings
from twolayer.solver.solver import Solver

__all__ = ["Solver", "SolverSettings"]
