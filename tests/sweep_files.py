"""A small base config and sweep file for the tests of sweeps, and a pool that runs its jobs in this process."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from twolayer.utils.workers.pool import Job, JobResult, UnusableWorkerError, call

BASE = """\
data:
  train: {generator: spiral, rows_per_class: 30}
  test: 0.2
  validation: 0.25
model: {hidden: 8}
solver: {epochs: 6, batch_size: 16}
run: {redraw_seconds: 1000}
"""
SPACE = """\
base: base.yaml
space:
  model.hidden: [4, 8]
  solver.learning_rate: {log_uniform: [0.01, 1.0]}
"""


def write_sweep(folder: Path, more: str = "trials: 3\n", *, space: str = SPACE, base: str = BASE) -> Path:
    """Writes base.yaml and sweep.yaml; returns the sweep file."""
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    path = folder / "sweep.yaml"
    path.write_text(space + more, encoding="utf-8")
    return path


class InProcessPool:
    """Runs a job when it is waited for, in place of the processes of a `LocalPool`."""

    def __init__(self, count: int, threads: int, folder: Path, answer: Any) -> None:
        self._count, self._answer = count, answer
        self._jobs: deque[Job] = deque()

    def free(self) -> int:
        return self._count - len(self._jobs)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[JobResult]:
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        kind, value = call(
            job.function, job.arguments, lambda message: self._answer(job, message) if job.asks else "go"
        )
        if kind == "unusable":
            raise UnusableWorkerError(value)
        return [JobResult(job, **{kind: value})]

    def stop(self) -> None:
        self._jobs.clear()

    def close(self) -> None:
        pass
