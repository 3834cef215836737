"""One run of a sweep: trained from the start or resumed, in an ordinary run folder, judged after each epoch."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from twolayer.config import config_from_dict
from twolayer.network.model import Array
from twolayer.runs.checkpoint import read_arrays
from twolayer.runs.folder import RunFolder
from twolayer.runs.logs import logged_rows, read_history
from twolayer.sweep.journal import Outcome
from twolayer.utils.columns import larger_is_better
from twolayer.utils.errors import DivergedError, RunError, TwoLayerError
from twolayer.utils.files import CANNOT_READ, explained, leftovers, require_regular
from twolayer.utils.workers.pool import Ask, UnusableWorkerError

Answer = Literal["go", "prune", "stop"]
Judge = Callable[[int, float], Answer]
"""Called with an epoch and the best value of the monitored column so far."""

LOCK_SECONDS = 60.0  # a worker whose sweep was killed may take this long to end its run


class Trial(NamedTuple):
    """A run to train, as plain data that can be sent anywhere.

    Attributes:
        name: name of the run folder.
        config: all keys of its config.
        point: number of the point that a pruner judges by this run; None for a run that is not judged.
    """

    name: str
    config: dict[str, Any]
    point: int | None = None


def train_here(ask: Ask, trial: dict[str, Any], folder: str) -> Outcome:
    """Run a trial on a worker that shares the sweep folder."""
    return run_trial(Trial(**trial), Path(folder), judge_by(ask))


def judge_by(ask: Ask) -> Judge:
    """Return a judge that asks the caller."""

    def judge(epoch: int, value: float) -> Answer:
        answer = ask({"epoch": epoch, "value": value})
        return "prune" if answer == "prune" else "stop" if answer == "stop" else "go"

    return judge


def run_trial(trial: Trial, folder: Path, judge: Judge | None = None) -> Outcome:
    """Train, or resume the run in `folder`; anything that goes wrong with it is part of the outcome.

    Args:
        trial: what to train.
        folder: the run's own folder; it need not exist.
        judge: called after each epoch, and first for those of an earlier session.

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
