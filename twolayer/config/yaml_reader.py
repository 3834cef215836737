"""YAML text or file -> plain data with the place of every key, built from ruamel's parsing events within limits of
size, depth and aliases. Everything wrong with the text itself goes to the report. Sweep files are read here as well.

Nothing but strings, numbers, booleans, nulls, lists and mappings can come out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from twolayer.config.errors_report import KeyPath, Place, Report, file_problem
from twolayer.utils.files import open_to_read
from twolayer.utils.text import shown

MAX_BYTES = 256 * 1024
MAX_VALUES = 10_000  # aliases counted as often as they are used
MAX_DEPTH = 20
_MAX_DIGITS = 400
_TOO_MUCH = f"more than {MAX_VALUES} values or {MAX_DEPTH} levels, aliases written out"

# The core schema of YAML 1.2: `1e-3` is a float, `no` and `1:30` are strings.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_GLUED = re.compile(r"( *)([A-Za-z_0-9]{1,30}):([^\s/\\:,]\S{0,60})(?=\s|$)")  # `epochs:40`, no path, no address

PlaceOf = Callable[[int, int], Place]  # of a line and a column, both from 1


@dataclass
class Document:
    """What a text says.

    Attributes:
        data: dicts with string keys, lists, str, int, float, bool and None.
        places: where each value's key is (list items: the item).
        replaced: the values that overrides took the place of.
    """

    data: Any
    places: dict[KeyPath, Place] = field(default_factory=dict)
    replaced: dict[KeyPath, Any] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place | None:
        """Return the place of the value, or of the nearest thing around it that was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None


class Refused(Exception):
    """A problem after which nothing more can be made of the text."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def read_document(path: Path | str, report: Report) -> Document | None:
    """Return the document in a UTF-8 file, or None with a problem in the report, which names the file as given here."""

    def place_of(line: int, column: int) -> Place:
        return Place(str(path), line, column)

    try:
        text = _read_text(Path(path))
    except Refused as error:
        report.add((), error.message, place_of(error.line, error.column))
        return None
    return parse(text, place_of, report)


def parse(text: str, place_of: PlaceOf, report: Report, root: KeyPath = ()) -> Document | None:
    """Return the document in `text`, or None with a problem in the report if its structure cannot be read.

    Duplicate keys, tags and unknown aliases are reported, each at its place, and reading continues. Of a key given
    twice, the first value counts.

    Args:
        text: one YAML document; an empty text is null.
        place_of: the place to report for a line and a column.
        report: gets the problems.
        root: path of the document's value in the data it belongs to.
    """
    reader = _Reader(_events(text), place_of, report)
    data, begun = None, False
    try:
        for event in reader.events:
            if isinstance(event, DocumentStartEvent) and begun:
                raise Refused("a second document starts here ('---'); one file holds one config", *_mark(event))
            if isinstance(event, NodeEvent):
                data, begun = reader.value(event, root, 0), True
    except Refused as error:
        report.add(root, error.message, place_of(error.line, error.column))
        return None
    reader.places.setdefault(root, place_of(1, 1))
    return Document(data, reader.places)


def parse_scalar(text: str) -> Any:
    """Return the value of an unquoted scalar by YAML 1.2's core schema, e.g. 0.001 for `1e-3`.

    Raises:
        ValueError: for an integer of absurd length.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too long")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _NOT_FINITE.fullmatch(text):
        return float("nan") if match[2] is None else float(match[1] + "inf")
    return text


