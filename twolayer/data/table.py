"""From a table's columns to the network's features: numbers as they are, each category as a feature of its own.

Files and frames come through the same functions here, so that they give the same features."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twolayer.data.cells import Reading, canonical, clean, number_of, number_of_value, plain_number
from twolayer.data.columns import ColumnChoice, Labelling, TableForm, find_columns, form_of_header
from twolayer.data.csv_reader import CsvFile
from twolayer.data.files import TABLES, format_of, table_format
from twolayer.data.frames import Frame, frame_of, read_frame
from twolayer.data.labels import (
    MAX_CLASSES,
    MISSING,
    Labels,
    encoded,
    find_leaks,
    labels_of_column,
    near_equal_note,
    numpy_of,
)
from twolayer.network.model import Array
from twolayer.utils.text import counted, data_error, did_you_mean, shown, some

Opened = CsvFile | Frame

_MOST_JUDGED = 1000  # columns that a training looks at for leaks; init looks at all

MAX_CATEGORIES = 1000
MAX_ENCODED = 1 << 25  # numbers, 256 MiB of float64; a table that holds more by itself may have eight times its own


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows as a source has them.

    Attributes:
        name: the source, for messages.
        X: (N, D) numbers of any type, in memory or mapped; NaN where a table's cell is missing.
        labels: of the rows; None if the source has none.
        image_shape: (height, width) or (height, width, colours) of a row that is a picture; otherwise None.
        place, label_place: words for where row i, and its label, is.
        feature: words for feature j.
        spelling: how row i of a table writes feature j, or its label (None).
        leaks: sentences on columns of a training table that give the label away.
    """

    name: str
    X: Array
    labels: Labels | None
    image_shape: tuple[int, ...] | None
    place: Callable[[int], str]
    label_place: Callable[[int], str]
    feature: Callable[[int], str]
    spelling: Callable[[int, int | None], str] = lambda row, j: ""
    leaks: Sequence[str] = ()

    @property
    def mapped(self) -> bool:
        """Return whether the numbers are in a file and not in memory."""
        owner: Any = self.X
        while isinstance(owner, np.ndarray):
            owner = owner.base
        return isinstance(owner, mmap.mmap)


class _Parsed(NamedTuple):
    """A table's columns by their position in the training table.

    Attributes:
        numbers: (N, numeric features) float64, NaN where a cell is missing.
        categories: the codes and distinct values of the other features; the code -1 where missing.
        labels: of the rows; None if the table has no label column.
    """

    numbers: Array
    categories: dict[int, Labels]
    labels: Labels | None


def _raw(opened: Opened, table: _Parsed, form: TableForm, places: Mapping[int, int], notes: list[str]) -> Raw:
    """Return the rows as a source has them; `places`: position in the training table -> position in this one."""
    names = form.feature_names
    positions = [position for position in form.features for _ in form.categories.get(position, "1")]

    def spelling(row: int, j: int | None) -> str:
        position = form.label if j is None else positions[j]
        return "" if position is None else opened.cell(row, places[position])

    return Raw(
        opened.where,
        _encode(table, form, opened, notes),
        table.labels,
        None,
        place=opened.place,
        label_place=opened.place,
        feature=lambda j: f"column {shown(names[j])}",
        spelling=spelling,
    )


def _encode(table: _Parsed, form: TableForm, opened: Opened, notes: list[str]) -> Array:
    """Return the rows as (N, D) float64, NaN where a cell is missing (in all features of a missing category)."""
    if not form.categories:
        return table.numbers
    n_rows, n_numbers = table.numbers.shape
    D = n_numbers + sum(map(len, form.categories.values()))
    if n_rows * D > max(MAX_ENCODED, 8 * n_rows * len(form.features)):
        widest = max(form.categories, key=lambda position: len(form.categories[position]))
        found = f"{D:,} features for {n_rows:,} rows, {len(form.categories[widest]):,} of them for one column"
        raise data_error(f"{opened.where}: {form.title(widest)}", "fewer categories, or the column in 'ignore'", found)
    X = np.zeros((n_rows, D))
    numbers = iter(table.numbers.T)
    at = 0
    for position in form.features:
        width = len(form.categories.get(position, "1"))
        if position in form.categories:
            _encode_column(table, form, position, X[:, at : at + width], opened, notes)
        else:
            X[:, at] = next(numbers)
        at += width
    return X


