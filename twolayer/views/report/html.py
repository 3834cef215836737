"""The parts of the report page: escaped text, tables, the style sheet.

Labels, column names and config values are untrusted; all of them are escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.views.diagnosis import RULES, Verdict
from twolayer.views.evaluation import class_figures

MAX_MATRIX = 40  # classes; a larger confusion matrix is listed by its largest confusions
_LISTED = 30

CSS = files("twolayer.views.report").joinpath("page.css").read_text("utf-8")


def text(value: object) -> str:
    """Return any value as text that is safe in HTML."""
    return escape(str(value), quote=True)


def table(header: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "") -> str:
    """Return a table of escaped cells; `kind` is its class in the style sheet."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def verdicts(found: Sequence[Verdict]) -> str:
    """Return what the diagnosis says of a run."""
    if not found:
        return f'<p class="fine">No problem found. Looked for: {text(", ".join(RULES))}.</p>'
    return "".join(
        f'<p class="alarm"><b>{text(one.name)}</b>: {text(one.evidence)}<br>Try: {text(one.remedy)}</p>'
        for one in found
    )


def class_table(counts: NDArray[np.int64], classes: Sequence[Any]) -> str:
    """Return precision, recall, F1 and rows of each class, with their plain means."""
    figures = class_figures(counts)
    rows: list[Sequence[object]] = [
        (label, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", n) for label, p, r, f, n in zip(classes, *figures, strict=True)
    ]
    means = (f"{figure.mean():.3f}" for figure in figures[:3])
    rows.append(("mean over classes", *means, int(counts.sum())))
    return table(("class", "precision", "recall", "F1", "rows"), rows)


def confusion_table(counts: NDArray[np.int64], classes: Sequence[Any]) -> str:
    """Return the confusion matrix with shaded cells, or, for many classes, its largest confusions."""
    n = len(classes)
    if n > MAX_MATRIX:
        wrong = counts - np.diag(np.diag(counts))
        pairs = [divmod(int(place), n) for place in np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]]
        rows = [(f"{classes[i]} as {classes[j]}", wrong[i, j]) for i, j in pairs if wrong[i, j]]
        return f'<p class="note">{n} classes; the largest confusions:</p>' + table(("predicted", "rows"), rows)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Blue with the share of right ones; vermilion for wrong ones, visible from the first.
    alphas = np.where(np.eye(n), 0.65 * shares, np.minimum(0.8, 0.12 + 2 * shares)).round(2)
    lines = ["<tr><th></th>" + "".join(f"<th>{text(label)}</th>" for label in classes) + "</tr>"]
    for i, label in enumerate(classes):
        cells = ""
        for j, count in enumerate(counts[i]):
            colour = f"rgba({'0,114,178' if i == j else '213,94,0'},{alphas[i, j]})"
            cells += f'<td style="background:{colour}">{count}</td>' if count else "<td></td>"
        lines.append(f"<tr><th>{text(label)}</th>{cells}</tr>\n")
    tall = " tall" if max(len(str(label)) for label in classes) > max(3, 60 // n) else ""
    return (
        '<p class="note">Rows: the class; columns: what was predicted. Blue: right, vermilion: wrong, by the '
        f'share of the row.</p><div class="wide"><table class="matrix{tall}">{"".join(lines)}</table></div>'
    )
