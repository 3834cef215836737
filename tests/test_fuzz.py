"""Short versions of the fuzz campaigns, and proof that a campaign sees what it is there to see."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fault_injection import run_python

from tests.fuzz.__main__ import command
from tests.fuzz.campaign import MEMORY_BYTES, Campaign, memory_limit, peak_mib
from tests.fuzz.configs import fuzz_configs
from tests.fuzz.damage import fuzz_damage
from tests.fuzz.data import fuzz_data
from tests.fuzz.disk import fuzz_disk
from tests.fuzz.folders import COMMANDS, fuzz_folders
from tests.fuzz.journals import fuzz_journals
from tests.fuzz.kills import KILLS, fuzz_kills
from tests.fuzz.power import PowerCutDisk, fuzz_power
from tests.fuzz.training import warm_up
from twolayer.network.optim import OPTIMIZERS


@pytest.fixture
def campaign(tmp_path):
    return Campaign("cases", tmp_path / "scratch", tmp_path / "kept")


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_loaded(tmp_path_factory):
    warm_up(tmp_path_factory.mktemp("warm") / "run")


def require_none_failed(tally, *words):
    assert tally.failures == []
    assert all(tally.counts[word] > 0 for word in words), tally.counts


def test_broken_and_random_configs(campaign):
    tally = fuzz_configs(campaign, count=150, train=3, seed=1)
    require_none_failed(tally, "accepted", "refused", "trained")


def test_broken_data_files(campaign):
    tally = fuzz_data(campaign, count=300, train=3, seed=1)
    require_none_failed(tally, "accepted", "refused", "trained")


def test_damaged_and_forged_checkpoints(campaign, tmp_path):
    tally = fuzz_damage(campaign, tmp_path, count=250, forge=10, seed=1)
    require_none_failed(tally, "read as it was", "refused", "forged and refused")
    assert sum(tally.counts.values()) == 260


def test_a_disk_that_is_full_at_a_write(campaign, tmp_path, monkeypatch):
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)
    tally = fuzz_disk(campaign, tmp_path, every=41)
    require_none_failed(tally, "resumed to the same end", "left nothing behind, and started again")


def test_run_folders_with_things_in_them_that_no_run_has(campaign, tmp_path):
    tally = fuzz_folders(campaign, tmp_path, count=12, seed=2)
    require_none_failed(tally, "3 of 3 commands refused")


def test_what_folders_may_not_do_is_seen(campaign, tmp_path, monkeypatch):
    """Without the box, a link leads a command out of the run folder."""
    monkeypatch.setattr("twolayer.runs.folder.RunFolder.require_box", lambda self: None)
    monkeypatch.setattr("twolayer.utils.files.require_regular", lambda *arguments, **options: None)
    monkeypatch.setattr("twolayer.utils.files._O_NOFOLLOW", 0)

    def put(path, run, outside, rng):
        if not (run / "history.csv").is_symlink():
            shutil.move(run / "history.csv", outside / "history.csv")
            (run / "history.csv").symlink_to(outside / "history.csv")

    monkeypatch.setattr("tests.fuzz.folders._put", put)
    monkeypatch.setattr("tests.fuzz.folders.COMMANDS", COMMANDS[:2] + COMMANDS[-1:])
    tally = fuzz_folders(campaign, tmp_path, count=4, seed=1)
    assert any("a file outside of the run folder was written" in failure for failure in tally.failures)


def test_journals_that_no_sweep_wrote(campaign, tmp_path):
    pytest.importorskip("optuna")
    tally = fuzz_journals(campaign, tmp_path, count=40, seed=1)
    require_none_failed(tally, "resumed", "refused")


def test_a_power_cut_at_an_operation(campaign, tmp_path, monkeypatch):
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)
    tally = fuzz_power(campaign, tmp_path, every=31)
    require_none_failed(tally, *(f"{lost}: resumed to the same end" for lost in ("bytes lost", "bytes and names lost")))
    assert tally.counts["bytes lost: no run yet"] < tally.counts["bytes lost: resumed to the same end"]


@pytest.mark.parametrize(("operation", "lost"), [("sync", "bytes lost"), ("sync_folder", "bytes and names lost")])
def test_a_power_cut_shows_what_was_not_flushed(campaign, tmp_path, monkeypatch, operation, lost):
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)
    monkeypatch.setattr(PowerCutDisk, operation, lambda *arguments: None)
    tally = fuzz_power(campaign, tmp_path, every=60)
    assert tally.counts[f"{lost}: resumed to the same end"] == 0


def test_kills_are_counted_where_they_hit_and_runs_that_differ_fail(campaign, tmp_path, monkeypatch):
    seen = []

    def verify(config, overrides, folder, *, kills, rng):
        seen.append((overrides, kills))
        (folder / "straight").mkdir()
        return max(kills - 2, 1), ["array W1 of last.npz differs"] if len(seen) == 3 else []

    monkeypatch.setattr("tests.fuzz.kills.verify_resume", verify)
    tally = fuzz_kills(campaign, count=200, seed=0)
    assert [kills for _, kills in seen[:4]] == [KILLS] * 4
    assert tally.counts["kills"] == 200
    assert tally.counts["runs equal"] == len(seen) - 1
    assert len(tally.failures) == 1
    assert "NOT equal to the run never stopped (8 kills" in tally.failures[0]
    chosen = {override for overrides, _ in seen for override in overrides}
    assert {f"solver.optimizer={name}" for name in OPTIMIZERS} <= chosen
    assert {"solver.engine=numpy", "solver.schedule=plateau", "solver.patience=200"} <= chosen
    assert "solver.class_weight=balanced" in chosen


KILL_AT_MANY_OPERATIONS = """
import os
from pathlib import Path
import twolayer.training.recorder
from fault_injection import KillingDisk, using_disk
from twolayer.config import config_from_dict
from tests.fuzz.disk import CONFIG
from twolayer.runs.folder import RunFolder
from twolayer.runs.checkpoint import load_model
from twolayer.training.run import resume, train
from twolayer.commands.verify_resume import differences
twolayer.training.recorder.draw_loss_curve = lambda *arguments, **options: None
here = Path({folder!r})
train(config_from_dict(CONFIG), run_dir=here / "straight")
for fail_at in range(1, 10_000, 37):
    run_dir = here / str(fail_at)
    child = os.fork()
    if child == 0:
        with using_disk(KillingDisk(fail_at)):
            train(config_from_dict(CONFIG), run_dir=run_dir)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    if run_dir.exists():
        load_model(run_dir)
        resume(run_dir)
        assert list(differences(RunFolder(here / "straight"), RunFolder(run_dir))) == [], fail_at
