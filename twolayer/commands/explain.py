"""`twolayer explain`: one real row, or a few, through equations (1) to (13)."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--row", "rows", type=int, multiple=True, help="Training row, counted from 0; repeat it for a batch.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a handout.")
def command(config: Path, overrides: tuple[str, ...], rows: tuple[int, ...], markdown: bool) -> None:
    """Take one training row of CONFIG's data through its network, as it is before training, and back.

    Shows each equation with its shape and numbers, each gradient with the numeric one beside it, and the loss before
    and after one step of gradient descent.

    \b
    twolayer explain configs/optdigits.yaml
    twolayer explain configs/toy.yaml --row 0 --row 1
    twolayer explain configs/optdigits.yaml model.hidden=0 --markdown > handout.md
    """
    from twolayer.config import load_config
    from twolayer.explain import explain
    from twolayer.training.build import load_start

    loaded = load_config(config, overrides)
    start = load_start(loaded, rows or (0,))
    picked = rows or (0,)
    shape = "-".join(str(n) for n in (start.params.n_features, start.params.n_hidden, start.params.n_classes) if n)
    places = ", ".join(f"{row} (row {at} of the source)" for row, at in zip(picked, start.row_numbers, strict=True))
    explanation = explain(
        start.params,
        start.X,
        start.y,
        loaded.solver.reg,
        loaded.solver.learning_rate,
        classes=start.classes,
        rows=picked,
        title=f"{config.stem}: training row {places} through a {shape} network and back",
    )
    click.echo(explanation.markdown() if markdown else explanation.text())
