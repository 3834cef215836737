"""`twolayer verify-resume`: show that nothing is lost when a training is killed."""

import tempfile
from pathlib import Path

import click

from twolayer.commands import complete_keys


@click.command("verify-resume")
@click.argument("config", metavar="CONFIG")
@click.argument("overrides", metavar="[KEY=VALUE ...]", nargs=-1, shell_complete=complete_keys)
@click.option("--kills", default=5, show_default=True, type=click.IntRange(1), help="How often to kill the training.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random moments.")
def command(config: str, overrides: tuple[str, ...], kills: int, seed: int) -> None:
    """Train CONFIG uninterrupted, and again killed K times at random moments and resumed; exit 1 if the two differ.

    \b
    twolayer verify-resume configs/optdigits.yaml --kills 10
    """
    import numpy as np

    from twolayer.config import load_config
    from twolayer.training.verify_resume import verify_resume
    from twolayer.utils.errors import CheckFailedError

    load_config(config, overrides)  # a mistake in it is reported as such, not as a failed training
    with tempfile.TemporaryDirectory() as folder:
        verdict = verify_resume(config, overrides, Path(folder), kills=kills, rng=np.random.default_rng(seed))
    if not verdict.passed:
        raise CheckFailedError(str(verdict))
    click.echo(str(verdict))
