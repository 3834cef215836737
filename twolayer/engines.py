"""The choice of the engine, by name; Numba is imported only for the engine that needs it."""

from __future__ import annotations

from twolayer.engine import Engine, EngineName, NumpyEngine, TrainingState, UpdateRule


def make_engine(name: EngineName, state: TrainingState, rule: UpdateRule, batch_size: int) -> Engine:
    """The engine called `name`.

    Raises:
        MissingExtraError: for `numba` where the extra `numba` is not installed.
    """
    if name == "numpy":
        return NumpyEngine(state, rule, batch_size)
    from twolayer.compiled import NumbaEngine  # imports Numba, which takes a while

    engine: Engine = NumbaEngine(state, rule, batch_size)
    return engine
