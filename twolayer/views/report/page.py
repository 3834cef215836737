"""One page about one run or several, to look at or to send: curves, diagnosis, confusions, calibration, mistakes,
weights, config and environment. It needs no network and no other file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from twolayer.runs.checkpoint import read_model_arrays
from twolayer.runs.folder import RunFolder
from twolayer.utils.errors import MissingExtraError, TwoLayerError
from twolayer.utils.files import write_atomically
from twolayer.views.diagnosis import diagnose
from twolayer.views.evaluation import confusion_matrix, most_confident_mistakes, reliability
from twolayer.views.interactive import interactive_curves
from twolayer.views.loss_curve import curves_figure
from twolayer.views.panels import By
from twolayer.views.report import html, pictures
from twolayer.views.report.html import text
from twolayer.views.report.rows import RawRows, raw_rows
from twolayer.views.run_data import RunData, differing_keys, flattened
from twolayer.views.table import run_names, run_table

MAX_UNITS = 64  # pictures of weights for one run; several runs share them
MAX_COLUMNS = 12  # of a mistaken row that is no picture


def write_report(
    runs: Sequence[RunData],
    path: Path,
    *,
    image_shape: tuple[int, ...] | None = None,
    by: By = "epoch",
    scale: str | None = None,
    bands: bool = True,
) -> str:
    """Write the page about some runs into an .html file, replaced whole; `by`, `scale` and `bands` as for
    `interactive_curves`. Rows have the given shape as pictures, or the one that the data says.

    Returns:
        A note for the terminal: which extra would make the curves interactive, or nothing.
    """
    table = run_table(runs)
    runs = [runs[k] for k in table.order]
    head, note = "", ""
    try:
        head, curves = interactive_curves(runs, by=by, scale=scale, bands=bands)
        curves += (
            '<p class="note">Thick: validation, thin: training. Click a name in the legend to hide its curves.</p>'
        )
    except MissingExtraError as missing:
        picture = pictures.figure_uri(curves_figure(runs, by=by, scale=scale, bands=bands))
        curves, note = f'<img class="curves" alt="loss and accuracy over {by}" src="{picture}">', str(missing)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    header, *rows = (table if len(runs) == 1 else table.short()).as_text()
    parts = [f"<h1>{text(title)}</h1>", curves, html.table(header, rows)]
    for index, (run, name) in enumerate(zip(runs, run_names(runs), strict=True)):
        about = "\n".join(_about(run, image_shape, max(8, MAX_UNITS // len(runs))))
        opened = " open" if index == 0 else ""
        summary = f"<details{opened} class=run><summary>{text(name)}</summary>{about}</details>"
        parts.append(about if len(runs) == 1 else summary)
    differing = differing_keys(runs)  # the table of runs has them
    settings = {key: value for key, value in runs[0].settings.items() if key not in differing}
    shared = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in settings.items()]
    parts.append(_folded("Config" if len(runs) == 1 else "Config: what all runs share", shared))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{text(title)} - twolayer</title><style>{html.CSS}</style>{head}</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    write_atomically(path, page.encode(errors="replace"))
    return note


def _folded(title: str, rows: Sequence[Sequence[object]]) -> str:
    return f"<details><summary>{title}</summary>{html.table(('key', 'value'), rows, 'text')}</details>"


def _about(run: RunData, image_shape: tuple[int, ...] | None, units: int) -> Iterator[str]:
    """Yield the parts of the page about one run; its weights as pictures of at most `units` units."""
    yield "<h2>Diagnosis</h2>" + html.verdicts(diagnose(run))
    refit = [run.summary.get(f"refit_{what}") for what in ("rows", "epochs")]
    if all(isinstance(each, int) for each in refit):
        what = "The model was refitted on {:,} training and validation rows for {:,} epochs".format(*refit)
        yield f'<p class="note">{what}; what is said of validation rows is of the one before.</p>'
    best = RunFolder(run.path).best
    arrays = read_model_arrays(best, kinds=("model",))[0] if best.exists() else {}
    weights = arrays.get("W1", arrays.get("W2", np.empty((0, 0))))
    kind = "test" if run.predicted("test") else "validation"
    judged = run.predicted(kind)
    if judged is None:
        yield '<p class="note">The run kept no predictions: no confusion matrix, no calibration.</p>'
    else:
        y, P = judged
        classes = run.classes if len(run.classes) == P.shape[1] else range(P.shape[1])
        counts, bins = confusion_matrix(y, P.argmax(axis=1), P.shape[1]), reliability(y, P)
        diagram = pictures.figure_uri(pictures.reliability_figure(bins))
        yield f"<h2>Confusion matrix, {len(y):,} {kind} rows</h2>{html.confusion_table(counts, classes)}"
        yield f'<div class="side"><div><h2>By class, {kind} rows</h2>{html.class_table(counts, classes)}</div>'
        yield f'<div><h2>Calibration, {kind} rows</h2><img alt="reliability diagram" src="{diagram}">'
        yield f"<p>Expected calibration error: {bins.ece:.4f}</p></div></div>"
        wrong = most_confident_mistakes(y, P)
        numbers = run.predictions[f"{kind}_rows"][wrong]
        rows, note = None, ""
        try:
            rows = raw_rows(run.path, kind, wrong, numbers)
            image_shape = image_shape or rows.preparation.image_shape
        except TwoLayerError as error:
            note = f"The rows are not shown: {error}"
        guesses, confidences = P[wrong].argmax(axis=1), P[wrong].max(axis=1)
        mistakes = [
            (number, str(classes[right]), str(classes[guess]), f"{confidence:.1%}")
            for number, right, guess, confidence in zip(numbers, y[wrong], guesses, confidences, strict=True)
        ]
        shape = pictures.image_shape_of(len(weights), image_shape)
        yield f"<h2>Most confident mistakes, {kind} rows</h2>{_mistakes(mistakes, rows, note, shape)}"
    shape = pictures.image_shape_of(len(weights), image_shape)
    if shape is not None:
        picture = pictures.pixels_uri(pictures.weights_picture(weights, shape, units))
        yield (
            f"<h2>First-layer weights</h2><p class=note>One picture per unit, largest norm first (at most {units}); "
            f'vermilion positive, white 0, blue negative.</p><img class="weights" alt="weights of the first layer" '
            f'src="{picture}">'
        )
    if run.environment:
        yield _folded("Environment", list(flattened(run.environment).items()))


def _mistakes(
    mistakes: Sequence[tuple[int, str, str, str]], rows: RawRows | None, note: str, shape: tuple[int, ...] | None
) -> str:
    """Return mistakes (row, class, predicted, confidence) with their pictures, or as one table with the rows' cells."""
    if not mistakes:
        return "<p>There are none.</p>"
    if rows is not None and shape is not None:
        sources = [pictures.pixels_uri(pictures.row_picture(row, shape)) for row in rows.X]
        body = "".join(
            f'<figure><img alt="row {row}" src="{source}"><figcaption>row {row}: <b>{text(right)}</b>, predicted '
            f"<b>{text(predicted)}</b> ({confidence})</figcaption></figure>"
            for (row, right, predicted, confidence), source in zip(mistakes, sources, strict=True)
        )
        return f'<div class="mistakes">{body}</div>'
    cells = [{} if rows is None else rows.cells(k) for k in range(len(mistakes))]
    columns = list(dict.fromkeys(name for each in cells for name in each))
    if len(columns) > MAX_COLUMNS:
        note = f"The first {MAX_COLUMNS} of {len(columns)} columns are shown."
    shown = columns[:MAX_COLUMNS]
    table = [(*one, *(each.get(name, "") for name in shown)) for one, each in zip(mistakes, cells, strict=True)]
    noted = f'<p class="note">{text(note)}</p>' if note else ""
    return noted + html.table(("row", "class", "predicted", "confidence", *shown), table, "cells")
