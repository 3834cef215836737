"""`twolayer predict`: raw rows in, labels out."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import click


@click.command()
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--proba", is_flag=True, help="Also the probability of every class, a column each.")
def command(model_path: Path, file: Path, proba: bool) -> None:
    """Predict the rows of FILE (csv, npz, npy or IDX) by MODEL, a run folder or an .npz file.

    Prints csv in UTF-8: the predicted label of each row. FILE needs the columns that the model was trained on, by name
    where it has names; a label column is not needed and not looked at.

    \b
    twolayer predict runs/digits new-rows.csv > labels.csv
    """
    from twolayer.runs.saved_model import load_model

    model = load_model(model_path)
    P = model.predict_file(file)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a redirect on Windows has an encoding that lacks most letters
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["label", *(f"p({label})" for label in model.classes)] if proba else ["label"])
    for p in P:
        label = model.classes[int(p.argmax())]
        out.writerow([label, *(repr(float(each)) for each in p)] if proba else [label])
