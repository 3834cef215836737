"""`twolayer init`: from a data file to a commented config, with what each column seems to be and the reason."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from twolayer.commands.init.proposal import Proposal, propose, write_config
from twolayer.utils.text import printable

__all__ = ["Proposal", "propose", "write_config"]

_SHOWN_KEYS = ("data.label", "data.ignore", "data.categorical", "data.constant", "data.missing", "data.test",
               "solver.class_weight", "solver.monitor")  # fmt: skip
_MOST_SHOWN = 6  # reasons of one key on the screen; the config holds more


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", metavar="NAME", help="The label's column in a table, by name or position (0 first, -1 last).")
@click.option("--out", type=click.Path(path_type=Path), help="The config to write; by default named after FILE, here.")
@click.option("--force", is_flag=True, help="Replace a config that was edited.")
def command(file: Path, label: str | None, out: Path | None, force: bool) -> None:
    """Look at FILE (CSV, Parquet, Feather, xlsx, npz, npy or IDX) and write a config that is ready to train.

    It ranks the columns that may be the label, leaves out identifiers, dates and free text, names columns that give the
    label away, and chooses the network and the training by the number of rows, features and classes. A config that
    init wrote and nobody edited is replaced, so that a second call with --label corrects the first.
    """
    proposal = propose(file, label)
    if not proposal.is_clear and sys.stdin.isatty() and sys.stderr.isatty():
        proposal = propose(file, _asked(proposal))
    path = out or Path(f"{proposal.name}.yaml")
    write_config(proposal, path, force)
    click.echo(f"{file}: {printable(proposal.summary)}")
    if label is None and len(proposal.candidates) > 1:
        for number, (name, why) in enumerate(proposal.candidates, start=1):
            click.echo(f"  label {number}?     {printable(repr(name))}: {printable(why)}")
    for key in _SHOWN_KEYS:
        reasons = proposal.why.get(key, [])
        for reason in reasons[:_MOST_SHOWN]:
            click.echo(f"  {key.partition('.')[2]:12} {printable(reason)}")
        if len(reasons) > _MOST_SHOWN:
            click.echo(f"  {'':12} ... and more, see the config")
    if not proposal.is_clear:
        names = " or ".join(f"--label {shlex.quote(name)}" for name, _ in proposal.candidates)
        click.echo(f"warning: the label is not clear; choose: {printable(names)}", err=True)
    for warning in proposal.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    click.echo(f"wrote {path}; to train: twolayer train {shlex.quote(str(path))}")


def _asked(proposal: Proposal) -> str:
    """Ask at the terminal which column is the label."""
    for number, (name, why) in enumerate(proposal.candidates, start=1):
        click.echo(f"  {number}  {printable(repr(name))}: {printable(why)}", err=True)
    answer: str = click.prompt("Which column is the label (number or name)", default="1", err=True)
    numbered = {str(number): name for number, (name, _) in enumerate(proposal.candidates, start=1)}
    return numbered.get(answer.strip(), answer.strip())
