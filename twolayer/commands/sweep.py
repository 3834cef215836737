"""`twolayer sweep`: a hyperparameter search that can be stopped at any time and goes on where it stopped."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from twolayer.commands import files_and_overrides


@click.command()
@click.argument("sweep_and_overrides", metavar="SWEEP [KEY=VALUE ...]", nargs=-1, required=True)
@click.option("--sweep-dir", type=click.Path(path_type=Path), help="The sweep's own folder; left out, DIR/NAME.")
@click.option("--scheduler", metavar="ADDRESS", help="Train on a Dask cluster, e.g. tcp://host:8786.")
@click.option("--retry-failed", is_flag=True, help="Try runs again that failed for another reason than divergence.")
@click.option("--quiet", is_flag=True, help="Show nothing but the result.")
def command(
    sweep_and_overrides: tuple[str, ...],
    sweep_dir: Path | None,
    scheduler: str | None,
    retry_failed: bool,
    quiet: bool,
) -> int:
    """Search for good hyperparameters as the file SWEEP says, or go on with that search.

    An argument with an equals sign overrides a key of the file: workers=4, trials=100. Every trial is a run folder
    in the sweep's folder; the same command again goes on where the last one stopped.

    \b
    twolayer sweep configs/sweeps/optdigits.yaml
    twolayer sweep configs/sweeps/letter.yaml workers=4
    twolayer sweep configs/sweeps/letter.yaml --scheduler tcp://192.168.1.10:8786
    """
    files, overrides = files_and_overrides(sweep_and_overrides)
    if len(files) != 1:
        raise click.UsageError(f"one SWEEP is wanted, a YAML file; got {len(files)}: {', '.join(files) or 'none'}")

    from twolayer.sweep.search import run_sweep

    result = run_sweep(
        files[0],
        overrides,
        folder=sweep_dir,
        scheduler=scheduler,
        retry_failed=retry_failed,
        quiet=quiet,
        say=lambda text: click.echo(text, err=True),
    )
    click.echo("\n".join(result.lines))
    if result.signal_number is not None:
        where = ["--sweep-dir", str(sweep_dir)] if sweep_dir is not None else []
        where += ["--scheduler", scheduler] if scheduler is not None else []
        click.echo(f"interrupted; to go on: twolayer sweep {shlex.join([*sweep_and_overrides, *where])}")
        return 128 + result.signal_number
    if result.ranking and result.winner is None:
        click.echo("twolayer: no point has finished; the reasons are in results.csv", err=True)
        return 2
    return 0
