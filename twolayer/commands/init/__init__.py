"""`twolayer init`: a commented config for one's own data.

From a stranger's data file to a commented config: what each column seems to be, defaults that fit the rows, and for
each choice the reason."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from twolayer.commands.init.proposal import Proposal, propose, write_config

__all__ = ["Proposal", "propose", "write_config"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", metavar="NAME", help="The label's column in a csv, by name or position (0 first, -1 last).")
@click.option("--out", type=click.Path(path_type=Path), help="The config to write; by default named after FILE, here.")
def command(file: Path, label: str | None, out: Path | None) -> None:
    """Look at FILE (csv, npz, npy or IDX) and write a config that is ready to train.

    It guesses the label, columns to ignore, categories and what to do with missing cells, says why, and chooses the
    network and the training by the number of rows, features and classes.
    """
    from twolayer.commands.init.proposal import propose, write_config

    proposal = propose(file, label)
    path = out or Path(f"{proposal.name}.yaml")
    write_config(proposal, path)
    click.echo(f"{file}: {proposal.summary}")
    for key in ("data.label", "data.ignore", "data.categorical", "data.missing", "data.test", "solver.class_weight"):
        for reason in proposal.why.get(key, ()):
            click.echo(f"  {key.partition('.')[2]:12} {reason}")
    click.echo(f"wrote {path}; to train: twolayer train {shlex.quote(str(path))}")
