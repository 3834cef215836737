"""A solver's state as arrays and a JSON-able header, for a checkpoint, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from twolayer.errors import RunError
from twolayer.events import Progress
from twolayer.model import Array, Params
from twolayer.schedules import PlateauState
from twolayer.selection import Best
from twolayer.solver import Solver


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


def restore(solver: Solver, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Puts a solver, made with the settings and the data of the run, where the checkpoint was.

    Raises:
        RunError: if arrays or header are not those of such a solver.
    """
    _fill(solver.params, arrays, "")
    _fill(solver.best_params, arrays, "best/")
    for k, slot in enumerate(solver.state.slots):
        _fill(slot.params, arrays, f"slot{k}/")
    try:
        progress = header["progress"]
        best, plateau = _made(Best, progress["best"]), _made(PlateauState, progress["plateau"])
        solver.progress = _made(Progress, {**progress, "best": best, "plateau": plateau})
        solver.state.t = int(header["updates"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the checkpoint's header is not that of a training: {error}") from None


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    names = {field.name for field in fields(kind)}
    if set(values) != names:
        raise ValueError(f"{kind.__name__} needs {sorted(names)}, found {sorted(values)}")
    return kind(**values)


def _fill(params: Params, arrays: Mapping[str, Array], prefix: str) -> None:
    for name, array in params.named().items():
        found = arrays.get(prefix + name)
        if found is None or found.shape != array.shape or found.dtype != array.dtype:
            what = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise RunError(f"the checkpoint's array {prefix}{name}: found {what}, wanted {array.dtype} {array.shape}")
        np.copyto(array, found)
