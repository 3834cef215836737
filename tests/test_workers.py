"""Local pools: retries, answers, and a worker and its pool when the other end is gone."""

from __future__ import annotations

import errno
import io
import os
import queue
import signal
import time
from types import SimpleNamespace

import pytest

from twolayer.utils.errors import RunError
from twolayer.utils.workers import cluster
from twolayer.utils.workers.cluster import ClusterAddress, ClusterPool
from twolayer.utils.workers.pool import Job, LocalPool, UnusableWorkerError, _ask, _send

HOST = "host-a"


def test_a_worker_whose_pool_has_died_during_a_job_still_sees_the_end():
    lines: queue.Queue[bytes] = queue.Queue()
    lines.put(b"")
    assert _ask(io.BytesIO(), lines)("a message") == "stop"
    assert lines.get(timeout=1) == b""


class BrokenPipe:
    """The writing end of a pipe without a reader."""

    def __init__(self, number):
        self._number = number

    def write(self, text):
        raise OSError(self._number, "no reader")

    def close(self):
        self.write("")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL], ids=["POSIX", "Windows"])
def test_a_broken_pipe_is_no_error_whatever_the_system_calls_it(tmp_path, number):
    _send(BrokenPipe(number), {})
    pool = LocalPool(1, 1, tmp_path)
    pool._workers[0].process = SimpleNamespace(stdin=BrokenPipe(number), wait=lambda *seconds: 1)
    pool.submit(Job("run", "module:function", {}))
    pool.close()


def double(ask, number):
    return 2 * number


def ask_twice(ask, word):
    return [ask(word), ask(word * 2)]


def refuse(ask, kind):
    raise {"run": RunError("a reason"), "other": KeyError("k"), "unusable": UnusableWorkerError("disk full")}[kind]


def results(pool, count):
    found, deadline = [], time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found += pool.wait(0.5)
    return {each.job.name: each for each in found}


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    pool = LocalPool(2, 1, tmp_path, lambda job, message: f"{job.name}: {message}")
    yield pool
    pool.close()


def test_more_jobs_than_workers_wait_their_turn_and_messages_reach_the_pool_if_the_job_asks(pool):
    for number in range(5):
        pool.submit(Job(f"job{number}", "test_workers:double", {"number": number}))
    assert {name: each.value for name, each in results(pool, 5).items()} == {f"job{i}": 2 * i for i in range(5)}
    pool.submit(Job("asks", "test_workers:ask_twice", {"word": "a"}, asks=True))
    pool.submit(Job("silent", "test_workers:ask_twice", {"word": "a"}))
    ended = results(pool, 2)
    assert ended["asks"].value == ["asks: a", "asks: aa"]
    assert ended["silent"].value == ["go", "go"]


def test_an_error_of_a_job_is_its_result_and_an_unusable_machine_ends_the_pools_work(pool):
    for kind in ("run", "other"):
        pool.submit(Job(kind, "test_workers:refuse", {"kind": kind}))
    ended = results(pool, 2)
    assert ended["run"].error == "a reason"
    assert ended["other"].error == "KeyError: 'k'"
    pool.submit(Job("unusable", "test_workers:refuse", {"kind": "unusable"}))
    with pytest.raises(UnusableWorkerError, match="disk full"):
        results(pool, 1)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_worker_is_replaced_and_its_job_tried_again(pool):
    pool.submit(Job("one", "test_workers:ask_twice", {"word": "a"}, asks=True))
    pool._answer = lambda job, message: os.kill(pool._workers[0].process.pid, signal.SIGKILL) or "too late"
    assert not pool.wait(30)
    pool._answer = lambda job, message: message
    assert results(pool, 1)["one"].value == ["a", "aa"]


class ScriptedDask:
    """Dask as far as a pool sees it: what it starts on a worker has ended at once, unless the worker is `silent`.

    As on a cluster, a call whose worker has gone stays finished for a while, but its result cannot be fetched any more.
    """

    def __init__(self, *addresses):
        self.present, self.silent, self.status, self.scheduler = set(addresses), set(), "running", self
        self._results = {}  # by key: the worker that holds it and the result

    def Client(self, *arguments, **options):
        return self

    def subscribe_topic(self, topic, handler):
        pass

    def close(self, timeout=None):
        pass

    def sync(self, function, *arguments, callback_timeout, **options):
        return function(*arguments, **options)

    def ncores(self):
        return dict.fromkeys(self.present, 1)

    def submit(self, function, *arguments, key, workers, **options):
        is_silent = self.silent.issuperset(workers)
        self._results[key] = (workers[0], None if is_silent else function(*arguments))
        status = "pending" if is_silent else "finished"
        return SimpleNamespace(key=key, status=status, done=lambda: not is_silent, cancel=lambda: None)

    def _gather(self, futures, errors):
        found = {key: self._results[key] for key in futures}
        return {key: result for key, (worker, result) in found.items() if worker in self.present}


@pytest.mark.parametrize("ready", [True, False], ids=["with its result ready", "in the middle of a job"])
def test_a_job_whose_worker_vanishes_is_tried_on_another(monkeypatch, ready):
    dask, lines = ScriptedDask("tcp://first", "tcp://second"), []
    monkeypatch.setattr(cluster, "import_extra", lambda *names: dask)
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(cluster, "run_on_worker", lambda version, pool, job, threads: (HOST, "value", job["name"]))
    pool = ClusterPool(ClusterAddress("tcp://nowhere"), Job("check", "module:function", {}), 1, lines.append)
    assert pool.wait(0) == []  # the checks of the workers
    assert lines == [f"workers joined: 2 on {HOST}"]
    dask.silent = set() if ready else {"tcp://first"}
    pool.submit(Job("one", "module:function", {}))
    dask.present.remove("tcp://first")  # before its result was taken
    assert results(pool, 1)["one"].value == "one"
    assert [line for line in lines if "is gone" in line] == [
        f"worker tcp://first on {HOST} is gone; one is tried again"
    ]
