"""`twolayer example`: a shipped data set with its config, written to this folder."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Write the config NAME.yaml and its data into this folder. Without NAME: list the examples."""
    from twolayer.examples import example_names, write_example

    if name is None:
        click.echo("\n".join(example_names()))
        return
    paths = write_example(name)
    click.echo("\n".join(f"wrote {path}" for path in paths))
    click.echo(f"to train: twolayer train {paths[0]}")
