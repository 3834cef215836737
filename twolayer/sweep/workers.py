"""Who trains the runs of a sweep: the workers of a pool, on this machine or on a cluster.

On a cluster a run folder travels: what an interrupted run left here goes to the worker, and what the worker made comes
back, whole. Data files do not: each worker reads its own, which must have the same bytes."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from twolayer.config import config_from_dict, dump_config
from twolayer.runs.folder import RunFolder, create_run_folder_at
from twolayer.sweep.journal import Outcome, require_data
from twolayer.sweep.trial import Answer, Trial, judge_by, run_trial, train_here
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import CANNOT_READ, explained
from twolayer.utils.workers.cluster import WorkerCheck
from twolayer.utils.workers.pool import Answerer, Ask, Job, JobResult, Pool, UnusableWorkerError

DATA_VARIABLE = "TWOLAYER_DATA"
MAX_ATTEMPTS = 3  # a run that was interrupted this often, though the sweep was not, has failed
STORING = 32  # run folders from a cluster that are written at a time: flushes side by side cost the disk little more
FILES = ("config.yaml", "environment.json", "best.npz", "last.npz", "history.csv", "steps.csv")
RESULTS = ("predictions.npz", "summary.json", "loss_curve.png")

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
    """Run a trial on a worker of a cluster, in a temporary folder.

    Args:
        ask: reaches the judge.
        trial: fields of the Trial.
        files: content of the interrupted run folder, if there is one.
        digests: SHA-256 of each data file by its path on the caller's machine.

    Returns:
        The outcome and the files of the run folder.

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
    paths = [run.path / name for name in (*FILES, *RESULTS)]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def worker_check(digests: Mapping[str, str]) -> WorkerCheck:
    """Return the look at each worker of a cluster before it gets a run."""
    return WorkerCheck(f"{__name__}:{what_is_missing.__name__}", {"digests": dict(digests)})


class TrialWorkers:
    """Trains trials in run folders of a sweep.

    Args:
        folder: the sweep folder; runs go into its `runs`.
        judge: called with trial, epoch and best value so far after each epoch of a judged trial.
        make_pool: makes the pool, given what answers its jobs' messages.
        digests: SHA-256 of each data file by its path, for a pool on a cluster; None if workers share this folder.
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
