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
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, NamedTuple

from twolayer.utils.blas import at_most_threads
from twolayer.utils.errors import TwoLayerError, import_extra
from twolayer.utils.version import __version__
from twolayer.utils.workers.pool import Answerer, Ask, Job, JobResult, Pool, call

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


@dataclass
class _Worker:
    """A worker of the cluster and what it is doing: its check at first, then one job after another."""

    address: str
    future: Any = None  # of the check or the job
    job: Job | None = None
    host: str = ""
    usable: bool = False
    answers: Any = None  # the queue of a job that asks

    def __str__(self) -> str:
        return f"worker {self.address}" + (f" on {self.host}" if self.host else "")

    def let_go(self) -> Job | None:
        """Return the job it had, which it has no more."""
        job, self.job, self.future, self.answers = self.job, None, None, None
        return job


class ClusterPool(Pool):
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

    max_attempts = 5

    def __init__(
        self,
        cluster: ClusterAddress,
        check: WorkerCheck | None,
        threads: int,
        say: Callable[[str], None],
        answer: Answerer = lambda job, message: "go",
    ) -> None:
        super().__init__(answer)
        self._distributed = import_extra("distributed", "cluster", "--scheduler")
        for logger in ("distributed", "distributed.client"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # `say` reports what happens, without tracebacks
        self._cluster, self._check, self._threads, self._say = cluster, check, threads, say
        self._name = f"twolayer-{os.getpid()}-{time.time_ns():x}"  # unique on the scheduler
        self._workers: dict[str, _Worker] = {}  # by address
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._n_calls = 0
        self._silent = False
        self._looked_at = self._lost_at = -1e9
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

    def wait(self, seconds: float) -> list[JobResult]:
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            self._place()
            self._answer_messages()
            self._take_done()
            if self._ended or time.monotonic() > deadline:
                return self._take_ended()

    def stop(self) -> None:
        super().stop()
        busy = [worker.address for worker in self._workers.values() if worker.job is not None]
        if busy and self._client is not None:
            with contextlib.suppress(Exception):  # an unreachable worker's job is dropped when the pool is closed
                self._sync(self._client._run, _stop_pool, self._name, workers=busy)

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

    def _sync(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._client.sync(function, *arguments, callback_timeout=ANSWER_SECONDS, **options)

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.usable and worker.job is None]

    def _place(self) -> None:
        if self._client is None:
            return
        for worker in self._idle()[: len(self._waiting)]:
            job = self._waiting.popleft()
            try:
                self._start(worker, run_on_worker, self._name, dict(vars(job)), self._threads)
            except (RuntimeError, OSError):  # the connection was lost just now, as the next look will see
                self._waiting.appendleft(job)
                return
            worker.job = job

    def _start(self, worker: _Worker, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a call on one worker and on no other."""
        self._n_calls += 1
        key = f"{self._name}-{self._n_calls}"
        place = {"workers": [worker.address], "allow_other_workers": False}
        worker.future = self._client.submit(function, *arguments, key=key, pure=False, **place)

    def _answer_messages(self) -> None:
        """Answer what jobs ask, waiting a moment for the first message."""
        with contextlib.suppress(queue.Empty):
            message = self._messages.get(timeout=0.02)
            asking = {worker.future.key: worker for worker in self._workers.values() if worker.job is not None}
            while True:
                worker, key = asking.get(message["key"]), message["key"]
                if worker is not None and worker.job is not None and self._client is not None:
                    answer = self._reply(worker.job, message["message"])
                    worker.answers = worker.answers or self._distributed.Queue(key, client=self._client)
                    with contextlib.suppress(TimeoutError, OSError):  # a lost connection is seen at the next look
                        worker.answers.put(answer, timeout=ANSWER_SECONDS)
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
            present = set(self._sync(self._client.scheduler.ncores))
        except (TimeoutError, OSError, AttributeError):  # AttributeError: the connection was lost meanwhile
            if not self._silent:
                self._say(f"the scheduler {self._cluster.address} does not answer; waiting for it")
            self._silent = True
            return
        if self._silent:
            self._say(f"the scheduler {self._cluster.address} answers again")
            self._silent = False
        self._drop_workers(self._workers.keys() - present)
        for address in sorted(present - self._workers.keys()):
            worker = self._workers[address] = _Worker(address)
            self._start(worker, check_on_worker, __version__, self._check)
        if any(worker.usable for worker in self._workers.values()):
            self._usable_at = now
        elif now - self._usable_at > WAIT_SECONDS:
            self._give_up(
                "no usable worker",
                "start one with: dask worker ADDRESS --nthreads 1, where twolayer is installed and the data files are",
            )

    def _give_up(self, what: str, remedy: str) -> None:
        raise TwoLayerError(
            f"{what} for {WAIT_SECONDS:.0f} s; {remedy}; then run the same command again, which continues where this "
            "one stopped"
        )

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _reconnect(self, now: float) -> bool:
        """Drop the lost connection and try to connect again; return whether that worked."""
        if self._client is not None:
            self._say(f"connection to the scheduler {self._cluster.address} lost; trying to connect again")
            self.close()
            self._lost_at = now
            for worker in reversed(self._workers.values()):  # no attempt is counted: the jobs did nothing wrong
                if worker.job is not None:
                    self._again(worker.job)
            self._workers.clear()
        try:
            self._connect(ANSWER_SECONDS)
        except Exception:  # as when it was first made
            self.close()
            if now - self._lost_at > WAIT_SECONDS:
                self._give_up(f"no scheduler at {self._cluster.address}", "start one (dask scheduler)")
            return False
        self._say(f"connected to the scheduler {self._cluster.address} again")
        self._usable_at = now
        return True

    def _drop_workers(self, gone: set[str]) -> None:
        if gone:
            self._take_done()  # what they have finished, as far as Dask still has it
        for address in gone:
            worker = self._workers.pop(address, None)
            if worker is not None and worker.job is not None:
                worker.future.cancel()
                self._try_again(worker.job, worker, f"{worker} is gone")

    def _try_again(self, job: Job, worker: _Worker, how: str) -> None:
        if self._broken_off(job, f"on {worker.address}: {how}"):
            self._say(f"{how}; {job.name} is tried again")

    def _take_done(self) -> None:
        """Take the results of all calls that are done, those without an error in one message."""
        done = [each for each in self._workers.values() if each.future is not None and each.future.done()]
        good = {each.future.key: each.future for each in done if each.future.status == "finished"}
        gathered: dict[str, tuple[str, Any]] = {}
        if good and self._is_connected():
            with contextlib.suppress(TimeoutError, CancelledError, OSError, RuntimeError):  # not sent now, or any more
                gathered = self._sync(self._client._gather, good, errors="skip")
        checked = [worker for worker in done if worker.job is None]
        for worker in done:
            key = worker.future.key
            if key in gathered:
                take = self._take_check if worker.job is None else self._take
                take(worker, *gathered[key])
            elif key not in good:
                self._take_failure(worker)
        if joined := Counter(worker.host for worker in checked if worker.usable):
            self._say("workers joined: " + ", ".join(f"{count} on {host}" for host, count in joined.items()))

    def _take_check(self, worker: _Worker, host: str, reason: str) -> None:
        worker.let_go()
        worker.host, worker.usable = host, not reason
        if reason:
            self._say(f"{worker} is not used: {reason}")

    def _take(self, worker: _Worker, kind: str, value: Any) -> None:
        """Take what a job returned."""
        job = worker.let_go()
        assert job is not None
        if kind == "unusable":
            worker.usable = False
            self._say(f"{worker} is not used any more: {value}; {job.name} is tried elsewhere")
            self._again(job)
        else:
            self._ended.append(JobResult(job, **{kind: value}))

    def _take_failure(self, worker: _Worker) -> None:
        """Take the end of a call that returned nothing: Dask's error, or cancelled as the connection was lost."""
        error: Exception | None = None
        if worker.future.status == "error":
            try:
                error = worker.future.exception(timeout=ANSWER_SECONDS)
            except Exception as unknown:  # not sent any more
                error = unknown
        how, job = f"{type(error).__name__}: {error}", worker.let_go()
        if job is None and error is not None:  # a worker that cannot even load the check
            self._take_check(worker, "", f"it cannot run twolayer {__version__}: {how}")
        elif job is None:
            del self._workers[worker.address]  # looked at again when it is back
        elif error is not None:
            self._try_again(job, worker, how)
        else:
            self._again(job)
