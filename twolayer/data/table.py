"""From a table's columns to the network's features: numbers as they are, each category as a feature of its own.

Files and frames come through the same functions here, so that they give the same features."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twolayer.data.columns import ColumnChoice, Labelling, Reading, TableForm, canonical, clean, number_of, plain_number
from twolayer.data.csv_reader import CsvFile, decide_header
from twolayer.data.files import TABLES, format_of, table_format
from twolayer.data.frames import Frame, frame_of, labels_of_column, numbers_of, read_frame
from twolayer.data.labels import MAX_CLASSES, MISSING, Labels, near_equal_notes
from twolayer.data.rows import Raw
from twolayer.network.model import Array
from twolayer.utils.text import counted, data_error, did_you_mean, shown, some

Opened = CsvFile | Frame

_Values = Array | Labels
"""A column's N rows: numbers, float64, NaN where a cell is missing; or the values of a category or label."""

_MOST_JUDGED = 1000  # columns that a training looks at for leaks; init looks at all

_BINS = 64
_LEAST_ACCURACY = 0.98
_LEAST_ROWS = 100  # held out, to judge a quantity
_MOST_CLASSES = 1000

MAX_CATEGORIES = 1000
_BLOCK_NUMBERS = 1 << 17
MAX_ENCODED = 1 << 25  # numbers, 256 MiB of float64; a table that holds more by itself may have eight times its own


def _raw(
    opened: Opened, columns: Mapping[int, _Values], form: TableForm, places: Mapping[int, int], notes: list[str]
) -> Raw:
    """Return the rows as a source has them; `places`: position in the training table -> position in this one."""
    names = form.feature_names
    positions = [position for position in form.features for _ in form.categories.get(position, "1")]

    def spelling(row: int, j: int | None) -> str:
        position = form.label if j is None else positions[j]
        return "" if position is None else opened.cell(row, places[position])

    found = None if form.label is None else columns.get(form.label)
    labels, place = found if isinstance(found, Labels) else None, opened.place
    X = _encode(columns, form, opened, notes)
    return Raw(opened.where, X, labels, None, place, place, lambda j: f"column {shown(names[j])}", spelling)


