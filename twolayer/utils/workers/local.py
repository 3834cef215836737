"""A pool of processes on this machine: each runs one job at a time, and a dead one is replaced.

A process runs this module. It gets one JSON line for each job and each answer, and writes one for each message and each
result. When its pool ends, however it ends, the pipe closes; the process then stops its job and exits."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twolayer.utils import files
from twolayer.utils.blas import THREAD_VARIABLES
from twolayer.utils.files import explained
from twolayer.utils.process import module_command, module_environment
from twolayer.utils.workers.pool import Answerer, Ask, Job, JobResult, Pool, UnusableWorkerError, call

STOP_SECONDS = 30.0  # time for a job to save its state


@dataclass
class _Process:
    log: Path
    process: subprocess.Popen[bytes] | None = None
    job: Job | None = None


class LocalPool(Pool):
    """Processes whose BLAS threads are limited before NumPy is loaded.

    Args:
        count: number of processes; one starts with the first job that needs it.
        threads: BLAS threads of each.
        folder: what a process prints goes to `worker-N.log` in this folder.
        answer: answers the messages of jobs that ask.
    """

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
        worker.process = worker.process or self._open(worker)
        _send(worker.process.stdin, {**vars(job), "arguments": dict(job.arguments)})

    def _open(self, worker: _Process) -> subprocess.Popen[bytes]:
        with explained(worker.log), os.fdopen(files.disk.open(worker.log, os.O_APPEND), "ab") as log:
            process = subprocess.Popen(
                module_command(__name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # so that Ctrl-C reaches the pool's process alone
            )
        threading.Thread(target=self._read, args=(worker, process.stdout), daemon=True).start()
        return process

    def _read(self, worker: _Process, output: IO[bytes]) -> None:
        """Pass on what a process writes, in a thread; an empty line is its end, a last one without a line end is not
        passed on."""
        with output:
            for line in output:
                if line.endswith(b"\n"):
                    self._lines.put((worker, line))
        self._lines.put((worker, b""))

    def _hear(self, worker: _Process, line: bytes) -> None:
        """Handle a line of a worker: a message, a job's end, or the worker's."""
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
    threading.Thread(target=_receive, args=(lines,), daemon=True).start()
    ask = _ask(out, lines)
    while line := lines.get():
        job = json.loads(line)
        _send(out, dict([call(job["function"], job["arguments"], ask if job["asks"] else lambda message: "go")]))


def _receive(lines: queue.Queue[bytes]) -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    lines.put(b"")
    os.kill(os.getpid(), signal.SIGTERM)  # a training saves its state and stops; anything else ends at once


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
    main()
