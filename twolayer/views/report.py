"""One page about one run or several, to look at or to send: curves, diagnosis, confusions, calibration, mistakes,
weights, config and environment. It needs no network and no other file.

Labels, column names and config values are untrusted; all of them are escaped by `text`."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array
from twolayer.utils.errors import MissingExtraError, TwoLayerError
from twolayer.utils.files import write_atomically
from twolayer.views import style
from twolayer.views.curves import curves_figure, differing_keys, run_table
from twolayer.views.diagnosis import RULES, Verdict, diagnose
from twolayer.views.evaluation import (
    RawRows,
    class_figures,
    confusion_matrix,
    most_confident_mistakes,
    raw_rows,
    reliability,
)
from twolayer.views.interactive import interactive_curves
from twolayer.views.run_data import RunData, flattened
from twolayer.views.style import By

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_UNITS = 64  # pictures of weights for one run; several runs share them
MAX_COLUMNS = 12  # of a mistaken row that is no picture
MAX_MATRIX = 40  # classes; a larger confusion matrix is listed by its largest confusions
_LISTED = 30

CSS = files("twolayer.views").joinpath("page.css").read_text("utf-8")


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
    `interactive_curves`. Rows have the given shape as pictures, or the one that the data says. Return a note for the
    terminal: which extra would make the curves interactive, or nothing."""
    runs_table = run_table(runs)
    runs, names = [runs[k] for k in runs_table.order], runs_table.columns["run"]
    head, note = "", ""
    try:
        head, curves = interactive_curves(runs, by=by, scale=scale, bands=bands)
        curves += _note("Thick: validation, thin: training. Click a name in the legend to hide its curves.")
    except MissingExtraError as missing:
        picture = picture_uri(curves_figure(runs, by=by, scale=scale, bands=bands))
        curves, note = f'<img class="curves" alt="loss and accuracy over {by}" src="{picture}">', str(missing)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    header, *rows = (runs_table if len(runs) == 1 else runs_table.short()).as_text()
    parts = [f"<h1>{text(title)}</h1>", curves, table(header, rows)]
    for index, (run, name) in enumerate(zip(runs, names, strict=True)):
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
        f"<title>{text(title)} - twolayer</title><style>{CSS}</style>{head}</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    write_atomically(path, page.encode(errors="replace"))
    return note


def _about(run: RunData, image_shape: tuple[int, ...] | None, units: int) -> Iterator[str]:
    """Yield the parts of the page about one run; its weights as pictures of at most `units` units."""
    yield "<h2>Diagnosis</h2>" + verdicts(diagnose(run))
    refit = [run.summary.get(f"refit_{what}") for what in ("rows", "epochs")]
    if all(isinstance(each, int) for each in refit):
        what = "The model was refitted on {:,} training and validation rows for {:,} epochs".format(*refit)
        yield _note(f"{what}; what is said of validation rows is of the one before.")
    arrays = run.model
    weights = arrays.get("W1", arrays.get("W2", np.empty((0, 0))))
    kind = "test" if run.predicted("test") else "validation"
    judged = run.predicted(kind)
    if judged is None:
        yield _note("The run kept no predictions: no confusion matrix, no calibration.")
    else:
        y, P = judged
        counts = confusion_matrix(y, P.argmax(axis=1), P.shape[1])
        *bins, calibration_error = reliability(y, P)
        diagram = picture_uri(reliability_figure(*bins))
        yield f"<h2>Confusion matrix, {len(y):,} {kind} rows</h2>{confusion_table(counts, run.classes)}"
        yield f'<div class="side"><div><h2>By class, {kind} rows</h2>{class_table(counts, run.classes)}</div>'
        yield f'<div><h2>Calibration, {kind} rows</h2><img alt="reliability diagram" src="{diagram}">'
        yield f"<p>Expected calibration error: {calibration_error:.4f}</p></div></div>"
        wrong = most_confident_mistakes(y, P)
        numbers = run.predictions[f"{kind}_rows"][wrong]
        rows, note = None, ""
        try:
            rows = raw_rows(run.path, kind, wrong, numbers)
            image_shape = image_shape or rows.preparation.image_shape
        except TwoLayerError as error:
            note = f"The rows are not shown: {error}"
        mistakes = [
            (number, run.classes[y[k]], run.classes[P[k].argmax()], f"{P[k].max():.1%}")
            for k, number in zip(wrong, numbers, strict=True)
        ]
        shape = image_shape_of(len(weights), image_shape)
        yield f"<h2>Most confident mistakes, {kind} rows</h2>{_mistakes(mistakes, rows, note, shape)}"
    shape = image_shape_of(len(weights), image_shape)
    if shape is not None:
        picture = picture_uri(weights_picture(weights, shape, units))
        yield (
            f"<h2>First-layer weights</h2><p class=note>One picture per unit, largest norm first (at most {units}); "
            f'vermilion positive, white 0, blue negative.</p><img class="weights" alt="weights of the first layer" '
            f'src="{picture}">'
        )
    if run.environment:
        yield _folded("Environment", list(flattened(run.environment).items()))


def _mistakes(
    mistakes: Sequence[tuple[int, Any, Any, str]], rows: RawRows | None, note: str, shape: tuple[int, ...] | None
) -> str:
    """Return mistakes (row, class, predicted, confidence) with their pictures, or as one table with the rows' cells."""
    if not mistakes:
        return "<p>There are none.</p>"
    if rows is not None and shape is not None:
        figures = "".join(
            f'<figure><img alt="row {number}" src="{picture_uri(row_picture(row, shape))}"><figcaption>row {number}: '
            f"<b>{text(right)}</b>, predicted <b>{text(predicted)}</b> ({confidence})</figcaption></figure>"
            for (number, right, predicted, confidence), row in zip(mistakes, rows.X, strict=True)
        )
        return f'<div class="mistakes">{figures}</div>'
    cells = [{} if rows is None else rows.cells(k) for k in range(len(mistakes))]
    columns = list(dict.fromkeys(name for each in cells for name in each))
    if len(columns) > MAX_COLUMNS:
        note = f"The first {MAX_COLUMNS} of {len(columns)} columns are shown."
    shown = columns[:MAX_COLUMNS]
    body = [(*one, *(each.get(name, "") for name in shown)) for one, each in zip(mistakes, cells, strict=True)]
    return (_note(note) if note else "") + table(("row", "class", "predicted", "confidence", *shown), body, "cells")


