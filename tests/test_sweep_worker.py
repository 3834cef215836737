"""A sweep's worker, and what it and the sweep do when nobody is left to talk to."""

from __future__ import annotations

import errno
import io
import queue
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna")

from twolayer.sweep.local import LocalWorkers
from twolayer.sweep.trial import Task
from twolayer.sweep.worker import _judge, _send


def test_a_worker_whose_sweep_has_died_while_it_trained_still_sees_the_end():
    lines: queue.Queue[str | None] = queue.Queue()
    lines.put(None)
    assert _judge(io.StringIO(), lines)(1, 0.5) == "stop"
    assert lines.get(timeout=1) is None


class BrokenPipe:
    """The writing end of a pipe that nobody reads any more."""

    def __init__(self, number):
        self._number = number

    def write(self, text):
        raise OSError(self._number, "nobody reads")

    def close(self):
        self.write("")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL], ids=["POSIX", "Windows"])
def test_a_broken_pipe_is_no_fault_whatever_the_system_calls_it(tmp_path, number):
    _send(BrokenPipe(number), {})
    workers = LocalWorkers(1, 1, tmp_path, lambda task, epoch, value: "go")
    workers._workers[0].process = SimpleNamespace(stdin=BrokenPipe(number), wait=lambda *seconds: 1)
    workers.submit(Task("run", {}))
    workers.close()
