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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twolayer.utils import files
from twolayer.utils.blas import THREAD_VARIABLES
from twolayer.utils.files import explained
from twolayer.utils.process import module_command, module_environment
from twolayer.utils.workers.pool import Answerer, Job, JobResult, Pool, UnusableWorkerError

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
        self._lines: queue.Queue[tuple[_Process, subprocess.Popen[bytes], bytes]] = queue.Queue()

    def free(self) -> int:
        return sum(worker.job is None for worker in self._workers) - len(self._waiting)

    def wait(self, seconds: float) -> list[JobResult]:
        with contextlib.suppress(queue.Empty):
            worker, process, line = self._lines.get(timeout=0 if self._ended else seconds)
            while True:
                if worker.process is process:  # and not one that died before
                    self._hear(worker, process, line)
                worker, process, line = self._lines.get_nowait()
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

    def _place(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.job is None:
                worker.job = job = self._waiting.popleft()
                process = worker.process or self._start(worker)
                _send(process, {"function": job.function, "arguments": dict(job.arguments), "asks": job.asks})

    def _start(self, worker: _Process) -> subprocess.Popen[bytes]:
        with explained(worker.log), os.fdopen(files.disk.open_to_append(worker.log), "ab") as log:
            process = worker.process = subprocess.Popen(
                module_command("twolayer.utils.workers.process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # so that Ctrl-C reaches the pool's process alone
            )
        threading.Thread(target=self._read, args=(worker, process), daemon=True).start()
        return process

    def _read(self, worker: _Process, process: subprocess.Popen[bytes]) -> None:
        """Pass on what a process writes, in a thread; an empty line is its end."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._lines.put((worker, process, line))
        self._lines.put((worker, process, b""))

    def _hear(self, worker: _Process, process: subprocess.Popen[bytes], line: bytes) -> None:
        """Handle a line of a worker: a message or a job's end; one without a line end is the last of a dead worker."""
        job = worker.job
        if not line.endswith(b"\n"):
            code = process.wait()
            self._forget(worker)
            worker.job = None
            if job is not None:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                self._broken_off(job, f"by {how}; see {worker.log}")
            return
        assert job is not None
        message = json.loads(line)
        if "message" in message:
            _send(process, {"answer": self._reply(job, message["message"])})
            return
        worker.job = None
        if "unusable" in message:
            raise UnusableWorkerError(message["unusable"])
        self._ended.append(JobResult(job, message.get("value"), message.get("error", "")))

    def _forget(self, worker: _Process) -> None:
        _close_input(worker.process)
        worker.process = None
        if worker.log.exists() and worker.log.stat().st_size == 0:
            worker.log.unlink()


# Writing to a dead process, or closing with data that it has not read, fails; `_hear` sees the end of its output.


def _send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _close_input(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
