"""`twolayer sweep`: a hyperparameter search that can be stopped at any time and resumes where it stopped."""

from functools import partial
from typing import Any

import click

from twolayer.commands import PATH, cluster_options, complete_keys, files_and_overrides, same_again


@click.command()
@click.argument(
    "sweep_and_overrides", metavar="SWEEP [KEY=VALUE ...]", nargs=-1, required=True, shell_complete=complete_keys
)
@click.option("--sweep-dir", "folder", type=PATH, help="The sweep's own folder [default: DIR/NAME].")
@click.option("--retry-failed", is_flag=True, help="Try runs again that failed for another reason than divergence.")
@cluster_options
@click.option("--quiet", is_flag=True, help="Show only the result.")
def command(sweep_and_overrides: tuple[str, ...], **how: Any) -> int:
    """Search for good hyperparameters as the file SWEEP says, or resume that search.

    An argument with an equals sign overrides a key of the file (workers=4, trials=100) or of its base config
    (solver.epochs=8). Every trial is a run folder in the sweep's folder; the same command again resumes where the
    last one stopped.

    \b
    twolayer sweep configs/sweeps/optdigits.yaml
    twolayer sweep configs/sweeps/letter.yaml workers=4 solver.epochs=8
    twolayer sweep configs/sweeps/letter.yaml --scheduler tcp://192.168.1.10:8786
    """
    files, overrides = files_and_overrides(sweep_and_overrides)
    if len(files) != 1:
        raise click.UsageError(f"expected one SWEEP (a YAML file), got {len(files)}: {', '.join(files) or 'none'}")

    from twolayer.sweep.search import run_sweep

    result = run_sweep(files[0], overrides, **how, say=partial(click.echo, err=True))
    click.echo("\n".join(result.lines))
    if result.signal_number is not None:
        click.echo(f"interrupted; to resume: {same_again('sweep')}")
        return 128 + result.signal_number
    if result.ranking and result.winner is None:
        click.echo("twolayer: no point has finished; the reasons are in results.csv", err=True)
        return 2
    return 0
