"""The columns of a table: which one is the label, which are features, which are categories, and where they are in
another table of the same kind."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from twolayer.data.cells import Reading, clean
from twolayer.utils.text import counted, data_error, did_you_mean, shown, some

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


@dataclass(frozen=True)
class TableForm:
    """The columns of a training table, and the categories found in them.

    Attributes:
        names: the header's names, each different; None without a header.
        width: number of columns.
        label: position of the label; None in a table that has none.
        features: positions of the features, ascending.
        categories: for each feature of categories, by position, its values; each becomes a feature that is 1 or 0.
        reading: how the training table was read; its header is what was decided, None in a model of version 0.1.
        unseen: none: a category that training did not have counts as none of the known ones; error: it is refused.
    """

    names: tuple[str, ...] | None
    width: int
    label: int | None
    features: tuple[int, ...]
    categories: Mapping[int, tuple[str, ...]]
    reading: Reading = field(default_factory=Reading)
    unseen: str = "none"

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
        return tuple(
            (self.name(position), value)
            for position in self.features
            for value in self.categories.get(position, (None,))
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The D features' names; `column=value` for a category."""
        return tuple(name if value is None else f"{name}={value}" for name, value in self.origins)


def unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return a header's names; a column without one is called as pandas does, by a name that no other column has."""
    taken = set(cells)
    names = []
    for position, cell in enumerate(cells):
        named = name = cell or f"Unnamed: {position}"
        count = 0
        while not cell and name in taken:
            count += 1
            name = f"{named}.{count}"
        names.append(name)
        taken.add(name)
    return tuple(names)


def form_of_header(
    where: str, names: tuple[str, ...] | None, width: int, choice: ColumnChoice, notes: list[str]
) -> TableForm:
    """Return the columns of a training table, without their categories.

    `notes` gets a sentence for a column that could be meant otherwise.

    Raises:
        DataError: for a duplicate name, a column that does not exist, no label or no feature.
    """
    if choice.label is None:
        raise data_error(where, "label: the name or position (-1: the last) of the label's column", "none")
    at_name = {name: position for position, name in reversed(list(enumerate(names or ())))}

    def find(column: Column, key: str) -> int:
        """Return the position from 0 of a column that a key of the config names."""
        text = clean(str(column))
        at = at_name.get(text)
        if isinstance(column, int) and -width <= column < width:  # a position if the table has it, else a name
            if names and at is not None and at != column % width:
                notes.append(
                    f"data.{key}: {column} is the position of column {shown(names[column])}; for the column named "
                    f"{column} write '{column}' in quotes"
                )
            return column % width
        if at is None:
            positions = f"a position from 0 to {width - 1}, or -{width} to -1"
            expected = positions if isinstance(column, int) else f"one of {some(names or ())}"
            hint = "" if isinstance(column, int) else did_you_mean(text, names or ())
            raise data_error(f"{where}:1", expected, f"{key} column {shown(column)}", hint)
        return at

    label = find(choice.label, "label")
    ignored = {find(column, "ignore") for column in choice.ignore}
    called = {clean(column) for column in choice.ignore if isinstance(column, str)}
    ignored |= {position for position, name in enumerate(names or ()) if name in called}
    categorical = {find(column, "categorical") for column in choice.categorical}
    if label in ignored or label in categorical:
        expected = f"the label {shown(choice.label)} in neither 'ignore' nor 'categorical'"
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


def require_distinct(where: str, names: Sequence[str], ignored: Collection[int]) -> None:
    """Refuse a header with a name that two columns have, unless all of that name are ignored."""
    counts = Counter(names)
    name = next((name for at, name in enumerate(names) if counts[name] > 1 and at not in ignored), None)
    if name is not None:
        found = f"{counts[name]} columns named {shown(name)}, the first at {names.index(name)}"
        way = "rename them, put all of them in 'ignore', or set data.header: false if it is data"
        raise data_error(f"{where}:1", "each name once", found, way)


def find_columns(
    where: str, form: TableForm, names: tuple[str, ...] | None, width: int, need_label: bool, notes: list[str]
) -> dict[int, int]:
    """Return position in the training table -> position in another one, of the features and, if it is there, the label.

    They are found by name where training had names: columns that training did not know, or ignored, do not matter.
    Without names their number must be the same; in a table without the label those behind it are one further left.

    `notes` gets a sentence for columns that training did not have.

    Raises:
        DataError: if a column is missing or two have its name.
    """
    if form.names:
        return _find_by_name(where, form, names, width, need_label, notes)
    needed = [*form.features, *(() if form.label is None else (form.label,))]
    if width == form.width:
        return {at: at for at in needed}
    full, label = form.width, form.label
    if not need_label and label is not None and width == full - 1:
        return {at: at - (at > label) for at in form.features}
    if not need_label and width == len(form.features):
        return dict(zip(form.features, range(width), strict=True))
    count = f"{full}" if need_label or label is None else f"{full}, or {full - 1} without the label"
    raise data_error(f"{where}:1", f"{count}, as in training", counted(width, "column"))


def _find_by_name(
    where: str, form: TableForm, names: tuple[str, ...] | None, width: int, need_label: bool, notes: list[str]
) -> dict[int, int]:
    if names is None:
        expected = f"the columns of the training: {some(map(form.name, form.features))}"
        raise data_error(f"{where}:1", expected, f"{counted(width, 'column')} without names")
    at_name = {name: at for at, name in enumerate(names)}
    counts = Counter(names)
    known = set(form.names or ())
    found: dict[int, int] = {}
    for position in (*form.features, *(() if form.label is None else (form.label,))):
        name = form.name(position)
        if counts[name] > 1:
            raise data_error(f"{where}:1", "each name once", f"column name {shown(name)} {counts[name]} times")
        if counts[name]:
            found[position] = at_name[name]
        elif position != form.label or need_label:
            what = "label column" if position == form.label else "column"
            close = did_you_mean(name, [other for other in names if other not in known])
            raise data_error(f"{where}:1", f"the {what} {shown(name)} of the training", some(names), close)
    extra = [name for name in names if name not in known]
    if extra:
        notes.append(
            f"{where}: {counted(len(extra), 'column')} that training did not have: not used ({some(extra, 4)})"
        )
    return found
