"""What `watch` reads: growing logs by their new bytes alone, runs in every state, none of them changed."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from view_runs import made_history, made_live_run

from twolayer.commands.watch import command as watch
from twolayer.runs.folder import folder_lock
from twolayer.runs.logs import HISTORY_COLUMNS, read_history
from twolayer.utils.errors import RunError, TwoLayerError
from twolayer.views import run_data as reading
from twolayer.views import watch as watching
from twolayer.views.run_data import Follower, LiveRun, LogTail
from twolayer.views.watch import MOST, RunList, WatchPage


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Looks in quick succession read the files each time, and nothing is postponed for lack of time."""
    monkeypatch.setattr(reading, "INTERVAL", 0.0)
    monkeypatch.setattr(reading, "SLICE", 60.0)
    monkeypatch.setattr(reading, "ASK_AGAIN", 0.0)


def lines(count, first=1, columns=HISTORY_COLUMNS):
    return b"".join(
        b",".join(b"%d" % k if name == "epoch" else b"0.5" for name in columns) + b"\n"
        for k in range(first, first + count)
    )


HEADER = ",".join(HISTORY_COLUMNS).encode() + b"\n"


def test_a_growing_log_is_read_by_its_new_bytes_alone(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    path.write_bytes(HEADER + lines(3) + b"4,0.")  # the last row is still being written
    tail = LogTail()
    assert tail.read(path)["epoch"].tolist() == [1, 2, 3]

    read = []
    opened = reading.open_to_read

    monkeypatch.setattr(reading, "open_to_read", lambda path: Counting(opened(path), read))
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.seek(-4, os.SEEK_CUR)
        file.write(lines(2, first=4))
    assert tail.read(path)["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert sum(read) < len(lines(2)) + 100


class Counting:
    """A file that notes how many bytes are read."""

    def __init__(self, file, sizes):
        self.file, self.sizes = file, sizes

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def seek(self, place):
        return self.file.seek(place)

    def read(self, size):
        data = self.file.read(size)
        self.sizes.append(len(data))
        return data


def test_a_log_that_a_resumed_run_cut_back_is_read_again(tmp_path):
    path = tmp_path / "history.csv"
    path.write_bytes(HEADER + lines(9))
    tail = LogTail()
    tail.read(path)
    path.write_bytes(HEADER + lines(2))
    assert tail.read(path)["epoch"].tolist() == [1, 2]
    path.write_bytes(HEADER + lines(2) + lines(9, first=30))  # cut back and longer again between two looks
    tail.read(path)
    path.write_bytes(HEADER + lines(20, first=100))
    assert tail.read(path)["epoch"].tolist() == list(range(100, 120))


def test_a_log_agrees_with_the_reader_of_whole_files(tmp_path):
    folder = made_live_run(tmp_path / "run", history=made_history(50, val_loss=[np.nan] * 50))
    expected = read_history(folder / "history.csv")
    for name, values in LogTail().read(folder / "history.csv").items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 5000, b"a,b\n1,2\n", HEADER[:20], HEADER + b"x,y\n" + lines(1), b"\xff\n\xff\n"]
)
def test_a_broken_log_is_no_error(tmp_path, content):
    folder = made_live_run(tmp_path / "run")
    (folder / "history.csv").write_bytes(content)
    (folder / "steps.csv").write_bytes(content)
    follower = Follower([tmp_path])
    follower.look()
    (run,) = follower.runs.values()
    assert len(run.data.history.get("epoch", ())) == (1 if b"x,y" in content else 0)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "predictions.npz"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"{" * 10_000])
def test_a_broken_file_of_a_run_is_named_and_what_was_read_stays(tmp_path, name, content):
    folder = made_live_run(tmp_path / "run")
    follower = Follower([tmp_path])
    follower.look()
    (run,) = follower.runs.values()
    assert (run.problems, run.data.status, len(run.data.column("epoch"))) == ({}, "finished", 40)
    (folder / name).write_bytes(content)
    os.utime(folder / name, (1, 1))
    follower.look()
    with (folder / "history.csv").open("ab") as file:
        file.write(lines(1, first=41))
    follower.look()
    (problem,) = run.problems.values()
    assert name in problem
    assert "\n" not in problem
    assert len(run.data.column("epoch")) == 41


def test_a_run_is_running_while_it_is_locked_and_gone_when_nothing_ended_it(tmp_path):
    folder = made_live_run(tmp_path / "run")
    (folder / "summary.json").unlink()
    follower = Follower([folder])
    with folder_lock(folder):
        follower.look()
        (run,) = follower.runs.values()
        assert run.data.status == "running"
    follower.look()
    assert run.data.status == "gone"