def _encode(columns: Mapping[int, _Values], form: TableForm, opened: Opened, notes: list[str]) -> Array:
    """Return the rows as (N, D) float64, NaN where a cell is missing (in all features of a missing category)."""
    n_rows, D = len(columns[form.features[0]]), len(form.origins)
    if n_rows * D > max(MAX_ENCODED, 8 * n_rows * len(form.features)):
        widest = max(form.categories, key=lambda position: len(form.categories[position]))
        found = f"{D:,} features for {n_rows:,} rows, {len(form.categories[widest]):,} of them for one column"
        raise data_error(f"{opened.where}: {form.title(widest)}", "fewer categories, or the column in 'ignore'", found)
    parts: list[tuple[Array, int]] = []  # the numbers of a feature, and 0; or codes, and the number of categories
    for position in form.features:
        column = columns[position]
        if isinstance(column, Labels):
            known, title = form.categories[position], form.title(position)
            codes, unknown = column.among(known)
            codes[unknown] = len(known)
            if len(unknown):
                met = list(dict.fromkeys(str(column.values[code]) for code in column.codes[unknown].tolist()))
                if form.unseen == "error":
                    expected = f"a category known from training: {some(known)}"
                    place = f"{opened.place(int(unknown[0]))}: {title}"
                    raise data_error(place, expected, shown(met[0]), did_you_mean(met[0], known))
                cells = f"{counted(len(unknown), 'cell')} with a category that training did not have ({some(met, 4)})"
                notes.append(f"{opened.where}: {title}: {cells}, taken as none of the known ones")
            parts.append((codes, len(known)))
        else:
            parts.append((column, 0))
    X = np.zeros((n_rows, D))
    step = max(256, _BLOCK_NUMBERS // D)  # rows that stay in the cache while all columns are written
    for start in range(0, n_rows, step):
        rows, at = slice(start, start + step), 0
        for values, n_known in parts:
            block = values[rows]
            if n_known:
                one_hot, is_missing = X[rows, at : at + n_known], block == MISSING
                is_known = (block < n_known) & ~is_missing
                one_hot[np.flatnonzero(is_known), block[is_known]] = 1
                one_hot[is_missing] = np.nan
            else:
                X[rows, at] = block
            at += max(n_known, 1)
    return X


def read_training_table(
    source: Any, choice: ColumnChoice, reading: Reading, constant: str, unseen: str, notes: list[str]
) -> tuple[Raw, TableForm]:
    """Return a training table, of a file or a frame, and what its columns are; categories are those of all its rows.

    With constant="drop", columns with one value are no features; `notes` gets what was decided.

    Raises:
        DataError: for any error in it.
    """
    opened = open_table(source, reading, choice.has_names)
    notes += opened.notes
    form = choice.form_in(opened.where, opened.names, opened.width, notes)
    label = form.label
    assert label is not None
    places = {at: at for at in (*form.features, label)}
    columns = _parse(opened, form, places, reading)
    if constant == "drop":
        form = _without_constant(columns, form, notes)
    known = {}
    for position in (*form.categories, label):
        column = columns[position]
        assert isinstance(column, Labels)
        title = form.title(position)
        if not column.values and position != label:
            expected = "some categories, or the column in 'ignore'"
            raise data_error(f"{opened.where}: {title}", expected, "a missing cell in every row")
        notes += near_equal_notes(column.values, f"label {title}" if position == label else title)
        known[position] = tuple(map(str, column.values))
    known.pop(label)
    decided = replace(reading, header=opened.names is not None)
    form = replace(form, categories=known, reading=decided, unseen=unseen)
    raw = _raw(opened, columns, form, places, notes)
    if len(form.features) > _MOST_JUDGED:
        return raw, form
    plain = {at: column.codes if isinstance(column, Labels) else column for at, column in columns.items()}
    leaks = find_leaks([(form.name(at), plain[at]) for at in form.features], plain[label], max_rows=2000)
    more = f" ({len(leaks) - 1} more columns like it)" if len(leaks) > 1 else ""
    return replace(raw, leaks=[f"possible leak: {leak}{more}" for leak in leaks[:1]]), form


def read_table(source: Any, form: TableForm, labels: Labelling, notes: list[str]) -> Raw:
    """Return a file, a frame or rows of cells (N, features) with a training table's columns; raises DataError."""
    opened = open_table(source, form.reading, form.names is not None, again=form)
    notes += opened.notes
    if isinstance(opened, Frame) and opened.names is None:  # rows of cells, the features in order
        if opened.width != len(form.features):
            expected = f"(N, {len(form.features)}): {some(map(form.name, form.features))}"
            raise data_error(opened.where, expected, counted(opened.width, "column"))
        places = dict(zip(form.features, range(opened.width), strict=True))
    else:
        names = opened.names if form.names else None
        places = form.places_in(opened.where, names, opened.width, labels == "needed", notes)
    if labels == "left" and form.label is not None:
        places.pop(form.label, None)
    return _raw(opened, _parse(opened, form, places, form.reading), form, places, notes)


def read_columns(
    path: Path, form: TableForm | None, names: Sequence[str], optional: bool = False
) -> dict[str, list[str]]:
    """Return columns of a table's file as texts, by name (`all`: all of them): those kept beside predictions.

    Raises:
        DataError: for a column that the file does not have, unless it is optional.
    """
    if form is None or format_of(path) not in TABLES:
        raise data_error(path, "a table whose columns have names", "a file of arrays", "leave --keep out")
    opened = open_table(path, replace(form.reading, missing_values=("",)), form.names is not None, again=form)
    at_name = {name: at for at, name in enumerate(opened.names or map(str, range(opened.width)))}
    chosen = list(at_name) if list(names) == ["all"] else [clean(name) for name in names]
    if optional:
        chosen = [name for name in chosen if name in at_name]
    for name in chosen:
        if name not in at_name:
            hint = did_you_mean(name, at_name)
            raise data_error(f"{path}:1", f"one of {some(at_name)}", f"--keep {shown(name)}", hint)
    columns = opened.columns([], [at_name[name] for name in chosen]) if chosen else {}
    return {
        name: [value if isinstance(value, str) else canonical(value) for value in columns[at_name[name]].to_pylist()]
        for name in chosen
    }


def open_table(source: Any, reading: Reading, has_names: bool, again: TableForm | None = None) -> Opened:
    """Open a file or a frame and decide whether it has a header.

    A training table must have one if the config calls a column by its name (`has_names`). Of another table, opened
    `again`, `reading` has what training recorded; a model of version 0.1 recorded nothing, and the first line decides.
    """
    if isinstance(source, Frame):
        return source
    if not isinstance(source, str | Path):
        return frame_of(source)
    path = Path(source)
    kind = table_format(path)
    if kind != "csv":
        return read_frame(path, kind, reading, has_names)
    opened = CsvFile(path, reading)
    if again is None or reading.header is not None:
        header = decide_header(str(path), opened.sample, reading, has_names, opened.notes, opened.decimal)
    else:
        is_number = [number_of(cell, opened.decimal) is not None for cell in opened.first]
        header = bool(set(again.names).intersection(opened.first)) if again.names else not any(is_number)
        what = f"{path}: the first line is taken for {'names' if header else 'a row of data'}"
        opened.notes.append(f"{what}; the model is of version 0.1 and has no record")
    opened.set_header(header)
    return opened


def _parse(opened: Opened, form: TableForm, places: Mapping[int, int], reading: Reading) -> dict[int, _Values]:
    """Parse the columns of a training table, as far as `places` has them: position in it -> position in this one."""
    most = dict.fromkeys(form.categories, MAX_CATEGORIES)
    if form.label is not None and form.label in places:
        most[form.label] = MAX_CLASSES
    numeric = [position for position in form.features if position not in most]
    arrow = opened.columns([places[at] for at in numeric], [places[at] for at in most], coded=True)
    missing = [number for value in reading.missing if (number := number_of(value)) is not None]  # such as -999
    columns: dict[int, _Values] = {}
    for position in numeric:
        values, bad = numbers_of(arrow.pop(places[position]), reading, opened.decimal)
        if bad is not None:
            cell = opened.cell(bad, places[position]).strip()
            plain = plain_number(cell)
            expected, hint = "a number", "name the column in 'categorical' or 'ignore'"
            if plain is not None:
                is_point = cell.count(",") == 1 and "." not in cell
                expected = f"a number written as {plain}"
                hint = "if the comma is a decimal point, set data.decimal: ','" if is_point else ""
            if opened.names is None and bad == 0:
                hint = "if the first line holds names, set data.header: true"
            raise data_error(f"{opened.place(bad)}: {form.title(position)}", expected, shown(cell), hint)
        columns[position] = np.where(np.isin(values, missing), np.nan, values) if missing else values
    for position, limit in most.items():
        name = f"{opened.where}: {form.title(position)}"
        columns[position] = labels_of_column(arrow[places[position]], reading, opened.decimal, name, limit)
    return columns


def _without_constant(columns: Mapping[int, _Values], form: TableForm, notes: list[str]) -> TableForm:
    """Leave out the features that have one value in all rows; note their number."""

    def varies(column: _Values) -> bool:
        if isinstance(column, Labels):
            return len(column.values) != 1 or column.codes.min() == MISSING
        return bool(column[0] != column[-1] or (column != column[0]).any())

    features = tuple(position for position in form.features if varies(columns[position]))
    dropped = len(form.features) - len(features)
    if not dropped or not features:
        return form
    notes.append(f"{dropped:,} of {len(form.features):,} feature columns have one value in all rows: left out")
    return replace(form, features=features, categories={at: () for at in form.categories if at in set(features)})


class Leak(NamedTuple):
    """A column that predicts the label almost alone, and its accuracy on held-out rows by the most frequent label of
    each of its values or ranges; a copy, if each value belongs to one label."""

    name: str
    accuracy: float
    is_copy: bool

    def __str__(self) -> str:
        what = "is a copy of the label" if self.is_copy else "predicts the label almost alone"
        right = f"{self.accuracy:.1%} of held-out rows right by its values only"
        return f"column {shown(self.name)} {what} ({right}): is it known before the label is?"


def find_leaks(columns: Sequence[tuple[str, Array]], y: NDArray[np.integer[Any]], max_rows: int = 20_000) -> list[Leak]:
    """Return the columns that predict the label almost alone, the most accurate first.

    Half of the rows give the most frequent label for each value of a column, or for each of 64 ranges of a quantity;
    the other half judges it. None is returned where few rows or a rare second class can show such a column by chance.

    Args:
        columns: name and values (N,) of each: floats of a quantity, or integers of categories.
        y: (N,) class indices, -1 for no label.
        max_rows: rows that are looked at, drawn at random.
    """
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(y >= 0)
    rows = rng.permutation(rows)[:max_rows]
    half = len(rows) // 2
    if half < 20 or not columns:
        return []
    y = y[rows]
    n_classes = int(y.max()) + 1
    base = float(np.bincount(y[half:]).max() / (len(y) - half))
    chance = (len(y) - half) * -math.log10(max(base, 1e-3)) if base < 1 else 0
    if n_classes > _MOST_CLASSES or chance < 3 + math.log10(len(columns)):
        return []
    found = []
    for name, values in columns:
        bins = _bins(values[rows], half)
        n_bins = int(bins.max()) + 1
        counts = np.bincount(bins[:half] * n_classes + y[:half], minlength=n_bins * n_classes).reshape(n_bins, -1)
        guess = np.where(counts.any(axis=1), counts.argmax(axis=1), counts.sum(axis=0).argmax())
        accuracy = float((guess[bins[half:]] == y[half:]).mean())
        is_quantity = values.dtype.kind == "f" and counts.any(axis=1).sum() > n_classes
        enough = half >= _LEAST_ROWS or not is_quantity  # few rows of a quantity are easily parted
        if enough and accuracy >= _LEAST_ACCURACY and 1 - accuracy <= 0.1 * (1 - base):
            is_copy = bool(counts.any(axis=1).sum() == counts.any(axis=0).sum())
            found.append(Leak(name, accuracy, is_copy))
    return sorted(found, key=lambda leak: (-leak.is_copy, -leak.accuracy))


def _bins(values: Array, half: int) -> NDArray[np.intp]:
    """Return (N,) the number of each row's value, or of its range in the first half, 0 for a missing one."""
    if values.dtype.kind in "iu":
        return values.astype(np.intp) + 1
    known = values[:half][np.isfinite(values[:half])]
    edges = np.unique(known)
    many = len(edges) > _BINS
    if many:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins: NDArray[np.intp] = np.searchsorted(edges, values, "right" if many else "left") + 1
    bins[np.isnan(values)] = 0
    return bins
