"""YAML text or file -> plain data with the place of every key, from ruamel's nodes within limits of size, depth and
aliases; and the report of all problems of a file at once. Sweep files are read here as well.

Nothing but strings, numbers, booleans, nulls, lists and mappings can come out."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from twolayer.utils.errors import ConfigError
from twolayer.utils.files import open_to_read
from twolayer.utils.text import did_you_mean, plain, shown

KeyPath = tuple[str | int, ...]  # ("data", "train", "features"), list items by their number

MAX_BYTES = 256 * 1024
MAX_VALUES = 10_000  # aliases counted as often as they are used
MAX_DEPTH = 20
MAX_PROBLEMS = 50
_MAX_DIGITS = 400
_MAX_SHOWN = 60  # characters of a key
_MAX_LISTED = 1000  # files

# The core schema of YAML 1.2: `1e-3` is a float, `no` and `1:30` are strings.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN_TAG = "tag:yaml.org,2002:"  # of a value without one
_TAG = re.compile(r"(&\S+\s+)?!")  # how a value with a tag begins, perhaps after an anchor
_GLUED = re.compile(r"( *)([A-Za-z_0-9]{1,30}):([^\s/\\:,]\S{0,60})(?=\s|$)")  # `epochs:40`, no path, no address
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_IN_PLAIN_WORDS = {  # what ruamel's message has in it: ours
    "'\\t'": "a tab; YAML is indented with spaces, so replace it by spaces",
    "cannot start any token": "text that begins with this character needs quotes",
    "escape": "a backslash in double quotes begins an escape; use single quotes",
    "maximum depth": _TOO_DEEP,
    "another document": "a second document starts here ('---'); one file holds one config",
}


class Place(NamedTuple):
    """Where something was written."""

    source: str  # the file's name as it was given, or `override KEY=VALUE`
    line: int  # from 1; of overrides: which of them
    column: int  # from 1; 0 of overrides

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.column else self.source


class ConfigProblem(NamedTuple):
    """One thing that is wrong."""

    path: KeyPath  # () for the document as a whole
    message: str  # `expected Y, got X; what to do`
    place: Place | None  # None where nothing was read from a text

    def __str__(self) -> str:
        parts = [str(self.place or ""), dotted(self.path), self.message]
        return ": ".join(part for part in parts if part)


@dataclass
class Report:
    """The problems found so far, and the paths whose values have one: nothing more is reported about those."""

    problems: list[ConfigProblem] = field(default_factory=list)
    unusable: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, message: str, place: Place | None, *, judged: bool = False) -> None:
        """Add a problem; `judged`: the value at the path is checked all the same, as a duplicate key's first one."""
        self.problems.append(ConfigProblem(path, message, place))
        if not judged:
            self.unusable.add(path)

    def is_inside_unusable(self, path: KeyPath) -> bool:
        """Return whether the value at this path, or one around it, has a problem."""
        return any(path[:end] in self.unusable for end in range(len(path) + 1))

    def is_usable(self, path: KeyPath) -> bool:
        """Return whether no value at this path, inside it or around it has a problem."""
        return not (self.is_inside_unusable(path) or any(bad[: len(path)] == path for bad in self.unusable))

    def error(self) -> ConfigError:
        """Return all problems in the order of their places, files before overrides."""

        def order(problem: ConfigProblem) -> tuple[bool, int, int]:
            _, line, column = problem.place or ("", 0, 1)
            return column == 0, line, column

        lines = [str(problem) for problem in sorted(self.problems, key=order)]
        if len(lines) > MAX_PROBLEMS:
            lines[MAX_PROBLEMS:] = [f"... and {len(lines) - MAX_PROBLEMS} more problems"]
        return ConfigError(lines)


def dotted(path: KeyPath) -> str:
    """Return `solver.class_weight.3`, list items as `data.ignore[0]`; names that would spoil the line are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        is_plain = 0 < len(part) <= _MAX_SHOWN and part.isprintable() and not part.isspace()
        text += ("." if text else "") + (part if is_plain else shown(part))
    return text


def hint_for(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'learning_rate'?`, or the known names if none is close."""
    return did_you_mean(name, known) or (f"; known: {', '.join(known)}" if known else "")


def file_problem(path: os.PathLike[str] | str) -> str:
    """Return why a file cannot be read, with the nearest name in its folder if it does not exist; "" if it can."""
    try:
        open_to_read(Path(path), follow=True).close()
    except FileNotFoundError:
        folder, name = os.path.split(path)
        with suppress(OSError), os.scandir(folder or ".") as entries:
            return "no such file" + did_you_mean(name, (entry.name for entry in islice(entries, _MAX_LISTED)))
        return "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""


