"""A sweep's worker: what it does when nobody is left to talk to."""

from __future__ import annotations

import io
import queue

import pytest

pytest.importorskip("optuna")

from twolayer.sweep.worker import _judge


def test_a_worker_whose_sweep_has_died_while_it_trained_still_sees_the_end():
    lines: queue.Queue[str | None] = queue.Queue()
    lines.put(None)
    assert _judge(io.StringIO(), lines)(1, 0.5) == "stop"
    assert lines.get(timeout=1) is None
