"""`twolayer curves`: the loss curve of a run, redrawn, or those of several in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from twolayer.config import Config
    from twolayer.views.run_data import RunData

KINDS = (".png", ".svg", ".pdf")


def load_runs(paths: tuple[Path, ...]) -> list[tuple[RunData, Config]]:
    """The runs in some folders with their configs, wherever their data files have gone."""
    from twolayer.config import load_config
    from twolayer.runs.folder import open_run
    from twolayer.views.run_data import read_run

    runs = []
    for path in paths:
        config = load_config(open_run(path).config, require_files=False)
        runs.append((read_run(path, config.model_dump()), config))
    return runs


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The picture: .png, .svg or .pdf.")
@click.option(
    "--by", type=click.Choice(["epoch", "step", "seconds"]), default="epoch", help="The x axis.", show_default=True
)
@click.option("--scale", type=click.Choice(["linear", "log"]), help="Of the losses; left out, whichever shows more.")
@click.option("--bands/--no-bands", default=True, help="Runs that differ in the seed alone as their mean, in a band.")
@click.option("--boundary", is_flag=True, help="Of one run on two features: what it predicts, where in the plane.")
def command(
    runs: tuple[Path, ...], output: Path | None, by: str, scale: str | None, bands: bool, boundary: bool
) -> None:
    """Draw the loss curve of RUN again, or several runs in one picture, and print a table of their values.

    The legend names just the config keys in which the runs differ. One run is drawn to its own loss_curve.png and
    several to curves.png here, unless -o says otherwise; the table is also written beside the picture as .csv.

    --boundary draws the decision boundary to RUN/boundary.png or -o; to a .gif, an animation over the epochs from the
    snapshots that run.snapshot_epochs keeps.

    \b
    twolayer curves runs/digits --by seconds --scale log
    twolayer curves runs/rate-* -o rates.svg
    twolayer curves runs/spiral --boundary -o spiral.gif
    """
    from typing import cast

    from twolayer.utils.files import write_atomically
    from twolayer.views.curves import By, draw_curves, table_csv, table_text
    from twolayer.views.loss_curve import draw_loss_curve

    kinds = (*KINDS, ".gif") if boundary else KINDS
    if output is not None and output.suffix.lower() not in kinds:
        raise click.UsageError(f"-o {output}: wanted a name that ends in {', '.join(kinds)}")
    if boundary and len(runs) != 1:
        raise click.UsageError("--boundary draws one RUN")
    loaded = load_runs(runs)
    if boundary:
        click.echo(str(_draw_boundary(*loaded[0], output)))
        return
    views = [run for run, _ in loaded]
    path = output or (views[0].path / "loss_curve.png" if len(views) == 1 else Path("curves.png"))
    if len(views) == 1:
        draw_loss_curve(views[0].history, path, views[0].best_epoch, views[0].name, by=by, scale=scale)
    else:
        draw_curves(views, path, by=cast(By, by), scale=scale, bands=bands)
        write_atomically(path.with_suffix(".csv"), table_csv(views).encode(errors="replace"))
    click.echo(table_text(views))
    click.echo(f"\n{path}")


def _draw_boundary(run: RunData, config: Config, output: Path | None) -> Path:
    from twolayer.network.model import Params
    from twolayer.runs.checkpoint import read_model_arrays
    from twolayer.runs.folder import RunFolder
    from twolayer.runs.saved_model import Model, load_model
    from twolayer.utils.errors import DataError, RunError
    from twolayer.views.boundary import Plane, animate_boundary, draw_boundary
    from twolayer.views.report.details import raw_rows

    model = load_model(run.path)
    rows = raw_rows(config, "train")
    if rows.X.shape[1] != 2:
        raise DataError(f"{run.path}: --boundary draws rows of 2 features; this run's have {rows.X.shape[1]}")
    plane = Plane(rows.X, rows.y, model.classes, rows.names)
    path = output or run.path / "boundary.png"
    if path.suffix.lower() != ".gif":
        draw_boundary(plane, model.predict_proba, path)
        return path
    frames = []
    for file in RunFolder(run.path).snapshots.glob("epoch-*.npz"):
        arrays, header = read_model_arrays(file, kinds=("snapshot",))
        params = Params(arrays.get("W1"), arrays.get("b1"), arrays["W2"], arrays["b2"])
        frames.append((int(header["epoch"]), Model(params, model.preparation).predict_proba))
    if not frames:
        raise RunError(f"{run.path}: kept no snapshots to animate; train with run.snapshot_epochs=2, say")
    frames.sort(key=lambda frame: frame[0])
    animate_boundary(plane, frames, run.history, path)
    return path
