"""Worker processes on this machine: each trains one run at a time, and a dead one is replaced."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twolayer.sweep.journal import Outcome
from twolayer.sweep.trial import Answer, Task
from twolayer.utils.process import module_command, module_environment

MAX_ATTEMPTS = 3  # a run that was broken off so often has failed
STOP_SECONDS = 30.0  # to save the state of a run
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

TaskJudge = Callable[[Task, int, float], Answer]


class Workers(Protocol):
    """Whoever trains the runs."""

    @property
    def storage(self) -> Any:
        """Where Optuna's study is to be kept; None: in this process."""
        ...

    def free(self) -> int:
        """How many more tasks can be taken now."""
        ...

    def submit(self, task: Task) -> None:
        """Takes a task."""
        ...

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """The tasks that ended, waiting at most so long for one."""
        ...

    def stop(self) -> None:
        """Asks the running tasks to stop where their state is whole."""
        ...

    def close(self) -> None:
        """Ends all, at once."""
        ...


@dataclass
class _Process:
    """One worker."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    task: Task | None = None
    log: Path = field(default_factory=Path)


class LocalWorkers:
    """Processes with their BLAS threads limited before NumPy is loaded.

    Args:
        count: how many.
        threads: BLAS threads of each.
        folder: the sweep's folder; runs go into its `runs`, what a worker prints into `worker-N.log`.
        judge: asked after each epoch of a judged task.
    """

    def __init__(self, count: int, threads: int, folder: Path, judge: TaskJudge) -> None:
        self._folder, self._judge = folder, judge
        self._environment = module_environment() | dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._workers = [_Process(i + 1, log=folder / f"worker-{i + 1}.log") for i in range(count)]
        self._lines: queue.Queue[tuple[_Process, subprocess.Popen[bytes], bytes]] = queue.Queue()
        self._attempts: dict[str, int] = {}
        self._stopping = False
        self.storage = None

    def free(self) -> int:
        return sum(worker.task is None for worker in self._workers)

    def submit(self, task: Task) -> None:
        worker = next(worker for worker in self._workers if worker.task is None)
        worker.task = task
        if worker.process is None:
            self._start(worker)
        message = {"task": task.to_dict(), "folder": str(self._folder / "runs" / task.name)}
        self._send(worker, message)

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        ended: list[tuple[Task, Outcome]] = []
        with contextlib.suppress(queue.Empty):
            worker, process, line = self._lines.get(timeout=seconds)
            while True:
                if worker.process is process:  # not of one that died since
                    ended += self._heard(worker, line)
                worker, process, line = self._lines.get_nowait()
        return ended

    def stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.process is not None and worker.task is not None:
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

    def _start(self, worker: _Process) -> None:
        with worker.log.open("ab") as log:
            worker.process = subprocess.Popen(
                module_command("twolayer.sweep.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which passes it on
            )
        threading.Thread(target=self._read, args=(worker, worker.process), daemon=True).start()

    def _read(self, worker: _Process, process: subprocess.Popen[bytes]) -> None:
        """A thread for each process passes on what it writes; an empty line is its end."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._lines.put((worker, process, line))
        self._lines.put((worker, process, b""))

    def _heard(self, worker: _Process, line: bytes) -> list[tuple[Task, Outcome]]:
        """Answers a worker's line; the task that it ends, if it does."""
        if not line.endswith(b"\n"):
            return self._died(worker)
        message, task = json.loads(line), worker.task
        assert task is not None
        if "epoch" in message:
            answer: Answer = "stop" if self._stopping else "go"
            if task.point is not None and not self._stopping:
                answer = self._judge(task, message["epoch"], message["value"])
            self._send(worker, {"answer": answer})
            return []
        if message["status"] == "interrupted" and not self._stopping:
            return self._broken_off(worker, "a signal to stop")  # not of ours
        worker.task = None
        return [(task, Outcome(message["status"], message["reason"]))]

    def _send(self, worker: _Process, message: dict[str, Any]) -> None:
        assert worker.process is not None
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()
        except OSError:  # no BrokenPipeError on Windows
            pass  # it died: the end of its output tells

    def _died(self, worker: _Process) -> list[tuple[Task, Outcome]]:
        """Forgets a dead worker."""
        assert worker.process is not None
        code = worker.process.wait()
        self._forget(worker)
        return self._broken_off(worker, f"signal {-code}" if code < 0 else f"exit code {code}")

    def _broken_off(self, worker: _Process, how: str) -> list[tuple[Task, Outcome]]:
        """Tries a worker's task again, from its checkpoint, unless all is to stop or that happened too often."""
        task, worker.task = worker.task, None
        if task is None:
            return []
        if self._stopping:
            return [(task, Outcome("interrupted"))]
        self._attempts[task.name] = self._attempts.get(task.name, 0) + 1
        if self._attempts[task.name] < MAX_ATTEMPTS:
            self.submit(task)
            return []
        return [(task, Outcome("failed", f"broken off {MAX_ATTEMPTS} times, last by {how}; see {worker.log}"))]

    def _forget(self, worker: _Process) -> None:
        assert worker.process is not None
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):  # what was still to be written to a dead process
                worker.process.stdin.close()
        worker.process = None
        if worker.log.exists() and worker.log.stat().st_size == 0:
            worker.log.unlink()
