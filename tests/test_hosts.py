"""A sweep on two hosts that share nothing but a cable: the results are those of one machine, whatever breaks."""

from __future__ import annotations

import csv
import shutil
import signal
import sys

import pytest
from hosts import BASE, PORT, ROWS, run, two_hosts, wait_until, why_not
from sweep_files import InProcessPool

pytest.importorskip("optuna")
pytest.importorskip("distributed")
from twolayer.runs.checkpoint import load_model
from twolayer.sweep import search
from twolayer.training import recorder
from twolayer.training.run import train

pytestmark = pytest.mark.skipif(bool(reason := why_not()), reason=reason or "possible")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        yield both


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """The same sweep on one machine trains in this process and draws nothing."""
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    monkeypatch.setattr(recorder, "draw_loss_curve", lambda *arguments, **options: None)
    monkeypatch.setattr(search, "_draw", lambda *arguments: None)


@pytest.mark.parametrize(("sampler", "points"), [("grid", ", points: 3"), ("random", "")])
def test_the_results_are_those_of_one_machine(hosts, tmp_path, sampler, points):
    hosts.write_sweep(f"sampler: {sampler}\ntrials: 4\nrefit: true\n", points=points)
    caller = hosts.start_caller(sampler)
    assert caller.results() == hosts.here(tmp_path / "here")
    assert (caller.folder / "runs").is_dir()
    assert "on host-a" in caller.said()
    assert "on host-b" in caller.said()


@pytest.mark.parametrize("more", ["sampler: tpe\n", "pruner: hyperband\n"])
def test_a_search_that_learns_from_its_results_runs_to_the_end(hosts, more):
    hosts.write_sweep(more + "trials: 8\n", epochs=9)
    caller = hosts.start_caller(more.split()[1])
    rows = list(csv.DictReader(caller.results().decode().splitlines()))
    assert sorted(int(row["point"]) for row in rows) == list(range(8))
    assert {row["status"] for row in rows} <= {"finished", "pruned"}
    caller.assert_each_run_is_whole_and_ended_once()


@pytest.fixture
def slow(hosts):
    """A sweep whose runs take long enough to be interrupted in the middle."""
    hosts.write_sweep("trials: 4\n", epochs=EPOCHS)
    return hosts


EPOCHS = 100
MANY = "trials: 12\n"  # so that a fast worker leaves some for one that comes later


def test_a_worker_killed_in_mid_trial_costs_its_run_alone(slow, tmp_path):
    caller = slow.start_caller("killed")
    wait_until(slow.b.runs_in_training, "a run on host b")
    slow.worker_b.send_signal(signal.SIGKILL)
    assert caller.results() == slow.here(tmp_path / "here")
    caller.assert_each_run_is_whole_and_ended_once()
    assert "on host-b is gone; 000" in caller.said()
    slow.worker_b = slow.b.start_worker(slow.address)


def test_a_network_cut_for_good_costs_the_runs_of_that_host_alone(slow, tmp_path):
    """The cable of host a, where a worker is; host b has the scheduler for this test, so that the caller keeps it."""
    slow.write_sweep(MANY, epochs=EPOCHS)
    with slow.scheduler_on_b():
        caller = slow.start_caller("cut")
        wait_until(lambda: slow.a.runs_in_training() and caller.n_ended(), "a run on host a after the first")
        slow.a.connect(False)
        assert caller.results() == slow.here(tmp_path / "here")
        caller.assert_each_run_is_whole_and_ended_once()
        assert caller.said().count("is gone") == 1
        assert "on host-a is gone" in caller.said()
    slow.restart()


def test_a_scheduler_killed_and_started_again_while_the_caller_waits(slow, tmp_path):
    caller = slow.start_caller("scheduler")
    wait_until(lambda: caller.n_ended() and slow.b.runs_in_training(), "a run after the first")
    slow.scheduler.send_signal(signal.SIGKILL)
    slow.scheduler.wait()
    slow.restart()
    assert caller.results() == slow.here(tmp_path / "here")
    caller.assert_each_run_is_whole_and_ended_once()
    assert f"connection to the scheduler {slow.address} lost" in caller.said()
    assert f"connected to the scheduler {slow.address} again" in caller.said()


def test_runs_whose_caller_was_killed_stop(hosts):
    hosts.write_sweep("trials: 2\n", epochs=10**6)
    caller = hosts.start_caller("forever")
    wait_until(lambda: hosts.a.runs_in_training() and hosts.b.runs_in_training(), "runs on both hosts")
    caller.process.kill()
    wait_until(lambda: not (hosts.a.runs_in_training() or hosts.b.runs_in_training()), "the end of the runs")


def test_a_caller_killed_and_started_again_resumes(slow, tmp_path):
    caller = slow.start_caller("caller")
    wait_until(lambda: caller.n_ended() and slow.b.runs_in_training(), "a run after the first")
    caller.process.send_signal(signal.SIGKILL)
    caller.process.wait()
    histories = [caller.folder / "runs" / run / "history.csv" for run in caller.ended()]
    written = [history.stat().st_mtime_ns for history in histories]
    again = slow.start_caller("caller")
    assert again.results() == slow.here(tmp_path / "here")
    again.assert_each_run_is_whole_and_ended_once()
    assert written
    assert [history.stat().st_mtime_ns for history in histories] == written  # none was trained twice