PlaceOf = Callable[[int, int], Place]  # of a line and a column, both from 1


@dataclass
class Document:
    """What a text says."""

    data: Any  # dicts with string keys, lists, str, int, float, bool and None
    places: dict[KeyPath, Place] = field(default_factory=dict)  # where each value's key is; of list items: the item
    replaced: dict[KeyPath, Any] = field(default_factory=dict)  # the values that overrides took the place of

    def place(self, path: KeyPath) -> Place | None:
        """Return the place of the value, or of the nearest thing around it that was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None


class Refused(Exception):
    """A problem after which nothing more can be made of the text: the message, line and column (0: the whole file)."""


def read_document(path: Path | str, report: Report) -> Document | None:
    """Return the document in a UTF-8 file, or None with a problem in the report, which names the file as given here."""
    place_of = partial(Place, str(path))
    try:
        text = _read_text(Path(path))
    except Refused as error:
        message, *at = error.args
        report.add((), message, place_of(*at))
        return None
    return parse(text, place_of, report)


def parse(text: str, place_of: PlaceOf, report: Report, root: KeyPath = ()) -> Document | None:
    """Return the document in `text`, or None with a problem in the report if its structure cannot be read.

    Duplicate keys and tags are reported, each at its place, and reading continues. Of a key given twice, the first
    value counts. An empty text is null. `root` is the path of the document's value in the data it belongs to.
    """
    reader = _Reader(text, place_of, report, len(root) + MAX_DEPTH)
    try:
        node = _compose(text)
        data = None if node is None else reader.value(node, root)
    except Refused as error:
        message, *at = error.args
        report.add(root, message, place_of(*at))
        return None
    reader.places.setdefault(root, place_of(1, 1))
    return Document(data, reader.places)


def apply_override(document: Document, override: str, number: int, report: Report) -> None:
    """Put one `KEY=VALUE`, the one of this number, into the document; its key is judged with all others."""
    key, equals, text = override.partition("=")
    place = Place(f"override {plain(override, 80)}", number, 0)
    path: KeyPath = tuple(key.strip().split("."))
    if not equals or not all(path):
        report.add((), "expected KEY=VALUE, e.g. solver.reg=1e-3", place, judged=True)
        return
    value = parse(text, lambda line, column: place, report, root=path)
    if value is None or not isinstance(document.data, dict):  # a file without a mapping is reported as its problem
        return
    holder = document.data
    for depth, part in enumerate(path[:-1], start=1):
        if holder.get(part) is None:
            holder[part] = {}
            document.places[path[:depth]] = place
        holder = holder[part]
        if not isinstance(holder, dict):
            found = f"{dotted(path[:depth])} is {shown(holder)} here, which has no keys inside"
            report.add(path, found, place, judged=True)
            return
    document.replaced.setdefault(path, holder.get(path[-1], ...))
    holder[path[-1]] = value.data
    document.places = {p: at for p, at in document.places.items() if p[: len(path)] != path} | value.places


def parse_scalar(text: str) -> Any:
    """Return the value of an unquoted scalar by YAML 1.2's core schema, e.g. 0.001 for `1e-3`; an integer of absurd
    length is a ValueError."""
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
    """Maker of plain data from nodes; what an alias refers to is read again, and counted, wherever it is used."""

    def __init__(self, text: str, place_of: PlaceOf, report: Report, longest: int) -> None:
        self.text, self.place_of, self.report, self.longest = text, place_of, report, longest
        self.places: dict[KeyPath, Place] = {}
        self.n_values = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        place = self.places.setdefault(path, self.place_of(*_mark(node)))
        self.count(node, path)
        self.refuse_tag(node, path, place)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        if not isinstance(node, ScalarNode):
            return self.mapping(node, path, {})
        try:
            return parse_scalar(node.value) if node.style is None else node.value
        except ValueError as error:
            self.report.add(path, str(error), place)

    def mapping(self, node: Node, path: KeyPath, data: dict[str, Any]) -> dict[str, Any]:
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                raise Refused("a key must be a plain name", *_mark(key))
            here, place = (*path, key.value), self.place_of(*_mark(key))
            self.refuse_tag(key, here, place)
            if key.value in data:
                first = self.places[here]
                where = f" in line {first.line}" if first.column else ""
                self.report.add(here, f"duplicate key, given before{where}; remove one", place, judged=True)
                self.count(item, here)
                if isinstance(item, MappingNode) and isinstance(data[key.value], dict):
                    self.mapping(item, here, data[key.value])  # so that all problems of both are reported
                continue
            below = isinstance(item, ScalarNode) and item.value and _mark(item)[0] > _mark(key)[0]
            self.places[here] = self.place_of(*_mark(item)) if below else place  # `solver:`, and below it `epochs:40`
            data[key.value] = self.value(item, here)
        return data

    def count(self, node: Node, path: KeyPath) -> None:
        self.n_values += 1
        if self.n_values > MAX_VALUES or len(path) > self.longest:
            raise Refused(f"more than {MAX_VALUES} values or {MAX_DEPTH} levels, aliases written out", *_mark(node))

    def refuse_tag(self, node: Node, path: KeyPath, place: Place) -> None:
        is_plain = node.ctag.handle is None and str(node.tag).startswith(_PLAIN_TAG)
        if not is_plain or _TAG.match(self.text, node.start_mark.index):  # such as !<tag:yaml.org,2002:str>
            found = shown(str(node.ctag))
            self.report.add(path, f"tags are refused, got {found}; write the plain value, text in quotes", place)


def _compose(text: str) -> Node | None:
    """Return ruamel's root node of the one document in a text, None if it is empty; an error of its is `Refused`."""
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH
    yaml.composer.warn_double_anchors = False
    try:
        node: Node | None = yaml.compose(text)
        return node
    except ReaderError as error:
        what = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise Refused(what, *_line_and_column(text[: error.position])) from None
    except MarkedYAMLError as error:
        raise Refused(*_explain(error, text)) from None
    except RecursionError:
        raise Refused(_TOO_DEEP, 0, 0) from None
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError):
        # ruamel's scanner fails in ways of its own on some broken texts
        raise Refused("not valid YAML; is there an escape in double quotes that names no character?", 0, 0) from None


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _line_and_column(before: str) -> tuple[int, int]:
    """Return the place just after a text, both from 1."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _explain(error: MarkedYAMLError, text: str) -> tuple[str, int, int]:
    """Return what is wrong, with line and column, in words for the mistakes that people make."""
    problem, mark, context = str(error.problem or error.context), error.problem_mark, error.context_mark
    at = (mark.line + 1, mark.column + 1)
    begun = (context.line + 1, context.column + 1) if context is not None else at
    lines = ["", *re.split(r"\r\n|\r|\n", text), ""]  # from 1; an error at the end may be in the line after the last
    for sign, words in _IN_PLAIN_WORDS.items():
        if sign in problem:
            return words, *at
    if "unexpected end of stream" in problem and "quoted" in str(error.context):
        return "the quote that opens here is never closed", *begun
    for number in range(min(begun[0], at[0]), max(begun[0] - 2, 0), -1):  # the line itself, then the one above
        if glued := _GLUED.match(lines[number]):
            indent, key, value = glued.groups()
            fixed = f"no space after the colon; write {shown(f'{key}: {value}')}"
            return f"{shown(f'{key}:{value}')} has {fixed}", number, len(indent) + 1
    if "expected ',' or" in problem:
        return "not valid YAML: the bracket that opens here is not closed, or a comma or quotes are missing", *begun
    before = lines[at[0]][: at[1] - 1]
    if "mapping values are not allowed" in problem and ": " in before:
        return "a second colon; put the value in quotes, as in KEY: 'a: b'", *at
    if "mapping values are not allowed" in problem or "expected <block end>" in problem:
        column = len(lines[at[0]]) - len(lines[at[0]].lstrip()) + 1
        return "the indentation fits no line above; the keys of one section begin in the same column", at[0], column
    if "could not find expected ':'" in problem:
        return f"expected KEY: VALUE, got {shown(lines[begun[0]].strip())}", *begun
    return f"not valid YAML: {problem}", *at


def _read_text(path: Path) -> str:
    """Return the text of an ordinary UTF-8 file of at most `MAX_BYTES`."""
    if problem := file_problem(path):
        raise Refused(problem, 0, 0)
    with open_to_read(path, follow=True) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Refused(f"is larger than {MAX_BYTES // 1024} KiB, the most that is read as YAML", 0, 0)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Refused("is UTF-16 text; save it as UTF-8", 0, 0)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _line_and_column(content[: error.start].decode("latin-1"))
        raise Refused("is not UTF-8 text; save it as UTF-8", *place) from None
