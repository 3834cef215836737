"""`twolayer report`: one HTML page about one run or several."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import click

from twolayer.commands import PATH, runs_and_look


@click.command()
@click.option("-o", "--output", type=PATH, help="The page.  [default: RUN/report.html or report.html]")
@runs_and_look
@click.option(
    "--image", metavar="ROWSxCOLUMNS", help="Show csv rows as pictures, e.g. 8x8; IDX and CIFAR files say it."
)
def command(runs: tuple[Path, ...], output: Path | None, image: str | None, **how: Any) -> None:
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

    shape = None
    if image is not None:
        sides = re.fullmatch("0*([1-9][0-9]{0,3})x0*([1-9][0-9]{0,3})", image)
        if sides is None:
            raise click.UsageError(f"--image {image}: expected ROWSxCOLUMNS, such as 8x8")
        shape = int(sides[1]), int(sides[2])
    loaded = load_runs(runs, partial(click.echo, err=True))
    path = output or (loaded[0].path / "report.html" if len(loaded) == 1 else Path("report.html"))
    note = write_report(loaded, path, image_shape=shape, **how)
    if note:
        click.echo(f"the curves are a picture: {note}", err=True)
    click.echo(str(path))
