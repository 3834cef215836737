"""`twolayer evaluate`: what a run's best parameters are worth on test rows."""

import json
from pathlib import Path

import click

from twolayer.commands import PATH


@click.command()
@click.argument("run", metavar="RUN", type=PATH)
@click.option("--data", type=PATH, help="Rows with labels to evaluate on, instead of the run's test rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(run: Path, data: Path | None, as_json: bool) -> None:
    """Print loss, accuracy, a table per class and the confusion matrix of RUN (a run folder or a model file).

    \b
    twolayer evaluate runs/digits
    twolayer evaluate runs/digits --data data/optdigits-test.csv.gz
    twolayer evaluate runs/digits --json
    """
    from twolayer.utils.text import printable
    from twolayer.views.evaluation import evaluate_file, evaluate_run

    notes: list[str] = []
    figures = evaluate_run(run) if data is None else evaluate_file(run, data, notes)
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)
    click.echo(json.dumps(figures.as_json(), indent=2) if as_json else figures.table())
