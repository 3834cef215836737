"""`twolayer gradcheck`: check the gradients of backprop against numeric ones and against every reference."""

from pathlib import Path

import click
import numpy as np

from twolayer.commands import PATH, complete_keys
from twolayer.config import load_config
from twolayer.network.backprop import loss_and_gradients
from twolayer.reference import REFERENCES
from twolayer.reference.gradcheck import check_gradients, worst_of
from twolayer.reference.problems import Problem, after_steps, standard_problems
from twolayer.training.build import load_start
from twolayer.utils.errors import CheckFailedError

_MAX_ENTRIES = 40  # of each array that differences probe, for a config's network
_MAX_COMPLEX_STEPS = 20_000  # parameters; the complex step passes forward once for each


@click.command()
@click.argument("config", required=False, type=PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_keys)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the built-in problems.", show_default=True)
@click.option("--tables", is_flag=True, help="Print the table of every problem, not only of the worst errors.")
def command(config: Path | None, overrides: tuple[str, ...], seed: int, tables: bool) -> None:
    """Check loss and gradients against finite differences and against all reference implementations.

    Without CONFIG, on built-in problems: zero rows, zero biases, one row, one hidden unit, two classes, ties, large
    scores, no hidden layer, after some steps. With CONFIG, on its network, reg and 20 of its training rows, at the
    start and after some steps. Exit code 1 if a gradient is wrong.

    \b
    twolayer gradcheck
    twolayer gradcheck configs/optdigits.yaml --tables
    """
    references = dict(REFERENCES)
    if config is None:
        problems, limit = standard_problems(seed), None
    else:
        loaded, limit = load_config(config, overrides), _MAX_ENTRIES
        start = load_start(loaded)
        name = f"{config.stem}, {len(start.y)} rows"
        problem = Problem(name, start.params, start.X, start.y, loaded.solver.reg)
        problems = [problem, after_steps(problem)]
        if not problem.reg:
            click.echo("reg is 0: there is no penalty to check")
    n_parameters = sum(array.size for array in problems[0].params.named().values())
    if n_parameters > _MAX_COMPLEX_STEPS:
        del references["complex step"]
        click.echo(f"complex step left out: it needs a forward pass for each of the {n_parameters:,} parameters")
    checks, failed = [], []
    for name, params, X, y, reg in problems:
        rng = np.random.default_rng(seed)
        check = check_gradients(loss_and_gradients, params, X, y, reg, against=references, max_entries=limit, rng=rng)
        checks.append(check)
        failed += [] if check.passed else [name]
        kinks = f"  ({len(check.kinks)} kinks left out)" if check.kinks else ""
        click.echo(f"{'ok  ' if check.passed else 'FAIL'}  {name}{kinks}")
        if tables or not check.passed:
            click.echo("\n" + check.table() + "\n")
    if not tables:
        click.echo("\nThe worst errors, max|a - n| / max(max|a|, max|n|, 1e-8):\n\n" + worst_of(checks).table())
    if failed:
        raise CheckFailedError(f"gradients are wrong in {len(failed)} of {len(problems)} problems: {'; '.join(failed)}")
