"""One run of a sweep: trained from the start or resumed, in an ordinary run folder, judged after each epoch, by the
workers of a pool on this machine or on a cluster.

On a cluster a run folder travels: what an interrupted run left here goes to the worker, and what the worker made comes
back, whole. Data files do not: each worker reads its own, which must have the same bytes."""

from __future__ import annotations

import math
import os
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from twolayer.config import config_from_dict, dump_config
from twolayer.network.model import Array
from twolayer.runs.checkpoint import read_arrays
from twolayer.runs.folder import RunFolder, create_run_folder_at
from twolayer.runs.logs import logged_rows, read_history
from twolayer.sweep.journal import Outcome, require_data
from twolayer.utils.columns import larger_is_better
from twolayer.utils.errors import DivergedError, RunError, TwoLayerError
from twolayer.utils.files import CANNOT_READ, explained, leftovers, read_whole, require_regular
from twolayer.utils.workers.cluster import WorkerCheck
from twolayer.utils.workers.pool import Answerer, Ask, Job, JobResult, Pool, UnusableWorkerError

Answer = Literal["go", "prune", "stop"]
Judge = Callable[[int, float], Answer]
"""Called with an epoch and the best value of the monitored column so far."""

LOCK_SECONDS = 60.0  # a worker whose sweep was killed may take this long to end its run
DATA_VARIABLE = "TWOLAYER_DATA"
MAX_ATTEMPTS = 3  # a run that was interrupted this often, though the sweep was not, has failed
STORING = 32  # run folders from a cluster that are written at a time: flushes side by side cost the disk little more


class Trial(NamedTuple):
    """A run to train, as plain data that can be sent anywhere."""

    name: str  # of the run folder
    config: dict[str, Any]  # all keys
    point: int | None = None  # the point that a pruner judges by this run; None for a run that is not judged


def train_here(ask: Ask, trial: dict[str, Any], folder: str) -> Outcome:
    """Run a trial on a worker that shares the sweep folder."""
    return run_trial(Trial(**trial), Path(folder), judge_by(ask))


def judge_by(ask: Ask) -> Judge:
    """Return a judge that asks the caller."""
    return lambda epoch, value: cast(Answer, ask({"epoch": epoch, "value": value}))


def run_trial(trial: Trial, folder: Path, judge: Judge | None = None) -> Outcome:
    """Train, or resume the run in `folder`; anything that goes wrong with it is part of the outcome.

    The judge is called after each epoch, and first for those of an earlier session.

    Raises:
        UnusableWorkerError: if the folder cannot be written (disk full, no permission), which says nothing of the run.
    """
    from twolayer.training import run as training  # here, because it takes its time

    watch, run = BestSoFar(trial.config["solver"]["monitor"], judge), RunFolder(folder)
    try:
        with explained(folder, CANNOT_READ):
            require_regular(folder, folder=True)  # a link would lead out of the sweep
        config = config_from_dict(trial.config, source=Path(f"{trial.name}.yaml"))
        if run.last.is_file():
            _wait_until_unused(run)
            with suppress(RunError):  # resume will report what is wrong
                rows = logged_rows(read_arrays(run.last, kinds=("checkpoint",))[1], run.last)["history_rows"]
                if watch.replay(read_history(run.history), rows) == "prune":
                    return Outcome("pruned")
            try:
                summary = training.resume(folder, stop=watch).summary
            except RunError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                return _start_again(trial, folder, judge, str(error))
        else:
            for beginning in (folder, *leftovers(folder.parent, folder.name)):  # not filled completely
                shutil.rmtree(beginning, ignore_errors=True)
            summary = training.train(config, run_dir=folder, stop=watch).summary
    except DivergedError as error:
        return Outcome("diverged", str(error).replace(str(folder), folder.name))
    except MemoryError:
        return Outcome("failed", "out of memory: a smaller model.hidden or solver.batch_size needs less")
    except TwoLayerError as error:
        if isinstance(error, RunError) and isinstance(error.__cause__, OSError):
            raise UnusableWorkerError(str(error)) from None
        return Outcome("failed", str(error))
    except Exception as error:  # the other trials must not suffer from it
        return Outcome("failed", f"{type(error).__name__}: {error}")
    if summary["status"] != "interrupted":
        return Outcome("diverged" if summary["status"] == "diverged" else "finished")
    return Outcome("pruned" if watch.answer == "prune" else "interrupted")