def _encode_column(
    table: _Parsed, form: TableForm, position: int, out: Array, opened: Opened, notes: list[str]
) -> None:
    """Fill `out` (N, values) with the one-hot rows of a categorical column."""
    column, known = table.categories[position], form.categories[position]
    there = np.flatnonzero(column.codes != MISSING)
    codes = column.codes_in(known)[column.codes[there]]
    is_known = codes != MISSING
    unknown = there[~is_known]
    if len(unknown):
        values = list(dict.fromkeys(str(column.values[code]) for code in column.codes[unknown].tolist()))
        if form.unseen == "error":
            place = f"{opened.place(int(unknown[0]))}: {form.title(position)}"
            expected = f"a category known from training: {some(known)}"
            raise data_error(place, expected, shown(values[0]), did_you_mean(values[0], known))
        one = len(unknown) == 1
        notes.append(
            f"{opened.where}: {form.title(position)}: {counted(len(unknown), 'cell')} with a category that "
            f"training did not have ({some(values, 4)}) count{'s' * one} as none of the known ones"
        )
    out[there[is_known], codes[is_known]] = 1
    out[column.codes == MISSING] = np.nan


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
    form = form_of_header(opened.where, opened.names, opened.width, choice, notes)
    label = form.label
    assert label is not None
    places = {at: at for at in (*form.features, label)}
    table = _parse(opened, form, places, reading)
    if constant == "drop":
        table, form = _without_constant(table, form, notes)
    for position, column in table.categories.items():
        if not column.values:
            place = f"{opened.where}: {form.title(position)}"
            raise data_error(place, "some categories, or the column in 'ignore'", "a missing cell in every row")
    assert table.labels is not None
    titled = [(form.title(position), column) for position, column in table.categories.items()]
    for title, column in (*titled, (f"label {form.title(label)}", table.labels)):
        notes += filter(None, [near_equal_note(column.values, title)])
    known = {position: tuple(map(str, column.values)) for position, column in table.categories.items()}
    decided = replace(reading, header=opened.names is not None)
    form = replace(form, categories=known, reading=decided, unseen=unseen)
    return replace(_raw(opened, table, form, places, notes), leaks=_leak_notes(table, form)), form


def _leak_notes(table: _Parsed, form: TableForm) -> list[str]:
    """Return a sentence on the column that gives the label away the most, if the table is not too wide."""
    if table.labels is None or len(form.features) > _MOST_JUDGED:
        return []
    numeric = (position for position in form.features if position not in form.categories)
    columns = [(form.name(at), values) for at, values in zip(numeric, table.numbers.T, strict=True)]
    columns += [(form.name(at), column.codes) for at, column in table.categories.items()]
    leaks = find_leaks(columns, table.labels.codes, max_rows=2000)
    more = f" ({len(leaks) - 1} more columns like it)" if len(leaks) > 1 else ""
    return [f"possible leak: {leaks[0]}{more}"] if leaks else []


def read_table(source: Any, form: TableForm, labels: Labelling, notes: list[str]) -> Raw:
    """Return a table, of a file, a frame or rows of cells (N, features), whose columns are those of a training table.

    Raises:
        DataError: for any error in it.
    """
    opened = _open_again(source, form)
    notes += opened.notes
    if isinstance(opened, Frame) and opened.names is None:  # rows of cells, the features in order
        if opened.width != len(form.features):
            expected = f"(N, {len(form.features)}): {some(map(form.name, form.features))}"
            raise data_error(opened.where, expected, counted(opened.width, "column"))
        places = dict(zip(form.features, range(opened.width), strict=True))
    else:
        names = opened.names if form.names else None
        places = find_columns(opened.where, form, names, opened.width, labels == "needed", notes)
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
    opened = _open_again(path, replace(form, reading=replace(form.reading, missing_values=("",))))
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


def open_table(source: Any, reading: Reading, has_names: bool) -> Opened:
    """Open a training table, a file or a frame, and decide whether it has a header.

    It must have one if the config calls a column by its name (`has_names`).
    """
    opened = _open(source, reading, has_names)
    if isinstance(opened, CsvFile):
        opened.set_header(opened.decide_header(has_names))
    return opened


def _open(source: Any, reading: Reading, has_names: bool) -> Opened:
    if isinstance(source, Frame):
        return source
    if not isinstance(source, str | Path):
        return frame_of(source)
    path = Path(source)
    form = table_format(path)
    return CsvFile(path, reading) if form == "csv" else read_frame(path, form, reading, has_names)


