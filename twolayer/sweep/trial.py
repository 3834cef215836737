"""One run of a sweep: trained from the start or resumed, in an ordinary run folder, judged after each epoch, by the
workers of a pool on this machine or on a cluster.

On a cluster a run folder travels: what an interrupted run left here goes to the worker, and what the worker made comes
back, whole. Data files do not: each worker reads its own, which must have the same bytes."""

import copy
import math
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from twolayer.config import Config, config_from_dict, dump_config
from twolayer.config.checking import data_files
from twolayer.network.model import Array
from twolayer.network.settings import larger_is_better
from twolayer.runs.checkpoint import read_arrays
from twolayer.runs.folder import RunFolder, create_run_folder_at, folder_lock
from twolayer.runs.logs import logged_rows, read_history
from twolayer.utils.errors import DivergedError, RunError
from twolayer.utils.files import CANNOT_READ, explained, leftovers, read_whole, require_regular, sha256_of
from twolayer.utils.workers.pool import Ask, Job, JobResult, JobStoppedError, Pool, UnusableWorkerError

LOCK_SECONDS = 60.0  # a worker whose sweep was killed may take this long to end its run
DATA_VARIABLE = "TWOLAYER_DATA"
STORING = 32  # run folders from a cluster that are written at a time: flushes side by side cost the disk little more
ENDED = ("finished", "pruned", "diverged", "failed")


class Outcome(NamedTuple):
    """How a run ended: as one of `ENDED`, which are final, or `interrupted`; and why."""

    status: str
    reason: str = ""


def train_here(ask: Ask, config: dict[str, Any], folder: str) -> Outcome:
    """Train on a worker that shares the sweep folder."""
    outcome = run_trial(config, Path(folder), ask)
    if outcome.status == "interrupted":
        raise JobStoppedError
    return outcome


def run_trial(config: Mapping[str, Any], folder: Path, ask: Ask = lambda message: "go") -> Outcome:
    """Train by a config in `folder`, or resume the run that is there.

    After each epoch, and first for those of an earlier session, `ask` gets the `epoch` and the best `value` of the
    monitored column so far, and returns `go`, `prune` or `stop`.

    Raises:
        TwoLayerError: for an error in the config or the data.
        UnusableWorkerError: if the folder cannot be written (disk full, no permission), which says nothing of the run.
    """
    from twolayer.training import run as training  # here, because it takes its time

    watch, run = BestSoFar(config["solver"]["monitor"], ask), RunFolder(folder)
    try:
        with explained(folder, CANNOT_READ):
            require_regular(folder, folder=True)  # a link would lead out of the sweep
        checked = config_from_dict(config, source=Path(f"{folder.name}.yaml"))
        if not run.last.is_file():
            for beginning in (folder, *leftovers(folder.parent, folder.name)):  # not filled completely
                shutil.rmtree(beginning, ignore_errors=True)
            summary = training.train(checked, run_dir=folder, stop=watch).summary
        else:
            deadline = time.monotonic() + LOCK_SECONDS
            while run.in_use() and time.monotonic() < deadline:  # a killed sweep's worker saves its state and exits
                time.sleep(0.1)
            with folder_lock(folder):
                pass
            with suppress(RunError):  # resume will report what is wrong
                rows = logged_rows(read_arrays(run.last, kinds=("checkpoint",))[1], run.last)["history_rows"]
                if watch.replay(read_history(run.history), rows) == "prune":
                    return Outcome("pruned")
            try:
                summary = training.resume(folder, stop=watch).summary
            except RunError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                # It cannot be resumed here (other versions, a damaged file): keep what it had, and start again.
                folder.rename(folder.with_name(f".{folder.name}.{time.time_ns():x}.aside"))
                outcome = run_trial(config, folder, ask)
                return outcome if outcome.reason else Outcome(outcome.status, f"started again: {error}")
    except DivergedError as error:
        return Outcome("diverged", str(error).replace(str(folder), folder.name))
    except RunError as error:
        if isinstance(error.__cause__, OSError):
            raise UnusableWorkerError(str(error)) from None
        raise
    if summary["status"] != "interrupted":
        return Outcome("diverged" if summary["status"] == "diverged" else "finished")
    return Outcome("pruned" if watch.answer == "prune" else "interrupted")


class BestSoFar:
    """Asks with the best value of the monitored column so far; called with a record, returns whether to stop."""

    def __init__(self, monitor: str, ask: Ask) -> None:
        self._monitor, self._ask = monitor, ask
        self._sign = 1 if larger_is_better(monitor) else -1
        self._best = -math.inf
        self.answer = "go"

    def __call__(self, record: Mapping[str, float | None]) -> bool:
        value = record[self._monitor]
        if value is not None and math.isfinite(value):
            self._best = max(self._best, self._sign * value)
        if math.isfinite(self._best):
            self.answer = self._ask({"epoch": int(record["epoch"] or 0), "value": self._sign * self._best})
        return self.answer != "go"

    def replay(self, history: Mapping[str, Array], rows: int | None = None) -> str:
        """Ask with the first `rows` epochs of a history until the answer is to stop; return the last one."""
        epochs = zip(history["epoch"][:rows].tolist(), history[self._monitor][:rows].tolist(), strict=True)
        for epoch, value in epochs:
            if self({"epoch": epoch, self._monitor: value}):
                break
        return self.answer


