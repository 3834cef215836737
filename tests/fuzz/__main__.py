"""`python -m tests.fuzz`: long campaigns of broken and hostile input."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

CAMPAIGNS = ("configs", "data", "damage", "kills", "disk")
DEFAULT_COUNTS = {"configs": 20_000, "data": 20_000, "damage": 2_500, "kills": 200}


@click.command()
@click.argument("what", metavar="CAMPAIGN", type=click.Choice([*CAMPAIGNS, "all"]))
@click.option("--count", type=click.IntRange(1), help="How many cases; left out: 20000 configs, 20000 data, 2500 "
              "damage, 200 kills. disk always takes every operation.")  # fmt: skip
@click.option("--train", type=click.IntRange(0), help="How many accepted ones are also trained (configs, data), or how "
              "many files are forged (damage); left out: a fortieth of the cases.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of all that is random.")
@click.option("--keep", default="fuzz-failures", show_default=True, type=click.Path(path_type=Path),
              help="Where the files of cases that failed are kept.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show nothing but the counts.")
def command(what: str, count: int | None, train: int | None, seed: int, keep: Path, quiet: bool) -> None:
    """Attack twolayer, and count how it ends: each case must be taken, or refused in words.

    \b
    configs   good configs broken, and random ones; under caps of 5 seconds and 500 MiB
    data      CSV, IDX, npy, npz and CIFAR-10 files broken; under the same caps
    damage    bytes of best.npz and last.npz flipped, ends cut off, and files forged
    kills     SIGKILL at random moments of trainings; each must end as if never killed
    disk      disk full at every write of a short run in turn
    all       all of them

    Exit code 1 if anything else came out; the files that did it are kept, with the traceback.

    \b
    python -m tests.fuzz configs --count 1000
    python -m tests.fuzz all --seed 7
    """
    from tests.fuzz.campaign import Campaign, Tally
    from tests.fuzz.configs import fuzz_configs
    from tests.fuzz.damage import fuzz_damage
    from tests.fuzz.data import fuzz_data
    from tests.fuzz.disk import fuzz_disk
    from tests.fuzz.kills import fuzz_kills
    from tests.fuzz.training import warm_up
    from twolayer.utils.errors import CheckFailedError
    from twolayer.utils.progress import Tally as Bar

    def run(name: str, scratch: Path) -> Tally:
        n = count or DEFAULT_COUNTS.get(name, 0)
        more = n // 40 if train is None else train
        warm_up(scratch / "warm-up")
        with Bar(None, 0, " cases", quiet=quiet or not sys.stderr.isatty()) as bar:
            campaign = Campaign(name, scratch / "cases", keep, tick=lambda: bar.done(name, ""))
            match name:
                case "configs":
                    return fuzz_configs(campaign, n, more, seed)
                case "data":
                    return fuzz_data(campaign, n, more, seed)
                case "damage":
                    return fuzz_damage(campaign, scratch, n, more, seed)
                case "kills":
                    return fuzz_kills(campaign, n, seed)
            return fuzz_disk(campaign, scratch)

    failures: list[str] = []
    names: tuple[str, ...] = CAMPAIGNS if what == "all" else (what,)
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            tally = run(name, Path(scratch))
        click.echo(str(tally))
        failures += tally.failures
    if failures:
        raise CheckFailedError("\n".join(failures))


if __name__ == "__main__":
    command(prog_name="python -m tests.fuzz")
