"""The columns of a table: which one is the label, which are features, which are categories, and where they are in
another table of the same kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from twolayer.data.cells import clean
from twolayer.utils.text import data_error, did_you_mean, shown, some

Column = str | int
"""A column as a person names it: by its name, or by its position (0 the first, -1 the last)."""

Labelling = Literal["needed", "taken", "left"]
"""A file's labels: an error if absent; taken if present; or not looked at."""


_IDENTIFIERS = frozenset(("id", "index", "idx", "row", "rowid", "number", "nr", "no", "uuid", "guid", "key"))


def is_identifier(name: str) -> bool:
    """Return whether a column's name is that of an identifier, or it has none."""
    lower = name.lower()
    return lower in _IDENTIFIERS or lower.startswith("unnamed: ") or lower.endswith(("_id", " id", "-id", ".id")) or (
        name.endswith("Id") and name != "Id"
    )  # fmt: skip


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


@dataclass(frozen=True)
class Layout:
    """The columns of a training table.

    Attributes:
        names: the header's names, each different; None without a header.
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
        """Return a column in words: its name, or its position."""
        return f"column {shown(self.names[position])}" if self.names else f"column {position}"

    def name(self, position: int) -> str:
        """Return a column's name; its position in a table without a header."""
        return self.names[position] if self.names else str(position)

    @property
    def identifiers(self) -> list[str]:
        """The names of identifiers that are no features."""
        used = {*self.features, self.label}
        return [name for at, name in enumerate(self.names or ()) if at not in used and is_identifier(name)]

    @property
    def numeric(self) -> list[int]:
        """The features that are no categories."""
        return [position for position in self.features if position not in self.categorical]


@dataclass(frozen=True)
class Places:
    """Where the columns of a layout are in a table.

    Attributes:
        features: position of each of the layout's features, in the layout's order.
        label: position of the label; None if the table has none.
        extra: names of columns that the training table did not have.
    """

    features: tuple[int, ...]
    label: int | None
    extra: tuple[str, ...] = ()


def unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return a header's names; a column without one is called as pandas does, by a name that no other column has."""
    taken = set(cells)
    names = []
    for position, name in enumerate(cells):
        while not name or (name != cells[position] and name in taken):
            name = f"Unnamed: {position}" if not name else f"{name}_"
        names.append(name)
        taken.add(name)
    return tuple(names)


def layout_of_header(
    where: str, names: tuple[str, ...] | None, width: int, choice: ColumnChoice, notes: list[str]
) -> Layout:
    """Return the columns of a training table.

    Args:
        where: the table, for messages.
        names: its header; None without.
        width: number of columns.
        choice: label, ignored and categorical columns.
        notes: gets a sentence for a column that could be meant otherwise.

    Raises:
        DataError: for a duplicate name, a column that does not exist, no label or no feature.
    """
    if choice.label is None:
        raise data_error(where, "label: the name or position (-1: the last) of the label's column", "none")
    finder = _Finder(where, names, width, notes)
    label = finder.position(choice.label, "label")
    ignored = {finder.position(column, "ignore") for column in choice.ignore}
    categorical = frozenset(finder.position(column, "categorical") for column in choice.categorical)
    if label in ignored or label in categorical:
        raise data_error(where, "it in neither", f"the label {shown(choice.label)} in 'ignore' or 'categorical'")
    if ignored & categorical:
        column = min(ignored & categorical)
        title = shown(names[column]) if names else column
        raise data_error(where, "it in one of them", f"column {title} in 'ignore' and in 'categorical'")
    if names is not None:
        require_distinct(where, names, ignored)
    features = tuple(position for position in range(width) if position != label and position not in ignored)
    if not features:
        raise data_error(
            where, "at least one feature", f"{width} column" + "s" * (width != 1) + ", none of them a feature"
        )
    return Layout(names, width, label, features, categorical)


def require_distinct(where: str, names: Sequence[str], ignored: Collection[int]) -> None:
    """Refuse a header with a name that two columns have; ignored columns may share theirs.

    Raises:
        DataError: naming it.
    """
    kept = [name for position, name in enumerate(names) if position not in ignored]
    name, count = Counter(kept).most_common(1)[0] if kept else ("", 0)
    if count > 1:
        found = f"{count} columns named {shown(name)}, the first at {names.index(name)}"
        way = "each name once: rename them, put them in 'ignore' by position, or set data.header: false if it is data"
        raise data_error(f"{where}:1", way, found)


