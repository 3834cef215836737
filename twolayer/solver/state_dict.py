"""A solver's state as arrays and a JSON-able header, for a checkpoint, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np

from twolayer.network.model import Array, Params
from twolayer.network.schedules import PlateauState
from twolayer.solver.solver import Solver
from twolayer.solver.state import Best, Progress
from twolayer.utils.text import printable

_MOST = 10**15  # epochs or steps: more than anybody can have done


def state_arrays(solver: Solver) -> dict[str, Array]:
    """The current parameters as W1, b1, W2, b2; the best as best/W1, ...; the optimiser's as slot0/W1, ..."""
    arrays = dict(solver.params.named())
    arrays |= {f"best/{name}": array for name, array in solver.best_params.named().items()}
    for k, slot in enumerate(solver.state.slots):
        arrays |= {f"slot{k}/{name}": array for name, array in slot.params.named().items()}
    return arrays


def state_header(solver: Solver) -> dict[str, Any]:
    """Everything else: the solver's `Progress` and the count of updates."""
    return {"updates": solver.state.t, "progress": asdict(solver.progress)}


def restore(solver: Solver, arrays: Mapping[str, Array], header: Mapping[str, Any], *, same_rows: bool) -> None:
    """Puts a solver, made with the settings and the data of the run, where the checkpoint was.

    Args:
        solver: at its start; after an error, anywhere.
        arrays: those of `state_arrays`, from a file that may be anybody's.
        header: likewise, with what `state_header` gave.
        same_rows: the checkpoint is from training on as many rows as the solver has, so its counts must fit.

    Raises:
        ValueError: if arrays or header are not those of such a solver; the caller knows which file it was.
    """
    _fill(solver.params, arrays, "")
    _fill(solver.best_params, arrays, "best/")
    for k, slot in enumerate(solver.state.slots):
        _fill(slot.params, arrays, f"slot{k}/")
    try:
        progress, updates = header["progress"], header["updates"]
        best, plateau = _made(Best, progress["best"]), _made(PlateauState, progress["plateau"])
        found: Progress = _made(Progress, {**progress, "best": best, "plateau": plateau})
        if same_rows:
            _require_possible(solver, found, updates)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the header is not that of this training's checkpoint: {printable(str(error))}") from None
    solver.progress, solver.state.t = found, updates


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of values from a file, each of its declared type, whole numbers 0 or more."""
    types = get_type_hints(kind)
    if set(values) != set(types):
        raise ValueError(f"{kind.__name__} needs {sorted(types)}")
    for name, value in values.items():
        wanted = get_args(types[name]) if isinstance(types[name], UnionType) else (types[name],)
        fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
        fits = fits or (float in wanted and type(value) is int)
        if not fits or (type(value) is int and not 0 <= value <= _MOST):
            raise ValueError(f"{name} is {value!r}")
    return kind(**values)


def _require_possible(solver: Solver, found: Progress, updates: object) -> None:
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
