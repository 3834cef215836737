"""From a table's columns to the network's features: numbers as they are, each category as a feature of its own.

Files and frames come through the same functions here, so that they give the same features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from twolayer.data.cells import Reading, canonical, clean, number_of, number_of_value
from twolayer.data.columns import ColumnChoice, Labelling, Layout, features_in_order, find_columns, layout_of_header
from twolayer.data.csv_reader import CsvFile
from twolayer.data.files import TABLES, format_of, table_format
from twolayer.data.frames import Frame, frame_of, read_frame
from twolayer.data.labels import MAX_CLASSES, MISSING, Labels, encoded, labels_of_column, near_equal_note, numpy_of
from twolayer.network.model import Array
from twolayer.utils.text import data_error, did_you_mean, shown, some

Opened = CsvFile | Frame

MAX_CATEGORIES = 1000
MAX_ENCODED = 1 << 25  # numbers, 256 MiB of float64; a table that holds more by itself may have eight times its own


@dataclass(frozen=True, eq=False)
class ParsedTable:
    """A table of N rows, its columns as numbers and codes.

    Attributes:
        numbers: (N, numeric features) float64, NaN where a cell is missing.
        categories: position in the layout -> the column's codes and distinct values; the code -1 where missing.
        labels: of the rows; None if the table has no label column.
        place: words for where row i is, `file:line`.
        cell: how row i writes the column at a position of the layout.
    """

    numbers: Array
    categories: dict[int, Labels]
    labels: Labels | None
    place: Callable[[int], str]
    cell: Callable[[int, int], str]


@dataclass(frozen=True)
class TableForm:
    """The columns of a training table, and the categories found in them.

    Attributes:
        layout: the columns.
        categories: for each categorical column, by position, its values; each becomes a feature that is 1 or 0.
        reading: how the training table was read; its header is what was decided, None in a model of version 0.1.
        unseen: none: a category that training did not have counts as none of the known ones; error: it is refused.
    """

    layout: Layout
    categories: Mapping[int, tuple[str, ...]]
    reading: Reading = field(default_factory=Reading)
    unseen: str = "none"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The D features' names; `column=value` for a category."""
        return tuple(name if value is None else f"{name}={value}" for name, value in self.origins)

    @property
    def origins(self) -> tuple[tuple[str, str | None], ...]:
        """The column that each of the D features comes from, and its category, None for a number."""
        found: list[tuple[str, str | None]] = []
        for position in self.layout.features:
            name = self.layout.name(position)
            found += [(name, value) for value in self.categories.get(position, (None,))]
        return tuple(found)

    def encode(self, table: ParsedTable, where: str, notes: list[str]) -> Array:
        """Return the rows as (N, D) float64, NaN where a cell is missing (in all features of a missing category).

        Args:
            table: the rows.
            where: the table, for messages.
            notes: gets a sentence for categories that training did not have.

        Raises:
            DataError: for such a category, if that is how `unseen` wants it; for far too many features.
        """
        if not self.categories:
            return table.numbers
        n_rows, n_numbers = table.numbers.shape
        D = n_numbers + sum(map(len, self.categories.values()))
        if n_rows * D > max(MAX_ENCODED, 8 * n_rows * len(self.layout.features)):
            widest = max(self.categories, key=lambda position: len(self.categories[position]))
            found = f"{D:,} features for {n_rows:,} rows, {len(self.categories[widest]):,} of them for one column"
            raise data_error(
                f"{where}: {self.layout.title(widest)}", "fewer categories, or the column in 'ignore'", found
            )
        X = np.zeros((n_rows, D))
        at, number = 0, 0
        for position in self.layout.features:
            if position not in self.categories:
                X[:, at] = table.numbers[:, number]
                at, number = at + 1, number + 1
                continue
            width = len(self.categories[position])
            self._encode_column(table, position, X[:, at : at + width], where, notes)
            at += width
        return X

    def _encode_column(self, table: ParsedTable, position: int, out: Array, where: str, notes: list[str]) -> None:
        """Fill `out` (N, values) with the one-hot rows of a categorical column."""
        column = table.categories[position]
        mapping = column.codes_in(self.categories[position])
        rows = np.flatnonzero(column.codes != MISSING)
        codes = mapping[column.codes[rows]]
        unknown = np.flatnonzero(codes == MISSING)
        if len(unknown) and self.unseen == "error":
            row = int(rows[unknown[0]])
            value, known = str(column.values[column.codes[row]]), self.categories[position]
            place = f"{table.place(row)}: {self.layout.title(position)}"
            expected = f"a category known from training: {some(known)}"
            raise data_error(place, expected, shown(value), did_you_mean(value, known))
        if len(unknown):
            values = {str(column.values[code]): None for code in column.codes[rows[unknown]].tolist()}
            count = f"{len(unknown):,} cell{'s' if len(unknown) > 1 else ''}"
            notes.append(
                f"{where}: {self.layout.title(position)}: {count} with a category that training did not have "
                f"({some(values, 4)}) count{'s' if len(unknown) == 1 else ''} as none of the known ones"
            )
            rows, codes = rows[codes != MISSING], codes[codes != MISSING]
        out[rows, codes] = 1
        out[column.codes == MISSING] = np.nan