def text(value: object) -> str:
    """Return any value as text that is safe in HTML."""
    return escape(str(value), quote=True)


def table(header: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "") -> str:
    """Return a table of escaped cells; `kind` is its class in the style sheet."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _note(words: str) -> str:
    return f'<p class="note">{text(words)}</p>'


def _folded(title: str, rows: Sequence[Sequence[object]]) -> str:
    return f"<details><summary>{title}</summary>{table(('key', 'value'), rows, 'text')}</details>"


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
    *figures, rows = class_figures(counts)
    columns = [[f"{value:.3f}" for value in (*figure, figure.mean())] for figure in figures]
    labels, totals = (*classes, "mean over classes"), (*rows, rows.sum())
    return table(("class", "precision", "recall", "F1", "rows"), zip(labels, *columns, totals, strict=True))


def confusion_table(counts: NDArray[np.int64], classes: Sequence[Any]) -> str:
    """Return the confusion matrix with shaded cells, or, for many classes, its largest confusions."""
    n = len(classes)
    if n > MAX_MATRIX:
        wrong = counts - np.diag(np.diag(counts))
        pairs = [divmod(int(place), n) for place in np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]]
        rows = [(f"{classes[i]} as {classes[j]}", wrong[i, j]) for i, j in pairs if wrong[i, j]]
        return _note(f"{n} classes; the largest confusions:") + table(("predicted", "rows"), rows)
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
    words = "Rows: the class; columns: what was predicted. Blue: right, vermilion: wrong, by the share of the row."
    return _note(words) + f'<div class="wide"><table class="matrix{tall}">{"".join(lines)}</table></div>'


def picture_uri(picture: Figure | NDArray[np.uint8]) -> str:
    """Return a figure, in 256 colours, or pixels, (rows, columns) in grey or (rows, columns, 3) in RGB, as the address
    of a picture in a page."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        image = Image.fromarray(picture)
        reduced = image.mode == "RGB" and image.getcolors(256) is not None  # a palette is smaller
    else:
        image, reduced = Image.open(io.BytesIO(style.picture(picture))).convert("RGB"), True
    buffer = io.BytesIO()
    (image.quantize(256) if reduced else image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_shape_of(n_features: int, image_shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the shape in which a row is a picture: (rows, columns), (rows, columns, 3), or None if it is none."""
    if image_shape is None or int(np.prod(image_shape)) != n_features:
        return None
    return tuple(image_shape) if len(image_shape) == 2 or image_shape[2:] == (3,) else None


def row_picture(row: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a raw row (D,) as pixels: the largest value is white, and 0, or the least value if negative, black."""
    values = np.asarray(row, float)
    low, high = min(0.0, float(values.min())), float(values.max())
    grey = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return grey.round().astype(np.uint8).reshape(shape)


def weights_picture(W: NDArray[Any], shape: tuple[int, ...], limit: int = 64, columns: int = 16) -> NDArray[np.uint8]:
    """Return columns of W (D, H) as pictures of a shape (of D numbers) in rows of `columns`, in RGB: at most `limit`,
    those of the largest norm first, on one scale.

    White is 0, vermilion positive, blue negative; full colour is the 99.5th percentile of |W|. Pictures with three
    channels show the mean over them."""
    from matplotlib.colors import LinearSegmentedColormap

    W = np.asarray(W, np.float64)
    if len(shape) == 3:
        W = W.reshape(-1, 3, W.shape[1]).mean(axis=1)
    order = np.argsort(-np.square(W).sum(axis=0), kind="stable")[:limit]
    full = float(np.quantile(np.abs(W[:, order]), 0.995)) or 1.0
    columns = min(columns, len(order))
    rows, h, w = -(-len(order) // columns), shape[0] + 1, shape[1] + 1
    tiles = np.zeros((rows * columns, h, w))  # a line of zeros below and right of each picture
    tiles[: len(order), :-1, :-1] = W.T[order].reshape(-1, h - 1, w - 1)
    sheet = tiles.reshape(rows, columns, h, w).swapaxes(1, 2).reshape(rows * h, columns * w)[:-1, :-1]
    colours = LinearSegmentedColormap.from_list("weights", [style.TRAINING, "white", style.VALIDATION], N=255)
    pixels: NDArray[np.uint8] = colours(0.5 + sheet / (2 * full), bytes=True)[:, :, :3]
    return pixels


@style.default_look()
def reliability_figure(confidence: Array, accuracy: Array, rows: Array) -> Figure:
    """Draw the reliability diagram: accuracy over confidence, a dot for each bin, its area by the bin's rows."""
    figure = style.new_figure(3.6, 3.4, left=0.16, bottom=0.14, right=0.97, top=0.97)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=style.MARK, linewidth=1, linestyle="--")
    axes.vlines(confidence, confidence, accuracy, color=style.VALIDATION, linewidth=1)
    axes.scatter(confidence, accuracy, 20 + 180 * rows / rows.max(), color=style.TRAINING, alpha=0.75, zorder=3)
    style.tidy(axes, "confidence (top probability)", "accuracy (share right)")
    return figure
