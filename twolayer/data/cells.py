"""What a cell means: nothing, a number, a boolean or a text, and the same whether a file or a frame writes it."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MISSING_VALUES = (
    *("", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Spellings of a missing cell: pandas' default list, and the question mark of the UCI tables."""

MISSING_VALUES_0_1 = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?")
"""The spellings of version 0.1, for its models."""

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
