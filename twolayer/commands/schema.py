"""`twolayer schema`: the JSON Schema of the config."""

import json

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of the config, by which editors complete and check keys."""
    from twolayer.config import config_schema

    click.echo(json.dumps(config_schema(), indent=2))
