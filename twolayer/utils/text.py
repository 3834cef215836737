"""Text for messages: how a value from a file is shown, the nearest known name for a misspelt one, and the one form of
an error about data: `place: expected Y, got X; what to do`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from twolayer.utils.errors import DataError, FileError

_MAX_SHOWN = 60  # characters of a value
_MAX_COMPARED = 100  # characters of a name; the time of a comparison grows with their square

# Names that other libraries have for our settings, too far from ours in spelling.
SYNONYMS = {
    "lr": "learning_rate",
    "alpha": "learning_rate",
    "weight_decay": "reg",
    "l2": "reg",
    "gamma": "factor",
    "max_iter": "epochs",
    "target": "label",
    "normalize": "scale",
    "hidden_layer_sizes": "hidden",
    "units": "hidden",
    "random_state": "seed",
}


def data_error(where: object, expected: str, got: str, hint: str = "") -> DataError:
    """Return the error `where: expected Y, got X; hint`."""
    return DataError(f"{where}: {expected_got(expected, got, hint)}")


def expected_got(expected: str, got: str, hint: str = "") -> str:
    """Return `expected Y, got X; hint`; the hint may come from `did_you_mean`, with its semicolon."""
    return f"expected {expected}, got {got}" + (f"; {hint.removeprefix('; ')}" if hint else "")


def printable(text: str) -> str:
    """Return `text` with control characters, bidirectional overrides and line ends escaped, safe for a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: Any, longest: int = _MAX_SHOWN) -> str:
    """Return a value from a file on one short, printable line: text quoted, mappings and lists by their size."""
    match value:
        case dict():
            return f"a mapping with {len(value)} key{'s' * (len(value) != 1)}" if value else "an empty mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case str():
            text = repr(value[: longest + 1])
            return text if len(text) <= longest else f"{text[: longest - 4]}...{text[-1]}"
    try:
        text = printable(str(value))
    except ValueError:  # an integer of more digits than Python prints
        return "a huge number"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def plain(value: object, longest: int = _MAX_SHOWN) -> str:
    """Return a label, a name or a note for a table or a line: without quotes, printable and short."""
    text = printable(str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def some(values: Iterable[object], most: int = 8) -> str:
    """Return the first few of many values, for a message."""
    listed = list(values)
    return ", ".join(shown(value) for value in listed[:most]) + (
        f", ... ({len(listed):,})" if len(listed) > most else ""
    )


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that was probably meant, or None; case does not count, and synonyms are known."""
    by_lower = {other.lower(): other for other in islice(names, 1000) if len(other) <= _MAX_COMPARED}
    lower = name[:_MAX_COMPARED].lower()
    if SYNONYMS.get(lower) in by_lower:
        return by_lower[SYNONYMS[lower]]
    close = difflib.get_close_matches(lower, by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` if one of `names` is close to `name`, else nothing."""
    guess = nearest(name, names)
    return f"; did you mean {shown(guess)}?" if guess is not None else ""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Turn a `FileError` into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except FileError as error:
        raise DataError(str(error)) from None
