"""`python -m benchmarks`: the speed of a training step, side by side."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import click


@click.command()
@click.option("--peers", is_flag=True, help="Race scikit-learn, PyTorch and JAX as well, those that are installed.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the rows of the table here.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the SGD rows as bars (.png, .svg, .pdf).")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Turns of each contestant.")
@click.option("--quick", is_flag=True, help="The four smaller networks and two rounds, to see that it works.")
@click.option("--only", metavar="D-H-C-B", multiple=True, help="Only this network; may be given several times.")
@click.option(
    "--processes", metavar="CONFIG ROWS", nargs=2, type=click.Path(exists=True, path_type=Path),
    help="Also time whole processes: train CONFIG against equal scripts that read ROWS (csv.gz, label last).",
)  # fmt: skip
@click.option("--scaling", is_flag=True, help="Also how an epoch's time grows with N, D, H, C and the batch.")
@click.option("--mapped", metavar="GIB", type=click.FloatRange(min=0.01), help="Also train from a made file this big.")
@click.option("--defaults", is_flag=True, help="Instead: test accuracy with defaults beside MLPClassifier's.")
def command(
    peers: bool, json_path: Path | None, chart: Path | None, rounds: int, quick: bool, only: tuple[str, ...],
    processes: tuple[Path, Path] | None, scaling: bool, mapped: float | None, defaults: bool,
) -> None:  # fmt: skip
    """Time a training step of seven networks, with SGD and with momentum, and print a table.

    Every contestant has a process of its own and gets the same first parameters and the same batches; they take turns.

    \b
    python -m benchmarks
    python -m benchmarks --peers --json speed.json --chart speed.png
    python -m benchmarks --peers --processes configs/optdigits.yaml data/optdigits-train.csv.gz
    python -m benchmarks --defaults
    """
    if defaults:
        from benchmarks.defaults import run
        from twolayer.utils.errors import MissingExtraError

        try:
            run(click.echo, quick)
        except MissingExtraError as error:
            raise click.ClickException(str(error)) from None
        return
    from benchmarks.cases import SHAPES, Case
    from benchmarks.entries import ENTRIES
    from benchmarks.race import race
    from benchmarks.table import ratio_table, step_table

    def say(text: str) -> None:
        click.echo(text, err=True)

    wanted = {name: entry for name, entry in ENTRIES.items() if peers or not entry.peer}
    names = [name for name, entry in wanted.items() if not entry.missing]
    shapes = [shape for shape in SHAPES if str(shape) in only] if only else SHAPES[:4] if quick else SHAPES
    if not shapes:
        raise click.UsageError(f"--only takes one of {', '.join(map(str, SHAPES))}; got {', '.join(only)}")
    cases = [Case(shape, optimizer) for shape in shapes for optimizer in ("sgd", "momentum")]
    results, left_out = race(names, cases, min(rounds, 2) if quick else rounds, say)

    click.echo(f"{platform.platform()}, Python {platform.python_version()}\n")
    click.echo(step_table(results))
    if "twolayer numba" in names:
        click.echo("\n" + ratio_table(results, of="twolayer numba"))
    for name, entry in wanted.items():
        if entry.missing:
            click.echo(f"left out: {name}, as {', '.join(entry.missing)} is not installed")
    for line in left_out:
        click.echo(f"left out: {line}")
    rows = [result.as_row() for result in results]
    if json_path is not None:
        from twolayer.utils.files import write_atomically

        write_atomically(json_path, (json.dumps(rows, indent=1) + "\n").encode())
    if chart is not None:
        from benchmarks.table import draw_benchmark

        draw_benchmark(rows, chart)
    if processes is not None:
        _print_processes(*processes, peers, rounds)
    if scaling:
        _print_scaling("numba" if "twolayer numba" in names else "numpy", quick)
    if mapped is not None:
        _print_mapped(mapped)


def _print_processes(config: Path, rows: Path, peers: bool, rounds: int) -> None:
    from benchmarks.processes import time_processes

    seconds = time_processes(config, rows, peers, rounds)
    click.echo(f"\nSeconds of a whole process, {config.name}:")
    for name, value in seconds.items():
        click.echo(f"  {name:<14} {value:6.2f}   twolayer takes {seconds['twolayer'] / value:.2f} of it")


def _print_scaling(engine: str, quick: bool) -> None:
    from benchmarks.scaling import BASE, fit_line, measure_scaling

    base = ", ".join(f"{name} = {value:,}" for name, value in BASE.items())
    click.echo(f"\nMilliseconds of an epoch by Solver, {engine} engine; but for what varies, {base}:")
    table = measure_scaling("numba" if engine == "numba" else "numpy", quick)
    for axis, points in table.items():
        click.echo(f"  {axis}: " + "   ".join(f"{value:,}: {seconds * 1e3:.2f}" for value, seconds in points))
    fit = fit_line(table["N"])
    click.echo(f"  line in N: {fit.intercept * 1e3:.2f} ms + {fit.slope * 1e9:.1f} ns a row, R^2 = {fit.r_squared:.5f}")


def _print_mapped(gigabytes: float) -> None:
    from benchmarks.mapped import measure_mapped

    found = measure_mapped(gigabytes)
    beyond = found["anonymous_mib"] - 16 * found["rows"] / 2**20
    click.echo(
        f"\nFrom a mapped file of {gigabytes:g} GiB, {found['rows']:,} rows: {found['mapped_us']:.0f} us a step,"
        f" from memory {found['memory_us']:.0f} ({found['mapped_us'] / found['memory_us']:.2f} times);"
        f" peak memory beyond mapped pages and 16 bytes a row: {beyond:.0f} MiB"
    )


if __name__ == "__main__":
    command(prog_name="python -m benchmarks")
