"""Faulty and hostile input from end to end: each error in data, run folder and model file ends in its message."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_helpers import idx_bytes, write

from twolayer.commands.train import describe
from twolayer.config import config_from_dict, load_config
from twolayer.runs.checkpoint import load_model, read_arrays, write_arrays
from twolayer.training.run import resume, train
from twolayer.utils.errors import ConfigError, DataError, DivergedError, RunError
from twolayer.views.evaluation import evaluate_run
from twolayer.views.run_data import read_run

GOOD = "a,b,kind\n" + "".join(f"{i},{i % 5},{'xyz'[i % 3]}\n" for i in range(30))
SOLVER = {"epochs": 2, "batch_size": 8}


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr("twolayer.training.recorder.draw_loss_curve", lambda *arguments, **options: None)


def train_on(tmp_path, source, **data):
    data = {"train": source, "validation": 0, **data}
    config = config_from_dict({"data": data, "model": {"hidden": 3}, "solver": SOLVER})
    return train(config, run_dir=tmp_path / "run")


def train_on_csv(tmp_path, text, **data):
    return train_on(tmp_path, str(write(tmp_path / "rows.csv", text)), label="kind", **data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "1,2\n", r"rows\.csv:32: expected 3 cells.*, got 2"),
        (GOOD + "1,two,x\n", r"rows\.csv:32: column 'b': expected a number.*, got 'two'"),
        (GOOD + "1,,x\n", r"rows\.csv:32: column 'b': .*missing"),
        (GOOD + "NA,1,x\n", r"rows\.csv:32: column 'a': .*missing"),
        (GOOD + "?,1,x\n", r"rows\.csv:32: column 'a': .*missing"),
        (GOOD + "NaN,1,x\n", r"rows\.csv:32: column 'a': .*missing"),
        (GOOD + "1,-inf,x\n", r"rows\.csv:32: column 'b': expected a finite number.*, got -inf"),
        (GOOD.replace("kind", "sort"), r"rows\.csv:1: expected one of 'a', 'b', 'sort'.*, got label column 'kind'"),
        ("", r"rows\.csv: .*, got an empty file"),
        ("a,b,kind\n", r"rows\.csv: .*, got a header and no rows"),
        ("a,b,kind\n1,2,x\n3,4,x\n", r"rows\.csv: expected two or more classes, got one, 'x'"),
        (GOOD.replace("a,b", "a,a"), r"rows\.csv:1: .*, got 2 columns named 'a'"),
        ("a,b,kind\n1,2,\"x\n", r"rows\.csv:\d+: "),
    ],
)  # fmt: skip
def test_an_error_in_a_table_names_its_line_and_column(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        train_on_csv(tmp_path, text)
    assert not (tmp_path / "run").exists()


def test_a_class_too_rare_for_the_split_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected at least 2 of each class.*, got class 'w' has 1 row"):
        train_on_csv(tmp_path, GOOD + "1,2,w\n", validation=0.2)


def test_a_class_in_the_test_file_that_training_did_not_know_is_named(tmp_path):
    more = write(tmp_path / "test.csv", "a,b,kind\n1,2,x\n3,4,w\n")
    with pytest.raises(DataError, match=r"test\.csv:3: .*'w'"):
        train_on_csv(tmp_path, GOOD, test=str(more))


def test_bom_crlf_quotes_and_a_constant_feature_are_accepted(tmp_path):
    text = "\ufeff" + GOOD.replace("a,b", '"a",c,b').replace("\n", "\r\n").replace(",x", ',"x"')
    lines = text.split("\r\n")
    text = "\r\n".join([lines[0], *(line.replace(",", ",7,", 1) for line in lines[1:])])
    result = train_on_csv(tmp_path, text)
    assert result.model.classes == ("x", "y", "z")
    assert np.isfinite(result.model.predict_proba([[1.0, 7.0, 2.0]])).all()


def images(n=12):
    return np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3)


PAIR = {"x": idx_bytes(images()), "y": idx_bytes(np.arange(12, dtype=np.uint8) % 3)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"x": b"\x00\x00\x07\x03" + PAIR["x"][4:]}, r"x-ubyte\.gz: .*0x00000803.*, got magic number 0x00000703"),
        ({"x": PAIR["x"][:-1]}, r"x-ubyte\.gz: expected 72 bytes of data, as its header announces 12 x 2 x 3, got 71"),
        ({"y": PAIR["y"][:7]}, r"y-ubyte\.gz: "),
        ({"y": idx_bytes(np.zeros(11, np.uint8))}, r"expected one label for each.*, got 12 rows .* 11 labels"),
        ({"x": struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**16, 2**16)},
         r"x-ubyte\.gz: expected 18,446,.*, got 0"),
    ],
)  # fmt: skip
def test_an_error_in_idx_files_names_what_was_expected_and_found(tmp_path, content, said):
    for name, data in {**PAIR, **content}.items():
        write(tmp_path / f"{name}-ubyte.gz", data)
    source = {"features": str(tmp_path / "x-ubyte.gz"), "labels": str(tmp_path / "y-ubyte.gz")}
    with pytest.raises(DataError, match=said):
        train_on(tmp_path, source)


@pytest.mark.parametrize("row", [0, 5])
def test_a_signalling_nan_in_an_idx_file_is_reported_without_a_warning(tmp_path, row):
    bits = np.ones((12, 2), ">f4").view(">u4")
    bits[row, 1] = 0x7F800001
    write(tmp_path / "x-ubyte", struct.pack(">BBBBII", 0, 0, 0x0D, 2, 12, 2) + bits.tobytes())
    write(tmp_path / "y-ubyte", PAIR["y"])
    with pytest.raises(DataError, match=rf"x-ubyte, row {row}: feature 1: .*, got nan"):
        train_on(tmp_path, {"features": str(tmp_path / "x-ubyte"), "labels": str(tmp_path / "y-ubyte")})


def test_numbers_whose_squares_overflow_can_still_be_centered(tmp_path):
    text = GOOD.replace("\n1,", "\n1e200,")
    assert train_on_csv(tmp_path, text, scale="max").summary["status"] == "finished"
    config = {"data": {"train": str(tmp_path / "rows.csv"), "label": "kind", "validation": 0, "scale": "center"}}
    values = config | {"model": {"hidden": 3, "dtype": "float64"}, "solver": {**SOLVER, "learning_rate": 1e-300}}
    with pytest.raises(DivergedError, match="scale: standardize"):
        train(config_from_dict(values), run_dir=tmp_path / "other")


@pytest.mark.parametrize("cut", [12, 60])
def test_a_truncated_gz_file_is_reported(tmp_path, cut):
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(GOOD.encode())[:-cut])
    with pytest.raises(DataError, match=r"rows\.csv\.gz: .*, got the gzip file is cut short"):
        train_on(tmp_path, str(tmp_path / "rows.csv.gz"), label="kind")


def test_a_gz_bomb_is_refused(tmp_path):
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(bytes(65 << 20), compresslevel=1))
    with pytest.raises(DataError, match=r"more than 67,108,864 bytes packed in"):
        train_on(tmp_path, str(tmp_path / "rows.csv.gz"), label="kind")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n1\n", r"new\.csv:1: expected the column 'b' of the training, got 'a'"),
        ("1\n", r"new\.csv:1: expected the column 'a' of the training, got '1'"),
        ("a,b\n1,2\n3,q\n", r"new\.csv:3: column 'b': expected a number.*, got 'q'"),
        ("", r"new\.csv: .*, got an empty file"),
    ],
)
def test_an_error_in_rows_to_predict_is_reported(tmp_path, text, said):
    model = train_on_csv(tmp_path, GOOD).model
    write(tmp_path / "new.csv", text)
    with pytest.raises(DataError, match=said):
        model.predict_file(tmp_path / "new.csv")


@pytest.mark.parametrize("kinds", [("x", "y"), ("", "?"), ("w", ""), range(2)])
@pytest.mark.parametrize("header", [True, False])
def test_labels_of_rows_to_be_predicted_are_not_looked_at(tmp_path, kinds, header):
    label, skipped = ("kind", 0) if header else (2, 1)  # without a header, columns are known by their positions
    rows = write(tmp_path / "rows.csv", "".join(GOOD.splitlines(keepends=True)[skipped:]))
    model = train_on(tmp_path, str(rows), label=label, header=header).model
    without = write(tmp_path / "without.csv", "a,b\n" * header + "1,2\n3,4\n")
    lines = ["a,b,kind"] * header + [f"1,2,{kinds[0]}", f"3,4,{kinds[1]}"]
    new = write(tmp_path / "new.csv", "\n".join(lines) + "\n")
    np.testing.assert_array_equal(model.predict_file(new), model.predict_file(without))


def test_labels_in_an_array_file_to_be_predicted_are_not_looked_at(tmp_path):
    X = np.arange(24.0).reshape(12, 2)
    np.savez(tmp_path / "t.npz", X=X, y=np.arange(12) % 3)
    model = train_on(tmp_path, str(tmp_path / "t.npz")).model
    np.savez(tmp_path / "new.npz", X=X, y=np.full(12, np.nan))
    np.testing.assert_array_equal(model.predict_file(tmp_path / "new.npz"), model.predict_proba(X))


class Command:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def hostile_npz(path, hostile):
    pickled = io.BytesIO()
    np.save(pickled, np.array([Command(hostile)], object), allow_pickle=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", pickled.getvalue())
        archive.writestr("header.npy", pickled.getvalue())
        archive.writestr("evil.pkl", pickle.dumps(Command(hostile)))
    return path


@pytest.mark.parametrize("where", ["data", "model", "checkpoint", "rows to predict"])
def test_a_pickle_is_refused_in_every_reader(tmp_path, where):
    hostile = tmp_path / "made by the file"
    if where == "data":
        with pytest.raises(DataError, match=r"t\.npz"):
            train_on(tmp_path, str(hostile_npz(tmp_path / "t.npz", hostile)))
    else:
        result = train_on_csv(tmp_path, GOOD)
        run = result.run_dir
        match where:
            case "model":
                hostile_npz(run / "best.npz", hostile)
                with pytest.raises(RunError, match=r"best\.npz"):
                    load_model(run)
            case "checkpoint":
                hostile_npz(run / "last.npz", hostile)
                with pytest.raises(RunError, match=r"last\.npz"):
                    resume(run)
            case _:
                with pytest.raises(DataError, match=r"new\.npz"):
                    result.model.predict_file(hostile_npz(tmp_path / "new.npz", hostile))
    assert not hostile.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60)), "alias|too|more"),
        ("data: " + "[" * 5000, "nested|deep"),
        ("data: !!python/object/apply:os.mkdir [boom]\n", "tag"),
        ("data: {train: {generator: toy}}\nrun: {dir: !env HOME}\n", "tag"),
    ],
)  # fmt: skip
def test_a_hostile_config_ends_quickly_in_errors_with_places(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_config("c.yaml")
    assert all(problem.startswith(("c.yaml:", "... and")) for problem in caught.value.problems)
    assert not Path("boom").exists()


def test_a_model_of_another_network_than_its_preparation_is_refused(tmp_path):
    run = train_on_csv(tmp_path, GOOD).run_dir
    arrays, header = read_arrays(run / "best.npz")
    header.pop("format")
    arrays["W1"] = np.zeros((3, 3), np.float32)
    write_arrays(run / "best.npz", arrays, header)
    with pytest.raises(RunError, match=r"best\.npz: parameters for 3 features and 3 classes, preparation for 2 and 3"):
        load_model(run)


def stopped_run(tmp_path):
    write(tmp_path / "rows.csv", GOOD)
    config = config_from_dict(
        {"data": {"train": str(tmp_path / "rows.csv"), "label": "kind", "validation": 0}, "model": {"hidden": 3},
         "solver": {**SOLVER, "epochs": 4}}
    )  # fmt: skip
    return train(config, run_dir=tmp_path / "run", stop=lambda record: record["epoch"] == 2).run_dir


@pytest.mark.parametrize("damage", ["missing", "cut short", "pickle", "of another moment"])
def test_resume_writes_a_lost_best_npz_again_from_last_npz(tmp_path, damage):
    run = stopped_run(tmp_path)
    best = (run / "best.npz").read_bytes()
    match damage:
        case "missing":
            (run / "best.npz").unlink()
        case "cut short":
            (run / "best.npz").write_bytes(best[:500])
        case "pickle":
            hostile_npz(run / "best.npz", tmp_path / "x")
        case _:
            arrays, header = read_arrays(run / "best.npz")
            header.pop("format")
            write_arrays(run / "best.npz", arrays, {**header, "epoch": 1})
    seen = []

    def stop(record):
        seen.append((run / "best.npz").read_bytes())
        return True

    notes = resume(run, stop=stop).notes
    assert seen == [best]
    assert ("rewritten from last.npz" in " ".join(notes)) == (damage != "of another moment")
    assert resume(run).summary["status"] == "finished"


def test_a_finished_run_that_lost_its_best_npz_gets_it_back(tmp_path):
    run = train_on_csv(tmp_path, GOOD).run_dir
    best = (run / "best.npz").read_bytes()
    (run / "best.npz").unlink()
    result = resume(run)
    assert "nothing to resume" in result.notes[0]
    assert "missing or damaged; rewritten" in result.notes[1]
    assert (run / "best.npz").read_bytes() == best


def test_a_run_killed_before_its_last_summary_is_concluded_on_resume(tmp_path):
    run = stopped_run(tmp_path)
    interrupted = (run / "summary.json").read_bytes()
    finished = resume(run).summary
    (run / "summary.json").write_bytes(interrupted)
    (run / "predictions.npz").unlink()
    summary = resume(run).summary
    assert (summary["status"], summary["epochs"]) == ("finished", 4)
    assert {**summary, "seconds": 0} == {**finished, "seconds": 0}
    assert (run / "predictions.npz").exists()


def test_the_summary_of_an_earlier_end_is_not_taken_for_that_of_a_later_one(tmp_path):
    run = stopped_run(tmp_path)
    resume(run)
    earlier = (run / "summary.json").read_bytes()
    resume(run, ["solver.epochs=6"])
    (run / "summary.json").write_bytes(earlier)  # as after a kill behind the last checkpoint
    assert resume(run).summary["epochs"] == 6


def test_without_rows_held_out_a_run_reports_its_training_accuracy(tmp_path):
    result = train_on_csv(tmp_path, GOOD)
    said = f"training accuracy {result.summary['train_accuracy']:.4f}, loss {result.summary['train_loss']:.4f}"
    assert said in describe(result).splitlines()
    (tmp_path / "other").mkdir()
    held_out = describe(train_on_csv(tmp_path / "other", GOOD, validation=0.2))
    assert "training accuracy" not in held_out
    assert "validation accuracy" in held_out


@pytest.mark.parametrize(
    "damage",
    [
        lambda summary: {name: summary[name] for name in ("status", "steps")},
        lambda summary: {**summary, "seconds": 10**400},
        lambda summary: {**summary, "status": ["finished"]},
        lambda summary: [summary],
    ],
)
def test_an_incomplete_summary_of_a_finished_run_is_written_again(tmp_path, damage):
    run = train_on_csv(tmp_path, GOOD).run_dir
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(damage(summary)))
    result = resume(run)
    assert json.loads((run / "summary.json").read_text()) == result.summary == summary
    assert "3 network; 30 rows to train on" in describe(result)
    assert "nothing to resume" in result.notes[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays, header: header.pop("classes"), "classes: expected a list of labels"),
        (lambda arrays, header: header.update(classes="xyz"), "classes: expected a list of labels"),
        (lambda arrays, header: header.update(classes=[[1], 2, 3]), "classes: expected a list of labels"),
        (lambda arrays, header: header["classes"].pop(), r"N x 2 probabilities, got .* float32 \(\d, 3\)"),
        (lambda arrays, header: arrays.pop("test_proba"), "rows: expected N row numbers"),
        (lambda arrays, header: arrays.pop("test_y"), "rows: expected N row numbers"),
        (lambda arrays, header: arrays.pop("validation_rows"), "validation rows: expected N row numbers"),
        (lambda arrays, header: arrays["test_y"].fill(100), "N class indices below 3"),
        (lambda arrays, header: arrays.update(test_y=arrays["test_y"] * np.int8(-1)), "N class indices below 3"),
        (lambda arrays, header: arrays["test_rows"].fill(-1), "N row numbers"),
        (lambda arrays, header: arrays.update(test_y=arrays["test_y"][:, None]), r"\w+ \(6, 1\)"),
        (lambda arrays, header: arrays.update(test_y=np.float64(1)), r"float64 \(\)"),
        (lambda arrays, header: arrays.update(test_y=arrays["test_y"] * 1.0), r"float64 \(6,\)"),
        (lambda arrays, header: arrays.update(test_y=arrays["test_y"][:5]), r"\w+ \(5,\)"),
        (lambda arrays, header: arrays.update(test_proba=arrays["test_proba"][:, 0]), r"float32 \(6,\)"),
        (lambda arrays, header: arrays.update(test_proba=arrays["test_proba"].astype("U3")), "<U3"),
        (lambda arrays, header: arrays["test_proba"].fill(np.inf), "rows: expected N row numbers"),
        (lambda arrays, header: arrays["test_proba"].fill(-0.5), "rows: expected N row numbers"),
        (lambda arrays, header: arrays.update({name: arrays[name][:0] for name in arrays}), r"\w+ \(0,\)"),
    ],
)  # fmt: skip
def test_predictions_that_do_not_fit_together_are_refused(tmp_path, change, said):
    run = train_on_csv(tmp_path, GOOD, validation=0.2, test=0.2).run_dir
    arrays, header = read_arrays(run / "predictions.npz")
    header.pop("format")
    change(arrays, header)
    write_arrays(run / "predictions.npz", arrays, header)
    for read in (evaluate_run, lambda path: read_run(path, {})):
        with pytest.raises(RunError, match=rf"predictions\.npz: .*{said}"):
            read(run)


def test_a_run_that_is_ended_where_it_was_interrupted_is_concluded(tmp_path):
    run = stopped_run(tmp_path)
    assert resume(run, ["solver.epochs=2"]).summary["status"] == "finished"


@pytest.mark.parametrize("keep", [0, 100, 600, -1])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, keep):
    run = stopped_run(tmp_path)
    content = (run / "last.npz").read_bytes()
    (run / "last.npz").write_bytes(content[:keep])
    with pytest.raises(RunError, match=r"last\.npz: expected|last\.npz: damaged"):
        resume(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header: header["progress"].update(epoch="x"), r"epoch is 'x'"),
        (lambda header: header["progress"].update(step=10**30), r"step is 10000"),
        (lambda header: header["progress"].update(step=3), r"step 3 in epoch 2"),
        (lambda header: header["progress"].update(stopped_early=0), r"stopped_early is 0"),
        (lambda header: header["progress"]["best"].update(value=[1]), r"value is \[1\]"),
        (lambda header: header["progress"]["best"].update(monitor="val_loss"), r"monitor is 'val_loss'"),
        (lambda header: header["progress"].pop("plateau_scale"), r"SolverProgress needs"),
        (lambda header: header["progress"].update(more=1), r"SolverProgress needs"),
        (lambda header: header.update(updates=True), r"updates is True"),
        (lambda header: header.update(updates=10**9), r"updates is 1000000000"),
        (lambda header: header.pop("settings"), r"expected a run's checkpoint with the settings"),
        (lambda header: header.update(history_rows="x"), r"history_rows: expected the number of rows .*, got 'x'"),
        (lambda header: header.update(history_rows=-1), r"history_rows: .* got -1"),
        (lambda header: header.update(steps_rows=[1]), r"steps_rows: .* got a list of 1"),
        (lambda header: header.update(steps_rows=True), r"steps_rows: .* got true"),
        (lambda header: header.pop("steps_rows"), r"steps_rows: .* got nothing"),
    ],
)
def test_a_checkpoint_that_says_what_no_training_would_is_refused(tmp_path, change, said):
    run = stopped_run(tmp_path)
    arrays, header = read_arrays(run / "last.npz")
    header.pop("format")
    change(header)
    write_arrays(run / "last.npz", arrays, header)
    with pytest.raises(RunError, match=rf"last\.npz: .*{said}"):
        resume(run)


@pytest.mark.parametrize("name", ["W2", "best/W2"])
def test_a_checkpoint_with_parameters_that_are_not_finite_is_refused(tmp_path, name):
    run = stopped_run(tmp_path)
    arrays, header = read_arrays(run / "last.npz")
    header.pop("format")
    arrays[name] = np.full_like(arrays[name], np.nan)
    write_arrays(run / "last.npz", arrays, header)
    with pytest.raises(RunError, match=rf"last\.npz: .*{name}: expected finite numbers, got (nan|NaN or infinity)"):
        resume(run)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("learning_rate: 0.1", "learning_rate: 0.2", r"cannot change solver.learning_rate from 0\.1 to 0\.2 on resume"),
        ("seed: 0", "seed: 5", r"cannot change seed from 0 to 5 on resume"),
        ("scale: standardize", "scale: max", r"cannot change .*data\.scale from 'standardize' to max on resume"),
        ("hidden: 3", "hidden: 4", r"cannot change .*model\.hidden from 3 to 4 on resume"),
    ],
)  # fmt: skip
def test_a_config_edited_by_hand_in_the_run_folder_is_noticed(tmp_path, old, new, said):
    run = stopped_run(tmp_path)
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))
    with pytest.raises(RunError, match=said):
        resume(run)


def test_an_epoch_count_edited_by_hand_counts_like_one_given_on_resume(tmp_path):
    run = stopped_run(tmp_path)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("epochs: 4", "epochs: 6"))
    assert resume(run).summary["epochs"] == 6


def test_a_config_in_the_run_folder_that_is_no_config_is_refused_with_its_place(tmp_path):
    run = stopped_run(tmp_path)
    (run / "config.yaml").write_text("seed: [\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:\d+:\d+: "):
        resume(run)


@pytest.mark.parametrize("name", ["history.csv", "steps.csv"])
def test_a_removed_log_is_reported(tmp_path, name):
    run = stopped_run(tmp_path)
    (run / name).unlink()
    with pytest.raises(RunError, match=rf"{name}: expected \d+ rows up to step 8 .*, got 0") as caught:
        resume(run)
    assert "--resume" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":' * 9999])
def test_an_invalid_environment_json_is_reported(tmp_path, content):
    run = stopped_run(tmp_path)
    (run / "environment.json").write_bytes(content)
    with pytest.raises(RunError, match=r"environment\.json: .*JSON|environment\.json:1:\d+: not JSON"):
        resume(run)
