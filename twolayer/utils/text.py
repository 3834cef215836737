"""One form for everything that can be wrong with data: where, what was found, what was wanted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from twolayer.utils.errors import DataError, FileError


def fault(where: object, found: str, wanted: str) -> DataError:
    """The error `where: found; wanted: wanted`."""
    return DataError(f"{where}: {found}; wanted: {wanted}")


def shown(value: object, longest: int = 40) -> str:
    """Something out of a file as it may stand in a message: text quoted, printable, not long."""
    text = str(value)
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return repr(text) if isinstance(value, str) else text


def some(values: Iterable[object], most: int = 8) -> str:
    """The first few of many, for a message."""
    listed = list(values)
    return ", ".join(shown(value) for value in listed[:most]) + (
        f", ... ({len(listed):,})" if len(listed) > most else ""
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `names` is close to `name`, else nothing."""
    by_lower = {other.lower(): other for other in islice(names, 1000) if len(other) < 100}
    close = difflib.get_close_matches(name.lower()[:100], by_lower, n=1)
    return f"; did you mean {shown(by_lower[close[0]])}?" if close else ""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Lets a fault of a file leave as a fault of a data file."""
    try:
        yield
    except DataError:
        raise
    except FileError as error:
        raise DataError(str(error)) from None
