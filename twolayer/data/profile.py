"""What the columns of a table look like, and what they are taken for: label, identifier, category, number. Each guess
carries its reason."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import compute

from twolayer.data.columns import Reading, canonical, clean, is_identifier, number_of, plain_number, word_of
from twolayer.data.csv_reader import CsvFile
from twolayer.data.frames import encoded, labels_of_codes, numbers_of, numpy_of
from twolayer.data.labels import near_equal_notes
from twolayer.data.table import Leak, Opened, find_leaks, open_table
from twolayer.network.model import Array
from twolayer.utils.text import counted, data_error, did_you_mean, shown, some

Use = Literal["label", "ignore", "constant", "categorical", "number"]

LABEL_NAMES = (
    *("survived", "target", "class", "label", "y", "species", "outcome", "default", "churn", "diagnosis", "income"),
    *("response", "result", "category", "type", "kind", "quality", "fraud", "spam", "exited", "attrition", "approved"),
    *("status", "defect", "grade", "rating", "deposit", "subscribed", "digit", "letter"),
)
_NAME_POINTS = {name + ending: 6 - k / 20 for k, name in enumerate(LABEL_NAMES) for ending in ("", "s", "es")}
MAX_VALUES = 1000  # different values of a column that are counted
MAX_CATEGORIES = 50  # more one-hot features than this are rarely worth a column
MOST_MISSING = 0.6  # of a column's cells
MAX_LABELS = 1000
_FEW_FRACTIONS = 10  # more different numbers that are not whole are a quantity
_CLEAR = 1.5  # points between the first and the second candidate
_SAMPLE = 500  # different texts that are looked at where there are more
_LEAKS_SHOWN = 3
_DATE_FORMS = ("%d %b %Y", "%b %d %Y", "%B %d, %Y", "%b %d, %Y", "%d-%b-%Y", "%d-%b-%y")


@dataclass(eq=False)
class Profile:
    """What a column looks like, and what it is taken for."""

    position: int  # in the table
    name: str  # of the column; its position in a table without a header
    missing: int  # number of missing cells
    distinct: int  # different values, equal ones counted once, missing cells left out
    is_number: bool  # whether every cell that is there is a number or a boolean
    is_whole: bool  # whether every one is a whole number
    counts: dict[str, int]  # how often each value occurs; empty above `MAX_VALUES` of them, or for many fractions
    sample: list[str]  # some of the different values of a column of texts, as they are written
    data: Array  # (N,) its numbers, NaN where missing; or the codes of its texts, empty where those are too many
    use: Use = "number"  # what the column is taken for
    why: str = ""  # the reason
    points: float = 0  # the more, the likelier it is the label
    signs: str = ""  # what speaks for it as the label; "" if it cannot be


def _profile(column: Any, at: int, name: str, reading: Reading, decimal: str) -> Profile:
    numbers, text_row = numbers_of(column, reading, decimal, give_up=True)
    few: dict[str, int] = {}
    if text_row is None:
        known = numbers[~np.isnan(numbers)] + 0.0
        found = compute.value_counts(pa.Array.from_buffers(pa.float64(), len(known), [None, pa.py_buffer(known)]))
        values, counts = numpy_of(found.field(0), np.nan), numpy_of(found.field(1), 0)
        whole = bool(np.isfinite(values).all() and (values == np.trunc(values)).all())
        if len(values) <= (MAX_VALUES if whole else _FEW_FRACTIONS):
            few = dict(zip(map(canonical, values.tolist()), counts.tolist(), strict=True))
        return Profile(at, name, len(numbers) - len(known), len(values), True, whole, few, [], numbers)
    codes, texts = encoded(column)
    sample = texts[:_SAMPLE].to_pylist()
    if len(texts) > 2 * MAX_VALUES:
        return Profile(at, name, int((codes < 0).sum()), len(texts), False, False, {}, sample, codes[:0])
    labels = labels_of_codes(codes, texts, reading, decimal)
    missing, *occurs = np.bincount(labels.codes + 1, minlength=len(labels.values) + 1).tolist()
    few = dict(zip(map(str, labels.values), occurs, strict=True))
    sample = [text for text in sample if word_of(text, reading, decimal)]
    return Profile(at, name, missing, len(few), False, False, few, sample, labels.codes)


@dataclass(frozen=True)
class TableGuess:
    """What the columns of a table are taken for."""

    opened: Opened
    rows: int
    columns: Sequence[Profile]
    label: Profile
    lacking: Sequence[str]  # names of columns that the test rows do not have
    candidates: Sequence[Profile]  # columns that may be the label, the likeliest first
    leaks: Sequence[Leak]  # features that give the label away
    quantities: Sequence[str]  # a sentence for each column of many numbers that is called like a label, or is the last

    def of(self, use: Use) -> list[Profile]:
        """Return the columns taken for this."""
        return [column for column in self.columns if column.use == use]

    def why(self, use: Use) -> list[str]:
        """Return `name: reason` of the columns taken for this."""
        return [f"{shown(column.name)}: {column.why}" for column in self.of(use)]

    def reference(self, profile: Profile) -> str | int:
        """Return how a config calls a column."""
        return profile.position if self.opened.names is None else profile.name

    @property
    def is_clear(self) -> bool:
        """True if the first candidate leaves no doubt."""
        points = [profile.points for profile in self.candidates]
        return len(points) == 1 or (bool(points) and points[0] - points[1] >= _CLEAR)

    @property
    def warnings(self) -> list[str]:
        """What to look at before a training: labels that are nearly equal, leaks."""
        found = near_equal_notes(tuple(self.label.counts), f"label {shown(self.label.name)}")
        found += [f"possible leak: {leak}" for leak in self.leaks[:_LEAKS_SHOWN]]
        if len(self.leaks) > _LEAKS_SHOWN:
            found.append(f"possible leak: {len(self.leaks) - _LEAKS_SHOWN:,} more columns like these")
        return found


def guess_table(source: Any, label: str | None = None, test: Any = None, reading: Reading | None = None) -> TableGuess:
    """Guess what the columns of a table, in a file or a frame, are.

    Args:
        label: the label's column by name or position; None guesses it.
        test: another source with test rows; a single column that it does not have is likely the label.

    Raises:
        DataError: if no column can be the label, or none a feature; for a row that is too short or too long.
    """
    reading = reading or Reading()
    opened = open_table(source, reading, has_names=False)
    if isinstance(opened, CsvFile) and reading.header is None and opened.names is None and label in opened.first:
        opened.set_header(True)  # the label is called by a name that the first line holds
        opened.notes.clear()
    tested = () if test is None else open_table(test, reading, has_names=True).names or ()
    lacking = sorted(set(opened.names or ()) - set(tested)) if set(opened.names or ()) & set(tested) else []
    arrow = opened.columns([], range(opened.width)) if isinstance(opened, CsvFile) else opened.every_column()
    where, rows = opened.where, len(arrow[0])
    named = enumerate(opened.names or map(str, range(opened.width)))
    profiles = [_profile(arrow.pop(at), at, name, reading, opened.decimal) for at, name in named]
    candidates = _candidates(profiles, rows, lacking)
    last = profiles[-1:] if label is None else []
    quantities = [p.name for p in profiles if _is_quantity(p, rows) and (_points_of_name(p) or p in last)]
    way = "this program classifies: put it into a few ranges first"
    if label is not None:
        chosen = _find(where, profiles, label)
        chosen.why = "given"
        if _is_quantity(chosen, rows):
            title = f"{shown(chosen.name)}, a quantity with {chosen.distinct:,} different numbers"
            raise data_error(where, "a label of classes", title, way)
    elif candidates:
        chosen = candidates[0]
        chosen.why = f"a guess, {chosen.signs}; --label NAME sets it"
    else:
        found = "no column that repeats few values" + f", but quantities: {some(quantities, 3)}" * bool(quantities)
        raise data_error(where, "a label", found, "this program classifies: --label NAME names a column of classes")
    if chosen.distinct < 2:
        found = f"{shown(chosen.name)} with {chosen.distinct}"
        hint = f"{counted(chosen.missing, 'row')} without a label; a class such as 'NA' needs data.missing_values"
        raise data_error(where, "a label of two classes or more", found, hint if chosen.missing else "")
    for profile in profiles:
        if profile is not chosen:
            profile.use, profile.why = _guess_use(profile, rows)
    chosen.use = "label"
    features = [p for p in profiles if p.use in ("number", "categorical")]
    if not features:
        reasons = [f"{shown(p.name)}: {p.why}" for p in profiles if p is not chosen] or ["the label is all there is"]
        more = f"; and {len(reasons) - 3:,} more" if len(reasons) > 3 else ""
        found = f"no column that could be a feature ({'; '.join(reasons[:3])}{more})"
        raise data_error(where, "numbers, or text with few different values", found)
    leaks = find_leaks([(p.name, p.data) for p in features], class_codes(chosen))
    warned = [f"{shown(name)} is a quantity (many different numbers); {way}" for name in quantities]
    return TableGuess(opened, rows, profiles, chosen, lacking, candidates, leaks, warned)


def class_codes(label: Profile) -> Array:
    """Return the class indices (N,) of a label's column, -1 where missing; empty if it has too many values."""
    if not label.is_number:
        return label.data
    there = ~np.isnan(label.data)
    codes = np.full(len(label.data), -1)
    codes[there] = np.unique(label.data[there], return_inverse=True)[1]
    return codes


