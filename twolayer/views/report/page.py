"""One page about one run or several, to look at or to send: curves, verdicts, what is confused with what, how far the
probabilities can be trusted, weights, mistakes, config and environment. It needs no network and no other file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from twolayer.utils.errors import MissingExtraError
from twolayer.utils.files import write_atomically
from twolayer.views.diagnosis import verdicts_on
from twolayer.views.evaluation import reliability
from twolayer.views.loss_curve import draw_curves
from twolayer.views.panels import By
from twolayer.views.report import html, pictures
from twolayer.views.report.details import Details, evaluated
from twolayer.views.report.html import text
from twolayer.views.run_data import RunData, differing_keys, flattened
from twolayer.views.table import run_names, run_table

MAX_UNITS = 64  # pictures of weights for one run; several runs share them
MAX_CELLS = 40  # of a row that is no picture


def write_report(
    runs: Sequence[RunData],
    details: Sequence[Details],
    path: Path,
    *,
    by: By = "epoch",
    scale: str | None = None,
    bands: bool = True,
) -> str:
    """Writes the page.

    Args:
        runs: at least one.
        details: one for each run.
        path: the .html file; replaced whole.
        by: the curves' x axis, `epoch`, `step` or `seconds`.
        scale: `linear`, `log` or None (whichever shows more) for the losses.
        bands: runs that differ in the seed alone become one curve in a band.

    Returns:
        A note for the reader of the terminal: which extra would make the curves interactive, or nothing.
    """
    table = run_table(runs)
    head, curves, note = _curves(runs, by, scale, bands)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [
        f"<h1>{text(title)}</h1>",
        curves,
        html.table(table.header, table.as_text()),
        _config(runs),
    ]
    units = max(8, MAX_UNITS // len(runs))
    for index, (run, detail, name) in enumerate(zip(runs, details, run_names(runs), strict=True)):
        body = "\n".join(_about(run, detail, units))
        opened = " open" if index == 0 else ""
        parts.append(f"<h2>{text(name)}</h2><details{opened}><summary>Details</summary>{body}</details>")
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
    """(head, body, note): interactive curves where Bokeh is installed, a picture elsewhere."""
    from twolayer.views.interactive import interactive_curves

    hint = '<p class="note">Thick: validation, thin: training. Click a name in the legend to hide its curves.</p>'
    try:
        return *_joined(interactive_curves(runs, by=by, scale=scale, bands=bands), hint), ""
    except MissingExtraError as missing:
        picture = io.BytesIO()
        draw_curves(runs, picture, by=by, scale=scale, bands=bands)
        address = pictures.data_uri(picture.getvalue())
        return "", f'<img class="curves" alt="loss and accuracy over {by}" src="{address}">', str(missing)


def _joined(page: tuple[str, str], hint: str) -> tuple[str, str]:
    return page[0], page[1] + hint


def _config(runs: Sequence[RunData]) -> str:
    """The config: the keys that differ, marked, run by run; then those that all share."""
    flat = [flattened(run.config) for run in runs]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    differing = differing_keys([run.config for run in runs])
    parts = ["<h2>Config</h2>"]
    if differing:
        rows = [(key, *(_value(one.get(key)) for one in flat)) for key in differing]
        parts.append(html.table(("differs", *(run.name for run in runs)), rows, "text", differing))
    shared = [(key, _value(flat[0].get(key))) for key in keys if key not in differing]
    common = html.table(("key", "value"), shared, "text")
    words = "Keys that all runs share" if len(runs) > 1 else "All keys"
    parts.append(f"<details><summary>{words}</summary>{common}</details>")
    return "".join(parts)


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _about(run: RunData, detail: Details, units: int) -> list[str]:
    parts = ["<h3>Diagnosis</h3>", html.verdicts(verdicts_on(run))]
    judged = evaluated(run)
    if judged is None:
        parts.append('<p class="note">The run kept no predictions: no confusion matrix, no calibration.</p>')
    else:
        kind, y, P = judged
        classes = run.classes if len(run.classes) == P.shape[1] else range(P.shape[1])
        counts = html.counts_of(y, P)
        bins = reliability(y, P)
        parts += [
            f"<h3>Confusion matrix, {len(y):,} {kind} rows</h3>",
            html.confusion_table(counts, classes),
            f'<h3>By class, {kind} rows</h3><div class="side">{html.class_table(counts, classes)}',
            f"<div>{html.reliability_svg(bins)}<p>Expected calibration error: {bins.ece:.4f}</p></div></div>",
        ]
        parts += _mistakes(detail, kind)
    shape = detail.image_shape
    if detail.W1 is not None and shape is not None:
        picture = pictures.weights_png(detail.W1, shape, units)
        parts.append(
            f"<h3>First-layer weights</h3><p class=note>One picture per unit, largest norm first (at most {units}); "
            f'vermilion positive, white 0, blue negative.</p><img class="weights" alt="weights of the first layer" '
            f'src="{pictures.data_uri(picture)}">'
        )
    environment = flattened(run.environment)
    if environment:
        rows = html.table(("", "value"), list(environment.items()), "text")
        parts.append(f"<details><summary>Environment</summary>{rows}</details>")
    return parts


def _mistakes(detail: Details, kind: str) -> list[str]:
    """The most confident mistakes as cards."""
    cards = []
    for one in detail.mistakes:
        if one.picture is not None:
            shown = f'<img alt="row {one.row}" src="{pictures.data_uri(one.picture)}">'
        else:
            cells = ", ".join(f"{name} {value}" for name, value in one.cells[:MAX_CELLS])
            more = " ..." if len(one.cells) > MAX_CELLS else ""
            shown = f"<code>{text(cells)}{more}</code>" if cells else ""
        cards.append(
            f"<figure>{shown}<figcaption>row {one.row}: <b>{text(one.right)}</b>, taken for "
            f"<b>{text(one.predicted)}</b> with {one.confidence:.1%}</figcaption></figure>"
        )
    if not cards:
        return [f"<p>No mistake among the {kind} rows.</p>"]
    note = f'<p class="note">{text(detail.note)}</p>' if detail.note else ""
    return [f'<h3>Most confident mistakes, {kind} rows</h3>{note}<div class="mistakes">{"".join(cards)}</div>']
