"""Plain decimal numbers out of bytes, a whole block of cells at once: the quick way through a clean table.

What is not plain (quotes, exponents, blanks, more than 15 digits) is left to the careful way. Up to 15 digits, they and
the power of ten are both exact in float64, so their quotient is the number that float() gives, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Positions = NDArray[np.integer[Any]]

MOST_DIGITS = 15

_BLOCK = 1 << 17  # bytes; what is made of a block fits a core's cache
_COMMA, _NEWLINE, _MINUS, _POINT, _ZERO = b",\n-.0"
_POWERS = 10.0 ** np.arange(MOST_DIGITS + 2)


def line_blocks(content: bytes, start: int) -> Iterator[bytes]:
    """The content from `start` on in pieces of whole lines, each line ended by a line feed."""
    while start < len(content):
        stop = content.find(b"\n", start + _BLOCK) + 1 or len(content)
        yield content[start:stop] if content[stop - 1] == _NEWLINE else content[start:stop] + b"\n"
        start = stop


def cut_cells(block: bytes, width: int) -> tuple[Positions, Positions] | None:
    """Where the cells of a block of lines without quotes begin and end, each (rows, width).

    None if a line has another number of cells, or is blank.
    """
    letters = np.frombuffer(block, np.uint8)
    marks = np.flatnonzero((letters == _COMMA) | (letters == _NEWLINE))
    if len(marks) % width:
        return None
    ends = marks.reshape(-1, width)
    starts = np.empty_like(marks)
    starts[:1], starts[1:] = 0, marks[:-1] + 1
    if not (letters[ends[:, -1]] == _NEWLINE).all() or int((letters == _NEWLINE).sum()) != len(ends):
        return None
    if width == 1 and (starts == marks).any():
        return None
    return starts.reshape(-1, width), ends


def plain_numbers(block: bytes, starts: Positions, ends: Positions) -> Array | None:
    """The numbers in cells of the form [-]digits[.digits], float64 in the shape of `starts`; None if one is not so.

    Args:
        block: the bytes.
        starts: where each cell begins.
        ends: where it ends.
    """
    letters = np.frombuffer(block, np.uint8)
    signed, pointed = _MINUS in block, _POINT in block
    minus = letters.take(starts) == _MINUS if signed else np.zeros((), np.bool_)
    first = starts + minus
    longest = int((ends - first).max(initial=0))
    if longest > MOST_DIGITS + pointed or (ends <= first).any():
        return None
    value = np.zeros(starts.shape)
    passed = np.zeros(starts.shape, np.bool_)  # whether the cell's point has been met
    decimals = np.zeros(starts.shape, np.int8)
    for k in range(longest):  # from the last letter of each cell to the left
        at = ends - (k + 1)
        inside = at >= first
        letter = letters.take(at, mode="clip")
        digit = (letter - np.uint8(_ZERO)) * inside  # a letter below "0" wraps around to above 9
        if pointed:
            is_point = (letter == _POINT) & inside
            if (is_point & passed).any():
                return None
            digit[is_point] = 0
            passed |= is_point
            decimals[is_point] = k
            value += digit * _POWERS[k - passed]
        else:
            value += digit * _POWERS[k]
        if digit.max(initial=0) > 9:
            return None
    if pointed:
        n_digits = ends - first - passed
        if n_digits.min(initial=1) < 1 or n_digits.max(initial=1) > MOST_DIGITS:
            return None
        value /= _POWERS[decimals]
    return np.negative(value, out=value, where=minus) if signed else value