def test_a_second_caller_with_the_same_folder_is_refused(slow):
    first = slow.start_caller("both")
    wait_until(first.n_ended, "the first run")
    second = slow.start_caller("both")
    assert second.process.wait(60) == 2
    assert "in use by another twolayer process" in second.said()
    first.results()
    first.assert_each_run_is_whole_and_ended_once()


def test_a_host_with_a_full_disk_and_workers_that_do_not_fit_are_named_and_not_used(slow, tmp_path):
    preload = tmp_path / "older.py"
    preload.write_text("import twolayer.utils.version as v\nv.__version__ = '0.0.1'\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "rows.csv").write_text(ROWS + "1,1,1\n")
    full = f"mkdir -p {slow.a.folder}/small && mount -t tmpfs -o size=16k none {slow.a.folder}/small && "
    slow.worker_a.kill()
    more = [
        slow.a.start_worker(slow.address, "--preload", str(preload)),
        slow.a.start_worker(slow.address, TWOLAYER_DATA=str(tmp_path / "other")),
        slow.a.start_worker(slow.address, mounts=full, TMPDIR=f"{slow.a.folder}/small"),
    ]
    caller = slow.start_caller("full")
    try:
        assert caller.results() == slow.here(tmp_path / "here")
    finally:
        for process in more:
            process.kill()
    caller.assert_each_run_is_whole_and_ended_once()
    said = caller.said()
    assert "on host-a is not used: twolayer 0.0.1 there" in said
    assert "on host-a is not used: " in said
    assert "another file than the sweep began with" in said
    assert "on host-a is not used any more: " in said
    assert "No space left on device" in said


def test_a_host_that_joins_late_gets_runs(slow, tmp_path):
    slow.write_sweep(MANY, epochs=EPOCHS)
    slow.worker_a.kill()
    slow.worker_b.kill()
    caller = slow.start_caller("late")
    wait_until(lambda: (caller.folder / "sweep.json").exists(), "the start of the sweep")
    slow.worker_a = slow.a.start_worker(slow.address)
    wait_until(slow.a.runs_in_training, "a run on host a")
    slow.worker_b = slow.b.start_worker(slow.address)
    wait_until(slow.b.runs_in_training, "a run on host b")
    assert caller.results() == slow.here(tmp_path / "here")
    caller.assert_each_run_is_whole_and_ended_once()


def test_files_are_predicted_on_a_host_without_the_files_and_the_model(hosts, tmp_path):
    """Pieces and model travel; the answers are those of one machine."""
    hosts.restart()
    (tmp_path / "c.yaml").write_text(BASE.replace("EPOCHS", "3"))
    (tmp_path / "rows.csv").write_text(ROWS)
    model = load_model(train(tmp_path / "c.yaml", run_dir=hosts.work / "model").run_dir)
    names = [f"day{i}.csv" for i in range(6)]
    for i, name in enumerate(names):
        (hosts.work / name).write_text(ROWS[: 300 * (i + 1)].rpartition("\n")[0] + "\n")
    hosts.worker_b.kill()  # only host a is left, whose file system has none of these
    command = [sys.executable, "-m", "twolayer", "predict", "model", *names, "-o", "answers"]
    process = hosts.b.start(*command, "--scheduler", hosts.address, "--quiet", log="predict")
    assert process.wait(60) == 0, (hosts.b.folder / "predict").read_text()
    assert "predicted 6 of 6 files" in (hosts.b.folder / "predict").read_text()
    for name in names:
        answer = (hosts.work / "answers" / name).read_text().splitlines()
        assert answer[0] == "label"
        labels = [model.classes[p.argmax()] for p in model.predict_file(hosts.work / name)]
        assert answer[1:] == list(map(str, labels))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_over_tls_a_caller_with_a_certificate_is_served_and_one_without_is_not(hosts, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    ca, cert, key = (str(keys / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run("openssl", "req", "-x509", *new_key, "-keyout", f"{keys}/ca.key", "-out", ca, "-subj", "/CN=test")
    run("openssl", "req", *new_key[:-2], "-keyout", key, "-out", f"{keys}/request", "-subj", "/CN=member")
    signing = ["-CA", ca, "-CAkey", f"{keys}/ca.key", "-CAcreateserial", "-days", "2"]
    run("openssl", "x509", "-req", "-in", f"{keys}/request", *signing, "-out", cert)
    tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
    address = f"tls://{hosts.b.address}:{PORT}"
    begun = [hosts.b.start_scheduler("--protocol", "tls", *tls), hosts.b.start_worker(address, *tls)]
    hosts.write_sweep("trials: 1\n", epochs=2)
    try:
        command = [sys.executable, "-m", "twolayer", "sweep", "sweep.yaml", "--quiet", "--scheduler", address]
        with_key = hosts.b.start(*command, "--sweep-dir", "tls", *tls, log="with-key")
        without = hosts.b.start(*command, "--sweep-dir", "plain", log="without-key")
        assert with_key.wait(60) == 0, (hosts.b.folder / "with-key").read_text()
        assert len(list((hosts.work / "tls" / "runs").iterdir())) == 1
        assert without.wait(60) == 2
        assert "no Dask scheduler answers" in (hosts.b.folder / "without-key").read_text()
    finally:
        for process in begun:
            process.kill()
