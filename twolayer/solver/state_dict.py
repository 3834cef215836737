"""A solver's state as arrays and a header for JSON, for a checkpoint, and back again."""

from collections.abc import Mapping
from dataclasses import asdict
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np

from twolayer.network.model import Array
from twolayer.solver.solver import Solver
from twolayer.solver.state import Best, SolverProgress
from twolayer.utils.text import printable

_MOST = 10**15  # epochs or steps: more than any training can have done


def state_arrays(solver: Solver) -> dict[str, Array]:
    """Return the current parameters as W1, b1, W2, b2; the best as best/W1, ...; the optimiser's as slot0/W1, ..."""
    parts = {"": solver.params, "best/": solver.best_params}
    parts |= {f"slot{k}/": slot.params for k, slot in enumerate(solver.state.slots)}
    return {prefix + name: array for prefix, part in parts.items() for name, array in part.named().items()}


def state_header(solver: Solver) -> dict[str, Any]:
    """Return everything else: the solver's `SolverProgress` and the count of updates."""
    return {"updates": solver.state.t, "progress": asdict(solver.progress)}


def restore(solver: Solver, arrays: Mapping[str, Array], header: Mapping[str, Any], *, same_rows: bool) -> None:
    """Put a solver, made with the settings and the data of the run, where the checkpoint was.

    `arrays` and `header` are from an untrusted file; after an error the solver's state is undefined. With `same_rows`
    the checkpoint is from training on as many rows as the solver has, so its counts must fit.

    Raises:
        ValueError: if arrays or header are not those of such a solver; the caller knows which file it was.
    """
    for name, array in state_arrays(solver).items():
        given = arrays.get(name)
        if given is None or given.shape != array.shape or given.dtype != array.dtype:
            what = "nothing" if given is None else f"{given.dtype} {given.shape}"
            raise ValueError(f"array {name}: expected {array.dtype} {array.shape}, got {what}")
        if not name.startswith("slot") and not np.isfinite(given).all():  # a mean of squares may overflow
            raise ValueError(f"array {name}: expected finite numbers, got NaN or infinity")
        np.copyto(array, given)
    try:
        progress, updates = _renewed(header["progress"]), header["updates"]
        found: SolverProgress = _made(SolverProgress, {**progress, "best": _made(Best, progress["best"])})
        if same_rows:
            _require_possible(solver, found, updates)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the header is not that of this training's checkpoint: {printable(str(error))}") from None
    solver.restart_from(found, updates)


def _renewed(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint calls `progress`, in one of version 0.1 with the fields that it lacks.

    There `bad_epochs` did not count ties, and the plateau had a count and a best value of its own.
    """
    renewed, best = dict(progress), progress["best"]
    if "reference" not in best:
        renewed["best"] = {**best, "reference": best["value"]}
    if "plateau" in renewed:
        renewed["plateau_scale"] = renewed.pop("plateau")["scale"]
    return renewed


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a dataclass of values from a file, each of its declared type, whole numbers 0 or more."""
    types = get_type_hints(kind)
    if set(values) != set(types):
        raise ValueError(f"{kind.__name__} needs {sorted(types)}")
    for name, value in values.items():
        types_allowed = get_args(types[name]) if isinstance(types[name], UnionType) else (types[name],)
        fits = isinstance(value, types_allowed) and (bool in types_allowed or not isinstance(value, bool))
        fits = fits or (float in types_allowed and type(value) is int)
        if not fits or (type(value) is int and not 0 <= value <= _MOST):
            raise ValueError(f"{name} is {value!r}")
    return kind(**values)


def _require_possible(solver: Solver, found: SolverProgress, updates: object) -> None:
    """Raise ValueError for counts that contradict each other or the solver's."""
    at_start = solver.progress.best
    if found.step // solver.steps_per_epoch != found.epoch or found.best.epoch > found.epoch:
        raise ValueError(f"step {found.step} in epoch {found.epoch}")
    if (found.best.monitor, found.best.tie_breaker) != (at_start.monitor, at_start.tie_breaker):
        raise ValueError(f"monitor is {found.best.monitor!r}")
    if type(updates) is not int or not 0 <= updates <= found.step:
        raise ValueError(f"updates is {updates!r}")