class _Reader:
    """Maker of plain data from events. Its recursion is bounded by `MAX_DEPTH`."""

    def __init__(self, events: Iterator[Any], place_of: PlaceOf, report: Report) -> None:
        self.events, self.place_of, self.report = events, place_of, report
        self.places: dict[KeyPath, Place] = {}
        self.anchors: dict[str, Any] = {}
        self.n_values = 0

    def value(self, event: Any, path: KeyPath, depth: int, into: dict[str, Any] | None = None) -> Any:
        """Return the value that begins with `event`; a mapping's keys are added to `into` if given."""
        place = self.places.setdefault(path, self.place_of(*_mark(event)))
        if isinstance(event, AliasEvent):
            if event.anchor in self.anchors:
                return self.copy(self.anchors[event.anchor], event, depth)
            self.report.add(path, f"the alias *{event.anchor} has no finished &{event.anchor} before it", place)
            return None
        self.count(event)
        if depth == MAX_DEPTH and not isinstance(event, ScalarEvent):
            raise Refused(f"nested deeper than {MAX_DEPTH} levels", *_mark(event))
        if isinstance(event, MappingStartEvent):
            data: Any = self.mapping(path, depth + 1, {} if into is None else into)
        elif isinstance(event, SequenceStartEvent):
            data = []
            while not isinstance(item := next(self.events), SequenceEndEvent):
                data.append(self.value(item, (*path, len(data)), depth + 1))
        else:
            data = self.scalar(event, path, place)
        if event.tag is not None:
            self.report.add(path, _refused_tag(event), place)
            data = None
        if event.anchor:
            self.anchors[event.anchor] = data
        return data

    def mapping(self, path: KeyPath, depth: int, into: dict[str, Any]) -> dict[str, Any]:
        while not isinstance(key := next(self.events), MappingEndEvent):
            if not isinstance(key, ScalarEvent):
                raise Refused("a key must be a plain name", *_mark(key))
            here, place = (*path, key.value), self.place_of(*_mark(key))
            first = self.places.setdefault(here, place)
            if key.value in into:
                where = f" in line {first.line}" if first.column else ""
                self.report.add(here, f"duplicate key, given before{where}; remove one", place, judged=True)
            if key.tag is not None:
                self.report.add(here, _refused_tag(key), place)
            event = next(self.events)
            if first is place and isinstance(event, ScalarEvent) and event.value and _mark(event)[0] > _mark(key)[0]:
                self.places[here] = self.place_of(*_mark(event))  # `solver:` and in the next line `epochs:40`
            old = into.get(key.value)  # of a mapping given twice, both are read, so that all problems are reported
            data = self.value(event, here, depth, old if isinstance(old, dict) else None)
            into.setdefault(key.value, data)
        return into

    def scalar(self, event: Any, path: KeyPath, place: Place) -> Any:
        if not event.implicit[0]:  # quoted
            return event.value
        try:
            return parse_scalar(event.value)
        except ValueError as error:
            self.report.add(path, str(error), place)
            return None

    def copy(self, data: Any, event: Any, depth: int) -> Any:
        """Return a copy of what an alias refers to, counted as if it were written out."""
        self.count(event)
        if not isinstance(data, (dict, list)):
            return data
        if depth == MAX_DEPTH:
            raise Refused(_TOO_MUCH, *_mark(event))
        if isinstance(data, list):
            return [self.copy(item, event, depth + 1) for item in data]
        return {key: self.copy(item, event, depth + 1) for key, item in data.items()}

    def count(self, event: Any) -> None:
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise Refused(_TOO_MUCH, *_mark(event))


def _refused_tag(event: Any) -> str:
    return f"tags are refused, got {shown(str(event.tag))}; write the plain value, text in quotes if need be"


def _events(text: str) -> Iterator[Any]:
    """Yield ruamel's parsing events; an error of its becomes `Refused`."""
    line, column = 1, 1
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            line, column = _mark(event)
            yield event
    except ReaderError as error:
        before = text[: error.position]
        what = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise Refused(what, before.count("\n") + 1, len(before) - before.rfind("\n")) from None
    except MarkedYAMLError as error:
        raise Refused(*_explain(error, text, (line, column))) from None
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError):
        # ruamel's scanner fails in ways of its own on some broken texts, e.g. on an escape beyond Unicode
        raise Refused("not valid YAML here or just after", line, column) from None


def _mark(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _explain(error: MarkedYAMLError, text: str, last: tuple[int, int]) -> tuple[str, int, int]:
    """Return what is wrong, with line and column, in words for the mistakes that people make."""
    problem, mark, context = str(error.problem or error.context), error.problem_mark, error.context_mark
    at = (mark.line + 1, mark.column + 1) if mark is not None else last
    begun = (context.line + 1, context.column + 1) if context is not None else at
    lines = [
        "",
        *re.split(r"\r\n|\r|\n", text),
        "",
    ]  # from 1; an error at the end of the text may be in the line after the last
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces, so replace it by spaces", *at
    if "unexpected end of stream" in problem and "quoted" in str(error.context):
        return "the quote that opens here is never closed", *begun
    for number in range(min(begun[0], at[0]), max(begun[0] - 2, 0), -1):  # the line itself, then the one above
        if glued := _GLUED.match(lines[number]):
            indent, key, value = glued.groups()
            fixed = f"no space after the colon; write {shown(f'{key}: {value}')}"
            return f"{shown(f'{key}:{value}')} has {fixed}", number, len(indent) + 1
    if "mapping values are not allowed" in problem or "expected <block end>" in problem:
        column = len(lines[at[0]]) - len(lines[at[0]].lstrip()) + 1
        return "the indentation fits no line above; the keys of one section begin in the same column", at[0], column
    if "could not find expected ':'" in problem:
        return f"expected KEY: VALUE, got {shown(lines[begun[0]].strip())}", *begun
    return f"not valid YAML: {problem}", *at


def _read_text(path: Path) -> str:
    """Return the text of an ordinary UTF-8 file of at most `MAX_BYTES`."""
    if problem := file_problem(path):
        raise Refused("".join(problem))
    try:
        with open_to_read(path, follow=True) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror or error})") from None
    if len(content) > MAX_BYTES:
        raise Refused(f"is larger than {MAX_BYTES // 1024} KiB, the most that is read as YAML")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Refused("is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise Refused("is not UTF-8 text; save it as UTF-8", *place) from None