class _Finder:
    """Finds the columns that a config names."""

    def __init__(self, where: str, names: tuple[str, ...] | None, width: int, notes: list[str]) -> None:
        self._where, self._names, self._width, self._notes = where, names, width, notes
        self._at = {name: position for position, name in reversed(list(enumerate(names or ())))}

    def position(self, column: Column, key: str) -> int:
        """Return the position from 0 of a column: a whole number is a position if the table has it, else a name."""
        if isinstance(column, str):
            at = self._at.get(clean(column))
            if at is None:
                listed = some(self._names or ())
                close = did_you_mean(column, self._names or ())
                raise data_error(f"{self._where}:1", f"one of {listed}", f"{key} column {shown(column)}", close)
            return at
        at = self._at.get(str(column))
        if -self._width <= column < self._width:
            position = column % self._width
            if at is not None and at != position:
                title = shown(self._names[position]) if self._names else ""
                self._notes.append(
                    f"data.{key}: {column} is the position of column {title}; for the column named {column} "
                    f"write '{column}' in quotes"
                )
            return position
        if at is None:
            positions = f"a position from 0 to {self._width - 1}, or -{self._width} to -1"
            raise data_error(f"{self._where}:1", positions, f"{key} column {column}")
        return at


def find_columns(where: str, layout: Layout, names: tuple[str, ...] | None, width: int, need_label: bool) -> Places:
    """Return where a layout's columns are in another table: by name where training had names, else by position.

    A table without the label has the other columns one place further left behind it. Columns that training did not
    know, and those it ignored, do not matter where there are names; without names their number must be the same.

    Args:
        where: the table, for messages.
        layout: the training table's columns.
        names: the table's header; None without.
        width: number of its columns.
        need_label: whether the label must be there.

    Raises:
        DataError: if a column is missing or two have its name.
    """
    if layout.names:
        if names is None:
            listed = some(layout.name(position) for position in layout.features)
            raise data_error(f"{where}:1", f"the columns of the training: {listed}", f"{width} columns without names")
        return _by_name(where, layout, names, need_label)
    full, n_features = layout.width, len(layout.features)
    if width == full:
        return Places(layout.features, layout.label)
    if layout.label is not None and not need_label and width == full - 1:
        return Places(tuple(at - (at > layout.label) for at in layout.features), None)
    if width == n_features and not need_label:
        return Places(tuple(range(width)), None)
    count = f"{full}" if need_label or layout.label is None else f"{full}, or {full - 1} without the label"
    raise data_error(f"{where}:1", f"{count}, as in training", f"{width} columns")


def features_in_order(where: str, layout: Layout, width: int) -> Places:
    """Return where the features are in rows of cells that hold them and nothing else, in the order of training."""
    if width != len(layout.features):
        names = some(layout.name(position) for position in layout.features)
        raise data_error(where, f"(N, {len(layout.features)}): {names}", f"{width} columns")
    return Places(tuple(range(width)), None)


def _by_name(where: str, layout: Layout, names: tuple[str, ...], need_label: bool) -> Places:
    assert layout.names is not None
    at_name = {name: at for at, name in enumerate(names)}
    counts = Counter(names)
    known = set(layout.names)
    found: dict[int, int] = {}
    for position in (*layout.features, *(() if layout.label is None else (layout.label,))):
        name = layout.names[position]
        if counts[name] > 1:
            raise data_error(f"{where}:1", "each name once", f"column name {shown(name)} {counts[name]} times")
        if not counts[name] and (position != layout.label or need_label):
            what = "label column" if position == layout.label else "column"
            close = did_you_mean(name, [other for other in names if other not in known])
            raise data_error(f"{where}:1", f"the {what} {shown(name)} of the training", some(names), close)
        found[position] = at_name.get(name, -1)
    label = found.pop(layout.label, -1) if layout.label is not None else -1
    extra = tuple(name for name in names if name not in known)
    return Places(tuple(found[position] for position in layout.features), None if label < 0 else label, extra)
