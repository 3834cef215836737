"""Checks of what comes from outside: settings and arrays.

A setting is a dataclass field that carries its default, range, choices and meaning; its check, the config's key and the
documentation's tables are derived from it. The checks of arrays raise a ValueError that names the array, what was
expected and what it got."""

import math
import operator
from collections.abc import Iterable
from dataclasses import field, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np

from twolayer.network.model import Array, Params

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
    `bounds` those of a number: `ge`, `gt`, `le`, `lt`, with pydantic's meanings."""
    return field(default=default, metadata={"meaning": meaning, "choices": tuple(choices), "bounds": bounds})


def count(default: int | None, meaning: str, *, ge: int = 1) -> Any:
    """Return a dataclass field for a whole number of at least `ge`."""
    return setting(default, meaning, ge=ge, le=LARGEST)


def check_settings(settings: Any) -> None:
    """Check every setting of a frozen dataclass, and make NumPy's numbers Python's; raise TypeError for another type,
    e.g. True where a number is expected, ValueError for a value out of range or none of the choices."""
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


def require_params(params: Any) -> Params:
    """Return `params` as Params of arrays of numbers that fit each other; raise ValueError for anything else."""
    if not (isinstance(params, tuple) and len(params) == 4):
        raise ValueError(f"params: expected Params(W1, b1, W2, b2), got {type(params).__name__}")
    checked = Params(*params).map(np.asarray)
    if (checked.W1 is None) != (checked.b1 is None):
        raise ValueError("params: expected both W1 and b1 (a hidden layer) or neither, got one of them")
    for name, array in checked.named().items():
        dimensions = {"W1": "(D, H)", "b1": "(H,)", "W2": "(H, C)", "b2": "(C,)"}[name]
        if array.ndim != 1 + name.startswith("W"):
            raise ValueError(f"params.{name}: expected {dimensions}, got {array.shape}")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"params.{name}: expected numbers, got {array.dtype}")
    H, C = checked.W2.shape
    for name, shape in {"W1": (checked.n_features, H), "b1": (H,), "b2": (C,)}.items():
        found = checked.named().get(name)
        if found is not None and found.shape != shape:
            raise ValueError(f"params.{name}: expected {shape} beside W2 {checked.W2.shape}, got {found.shape}")
    return checked


def checked_params(params: Any) -> Params:
    """Return `require_params(params)`; raise ValueError unless all are finite float32 or float64, and none is empty."""
    checked = require_params(params)
    for name, array in checked.named().items():
        if array.dtype not in (np.float32, np.float64) or array.dtype != checked.W2.dtype:
            raise ValueError(
                f"params.{name}: expected float32 or float64, the same for all arrays, got {array.dtype} "
                f"(W2 is {checked.W2.dtype})"
            )
        if 0 in array.shape:
            raise ValueError(f"params.{name}: expected at least one feature, unit and class, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"params.{name}: expected finite numbers, got {array[~np.isfinite(array)][0]}")
    return checked


def require_weights(name: str, weights: Any, n: int) -> Array:
    """Return the weights (n,) in float64; raise ValueError for one below 0 or not finite, or if all are 0."""
    checked = numbers(name, weights).astype(np.float64)
    if checked.shape != (n,):
        raise ValueError(f"{name}: expected ({n},), got {checked.shape}")
    if not np.isfinite(checked).all() or checked.min() < 0 or not checked.any():
        raise ValueError(f"{name}: expected finite numbers, zero or more and not all zero")
    return checked


def weights_near_one(name: str, weights: Any, n: int) -> Array | None:
    """Return `require_weights`, or None, divided by a power of two so that the largest is just below 1: only their
    ratios count, and any float type has room for such numbers."""
    if weights is None:
        return None
    checked = require_weights(name, weights, n)
    return np.asarray(np.ldexp(checked, -int(np.frexp(checked.max())[1])))


def finite_rows(X: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Return numbers X (N, D) in another float type, in C order; raise ValueError for one that is not finite there."""
    with np.errstate(over="ignore", invalid="ignore"):
        ready = np.ascontiguousarray(X, dtype)
    if not np.isfinite(ready).all():
        row, column = np.argwhere(~np.isfinite(ready))[0]
        raise ValueError(f"{name}: expected finite {dtype} numbers, got {X[row, column]} in row {row}, column {column}")
    return ready


def require_shape(name: str, shape: tuple[int, ...], params: Params) -> None:
    """Raise ValueError if a shape is not (N, D), N >= 1, with the D of the parameters."""
    D = params.n_features
    if len(shape) != 2 or shape[0] == 0 or shape[1] != D:
        raise ValueError(f"{name}: expected (N, {D}) with N >= 1, as the parameters have {D} features; got {shape}")


def require_classes(name: str, y: Any, n_rows: int, n_classes: int, *, one_hot: bool = False) -> Array:
    """Return the class indices (N,) of N rows, of a whole-number type, or with `one_hot` perhaps rows (N, C); raise
    ValueError for anything else and for an index outside 0..C-1."""
    classes = numbers(name, y)
    if one_hot and classes.shape == (n_rows, n_classes) and n_classes != 1:
        return classes
    if classes.shape != (n_rows,):
        rows = f" or ({n_rows}, {n_classes}) one-hot rows" if one_hot else ", one for each row of X"
        raise ValueError(f"{name}: expected ({n_rows},) class indices{rows}, got {classes.shape}")
    if not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0 or classes.max() >= n_classes:
        found = f"{classes.dtype} from {classes.min()} to {classes.max()}"
        raise ValueError(f"{name}: expected whole numbers from 0 to {n_classes - 1}, got {found}")
    return classes


def refuse_masked(name: str, values: Any) -> None:
    """Raise ValueError for a masked array: its mask would be lost without a word."""
    if np.ma.isMaskedArray(values):
        raise ValueError(f"{name}: expected an array, got a masked array; fill it or drop the masked rows")


def numbers(name: str, values: Any) -> Array:
    """Return an array of numbers; raise ValueError for anything else, masked and sparse arrays among them."""
    refuse_masked(name, values)
    if hasattr(values, "toarray"):
        raise ValueError(f"{name}: expected a dense array, got {type(values).__name__}; call its toarray()")
    try:
        array: Array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError, OverflowError) as error:
        found = f"{type(values).__name__} ({error})"
        raise ValueError(f"{name}: expected numbers in rows of equal length, got {found}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    return array
