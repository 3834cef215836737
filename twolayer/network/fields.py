"""A setting is a dataclass field that carries its default, range, choices and meaning. Checks, config keys and the
documentation's tables are derived from it."""

import math
import operator
from collections.abc import Iterable
from dataclasses import field, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np

LARGEST = 1_000_000_000  # of a count
_BOUNDS = {
    "ge": ("of at least", operator.ge),
    "gt": ("greater than", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}
_KINDS: dict[Any, tuple[Any, str]] = {  # what is accepted for a type, and its name
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool | np.bool_, "True or False"),
    str: (str, "text"),
}


def setting(default: Any, meaning: str, *, choices: Iterable[str] = (), **bounds: float) -> Any:
    """Return a dataclass field; a default of None is that of an optional setting, or depends on another setting.

    `meaning` is one line for the config's comments and the documentation, `choices` are the words that it may be, and
    `bounds` those of a number: `ge`, `gt`, `le`, `lt`, with pydantic's meanings.
    """
    return field(default=default, metadata={"meaning": meaning, "choices": tuple(choices), "bounds": bounds})


def count(default: int | None, meaning: str, *, ge: int = 1) -> Any:
    """Return a dataclass field for a whole number of at least `ge`."""
    return setting(default, meaning, ge=ge, le=LARGEST)


def check_settings(settings: Any) -> None:
    """Check the type, range and choices of every setting of a frozen dataclass; NumPy's numbers become Python's.

    Raises:
        TypeError: for another type, e.g. True where a number is expected.
        ValueError: for a value out of range or none of the choices.
    """
    hints = _hints(type(settings))
    for each in fields(settings):
        name, value = each.name, getattr(settings, each.name)
        if value is None and each.default is None:
            continue
        choices, bounds = each.metadata["choices"], each.metadata["bounds"]
        kind = str if choices else next(k for k in get_args(hints[name]) or (hints[name],) if k is not NoneType)
        accepted, words = _KINDS[kind]
        expected = f"one of {', '.join(choices)}" if choices else words + range_in_words(**bounds)
        message = f"{name}: expected {expected}, got {value!r}"
        if not isinstance(value, accepted) or (kind is not bool and type(value) is bool):
            raise TypeError(message)
        fits = all(_BOUNDS[name][1](value, bound) for name, bound in bounds.items())
        if value not in choices if choices else bounds and not (math.isfinite(value) and fits):
            raise ValueError(message)
        object.__setattr__(settings, name, kind(value))


def range_in_words(**bounds: float) -> str:
    """Return ` of at least 0 and below 1`; bounds of a billion and more are left out."""
    named = {name: bound for name, bound in bounds.items() if abs(bound) < LARGEST}
    text = " and ".join(f"{words} {named[name]}" for name, (words, _) in _BOUNDS.items() if name in named)
    return f" {text}" if text else ""


_hints: Any = cache(get_type_hints)
