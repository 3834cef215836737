"""The logs hold what was logged, to the last bit, and are cut back to exactly what they were at a step."""

from __future__ import annotations

import contextlib
import csv
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fault_injection import FullDisk, full_at_every_operation, using_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.runs.logs import HISTORY_COLUMNS, STEPS_COLUMNS, HistoryLog, StepsLog, read_history
from twolayer.utils.errors import RunError


def history_row(epoch, step, **values):
    return dict.fromkeys(HISTORY_COLUMNS) | {"epoch": epoch, "step": step} | values


def steps_row(step, loss=0.5):
    return {"step": step, "epoch": 1, "learning_rate": 0.1, "loss": loss}


def losses(path):
    return [float(line.split(",")[3]) for line in path.read_text().splitlines()[1:]]


def write_history(path, steps):
    log = HistoryLog(path)
    for epoch, step in enumerate(steps, start=1):
        log.append(history_row(epoch, step, train_loss=1 / epoch))
    log.close()
    return path.read_bytes()


def test_the_columns_are_the_documented_ones_and_pythons_csv_reads_them(tmp_path):
    log = HistoryLog(tmp_path / "history.csv")
    log.append(history_row(np.int64(1), 8, train_loss=np.float32(0.1), val_loss=None, seconds=0.25))
    log.close()
    with open(tmp_path / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == HISTORY_COLUMNS
    assert (row["epoch"], row["step"], row["val_loss"], row["seconds"]) == ("1", "8", "", "0.25")
    assert np.float32(row["train_loss"]) == np.float32(0.1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.floats() | st.floats(width=32), min_size=1, max_size=8))
def test_every_float_comes_back_bit_for_bit_and_none_as_nan(values):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.csv")
        log = HistoryLog(path)
        for epoch, value in enumerate(values, start=1):
            log.append(history_row(epoch, 10 * epoch, train_loss=value))
        log.close()
        columns = read_history(path)
    expected = np.array([np.nan if value is None else value for value in values], np.float64)
    np.testing.assert_array_equal(columns["train_loss"], expected)
    np.testing.assert_array_equal(np.signbit(columns["train_loss"]), np.signbit(expected) & ~np.isnan(expected))
    assert list(columns) == list(HISTORY_COLUMNS)
    assert columns["step"].tolist() == [10 * (i + 1) for i in range(len(values))]
    assert np.isnan(columns["val_loss"]).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_cutting_back_gives_the_file_as_it_was_at_that_step_and_resuming_the_same_file(data):
    gaps = data.draw(st.lists(st.integers(1, 50), max_size=12))
    steps = np.cumsum([0, *gaps])[1:].tolist()
    cut = data.draw(st.integers(0, sum(gaps) + 5))
    kept = sum(step <= cut for step in steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.csv")
        at_step, whole = write_history(path, steps[:kept]), b""
        path.unlink()
        whole = write_history(path, steps)
        # A kill may have torn the file anywhere after what was flushed with the checkpoint.
        path.write_bytes(whole[: data.draw(st.integers(len(at_step), len(whole)))])
        log = HistoryLog(path, cut, rows=kept)
        assert path.read_bytes() == at_step
        assert log.rows == kept
        for epoch, step in enumerate(steps[kept:], start=kept + 1):
            log.append(history_row(epoch, step, train_loss=1 / epoch))
        log.close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\0\n\0\n", b"3,x\n", b"\n", b"3,30" + b"," * 30 + b"\n"])
def test_what_a_power_failure_leaves_behind_the_last_row_is_cut_off(tmp_path, garbage):
    path = tmp_path / "history.csv"
    whole = write_history(path, [10, 20])
    path.write_bytes(whole + garbage)
    log = HistoryLog(path, 20, rows=2)
    log.close()
    assert path.read_bytes() == whole


def test_an_empty_or_torn_header_is_written_again_for_a_run_at_step_0(tmp_path):
    path = tmp_path / "history.csv"
    header = write_history(path, [])
    for left in range(len(header) + 1):
        path.write_bytes(header[:left])
        log = HistoryLog(path, 0, rows=0)
        log.close()
        assert path.read_bytes() == header


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:2], b"2,x" + b"," * 16 + b"\n", *lines[3:]], r":3: .*got a damaged row"),
        (lambda lines: [*lines[:2], b"2,20\n", *lines[3:]], r":3: expected 21 cells and rising steps, got a"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], r"history\.csv:3: .*rising steps, got a damaged row"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], r":3: .*got a damaged row"),
        (lambda lines: [lines[0], *lines[2:]], r"expected 3 rows up to step 30 .*, got 2"),
        (lambda lines: lines[:3], r"expected 3 rows up to step 30 \(as in last.npz\), got 2; put the file back"),
        (lambda lines: [], "got 0; put"),
        (lambda lines: [b"epoch,loss\n", *lines[1:]], r"history\.csv:1: expected the columns epoch,step,.* got others"),
        (lambda lines: lines[1:], r"history\.csv:1: expected the columns"),
    ],
)
def test_a_log_that_lost_or_changed_rows_before_the_checkpoint_is_refused_and_left_alone(tmp_path, damage, message):
    path = tmp_path / "history.csv"
    lines = write_history(path, [10, 20, 30]).splitlines(keepends=True)
    damaged = b"".join(damage(lines))
    path.write_bytes(damaged)
    with pytest.raises(RunError, match=message):
        HistoryLog(path, 30, rows=3)
    assert path.read_bytes() in (damaged, lines[0])


