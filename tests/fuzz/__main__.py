"""`python -m tests.fuzz`: long campaigns of broken and hostile input."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.fuzz.campaign import Campaign, Tally
from tests.fuzz.configs import fuzz_configs
from tests.fuzz.damage import fuzz_damage
from tests.fuzz.data import fuzz_data
from tests.fuzz.disk import fuzz_disk
from tests.fuzz.folders import fuzz_folders
from tests.fuzz.journals import fuzz_journals
from tests.fuzz.kills import fuzz_kills
from tests.fuzz.power import fuzz_power
from tests.fuzz.training import warm_up
from twolayer.utils.process import Tally as Bar

DEFAULT_COUNTS = {"configs": 20_000, "data": 20_000, "damage": 2_500, "folders": 1_000, "journals": 5_000, "kills": 200}
CAMPAIGNS: dict[str, Callable[[Campaign, Path, int, int, int], Tally]] = {
    "configs": lambda campaign, scratch, count, more, seed: fuzz_configs(campaign, count, more, seed),
    "data": lambda campaign, scratch, count, more, seed: fuzz_data(campaign, count, more, seed),
    "damage": fuzz_damage,
    "folders": lambda campaign, scratch, count, more, seed: fuzz_folders(campaign, scratch, count, seed),
    "journals": lambda campaign, scratch, count, more, seed: fuzz_journals(campaign, scratch, count, seed),
    "kills": lambda campaign, scratch, count, more, seed: fuzz_kills(campaign, count, seed),
    "disk": lambda campaign, scratch, count, more, seed: fuzz_disk(campaign, scratch),
    "power": lambda campaign, scratch, count, more, seed: fuzz_power(campaign, scratch),
}


@click.command()
@click.argument("what", metavar="CAMPAIGN", type=click.Choice([*CAMPAIGNS, "all"]))
@click.option("--count", type=click.IntRange(1), help="Number of cases; default: 20000 configs, 20000 data, 2500 "
              "damage, 1000 folders, 5000 journals, 200 kills. disk and power take every operation.")  # fmt: skip
@click.option("--train", type=click.IntRange(0), help="Accepted cases that are also trained (configs, data), or forged "
              "files (damage); default: a fortieth of the cases.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of all random numbers.")
@click.option("--keep", default="fuzz-failures", show_default=True, type=click.Path(path_type=Path),
              help="Folder for the files of cases that failed.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show nothing but the counts.")
def command(what: str, count: int | None, train: int | None, seed: int, keep: Path, quiet: bool) -> None:
    """Attack twolayer and count the outcomes: each case must be accepted, or refused with a message.

    \b
    configs   good configs broken, and random ones; at most 5 seconds and 500 MiB each
    data      CSV, IDX, npy, npz and CIFAR-10 files broken; same limits
    damage    bytes of best.npz and last.npz flipped, ends cut off, and files forged
    folders   any file of a run replaced by a link, a pipe, a device, a folder, other bytes; every command run on it
    journals  journals of sweeps with other values, damaged or made up
    kills     SIGKILL at random moments of trainings; each must end as if never killed
    disk      disk full at every write of a short run in turn
    power     power cut at every operation of a short run in turn: what was not flushed is lost
    all       all of them

    Each campaign ends with a line of counts. Exit code 1 if a case ended in any other way; its files are kept, with the
    traceback.

    \b
    python -m tests.fuzz configs --count 1000
    python -m tests.fuzz all --seed 7
    """
    failures: list[str] = []
    for name in CAMPAIGNS if what == "all" else [what]:
        cases = count or DEFAULT_COUNTS.get(name, 0)
        with (
            tempfile.TemporaryDirectory() as scratch,
            Bar(None, 0, " cases", quiet=quiet or not sys.stderr.isatty()) as bar,
        ):
            warm_up(Path(scratch) / "warm-up")
            campaign = Campaign(name, Path(scratch) / "cases", keep, tick=lambda name=name: bar.done(name, ""))
            tally = CAMPAIGNS[name](campaign, Path(scratch), cases, cases // 40 if train is None else train, seed)
        click.echo(str(tally))
        failures += tally.failures
    if failures:
        click.echo("\n".join(failures), err=True)
        sys.exit(1)


if __name__ == "__main__":
    command(prog_name="python -m tests.fuzz")