def _start_again(trial: Trial, folder: Path, judge: Judge | None, reason: str) -> Outcome:
    """Train a run from the start that cannot be resumed here (other versions, a damaged file); keep what it had."""
    folder.rename(folder.with_name(f".{folder.name}.{time.time_ns():x}.aside"))
    outcome = run_trial(trial, folder, judge)
    return outcome if outcome.reason else Outcome(outcome.status, f"started again: {reason}")


def _wait_until_unused(run: RunFolder) -> None:
    """Wait until the worker of a killed sweep has saved its state and exited."""
    deadline = time.monotonic() + LOCK_SECONDS
    while run.in_use() and time.monotonic() < deadline:
        time.sleep(0.1)
    with run.lock():
        pass


class BestSoFar:
    """Keeps the best value of the monitored column and passes it on to the judge; called with a record to stop by."""

    def __init__(self, monitor: str, judge: Judge | None) -> None:
        self._monitor, self._judge = monitor, judge
        self._sign = 1 if larger_is_better(monitor) else -1
        self._best = -math.inf
        self.answer: Answer = "go"

    def __call__(self, record: Mapping[str, float | None]) -> bool:
        value = record[self._monitor]
        if value is not None and math.isfinite(value):
            self._best = max(self._best, self._sign * value)
        if self._judge is not None and math.isfinite(self._best):
            self.answer = self._judge(int(record["epoch"] or 0), self._sign * self._best)
        return self.answer != "go"

    def replay(self, history: Mapping[str, Array], rows: int | None = None) -> Answer:
        """Show the judge the first `rows` epochs of a history."""
        for epoch, value in zip(history["epoch"][:rows], history[self._monitor][:rows], strict=True):
            if self({"epoch": float(epoch), self._monitor: float(value)}):
                break
        return self.answer


_training = threading.Lock()  # one run at a time in a process, however many threads a Dask worker has


def what_is_missing(ask: Ask, digests: Mapping[str, str]) -> str:
    """Return why this worker cannot train for a sweep with these data files, or ""."""
    try:
        _own_paths(digests)
    except TwoLayerError as error:
        return str(error)
    return ""


def train_there(
    ask: Ask, trial: dict[str, Any], files: Mapping[str, bytes], digests: Mapping[str, str]
) -> tuple[Outcome, dict[str, bytes]]:
    """Run a trial on a worker of a cluster, in a temporary folder; return the outcome and the files of the run folder.

    Args:
        ask: reaches the judge.
        trial: fields of the Trial.
        files: content of the interrupted run folder, if there is one.
        digests: SHA-256 of each data file by its path on the caller's machine.

    Raises:
        UnusableWorkerError: if the temporary folder cannot be written.
    """
    try:
        paths = _own_paths(digests)
        config = {**trial["config"], "data": _with_paths(trial["config"]["data"], paths)}
        with _training, tempfile.TemporaryDirectory(prefix="twolayer-") as scratch:
            folder = Path(scratch) / trial["name"]
            if files:
                folder.mkdir()
                for name, content in files.items():
                    (folder / name).write_bytes(content)
                (folder / "config.yaml").write_text(dump_config(config_from_dict(config)), encoding="utf-8")
            outcome = run_trial(Trial(**trial | {"config": config}), folder, judge_by(ask))
            return outcome, files_of(RunFolder(folder))
    except OSError as error:
        raise UnusableWorkerError(f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}") from None


def _own_paths(digests: Mapping[str, str]) -> dict[str, str]:
    """Return where each data file is on this machine: the same path, or its name in the folder TWOLAYER_DATA."""
    folder = os.environ.get(DATA_VARIABLE)
    paths = {name: str(Path(folder) / Path(name).name) if folder else name for name in digests}
    where = f" on {socket.gethostname()}; set {DATA_VARIABLE} to the folder of the data files there"
    require_data({paths[name]: digest for name, digest in digests.items()}, where)
    return paths


def _with_paths(value: Any, paths: Mapping[str, str]) -> Any:
    """Return the section `data` with other paths."""
    if isinstance(value, Mapping):
        return {key: _with_paths(each, paths) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_paths(each, paths) for each in value]
    return paths.get(value, value) if isinstance(value, str) else value


