"""`twolayer curves`: the loss curve of a run, redrawn, or those of several in one picture."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import click

from twolayer.commands import PATH, require_picture, runs_and_look


@click.command()
@click.option("-o", "--output", "out", type=PATH, help="The picture: .png, .svg or .pdf.")
@runs_and_look
@click.option("--show", metavar="NAME,...", help="Draw these, not loss,accuracy: e.g. learning_rate,dead_share.")
@click.option("--sort", metavar="KEY", help="Sort the table by a column or a config key, not the best first.")
@click.option("--text", is_flag=True, help="Plot in the terminal and write no file.")
@click.option("--boundary", is_flag=True, help="Draw what one run on two features predicts, where in the plane.")
def command(
    runs: tuple[Path, ...], out: Path | None, show: str | None, sort: str | None, text: bool, boundary: bool, **how: Any
) -> None:
    """Draw the loss curve of RUN again, or several runs in one picture, and print a table of their values.

    A FOLDER of runs means all of them. The legend names only the config keys in which the runs differ. One run is
    drawn to its own loss_curve.png and several to curves.png here, unless -o gives another file; their table is also
    written beside the picture as .csv.

    --boundary draws the decision boundary to RUN/boundary.png or -o; to a .gif, an animation over the epochs from the
    snapshots that run.snapshot_epochs keeps.

    \b
    twolayer curves runs/digits --by seconds --scale log
    twolayer curves runs/rate-* -o rates.svg --sort learning_rate
    twolayer curves runs/digits --show gradient_norm,dead_share --text
    twolayer curves runs/spiral --boundary -o spiral.gif
    """
    from twolayer.utils.files import write_atomically
    from twolayer.views import style
    from twolayer.views.curves import curves_figure, run_table, text_plot
    from twolayer.views.run_data import load_runs
    from twolayer.views.style import MAIN_PANELS, panels_named

    if out is not None:
        require_picture("-o", out, *([".gif"] if boundary else []))
    loaded = load_runs(runs, partial(click.echo, err=True))
    if boundary:
        if len(loaded) != 1:
            raise click.UsageError(f"--boundary: expected one RUN, got {len(loaded)}")
        click.echo(str(_draw_boundary(loaded[0].path, loaded[0].history, out)))
        return
    try:
        panels = MAIN_PANELS if show is None else panels_named(show.split(","))
        table = run_table(loaded, sort)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    loaded = [loaded[k] for k in table.order]
    words = (table if sort or len(loaded) == 1 else table.short()).for_terminal()
    if text:
        width = shutil.get_terminal_size().columns
        click.echo(f"{text_plot(loaded, panels, how['by'], width)}\n\n{words}")
        return
    name = "loss_curve.png" if show is None else f"{'-'.join(panel.name for panel in panels)}.png"
    path = out or (loaded[0].path / name if len(loaded) == 1 else Path("curves.png"))
    title = loaded[0].name if len(loaded) == 1 else ""
    style.save(curves_figure(loaded, panels, **how, title=title), path)
    if len(loaded) > 1:
        write_atomically(path.with_suffix(".csv"), table.as_csv().encode(errors="replace"))
    click.echo(f"{words}\n\n{path}")


def _draw_boundary(run: Path, history: Any, output: Path | None) -> Path:
    from twolayer.runs.checkpoint import load_model
    from twolayer.utils.errors import RunError
    from twolayer.views import style
    from twolayer.views.boundary import animate_boundary, boundary_figure, plane_of, snapshot_models

    model = load_model(run)
    plane = plane_of(run, model.classes)
    path = output or run / "boundary.png"
    if path.suffix.lower() != ".gif":
        style.save(boundary_figure(plane, model.predict_proba), path)
        return path
    frames = [(epoch, each.predict_proba) for epoch, each in snapshot_models(run, model)]
    if not frames:
        raise RunError(f"{run}: kept no snapshots to animate; train with run.snapshot_epochs=2, for example")
    animate_boundary(plane, frames, history, path)
    return path
