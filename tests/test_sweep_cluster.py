"""A sweep on a Dask cluster of real processes on the loopback address, one of them killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256

import pytest
from sweep_files import InProcessPool, write_sweep

pytest.importorskip("optuna")
pytest.importorskip("distributed")
from twolayer.config import load_config
from twolayer.sweep import search, trial
from twolayer.sweep.file import load_sweep, require_same_sweep
from twolayer.sweep.search import run_sweep
from twolayer.sweep.trial import Outcome, require_own_data, train_there
from twolayer.utils.errors import TwoLayerError
from twolayer.utils.files import read_json
from twolayer.utils.version import __version__
from twolayer.utils.workers import cluster
from twolayer.utils.workers.cluster import ClusterAddress, run_on_worker
from twolayer.utils.workers.pool import Job, UnusableWorkerError

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
    # of Dask's own making, at the end of its event loop and when a worker is gone
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:distributed", "ignore::UserWarning:distributed"),
]


class Cluster:
    """A scheduler and workers, each a process; the workers have the data files under another path."""

    def __init__(self, folder, data):
        self.folder, self.processes = folder, []
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TWOLAYER_DATA": str(data)}
        address_file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(address_file))
        self._file = address_file
        self.address = self._wait_for_address()

    def _start(self, kind, *arguments):
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, "--no-dashboard", *arguments]
        log = (self.folder / f"{kind}-{len(self.processes)}.log").open("wb")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=self._environment))
        log.close()
        return self.processes[-1]

    def _wait_for_address(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._file.exists() and self._file.stat().st_size:
                return read_json(self._file)["address"]
            time.sleep(0.05)
        raise AssertionError("the scheduler did not start")

    def add_worker(self):
        place = ["--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder)]
        return self._start("worker", self.address, *place)

    def close(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


ROWS = "a,b,y\n" + "".join(f"{i % 17},{i % 13},{(i % 17 > 8) ^ (i % 13 > 6):d}\n" for i in range(400))
TABLE = "data: {train: rows.csv, label: y, validation: 0.25}\nmodel: {hidden: 8}\nsolver: {epochs: 6, batch_size: 16}\n"


def test_a_worker_killed_half_way_costs_its_run_alone_and_the_results_are_those_of_one_process(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    path = write_sweep(tmp_path, "trials: 6\n", base=TABLE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "rows.csv", elsewhere)
    (tmp_path / "dask").mkdir()
    dask = Cluster(tmp_path / "dask", elsewhere)
    lines = []
    try:
        victim = dask.add_worker()
        dask.add_worker()
        journal = tmp_path / "out" / "journal.jsonl"

        def kill():
            while not journal.exists() or journal.read_text().count('"run"') < 2:
                time.sleep(0.02)
            victim.send_signal(signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        result = run_sweep(path, folder=tmp_path / "out", cluster=ClusterAddress(dask.address), say=lines.append)
        killer.join(10)
    finally:
        dask.close()
    assert victim.returncode == -signal.SIGKILL
    assert sorted(each.number for each in result.ranking) == list(range(6))
    assert {each.status for each in result.ranking} == {"finished"}
    best = load_config(tmp_path / "out" / "best.yaml")
    assert best.data.train == str(tmp_path / "rows.csv")
    run = load_config(tmp_path / "out" / "runs" / "0000-seed0" / "config.yaml")
    assert run.data.train == str(tmp_path / "rows.csv")
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    run_sweep(path, folder=tmp_path / "here")
    assert (tmp_path / "out" / "results.csv").read_bytes() == (tmp_path / "here" / "results.csv").read_bytes()


def end_the_process(ask):
    os._exit(1)


def usable(ask):
    return ""


def test_a_job_that_always_ends_its_worker_has_failed_and_what_waits_for_a_worker_stops_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.ClusterPool, "max_attempts", 2)
    (tmp_path / "dask").mkdir()
    processes, lines = Cluster(tmp_path / "dask", tmp_path), []
    try:
        for _ in range(2):
            processes.add_worker()
        check = Job("", "test_sweep_cluster:usable", {})
        pool = cluster.ClusterPool(ClusterAddress(processes.address), check, 1, lines.append)
        deadline, ended = time.monotonic() + 60, []
        pool.submit(Job("always", "test_sweep_cluster:end_the_process", {}))
        while not ended and time.monotonic() < deadline:
            ended = pool.wait(0.5)
        assert [(each.job.name, each.value) for each in ended] == [("always", None)]
        assert "broken off 2 times, last on tcp://127.0.0.1:" in ended[0].error
        assert [line for line in lines if "always is tried again" in line]

        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.2)
        processes.processes[0].kill()
        while not any("lost; trying to connect again" in line for line in lines) and time.monotonic() < deadline:
            assert pool.wait(0.1) == []
        assert pool.wait(0.5) == []  # without a scheduler for several attempts
        pool.submit(Job("waiting", "test_sweep_cluster:end_the_process", {}))
        pool.stop()
        assert [(each.job.name, each.stopped) for each in pool.wait(0)] == [("waiting", True)]
        pool.close()
    finally:
        processes.close()


def test_a_scheduler_that_is_not_there_is_reported_with_the_command_to_start_one(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.2)
    path = write_sweep(tmp_path)
    with pytest.raises(TwoLayerError, match="no Dask scheduler answers.*start one with: dask scheduler"):
        run_sweep(path, folder=tmp_path / "out", cluster=ClusterAddress("tcp://127.0.0.1:9"))


def test_a_worker_with_other_data_or_another_version_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    (tmp_path / "out").mkdir()
    sweep = load_sweep(write_sweep(tmp_path, base=TABLE))
    digests = require_same_sweep(sweep, tmp_path / "out")
    assert run_on_worker(__version__, "pool", None, 1)[1:] == ("value", None)
    _, kind, reason = run_on_worker("0.0", "pool", None, 1)
    assert (kind, "0.0 here" in reason) == ("unusable", True)
    assert require_own_data("ask", digests) == {str(tmp_path / "rows.csv"): str(tmp_path / "rows.csv")}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TWOLAYER_DATA", str(elsewhere))
    with pytest.raises(
        UnusableWorkerError, match=r"rows.csv: cannot be read: No such file or directory on .*; set TWOLAYER_DATA"
    ):
        require_own_data("ask", digests)
    (elsewhere / "rows.csv").write_text(ROWS + "1,1,1\n", encoding="utf-8")
    with pytest.raises(UnusableWorkerError, match="another file than the sweep began with"):
        require_own_data("ask", digests)


def test_a_worker_trains_from_its_own_files_wherever_the_config_names_one(tmp_path, monkeypatch):
    names, data = ["x.csv", "y.csv", "f.npy", "l.npy"], tmp_path / "own"
    data.mkdir()
    for name in names:
        (data / name).write_bytes(b"")
    monkeypatch.setenv("TWOLAYER_DATA", str(data))
    there = {name: f"/elsewhere/{name}" for name in names}
    sources = {
        "train": [there["x.csv"], there["y.csv"]],
        "test": {"features": there["f.npy"], "labels": there["l.npy"]},
        "validation": 0.2,
    }
    seen = []
    monkeypatch.setattr(trial, "run_trial", lambda config, *rest: seen.append(config) or Outcome("finished"))
    digests = {path: sha256(b"").hexdigest() for path in there.values()}
    outcome, files = train_there(None, "0000-seed0", {"data": sources}, {}, digests)
    assert (outcome.status, files) == ("finished", {})
    assert seen[0]["data"]["train"] == [str(data / "x.csv"), str(data / "y.csv")]
    assert seen[0]["data"]["test"] == {"features": str(data / "f.npy"), "labels": str(data / "l.npy")}
    assert sources["train"] == [there["x.csv"], there["y.csv"]], "the caller's config stays"


def test_other_data_than_the_sweep_began_with_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    sweep = load_sweep(write_sweep(tmp_path, base=TABLE))
    require_same_sweep(sweep, tmp_path)
    (tmp_path / "rows.csv").write_text(ROWS + "1,1,1\n", encoding="utf-8")
    with pytest.raises(TwoLayerError, match="holds another sweep: SHA-256 of"):
        require_same_sweep(sweep, tmp_path)
