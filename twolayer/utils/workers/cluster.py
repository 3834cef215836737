"""A pool on a Dask cluster that the user runs. We place one job at a time on each worker ourselves, so that a dead
worker costs the job it was running and no other, and a worker that does not fit the task gets none.

Everything that must not be lost is in the caller's process. So the scheduler may die and come back: the caller connects
again and starts the jobs again that had not ended."""

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
    """Where a scheduler is and how to talk to it."""

    address: str  # such as `tcp://host:8786`, or `tls://host:8786`
    tls_ca_file: str | None = None  # PEM files as Dask takes them; None: Dask's own configuration
    tls_cert: str | None = None
    tls_key: str | None = None


_stopped_pools: set[str] = set()  # on a worker: the pools whose jobs are to stop


def run_on_worker(version: str, pool: str, job: Mapping[str, Any] | None, threads: int) -> tuple[str, str, Any]:
    """Run a job on a worker, None for no more than a look at its version; return its host, and see `pool.call`."""
    host = socket.gethostname()
    if version != __version__:
        return host, "unusable", f"twolayer {__version__} there, {version} here"
    if job is None:
        return host, "value", None
    with at_most_threads(threads):
        return host, *call(job["function"], job["arguments"], _ask(pool, job["asks"]))


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
    host: str = ""
    usable: bool = False
    future: Any = None  # of the check or the job
    job: Job | None = None  # None during the check
    answers: Any = None  # the queue of a job that asks

    def __str__(self) -> str:
        return f"worker {self.address}" + (f" on {self.host}" if self.host else "")


