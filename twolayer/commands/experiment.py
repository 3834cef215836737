"""`twolayer experiment`: a claim of the source texts, in numbers and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

NAMES = ("exaggeration", "loss", "separable", "ladder")


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--out", type=click.Path(path_type=Path), help="Picture (.png, .svg, .pdf).  [default: NAME.png]")
def command(name: str, out: Path | None) -> None:
    """Run an experiment, print its numbers and draw its picture.

    \b
    exaggeration  when softmax exaggerates the largest score, and when it does not
    loss          what a probability of .9, .5, .1, .01 for the right class costs
    separable     separable data: |W| grows without bound for r = 0, and not for r > 0
    ladder        time of one batch, from two loops to vectorised and compiled
    """
    from twolayer.experiments import EXPERIMENTS
    from twolayer.views.experiments import draw_panels

    experiment = EXPERIMENTS[name]()
    path = out or Path(f"{name}.png")
    draw_panels(experiment.title, experiment.panels, path)
    click.echo("\n".join([experiment.title, *experiment.findings, f"drawn in {path}"]))
