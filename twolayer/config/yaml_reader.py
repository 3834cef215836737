"""YAML text or file -> plain data with the place of every key; everything wrong with the text itself goes to the
report. Configs and sweep files both are read through here.

YAML text -> a tree of values with marks, built from ruamel's parsing events without recursion and within limits of
size, depth and aliases. Nothing but strings, numbers, booleans, nulls, lists and mappings can come out."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from twolayer.config.errors_report import KeyPath, Place, Report, similar_file
from twolayer.utils.text import shown

MAX_VALUES = 10_000  # aliases counted as often as they are used
MAX_DEPTH = 20
_MAX_DIGITS = 400
_TOO_MUCH = f"more than {MAX_VALUES} values or {MAX_DEPTH} levels, aliases written out"

# The core schema of YAML 1.2: `1e-3` is a float, `no` and `1:30` are strings.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_GLUED = re.compile(r"( *)([A-Za-z_0-9]{1,30}):([^\s/\\:,]\S{0,60})(?=\s|$)")  # `epochs:40`, no path, no address
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Mark(NamedTuple):
    """A place in the text, both numbers from 1."""

    line: int
    column: int


class Refused(Exception):
    """A problem after which nothing more can be made of the text."""

    def __init__(self, message: str, mark: Mark) -> None:
        super().__init__(message)
        self.message, self.mark = message, mark


@dataclass
class Node:
    """A value as it was written.

    Attributes:
        mark: where it begins.
        value: of a scalar.
        text: a scalar's text, which is what it means as a key.
        items: the values of a list.
        entries: the keys and values of a mapping.
        problem: why the value cannot be used, if so.
        n_values: values in it, itself included, aliases written out.
        depth: levels in it, itself included.
    """

    mark: Mark
    value: Any = None
    text: str | None = None
    items: list[Node] | None = None
    entries: list[tuple[Node, Node]] | None = None
    problem: str | None = None
    n_values: int = 1
    depth: int = 1


def parse_scalar(text: str) -> Any:
    """The value of an unquoted scalar by YAML 1.2's core schema.

    Args:
        text: as written, e.g. `1e-3`.

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


def build(text: str) -> Node:
    """The tree of the one document in `text`; an empty text is null.

    Raises:
        Refused: if the text is not YAML, holds two documents, or goes beyond the limits.
    """
    open_nodes: list[_Open] = []
    anchors: dict[str, Node] = {}
    top: Node | None = None
    for number, event in enumerate(_events(text)):
        mark = _mark(event.start_mark)
        if number > 2 * MAX_VALUES:
            raise Refused(_TOO_MUCH, mark)
        if isinstance(event, DocumentStartEvent) and top is not None:
            raise Refused("a second document starts here ('---'); one file holds one config", mark)
        if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            if len(open_nodes) == MAX_DEPTH:
                raise Refused(f"nested deeper than {MAX_DEPTH} levels", mark)
            open_nodes.append(_Open(_collection(event, mark), event.anchor))
            continue
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            closed = open_nodes.pop()
            node, anchor = closed.node, closed.anchor
            if node.n_values > MAX_VALUES or node.depth > MAX_DEPTH:
                raise Refused(_TOO_MUCH, node.mark)
        elif isinstance(event, ScalarEvent):
            node, anchor = _scalar(event, mark), event.anchor
        elif isinstance(event, AliasEvent):
            problem = f"the alias *{event.anchor} has no finished &{event.anchor} before it"
            node, anchor = anchors.get(event.anchor) or Node(mark, problem=problem), None
        else:
            continue
        if anchor:
            anchors[anchor] = node
        if open_nodes:
            open_nodes[-1].add(node)
        else:
            top = node
    return top if top is not None else Node(Mark(1, 1))


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    node: Node
    anchor: str | None
    key: Node | None = None

    def add(self, child: Node) -> None:
        self.node.n_values += child.n_values
        self.node.depth = max(self.node.depth, child.depth + 1)
        if self.node.items is not None:
            self.node.items.append(child)
        elif self.key is None:
            if child.text is None:
                raise Refused("a key must be a plain name", child.mark)
            self.key = child
        elif self.node.entries is not None:
            self.node.entries.append((self.key, child))
            self.key = None


def _events(text: str) -> Iterator[Any]:
    """ruamel's parsing events; whatever it stumbles over becomes `Refused`."""
    mark = Mark(1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            mark = _mark(event.start_mark)
            yield event
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise Refused(f"the character U+{ord(text[error.position]):04X} is not allowed in YAML", mark) from None
    except MarkedYAMLError as error:
        raise Refused(*_explain(error, text, mark)) from None
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError):
        # ruamel's scanner fails in ways of its own on some broken texts, e.g. on an escape beyond Unicode
        raise Refused("not valid YAML here or just after", mark) from None


