"""The race: every contestant in a process of its own, in turn A B C A B C, several rounds after a warm-up, medians.

Each turn begins with a pause, since the threads of a matrix product spin for a while after it, in case of another, and
would take the next contestant's cores; and with a pass that is not timed."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from benchmarks.cases import Case
from benchmarks.entries import FLOOR
from twolayer.utils.process import module_command, module_environment

PAUSE_SECONDS = 0.3  # Intel's OpenMP spins longest, 0.2 s
SECONDS = 0.2  # that a turn is timed: the first milliseconds after a pause are slower
AGREEMENT = 1e-3  # of losses, of which larger differences mean that it was not the same work


@dataclass(frozen=True)
class Result:
    """One contestant in one case.

    Attributes:
        shape: D-H-C-B.
        optimizer: `sgd` or `momentum`.
        contestant: its name.
        median_us: microseconds per step, the median over all timed passes.
        rounds_us: the median of each round, in which all contestants had their turn.
        loss: mean cross-entropy after the first few passes; None for the products alone, which train nothing.
        threads: that its products may use.
        same_work: whether the loss is that of plain NumPy.
    """

    shape: str
    contestant: str
    median_us: float
    loss: float | None
    optimizer: str
    threads: int
    same_work: bool
    rounds_us: tuple[float, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Contestant:
    """The parent's end of a process that answers a line with a line.

    Args:
        name: of the contestant.
        module: what the process runs.
        arguments: the module's.
        variables: of its environment, besides this process's.
    """

    def __init__(
        self, name: str, module: str, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            module_command(module, *arguments),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=module_environment() | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(variables),
        )  # fmt: skip
        self.pid = self._process.pid

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; {} if the process has died."""
        self.send(request)
        return self.receive()

    def send(self, request: dict[str, Any]) -> None:
        """Send a request whose answer is received later."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the answer to the last request sent; {} if the process has died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        return answer


def race(
    names: Sequence[str], cases: Sequence[Case], rounds: int, say: Callable[[str], None] = lambda _: None
) -> tuple[list[Result], list[str]]:
    """Runs all cases.

    Args:
        names: the contestants, keys of `entries.ENTRIES`.
        cases: what to run, one after the other.
        rounds: how often each contestant has its turn in a case.
        say: called as each case begins.

    Returns:
        (results, what was left out and why).
    """
    results: list[Result] = []
    left_out: list[str] = []
    with ExitStack() as stack:
        contestants = [stack.enter_context(Contestant(name, "benchmarks.worker", name)) for name in names]
        for case in cases:
            name = f"{case.shape} {case.optimizer}"
            say(f"{name}: {case.steps} steps a pass")
            request = {"shape": case.shape, "optimizer": case.optimizer}
            runners: dict[Contestant, dict[str, Any]] = {}
            for contestant in contestants:
                answer = contestant.ask(request)
                if "loss" in answer:
                    runners[contestant] = answer
                else:
                    reason = answer.get("reason", "its process died")
                    left_out.append(f"{contestant.name} at {name}: {reason}")
            found = _run_case(case, runners, rounds)
            died = {runner.name for runner in runners} - {result.contestant for result in found}
            left_out += [f"{contestant} at {name}: its process died" for contestant in sorted(died)]
            results += found
    return results, left_out


def _run_case(case: Case, runners: Mapping[Contestant, dict[str, Any]], rounds: int) -> list[Result]:
    times: dict[Contestant, list[list[float]]] = {runner: [] for runner in runners}
    for _ in range(rounds):
        for runner in runners:
            time.sleep(PAUSE_SECONDS)
            times[runner].append(runner.ask({"seconds": SECONDS}).get("us", []))
    losses = {runner.name: answer["loss"] for runner, answer in runners.items() if runner.name != FLOOR}
    expected = losses.get("plain NumPy", next(iter(losses.values()), 0.0))
    return [
        Result(
            shape=str(case.shape),
            contestant=runner.name,
            median_us=statistics.median(us for each in times[runner] for us in each),
            loss=losses.get(runner.name),
            optimizer=case.optimizer,
            threads=answer["threads"],
            same_work=runner.name == FLOOR or abs(losses[runner.name] - expected) <= AGREEMENT,
            rounds_us=tuple(statistics.median(each) for each in times[runner]),
        )
        for runner, answer in runners.items()
        if all(times[runner])
    ]
