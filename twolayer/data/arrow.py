"""From pyarrow's columns to arrays of numbers, labels and categories.

pyarrow's own `to_numpy`, and its scalars, would import pandas; the buffers of a column are read here."""

from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from twolayer.data.cells import Reading, number_of, number_of_value, word_of
from twolayer.data.labels import MISSING, Label, Labels, require_few
from twolayer.network.model import Array


def numpy_of(column: Any, missing: float) -> Array:
    """Return a pyarrow column of float64, int64 or int32 as an array (N,), `missing` where null."""
    dtype = np.dtype({"double": np.float64, "int64": np.int64, "int32": np.int32}[str(column.type)])
    parts = [np.empty(0, dtype)]
    for chunk in getattr(column, "chunks", [column]):
        if not len(chunk):
            continue
        rows = slice(chunk.offset, chunk.offset + len(chunk))
        validity, values = chunk.buffers()
        part = np.frombuffer(values, dtype)[rows]
        if chunk.null_count:
            is_valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[rows]
            part = np.where(is_valid, part, dtype.type(missing))
        parts.append(part)
    return parts[1] if len(parts) == 2 else np.concatenate(parts)


def encoded(column: Any) -> tuple[NDArray[np.integer[Any]], Any]:
    """Return the codes (N,) of a pyarrow column, -1 where null, and its different values as an Array."""
    whole = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = whole.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    indices = whole.indices if whole.indices.type == pa.int32() else whole.indices.cast(pa.int64())
    return numpy_of(indices, MISSING), whole.dictionary


def numbers_of(column: Any, reading: Reading, decimal: str, give_up: bool = False) -> tuple[Array, int | None]:
    """Return a pyarrow column's numbers (N,), NaN where missing, and the first row that has no number, if any.

    With `give_up`, a single text among the first values ends it, without a look at the others.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), None
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.uint8()), pa.uint8()
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return _as_float64(column), None
    if decimal == "." and not pa.types.is_dictionary(kind):
        with suppress(pa.ArrowInvalid):
            return _as_float64(column), None
    codes, values = encoded(column)
    if give_up and any(number_of_value(value, reading, decimal) is None for value in values[:50].to_pylist()):
        return np.empty(0), 0
    numbers = [number_of_value(value, reading, decimal) for value in values.to_pylist()]
    known = np.array([*(np.nan if number is None else number for number in numbers), np.nan])
    bad = np.array([*(number is None for number in numbers), False])[codes]
    return known[codes], int(np.argmax(bad)) if bad.any() else None


def _as_float64(column: Any) -> Array:
    """Return the numbers (N,) of a pyarrow column, NaN where null."""
    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    return numpy_of(column, np.nan)


def labels_of_column(column: Any, reading: Reading, decimal: str, name: str, most: int) -> Labels:
    """Return the labels, or categories, in a pyarrow column (N,): integers if all are, otherwise texts.

    Values that are equal are one label, however they are written.

    Raises:
        DataError: if there are more than `most` of them.
    """
    codes, distinct = encoded(column)
    used = int((np.bincount(codes + 1)[1:] > 0).sum())
    if used > 20 * most + len(reading.missing):  # before all are turned into words
        require_few(used, name, most)
    labels = labels_of_codes(codes, distinct, reading, decimal)
    require_few(len(labels.values), name, most)
    return labels


def labels_of_codes(codes: NDArray[np.integer[Any]], distinct: Any, reading: Reading, decimal: str) -> Labels:
    """Return the labels (N,) that `codes` (N,), -1 where missing, have in a pyarrow Array of different raw values."""
    used = np.bincount(codes + 1, minlength=len(distinct) + 1)[1:].tolist()
    raw = distinct.to_pylist()
    words = [word_of(value, reading, decimal) if count else "" for value, count in zip(raw, used, strict=True)]
    values = _in_order(set(words) - {""})
    index = {str(value): k for k, value in enumerate(values)} | {"": MISSING}
    mapping = np.array([*(index[word] for word in words), MISSING], np.int32)  # code -1: the last
    return Labels(mapping[codes], tuple(values))


def _in_order(words: set[str]) -> list[Label]:
    """Return distinct canonical values in ascending order: integers, numbers as texts, or texts."""
    digits = [word.removeprefix("-") for word in words]
    if all(word.isascii() and word.isdigit() and len(word) <= 18 for word in digits):
        return sorted(map(int, words))
    numbers = [(number, word) for word in words if (number := number_of(word)) is not None]
    return [word for _, word in sorted(numbers)] if len(numbers) == len(words) else sorted(words)
