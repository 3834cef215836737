"""The keys of a sweep file beside `space`: what each wants, its default and its meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from twolayer.config.faults import nearest, shown

SAMPLERS = ("grid", "random", "tpe")
PRUNERS = ("none", "median", "hyperband")


class Key(NamedTuple):
    """One key.

    Attributes:
        default: `...` where the key is required.
        wants: in words.
        meaning: for the reference table.
        choices: the words that may stand there, if it is one of some words.
    """

    default: Any
    wants: str
    meaning: str
    choices: tuple[str, ...] = ()


KEYS: dict[str, Key] = {
    "base": Key(..., "a file name", "the config that every trial starts from, relative to the sweep file"),
    "space": Key(..., "a mapping", "the config keys to vary, each with its values"),
    "sampler": Key("random", f"one of {', '.join(SAMPLERS)}", "who picks the points", SAMPLERS),
    "seed": Key(0, "a whole number from 0 to 4294967295", "what the sampler draws from"),
    "seeds": Key(1, "a whole number from 1 to 1000", "runs per point, with the base's seed, the next one, ..."),
    "pruner": Key("none", f"one of {', '.join(PRUNERS)}", "who ends hopeless trials early", PRUNERS),
    "min_epochs": Key(1, "a whole number of at least 1", "epochs that every trial gets before a pruner may end it"),
    "trials": Key(None, "a whole number of at least 1 or null", "at most so many points; null: no limit"),
    "minutes": Key(None, "a number greater than 0 or null", "no new run starts after so long; null: no limit"),
    "workers": Key(1, "a whole number from 1 to 512", "processes that train side by side"),
    "threads": Key(1, "a whole number from 1 to 512", "BLAS threads of each process"),
    "refit": Key(False, "true or false", "train the winner once more on training and validation rows together"),
    "dir": Key("runs/sweeps", "a folder name", "folder of the sweep folders, relative to the current folder"),
}

# Keys that may be others when a sweep goes on: they change neither the points nor what is learned at one.
FREE_KEYS = ("trials", "minutes", "workers", "refit", "dir")
_LIMITS = {"seed": (0, 2**32 - 1), "seeds": (1, 1000), "min_epochs": (1, 10**9), "trials": (1, 10**6)}
_LIMITS |= {"workers": (1, 512), "threads": (1, 512)}


def fault_of(name: str, data: Mapping[str, Any]) -> str | None:
    """What is wrong with a key of a sweep file, or None."""
    key = KEYS[name]
    if name not in data:
        return f"missing key; wanted {key.wants}" if key.default is ... else None
    value = data[name]
    if _fits(name, key, value):
        return None
    guess = nearest(value, key.choices) if isinstance(value, str) and key.choices else None
    hint = f"; did you mean '{guess}'?" if guess else ""
    return f"found {shown(value)}, wanted {key.wants}{hint}"


def _fits(name: str, key: Key, value: Any) -> bool:
    if value is None:
        return key.default is None
    if key.choices:
        return isinstance(value, str) and value in key.choices
    if name in _LIMITS:
        low, high = _LIMITS[name]
        return type(value) is int and low <= value <= high
    if name == "minutes":
        return type(value) in (int, float) and math.isfinite(value) and value > 0
    if name == "refit":
        return type(value) is bool
    return isinstance(value, dict) if name == "space" else isinstance(value, str) and bool(value)
