"""An explanation as data, and its two renderings: text for a terminal of 80 columns, Markdown for a handout."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

WIDTH = 80
_NAME, _NUMBER = 13, 11  # columns of a table in text
_MARKS = re.compile(r"([\\`*_\[\]<>&|~$])")


@dataclass(frozen=True)
class Table:
    """Some entries of an array.

    Attributes:
        columns: a name for each column.
        rows: each a name and its numbers.
        left_out: what is not shown, in words; empty if all is.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    left_out: str = ""


@dataclass(frozen=True)
class Step:
    """One equation with its numbers.

    Attributes:
        equation: its number and formula, or a heading.
        shape: of the result, as `(1, 64)`; empty for single numbers.
        words: what happens here, a paragraph each.
        table: numbers of the result, or None.
    """

    equation: str
    shape: str
    words: tuple[str, ...]
    table: Table | None = None


def as_text(title: str, steps: tuple[Step, ...]) -> str:
    """The steps as plain text, at most 80 columns wide."""
    lines = [*textwrap.wrap(title, WIDTH), "=" * min(len(title), WIDTH)]
    for step in steps:
        lines += ["", f"{step.equation:<58}{step.shape}".rstrip()]
        for paragraph in step.words:
            lines += textwrap.wrap(paragraph, WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
        if step.table is not None:
            lines.append(" " * _NAME + "".join(f"{name:>{_NUMBER}}" for name in step.table.columns))
            for name, numbers in step.table.rows:
                cells = "".join(f"{number_text(number):>{_NUMBER}}" for number in numbers)
                lines.append(f"{name:>{_NAME - 1}} {cells}")
            lines += [f"    ({step.table.left_out})"] if step.table.left_out else []
    return "\n".join(lines)


def as_markdown(title: str, steps: tuple[Step, ...]) -> str:
    """The steps as Markdown, with a table for each array; labels and all other words are shown as they stand."""
    lines = [f"# {_escaped(title)}"]
    for step in steps:
        shape = f" · {step.shape}" if step.shape else ""
        heading = step.equation.strip()
        lines += ["", f"## `{heading}`{shape}" if heading.startswith("(") else f"## {heading}{shape}"]
        for paragraph in step.words:
            lines += ["", _escaped(paragraph)]
        if step.table is not None:
            lines += ["", "| | " + " | ".join(map(_escaped, step.table.columns)) + " |"]
            lines.append("|---|" + "---:|" * len(step.table.columns))
            for name, numbers in step.table.rows:
                lines.append(f"| {_escaped(name)} | " + " | ".join(number_text(number) for number in numbers) + " |")
            lines += ["", f"({step.table.left_out})"] if step.table.left_out else []
    return "\n".join(lines)


def _escaped(words: str) -> str:
    """Words on one line with a backslash before each mark that Markdown would take for its own."""
    return _MARKS.sub(r"\\\1", " ".join(words.split()))


def number_text(number: float) -> str:
    """Four significant digits, in at most ten characters."""
    return f"{number:.4g}" if number else "0"
