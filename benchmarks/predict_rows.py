"""`python -m benchmarks.predict_rows ROWS ...`: time and memory of predicting a generated CSV file of ROWS rows.

The memory is that of the largest process, caller or worker. It depends on the size of a piece, not on the file's."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

# The libraries are loaded in child processes: Linux counts what a process uses when it starts another one as a peak of
# that one.

BLOCK_ROWS = 500_000
CONFIG = "data: {train: train.csv, label: y}\nmodel: {hidden: 16}\nsolver: {epochs: 3}\n"
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss


def make_files(folder: Path, n_rows: int) -> None:
    """Train a small model on 500 rows and write `rows.csv`."""
    from twolayer.training.run import train

    write_rows(folder / "train.csv", 500, label=True)
    (folder / "c.yaml").write_text(CONFIG)
    train(folder / "c.yaml", run_dir=folder / "run")
    write_rows(folder / "rows.csv", n_rows)


def write_rows(path: Path, n_rows: int, *, label: bool = False) -> None:
    """Write four normal features a row and, with `label`, whether the first is larger than the second."""
    import numpy as np
    import pyarrow
    from pyarrow import csv

    with path.open("wb") as out:
        for number, start in enumerate(range(0, n_rows, BLOCK_ROWS)):
            rng = np.random.default_rng(number)
            X = rng.normal(size=(min(BLOCK_ROWS, n_rows - start), 4)).round(3)
            columns: dict[str, Any] = dict(zip("abcd", X.T, strict=True))
            if label:
                columns["y"] = np.where(X[:, 0] > X[:, 1], "yes", "no")
            csv.write_csv(pyarrow.table(columns), out, csv.WriteOptions(include_header=start == 0))


def predict_in(folder: Path, n_workers: int, piece_bytes: int) -> None:
    """Predict `rows.csv` of a folder, and write the largest memory of a process in bytes into `peak`."""
    from twolayer.runs import predict_files as predicting

    predicting.cut = partial(predicting.cut, piece_bytes=piece_bytes)  # type: ignore[assignment]
    found = predicting.predict_files(
        folder / "run", [folder / "rows.csv"], folder / "out", options={}, workers=n_workers
    )
    assert not found.errors, found.errors
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    (folder / "peak").write_text(json.dumps(RSS_UNIT * max(used)))


def measure(n_rows: int, n_workers: int, piece_mib: float) -> dict[str, float]:
    """Return size, seconds and peak memory of a prediction, and the lines of its answer."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        step = [sys.executable, "-m", "benchmarks.predict_rows", "--step", scratch]
        subprocess.run([*step, str(n_rows), "0", "0"], check=True)
        start = time.monotonic()
        subprocess.run([*step, "0", str(n_workers), str(int(piece_mib * 2**20))], check=True)
        seconds = time.monotonic() - start
        with (folder / "out" / "rows.csv").open("rb") as answer:
            lines = sum(block.count(b"\n") for block in iter(lambda: answer.read(1 << 20), b""))
        return {
            "rows": n_rows,
            "file_mib": (folder / "rows.csv").stat().st_size / 2**20,
            "seconds": seconds,
            "peak_mib": json.loads((folder / "peak").read_text()) / 2**20,
            "answer_lines": lines,
        }


@click.command()
@click.argument("rows", nargs=-1, type=int)
@click.option("--workers", default=2, show_default=True, help="Number of processes.")
@click.option("--piece-mib", default=8.0, show_default=True, help="Size of a piece.")
@click.option("--step", nargs=4, hidden=True)
def main(rows: tuple[int, ...], workers: int, piece_mib: float, step: tuple[str, str, str, str] | None) -> None:
    """Predict a generated CSV file with each number of ROWS; print a line of JSON for each."""
    if step:
        folder, n_rows, n_workers, piece_bytes = Path(step[0]), *map(int, step[1:])
        if n_rows:
            make_files(folder, n_rows)
        else:
            predict_in(folder, n_workers, piece_bytes)
    for n_rows in rows:
        found = measure(n_rows, workers, piece_mib)
        click.echo(json.dumps({name: round(figure, 1) for name, figure in found.items()}))


if __name__ == "__main__":
    main()