class ClusterPool(Pool):
    """The workers of a Dask scheduler that have the caller's version of twolayer.

    Args:
        check: what a worker does first, and is not used if it fails.
        threads: BLAS threads of each job, where NumPy's BLAS is OpenBLAS; else those the worker was started with.
        say: called with one line when workers join, leave or cannot be used, and when the scheduler is lost.

    Raises:
        MissingExtraError: without the extra `cluster`.
        TwoLayerError: if no scheduler answers.
    """

    max_attempts = 5

    def __init__(
        self,
        cluster: ClusterAddress,
        check: Job | None,
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
        self._looked_at, self._usable_at = -1e9, time.monotonic()
        self._client: Any = None
        try:
            self._connect(CONNECT_SECONDS)
        except Exception as error:  # OSError, ValueError of a wrong address, or what TLS and Dask's configuration raise
            raise TwoLayerError(
                f"--scheduler {cluster.address}: no Dask scheduler answers ({error}); start one with: dask scheduler"
            ) from None
        self._look()

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

    def _start(self, worker: _Worker, job: Job | None) -> None:
        """Start a job, or the check, on one worker and on no other."""
        self._n_calls += 1
        arguments = (__version__, self._name, dict(vars(job)) if job is not None else None, self._threads)
        place = {"workers": [worker.address], "allow_other_workers": False}
        key = f"{self._name}-{self._n_calls}"
        try:
            worker.future = self._client.submit(run_on_worker, *arguments, key=key, pure=False, **place)
            worker.job = job if job is not self._check else None
        except (AttributeError, RuntimeError, OSError):  # the connection is lost, as the next look will see
            if job is not None and job is not self._check:
                self._waiting.appendleft(job)

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
        """Find out, once a second, which workers came and which are gone; connect again if the connection was lost."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS and self._is_connected():
            return
        self._looked_at = now
        if self._is_connected() or self._reconnect():
            self._list_workers()
        if any(worker.usable for worker in self._workers.values()):
            self._usable_at = now
        elif now - self._usable_at > WAIT_SECONDS:
            raise TwoLayerError(
                f"--scheduler {self._cluster.address}: no usable worker for {WAIT_SECONDS:.0f} s; start one where "
                "twolayer and the data files are (dask worker ADDRESS --nthreads 1), and the scheduler if it is gone; "
                "then run the same command again, which continues where this one stopped"
            )

    def _list_workers(self) -> None:
        try:
            present = set(self._sync(self._client.scheduler.ncores))
        except (TimeoutError, OSError, AttributeError):  # AttributeError: the connection was lost meanwhile
            present = None
        if self._silent != (present is None):
            self._silent = present is None
            what = "does not answer; waiting for it" if self._silent else "answers again"
            self._say(f"the scheduler {self._cluster.address} {what}")
        if present is None:
            return
        if gone := self._workers.keys() - present:
            self._take_done()  # what they have finished, as far as Dask still has it
        for address in gone:
            worker = self._workers.pop(address, None)
            if worker is not None and worker.job is not None:
                worker.future.cancel()
                self._try_again(worker.job, worker, f"{worker} is gone")
        for address in sorted(present - self._workers.keys()):
            worker = self._workers[address] = _Worker(address)
            self._start(worker, self._check)

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _reconnect(self) -> bool:
        """Drop the lost connection and try to connect again; return whether that worked."""
        if self._client is not None:
            self._say(f"connection to the scheduler {self._cluster.address} lost; trying to connect again")
            self.close()
            for worker in reversed(self._workers.values()):  # no attempt is counted: the jobs did nothing wrong
                if worker.job is not None:
                    self._again(worker.job)
            self._workers.clear()
        try:
            self._connect(ANSWER_SECONDS)
        except Exception:  # as when it was first made
            self.close()
            return False
        self._say(f"connected to the scheduler {self._cluster.address} again")
        self._usable_at = time.monotonic()
        return True

    def _try_again(self, job: Job, worker: _Worker, how: str) -> None:
        if self._broken_off(job, f"on {worker.address}: {how}"):
            self._say(f"{how}; {job.name} is tried again")

    def _take_done(self) -> None:
        """Take how the calls that are done ended, the results in one message."""
        done = [each for each in self._workers.values() if each.future is not None and each.future.done()]
        good = {each.future.key: each.future for each in done if each.future.status == "finished"}
        gathered: dict[str, tuple[str, str, Any]] = {}
        if good and self._is_connected():
            with contextlib.suppress(TimeoutError, CancelledError, OSError, RuntimeError):  # not sent now, or any more
                gathered = self._sync(self._client._gather, good, errors="skip")
        checked = [worker for worker in done if worker.job is None]
        for worker in done:
            key = worker.future.key
            if key in gathered:
                self._take(worker, *gathered[key])
            elif worker.future.status == "error":
                try:
                    error = worker.future.exception(timeout=ANSWER_SECONDS)
                except Exception as unknown:  # not sent any more
                    error = unknown
                self._take(worker, worker.host, "broken", f"{type(error).__name__}: {error}")
            elif key not in good:  # the connection was lost
                self._take(worker, worker.host, "cancelled", "")
        if joined := Counter(worker.host for worker in checked if worker.usable):
            self._say("workers joined: " + ", ".join(f"{count} on {host}" for host, count in joined.items()))

    def _take(self, worker: _Worker, host: str, kind: str, value: Any) -> None:
        """Take how a call ended: as of `pool.call`, `broken` by an error of Dask's, or `cancelled`."""
        job, worker.host = worker.job, host
        worker.job = worker.future = worker.answers = None
        if job is None:
            worker.usable = kind == "value"
            if kind == "cancelled":
                del self._workers[worker.address]  # looked at again when it is back
            elif not worker.usable:
                why = f"twolayer does not run there: {value}" if kind == "broken" else value
                self._say(f"{worker} is not used: {why}")
        elif kind == "unusable":
            worker.usable = False
            self._say(f"{worker} is not used any more: {value}; {job.name} is tried elsewhere")
            self._again(job)
        elif kind == "cancelled":
            self._again(job)
        elif kind == "broken":
            self._try_again(job, worker, value)
        else:
            self._end(job, kind, value)