@pytest.mark.parametrize("row", [{}, {"step": 1}, steps_row(1) | {"losss": 1.0}])
def test_a_row_with_other_columns_is_refused(tmp_path, row):
    log = StepsLog(tmp_path / "steps.csv")
    with pytest.raises(ValueError, match="expected a row with"):
        log.append(row)
    log.close()


def test_a_row_of_the_history_can_be_read_at_once_and_steps_after_a_flush(tmp_path):
    history, steps = HistoryLog(tmp_path / "history.csv"), StepsLog(tmp_path / "steps.csv")
    history.append(history_row(1, 8, train_loss=2.0))
    assert read_history(tmp_path / "history.csv")["train_loss"].tolist() == [2.0]
    steps.append(steps_row(1, loss=3.0))
    assert losses(tmp_path / "steps.csv") == []
    steps.flush()
    assert losses(tmp_path / "steps.csv") == [3.0]
    history.close()
    steps.close()


def test_sync_waits_for_the_device_after_all_rows_are_handed_over(tmp_path, monkeypatch):
    log = StepsLog(tmp_path / "steps.csv")
    log.append(steps_row(1))
    seen = []
    monkeypatch.setattr("os.fsync", lambda descriptor: seen.append((tmp_path / "steps.csv").read_text()))
    log.sync()
    assert seen == [(tmp_path / "steps.csv").read_text()]
    assert seen[0].endswith("1,1,0.1,0.5\n")
    log.close()


def test_a_full_disk_at_any_operation_leaves_whole_rows_and_loses_none_that_still_waits(tmp_path):
    (tmp_path / "straight").mkdir()
    straight = write_history(tmp_path / "straight" / "history.csv", [10, 20, 30])
    for k, error in full_at_every_operation(lambda k: write_history(tmp_path / f"{k}.csv", [10, 20, 30])):
        path = tmp_path / f"{k}.csv"
        left = path.read_bytes() if path.exists() else b""
        assert straight.startswith(left)
        assert left == b"" or left.endswith(b"\n")
        assert "No space left" in str(error)
    log = StepsLog(tmp_path / "steps.csv")
    log.append(steps_row(1))
    with using_disk(FullDisk(1)), pytest.raises(RunError, match=r"steps\.csv: cannot be written: No space"):
        log.flush()
    log.append(steps_row(2))
    log.close()
    assert losses(tmp_path / "steps.csv") == [0.5, 0.5]


def test_cutting_back_works_on_a_full_disk(tmp_path):
    write_history(tmp_path / "history.csv", [10, 20])
    with using_disk(FullDisk(4)) as disk:  # opening and flushes alone are counted
        HistoryLog(tmp_path / "history.csv", 10, rows=1).close()
    assert disk.count <= 3
    assert read_history(tmp_path / "history.csv")["step"].tolist() == [10]


def test_the_first_thousand_steps_are_logged_and_then_900_per_power_of_ten():
    logged = [step for step in range(1, 1_000_001) if StepsLog.keeps(step)]
    assert logged[:1000] == list(range(1, 1001))
    for power in (3, 4, 5):
        decade = [step for step in logged if 10**power < step <= 10 ** (power + 1)]
        assert len(decade) == 900
        assert set(np.diff([10**power, *decade])) == {10 ** (power - 2)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"history\.csv:1: expected the columns .* got no epoch"),
        ("a,b\n1,2\n", r"history\.csv:1: expected the columns epoch, step, .*, each once, got no epoch"),
        (",".join(HISTORY_COLUMNS) + ",step\n", r":1: expected the columns .* got a column twice"),
        (",".join(HISTORY_COLUMNS) + "\n" + "1," * 20 + "\n1,x" + "," * 19 + "\n", r":3: .*got a damaged row"),
        (",".join(HISTORY_COLUMNS) + "\n1,2\n", r":2: expected 21 numbers or empty cells, got a damaged row"),
        ("," * 100_000 + "\n", r":1: expected the columns .* got no epoch"),
        ("\0" * 5000, r":1: expected the columns .* got no epoch"),
    ],
)
def test_a_file_that_is_no_history_is_refused_with_its_line(tmp_path, content, message):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(RunError, match=message):
        read_history(tmp_path / "history.csv")


def test_any_flipped_byte_or_truncation_of_a_history_is_read_or_refused_without_a_traceback(tmp_path):
    whole = write_history(tmp_path / "whole.csv", [10, 20])
    path = tmp_path / "history.csv"
    for changed in [whole[:size] for size in range(len(whole))] + [
        whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))
    ]:
        path.write_bytes(changed)
        with contextlib.suppress(RunError):
            assert {len(column) for column in read_history(path).values()} <= {0, 1, 2}


def test_a_history_with_a_column_more_and_a_row_still_being_written_is_read(tmp_path):
    text = ",".join((*HISTORY_COLUMNS, "later")) + "\n" + "1," * 21 + "7\n" + "2,2"
    (tmp_path / "history.csv").write_text(text)
    columns = read_history(tmp_path / "history.csv")
    assert columns["later"].tolist() == [7.0]
    assert math.isclose(columns["epoch"][0], 1)


def test_missing_and_oversized_logs_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RunError, match=r"history\.csv: cannot be read: No such file"):
        read_history(tmp_path / "history.csv")
    write_history(tmp_path / "history.csv", [10])
    monkeypatch.setattr("twolayer.runs.logs._MAX_BYTES", 100)
    with pytest.raises(RunError, match=r"history\.csv: expected at most 100 bytes"):
        read_history(tmp_path / "history.csv")


def test_steps_have_their_four_columns():
    assert STEPS_COLUMNS == ("step", "epoch", "learning_rate", "loss")
