"""`twolayer verify-resume`: show that nothing is lost when a training is killed. A run killed several times and one
never killed must leave the same bits."""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from twolayer.commands import complete_keys
from twolayer.config import load_config
from twolayer.runs.checkpoint import load_model, read_arrays
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import read_history
from twolayer.utils.errors import CheckFailedError, RunError
from twolayer.utils.process import module_command, module_environment
from twolayer.utils.text import counted

CHECKPOINTS = 10  # into about this many pieces a kill can cut the training
START_UP_SHARE = 0.7  # of the time before the first step, in which no kill falls


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
    load_config(config, overrides)  # a mistake in it is reported as such, not as a failed training
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(seed)
        mid_run, different = verify_resume(config, overrides, Path(folder), kills=kills, rng=rng)
    count = f"{counted(kills, 'kill')}, {mid_run} of them after the run folder had appeared"
    if different:
        raise CheckFailedError(f"NOT equal to the run never stopped ({count}): {'; '.join(different)}")
    click.echo(f"equal to the run never stopped, bit for bit: {count}")


def verify_resume(
    config: str | Path, overrides: Sequence[str], folder: Path, *, kills: int, rng: np.random.Generator
) -> tuple[int, list[str]]:
    """Train once straight and once with kills at random moments that `rng` draws, each training in its own process, in
    `straight` and `killed` in `folder`; return the number of kills that came after the run folder had appeared, and in
    what the two differ. Raise RunError if a training fails by itself, with its own message, or a kill leaves a model
    that cannot be read."""
    straight, killed = folder / "straight", folder / "killed"
    start = time.perf_counter()
    _train(config, overrides, straight)
    duration = time.perf_counter() - start
    seconds = read_history(RunFolder(straight).history)["seconds"]
    often = f"run.checkpoint_seconds={seconds[-1] / CHECKPOINTS:.6f}"
    start_up = duration - seconds[-1]  # kills before the first step show little: a few are enough

    mid_run = 0
    for delay in rng.uniform(START_UP_SHARE * start_up, duration, kills):
        ended = _train(config, [*overrides, often], killed, kill_after=delay)
        mid_run += not ended and killed.exists()
        if killed.exists():
            load_model(killed)
    _train(config, [*overrides, often], killed)
    return mid_run, list(differences(RunFolder(straight), RunFolder(killed)))


def differences(one: RunFolder, other: RunFolder) -> Iterator[str]:
    """Yield in what two run folders differ: best.npz and steps.csv to the byte, last.npz in its arrays, history.csv in
    all columns but the time."""
    for a, b in ((one.best, other.best), (one.steps, other.steps)):
        if a.read_bytes() != b.read_bytes():
            yield f"{a.name} has other bytes"
    ours, theirs = read_arrays(one.last)[0], read_arrays(other.last)[0]
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs or not np.array_equal(ours[name], theirs[name]):
            yield f"array {name} of last.npz differs"
    history, other_history = read_history(one.history), read_history(other.history)
    for name in history:
        if name != "seconds" and not np.array_equal(history[name], other_history[name], equal_nan=True):
            yield f"column {name} of history.csv differs"


def _train(config: str | Path, overrides: Sequence[str], run_dir: Path, kill_after: float | None = None) -> bool:
    """Train, or resume the run if it has appeared; return whether it ended by itself and was not killed."""
    new = str(config), *overrides, "--run-dir", str(run_dir)
    arguments = ("--resume", str(run_dir)) if run_dir.exists() else new
    command, environment = module_command("twolayer", "train", *arguments, "--quiet"), module_environment()
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    try:
        done = subprocess.run(command, env=environment, stdout=pipe, stderr=both, text=True, timeout=kill_after)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode:
        raise RunError(f"a training ended with exit code {done.returncode}: {done.stdout.strip()}")
    return True
