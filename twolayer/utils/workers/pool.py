"""What both kinds of pool share: a job, how it ended, the jobs that wait, and how often one is tried."""

import importlib
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twolayer.utils.errors import TwoLayerError

Ask = Callable[[Any], str]
"""On a worker: sends a message to the caller and returns its answer, `go`, `stop` or whatever else the caller says."""


@dataclass(frozen=True)
class Job:
    """A function call to make on a worker.

    Attributes:
        name: unique among the jobs of a pool.
        function: `package.module:function`, called as `function(ask, **arguments)`.
        arguments: plain data: JSON for a local pool, bytes as well for a cluster.
        asks: whether the messages of `ask` reach the caller; if not, the worker itself answers `go` or `stop`.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    asks: bool = False


@dataclass(frozen=True)
class JobResult:
    """How a job ended: with what its function returned, with an error, or stopped before there was a value."""

    job: Job
    value: Any = None
    error: str = ""
    stopped: bool = False


Answerer = Callable[[Job, Any], str]
"""At the caller: the answer to a job's message."""


class UnusableWorkerError(TwoLayerError):
    """The worker's machine cannot do the job (its disk is full, for example), and another one may."""


class JobStoppedError(TwoLayerError):
    """The job stopped before it had a value, because its caller or a signal asked for it."""


class Pool(ABC):
    """Takes jobs and returns their results in the order in which they end; `answer` answers the messages of jobs."""

    max_attempts = 3  # a job that was broken off this often has failed

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self._waiting: deque[Job] = deque()
        self._ended: list[JobResult] = []
        self._attempts: Counter[str] = Counter()
        self._stopping = False

    def free(self) -> int:
        """Return how many more jobs could start now."""
        return max(0, len(self._idle()) - len(self._waiting))

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._waiting.append(job)
        self._place()

    @abstractmethod
    def wait(self, seconds: float) -> list[JobResult]:
        """Return the jobs that ended, waiting up to `seconds` for the first; raise TwoLayerError if no worker can
        continue with the jobs."""

    def stop(self) -> None:
        """Ask the running jobs to stop soon; jobs that wait end as stopped."""
        self._stopping = True
        self._ended += [JobResult(job, stopped=True) for job in self._waiting]
        self._waiting.clear()

    @abstractmethod
    def close(self) -> None:
        """End all workers that the pool started and drop all jobs."""

    @abstractmethod
    def _idle(self) -> list[Any]:
        """Return the workers that a job could start on."""

    @abstractmethod
    def _start(self, worker: Any, job: Job) -> None:
        """Start a job on a worker."""

    def _place(self) -> None:
        for worker in self._idle()[: len(self._waiting)]:
            self._start(worker, self._waiting.popleft())

    def _reply(self, job: Job, message: Any) -> str:
        return "stop" if self._stopping else self._answer(job, message)

    def _end(self, job: Job, kind: str, value: Any) -> None:
        """Take what `call` returned of a job."""
        if kind == "stopped" and not self._stopping:
            self._broken_off(job, "by a signal to its worker")
        else:
            self._ended.append(JobResult(job, **{kind: value}))

    def _take_ended(self) -> list[JobResult]:
        ended, self._ended = self._ended, []
        return ended

    def _again(self, job: Job) -> None:
        """Put a job first in line, or end it when the pool is stopping."""
        if self._stopping:
            self._ended.append(JobResult(job, stopped=True))
        else:
            self._waiting.appendleft(job)

    def _broken_off(self, job: Job, how: str) -> bool:
        """Put a job first in line and return True, unless it was broken off too often."""
        self._attempts[job.name] += 1
        tried_again = self._stopping or self._attempts[job.name] < self.max_attempts
        if tried_again:
            self._again(job)
        else:
            self._ended.append(JobResult(job, error=f"broken off {self.max_attempts} times, last {how}"))
        return tried_again


def call(function: str, arguments: Mapping[str, Any], ask: Ask) -> tuple[str, Any]:
    """Make a job's call on a worker; return `value`, `error`, `stopped` or `unusable`, with the value or the reason."""
    module, _, name = function.partition(":")
    try:
        return "value", getattr(importlib.import_module(module), name)(ask, **arguments)
    except JobStoppedError:
        return "stopped", True
    except UnusableWorkerError as error:
        return "unusable", str(error)
    except MemoryError:
        return "error", "out of memory: smaller models, batches or files need less, as do fewer workers at a time"
    except TwoLayerError as error:
        return "error", str(error)
    except Exception as error:  # other jobs must not suffer from it
        return "error", f"{type(error).__name__}: {error}"
