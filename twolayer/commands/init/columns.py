"""What the columns of a table seem to be: the label, identifiers, categories, numbers. Guesses from names and values,
each with its reason.

Whether a table's first row is a header although there are numbers in it: a data frame's columns may be numbered."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twolayer.data.columns import ColumnChoice, is_header, require_distinct
from twolayer.data.csv_reader import MISSING_CELLS, CsvText, number_of
from twolayer.utils.text import data_error, did_you_mean, shown, some


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
        raise data_error(
            f"{text.where}:1", f"--label {name} if that row is a header, --label {at} if it is data", found
        )
    return False


def _count_columns(names: Sequence[str]) -> bool:
    return names == [str(number) for number in range(len(names))]


def _is_name_above_numbers(cell: str, column: Counter[str]) -> bool:
    below = column - Counter([cell])
    return column[cell] == 1 and number_of(cell) is None and all(number_of(value) is not None for value in below)


Use = Literal["label", "ignore", "categorical", "number"]

LABEL_NAMES = ("label", "class", "target", "y", "species", "category", "outcome", "diagnosis", "result", "type", "kind")
IDENTIFIER_NAMES = ("id", "index", "idx", "row", "number", "nr", "no", "unnamed: 0", "")
MAX_CATEGORIES = 50  # more one-hot features than this are rarely worth a column
MOST_MISSING = 0.6  # of a column's cells
MAX_LABELS = 1000


@dataclass(frozen=True)
class Column:
    """One column of a table and what it is taken for.

    Attributes:
        reference: how a config calls it: its name, or its position where it has none.
        counts: how often each value occurs, missing cells left out.
        missing: number of missing cells.
        use: what it is taken for.
        why: the reason.
    """

    reference: str | int
    counts: Counter[str]
    missing: int
    use: Use = "number"
    why: str = ""

    @property
    def rows(self) -> int:
        """Cells that are there."""
        return self.counts.total()

    @property
    def numeric(self) -> bool:
        """Whether every cell that is there is a number."""
        return all(number_of(value) is not None for value in self.counts)

    @property
    def whole(self) -> bool:
        """Whether every cell that is there is written as a whole number."""
        return all(value.lstrip("+-").isdecimal() for value in self.counts)


@dataclass(frozen=True)
class TableGuess:
    """A table's columns.

    Attributes:
        columns: in the file's order.
        rows: number of rows.
    """

    columns: tuple[Column, ...]
    rows: int

    def of(self, use: Use) -> list[Column]:
        """The columns taken for this."""
        return [column for column in self.columns if column.use == use]

    @property
    def label(self) -> Column:
        """The label's column."""
        return self.of("label")[0]


def guess_columns(path: Path, label: str | None, lacking: Sequence[str] = ()) -> TableGuess:
    """Reads a CSV file and guesses what its columns are.

    Args:
        path: the file.
        label: the label's column by name, or by position; None to guess it, too.
        lacking: names that the header of the test rows lacks; a single one is likely the label.

    Raises:
        DataError: if the file cannot be read as CSV, a name stands twice, the first row may be a header or data, or no
            column looks like a label.
    """
    text = CsvText(path)  # refuses what is no comma-separated UTF-8
    has_header = _is_name(label, text) or is_header(ColumnChoice(), text.is_number)
    columns, rows = _read_columns(text, has_header)
    at, remark = _find_label(path, label, columns, rows, lacking), ""
    if not has_header and is_numbered_header(text, [column.counts for column in columns], at, label is not None):
        columns, rows = _read_columns(text, True)
        at = _guess_label(path, columns, rows, lacking) if label is None else _unambiguous(path, label, at, columns)
        remark = "; the first row is taken for a header"
    guessed = []
    for position, column in enumerate(columns):
        is_label: tuple[Use, str] = "label", _why_label(column, label, lacking) + remark
        use, why = is_label if position == at else _guess_use(column, rows)
        guessed.append(Column(column.reference, column.counts, column.missing, use, why))
    names = [column.reference if isinstance(column.reference, str) else "" for column in guessed]
    if any(names):
        require_distinct(str(path), names, {at for at, column in enumerate(guessed) if column.use == "ignore"})
    guess = TableGuess(tuple(guessed), rows)
    if len(guess.label.counts) < 2:
        raise data_error(
            path, "two or more", f"label {shown(guess.label.reference)} has {len(guess.label.counts)} class"
        )
    if not guess.of("number") and not guess.of("categorical"):
        raise data_error(path, "numbers, or text with few different values", "no column that could be a feature")
    return guess


def _is_name(label: str | None, text: CsvText) -> bool:
    """Whether the label is given by a name in the first row, and not by its position."""
    return label is not None and label in map(str.strip, text.first) and not _is_position(label, len(text.first))


def _is_position(label: str, width: int) -> bool:
    return label.removeprefix("-").isdecimal() and -width <= int(label) < width