def _find(where: str, profiles: Sequence[Profile], label: str) -> Profile:
    """Return the column called by a name or, if none has it, by a position."""
    names = [profile.name for profile in profiles]
    if (name := clean(label)) in names:
        return profiles[names.index(name)]
    digits = label.removeprefix("-")
    if digits.isdecimal() and len(digits) < 9 and -len(profiles) <= int(label) < len(profiles):
        return profiles[int(label)]
    raise data_error(where, f"one of {some(names)}", f"column {shown(label)}", did_you_mean(label, names))


def _candidates(profiles: Sequence[Profile], rows: int, lacking: Sequence[str]) -> list[Profile]:
    for at, profile in enumerate(profiles):
        if not _may_be_label(profile, rows):
            continue
        signs = [
            (10 if [profile.name] == list(lacking) else 0, "the test rows do not have it"),
            (_points_of_name(profile), "by its name"),
            (2, "the last column") if at == len(profiles) - 1 else (at == 0, "the first column"),
        ]
        profile.points = sum(points for points, _ in signs) + (not profile.is_number)
        profile.points += 1.5 if profile.distinct <= 10 else 1 if profile.distinct <= 30 else 0
        reasons = [reason for points, reason in signs if points]
        profile.signs = ", ".join([*reasons, f"{profile.distinct} different values"])
    return sorted((profile for profile in profiles if profile.signs), key=lambda profile: -profile.points)


