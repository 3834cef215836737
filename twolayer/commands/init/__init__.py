"""`twolayer init`: from a data file to a commented config, with what each column seems to be and the reason."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from twolayer.commands.init.proposal import Proposal, propose, write_config
from twolayer.utils.errors import DataError
from twolayer.utils.text import printable, shown

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
    init wrote and that was not edited since is replaced, so that a second call with --label corrects the first.
    """
    proposal = propose(file, label)
    asks = not proposal.is_clear and sys.stdin.isatty() and sys.stderr.isatty()
    if asks:
        proposal = _asked(file, proposal)
    path = out or Path(f"{proposal.name}.yaml")
    write_config(proposal, path, force)
    click.echo(f"{file}: {printable(proposal.summary)}")
    if label is None and not asks and len(proposal.candidates) > 1:
        _list_candidates(proposal, "label {}?     ", err=False)
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


def _asked(file: Path, proposal: Proposal) -> Proposal:
    """Ask at the terminal which column is the label, again after an answer that cannot be one."""
    _list_candidates(proposal, "{}  ", err=True)
    numbered = {str(number): name for number, (name, _) in enumerate(proposal.candidates, start=1)}

    def proposed(answer: str) -> Proposal:
        try:
            return propose(file, numbered.get(answer.strip(), answer.strip()))
        except DataError as error:
            raise click.UsageError(printable(str(error))) from None

    question = "Which column is the label (number or name)"
    try:
        found: Proposal = click.prompt(question, default="1", value_proc=proposed, err=True)
    except click.Abort:
        click.echo(err=True)  # what follows begins on a new line
        raise
    return found


def _list_candidates(proposal: Proposal, form: str, err: bool) -> None:
    for number, (name, why) in enumerate(proposal.candidates, start=1):
        click.echo(f"  {form.format(number)}{shown(name)}: {printable(why)}", err=err)
