"""What a table's cells and columns mean, the same whether a file or a frame writes them: a cell is nothing, a number,
a boolean or a text; a column is the label, a feature, categories or ignored, and is found again in other tables."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from twolayer.utils.text import counted, data_error, did_you_mean, shown, some

MISSING_VALUES = (
    *("", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Spellings of a missing cell: pandas' default list, and the question mark of the UCI tables."""

MAX_NUMBER = 400  # characters; a longer cell is a text
_MAX_NORMALIZED = 4096  # characters; putting combining marks in order takes quadratic time
_BOOLEANS = {"true": "True", "false": "False"}


@dataclass(frozen=True)
class Reading:
    """How the text of a table is read: the keys of `config.models.DataConfig`, None where the content decides.

    `missing` are the spellings of a missing cell, cleaned.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str = "utf-8"
    header: bool | None = None
    missing_values: tuple[str, ...] = MISSING_VALUES
    missing: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", frozenset(clean(value) for value in self.missing_values))


def reading_of(
    missing_values: Sequence[str | int | float] | None, header: str | bool, separator: str, decimal: str, encoding: str
) -> Reading:
    """Return how tables are read, from the keys of a config's section `data`."""
    spellings = MISSING_VALUES if missing_values is None else tuple(map(str, missing_values))
    mark = {"auto": None, "tab": "\t"}.get(separator, separator)
    known = header if isinstance(header, bool) else None
    return Reading(mark, None if decimal == "auto" else decimal, encoding, known, spellings)


def clean(text: str) -> str:
    """Return a text without spaces and quotes around it, in Unicode's composed form (NFC)."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"').strip()
    return text if text.isascii() or len(text) > _MAX_NORMALIZED else unicodedata.normalize("NFC", text)


def number_of(text: str, decimal: str = ".") -> float | None:
    """Return a cleaned cell as a finite number; None if it is none."""
    if not text or len(text) > MAX_NUMBER or not text.isascii() or "_" in text:
        return None
    if decimal != ".":
        if "." in text:
            return None
        text = text.replace(decimal, ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None  # "nan" and "inf" are no numbers


def canonical(value: Any, decimal: str = ".") -> str:
    """Return the one spelling of a value: equal numbers and equal booleans have the same; "" for nothing.

    1, 1.0, 01 and 1e0 are `1`; TRUE and true are `True`; other texts are stripped and in composed form.
    """
    if isinstance(value, str):
        text = clean(value)
        number = number_of(text, decimal)
        if number is None:
            return _BOOLEANS.get(text.lower(), text) if len(text) < 6 else text
        digits = text.lstrip("+-")
        if digits.isdigit():  # whole numbers of any length stay exact
            shortest = digits.lstrip("0") or "0"
            return f"-{shortest}" if text[0] == "-" and shortest != "0" else shortest
        return _written(number)
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return canonical(value.decode("utf-8", "replace"), decimal)
    if isinstance(value, float):
        return _written(value)
    return str(value)


def word_of(value: Any, reading: Reading, decimal: str) -> str:
    """Return the one spelling of a raw value; "" if it is missing."""
    word = canonical(value, decimal)
    is_missing = word in reading.missing or (isinstance(value, str) and clean(value) in reading.missing)
    return "" if is_missing else word


def number_of_value(value: Any, reading: Reading, decimal: str) -> float | None:
    """Return a raw value as a number: NaN if it is missing, 1 or 0 for a boolean, None if it is no number."""
    text = clean(value) if isinstance(value, str) else canonical(value, decimal)
    number = number_of(text, decimal if isinstance(value, str) else ".")
    if number is not None:
        return number
    if not text or text in reading.missing or text.lower().lstrip("+-") == "nan":
        return math.nan
    return {"true": 1.0, "false": 0.0}.get(text.lower()) if len(text) < 6 else None


def plain_number(text: str) -> str | None:
    """Return a number with a currency, a percent sign or separated thousands without them; None for other texts."""
    inner = "".join(c for c in clean(text) if c not in "$€£%' \u00a0\u202f").replace("\u2212", "-")
    if inner[:1] == "(" and inner[-1:] == ")":
        inner = f"-{inner[1:-1]}"
    whole, mark, digits = inner.rpartition("." if inner.rfind(".") > inner.rfind(",") else ",")
    may_group = mark == "," and len(digits) == 3 and "." not in whole and whole.lstrip("-") != "0"
    if mark in whole or may_group:  # it separates thousands
        whole, mark, digits = whole + mark + digits, "", ""
    first, *groups = whole.replace(".", ",").split(",")
    plain = first + "".join(groups) + mark.replace(",", ".") + digits
    is_number = number_of(plain) is not None and all(len(group) == 3 for group in groups)
    return plain if is_number and plain != clean(text) else None


def safe_text(cell: Any) -> Any:
    """Return a text with an apostrophe before it if a spreadsheet would run it as a formula; others as they are."""
    formula = isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and number_of(cell) is None
    return f"'{cell}" if formula else cell


def _written(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(float(number))


Column = str | int
"""A column as a person names it: by its name, or by its position (0 the first, -1 the last)."""

Labelling = Literal["needed", "taken", "left"]
"""A file's labels: an error if absent; taken if present; or not looked at."""