def _points_of_name(profile: Profile) -> float:
    """Return points for a name that labels have: more where it is the whole name, or earlier in the list."""
    words = [word.rstrip("?") for word in profile.name.lower().replace("-", "_").replace(" ", "_").split("_")]
    if whole := _NAME_POINTS.get("_".join(words)):
        return whole
    parts = [_NAME_POINTS.get(word, 0) for word in words if word not in ("y", "ys", "yes")]
    return max([1, *parts]) - 1 if len(words) > 1 else 0


def _may_be_label(profile: Profile, rows: int) -> bool:
    """Return whether the values repeat as classes do: text, or whole numbers, with few different ones."""
    most = min(100, rows // 5) if profile.is_number else min(MAX_LABELS, rows // 3)
    is_of_classes = profile.is_whole if profile.is_number else not _is_date(profile)
    return is_of_classes and 2 <= profile.distinct <= most and profile.missing < rows / 2


def _is_quantity(profile: Profile, rows: int) -> bool:
    return profile.is_number and profile.distinct > 10 and not _may_be_label(profile, rows)


def _guess_use(profile: Profile, rows: int) -> tuple[Use, str]:
    distinct, present, sample = profile.distinct, rows - profile.missing, profile.sample
    if not distinct:
        return "ignore", "no cell has a value"
    if distinct == 1 and not profile.missing:
        return "constant" if profile.is_number else "ignore", f"always {shown(next(iter(profile.counts)))}"
    if profile.missing > MOST_MISSING * rows:
        return "ignore", f"{profile.missing / rows:.0%} of its cells are missing"
    if profile.is_number:
        counts_up = np.nanmax(profile.data) - np.nanmin(profile.data) == distinct - 1
        if profile.is_whole and distinct == present > 10 and (counts_up or is_identifier(profile.name)):
            return "ignore", "an identifier: a different whole number in each row"
        return "number", ""
    if _is_date(profile):
        return "ignore", f"dates, such as {shown(sample[0])}: numbers such as the month or the age may help"
    odd = [text for text in sample if number_of(clean(text)) is None]
    if len(odd) > 2 and all(plain_number(text) is not None for text in odd):
        return "ignore", f"numbers written as {shown(odd[0])}: write {plain_number(odd[0])}"
    why = f"{distinct:,} different values"
    if 0 < len(odd) < len(sample):
        why += f", of which {some(odd, 3)} {'are no numbers' if len(odd) > 1 else 'is no number'}"
    if distinct <= min(MAX_CATEGORIES, max(2, present / 3)) and profile.counts:
        return "categorical", why
    if len(odd) < len(sample) / 2:
        return "ignore", f"{why}; it is a column of numbers once such cells are empty or mended"
    lengths = {len(text) for text in sample}
    is_code = len(lengths) == 1 and min(lengths) >= 8 and all(text.replace("-", "").isalnum() for text in sample)
    if distinct == present and is_code:
        return "ignore", "a code or hash: a different one in each row"
    if sum(text.count(" ") >= 3 for text in sample) > len(sample) / 2:
        return "ignore", f"free text, such as {shown(sample[0], 30)}"
    return "ignore", f"text with {distinct:,} different values in {present:,} rows: a name or an identifier"


def _is_date(profile: Profile) -> bool:
    """Return whether nearly all texts are dates."""
    texts = profile.sample[:50]
    return not profile.is_number and len(texts) > 0 and sum(map(_reads_as_date, texts)) >= 0.9 * len(texts)


def _reads_as_date(text: str) -> bool:
    text = clean(text)[:40]
    if not any(c.isdigit() for c in text) or len(text) < 6 or number_of(text) is not None:
        return False
    for parts in map(text.split()[0].split, "/.-"):  # 10.5-13 is a range
        if len(parts) == 3 and all(part.isdigit() and len(part) <= 4 for part in parts):
            return True
    for form in ("", *_DATE_FORMS):
        with suppress(ValueError):
            return bool(datetime.strptime(text, form) if form else datetime.fromisoformat(text))
    return False