def files_of(run: RunFolder) -> dict[str, bytes]:
    """Return the content of a run folder that has a checkpoint; nothing of another."""
    run.require_box()
    if not run.last.exists():
        return {}
    return {path.name: read_whole(path) for path in run.files if path.is_file()}


def worker_check(digests: Mapping[str, str]) -> WorkerCheck:
    """Return the look at each worker of a cluster before it gets a run."""
    return WorkerCheck(f"{__name__}:{what_is_missing.__name__}", {"digests": dict(digests)})


class TrialWorkers:
    """Trains trials in run folders of a sweep, in `folder`/runs.

    Args:
        folder: the sweep folder.
        judge: called with trial, epoch and best value so far after each epoch of a judged trial.
        make_pool: makes the pool, given what answers its jobs' messages.
        digests: SHA-256 of each data file by its path, for a pool on a cluster; None if workers share the folder.
    """

    def __init__(
        self,
        folder: Path,
        judge: Callable[[Trial, int, float], Answer],
        make_pool: Callable[[Answerer], Pool],
        digests: Mapping[str, str] | None = None,
    ) -> None:
        self._runs, self._judge, self._digests = folder / "runs", judge, digests
        self._trials: dict[str, Trial] = {}
        self._attempts: Counter[str] = Counter()
        self._stopping = False
        self._threads = ThreadPoolExecutor(STORING)
        self._pool = make_pool(self._answer)

    def free(self) -> int:
        """Return how many more trials could start now."""
        return self._pool.free()

    def submit(self, trial: Trial) -> None:
        """Take a trial."""
        run = self._runs / trial.name
        self._trials[trial.name] = trial
        arguments: dict[str, Any] = {"trial": trial._asdict()}
        function: Callable[..., Any] = train_here
        if self._digests is None:
            arguments["folder"] = str(run)
        else:
            function = train_there
            with explained(run, CANNOT_READ):
                arguments |= {"files": files_of(RunFolder(run)), "digests": dict(self._digests)}
        name = f"{function.__module__}:{function.__name__}"
        self._pool.submit(Job(trial.name, name, arguments, asks=trial.point is not None))

    def wait(self, seconds: float) -> list[tuple[Trial, Outcome]]:
        """Return the trials that ended, waiting up to `seconds` for the first."""
        ended = []
        results = self._pool.wait(seconds)
        trials = [self._trials.pop(result.job.name) for result in results]
        for trial, outcome in zip(trials, self._threads.map(self._outcome, trials, results), strict=True):
            if outcome.status == "interrupted" and not self._stopping:
                self._attempts[trial.name] += 1
                if self._attempts[trial.name] < MAX_ATTEMPTS:
                    self.submit(trial)
                    continue
                outcome = Outcome("failed", f"interrupted {MAX_ATTEMPTS} times, last by a signal to its worker")
            ended.append((trial, outcome))
        return ended

    def stop(self) -> None:
        """Ask the running trials to stop at the end of their epoch."""
        self._stopping = True
        self._pool.stop()

    def close(self) -> None:
        """End all workers."""
        self._pool.close()
        self._threads.shutdown()

    def _answer(self, job: Job, message: Any) -> str:
        return self._judge(self._trials[job.name], message["epoch"], message["value"])

    def _outcome(self, trial: Trial, result: JobResult) -> Outcome:
        if result.stopped:
            return Outcome("interrupted")
        if result.error:
            return Outcome("failed", result.error)
        if self._digests is None:
            return Outcome(*result.value)
        outcome, files = result.value
        if files:
            self._store(trial, files)
        return Outcome(*outcome)

    def _store(self, trial: Trial, files: Mapping[str, bytes]) -> None:
        """Put a run folder that came back in its place."""
        run = self._runs / trial.name
        aside = run.with_name(f".{run.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        if run.exists():
            with explained(run, "cannot be replaced"):
                run.rename(aside)
        config = dump_config(config_from_dict(trial.config)).encode()  # with the paths of this machine
        create_run_folder_at({**files, "config.yaml": config}, run)
        shutil.rmtree(aside, ignore_errors=True)