def read_training_table(
    source: Any, choice: ColumnChoice, reading: Reading, constant: str, unseen: str, notes: list[str]
) -> tuple[ParsedTable, TableForm]:
    """Return a training table, of a file or a frame, and what its columns are; categories are those of all its rows.

    Args:
        source: a path, or a data frame.
        choice: which column is what.
        reading: how a file is read.
        constant: drop: columns with one value are no features; keep: they are.
        unseen: see `TableForm`.
        notes: gets what was decided.

    Raises:
        DataError: for any error in it.
    """
    opened = open_table(source, reading, choice.has_names)
    notes += opened.notes
    layout = layout_of_header(opened.where, opened.names, opened.width, choice, notes)
    places = dict(zip(layout.features, layout.features, strict=True))
    table = _parse(opened, layout, places, layout.label, reading)
    if constant == "drop":
        table, layout = _without_constant(table, layout, notes)
    known = {position: tuple(map(str, labels.values)) for position, labels in table.categories.items()}
    for position, values in known.items():
        if not values:
            place = f"{opened.where}: {layout.title(position)}"
            raise data_error(place, "some categories, or the column in 'ignore'", "a missing cell in every row")
        notes += filter(None, [near_equal_note(values, layout.title(position))])
    if table.labels and layout.label is not None:
        notes += filter(None, [near_equal_note(table.labels.values, f"label {layout.title(layout.label)}")])
    decided = replace(reading, header=opened.names is not None)
    return table, TableForm(layout, known, decided, unseen)


def read_table(source: Any, form: TableForm, labels: Labelling, notes: list[str]) -> ParsedTable:
    """Return a table, of a file or a frame, whose columns are those of a training table.

    Args:
        source: a path, a data frame, or rows of cells (N, features).
        form: the training table.
        labels: whether they must be there, may be, or are left alone.
        notes: gets what was decided, and the columns that are not used.

    Raises:
        DataError: for any error in it.
    """
    layout, reading = form.layout, form.reading
    opened = _open(source, reading, layout.names is not None)
    if isinstance(opened, CsvFile):
        opened.set_header(_header_as_in_training(opened, layout))
    notes += opened.notes
    need_label = labels == "needed"
    if isinstance(opened, Frame) and opened.names is None:  # rows of cells, the features in order
        found = features_in_order(opened.where, layout, opened.width)
    else:
        names = opened.names if layout.names else None
        found = find_columns(opened.where, layout, names, opened.width, need_label)
    if found.extra:
        count = f"{len(found.extra):,} column{'s' if len(found.extra) > 1 else ''}"
        notes.append(f"{opened.where}: {count} that training did not have: not used ({some(found.extra, 4)})")
    places = dict(zip(layout.features, found.features, strict=True))
    return _parse(opened, layout, places, None if labels == "left" else found.label, reading)


def read_columns(
    path: Path, form: TableForm | None, names: Sequence[str], optional: bool = False
) -> dict[str, list[str]]:
    """Return columns of a table's file as texts, by name: those kept beside predictions.

    Args:
        path: the file.
        form: the training table, which says how the file is read.
        names: of the columns; `all` for all of them.
        optional: whether a column that the file does not have is left out.

    Raises:
        DataError: for a column that the file does not have.
    """
    if form is None or format_of(path) not in TABLES:
        raise data_error(path, "a table whose columns have names", "a file of arrays", "leave --keep out")
    reading = replace(form.reading, missing_values=("",))
    opened = _open(path, reading, form.layout.names is not None)
    if isinstance(opened, CsvFile):
        opened.set_header(_header_as_in_training(opened, form.layout))
    known = opened.names or tuple(map(str, range(opened.width)))
    chosen = known if list(names) == ["all"] else [clean(name) for name in names]
    at_name = {name: at for at, name in enumerate(known)}
    if optional:
        chosen = [name for name in chosen if name in at_name]
    if not chosen:
        return {}
    for name in chosen:
        if name not in at_name:
            raise data_error(f"{path}:1", f"one of {some(known)}", f"--keep {shown(name)}", did_you_mean(name, known))
    columns = opened.columns([], [at_name[name] for name in chosen])
    return {name: [_as_text(value) for value in columns[at_name[name]].to_pylist()] for name in chosen}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)


