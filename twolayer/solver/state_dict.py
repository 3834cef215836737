"""A solver's state as arrays and a header for JSON, for a checkpoint, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.solver.solver import Solver
from twolayer.solver.state import Best, SolverProgress
from twolayer.utils.text import printable

_MOST = 10**15  # epochs or steps: more than any training can have done


def state_arrays(solver: Solver) -> dict[str, Array]:
    """The current parameters as W1, b1, W2, b2; the best as best/W1, ...; the optimiser's as slot0/W1, ..."""
    arrays = dict(solver.params.named())
    arrays |= {f"best/{name}": array for name, array in solver.best_params.named().items()}
    for k, slot in enumerate(solver.state.slots):
        arrays |= {f"slot{k}/{name}": array for name, array in slot.params.named().items()}
    return arrays


def state_header(solver: Solver) -> dict[str, Any]:
    """Everything else: the solver's `SolverProgress` and the count of updates."""
    return {"updates": solver.state.t, "progress": asdict(solver.progress)}


def restore(solver: Solver, arrays: Mapping[str, Array], header: Mapping[str, Any], *, same_rows: bool) -> None:
    """Put a solver, made with the settings and the data of the run, where the checkpoint was.

    Args:
        solver: at its start; after an error its state is undefined.
        arrays: those of `state_arrays`, from an untrusted file.
        header: what `state_header` gave, from the same file.
        same_rows: the checkpoint is from training on as many rows as the solver has, so its counts must fit.

    Raises:
        ValueError: if arrays or header are not those of such a solver; the caller knows which file it was.
    """
    _fill(solver.params, arrays, "")
    _fill(solver.best_params, arrays, "best/")
    for k, slot in enumerate(solver.state.slots):
        _fill(slot.params, arrays, f"slot{k}/")
    try:
        progress, updates = _renewed(header["progress"]), header["updates"]
        found: SolverProgress = _made(SolverProgress, {**progress, "best": _made(Best, progress["best"])})
        if same_rows:
            _require_possible(solver, found, updates)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the header is not that of this training's checkpoint: {printable(str(error))}") from None
    solver.progress, solver.state.t = found, updates
    solver.forget_earlier_moment()


def _renewed(progress: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint calls `progress`; one of version 0.1 gets the fields it lacks.

    There `bad_epochs` did not count ties, and the plateau had a count and a best value of its own.
    """
    renewed, best = dict(progress), progress["best"]
    if "reference" not in best:
        renewed["best"] = {**best, "reference": best["value"]}
    if "plateau" in renewed:
        renewed["plateau_scale"] = renewed.pop("plateau")["scale"]
    return renewed


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of values from a file, each of its declared type, whole numbers 0 or more."""
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
    """Raises ValueError for counts that contradict each other or the solver's."""
    at_start = solver.progress.best
    if found.step // solver.steps_per_epoch != found.epoch or found.best.epoch > found.epoch:
        raise ValueError(f"step {found.step} in epoch {found.epoch}")
    if (found.best.monitor, found.best.tie_breaker) != (at_start.monitor, at_start.tie_breaker):
        raise ValueError(f"monitor is {found.best.monitor!r}")
    if type(updates) is not int or not 0 <= updates <= found.step:
        raise ValueError(f"updates is {updates!r}")


def _fill(params: Params, arrays: Mapping[str, Array], prefix: str) -> None:
    for name, array in params.named().items():
        found = arrays.get(prefix + name)
        if found is None or found.shape != array.shape or found.dtype != array.dtype:
            what = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ValueError(f"array {prefix}{name}: expected {array.dtype} {array.shape}, got {what}")
        if prefix in ("", "best/") and not np.isfinite(found).all():  # a mean of squares may overflow
            raise ValueError(f"array {prefix}{name}: expected finite numbers, got NaN or infinity")
        np.copyto(array, found)
