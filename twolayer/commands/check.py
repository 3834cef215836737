"""`twolayer check`: data, loss and gradients looked at before any training."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(config: Path, overrides: tuple[str, ...]) -> None:
    """Look at the data of CONFIG and at its network before the first step; exit code 1 if a check fails.

    Rows, classes, ranges, rows in both train and test; the loss at the start against ln C; the penalty; the gradients;
    twenty rows learnt by heart. One line each: ok, note (worth knowing) or FAIL.

    \b
    twolayer check configs/optdigits.yaml
    twolayer check configs/optdigits.yaml data.scale=none
    """
    from twolayer.check import check_config
    from twolayer.config import load_config
    from twolayer.utils.errors import CheckFailedError

    failed = 0
    for finding in check_config(load_config(config, overrides)):
        click.echo(str(finding))
        failed += finding.verdict == "FAIL"
    if failed:
        raise CheckFailedError(f"{failed} check{'s' * (failed > 1)} failed")