def _open_again(source: Any, form: TableForm) -> Opened:
    """Open another table of the training's kind.

    Whether it has a header is what training recorded; a model of version 0.1 recorded nothing, and the first line
    decides.
    """
    opened = _open(source, form.reading, form.names is not None)
    if isinstance(opened, Frame):
        return opened
    header = form.reading.header
    if header is None:
        is_number = [number_of(cell, opened.decimal) is not None for cell in opened.first]
        header = bool(set(form.names).intersection(opened.first)) if form.names else not any(is_number)
        what = "names" if header else "a row of data"
        opened.notes.append(
            f"{opened.where}: the first line is taken for {what}; the model is of version 0.1 and has no record"
        )
    opened.set_header(header)
    return opened


def _parse(opened: Opened, form: TableForm, places: Mapping[int, int], reading: Reading) -> _Parsed:
    """Parse the columns of a training table, as far as `places` has them: position in it -> position in this one."""
    where, decimal, label = opened.where, opened.decimal, form.label
    numeric = [position for position in form.features if position not in form.categories]
    texts = [places[position] for position in form.categories]
    texts += [places[label]] if label is not None and label in places else []
    columns = opened.columns([places[position] for position in numeric], texts, coded=True)
    numbers = np.empty((len(next(iter(columns.values()))), len(numeric)))
    missing = [number for value in reading.missing if (number := number_of(value)) is not None]  # such as -999
    for j, position in enumerate(numeric):
        at = places[position]
        row = fill_numbers(columns.pop(at), numbers[:, j], reading, decimal)
        if row is not None:
            raise _no_number(opened, row, at, form.title(position))
        if missing:
            numbers[np.isin(numbers[:, j], missing), j] = np.nan

    def coded(position: int, most: int) -> Labels:
        name = f"{where}: {form.title(position)}"
        return labels_of_column(columns[places[position]], reading, decimal, name, most)

    categories = {position: coded(position, MAX_CATEGORIES) for position in form.categories}
    labels = coded(label, MAX_CLASSES) if label is not None and label in places else None
    return _Parsed(numbers, categories, labels)


def fill_numbers(column: Any, out: Array, reading: Reading, decimal: str, give_up: bool = False) -> int | None:
    """Fill `out` (N,) with a pyarrow column's numbers, NaN where missing; return the first row that has no number.

    With `give_up`, a single text among the first values ends it, without a look at the others.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.uint8()), pa.uint8()
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        out[:] = np.nan if pa.types.is_null(kind) else _as_float64(column)
        return None
    if decimal == "." and not pa.types.is_dictionary(kind):
        try:
            out[:] = _as_float64(column)
            return None
        except pa.ArrowInvalid:
            pass
    codes, values = encoded(column)
    if give_up and any(number_of_value(value, reading, decimal) is None for value in values[:50].to_pylist()):
        return 0
    numbers = [number_of_value(value, reading, decimal) for value in values.to_pylist()]
    known = np.array([*(np.nan if number is None else number for number in numbers), np.nan])
    out[:] = known[codes]
    bad = np.array([*(number is None for number in numbers), False])[codes]
    return int(np.argmax(bad)) if bad.any() else None


def _as_float64(column: Any) -> Array:
    """Return the numbers (N,) of a pyarrow column, NaN where null."""
    import pyarrow as pa

    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    return numpy_of(column, np.nan)


def _no_number(opened: Opened, row: int, at: int, title: str) -> Exception:
    cell = opened.cell(row, at).strip()
    expected, hint = "a number", "name the column in 'categorical' or 'ignore'"
    plain = plain_number(cell)
    if plain is not None:
        expected = f"a number written as {plain}"
        hint = (
            "if the comma is a decimal point, set data.decimal: ','" if cell.count(",") == 1 and "." not in cell else ""
        )
    if opened.names is None and row == 0:
        hint = "if the first line holds names, set data.header: true"
    return data_error(f"{opened.place(row)}: {title}", expected, shown(cell), hint)


def _without_constant(table: _Parsed, form: TableForm, notes: list[str]) -> tuple[_Parsed, TableForm]:
    """Leave out the features that have one value in all rows; note their number."""
    numeric = [position for position in form.features if position not in form.categories]
    same = (table.numbers == table.numbers[:1]).all(axis=0)
    dropped = {position for position, one in zip(numeric, same.tolist(), strict=True) if one}
    dropped |= {at for at, column in table.categories.items() if len(column.values) == 1 and column.codes.min() >= 0}
    features = tuple(position for position in form.features if position not in dropped)
    if not dropped or not features:
        return table, form
    notes.append(f"{len(dropped):,} of {len(form.features):,} feature columns have one value in all rows: left out")
    kept = {position: column for position, column in table.categories.items() if position not in dropped}
    table = _Parsed(np.ascontiguousarray(table.numbers[:, ~same]), kept, table.labels)
    return table, replace(form, features=features, categories=dict.fromkeys(kept, ()))
