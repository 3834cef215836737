"""A pool on a Dask cluster that the user runs. We place one job at a time on each worker ourselves, so that a dead
worker costs the job it was running and no other, and a worker that does not fit the task gets none.

Everything that must not be lost is in the caller's process. So the scheduler may die and come back: the caller connects
again and starts the jobs again that had not ended."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from twolayer.utils.blas import at_most_threads
from twolayer.utils.errors import TwoLayerError, import_extra
from twolayer.utils.version import __version__
from twolayer.utils.workers.pool import Answerer, Ask, Job, JobResult, call

MAX_ATTEMPTS = 5  # a job that was broken off this often has failed
CONNECT_SECONDS = 20.0
ANSWER_SECONDS = 5.0  # a scheduler that takes longer to answer is reported
LOOK_SECONDS = 1.0  # between two looks at the list of workers
WAIT_SECONDS = 600.0  # without a scheduler, or without a usable worker, before giving up


class ClusterAddress(NamedTuple):
    """Where a scheduler is and how to talk to it.

    Attributes:
        address: such as `tcp://host:8786`, or `tls://host:8786`.
        tls_ca_file, tls_cert, tls_key: PEM files as Dask takes them; None: Dask's own configuration.
    """

    address: str
    tls_ca_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


class WorkerCheck(NamedTuple):
    """A look at each worker before it gets a job: `function(ask, **arguments)` returns why it cannot be used, or ""."""

    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class _Worker:
    """A worker of the cluster; `usable` is None until its check has ended."""

    host: str
    usable: bool | None
    check: Any = None


@dataclass
class _Running:
    job: Job
    worker: str
    future: Any
    answers: Any = None  # the queue of a job that asks


def check_on_worker(version: str, check: WorkerCheck | None) -> tuple[str, str]:
    """Run on a worker: return its host and why it cannot be used, or ""."""
    host = socket.gethostname()
    if version != __version__:
        return host, f"twolayer {__version__} there, {version} here"
    return host, "" if check is None else str(call(check.function, check.arguments, lambda message: "go")[1])


_stopped_pools: set[str] = set()  # on a worker: the pools whose jobs are to stop


def run_on_worker(pool: str, job: Mapping[str, Any], threads: int) -> tuple[str, Any]:
    """Run a job on a worker; see `pool.call`."""
    with at_most_threads(threads):
        return call(job["function"], job["arguments"], _ask(pool, job["asks"]))


def _ask(pool: str, reaches_caller: bool) -> Ask:
    distributed = import_extra("distributed", "cluster", "a worker")
    worker = distributed.get_worker()
    key = worker.get_current_task()
    answers = distributed.Queue(key, client=distributed.get_client()) if reaches_caller else None

    def stopping() -> bool:
        task = worker.state.tasks.get(key)  # cancelled once the caller's process is gone
        return pool in _stopped_pools or task is None or task.state == "cancelled"

    def ask(message: Any) -> str:
        if answers is not None and not stopping():
            worker.log_event(pool, {"key": key, "message": message})
        while not stopping():
            if answers is None:
                return "go"
            with contextlib.suppress(TimeoutError):
                return str(answers.get(timeout=LOOK_SECONDS))
        return "stop"

    return ask


def _stop_pool(pool: str) -> None:
    _stopped_pools.add(pool)


class ClusterPool:
    """The workers of a Dask scheduler.

    Args:
        cluster: the scheduler.
        check: decides whether a worker can be used; None: those with the caller's version of twolayer can.
        threads: BLAS threads of each job, where NumPy's BLAS is OpenBLAS; else those the worker was started with.
        say: called with one line when workers join, leave or cannot be used, and when the scheduler is lost.
        answer: answers the messages of jobs that ask.

    Raises:
        MissingExtraError: without the extra `cluster`.
        TwoLayerError: if no scheduler answers.
    """

    def __init__(
        self,
        cluster: ClusterAddress,
        check: WorkerCheck | None,
        threads: int,
        say: Callable[[str], None],
        answer: Answerer = lambda job, message: "go",
    ) -> None:
        self._distributed = import_extra("distributed", "cluster", "--scheduler")
        for logger in ("distributed", "distributed.client"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # `say` reports what happens, without tracebacks
        self._cluster, self._check, self._threads = cluster, check, threads
        self._say, self._answer = say, answer
        self._name = f"twolayer-{os.getpid()}-{time.time_ns():x}"  # unique on the scheduler
        self._workers: dict[str, _Worker] = {}
        self._running: dict[str, _Running] = {}  # by key
        self._waiting: deque[Job] = deque()
        self._ended: list[JobResult] = []
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._attempts: Counter[str] = Counter()
        self._n_calls = 0
        self._stopping = self._silent = False
        self._looked_at, self._lost_at = -1e9, 0.0
        self._usable_at = time.monotonic()
        self._client: Any = None
        try:
            self._connect(CONNECT_SECONDS)
        except Exception as error:  # OSError, ValueError of a wrong address, or what TLS and Dask's configuration raise
            raise TwoLayerError(
                f"--scheduler {cluster.address}: no Dask scheduler answers ({error}); start one with: dask scheduler"
            ) from None
        self._look()

    def free(self) -> int:
        self._look()
        return max(0, len(self._idle()) - len(self._waiting))

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._place()

    def wait(self, seconds: float) -> list[JobResult]:
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            self._place()
            self._answer_messages()
            self._take_done()
            if self._ended or time.monotonic() > deadline:
                ended, self._ended = self._ended, []
                return ended

    def stop(self) -> None:
        self._stopping = True
        self._ended += [JobResult(job, stopped=True) for job in self._waiting]
        self._waiting.clear()
        busy = [each.worker for each in self._running.values()]
        if busy and self._client is not None:
            with contextlib.suppress(Exception):  # an unreachable worker's job is dropped when the pool is closed
                self._client.sync(
                    self._client._run, _stop_pool, self._name, workers=busy, callback_timeout=ANSWER_SECONDS
                )

    def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):  # the scheduler may be gone, then nothing is left to close
                self._client.close(timeout=ANSWER_SECONDS)
            self._client = None

    def _connect(self, timeout: float) -> None:
        security = None
        if self._cluster.tls_ca_file is not None:
            security = self._distributed.Security(
                tls_ca_file=self._cluster.tls_ca_file,
                tls_client_cert=self._cluster.tls_cert,
                tls_client_key=self._cluster.tls_key,
                require_encryption=True,
            )
        self._client = self._distributed.Client(
            self._cluster.address, timeout=timeout, set_as_default=False, security=security
        )
        self._client.subscribe_topic(self._name, lambda event: self._messages.put(event[1]))

    def _idle(self) -> list[str]:
        busy = {each.worker for each in self._running.values()}
        return [address for address, worker in self._workers.items() if worker.usable and address not in busy]

    def _place(self) -> None:
        if not self._waiting or self._client is None:
            return
        for address in self._idle()[: len(self._waiting)]:
            job = self._waiting.popleft()
            try:
                future = self._submit(address, run_on_worker, self._name, dict(vars(job)), self._threads)
            except (RuntimeError, OSError):  # the connection was lost just now, as the next look will see
                self._waiting.appendleft(job)
                return
            self._running[future.key] = _Running(job, address, future)

    def _submit(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start a call on one worker; return Dask's future."""
        self._n_calls += 1
        key = f"{self._name}-{self._n_calls}"
        return self._client.submit(
            function, *arguments, key=key, workers=[address], allow_other_workers=False, pure=False
        )

    def _answer_messages(self) -> None:
        """Answer what jobs ask, waiting a moment for the first message."""
        with contextlib.suppress(queue.Empty):
            message = self._messages.get(timeout=0.02)
            while True:
                each = self._running.get(message["key"])
                if each is not None and self._client is not None:
                    answer = "stop" if self._stopping else self._answer(each.job, message["message"])
                    each.answers = each.answers or self._distributed.Queue(message["key"], client=self._client)
                    with contextlib.suppress(TimeoutError, OSError):  # a lost connection is seen at the next look
                        each.answers.put(answer, timeout=ANSWER_SECONDS)
                message = self._messages.get_nowait()

    def _look(self) -> None:
        """Find out, once a second, which workers came and which are gone."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS and self._is_connected():
            return
        self._looked_at = now
        if not self._is_connected() and not self._reconnect(now):
            return
        try:
            present = set(self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER_SECONDS))
        except (TimeoutError, OSError, AttributeError):  # AttributeError: the connection was lost meanwhile
            if not self._silent:
                self._say(f"the scheduler {self._cluster.address} does not answer; waiting for it")
            self._silent = True
            return
        if self._silent:
            self._say(f"the scheduler {self._cluster.address} answers again")
            self._silent = False
        self._drop_workers(self._workers.keys() - present)
        self._take_checks()
        for address in sorted(present - self._workers.keys()):
            self._workers[address] = _Worker("", None, self._submit(address, check_on_worker, __version__, self._check))
        self._require_workers(now)

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _reconnect(self, now: float) -> bool:
        """Drop the lost connection and try to connect again; return whether that worked."""
        if self._client is not None:
            self._say(f"connection to the scheduler {self._cluster.address} lost; trying to connect again")
            self.close()
            self._lost_at = now
            for each in reversed(self._running.values()):  # no attempt is counted: the jobs did nothing wrong
                self._again(each.job)
            self._running.clear()
            self._workers.clear()
        try:
            self._connect(ANSWER_SECONDS)
        except Exception:  # as when it was first made
            self.close()
            if now - self._lost_at > WAIT_SECONDS:
                raise TwoLayerError(
                    f"no scheduler at {self._cluster.address} for {WAIT_SECONDS:.0f} s; start one (dask scheduler), "
                    "then run the same command again, which continues where this one stopped"
                ) from None
            return False
        self._say(f"connected to the scheduler {self._cluster.address} again")
        self._usable_at = now
        return True

    def _drop_workers(self, gone: set[str]) -> None:
        for address in gone:
            host = self._workers.pop(address).host
            for key in [key for key, each in self._running.items() if each.worker == address]:
                if not self._running[key].future.done():
                    each = self._running.pop(key)
                    each.future.cancel()
                    self._broken_off(each, f"worker {address} on {host} is gone")

    def _take_checks(self) -> None:
        """Take the checks that have ended."""
        joined: Counter[str] = Counter()
        for address, worker in list(self._workers.items()):
            if worker.check is None or not worker.check.done():
                continue
            try:
                host, reason = worker.check.result(timeout=ANSWER_SECONDS)
            except TimeoutError:
                continue
            except CancelledError:  # the connection was lost, or the worker: looked at again when it is back
                del self._workers[address]
                continue
            except Exception as error:  # of a worker that cannot even load the check
                host, reason = "", f"it cannot run twolayer {__version__}: {type(error).__name__}: {error}"
            self._workers[address] = _Worker(host, not reason)
            if reason:
                self._say(f"worker {address}{f' on {host}' if host else ''} is not used: {reason}")
            else:
                joined[host] += 1
        if joined:
            self._say("workers joined: " + ", ".join(f"{count} on {host}" for host, count in joined.items()))

    def _require_workers(self, now: float) -> None:
        if any(worker.usable for worker in self._workers.values()):
            self._usable_at = now
        elif now - self._usable_at > WAIT_SECONDS:
            raise TwoLayerError(
                f"no usable worker for {WAIT_SECONDS:.0f} s; start one with: dask worker ADDRESS --nthreads 1, where "
                "twolayer is installed and the data files are; then run the same command again, which continues where "
                "this one stopped"
            )

    def _again(self, job: Job) -> None:
        """Put a job first in line, or end it when the pool is stopping."""
        if self._stopping:
            self._ended.append(JobResult(job, stopped=True))
        else:
            self._waiting.appendleft(job)

    def _broken_off(self, each: _Running, how: str) -> None:
        """Try a job again, unless that happened too often."""
        self._attempts[each.job.name] += 1
        if self._attempts[each.job.name] < MAX_ATTEMPTS:
            self._say(f"{how}; {each.job.name} is tried again")
            self._again(each.job)
        else:
            reason = f"broken off {MAX_ATTEMPTS} times, last on {each.worker}: {how}"
            self._ended.append(JobResult(each.job, error=reason, stopped=self._stopping))

    def _take_done(self) -> None:
        """Take the results of all futures that are done, those without an error in one message."""
        done = {key: each for key, each in self._running.items() if each.future.done()}
        good = {key: each.future for key, each in done.items() if each.future.status == "finished"}
        gathered: dict[str, tuple[str, Any]] = {}
        if good and self._is_connected():
            with contextlib.suppress(TimeoutError, CancelledError, OSError, RuntimeError):  # not sent now, or any more
                gathered = self._client.sync(self._client._gather, good, errors="skip", callback_timeout=ANSWER_SECONDS)
        for key, (kind, value) in gathered.items():
            self._take(self._running.pop(key), kind, value)
        for key in done.keys() - good.keys():
            each = self._running.pop(key)
            if each.future.status == "error":  # Dask's, when the worker died
                try:
                    error = each.future.exception(timeout=ANSWER_SECONDS)
                except Exception as unknown:  # not sent any more
                    error = unknown
                self._broken_off(each, f"{type(error).__name__}: {error}")
            else:  # cancelled or lost: the scheduler forgot it, as the connection was lost
                self._again(each.job)

    def _take(self, each: _Running, kind: str, value: Any) -> None:
        """Take what a worker returned."""
        if kind == "unusable":
            worker = self._workers.get(each.worker)
            if worker is not None:
                self._workers[each.worker] = replace(worker, usable=False)
            where = f" on {worker.host}" if worker is not None else ""
            self._say(f"worker {each.worker}{where} is not used any more: {value}; {each.job.name} is tried elsewhere")
            self._again(each.job)
        else:
            self._ended.append(JobResult(each.job, **{kind: value}))