def _read_columns(text: CsvText, has_header: bool) -> tuple[list[Column], int]:
    width = len(text.first)
    table = [[cell.strip() for cell in row] for block in text.row_blocks(width, has_header) for row in block]
    if not table:
        raise data_error(text.where, "at least a few of each class", "no rows")
    names = [cell.strip() for cell in text.first] if has_header else []
    columns = []
    for position in range(width):
        counts = Counter(row[position] for row in table)
        missing = sum(counts.pop(cell, 0) for cell in MISSING_CELLS)
        reference = names[position] if names and names[position] else position
        columns.append(Column(reference, counts, missing))
    return columns, len(table)


def _find_label(path: Path, label: str | None, columns: Sequence[Column], rows: int, lacking: Sequence[str]) -> int:
    """The position of the label's column, as given or by a guess."""
    return _guess_label(path, columns, rows, lacking) if label is None else _position(path, label, columns)


def _position(path: Path, label: str, columns: Sequence[Column]) -> int:
    references = [column.reference for column in columns]
    if label in references:
        return references.index(label)
    if _is_position(label, len(columns)):
        return int(label) % len(columns)
    names = [str(reference) for reference in references]
    raise data_error(path, f"one of {some(names)}", f"column {shown(label)}", did_you_mean(label, names))


def _unambiguous(path: Path, label: str, at: int, columns: Sequence[Column]) -> int:
    """The position `at` that a label was given by, unless another column has it for its name."""
    named = [position for position, column in enumerate(columns) if column.reference == label and position != at]
    if named:
        found = f"--label {label}, the position of one column and the name of another"
        raise data_error(
            path, f"--label {at - len(columns)} for the one, --label {named[0] - len(columns)} for the other", found
        )
    return at


def _guess_label(path: Path, columns: Sequence[Column], rows: int, lacking: Sequence[str]) -> int:
    """The one column that the test rows lack, or by name; else the last column, the first, or the one text column, if
    it has few enough different values."""
    fits = [position for position, column in enumerate(columns) if _could_be_label(column, rows)]
    for position in fits:
        if [columns[position].reference] == lacking:
            return position
    named = {str(columns[position].reference).strip().lower(): position for position in reversed(fits)}
    for name in LABEL_NAMES:
        for candidate in (name, f"{name}s", f"{name}es"):
            if candidate in named:
                return named[candidate]
    for position in (len(columns) - 1, 0):
        if position in fits:
            return position
    if fits:
        return min(fits, key=lambda position: (columns[position].numeric, len(columns[position].counts)))
    names = [column.reference for column in columns]
    raise data_error(path, "--label NAME (or its position)", f"no column that looks like a label among {some(names)}")


def _could_be_label(column: Column, rows: int) -> bool:
    """Classes repeat: text, or whole numbers, with few different values."""
    most = min(MAX_LABELS, rows // 3)
    if column.numeric:
        whole = all(float(value).is_integer() for value in column.counts)  # 1.0, too: pandas' 1 in a column with gaps
        most = min(100, rows // 5) if whole else 0
    return 2 <= len(column.counts) <= most and column.missing < rows / 2


def _why_label(column: Column, given: str | None, lacking: Sequence[str]) -> str:
    classes = f"{len(column.counts)} different values"
    if given is not None:
        return f"given; {classes}"
    by_name = str(column.reference).strip().lower().rstrip("es") in {name.rstrip("es") for name in LABEL_NAMES}
    why = "by its name" if by_name else "by its place and its values"
    if [column.reference] == lacking:
        why = "as the test rows lack it"
    return f"a guess {why}; {classes}; --label NAME sets it"


def _guess_use(column: Column, rows: int) -> tuple[Use, str]:
    distinct, name = len(column.counts), str(column.reference).strip().lower()
    if not distinct:
        return "ignore", "no cell has a value"
    if distinct == 1 and not column.missing:
        return "ignore", f"always {shown(next(iter(column.counts)))}"
    if column.missing > MOST_MISSING * rows:
        return "ignore", f"{column.missing / rows:.0%} of its cells are missing"
    if column.numeric:
        named = name in IDENTIFIER_NAMES or name.endswith(("_id", " id", "-id"))
        if column.whole and distinct == rows > 10 and (named or _counts_up(column)):
            return "ignore", "an identifier: a different whole number in each row"
        return "number", ""
    odd = [value for value in column.counts if number_of(value) is None]
    why = f"{distinct:,} different values"
    if len(odd) < distinct:
        why += f", of which {some(odd, 3)} {'are no numbers' if len(odd) > 1 else 'is no number'}"
    if distinct <= min(MAX_CATEGORIES, max(2, column.rows / 2)):
        return "categorical", why
    if len(odd) < distinct / 2:
        return "ignore", f"{why}; it is a column of numbers once such cells are empty or mended"
    return "ignore", f"text with {distinct:,} different values in {column.rows:,} rows: a name, a date or a remark"


def _counts_up(column: Column) -> bool:
    """Whether the values are consecutive whole numbers."""
    numbers = [int(value) for value in column.counts]
    return max(numbers) - min(numbers) == len(numbers) - 1
