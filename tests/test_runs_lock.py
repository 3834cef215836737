"""One process at a time writes into a run; a process that died, however it died, is not in the way."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from fault_injection import start_python

from twolayer.runs.folder import RunFolder, folder_lock
from twolayer.utils.errors import RunError


def holder(path: Path):
    """Another process that has locked the run at `path` and waits."""
    process = start_python(
        "from pathlib import Path\n"
        "from twolayer.runs.folder import folder_lock\n"
        f"with folder_lock(Path({str(path)!r})):\n"
        "    print('locked', flush=True)\n"
        "    input()\n"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_run_in_use_by_another_process_is_refused_until_that_ends(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(RunError) as caught, folder_lock(tmp_path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: this run is in use by another twolayer process")
    assert "then try again" in message
    assert str(process.pid) not in message.replace(str(tmp_path), "")
    process.communicate("\n", timeout=30)
    with folder_lock(tmp_path) as notices:
        assert notices == ()


def test_the_lock_of_a_killed_process_is_not_in_the_way(tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode != 0
    with folder_lock(tmp_path):
        pass


def test_a_second_lock_in_the_same_process_is_also_refused(tmp_path):
    with folder_lock(tmp_path), pytest.raises(RunError, match="in use"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass


def test_the_lock_is_given_back_when_the_block_ends_in_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        raise ZeroDivisionError
    with folder_lock(tmp_path):
        pass


def test_locks_of_different_runs_do_not_touch_each_other(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with folder_lock(tmp_path / "a"), folder_lock(tmp_path / "b"):
        pass


def test_a_lock_that_cannot_be_opened_is_an_error_with_its_path(tmp_path):
    with (
        pytest.raises(RunError, match=r"\.lock: the run cannot be locked: No such file"),
        folder_lock(tmp_path / "missing"),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="the codes are those of flock")
def test_a_file_system_without_locks_gives_a_notice_and_no_refusal(tmp_path, monkeypatch):
    def no_locks(descriptor, shared):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with folder_lock(tmp_path) as notices:
        assert "has no locks: make sure that only one process" in notices[0]


def test_another_failure_of_locking_is_an_error(tmp_path, monkeypatch):
    def fails(descriptor, shared):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", fails)
    said = "the run cannot be locked: Input/output error; the device is failing"
    with pytest.raises(RunError, match=said), folder_lock(tmp_path):
        pass


def test_whether_a_run_is_in_use_can_be_asked_without_writing(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.in_use()
    assert list(tmp_path.iterdir()) == []
    with folder_lock(run.path):
        assert run.in_use()
        assert run.in_use()  # asking does not release it
    assert not run.in_use()
    with folder_lock(run.path):
        pass
