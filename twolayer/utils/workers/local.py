"""A pool of processes on this machine: each runs one job at a time, and a dead one is replaced."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twolayer.utils import files
from twolayer.utils.blas import THREAD_VARIABLES
from twolayer.utils.files import explained
from twolayer.utils.process import module_command, module_environment
from twolayer.utils.workers.pool import Answerer, Job, JobResult, UnusableWorkerError

MAX_ATTEMPTS = 3  # a job that was broken off this often has failed
STOP_SECONDS = 30.0  # time for a job to save its state


@dataclass
class _Process:
    number: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    job: Job | None = None


class LocalPool:
    """Processes whose BLAS threads are limited before NumPy is loaded.

    Args:
        count: number of processes; one starts with the first job that needs it.
        threads: BLAS threads of each.
        folder: what a process prints goes to `worker-N.log` in this folder.
        answer: answers the messages of jobs that ask.
    """

    def __init__(self, count: int, threads: int, folder: Path, answer: Answerer = lambda job, message: "go") -> None:
        self._answer = answer
        self._environment = module_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._workers = [_Process(i + 1, folder / f"worker-{i + 1}.log") for i in range(count)]
        self._lines: queue.Queue[tuple[_Process, subprocess.Popen[bytes], bytes]] = queue.Queue()
        self._waiting: deque[Job] = deque()
        self._attempts: dict[str, int] = {}
        self._stopping = False

    def free(self) -> int:
        return sum(worker.job is None for worker in self._workers) - len(self._waiting)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._place()

    def wait(self, seconds: float) -> list[JobResult]:
        ended: list[JobResult] = []
        with contextlib.suppress(queue.Empty):
            worker, process, line = self._lines.get(timeout=seconds)
            while True:
                if worker.process is process:  # and not one that died before
                    ended += self._heard(worker, line)
                worker, process, line = self._lines.get_nowait()
        if self._stopping:
            ended += [JobResult(job, stopped=True) for job in self._waiting]
            self._waiting.clear()
        self._place()
        return ended

    def stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.process is not None and worker.job is not None:
                worker.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for worker in self._workers:
            if worker.process is not None and worker.process.stdin is not None:
                with contextlib.suppress(OSError):
                    worker.process.stdin.close()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            if worker.process is not None:
                try:
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()
                self._forget(worker)

    def _place(self) -> None:
        """Start waiting jobs on idle workers."""
        for worker in self._workers:
            if self._waiting and worker.job is None and not self._stopping:
                worker.job = job = self._waiting.popleft()
                if worker.process is None:
                    self._start(worker)
                self._send(worker, {"function": job.function, "arguments": dict(job.arguments), "asks": job.asks})

    def _start(self, worker: _Process) -> None:
        with explained(worker.log), os.fdopen(files.disk.open_to_append(worker.log), "ab") as log:
            worker.process = subprocess.Popen(
                module_command("twolayer.utils.workers.process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # so that Ctrl-C reaches the pool's process alone
            )
        threading.Thread(target=self._read, args=(worker, worker.process), daemon=True).start()

    def _read(self, worker: _Process, process: subprocess.Popen[bytes]) -> None:
        """Pass on what a process writes, in a thread; an empty line is its end."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._lines.put((worker, process, line))
        self._lines.put((worker, process, b""))

    def _heard(self, worker: _Process, line: bytes) -> list[JobResult]:
        """Handle a worker's line; return the job that it ends, if any."""
        if not line.endswith(b"\n"):
            return self._died(worker)
        message, job = json.loads(line), worker.job
        assert job is not None
        if "message" in message:
            answer = "stop" if self._stopping else self._answer(job, message["message"])
            self._send(worker, {"answer": answer})
            return []
        worker.job = None
        if "unusable" in message:
            raise UnusableWorkerError(message["unusable"])
        return [JobResult(job, message.get("value"), message.get("error", ""))]

    def _send(self, worker: _Process, message: dict[str, Any]) -> None:
        assert worker.process is not None
        assert worker.process.stdin is not None
        with contextlib.suppress(OSError):  # the process died, as the end of its output will show
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()

    def _died(self, worker: _Process) -> list[JobResult]:
        """Put a dead worker's job in line again, unless the pool is stopping or that happened too often."""
        assert worker.process is not None
        code = worker.process.wait()
        self._forget(worker)
        job, worker.job = worker.job, None
        if job is None:
            return []
        if self._stopping:
            return [JobResult(job, stopped=True)]
        attempts = self._attempts[job.name] = self._attempts.get(job.name, 0) + 1
        if attempts < MAX_ATTEMPTS:
            self._waiting.appendleft(job)
            return []
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return [JobResult(job, error=f"broken off {MAX_ATTEMPTS} times, last by {how}; see {worker.log}")]

    def _forget(self, worker: _Process) -> None:
        assert worker.process is not None
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):  # data that was still to be written to a dead process
                worker.process.stdin.close()
        worker.process = None
        if worker.log.exists() and worker.log.stat().st_size == 0:
            worker.log.unlink()
