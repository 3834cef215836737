"""One page about one run or several, to look at or to send: curves, diagnosis, confusions, calibration, mistakes,
weights, config and environment. It needs no network and no other file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from twolayer.utils.errors import MissingExtraError
from twolayer.utils.files import write_atomically
from twolayer.views.diagnosis import diagnose
from twolayer.views.evaluation import confusion_matrix, reliability
from twolayer.views.interactive import interactive_curves
from twolayer.views.loss_curve import draw_curves
from twolayer.views.panels import By
from twolayer.views.report import html, pictures
from twolayer.views.report.details import Details, evaluated
from twolayer.views.report.html import text
from twolayer.views.run_data import RunData, differing_keys, flattened
from twolayer.views.table import run_names, run_table

MAX_UNITS = 64  # pictures of weights for one run; several runs share them
MAX_COLUMNS = 12  # of a mistaken row that is no picture


def write_report(
    runs: Sequence[RunData],
    details: Sequence[Details],
    path: Path,
    *,
    by: By = "epoch",
    scale: str | None = None,
    bands: bool = True,
) -> str:
    """Write the page.

    Args:
        runs: at least one.
        details: one for each run.
        path: the .html file; replaced whole.
        by: the curves' x axis.
        scale: of the losses: `linear`, `log` or None (whichever shows more).
        bands: draw runs that differ in the seed alone as one curve in a band.

    Returns:
        A note for the terminal: which extra would make the curves interactive, or nothing.
    """
    table = run_table(runs)
    runs, details = [runs[k] for k in table.order], [details[k] for k in table.order]
    head, curves, note = _curves(runs, by, scale, bands)
    single = len(runs) == 1
    title = runs[0].name if single else f"{len(runs)} runs"
    header, *rows = table.as_text()
    parts = [f"<h1>{text(title)}</h1>", curves, html.table(header, rows)]
    units = max(8, MAX_UNITS // len(runs))
    for index, (run, detail, name) in enumerate(zip(runs, details, run_names(runs), strict=True)):
        about = "\n".join(_about(run, detail, units))
        opened = " open" if index == 0 else ""
        parts.append(
            about if single else f"<details{opened} class=run><summary>{text(name)}</summary>{about}</details>"
        )
    parts.append(_config(runs))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{text(title)} - twolayer</title><style>{html.CSS}</style>{head}</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    write_atomically(path, page.encode(errors="replace"))
    return note


def _curves(runs: Sequence[RunData], by: By, scale: str | None, bands: bool) -> tuple[str, str, str]:
    """Return (head, body, note): interactive curves where Bokeh is installed, a picture elsewhere."""
    hint = '<p class="note">Thick: validation, thin: training. Click a name in the legend to hide its curves.</p>'
    try:
        head, body = interactive_curves(runs, by=by, scale=scale, bands=bands)
        return head, body + hint, ""
    except MissingExtraError as missing:
        picture = io.BytesIO()
        draw_curves(runs, picture, by=by, scale=scale, bands=bands)
        address = pictures.data_uri(picture.getvalue())
        return "", f'<img class="curves" alt="loss and accuracy over {by}" src="{address}">', str(missing)


def _config(runs: Sequence[RunData]) -> str:
    """Return the config's keys that all runs share; the table of runs has the others."""
    differing = differing_keys(runs)
    shared = [(key, _value(value)) for key, value in runs[0].settings.items() if key not in differing]
    title = "Config" if len(runs) == 1 else "Config: what all runs share"
    return _folded(title, html.table(("key", "value"), shared, "text"))


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _about(run: RunData, detail: Details, units: int) -> list[str]:
    parts = ["<h2>Diagnosis</h2>", html.verdicts(diagnose(run))]
    refit = [run.summary.get(f"refit_{what}") for what in ("rows", "epochs")]
    if all(isinstance(each, int) for each in refit):
        what = "The model was refitted on {:,} training and validation rows for {:,} epochs".format(*refit)
        parts.append(f'<p class="note">{what}; what is said of validation rows is of the one before.</p>')
    judged = evaluated(run)
    if judged is None:
        parts.append('<p class="note">The run kept no predictions: no confusion matrix, no calibration.</p>')
    else:
        kind, y, P = judged
        classes = run.classes if len(run.classes) == P.shape[1] else range(P.shape[1])
        counts = confusion_matrix(y, P.argmax(axis=1), P.shape[1])
        bins = reliability(y, P)
        parts += [
            f"<h2>Confusion matrix, {len(y):,} {kind} rows</h2>",
            html.confusion_table(counts, classes),
            f'<div class="side"><div><h2>By class, {kind} rows</h2>{html.class_table(counts, classes)}</div>',
            f"<div><h2>Calibration, {kind} rows</h2>{pictures.reliability_svg(bins)}"
            f"<p>Expected calibration error: {bins.ece:.4f}</p></div></div>",
            *_mistakes(detail, kind),
        ]
    shape = detail.image_shape
    if detail.W1 is not None and shape is not None:
        picture = pictures.weights_png(detail.W1, shape, units)
        parts.append(
            f"<h2>First-layer weights</h2><p class=note>One picture per unit, largest norm first (at most {units}); "
            f'vermilion positive, white 0, blue negative.</p><img class="weights" alt="weights of the first layer" '
            f'src="{pictures.data_uri(picture)}">'
        )
    environment = list(flattened(run.environment).items())
    return [*parts, _folded("Environment", html.table(("", "value"), environment, "text"))] if environment else parts


def _mistakes(detail: Details, kind: str) -> list[str]:
    """Return the most confident mistakes: pictures with their labels, or one table with the rows' cells."""
    if not detail.mistakes:
        return [f"<p>No mistake among the {kind} rows.</p>"]
    note = detail.note
    if detail.mistakes[0].picture is not None:
        body = "".join(
            f'<figure><img alt="row {one.row}" src="{pictures.data_uri(one.picture or b"")}"><figcaption>'
            f"row {one.row}: <b>{text(one.right)}</b>, predicted <b>{text(one.predicted)}</b> ({one.confidence:.1%})"
            "</figcaption></figure>"
            for one in detail.mistakes
        )
        body = f'<div class="mistakes">{body}</div>'
    else:
        columns = list(dict.fromkeys(name for one in detail.mistakes for name in one.cells or {}))
        if len(columns) > MAX_COLUMNS:
            note = f"{note} The first {MAX_COLUMNS} of {len(columns)} columns are shown.".strip()
        shown = columns[:MAX_COLUMNS]
        rows = [
            (one.row, one.right, one.predicted, f"{one.confidence:.1%}", *((one.cells or {}).get(c, "") for c in shown))
            for one in detail.mistakes
        ]
        body = html.table(("row", "class", "predicted", "confidence", *shown), rows, "cells")
    noted = f'<p class="note">{text(note)}</p>' if note else ""
    return [f"<h2>Most confident mistakes, {kind} rows</h2>{noted}{body}"]
