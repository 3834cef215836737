"""What the columns of a table are taken for: label, identifier, category, number. Each guess carries its reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from twolayer.data.cells import clean, number_of
from twolayer.data.columns import is_identifier
from twolayer.data.profile import Leak, Profile, find_leaks
from twolayer.utils.text import data_error, did_you_mean, shown, some

Use = Literal["label", "ignore", "constant", "categorical", "number"]

LABEL_NAMES = (
    *("survived", "target", "class", "label", "y", "species", "outcome", "default", "churn", "diagnosis", "income"),
    *("response", "result", "category", "type", "kind", "quality", "fraud", "spam", "exited", "attrition", "approved"),
    *("status", "defect", "grade", "rating", "deposit", "subscribed", "digit", "letter"),
)
MAX_CATEGORIES = 50  # more one-hot features than this are rarely worth a column
MOST_MISSING = 0.6  # of a column's cells
MAX_LABELS = 1000
_CLEAR = 1.5  # points between the first and the second candidate


@dataclass(frozen=True)
class Column:
    """One column of a table and what it is taken for; `why` is the reason."""

    profile: Profile
    use: Use = "number"
    why: str = ""


@dataclass(frozen=True)
class Candidate:
    """A column that may be the label; the more points, the likelier."""

    profile: Profile
    points: float
    why: str


@dataclass(frozen=True)
class TableGuess:
    """A table's columns.

    Attributes:
        columns: in the table's order.
        rows: number of rows.
        named: whether columns are called by their names.
        candidates: columns that may be the label, the likeliest first.
        leaks: columns that predict the label almost alone.
        quantities: names of columns that are called like a label, or are the last, and have too many values.
    """

    columns: tuple[Column, ...]
    rows: int
    named: bool
    candidates: tuple[Candidate, ...]
    leaks: tuple[Leak, ...]
    quantities: tuple[str, ...]

    def of(self, use: Use) -> list[Profile]:
        """Return the columns taken for this."""
        return [column.profile for column in self.columns if column.use == use]

    def why(self, use: Use) -> list[str]:
        """Return `name: reason` of the columns taken for this."""
        return [f"{shown(column.profile.name)}: {column.why}" for column in self.columns if column.use == use]

    def reference(self, profile: Profile) -> str | int:
        """Return how a config calls a column."""
        return profile.name if self.named else profile.position

    @property
    def label(self) -> Profile:
        """The label's column."""
        return self.of("label")[0]

    @property
    def is_clear(self) -> bool:
        """Return whether the first candidate leaves no doubt."""
        points = [candidate.points for candidate in self.candidates]
        return len(points) == 1 or (bool(points) and points[0] - points[1] >= _CLEAR)


def guess_columns(
    where: str, profiles: Sequence[Profile], rows: int, named: bool, label: str | None, lacking: Sequence[str] = ()
) -> TableGuess:
    """Guess what the columns of a table are.

    Args:
        where: the table, for messages.
        profiles: of its columns.
        rows: number of rows.
        named: whether it has a header.
        label: the label's column by name or position; None guesses it.
        lacking: names of columns that the test rows do not have; a single one is likely the label.

    Raises:
        DataError: if no column can be the label, or none a feature.
    """
    candidates = _candidates(profiles, rows, lacking)
    quantities = tuple(p.name for p in profiles if _is_quantity(p, rows) and (_named(p) or p is profiles[-1]))
    if label is not None:
        chosen, why = _find(where, profiles, label), "given"
        if not _may_be_label(chosen, rows) and _is_quantity(chosen, rows):
            title = f"{shown(chosen.name)}, a quantity with {chosen.distinct:,} different numbers"
            raise data_error(where, "a label of classes", title, "this program classifies: put it into a few ranges")
    elif candidates:
        chosen, why = candidates[0].profile, f"a guess, {candidates[0].why}; --label NAME sets it"
    else:
        found = "no column that repeats few values"
        if quantities:
            found += f" ({some(quantities, 3)} {'is a quantity' if len(quantities) == 1 else 'are quantities'})"
        hint = "this program classifies: --label NAME names a column of classes"
        raise data_error(where, "a label", found, hint)
    if chosen.distinct < 2:
        raise data_error(where, "a label of two classes or more", f"{shown(chosen.name)} with {chosen.distinct}")
    columns = []
    for profile in profiles:
        columns.append(
            Column(profile, "label", why) if profile is chosen else Column(profile, *_guess_use(profile, rows))
        )
    features = [c.profile for c in columns if c.use in ("number", "categorical")]
    if not features:
        raise data_error(where, "numbers, or text with few different values", "no column that could be a feature")
    leaks = find_leaks([(p.name, p.data) for p in features], class_codes(chosen))
    return TableGuess(tuple(columns), rows, named, tuple(candidates), tuple(leaks), quantities)


def class_codes(label: Profile) -> np.ndarray:
    """Return the class indices (N,) of a label's column, -1 where missing; empty if it has too many values."""
    if not label.is_number:
        return label.data
    there = ~np.isnan(label.data)
    codes = np.full(len(label.data), -1)
    codes[there] = np.unique(label.data[there], return_inverse=True)[1]
    return codes


def _find(where: str, profiles: Sequence[Profile], label: str) -> Profile:
    """The column called by a name or, if none has it, by a position."""
    named = [profile for profile in profiles if profile.name == clean(label)]
    if named:
        return named[0]
    digits = label.removeprefix("-")
    if digits.isdecimal() and len(digits) < 9 and -len(profiles) <= int(label) < len(profiles):
        return profiles[int(label)]
    names = [profile.name for profile in profiles]
    raise data_error(where, f"one of {some(names)}", f"column {shown(label)}", did_you_mean(label, names))