def test_runs_appear_and_vanish(tmp_path):
    follower = Follower([tmp_path])
    follower.look()
    assert not follower.runs
    first = made_live_run(tmp_path / "a")
    follower.look()
    made_live_run(tmp_path / "b")
    follower.look()
    assert [path.name for path in follower.runs] == ["a", "b"]
    for path in first.iterdir():
        path.unlink()
    first.rmdir()
    follower.look()
    assert [path.name for path in follower.runs] == ["b"]


def test_runs_of_a_sweep_are_marked_as_pruned(tmp_path):
    folder = made_live_run(tmp_path / "runs" / "0003-seed0")
    (folder / "summary.json").write_text('{"status": "interrupted"}')
    (tmp_path / "journal.jsonl").write_text('{"run": "0003-seed0", "status": "pruned", "reason": "", "seconds": 1}\n')
    follower = Follower([tmp_path])
    follower.look()
    assert [run.data.status for run in follower.runs.values()] == ["pruned"]


def test_nothing_is_written_and_a_look_at_runs_that_rest_opens_no_file(tmp_path, monkeypatch):
    folder = made_live_run(tmp_path / "run")

    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in Path(folder).iterdir()}

    before = state()
    follower = Follower([tmp_path])
    follower.look()
    monkeypatch.setattr(reading, "ASK_AGAIN", 60.0)
    monkeypatch.setattr(reading, "open_to_read", lambda path: pytest.fail(f"opened {path}"))
    monkeypatch.setattr(reading, "load_config", lambda *_, **__: pytest.fail("read the config"))
    (run,) = follower.runs.values()
    data = run.data
    follower.look()
    assert run.data is data
    assert state() == before


def test_a_look_at_many_runs_ends_in_time_and_continues_at_the_next(tmp_path, monkeypatch):
    for k in range(12):
        made_live_run(tmp_path / f"run{k:02}", history=made_history(3))
    monkeypatch.setattr(reading, "SLICE", 0.0)  # one run a look
    follower = Follower([tmp_path])
    for k in range(12):
        assert sum(bool(run.data.history) for run in follower.runs.values()) == k
        assert follower.look() is (k == 11)
    assert all(run.data.history for run in follower.runs.values())


def lines_of(page, panel):
    """The points of each line of a panel, by run and column."""
    return {
        (Path(path).name, name): line.data_source.data["x"]
        for (path, _, shown), lines in page.curves.lines.items()
        for name, line in lines.items()
        if shown == panel
    }


LOSS_SCALES = {"linear": "Linear", "log": "Log", "auto": "Log"}


