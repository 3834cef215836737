"""Steady speed: steps per second with one thread against the default, beside other work."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.cases import Shape
from benchmarks.race import Contestant

SHAPES = (Shape(64, 32, 10, 64), Shape(784, 128, 10, 128), Shape(3072, 500, 10, 200))
SITUATIONS = ("0 busy", "1 busy", "2 busy", "4 busy", "two trainings", "pinned", "quota of 1")
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TURNS, SECONDS = 3, 0.5
QUOTAS = (("/sys/fs/cgroup", "cpu.max", "100000 100000"), ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000"))


class Steadiness(NamedTuple):
    """One network in one situation: steps per second, the median of all turns, and of the ratios turn by turn."""

    contestant: str
    shape: str
    situation: str
    one_thread: float
    default: float
    ratio: float


def measure_busy(
    names: Sequence[str], shapes: Sequence[Shape], say: Callable[[str], None] = lambda _: None
) -> tuple[list[Steadiness], list[str]]:
    """Measure the contestants with one thread and with the default number, in turn, in all situations.

    Returns:
        (results, what was left out and why).
    """
    results, left_out = [], []
    for name in names:
        for shape in shapes:
            for situation in SITUATIONS:
                say(f"{name} {shape}: {situation}")
                with ExitStack() as stack:
                    try:
                        one, default = ([stack.enter_context(each) for each in _pair(name, limit, situation)]
                                        for limit in (ONE_THREAD, {}))  # fmt: skip
                        for each in (*one, *default):
                            each.ask({"shape": shape, "optimizer": "momentum"})
                        stack.enter_context(_situation(situation, [each.pid for each in (*one, *default)]))
                    except OSError as error:
                        left_out.append(f"{name} {shape}: {situation}: {error}")
                        continue
                    turns = [(_steps_per_second(one), _steps_per_second(default)) for _ in range(TURNS)]
                results.append(
                    Steadiness(
                        name, str(shape), situation, *(statistics.median(each) for each in zip(*turns, strict=True)),
                        statistics.median(default / one for one, default in turns),
                    )
                )  # fmt: skip
    return results, left_out


def _pair(name: str, limit: dict[str, str], situation: str) -> list[Contestant]:
    """The contestant's process, and its twin where two trainings run at once."""
    number = 2 if situation == "two trainings" else 1
    return [Contestant(name, "benchmarks.worker", name, variables=limit) for _ in range(number)]


def _steps_per_second(contestants: Sequence[Contestant]) -> float:
    """Let all of them train at the same time. Returns the mean of their rates."""
    for each in contestants:
        each.send({"seconds": SECONDS})
    times = [each.receive().get("us", [math.inf]) for each in contestants]
    return statistics.mean(1e6 / statistics.mean(each) for each in times)


@contextmanager
def _situation(situation: str, processes: Sequence[int]) -> Iterator[None]:
    """Make the situation for these processes while it is entered.

    Raises:
        OSError: if the system does not allow it.
    """
    number, _, kind = situation.partition(" ")
    if kind == "busy":
        spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(int(number))]
        try:
            yield
        finally:
            for each in spinning:
                each.kill()
                each.wait()
    elif situation == "pinned":
        for process in processes:
            for thread in Path(f"/proc/{process}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {min(os.sched_getaffinity(0))})
        yield
    elif kind == "of 1":
        with _quota(processes):
            yield
    else:
        yield


@contextmanager
def _quota(processes: Sequence[int]) -> Iterator[None]:
    """Put each process into a control group of its own with one processor's time (Linux, as root)."""
    folders = []
    try:
        for root, file, quota in QUOTAS:
            if Path(root, file).exists() or (file == "cpu.max" and "cpu" in _controllers(Path(root))):
                for process in processes:
                    folders.append(Path(root, f"benchmark-{process}"))
                    folders[-1].mkdir()
                    (folders[-1] / file).write_text(quota)
                    (folders[-1] / "cgroup.procs").write_text(str(process))
                break
        else:
            raise OSError("no control group for processor time can be made here")
        yield
    finally:
        for folder, process in zip(folders, processes, strict=False):
            with suppress(OSError):
                (folder.parent / "cgroup.procs").write_text(str(process))
            time.sleep(0.01)
            with suppress(OSError):
                folder.rmdir()


def _controllers(root: Path) -> list[str]:
    with suppress(OSError):
        return (root / "cgroup.subtree_control").read_text().split()
    return []


def busy_table(results: Sequence[Steadiness]) -> list[list[str]]:
    """Return the rows of a table: for each network `one thread / default = ratio` in each situation."""
    cells = {(r.contestant, r.shape, r.situation): r for r in results}
    rows = [["contestant", "D-H-C-batch", *SITUATIONS]]
    for contestant, shape in dict.fromkeys((r.contestant, r.shape) for r in results):
        found = [cells.get((contestant, shape, situation)) for situation in SITUATIONS]
        rows.append(
            [contestant, shape, *(f"{r.one_thread:,.0f}/{r.default:,.0f} {r.ratio:.2f}" if r else "-" for r in found)]
        )
    return rows