_training = threading.Lock()  # one run at a time in a process, however many threads a Dask worker has


def require_own_data(ask: Ask, digests: Mapping[str, str]) -> dict[str, str]:
    """Return where each data file is on this machine: the same path, or its name in the folder TWOLAYER_DATA.

    Raises:
        UnusableWorkerError: unless all are there and have these SHA-256 digests.
    """
    folder = os.environ.get(DATA_VARIABLE)
    paths = {name: str(Path(folder) / Path(name).name) if folder else name for name in digests}
    for name, path in paths.items():
        problem = "another file than the sweep began with (SHA-256)"
        try:
            if sha256_of(Path(path)) == digests[name]:
                continue
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        where = f"on {socket.gethostname()}; set {DATA_VARIABLE} to the folder of the data files there"
        raise UnusableWorkerError(f"{path}: {problem} {where}")
    return paths


def train_there(
    ask: Ask, name: str, config: dict[str, Any], files: Mapping[str, bytes], digests: Mapping[str, str]
) -> tuple[Outcome, dict[str, bytes]]:
    """Train on a worker of a cluster, in a temporary folder; return the outcome and the files of the run folder.

    `files` is the content of the interrupted run folder, if there is one; `digests` are the SHA-256 of data files by
    their paths on the caller's machine. Raise UnusableWorkerError if the data files are not those, or the temporary
    folder cannot be written.
    """
    own, paths = copy.deepcopy(config), require_own_data(ask, digests)
    for _, holder, key in data_files(own):
        holder[key] = paths.get(holder[key], holder[key])
    try:
        with _training, tempfile.TemporaryDirectory(prefix="twolayer-") as scratch:
            folder = Path(scratch) / name
            if files:
                folder.mkdir()
                for file, content in files.items():
                    (folder / file).write_bytes(content)
                (folder / "config.yaml").write_text(dump_config(config_from_dict(own)), encoding="utf-8")
            outcome = run_trial(own, folder, ask)
            return outcome, _files_of(RunFolder(folder))
    except OSError as error:
        raise UnusableWorkerError(f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}") from None


def _files_of(run: RunFolder) -> dict[str, bytes]:
    """Return the content of a run folder that has a checkpoint; nothing of another."""
    run.require_box()
    if not run.last.exists():
        return {}
    return {path.name: read_whole(path) for path in run.files if path.is_file()}


class TrialWorkers:
    """Trains trials by the workers of a pool, in run folders of `folder`; `digests` are the SHA-256 of data files by
    their paths for a pool on a cluster, None if its workers share the folder."""

    def __init__(self, folder: Path, pool: Pool, digests: Mapping[str, str] | None = None) -> None:
        self.pool, self._folder, self._digests = pool, folder, digests

    def submit(self, name: str, config: Config, judged: bool = False) -> None:
        """Take a run folder's name and its config; `judged`: a pruner judges its point by this run."""
        run = self._folder / name
        arguments: dict[str, Any] = {"config": config.model_dump()}
        function: Callable[..., Any] = train_here
        if self._digests is None:
            arguments["folder"] = str(run)
        else:
            function = train_there
            with explained(run, CANNOT_READ):
                arguments |= {"name": name, "files": _files_of(RunFolder(run)), "digests": dict(self._digests)}
        self.pool.submit(Job(name, f"{function.__module__}:{function.__name__}", arguments, judged))

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Return the names of the trials that ended and how, waiting up to `seconds` for the first."""
        results = self.pool.wait(seconds)
        with ThreadPoolExecutor(STORING) as threads:
            outcomes = list(threads.map(self._outcome, results))
        return [(each.job.name, outcome) for each, outcome in zip(results, outcomes, strict=True)]

    def _outcome(self, result: JobResult) -> Outcome:
        if result.stopped:
            return Outcome("interrupted")
        if result.error:
            return Outcome("failed", result.error)
        if self._digests is None:
            return Outcome(*result.value)
        outcome, files = result.value
        if files:
            config = dump_config(config_from_dict(result.job.arguments["config"]))  # with the paths of this machine
            run, aside = self._folder / result.job.name, self._folder / f".{result.job.name}.old"
            for beginning in (aside, *leftovers(self._folder, run.name)):  # of a caller that was killed
                shutil.rmtree(beginning, ignore_errors=True)
            if run.exists():
                with explained(run, "cannot be replaced"):
                    run.rename(aside)
            create_run_folder_at({**files, "config.yaml": config.encode()}, run)
            shutil.rmtree(aside, ignore_errors=True)
        return Outcome(*outcome)
