"""`python -m benchmarks`: the speed of a training step, side by side."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.cases import Shape
from twolayer.network.settings import EngineName
from twolayer.utils.errors import TwoLayerError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--peers", is_flag=True, help="Race scikit-learn, PyTorch and JAX as well, those that are installed.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the rows of the table here.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the SGD rows as bars (.png, .svg, .pdf).")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Turns of each contestant.")
@click.option("--quick", is_flag=True, help="The four smaller networks and two rounds, to see that it works.")
@click.option("--only", metavar="D-H-C-B", multiple=True, help="Only this network; may be given several times.")
@click.option("--scaling", is_flag=True, help="Instead: how an epoch's time grows with N, D, H, C and the batch.")
@click.option("--mapped", metavar="GIB", type=click.FloatRange(min=0.01), help="Instead: train from a file this big.")
@click.option("--busy", is_flag=True, help="Instead: one thread against the default beside busy processes (Linux).")
@click.option("--startup", is_flag=True, help="Instead: CPU time and memory of whole processes beside a bare script.")
@click.option("--tricks", is_flag=True, help="Instead: the compiled engine with and without each of its tricks.")
@click.option("--defaults", is_flag=True, help="Instead: test accuracy with defaults beside MLPClassifier's.")
def command(
    peers: bool, json_path: Path | None, chart: Path | None, rounds: int, quick: bool, only: tuple[str, ...],
    scaling: bool, mapped: float | None, busy: bool,
    startup: bool, tricks: bool, defaults: bool,
) -> None:  # fmt: skip
    """Time a training step of seven networks, with SGD and with momentum, and print a table.

    Every contestant has a process of its own and gets the same first parameters and the same batches; they take turns.

    \b
    python -m benchmarks
    python -m benchmarks --peers --json speed.json --chart speed.png
    python -m benchmarks --busy --only 784-128-10-128
    python -m benchmarks --startup --peers
    python -m benchmarks --scaling
    python -m benchmarks --mapped 2
    python -m benchmarks --tricks
    python -m benchmarks --defaults
    """
    try:
        if busy:
            _print_busy(only)
        elif startup:
            _print_startup(rounds, peers)
        elif tricks:
            _print_tricks(rounds)
        elif defaults:
            from benchmarks.defaults import run

            run(click.echo, quick)
        elif scaling:
            _print_scaling(quick)
        elif mapped is not None:
            _print_mapped(mapped)
        else:
            _race(peers, json_path, chart, rounds, quick, only)
    except (TwoLayerError, OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(str(error)) from None


def _say(text: str) -> None:
    click.echo(text, err=True)


def _chosen(shapes: Sequence[Shape], only: tuple[str, ...]) -> list[Shape]:
    unknown = [each for each in only if each not in map(str, shapes)]
    if unknown:
        raise click.UsageError(f"--only: expected one of {', '.join(map(str, shapes))}, got {', '.join(unknown)}")
    return [shape for shape in shapes if not only or str(shape) in only]


def _race(
    peers: bool, json_path: Path | None, chart: Path | None, rounds: int, quick: bool, only: tuple[str, ...]
) -> None:
    from benchmarks.cases import SHAPES, Case
    from benchmarks.entries import ENTRIES
    from benchmarks.race import race
    from benchmarks.table import machine_line, ratio_table, step_table

    chosen = {name: entry for name, entry in ENTRIES.items() if peers or not entry.peer}
    names = [name for name, entry in chosen.items() if not entry.missing]
    shapes = _chosen(SHAPES, only) if only else SHAPES[:4] if quick else SHAPES
    cases = [Case(shape, optimizer) for shape in shapes for optimizer in ("sgd", "momentum")]
    results, left_out = race(names, cases, min(rounds, 2) if quick else rounds, _say)

    click.echo(machine_line() + "\n")
    click.echo(step_table(results))
    if "twolayer numba" in names:
        click.echo("\n" + ratio_table(results, of="twolayer numba"))
    for name, entry in chosen.items():
        if entry.missing:
            click.echo(f"left out: {name}, as {', '.join(entry.missing)} is not installed")
    for line in left_out:
        click.echo(f"left out: {line}")
    rows = [result.as_row() for result in results]
    if json_path is not None:
        from twolayer.utils.files import write_atomically

        write_atomically(json_path, ("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n").encode())
    if chart is not None:
        from benchmarks.table import draw_benchmark

        draw_benchmark(rows, chart)


def _print_busy(only: tuple[str, ...]) -> None:
    from benchmarks.busy import SHAPES, busy_table, measure_busy
    from benchmarks.entries import ENTRIES
    from benchmarks.table import align, machine_line

    names = [name for name in ("twolayer numba", "twolayer numpy") if not ENTRIES[name].missing]
    results, left_out = measure_busy(names, _chosen(SHAPES, only), _say)
    click.echo(f"{machine_line()}\nSteps per second, one thread/default, and their ratio turn by turn (median):\n")
    click.echo(align(busy_table(results)))
    for line in left_out:
        click.echo(f"left out: {line}")


def _print_startup(rounds: int, peers: bool) -> None:
    from benchmarks.startup import measure_startup, startup_lines
    from benchmarks.table import machine_line

    root = Path(__file__).parents[1]
    config, rows = root / "configs/optdigits.yaml", root / "data/optdigits-train.csv.gz"
    found = measure_startup(config, rows, rounds, peers, _say)
    click.echo(machine_line())
    for line in startup_lines(found):
        click.echo(line)


def _print_tricks(rounds: int) -> None:
    from benchmarks.table import align, machine_line
    from benchmarks.tricks import measure_tricks

    rows = [["trick", "D-H-C-batch", "with", "without", "times as long without"]]
    for gain in measure_tricks(rounds, _say):
        rows.append([gain.trick, str(gain.shape), f"{gain.with_us:.1f}", f"{gain.without_us:.1f}", f"{gain.ratio:.2f}"])
    click.echo(f"{machine_line()}\nMicroseconds per step, momentum, medians; the ratio turn by turn:\n")
    click.echo(align(rows))


def _print_scaling(quick: bool) -> None:
    from benchmarks.entries import ENTRIES
    from benchmarks.scaling import BASE, fit_line, measure_scaling
    from benchmarks.table import machine_line

    base = ", ".join(f"{name} = {value:,}" for name, value in BASE.items())
    engine: EngineName = "numpy" if ENTRIES["twolayer numba"].missing else "numba"
    click.echo(f"{machine_line()}\nMilliseconds of an epoch by Solver, {engine} engine; {base}, except what varies:")
    table = measure_scaling(engine, quick)
    for axis, points in table.items():
        click.echo(f"  {axis}: " + "   ".join(f"{value:,}: {seconds * 1e3:.2f}" for value, seconds in points))
    fit = fit_line(table["N"])
    click.echo(f"  line in N: {fit.intercept * 1e3:.2f} ms + {fit.slope * 1e9:.1f} ns a row, R^2 = {fit.r_squared:.5f}")


def _print_mapped(gigabytes: float) -> None:
    from benchmarks.mapped import measure_mapped
    from benchmarks.table import machine_line

    found = measure_mapped(gigabytes)
    beyond = found["anonymous_mib"] - 16 * found["rows"] / 2**20
    click.echo(
        f"{machine_line()}\nFrom a mapped file of {gigabytes:g} GiB, {found['rows']:,} rows:"
        f" {found['mapped_us']:.0f} us a step,"
        f" from memory {found['memory_us']:.0f} ({found['mapped_us'] / found['memory_us']:.2f} times);"
        f" peak memory beyond mapped pages and 16 bytes a row: {beyond:.0f} MiB"
    )


if __name__ == "__main__":
    command(prog_name="python -m benchmarks")
