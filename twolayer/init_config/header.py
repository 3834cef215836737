"""Whether a table's first row is a header although there are numbers in it: a data frame's columns may be numbered."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from twolayer.data.csv_reader import CsvText, number_of
from twolayer.utils.text import fault, shown


def is_numbered_header(text: CsvText, counts: Sequence[Counter[str]], at: int, label_is_given: bool) -> bool:
    """Whether the first row holds names.

    Its cell in the label's column then occurs nowhere below it. A row that is the only one of its class looks alike,
    but for numbers that count the columns, or a name above numbers.

    Args:
        text: the table.
        counts: of each column, how often it holds what, the first row counted.
        at: position of the label's column.
        label_is_given: whether somebody said so, by that position.

    Raises:
        DataError: if it may be either, and the label is not given.
    """
    first = [cell.strip() for cell in text.first]
    names = first[first[0] == "" :]  # a data frame's index has no name
    if _count_columns(names):
        return first[0] == "" or counts[at][first[at]] == 1
    if counts[at][first[at]] != 1 or number_of(first[at]) is not None:
        return False
    counting = _count_columns([cell for cell in names if number_of(cell) is not None])
    named = any(_is_name_above_numbers(first[i], column) for i, column in enumerate(counts) if i != at)
    if (counting or named) and len(set(names)) == len(names):
        return True
    if not label_is_given:
        found = f"{shown(first[at])} in the first row and nowhere below it"
        name = shlex.quote(first[at])
        raise fault(f"{text.where}:1", found, f"--label {name} if that row is a header, --label {at} if it is data")
    return False


def _count_columns(names: Sequence[str]) -> bool:
    return names == [str(number) for number in range(len(names))]


def _is_name_above_numbers(cell: str, column: Counter[str]) -> bool:
    below = column - Counter([cell])
    return column[cell] == 1 and number_of(cell) is None and all(number_of(value) is not None for value in below)
