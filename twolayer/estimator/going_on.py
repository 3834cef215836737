"""What a fitted estimator keeps of its solver, so that `warm_start` and `partial_fit` go on where it stopped, the
optimiser's state and the count of epochs included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from twolayer.network.model import Array
from twolayer.solver.solver import Solver
from twolayer.solver.state_dict import restore, state_arrays, state_header


class Checkpoint(NamedTuple):
    """A solver's state between two calls of fit.

    Attributes:
        arrays: as `solver_state.state_arrays` names them, copied.
        header: as `solver_state.state_header` makes it.
        optimizer: whose vectors `arrays` holds.
        seed: of the shuffles so far.
    """

    arrays: dict[str, Array]
    header: dict[str, Any]
    optimizer: str
    seed: int


def checkpoint_of(solver: Solver) -> Checkpoint:
    """The solver's state now."""
    arrays = {name: array.copy() for name, array in state_arrays(solver).items()}
    return Checkpoint(arrays, state_header(solver), solver.settings.optimizer, solver.settings.seed)


def epochs_done(checkpoint: Checkpoint | None) -> int:
    """Epochs finished at the checkpoint."""
    return 0 if checkpoint is None else int(checkpoint.header["progress"]["epoch"])


def go_on(solver: Solver, checkpoint: Checkpoint) -> None:
    """Puts a new solver, perhaps on other rows, where the checkpoint was.

    Steps are counted as if all epochs so far had been on the rows at hand; with the same rows that is what they were.

    Raises:
        ValueError: if the solver trains another network, or with another optimiser.
    """
    shapes = {name: array.shape for name, array in solver.params.named().items()}
    before = {name: array.shape for name, array in checkpoint.arrays.items() if "/" not in name}
    if shapes != before:
        raise ValueError(f"training cannot go on with other shapes: found {shapes}, wanted {before}; fit a clone")
    if solver.settings.optimizer != checkpoint.optimizer:
        raise ValueError(
            f"training cannot go on with another optimizer: found {solver.settings.optimizer!r}, wanted "
            f"{checkpoint.optimizer!r}; fit a clone"
        )
    new_best = solver.progress.best
    restore(solver, checkpoint.arrays, checkpoint.header)
    done = solver.progress
    best, plateau = done.best, done.plateau
    if best.monitor != new_best.monitor:
        best, plateau = new_best, replace(plateau, best=None, bad_epochs=0)
    if done.stopped_early:
        best = replace(best, bad_epochs=0)  # asked to go on, it gets its patience back
    step = done.epoch * solver.steps_per_epoch
    solver.progress = replace(done, step=step, best=best, plateau=plateau, stopped_early=False)