def _explain(error: MarkedYAMLError, text: str, last: Mark) -> tuple[str, Mark]:
    """Return what is wrong and where, in words for the mistakes that people make."""
    problem = str(error.problem or error.context)
    at = _mark(error.problem_mark) if error.problem_mark is not None else last
    begun = _mark(error.context_mark) if error.context_mark is not None else at
    lines = text.split("\n")
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces, so replace it by spaces", at
    if "unexpected end of stream" in problem and "quoted" in str(error.context):
        return "the quote that opens here is never closed", begun
    for number in range(min(begun.line, at.line), max(begun.line - 2, 0), -1):  # the line itself, then the one above
        if number <= len(lines) and (glued := _GLUED.match(lines[number - 1])):
            indent, key, value = glued.groups()
            fixed = f"no space after the colon; write {shown(f'{key}: {value}')}"
            return f"{shown(f'{key}:{value}')} has {fixed}", Mark(number, len(indent) + 1)
    if "mapping values are not allowed" in problem or "expected <block end>" in problem:
        line = lines[at.line - 1] if at.line <= len(lines) else ""
        column = len(line) - len(line.lstrip()) + 1
        return "the indentation fits no line above; the keys of one section begin in the same column", Mark(
            at.line, column
        )
    if "could not find expected ':'" in problem and begun.line <= len(lines):
        return f"expected KEY: VALUE, got {shown(lines[begun.line - 1].strip())}", begun
    return f"not valid YAML: {problem}", at


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _collection(event: Any, mark: Mark) -> Node:
    node = Node(mark, problem=_tag_problem(event))
    if isinstance(event, SequenceStartEvent):
        node.items = []
    else:
        node.entries = []
    return node


def _scalar(event: Any, mark: Mark) -> Node:
    node = Node(mark, event.value, event.value, problem=_tag_problem(event))
    if event.implicit[0] and node.problem is None:  # unquoted
        try:
            node.value = parse_scalar(event.value)
        except ValueError as error:
            node.problem = str(error)
    return node


def _tag_problem(event: Any) -> str | None:
    if event.tag is None:
        return None
    return f"tags are refused, found {shown(str(event.tag))}; write the plain value, text in quotes if need be"


MAX_BYTES = 256 * 1024

PlaceOf = Callable[[Mark], Place]


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
        """The place of the value, or of the nearest thing around it that was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None


def read_document(path: Path | str, report: Report) -> Document | None:
    """The document in a file, or None with a problem in the report.

    Args:
        path: a UTF-8 file; the report gives its name as it is here.
        report: gets the problems.
    """

    def place_of(mark: Mark) -> Place:
        return Place(str(path), mark.line, mark.column)

    try:
        text = _read_text(Path(path))
    except Refused as error:
        report.add((), error.message, place_of(error.mark))
        return None
    return parse(text, place_of, report)


def parse(text: str, place_of: PlaceOf, report: Report, root: KeyPath = ()) -> Document | None:
    """The document in `text`, or None with a problem in the report if its structure cannot be read.

    Duplicate keys, tags and unknown aliases are noted, each at its place, and reading continues.

    Args:
        text: one YAML document.
        place_of: turns a mark in the text into the place to report.
        report: gets the problems.
        root: path of the document's value in the data it belongs to.
    """
    try:
        node = build(text)
    except Refused as error:
        report.add(root, error.message, place_of(error.mark))
        return None
    reader = _Reader(place_of, report, {root: place_of(node.mark)})
    return Document(reader.plain(node, root), reader.places)


@dataclass
class _Reader:
    """Walks a tree; its depth is bounded where it was built."""

    place_of: PlaceOf
    report: Report
    places: dict[KeyPath, Place]

    def plain(self, node: Node, path: KeyPath) -> Any:
        if node.problem is not None:
            self.report.add(path, node.problem, self.places[path])
            return None
        if node.items is not None:
            self.places.update({(*path, i): self.place_of(item.mark) for i, item in enumerate(node.items)})
            return [self.plain(item, (*path, i)) for i, item in enumerate(node.items)]
        if node.entries is not None:
            mapping: dict[str, Any] = {}
            self.fill(mapping, node, path)
            return mapping
        return node.value

    def fill(self, mapping: dict[str, Any], node: Node, path: KeyPath) -> None:
        """Puts the entries of `node` into `mapping`; of a key given twice, the first value counts."""
        for key, child in node.entries or []:
            name, place = key.text or "", self.place_of(key.mark)
            here = (*path, name)
            if key.problem is not None:
                self.report.add(here, key.problem, place)
            elif name not in mapping:
                self.places[here] = place
                mapping[name] = self.plain(child, here)
            else:
                first = self.places[here]
                where = f" in line {first.line}" if first.column else ""
                self.report.add(here, f"duplicate key, given before{where}; remove one", place, judged=True)
                if child.entries is not None and isinstance(mapping[name], dict):
                    self.fill(mapping[name], child, here)  # so that the problems in it are reported as well


def _read_text(path: Path) -> str:
    """The text of an ordinary UTF-8 file of sensible size."""
    start = Mark(0, 0)  # the file as a whole
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise Refused("is a folder, not a file" if stat.S_ISDIR(mode) else "is not an ordinary file", start)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Refused(f"no such file{similar_file(path)}", start) from None
    except (OSError, ValueError) as error:
        raise Refused(f"cannot be read: {getattr(error, 'strerror', None) or error}", start) from None
    if len(content) > MAX_BYTES:
        raise Refused(f"is larger than {MAX_BYTES // 1024} KiB, the most that is read as YAML", start)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Refused("is UTF-16 text; save it as UTF-8", start)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        mark = Mark(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise Refused("is not UTF-8 text; save it as UTF-8", mark) from None
