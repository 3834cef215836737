"""What a Dask worker does for a sweep: says whether it can, trains one run at a time, and sends the folder back."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import twolayer
from twolayer.config import config_from_dict, dump_config
from twolayer.runs.folder import RunFolder
from twolayer.sweep.same_sweep import require_data
from twolayer.sweep.study import PrunerSettings, dask_storage, join, report
from twolayer.sweep.trial import Answer, Judge, Task, run_task
from twolayer.utils.blas import at_most_threads
from twolayer.utils.errors import TwoLayerError, import_extra

LOOK_SECONDS = 1.0  # between two looks at whether the sweep was stopped
DATA_VARIABLE = "TWOLAYER_DATA"
FILES = ("config.yaml", "environment.json", "best.npz", "last.npz", "history.csv", "steps.csv")
RESULTS = ("predictions.npz", "summary.json", "loss_curve.png")

_training = threading.Lock()  # one run at a time in a process, however many threads the worker has


def what_is_missing(needs: Mapping[str, Any]) -> str:
    """On a worker: why it cannot train for a sweep, or ""."""
    if twolayer.__version__ != needs["version"]:
        return f"twolayer {twolayer.__version__} there, {needs['version']} here"
    try:
        _own_paths(needs["digests"])
    except TwoLayerError as error:
        return str(error)
    return ""


def train_remotely(
    task_fields: Mapping[str, Any],
    files: Mapping[str, bytes],
    digests: Mapping[str, str],
    judging: tuple[str, tuple[Any, ...]] | None,
    stop_event: str,
    threads: int,
) -> tuple[str, str, dict[str, bytes]]:
    """On a worker: trains a run, or goes on with one, in a folder of the worker's.

    Args:
        task_fields: of the Task.
        files: of the broken-off run folder, if there is one.
        digests: SHA-256 of each data file by its path at the caller's.
        judging: name of the storage and the pruner's settings, for a judged run.
        stop_event: name of the event that asks to stop.
        threads: BLAS threads to use, where NumPy's BLAS is OpenBLAS; else those that the worker was started with.

    Returns:
        Status and reason, and the files of the run folder.
    """
    task = Task(**task_fields)
    paths = _own_paths(digests)
    task = replace(task, config={**task.config, "data": _with_paths(task.config["data"], paths)})
    with _training, at_most_threads(threads), tempfile.TemporaryDirectory(prefix="twolayer-") as scratch:
        folder = Path(scratch) / task.name
        if files:
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            (folder / "config.yaml").write_text(dump_config(config_from_dict(task.config)), encoding="utf-8")
        outcome = run_task(task, folder, _judge(task, judging, stop_event))
        return outcome.status, outcome.reason, files_of(RunFolder(folder))


def _judge(task: Task, judging: tuple[str, tuple[Any, ...]] | None, stop_event: str) -> Judge:
    """Asks the study in the scheduler's memory and, now and then, whether the sweep has been stopped."""
    distributed = import_extra("distributed", "cluster", "a worker")
    client = distributed.get_client()
    event = distributed.Event(stop_event, client=client)
    study, looked_at = None, time.monotonic()
    if judging is not None:
        study = join(dask_storage(judging[0], client), PrunerSettings(*judging[1]))

    def judge(epoch: int, value: float) -> Answer:
        nonlocal looked_at
        if time.monotonic() - looked_at > LOOK_SECONDS:
            looked_at = time.monotonic()
            if event.is_set():
                return "stop"
        if study is not None and task.point is not None and report(study, task.point, epoch, value):
            return "prune"
        return "go"

    return judge


def _own_paths(digests: Mapping[str, str]) -> dict[str, str]:
    """Where each data file is on this machine: the same path, or its name in the folder that TWOLAYER_DATA names."""
    paths = {}
    for name in digests:
        folder = os.environ.get(DATA_VARIABLE)
        paths[name] = str(Path(folder) / Path(name).name) if folder else name
    where = f" on {socket.gethostname()}; {DATA_VARIABLE} may name the folder of the data files there"
    require_data({paths[name]: digest for name, digest in digests.items()}, where)
    return paths


def _with_paths(source: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """The section `data` with other paths."""
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in source.items()}
    for key in ("train", "test", "validation"):
        value = changed[key]
        if isinstance(value, str):
            changed[key] = paths[value]
        elif isinstance(value, dict) and "features" in value:
            changed[key] = {name: paths[path] for name, path in value.items()}
    return changed


def files_of(run: RunFolder) -> dict[str, bytes]:
    """The files of a run folder that has a checkpoint; none of another."""
    if not run.last.is_file():
        return {}
    paths = [run.path / name for name in (*FILES, *RESULTS)]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}
