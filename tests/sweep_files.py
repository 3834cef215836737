"""A small base config and sweep file for the tests of sweeps, and workers that train in this process."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from twolayer.sweep.journal import Outcome
from twolayer.sweep.trial import Task, run_task

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


class InProcessWorkers:
    """Trains a task when somebody waits for it."""

    def __init__(self, count: int, threads: int, folder: Path, judge: Any) -> None:
        self.storage = None
        self._count, self._folder, self._judge = count, folder, judge
        self._tasks: deque[Task] = deque()

    def free(self) -> int:
        return self._count - len(self._tasks)

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        task = self._tasks.popleft()
        judge = None if task.point is None else lambda epoch, value: self._judge(task, epoch, value)
        return [(task, run_task(task, self._folder / "runs" / task.name, judge))]

    def stop(self) -> None:
        self._tasks.clear()

    def close(self) -> None:
        pass
