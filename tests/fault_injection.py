"""Disks that fail, or kill the process, at the k-th operation: what the tests put in the place of `disk.disk`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.full_disk import FullDisk, InterceptedDisk, using_disk
from twolayer.utils.errors import RunError


class KillingDisk(InterceptedDisk):
    """Kills the process at operation `fail_at`."""

    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def start_python(program: str) -> subprocess.Popen[str]:
    """Start a process with `program`, which may import twolayer and this module."""
    here = Path(__file__).resolve().parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", program], env=environment, text=True, **pipes)


def run_python(program: str) -> str:
    """What `program` prints, run in a process of its own that must succeed."""
    process = start_python(program)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    return printed


# For programs of `run_python`: runs `attempt(k)` for k = 1, 2, ... in a child that is killed at its k-th operation on
# the disk, and `check(k)` after it, until a child gets through; prints the number of kills.
KILL_AT_EVERY_OPERATION = """
import os, signal
from fault_injection import KillingDisk, using_disk
def kill_at_every_operation(attempt, check):
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            with using_disk(KillingDisk(kills + 1)):
                attempt(kills + 1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        check(kills + 1)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        kills += 1
    print(kills)
"""


def full_at_every_operation(action: Callable[[int], object]) -> Iterator[tuple[int, RunError]]:
    """Run `action(k)` for k = 1, 2, ... on a disk that is full from operation k on, until it succeeds.

    Yields:
        k and the RunError that the action ended with, after each failure.
    """
    fail_at = 1
    while True:
        with using_disk(FullDisk(fail_at)):
            try:
                action(fail_at)
                return
            except RunError as error:
                failure = error
        yield fail_at, failure
        fail_at += 1