def open_table(source: Any, reading: Reading, has_names: bool) -> Opened:
    """Open a training table, a file or a frame, and decide whether it has a header.

    Args:
        source: a path, or a data frame.
        reading: how a file is read.
        has_names: whether a column is called by its name, so that there must be a header.
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


def _header_as_in_training(opened: CsvFile, layout: Layout) -> bool:
    """What training recorded; a model of version 0.1 recorded nothing, and the first line decides."""
    recorded = opened.reading.header
    if recorded is not None:
        return recorded
    is_number = [number_of(cell, opened.decimal) is not None for cell in opened.first]
    has_header = bool(set(layout.names).intersection(opened.first)) if layout.names else not any(is_number)
    what = "names" if has_header else "a row of data"
    opened.notes.append(
        f"{opened.where}: the first line is taken for {what}; the model is of version 0.1 and has no record"
    )
    return has_header


def _parse(
    opened: Opened, layout: Layout, places: Mapping[int, int], label: int | None, reading: Reading
) -> ParsedTable:
    """Parse the columns of a layout.

    Args:
        opened: the table.
        layout: the training table's columns.
        places: position in the layout -> position in this table.
        label: position of the label in this table; None to leave it.
        reading: which spellings are missing.
    """
    numeric = {position: places[position] for position in layout.numeric}
    coded = {position: places[position] for position in layout.features if position in layout.categorical}
    texts = [*coded.values()] + ([label] if label is not None else [])
    if not numeric and not texts:
        raise data_error(opened.where, "the features of the training", "no columns that are used")
    columns = opened.columns(list(numeric.values()), texts, coded=True)
    n_rows = len(next(iter(columns.values())))
    numbers = np.empty((n_rows, len(numeric)))
    missing = reading.missing_numbers
    for j, (position, at) in enumerate(numeric.items()):
        row = fill_numbers(columns.pop(at), numbers[:, j], reading, opened.decimal)
        if row is not None:
            raise _no_number(opened, row, at, layout.title(position))
        if missing:
            column = numbers[:, j]
            column[np.isin(column, missing)] = np.nan
    categories = {
        position: labels_of_column(
            columns[at], reading, opened.decimal, f"{opened.where}: {layout.title(position)}", MAX_CATEGORIES
        )
        for position, at in coded.items()
    }
    labels = None
    if label is not None:
        name = f"{opened.where}: {layout.title(layout.label)}" if layout.label is not None else opened.where
        labels = labels_of_column(columns[label], reading, opened.decimal, name, MAX_CLASSES)
    at_position = dict(places) if label is None or layout.label is None else {**places, layout.label: label}
    return ParsedTable(numbers, categories, labels, opened.place, lambda row, at: opened.cell(row, at_position[at]))


def fill_numbers(column: Any, out: Array, reading: Reading, decimal: str, give_up: bool = False) -> int | None:
    """Fill `out` (N,) with a pyarrow column's numbers, NaN where missing; return the first row that has no number.

    Args:
        column: a ChunkedArray (N,).
        out: float64.
        reading: which spellings are missing.
        decimal: the decimal point of texts.
        give_up: whether a single text among the first values ends it, without a look at the others.
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
    """The numbers (N,) of a pyarrow column, NaN where null."""
    import pyarrow as pa

    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    return numpy_of(column, np.nan)


def _no_number(opened: Opened, row: int, at: int, title: str) -> Exception:
    cell = opened.cell(row, at).strip()
    expected, hint = "a number", "name the column in 'categorical' or 'ignore'"
    plain = cell.replace(",", "").removesuffix("%")
    if plain != cell and number_of(plain) is not None:
        expected = f"a number written as {plain}"
        hint = "if the comma is a decimal point, set data.decimal: ','" if cell.count(",") == 1 else ""
    if opened.names is None and row == 0:
        hint = "if the first line holds names, set data.header: true"
    return data_error(f"{opened.place(row)}: {title}", expected, shown(cell), hint)


def _without_constant(table: ParsedTable, layout: Layout, notes: list[str]) -> tuple[ParsedTable, Layout]:
    """The table without the features that have one value in all rows, and a note of their number."""
    numbers = table.numbers
    with np.errstate(invalid="ignore"):
        same = (numbers == numbers[:1]).all(axis=0)
    dropped = {position for position, one in zip(layout.numeric, same.tolist(), strict=True) if one}
    dropped |= {at for at, column in table.categories.items() if len(column.values) == 1 and column.codes.min() >= 0}
    features = tuple(position for position in layout.features if position not in dropped)
    if not dropped or not features:
        return table, layout
    notes.append(f"{len(dropped):,} of {len(layout.features):,} feature columns have one value in all rows: left out")
    categories = {position: column for position, column in table.categories.items() if position not in dropped}
    kept: Collection[int] = layout.categorical - dropped
    shorter = replace(layout, features=features, categorical=frozenset(kept))
    return replace(table, numbers=np.ascontiguousarray(numbers[:, ~same]), categories=categories), shorter


def form_of_arrays(n_features: int) -> TableForm:
    """Return the form of rows without names: a table of `n_features` columns of numbers."""
    return TableForm(Layout(None, n_features, None, tuple(range(n_features)), frozenset()), {})