def _candidates(profiles: Sequence[Profile], rows: int, lacking: Sequence[str]) -> list[Candidate]:
    found = []
    for at, profile in enumerate(profiles):
        if not _may_be_label(profile, rows):
            continue
        values = f"{profile.distinct} different values"
        points, why = 0.0, list[str]()
        if [profile.name] == list(lacking):
            points, why = points + 10, [*why, "the test rows do not have it"]
        if name_points := _named(profile):
            points, why = points + name_points, [*why, "by its name"]
        if at in (len(profiles) - 1, 0):
            points, why = points + (2 if at else 1), [*why, "the last column" if at else "the first column"]
        points += (not profile.is_number) + (1.5 if profile.distinct <= 10 else 1 if profile.distinct <= 30 else 0)
        found.append(Candidate(profile, points, ", ".join([*why, values])))
    return sorted(found, key=lambda candidate: -candidate.points)


def _named(profile: Profile) -> float:
    """Points for a name that labels have: more where it is the whole name, or earlier in the list."""
    words = [word.rstrip("?") for word in profile.name.lower().replace("-", "_").replace(" ", "_").split("_")]
    for k, name in enumerate(LABEL_NAMES):
        forms = {name, f"{name}s", f"{name}es"}
        if "_".join(words) in forms:
            return 6 - k / 20
        if len(words) > 1 and len(name) > 1 and forms & set(words):
            return 5 - k / 20
    return 0


def _may_be_label(profile: Profile, rows: int) -> bool:
    """Classes repeat: text, or whole numbers, with few different values."""
    if _is_date(profile):
        return False
    most = min(MAX_LABELS, rows // 3)
    if profile.is_number:
        most = min(100, rows // 5) if profile.is_whole else 0
    return 2 <= profile.distinct <= most and profile.missing < rows / 2


def _is_quantity(profile: Profile, rows: int) -> bool:
    return profile.is_number and profile.distinct > 2 and not _may_be_label(profile, rows) and profile.distinct > 10


def _guess_use(profile: Profile, rows: int) -> tuple[Use, str]:
    distinct, present = profile.distinct, rows - profile.missing
    if not distinct:
        return "ignore", "no cell has a value"
    if distinct == 1 and not profile.missing:
        return "constant" if profile.is_number else "ignore", f"always {shown(next(iter(profile.counts)))}"
    if profile.missing > MOST_MISSING * rows:
        return "ignore", f"{profile.missing / rows:.0%} of its cells are missing"
    if profile.is_number:
        if profile.is_whole and distinct == present > 10 and (is_identifier(profile.name) or _counts_up(profile)):
            return "ignore", "an identifier: a different whole number in each row"
        return "number", ""
    if _is_date(profile):
        return "ignore", f"dates, such as {shown(profile.sample[0])}: numbers such as the month or the age may help"
    odd = [text for text in profile.sample if number_of(clean(text)) is None]
    plain = [clean(text).replace(",", "").replace("%", "").lstrip("$€£ ") for text in odd]
    if len(odd) > 2 and all(number_of(text) is not None for text in plain):
        return "ignore", f"numbers written as {shown(odd[0])}: write {plain[0]}"
    why = f"{distinct:,} different values"
    if 0 < len(odd) < len(profile.sample):
        why += f", of which {some(odd, 3)} {'are no numbers' if len(odd) > 1 else 'is no number'}"
    if distinct <= min(MAX_CATEGORIES, max(2, present / 3)) and profile.counts:
        return "categorical", why
    if len(odd) < len(profile.sample) / 2:
        return "ignore", f"{why}; it is a column of numbers once such cells are empty or mended"
    if distinct == present and _is_hash(profile.sample):
        return "ignore", "a code or hash: a different one in each row"
    if sum(text.count(" ") >= 3 for text in profile.sample) > len(profile.sample) / 2:
        return "ignore", f"free text, such as {shown(profile.sample[0], 30)}"
    return "ignore", f"text with {distinct:,} different values in {present:,} rows: a name or an identifier"


def _is_hash(texts: Collection[str]) -> bool:
    lengths = {len(text) for text in texts}
    return len(lengths) == 1 and min(lengths) >= 8 and all(text.replace("-", "").isalnum() for text in texts)


def _is_date(profile: Profile) -> bool:
    """Return whether nearly all texts are dates."""
    texts = profile.sample[:50]
    return not profile.is_number and len(texts) > 0 and sum(map(_reads_as_date, texts)) >= 0.9 * len(texts)


def _reads_as_date(text: str) -> bool:
    text = clean(text)[:40]
    if not any(c.isdigit() for c in text) or len(text) < 6 or number_of(text) is not None:
        return False
    try:
        datetime.fromisoformat(text)
        return True
    except ValueError:
        pass
    first = text.split()[0]
    for mark in "/.-":
        parts = first.split(mark)
        if len(parts) == 3 and all(part.isdigit() and len(part) <= 4 for part in parts):
            return True
    for form in ("%d %b %Y", "%b %d %Y", "%B %d, %Y", "%b %d, %Y", "%d-%b-%Y", "%d-%b-%y"):
        try:
            datetime.strptime(text, form)
            return True
        except ValueError:
            continue
    return False


def _counts_up(profile: Profile) -> bool:
    """Return whether the values are consecutive whole numbers."""
    low, high = np.nanmin(profile.data), np.nanmax(profile.data)
    return bool(high - low == profile.distinct - 1)
