"""A Dask cluster that the user runs: one task at a time on each worker, placed by us, so that a dead worker costs the
run it was training and no other, and a worker whose data is not the sweep's gets none.

A run folder travels: what a broken-off run left here goes to the worker, and what the worker made comes back.

What a Dask worker does for a sweep: says whether it can, trains one run at a time, and sends the folder back."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twolayer.config import config_from_dict, dump_config
from twolayer.runs.folder import RunFolder, create_run_folder_at
from twolayer.sweep.journal import Outcome, require_data
from twolayer.sweep.study import PrunerSettings, dask_storage, join, load_optuna, report
from twolayer.sweep.trial import Answer, Judge, Task, run_task
from twolayer.utils.blas import at_most_threads
from twolayer.utils.errors import TwoLayerError, import_extra
from twolayer.utils.version import __version__

LOOK_SECONDS = 1.0  # between two looks at who is there and whether the sweep was stopped
DATA_VARIABLE = "TWOLAYER_DATA"
FILES = ("config.yaml", "environment.json", "best.npz", "last.npz", "history.csv", "steps.csv")
RESULTS = ("predictions.npz", "summary.json", "loss_curve.png")

_training = threading.Lock()  # one run at a time in a process, however many threads the worker has


def what_is_missing(needs: Mapping[str, Any]) -> str:
    """On a worker: why it cannot train for a sweep, or ""."""
    if __version__ != needs["version"]:
        return f"twolayer {__version__} there, {needs['version']} here"
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


MAX_ATTEMPTS = 5  # a run that was broken off so often has failed
CONNECT_SECONDS = 20.0
NOBODY_SECONDS = 60.0  # without a usable worker before giving up


@dataclass
class _Running:
    """A task, the worker it was given to and Dask's future of it."""

    task: Task
    address: str
    future: Any


class DaskWorkers:
    """The workers of a Dask scheduler.

    Args:
        address: of the scheduler.
        folder: the sweep's.
        digests: SHA-256 of each data file by its path here.
        pruner: what the judge on the worker needs to know.
        threads: BLAS threads of each run.
        say: is told which workers cannot be used, and which died.

    Attributes:
        storage: the scheduler's memory, where Optuna's study is kept so that workers can ask it.

    Raises:
        MissingExtraError: without the extra `cluster`.
        TwoLayerError: if there is no scheduler.
    """

    def __init__(
        self,
        address: str,
        folder: Path,
        digests: Mapping[str, str],
        pruner: PrunerSettings,
        threads: int,
        say: Callable[[str], None],
    ) -> None:
        load_optuna()
        distributed = import_extra("distributed", "cluster", "--scheduler")
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise TwoLayerError(
                f"--scheduler {address}: no Dask scheduler answers ({error}); start one with: dask scheduler"
            ) from None
        self._distributed, self._folder, self._say = distributed, folder, say
        self._name = f"twolayer-{os.getpid()}-{time.time_ns():x}"  # the same in all processes, and nobody else's
        self.storage = dask_storage(self._name, self._client)
        self._stop_event = distributed.Event(f"{self._name}-stop", client=self._client)
        self._needs = {"digests": dict(digests), "version": __version__}
        self._pruner, self._threads = tuple(pruner), threads
        self._fit: dict[str, bool] = {}
        self._running: list[_Running] = []
        self._again: list[Task] = []
        self._ended: list[tuple[Task, Outcome]] = []  # for the next `wait` to tell
        self._stopping = False
        self._attempts: dict[str, int] = {}
        self._looked_at = self._had_somebody = -1e9
        self._look()

    def free(self) -> int:
        self._look()
        return max(0, len(self._idle()) - len(self._again))

    def submit(self, task: Task) -> None:
        self._again.append(task)
        self._place()

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            self._place()
            for each in [each for each in self._running if each.future.done()]:
                self._running.remove(each)
                self._take(each)
            if self._ended or time.monotonic() > deadline:
                ended, self._ended = self._ended, []
                return ended
            time.sleep(0.02)

    def stop(self) -> None:
        self._stopping = True
        self._stop_event.set()
        self._ended += [(task, Outcome("interrupted")) for task in self._again]
        self._again.clear()

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the scheduler may be gone: there is nothing left to lose
            self._stop_event.set()
        self._client.close(timeout=5)

    def _idle(self) -> list[str]:
        busy = {each.address for each in self._running}
        return [address for address, fit in self._fit.items() if fit and address not in busy]

    def _place(self) -> None:
        for address in self._idle():
            if not self._again:
                return
            task = self._again.pop(0)
            future = self._client.submit(
                train_remotely,
                task.to_dict(),
                files_of(RunFolder(self._folder / "runs" / task.name)),
                self._needs["digests"],
                (self._name, self._pruner) if task.point is not None else None,
                f"{self._name}-stop",
                self._threads,
                key=f"{self._name}-{task.name}-{self._attempts.get(task.name, 0)}",
                workers=[address],
                allow_other_workers=False,
                pure=False,
            )
            self._running.append(_Running(task, address, future))

    def _look(self) -> None:
        """Sees who came and who is gone, and looks over those who came."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        there = set(self._client.nthreads())
        self._fit = {address: fit for address, fit in self._fit.items() if address in there}
        new = sorted(there - self._fit.keys())
        if new:
            answers = self._client.run(what_is_missing, self._needs, workers=new, on_error="return")
            for address, answer in answers.items():
                self._fit[address] = answer == ""
                if answer != "":
                    self._say(f"worker {address} is not used: {answer}")
        for each in [each for each in self._running if each.address not in there and not each.future.done()]:
            self._running.remove(each)
            each.future.cancel()
            self._broken_off(each, "the worker is gone")
        if any(self._fit.values()) or self._had_somebody < 0:
            self._had_somebody = now
        elif now - self._had_somebody > NOBODY_SECONDS:
            raise TwoLayerError(
                f"no usable worker for {NOBODY_SECONDS:.0f} s; start one with: dask worker ADDRESS --nthreads 1, where "
                "twolayer is installed and the data files are; then start the sweep again, and it goes on"
            )

    def _broken_off(self, each: _Running, how: str) -> None:
        """Puts a task in line again, unless all is to stop or that happened too often."""
        task = each.task
        self._attempts[task.name] = self._attempts.get(task.name, 0) + 1
        if self._stopping:
            self._ended.append((task, Outcome("interrupted")))
        elif self._attempts[task.name] < MAX_ATTEMPTS:
            self._say(f"worker {each.address} is gone; {task.name} is tried again")
            self._again.insert(0, task)
        else:
            reason = f"broken off {MAX_ATTEMPTS} times, last on {each.address}: {how}"
            self._ended.append((task, Outcome("failed", reason)))

    def _take(self, each: _Running) -> None:
        """Tells the outcome of a future that is done, its files put where they belong, or tries its task again."""
        try:
            status, reason, files = each.future.result()
        except Exception as error:  # Dask's, when the worker died, or whatever it could not send
            self._broken_off(each, f"{type(error).__name__}: {error}")
            return
        if files:
            run = self._folder / "runs" / each.task.name
            aside = run.with_name(f".{run.name}.old")
            shutil.rmtree(aside, ignore_errors=True)
            if run.exists():
                run.rename(aside)
            files["config.yaml"] = dump_config(config_from_dict(each.task.config)).encode()  # the paths of here
            create_run_folder_at(files, run)
            shutil.rmtree(aside, ignore_errors=True)
        self._ended.append((each.task, Outcome(status, reason)))
