"""`twolayer report`: one HTML page about one run or several."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from twolayer.views.style import By


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN|FOLDER...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page.  [default: RUN/report.html or report.html]"
)
@click.option(
    "--by", type=click.Choice(["epoch", "step", "seconds"]), default="epoch", help="The x axis.", show_default=True
)
@click.option("--scale", type=click.Choice(["linear", "log"]), help="Of the losses; by default whichever shows more.")
@click.option("--bands/--no-bands", default=True, help="Runs that differ in the seed alone: their mean, in a band.")
@click.option(
    "--image", metavar="ROWSxCOLUMNS", help="Show csv rows as pictures, e.g. 8x8; IDX and CIFAR files say it."
)
def command(
    runs: tuple[Path, ...], output: Path | None, by: By, scale: str | None, bands: bool, image: str | None
) -> None:
    """Write one page about RUN, or about several runs side by side, that works without a network.

    A FOLDER of runs means all of them.

    It holds the curves, the diagnosis, confusion matrix, figures per class, calibration, first-layer weights, the most
    confident mistakes, config and environment. With the extra 'report' the curves can be zoomed and switched.

    \b
    twolayer report runs/digits --image 8x8
    twolayer report runs/rate-* -o rates.html
    """
    from twolayer.views.report import write_report
    from twolayer.views.run_data import load_runs

    shape = _image_shape(image)
    loaded = load_runs(runs, partial(click.echo, err=True))
    path = output or (loaded[0].path / "report.html" if len(loaded) == 1 else Path("report.html"))
    note = write_report(loaded, path, image_shape=shape, by=by, scale=scale, bands=bands)
    if note:
        click.echo(f"the curves are a picture: {note}", err=True)
    click.echo(str(path))


def _image_shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and 0 < int(rows) < 10_000 and 0 < int(columns) < 10_000):
        raise click.UsageError(f"--image {text}: expected ROWSxCOLUMNS, such as 8x8")
    return int(rows), int(columns)