_IDENTIFIERS = frozenset(("id", "index", "idx", "row", "rowid", "number", "nr", "no", "uuid", "guid", "key"))


def is_identifier(name: str) -> bool:
    """Return whether a column's name is that of an identifier, or it has none."""
    lower = name.lower()
    ends = lower.endswith(("_id", " id", "-id", ".id")) or (name.endswith("Id") and name != "Id")
    return lower in _IDENTIFIERS or lower.startswith("unnamed: ") or ends


def is_frame(X: Any) -> bool:
    """Return whether rows are a data frame, with columns that may have names."""
    return hasattr(X, "columns") or hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")


@dataclass(frozen=True)
class ColumnChoice:
    """What a config says about the columns of a table."""

    label: Column | None = None
    ignore: Sequence[Column] = ()
    categorical: Sequence[Column] = ()

    @property
    def has_names(self) -> bool:
        """Return whether a column is called by its name, so that there must be a header."""
        return any(isinstance(column, str) for column in (self.label, *self.ignore, *self.categorical))

    def form_in(self, where: str, names: tuple[str, ...] | None, width: int, notes: list[str]) -> TableForm:
        """Return the columns of a training table, without their categories.

        `notes` gets a sentence for a column that could be meant otherwise.

        Raises:
            DataError: for a duplicate name, a column that does not exist, no label or no feature.
        """
        if self.label is None:
            raise data_error(where, "label: the name or position (-1: the last) of the label's column", "none")
        at_name = {name: position for position, name in reversed(list(enumerate(names or ())))}

        def find(column: Column, key: str) -> int:
            text = clean(str(column))
            at = at_name.get(text)
            if isinstance(column, int) and -width <= column < width:  # a position if the table has it, else a name
                if names and at is not None and at != column % width:
                    place = f"data.{key}: {column} is the position of column {shown(names[column])}"
                    notes.append(f"{place}; for the column named {column} write '{column}' in quotes")
                return column % width
            if at is None:
                expected, hint = f"one of {some(names or ())}", did_you_mean(text, names or ())
                if isinstance(column, int):
                    expected, hint = f"a position from 0 to {width - 1}, or -{width} to -1", ""
                raise data_error(f"{where}:1", expected, f"{key} column {shown(column)}", hint)
            return at

        label = find(self.label, "label")
        ignored = {find(column, "ignore") for column in self.ignore}
        called = {clean(column) for column in self.ignore if isinstance(column, str)}
        ignored |= {position for position, name in enumerate(names or ()) if name in called}
        categorical = {find(column, "categorical") for column in self.categorical}
        if label in ignored or label in categorical:
            expected = f"the label {shown(self.label)} in neither 'ignore' nor 'categorical'"
            raise data_error(where, expected, "it in one of them", "remove it there")
        if ignored & categorical:
            column = min(ignored & categorical)
            title = shown(names[column]) if names else column
            raise data_error(where, f"column {title} in 'ignore' or 'categorical'", "it in both", "remove it from one")
        if names is not None:
            require_distinct(where, names, ignored)
        features = tuple(position for position in range(width) if position != label and position not in ignored)
        if not features:
            found = f"{counted(width, 'column')}, none of them a feature"
            raise data_error(where, "at least one feature", found)
        return TableForm(names, width, label, features, dict.fromkeys(sorted(categorical), ()))


