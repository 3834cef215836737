"""A sweep on two hosts whose network is cut for 20 seconds, with Dask's default settings; see test_hosts.py.

A file of its own, so that it waits beside other tests."""

from __future__ import annotations

import time

import pytest
from hosts import PATIENT, two_hosts, wait_until, why_not
from sweep_files import InProcessPool

pytest.importorskip("optuna")
pytest.importorskip("distributed")
from twolayer.sweep import search
from twolayer.training import recorder

pytestmark = pytest.mark.skipif(bool(reason := why_not()), reason=reason or "possible")

CUT_SECONDS = 20


def test_a_network_cut_for_20_seconds_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "LocalPool", InProcessPool)
    monkeypatch.setattr(recorder, "draw_loss_curve", lambda *arguments, **options: None)
    monkeypatch.setattr(search, "_draw", lambda *arguments: None)
    with two_hosts(tmp_path / "hosts", PATIENT) as hosts:
        hosts.write_sweep("trials: 6\n", epochs=100)
        with hosts.scheduler_on_b():
            caller = hosts.start_caller("cut")
            wait_until(hosts.a.runs_in_training, "a run on host a")
            hosts.a.connect(False)
            time.sleep(CUT_SECONDS)  # the length is what is tested
            assert caller.process.poll() is None, caller.said()  # it waits for the run on host a
            hosts.a.connect(True)
            assert caller.results() == hosts.here(tmp_path / "here")
            caller.assert_each_run_is_whole_and_ended_once()
            assert "gone" not in caller.said()
            assert "tried again" not in caller.said()
