"""The columns of a table: which one is the label, which are features, which are categories, and where they stand in
another file of the same kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from twolayer.utils.text import data_error, did_you_mean, shown, some

Column = str | int
"""A column as a person names it: by its name, or by its position (0 the first, -1 the last)."""

Labelling = Literal["needed", "taken", "left"]
"""A file's labels: rows without are a fault; taken where they are there; or left where they are, not looked at."""


@dataclass(frozen=True)
class ColumnChoice:
    """What a config says about the columns of a table."""

    label: Column | None = None
    ignore: Sequence[Column] = ()
    categorical: Sequence[Column] = ()

    @property
    def has_names(self) -> bool:
        """Whether a column is called by its name, so that there must be a header."""
        return any(isinstance(column, str) for column in (self.label, *self.ignore, *self.categorical))


@dataclass(frozen=True)
class Layout:
    """The columns of a training table.

    Attributes:
        names: the header's names; None where there is no header.
        width: number of columns.
        label: position of the label; None in a table that has none.
        features: positions of the features, ascending.
        categorical: those features whose values are categories.
    """

    names: tuple[str, ...] | None
    width: int
    label: int | None
    features: tuple[int, ...]
    categorical: frozenset[int]

    def title(self, position: int) -> str:
        """A column in words: its name, or its position."""
        name = self.names[position] if self.names else ""
        return f"column {shown(name)}" if name else f"column {position}"

    def name(self, position: int) -> str:
        """A column's name; its position, where it has none."""
        return (self.names[position] if self.names else "") or str(position)


@dataclass(frozen=True)
class Places:
    """Where the columns of a layout stand in a file.

    Attributes:
        width: columns in the file.
        features: position of each of the layout's features, in the layout's order.
        label: position of the label; None where the file has none.
        has_header: whether the first row is the header.
    """

    width: int
    features: tuple[int, ...]
    label: int | None
    has_header: bool


def is_header(choice: ColumnChoice, is_number: list[bool]) -> bool:
    """Whether a file's first row is a header: always where a column is called by name, else if no cell is a number."""
    return choice.has_names or not any(is_number)


def lay_out(where: str, first: Sequence[str], has_header: bool, choice: ColumnChoice) -> Layout:
    """The columns of a training table.

    Args:
        where: the file, for messages.
        first: its first row.
        has_header: whether that is the header.
        choice: label, ignored and categorical columns.

    Raises:
        DataError: for a duplicate name, a column that is not there, no label or no feature.
    """
    names = tuple(cell.strip() for cell in first) if has_header else None
    width = len(first)
    if choice.label is None:
        raise data_error(where, "label: the name or position (-1: the last) of the label's column", "none")
    label = _position(where, choice.label, names, width, "label")
    ignored = {_position(where, column, names, width, "ignore") for column in choice.ignore}
    categorical = frozenset(_position(where, column, names, width, "categorical") for column in choice.categorical)
    if label in ignored or label in categorical:
        raise data_error(where, "it in neither", f"the label {shown(choice.label)} in 'ignore' or 'categorical'")
    if ignored & categorical:
        column = min(ignored & categorical)
        raise data_error(where, "it in one of them", f"column {shown(first[column])} in 'ignore' and in 'categorical'")
    if names is not None:
        require_distinct(where, names, ignored)
    features = tuple(position for position in range(width) if position != label and position not in ignored)
    if not features:
        raise data_error(
            where, "at least one feature", f"{width} column" + "s" * (width != 1) + ", none of them a feature"
        )
    return Layout(names, width, label, features, categorical)


def require_distinct(where: str, names: Sequence[str], ignored: Collection[int]) -> None:
    """Refuses a header in which a name stands twice; columns without one may, if they are ignored.

    Raises:
        DataError: naming it.
    """
    nameless = {position for position, name in enumerate(names) if not name}
    counted = filter(None, names) if nameless.issubset(ignored) else names
    name, count = Counter(counted).most_common(1)[0]
    if count > 1:
        found = f"{count} columns named {shown(name)}, the first at {names.index(name)}"
        wanted = "each name once" if name else "each name once, or the columns without one in 'ignore', by position"
        raise data_error(f"{where}:1", wanted, found)


def find_columns(where: str, layout: Layout, first: Sequence[str], is_number: list[bool], need_label: bool) -> Places:
    """Where a layout's columns stand in another file, by name where both have headers, else by position.

    A file without the label has the other columns one place further left behind it. Columns that training did not
    know, and those it ignored, do not matter where there are names; without names their number must be the same.

    Args:
        where: the file, for messages.
        layout: the training table's columns.
        first: the file's first row.
        is_number: for each of its cells, whether it is a number.
        need_label: whether the label must be there.

    Raises:
        DataError: if a column is missing or stands there twice.
    """
    cells = [cell.strip() for cell in first]
    wanted = [layout.name(position) for position in layout.features]
    known = set(layout.names or ())
    has_header = bool(known.intersection(cells) - {""}) if layout.names else not any(is_number)
    if layout.names and not has_header and not any(is_number):
        raise data_error(f"{where}:1", f"the columns of the training: {some(wanted)}", f"columns {some(cells)}")
    if layout.names and has_header:
        return _by_name(where, layout, cells, need_label)
    with_label = len(first) == layout.width
    if not with_label and (layout.label is None or len(first) != layout.width - 1 or need_label):
        count = f"{layout.width} columns" + ", or one less without the label" * (
            not need_label and layout.label is not None
        )
        raise data_error(f"{where}:1", f"{count}, as in training", str(len(first)))
    if with_label:
        return Places(len(first), layout.features, layout.label, has_header)
    assert layout.label is not None
    moved = tuple(position - (position > layout.label) for position in layout.features)
    return Places(len(first), moved, None, has_header)


def _by_name(where: str, layout: Layout, cells: list[str], need_label: bool) -> Places:
    assert layout.names is not None
    wanted = [*layout.features] + ([layout.label] if layout.label is not None else [])
    found: dict[int, int | None] = {}
    at_name = {name: at for at, name in enumerate(cells)}
    counts = Counter(cells)
    for position in wanted:
        name = layout.names[position]
        count = counts[name]
        if count > 1:
            raise data_error(f"{where}:1", "each name once", f"column name {shown(name)} {count} times")
        if not count and (position != layout.label or need_label):
            what = "label column" if position == layout.label else "column"
            raise data_error(f"{where}:1", f"{what} {shown(name)}", some(cells), did_you_mean(name, cells))
        found[position] = at_name.get(name)
    features = tuple(at for position in layout.features if (at := found[position]) is not None)
    return Places(len(cells), features, found.get(layout.label) if layout.label is not None else None, True)


def _position(where: str, column: Column, names: tuple[str, ...] | None, width: int, key: str) -> int:
    """The position from 0 of a column as it is called in a config."""
    if isinstance(column, str):
        if names is None or column.strip() not in names:
            listed = some(names or ())
            raise data_error(
                f"{where}:1", f"one of {listed}", f"{key} column {shown(column)}", did_you_mean(column, names or ())
            )
        return names.index(column.strip())
    if not -width <= column < width:
        raise data_error(f"{where}:1", f"a position from 0 to {width - 1}, or -{width} to -1", f"{key} column {column}")
    return column % width