@dataclass(frozen=True)
class TableForm:
    """The columns of a training table, and the categories found in them."""

    names: tuple[str, ...] | None  # the header's names, each different; None without a header
    width: int  # number of columns
    label: int | None  # position of the label; None in a table that has none
    features: tuple[int, ...]  # positions of the features, ascending
    categories: Mapping[int, tuple[str, ...]]  # by position; each value becomes a feature, 1 or 0
    reading: Reading = field(default_factory=Reading)  # of the training table; header: what was decided, None in 0.1
    unseen: str = "none"  # a category that training did not have is none of the known ones, or an error

    def name(self, position: int) -> str:
        """Return a column's name; its position in a table without a header."""
        return self.names[position] if self.names else str(position)

    def title(self, position: int) -> str:
        """Return a column in words: its name, or its position."""
        return f"column {shown(self.names[position])}" if self.names else f"column {position}"

    @property
    def identifiers(self) -> list[str]:
        """The names of identifiers that are no features."""
        used = {*self.features, self.label}
        return [name for at, name in enumerate(self.names or ()) if at not in used and is_identifier(name)]

    @property
    def origins(self) -> tuple[tuple[str, str | None], ...]:
        """The column that each of the D features comes from, and its category, None for a number."""
        values = ((at, value) for at in self.features for value in self.categories.get(at, (None,)))
        return tuple((self.name(at), value) for at, value in values)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The D features' names; `column=value` for a category."""
        return tuple(name if value is None else f"{name}={value}" for name, value in self.origins)

    def places_in(
        self, where: str, names: tuple[str, ...] | None, width: int, need_label: bool, notes: list[str]
    ) -> dict[int, int]:
        """Return position in the training table -> position in another one, of the features and of the label if there.

        They are found by name where training had names: columns that training did not know, or ignored, do not matter.
        Without names their number must be the same; in a table without the label those behind it are one further left.

        `notes` gets a sentence for columns that training did not have.

        Raises:
            DataError: if a column is missing or two have its name.
        """
        full, label, known = self.width, self.label, set(self.names or ())
        needed = self.features if label is None else (*self.features, label)
        if not known:
            if width == full:
                return {at: at for at in needed}
            if not need_label and label is not None and width == full - 1:
                return {at: at - (at > label) for at in self.features}
            if not need_label and width == len(self.features):
                return dict(zip(self.features, range(width), strict=True))
            widths = f"{full}" if need_label or label is None else f"{full}, or {full - 1} without the label"
            raise data_error(f"{where}:1", f"{widths}, as in training", counted(width, "column"))
        if names is None:
            expected = f"the columns of the training: {some(map(self.name, self.features))}"
            raise data_error(f"{where}:1", expected, f"{counted(width, 'column')} without names")
        at_name, counts = {name: at for at, name in enumerate(names)}, Counter(names)
        for position in needed:
            name, is_label = self.name(position), position == label
            if counts[name] > 1:
                raise data_error(f"{where}:1", "each name once", f"column name {shown(name)} {counts[name]} times")
            if not counts[name] and (need_label or not is_label):
                what = "label column" if is_label else "column"
                close = did_you_mean(name, [other for other in names if other not in known])
                raise data_error(f"{where}:1", f"the {what} {shown(name)} of the training", some(names), close)
        if extra := [name for name in names if name not in known]:
            columns = counted(len(extra), "column")
            notes.append(f"{where}: {columns} that training did not have: not used ({some(extra, 4)})")
        return {at: at_name[self.name(at)] for at in needed if counts[self.name(at)]}


def unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return a header's names; a column without one is called as pandas does, by a name that no other column has."""
    taken = set(cells)
    names = []
    for position, cell in enumerate(cells):
        name = named = cell or f"Unnamed: {position}"
        if not cell and named in taken:
            name = next(name for k in count(1) if (name := f"{named}.{k}") not in taken)
        names.append(name)
        taken.add(name)
    return tuple(names)


def require_distinct(where: str, names: Sequence[str], ignored: Collection[int]) -> None:
    """Refuse a header with a name that two columns have, unless all of that name are ignored."""
    counts = Counter(names)
    name = next((name for at, name in enumerate(names) if counts[name] > 1 and at not in ignored), None)
    if name is not None:
        found = f"{counts[name]} columns named {shown(name)}, the first at {names.index(name)}"
        way = "rename them, put all of them in 'ignore', or set data.header: false if it is data"
        raise data_error(f"{where}:1", "each name once", found, way)
