"""`twolayer train`: a YAML file in, a trained network and its loss curve out."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twolayer.commands import PATH, complete_keys, files_and_overrides
from twolayer.utils.text import counted

if TYPE_CHECKING:
    from twolayer.training.run import TrainResult

_ROWS = (".csv", ".npz", ".npy", ".idx", "ubyte")  # endings of files that `init` reads and no config has


@click.command()
@click.argument("config_and_overrides", metavar="[CONFIG] [KEY=VALUE ...]", nargs=-1, shell_complete=complete_keys)
@click.option("--run-dir", type=PATH, help="The run's own folder, new or empty.")
@click.option("--resume", "resume_run", metavar="RUN", type=PATH, help="Resume this run.")
@click.option("--force", is_flag=True, help="With --resume: resume although versions or threads differ.")
@click.option("--quiet", is_flag=True, help="Show nothing but the result.")
def command(
    config_and_overrides: tuple[str, ...], run_dir: Path | None, resume_run: Path | None, force: bool, quiet: bool
) -> int:
    """Train a network from a YAML file, and leave a run folder with its loss curve.

    An argument with an equals sign overrides a key of the file: solver.epochs=10, model.hidden=128.

    \b
    twolayer train configs/optdigits.yaml
    twolayer train configs/optdigits.yaml solver.learning_rate=0.05 --run-dir runs/slow
    twolayer train --resume runs/slow
    """
    configs, overrides = files_and_overrides(config_and_overrides)
    if resume_run is not None and (configs or run_dir is not None):
        text = "--resume RUN uses the config of that run: give it KEY=VALUE, but no CONFIG and no --run-dir"
        raise click.UsageError(text)
    if resume_run is None and len(configs) != 1:
        raise click.UsageError(f"expected one CONFIG (a YAML file), got {', '.join(configs) or 'none'}")
    if configs and configs[0].removesuffix(".gz").endswith(_ROWS) and Path(configs[0]).is_file():
        hint = f"this writes a config: twolayer init {shlex.quote(configs[0])}"
        raise click.UsageError(f"{configs[0]}: expected a config, got a file of rows; {hint}")
    if force and resume_run is None:
        raise click.UsageError("--force is an option of --resume")

    from twolayer.training import run as training  # here, so that --help needs none of it

    if resume_run is None:
        result = training.train(configs[0], overrides, run_dir=run_dir, quiet=quiet)
    else:
        result = training.resume(resume_run, overrides, quiet=quiet, force=force)
    click.echo(describe(result))
    return 0 if result.signal_number is None else 128 + result.signal_number


def describe(result: TrainResult) -> str:
    """Return the results of a training in a few lines."""
    summary = result.summary
    shape = "-".join(str(summary[name]) for name in ("n_features", "n_hidden", "n_classes") if summary[name])
    train, validation, test = (f"{summary[f'n_{part}']:,}" for part in ("train", "validation", "test"))
    ends = {"interrupted": ", interrupted", "stopped_early": ", stopped early"}.get(summary["status"], "")
    lines = [
        f"{shape} network; {train} rows to train on, {validation} to validate, {test} to test",
        f"{counted(summary['epochs'], 'epoch')} in {summary['seconds']:.2f} s{ends}; "
        f"best epoch {summary['best_epoch']} by {summary['monitor']}",
    ]
    held_out = summary["n_validation"] or summary["n_test"]
    parts = (("val", "validation"), ("test", "test")) if held_out else (("train", "training"),)
    for part, name in parts:
        if summary[f"{part}_loss"] is not None:
            lines.append(f"{name} accuracy {summary[f'{part}_accuracy']:.4f}, loss {summary[f'{part}_loss']:.4f}")
    lines += result.notes
    folder = result.run_dir
    with suppress(OSError, ValueError):  # the current folder was deleted, or is not above the run's
        folder = folder.relative_to(Path.cwd())
    lines.append(f"all in {folder}; look at {folder / 'loss_curve.png'}")
    if result.signal_number is not None:
        lines.append(f"to resume: twolayer train --resume {shlex.quote(str(folder))}")
    return "\n".join(lines)
