"""`twolayer predict`: raw rows in, labels out."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twolayer.commands import PATH, cluster_options, same_again
from twolayer.utils.text import counted, printable

if TYPE_CHECKING:
    from twolayer.runs.checkpoint import Model
    from twolayer.utils.workers.cluster import ClusterAddress


@click.command()
@click.argument("model_path", metavar="MODEL", type=PATH)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--proba", is_flag=True, help="Add a column with the probability of every class.")
@click.option("--keep", metavar="NAME,...|all", help="Put these columns of FILE in front; default with -o: its ids.")
@click.option("--safe-csv", is_flag=True, help="Put ' before texts that a spreadsheet would run as a formula.")
@click.option(
    "-o", "--output", type=PATH,
    help="Folder of the answers, NAME.csv for each FILE; for a single FILE also a file that ends in .csv or .parquet.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 512), help="Number of processes on this machine [default: 1].")
@cluster_options
@click.option("--quiet", is_flag=True, help="Show only the result.")
def command(
    model_path: Path,
    files: tuple[Path, ...],
    proba: bool,
    keep: str | None,
    safe_csv: bool,
    output: Path | None,
    workers: int | None,
    cluster: ClusterAddress | None,
    quiet: bool,
) -> int:
    """Predict the rows of each FILE (CSV, Parquet, Feather, xlsx, npz, npy or IDX) by MODEL, a run folder or an .npz.

    The answer is CSV in UTF-8 with the predicted label of each row, printed for a single FILE without -o. FILE needs
    the columns that the model was trained on, by name where it has names; a label column is neither needed nor read.

    With -o FOLDER each answer is written whole or not at all, large files are worked on in pieces, and the same command
    again skips what is done.

    \b
    twolayer predict runs/digits new-rows.csv > labels.csv
    twolayer predict runs/digits new-rows.csv --keep id,name --proba -o answer.parquet
    twolayer predict runs/digits day-*.csv -o answers --workers 4
    twolayer predict runs/digits day-*.parquet -o answers --scheduler tcp://192.168.1.10:8786
    """
    files = tuple(dict.fromkeys(files))
    spread = len(files) > 1 or workers is not None or cluster is not None
    if spread and output is None:
        raise click.UsageError("several FILEs, --workers and --scheduler need -o FOLDER for the answers")
    from twolayer.runs.checkpoint import load_model

    model = load_model(model_path)
    kept = keep.split(",") if keep else []
    options = {"proba": proba, "keep": kept, "keep_ids": keep is None and output is not None, "safe_csv": safe_csv}
    if output is None or (output.suffix in (".csv", ".parquet") and not output.is_dir()):
        if spread:
            raise click.UsageError(f"expected a folder for -o, got {output}")
        _predict_one(model, files[0], options, output)
        return 0
    from twolayer.runs.predict_files import predict_files

    result = predict_files(
        model_path,
        files,
        output,
        options=options,
        workers=workers or 1,
        cluster=cluster,
        quiet=quiet,
        say=lambda text: click.echo(text, err=True),
    )
    for line in [*(f"note: {note}" for note in result.notes), *(f"twolayer: {error}" for error in result.errors)]:
        click.echo(line, err=True)
    before = f", {result.skipped} of them from before" if result.skipped else ""
    click.echo(f"predicted {len(result.answers)} of {counted(len(files), 'file')} into {output}{before}")
    if result.signal_number is not None:
        click.echo(f"interrupted; to resume: {same_again('predict')}", err=True)
        return 128 + result.signal_number
    return 2 if result.errors else 0


def _predict_one(model: Model, file: Path, options: dict[str, Any], output: Path | None) -> None:
    """Print the answer for one file, or write it, whole or not at all."""
    if output is not None and os.path.realpath(output) == os.path.realpath(file):
        raise click.UsageError(f"{file}: its answer would replace it; choose another file with -o")
    from twolayer.data.frames import parquet_bytes
    from twolayer.runs.predict_files import answer_rows
    from twolayer.utils.files import write_atomically

    notes: list[str] = []
    rows = answer_rows(model, file, notes, **options)
    if output is not None and output.suffix == ".parquet":
        write_atomically(output, parquet_bytes(next(rows), zip(*rows, strict=True)))
    elif output is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_atomically(output, text.getvalue().encode())
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a redirect on Windows has an encoding that lacks most letters
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        if sys.stdout.isatty():  # a label's control characters stay words
            rows = ([printable(str(cell)) for cell in row] for row in rows)
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)