print(fail_at)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_any_write_resumes_to_the_same_end(tmp_path):
    writes = int(run_python(KILL_AT_MANY_OPERATIONS.format(folder=str(tmp_path))))
    assert writes > 100


def test_the_command_prints_its_counts():
    shown = CliRunner().invoke(command, ["configs", "--count", "30", "--train", "0"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("configs: ")
    assert " refused; slowest " in shown.output
    assert shown.output.endswith("; none failed\n")


def test_a_surprise_fails_the_command_and_keeps_what_made_it(tmp_path, monkeypatch):
    def crash(*arguments, **options):
        raise KeyError("planted")

    monkeypatch.setattr("tests.fuzz.configs.load_config", crash)
    shown = CliRunner().invoke(command, ["configs", "--count", "2", "--keep", str(tmp_path / "kept")])
    assert shown.exit_code == 1
    kept = tmp_path / "kept" / "configs-0"
    assert f"{kept}: KeyError: 'planted'" in shown.output
    assert (kept / "config.yaml").stat().st_size > 0
    assert "in crash" in (kept / "traceback.txt").read_text()


class Command:
    def __reduce__(self):
        return os.getpid, ()


def warn():
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (lambda: time.sleep(5), "TooSlowError: more than 0.2 seconds"),
        (lambda: os.system("true"), "ForbiddenError: os.system"),
        (lambda: pickle.loads(pickle.dumps(Command())), "ForbiddenError: pickle.find_class"),
        (lambda: Path("outside").write_text(""), "ForbiddenError: open"),
        (lambda: os.mkdir("outside"), "ForbiddenError: os.mkdir"),
        (warn, "RuntimeWarning: overflow"),
        (lambda: [][0], "IndexError"),
    ],
)
def test_a_case_that_misbehaves_is_a_failure(campaign, tmp_path, monkeypatch, action, said):
    monkeypatch.chdir(tmp_path)
    assert campaign.case(7, lambda: str(action()), seconds=0.2) is None
    assert [said in failure for failure in campaign.tally.failures] == [True]
    assert campaign.tally.counts == {"failed": 1}
    assert not (tmp_path / "outside").exists()
    assert campaign.case(8, lambda: "accepted") == "accepted"
    (tmp_path / "inside").mkdir()  # nothing is watched any more


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits a process's memory")
def test_memory_is_capped(campaign):
    with memory_limit():
        campaign.case(1, lambda: str(np.zeros(2 * MEMORY_BYTES, np.uint8).shape))
        campaign.case(2, lambda: str(np.zeros(MEMORY_BYTES // 4, np.uint8).shape))
    assert ["MemoryError" in failure for failure in campaign.tally.failures] == [True]
    assert campaign.tally.counts.total() == 2
    assert np.zeros(2 * MEMORY_BYTES, np.uint8).shape == (2 * MEMORY_BYTES,)  # it is lifted again
    assert 10 < campaign.tally.peak <= peak_mib()
