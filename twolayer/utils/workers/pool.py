"""What both kinds of pool share: a job, how it ended, and the interface of a pool."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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
    """How a job ended.

    Attributes:
        job: the job.
        value: what its function returned.
        error: why there is no value, or "".
        stopped: whether the pool was stopped before there was a value.
    """

    job: Job
    value: Any = None
    error: str = ""
    stopped: bool = False


Answerer = Callable[[Job, Any], str]
"""At the caller: the answer to a job's message."""


class UnusableWorkerError(TwoLayerError):
    """The worker's machine cannot do the job (its disk is full, for example), and another one may."""


class Pool(Protocol):
    """Takes jobs and returns their results in the order in which they end."""

    def free(self) -> int:
        """Return how many more jobs could start now."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job."""
        ...

    def wait(self, seconds: float) -> list[JobResult]:
        """Return the jobs that ended, waiting up to `seconds` for the first.

        Raises:
            TwoLayerError: if no worker can continue with the jobs.
        """
        ...

    def stop(self) -> None:
        """Ask the running jobs to stop soon; jobs that wait end as stopped."""
        ...

    def close(self) -> None:
        """End all workers that the pool started and drop all jobs."""
        ...


def call(function: str, arguments: Mapping[str, Any], ask: Ask) -> tuple[str, Any]:
    """Make a job's call on a worker; return `value`, `error` or `unusable`, with the value or the reason."""
    module, _, name = function.partition(":")
    try:
        return "value", getattr(importlib.import_module(module), name)(ask, **arguments)
    except UnusableWorkerError as error:
        return "unusable", str(error)
    except MemoryError:
        return "error", "out of memory"
    except TwoLayerError as error:
        return "error", str(error)
    except Exception as error:  # other jobs must not suffer from it
        return "error", f"{type(error).__name__}: {error}"
