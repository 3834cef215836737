"""YAML text -> a tree of values with marks, built from ruamel's parsing events without recursion and within limits of
size, depth and aliases. Nothing but strings, numbers, booleans, nulls, lists and mappings can come out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
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

from twolayer.config.report import shown

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


class Mark(NamedTuple):
    """A place in the text, both numbers from 1."""

    line: int
    column: int


class Refused(Exception):
    """A fault after which nothing more can be made of the text."""

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
        raise Refused(f"the character U+{ord(text[error.position]):04X} may not stand in YAML", mark) from None
    except MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        raise Refused(
            f"not valid YAML: {error.problem or error.context}", _mark(at) if at is not None else mark
        ) from None
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError):
        # ruamel's scanner fails in ways of its own on some broken texts, e.g. on an escape beyond Unicode
        raise Refused("not valid YAML here or just after", mark) from None


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
