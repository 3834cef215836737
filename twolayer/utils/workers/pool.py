"""Pools: what all of them share (a job, how it ended, the jobs that wait, how often one is tried), and the pool of
processes on this machine, of which each runs one job at a time and a dead one is replaced.

A process runs this module. It gets one JSON line for each job and each answer, and writes one for each message and each
result. When its pool ends, however it ends, the pipe closes; the process then stops its job and exits."""

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twolayer.utils import files
from twolayer.utils.blas import THREAD_VARIABLES
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.process import module_command, module_environment

STOP_SECONDS = 30.0  # time for a job to save its state

# On a worker: sends a message to the caller and returns its answer, `go`, `stop` or whatever else the caller says.
Ask = Callable[[Any], str]


@dataclass(frozen=True)
class Job:
    """A function call to make on a worker."""

    name: str  # unique among the jobs of a pool
    function: str  # `package.module:function`, called as `function(ask, **arguments)`
    arguments: Mapping[str, Any]  # plain data: JSON for a local pool, bytes as well for a cluster
    asks: bool = False  # whether the messages of `ask` reach the caller; if not, the worker answers `go` or `stop`


@dataclass(frozen=True)
class JobResult:
    """How a job ended: with what its function returned, with an error, or stopped before there was a value."""

    job: Job
    value: Any = None
    error: str = ""
    stopped: bool = False


Answerer = Callable[[Job, Any], str]  # at the caller: the answer to a job's message


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
        if kind == "stopped" and not self._stopping:
            self._broken_off(job, "by a signal to its worker")
        else:
            self._ended.append(JobResult(job, **{kind: value}))

    def _take_ended(self) -> list[JobResult]:
        ended, self._ended = self._ended, []
        return ended

    def _again(self, job: Job) -> None:
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


@dataclass
class _Process:
    log: Path
    process: subprocess.Popen[bytes] | None = None
    job: Job | None = None


class LocalPool(Pool):
    """At most `count` processes, whose BLAS `threads` are limited before NumPy is loaded, each started with the first
    job that needs it; what one prints goes to `worker-N.log` in `folder`."""

    def __init__(self, count: int, threads: int, folder: Path, answer: Answerer = lambda job, message: "go") -> None:
        super().__init__(answer)
        self._environment = module_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._workers = [_Process(folder / f"worker-{i + 1}.log") for i in range(count)]
        self._lines: queue.Queue[tuple[_Process, bytes]] = queue.Queue()

    def wait(self, seconds: float) -> list[JobResult]:
        with contextlib.suppress(queue.Empty):
            line = self._lines.get(timeout=0 if self._ended else seconds)
            while True:
                self._hear(*line)
                line = self._lines.get_nowait()
        self._place()
        return self._take_ended()

    def stop(self) -> None:
        super().stop()
        for worker in self._workers:
            if worker.process is not None and worker.job is not None:
                worker.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        running = [worker for worker in self._workers if worker.process is not None]
        for worker in running:
            _close_input(worker.process)
        deadline = time.monotonic() + STOP_SECONDS
        for worker in running:
            assert worker.process is not None
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._forget(worker)

    def _idle(self) -> list[_Process]:
        return [worker for worker in self._workers if worker.job is None]

    def _start(self, worker: _Process, job: Job) -> None:
        worker.job = job
        if worker.process is None:
            with files.explained(worker.log), os.fdopen(files.disk.open(worker.log, os.O_APPEND), "ab") as log:
                worker.process = subprocess.Popen(
                    module_command("twolayer.utils.workers.pool"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,  # so that Ctrl-C reaches the pool's process alone
                )
            threading.Thread(target=self._read, args=(worker, worker.process.stdout), daemon=True).start()
        _send(worker.process.stdin, {**vars(job), "arguments": dict(job.arguments)})

    def _read(self, worker: _Process, output: IO[bytes]) -> None:
        """Pass on what a process writes, in a thread; an empty line is its end, a last one without a line end is not
        passed on."""
        with output:
            for line in output:
                if line.endswith(b"\n"):
                    self._lines.put((worker, line))
        self._lines.put((worker, b""))

    def _hear(self, worker: _Process, line: bytes) -> None:
        process, job = worker.process, worker.job
        assert process is not None
        if not line:
            code = process.wait()
            self._forget(worker)
            worker.job = None
            if job is not None:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                self._broken_off(job, f"by {how}; see {worker.log}")
            return
        assert job is not None
        ((kind, value),) = json.loads(line).items()
        if kind == "message":
            _send(process.stdin, {"answer": self._reply(job, value)})
            return
        worker.job = None
        if kind == "unusable":
            raise UnusableWorkerError(value)
        self._end(job, kind, value)

    def _forget(self, worker: _Process) -> None:
        _close_input(worker.process)
        worker.process = None
        if worker.log.exists() and worker.log.stat().st_size == 0:
            worker.log.unlink()


def main() -> None:
    """Serve jobs until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a job prints goes to standard error, which is the worker's log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool receives Ctrl-C and passes it on as SIGTERM
    lines: queue.Queue[bytes] = queue.Queue()

    def receive() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        lines.put(b"")
        os.kill(os.getpid(), signal.SIGTERM)  # a training saves its state and stops; anything else ends at once

    threading.Thread(target=receive, daemon=True).start()
    ask = _ask(out, lines)
    while line := lines.get():
        job = json.loads(line)
        _send(out, dict([call(job["function"], job["arguments"], ask if job["asks"] else lambda message: "go")]))


def _ask(out: IO[bytes], lines: queue.Queue[bytes]) -> Ask:
    def ask(message: Any) -> str:
        _send(out, {"message": message})
        line = lines.get()
        if not line:
            lines.put(line)  # `main` needs to see the end as well
            return "stop"
        return str(json.loads(line)["answer"])

    return ask


# Writing to a process that is gone, or closing with data that it has not read, fails; its end is seen elsewhere: by the
# pool as the end of its output, by a worker as the end of its input. (Windows has no BrokenPipeError.)


def _send(pipe: IO[bytes] | None, message: dict[str, Any]) -> None:
    assert pipe is not None
    with contextlib.suppress(OSError):
        pipe.write(json.dumps(message).encode() + b"\n")
        pipe.flush()


def _close_input(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


if __name__ == "__main__":
    importlib.import_module("twolayer.utils.workers.pool").main()  # whose errors are those that jobs raise
