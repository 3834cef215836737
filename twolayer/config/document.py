"""YAML text or file -> plain data with the place of every key; everything wrong with the text itself goes to the
report. Configs and sweep files both are read through here."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from twolayer.config.nodes import Mark, Node, Refused, build
from twolayer.config.report import Path, Place, Report, similar_file

MAX_BYTES = 256 * 1024

PlaceOf = Callable[[Mark], Place]


@dataclass
class Document:
    """What a text says.

    Attributes:
        data: dicts with string keys, lists, str, int, float, bool and None.
        places: where each value's key stands (list items: the item).
    """

    data: Any
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place | None:
        """The place of the value, or of the nearest thing around it that was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None


def read_document(path: FilePath | str, report: Report) -> Document | None:
    """The document in a file, or None with a fault in the report.

    Args:
        path: a UTF-8 file; its name stands in the report as it is given here.
        report: gets the faults.
    """

    def place_of(mark: Mark) -> Place:
        return Place(str(path), mark.line, mark.column)

    try:
        text = _read_text(FilePath(path))
    except Refused as error:
        report.add((), error.message, place_of(error.mark))
        return None
    return parse(text, place_of, report)


def parse(text: str, place_of: PlaceOf, report: Report, root: Path = ()) -> Document | None:
    """The document in `text`, or None with a fault in the report if its structure cannot be read.

    Duplicate keys, tags and unknown aliases are noted, each at its place, and reading goes on.

    Args:
        text: one YAML document.
        place_of: turns a mark in the text into the place to report.
        report: gets the faults.
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
    places: dict[Path, Place]

    def plain(self, node: Node, path: Path) -> Any:
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

    def fill(self, mapping: dict[str, Any], node: Node, path: Path) -> None:
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
                    self.fill(mapping[name], child, here)  # so that the faults in it are told, too


def _read_text(path: FilePath) -> str:
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
