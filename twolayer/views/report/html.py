"""The parts of the report page: escaped text, tables, the style sheet.

Labels, column names and config values are untrusted; all of them are escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.views.diagnosis import RULES, Verdict
from twolayer.views.evaluation import class_figures

MAX_MATRIX = 40  # classes; a larger confusion matrix is listed by its largest confusions
_LISTED = 30

CSS = """
body{font:15px/1.45 system-ui,sans-serif;color:#1a1a1a;max-width:1240px;margin:1.5rem auto;padding:0 1.5rem}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
table{border-collapse:collapse;font-size:.86rem;margin:.3rem 0}
.wide{overflow-x:auto}th,td{padding:.2rem .55rem;text-align:right;border-bottom:1px solid #e4e4e4}
th:first-child,td:first-child{text-align:left;white-space:nowrap}
thead th{border-bottom:2px solid #999;vertical-align:bottom}
.text td,.cells td,.text th,.cells th{text-align:left}.text td{overflow-wrap:anywhere}
.cells td{max-width:16em;overflow-wrap:break-word}
.matrix td,.matrix th{padding:.1rem .3rem;text-align:center;border:1px solid #eee;min-width:1.7em}
.matrix td{height:1.5em}.matrix.tall tr:first-child th{writing-mode:vertical-rl;transform:rotate(180deg);
text-align:left;white-space:nowrap;padding:.4rem .1rem;
max-height:14em;overflow:hidden;text-overflow:ellipsis}.matrix th:first-child{text-align:right}
.alarm{border-left:5px solid #D55E00;background:#fff4ee;padding:.5rem .8rem;margin:.4rem 0}
.fine{border-left:5px solid #0072B2;background:#eef6fb;padding:.5rem .8rem;margin:.4rem 0}
.mistakes{display:grid;grid-template-columns:repeat(6,1fr);gap:.9rem}.mistakes figure{margin:0;font-size:.82rem}
.mistakes img{width:100%;image-rendering:pixelated;background:#000}
.weights{image-rendering:pixelated;width:100%;border:1px solid #ccc}
.note{color:#555;font-size:.86rem}details{margin:.8rem 0}summary{cursor:pointer;font-weight:600}
.run{border-top:1px solid #ccc;padding-top:.5rem}.run>summary{font-size:1.2rem}
img.curves{width:100%}.side{display:flex;flex-wrap:wrap;gap:1rem 5rem;align-items:flex-start}
"""


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
    if len(classes) > MAX_MATRIX:
        return _largest_confusions(counts, classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{text(label)}</th>" for label in classes)
    tall = " tall" if max(len(str(label)) for label in classes) > max(3, 60 // len(classes)) else ""
    lines = []
    for i, label in enumerate(classes):
        cells = "".join(_matrix_cell(int(counts[i, j]), float(shares[i, j]), i == j) for j in range(len(classes)))
        lines.append(f"<tr><th>{text(label)}</th>{cells}</tr>\n")
    return (
        '<p class="note">Rows: the class; columns: what was predicted. Blue: right, vermilion: wrong, by the '
        f'share of the row.</p><div class="wide"><table class="matrix{tall}"><tr><th></th>{head}</tr>{"".join(lines)}'
        "</table></div>"
    )


def _matrix_cell(count: int, share: float, right: bool) -> str:
    if not count:
        return "<td></td>"
    colour = f"rgba(0,114,178,{0.65 * share:.2f})" if right else f"rgba(213,94,0,{min(0.8, 0.12 + 2 * share):.2f})"
    return f'<td style="background:{colour}">{count}</td>'


def _largest_confusions(counts: NDArray[np.int64], classes: Sequence[Any]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    pairs = [divmod(int(place), len(classes)) for place in order]
    rows = [(f"{classes[i]} as {classes[j]}", wrong[i, j]) for i, j in pairs if wrong[i, j]]
    return f'<p class="note">{len(classes)} classes; the largest confusions:</p>' + table(("predicted", "rows"), rows)