@pytest.fixture
def page(tmp_path):
    """A page on a folder of a good run, one without a hidden layer and broken ones, and its follower."""
    document = pytest.importorskip("bokeh.document").Document()
    nothing = np.full(40, np.nan)
    layer = dict.fromkeys(("dead_share", "activation_min", "activation_median", "activation_max"), nothing)
    made_live_run(tmp_path / "good", steps=[(k, 1 + k // 50, 0.5) for k in range(1, 2000)])
    made_live_run(tmp_path / "linear", history=made_history(40, **layer), model__hidden=0)
    for name, content in (("columns", b"epoch,x\n1,2\n"), ("text", b"\xff\n"), ("empty", b""), ("header", HEADER)):
        (made_live_run(tmp_path / name) / "history.csv").write_bytes(content)
    (made_live_run(tmp_path / "model") / "best.npz").write_bytes(b"no zip")
    page = WatchPage(document, Follower([tmp_path]))
    page.list.choose(
        [str(tmp_path / name) for name in ("good", "linear", "columns", "text", "empty", "header", "model")]
    )
    page.look()
    return page


def test_the_page_draws_good_runs_beside_broken_ones_over_every_axis_and_panel(page):
    page.show.active = list(range(len(page.show.labels)))
    for by in ("epoch", "step", "seconds"):
        page.by.value = by
        for scale in ("linear", "log", "auto"):
            page.scale.value = scale
            page.look()
            assert page.curves.plots["loss"].y_scale.__class__.__name__ == f"{LOSS_SCALES[scale]}Scale"
        drawn = lines_of(page, "loss")
        assert {name for name, _ in drawn} == {"good", "linear", "model"}
        assert {column for name, column in drawn if name == "good"} == {"train_loss", "val_loss", "steps", "best"}
        assert {name for name, _ in lines_of(page, "dead_share")} == {"good", "model"}
    assert "auc" not in page.curves.plots or lines_of(page, "auc")


def test_the_page_explains_the_run_that_was_chosen_last(page, tmp_path):
    for name, words in (("good", "to repeat it"), ("empty", "No epoch has ended yet"), ("model", "best.npz")):
        others = [path for path in page.list.looks if Path(path).name != name]
        page.list.choose(others)
        page.list.choose([*others, str(tmp_path / name)])
        page.look()
        assert words in page.words.text
        assert page.words.text.startswith(f"<h3>{name}: finished")


def test_a_zoom_shows_every_epoch_of_a_long_run_and_all_of_it_after(tmp_path):
    document = pytest.importorskip("bokeh.document").Document()
    made_live_run(tmp_path / "long", history=made_history(20_000, noise=0.05))
    page = WatchPage(document, Follower([tmp_path]))
    assert len(lines_of(page, "loss")["long", "val_loss"]) <= 1000
    page.curves.plots["loss"].x_range.update(start=500.5, end=700.5)
    page.look()
    x = lines_of(page, "loss")["long", "val_loss"]
    assert set(range(501, 701)) <= set(x.astype(int))
    assert (x[0], x[-1]) == (1, 20_000)


def test_the_best_run_is_first_and_every_cell_is_text_or_a_number(page, tmp_path):
    made_live_run(tmp_path / "better", history=made_history(5, val_accuracy=[0.999] * 5))
    page.look()
    data = page.list.source.data
    assert data["run"][0] == "better"
    assert data["hidden"][data["run"].index("linear")] == 0
    assert len({len(values) for values in data.values()}) == 1
    ticked = {data["run"][k] for k in page.list.source.selected.indices}
    assert "better" not in ticked
    assert "good" in ticked


def test_sound_runs_are_drawn_before_diverged_ones_and_the_newest_before_the_best(tmp_path):
    document = pytest.importorskip("bokeh.document").Document()
    for k in range(8):  # the later, the worse
        folder = made_live_run(tmp_path / f"run{k}", history=made_history(5, val_accuracy=[0.9 - 0.1 * k] * 5))
        os.utime(folder / "environment.json", (1e9 + k, 1e9 + k))
    for k, status in ((1, "diverged"), (7, "diverged"), (3, "interrupted")):
        (tmp_path / f"run{k}" / "summary.json").write_text(f'{{"status": "{status}"}}')
    with folder_lock(tmp_path / "run5"):
        page = WatchPage(document, Follower([tmp_path]))
    assert [Path(path).name for path in page.list.looks] == ["run5", "run6", "run0", "run2", "run3"]
    assert Path(page.list.focus).name == "run5"
    assert "the newest and the best" in page.head.text


def test_no_more_runs_are_drawn_than_there_are_looks_and_those_that_stay_keep_theirs():
    pytest.importorskip("bokeh")
    table = RunList()
    table.runs = {str(k): LiveRun(Path(str(k))) for k in range(2 * MOST)}
    table.choose(["1", "2", "3"])
    before = list(table.looks.values())
    table.choose([str(k) for k in range(2, 2 * MOST)])
    looks = list(table.looks.values())
    assert len(looks) == len(set(looks)) == MOST
    assert looks[:2] == before[1:]


def test_no_heading_of_the_table_is_cut_however_many_keys_differ(tmp_path):
    document = pytest.importorskip("bokeh.document").Document()
    keys = {"learning_rate": 0.1, "reg": 0.5, "batch_size": 32, "max_grad_norm": 1.0, "patience": 7, "epochs": 9}
    made_live_run(tmp_path / "a")
    made_live_run(tmp_path / "b", model__hidden=7, **{f"solver__{name}": value for name, value in keys.items()})
    columns = {column.title: column.width for column in WatchPage(document, Follower([tmp_path])).list.table.columns}
    assert {"hidden", "max_grad_norm", "best val accuracy"} <= columns.keys()
    assert all(width > 7 * len(title) for title, width in columns.items())


@pytest.mark.parametrize(("name", "got"), [("none", "got nothing"), ("file", "got a file")])
def test_a_place_that_is_no_folder_is_refused(tmp_path, name, got):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=f"{name}: expected a folder of runs or a run, {got}"):
        CliRunner().invoke(watch, [str(tmp_path / name)], catch_exceptions=False, standalone_mode=False)


def test_without_a_folder_the_runs_of_train_and_the_trials_of_sweeps_are_followed(tmp_path, monkeypatch):
    for place in ("runs/digits", "runs/sweeps/letter/runs/0000-seed0"):
        made_live_run(tmp_path / place)
    (tmp_path / "runs/sweeps/letter/journal.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(watching, "serve", lambda places, *rest: asked.extend(places))
    CliRunner().invoke(watch, ["--no-open"], catch_exceptions=False, standalone_mode=False)
    follower = Follower(asked)
    assert follower.look()
    assert [path.name for path in follower.runs] == ["digits", "0000-seed0"]


def test_a_port_in_use_gives_the_next_free_one_and_an_address_of_another_machine_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert watching._free_port("127.0.0.1", port) != port
    with pytest.raises(TwoLayerError, match=r"--address 192\.0\.2\.1 --port 5020: .*; choose another"):
        watching._free_port("192.0.2.1", 5020)


def test_only_names_of_this_machine_may_call_the_server():
    assert watching._hosts("127.0.0.1") == ["127.0.0.1", "localhost"]
    assert watching._hosts("10.0.0.7")[0] == "10.0.0.7"
    assert "*" not in "".join(watching._hosts("0.0.0.0"))
