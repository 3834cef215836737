"""init: what a stranger's file seems to hold, and a config that loads, trains and says why."""

from __future__ import annotations

import json
import shlex
import struct

import numpy as np
import pytest

from twolayer import load_config, train
from twolayer.commands.init.columns import guess_columns
from twolayer.commands.init.proposal import propose, write_config
from twolayer.config.errors_report import Report
from twolayer.config.yaml_reader import read_document
from twolayer.data.csv_reader import number_of
from twolayer.runs.saved_model import load_model
from twolayer.utils.errors import DataError, FileError


def rows_of_flowers(n=60, seed=0):
    """Two numbers that tell three species apart, an identifier, a note, a site, a constant, and gaps."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        species = i % 3
        length = "" if i % 20 == 7 else f"{species + rng.normal(0, 0.2):.3f}"
        yield [i + 1, length, f"{rng.normal():.3f}", "ENW"[rng.integers(3)], f"sheet {i}", "cm", "abc"[species] * 3]


HEADER = ["plant_id", "length", "width", "site", "note", "unit", "species"]


def write_csv(path, rows, header=HEADER):
    lines = [",".join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def flowers(tmp_path):
    return write_csv(tmp_path / "flowers.csv", rows_of_flowers())


def uses(path, label=None):
    return {column.reference: column.use for column in guess_columns(path, label).columns}


class TestColumns:
    def test_each_column_is_taken_for_what_it_is(self, flowers):
        assert uses(flowers) == {
            "plant_id": "ignore",
            "length": "number",
            "width": "number",
            "site": "categorical",
            "note": "ignore",
            "unit": "ignore",
            "species": "label",
        }

    def test_each_guess_has_its_reason(self, flowers):
        why = {column.reference: column.why for column in guess_columns(flowers, None).columns}
        assert why["plant_id"] == "an identifier: a different whole number in each row"
        assert why["note"].startswith("text with 60 different values in 60 rows")
        assert why["unit"] == "always 'cm'"
        assert why["site"] == "3 different values"
        assert why["species"] == "a guess by its name; 3 different values; --label NAME sets it"

    def test_a_given_label_wins(self, flowers):
        assert uses(flowers, "site")["site"] == "label"
        assert uses(flowers, "-1")["species"] == "label"
        assert uses(flowers, "3")["site"] == "label"

    @pytest.mark.parametrize("at", [0, 2])
    def test_without_names_the_label_is_guessed_by_place_and_values(self, tmp_path, at):
        rng = np.random.default_rng(0)
        rows = [[f"{rng.normal():.4f}", f"{rng.normal():.4f}"] for _ in range(50)]
        for i, row in enumerate(rows):
            row.insert(at, i % 4)
        path = write_csv(tmp_path / "plain.csv", rows, header=None)
        assert uses(path) == {k: "label" if k == at else "number" for k in range(3)}

    @pytest.mark.parametrize(
        ("header", "name"),
        [
            ("0,1,2,target", "target"),
            (",0,1,target", "target"),
            ("id,2019,2020,class", "class"),
            ("0,1,2,3", "3"),
            (",0,1,2", "2"),
        ],
    )
    @pytest.mark.parametrize("by_position", [False, True])
    def test_numbers_as_names_are_a_header(self, tmp_path, run_twolayer, header, name, by_position):
        rng = np.random.default_rng(0)
        kinds = ["no", "yes"] if number_of(name) is None else [7, 8]
        rows = [[i, *rng.normal(size=2).round(3), kinds[i % 2]] for i in range(60)]
        path = write_csv(tmp_path / "numbered.csv", rows, header.split(","))
        proposal = propose(path, "3" if by_position else None)
        assert proposal.summary.startswith("60 rows, 2 classes")
        assert "the first row is taken for a header" in proposal.why["data.label"][0]
        config, _ = write_config(proposal, tmp_path / "numbered.yaml")
        assert load_config(config).data.label == name
        result = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")
        assert list(map(str, result.model.classes)) == list(map(str, kinds))
        assert len(result.model.predict_file(path)) == 60

    @pytest.mark.parametrize(
        ("first", "label"),
        [
            ("5.1,,a", None),
            (",5.1,a", None),
            ("5,1,a", "1"),
            ("-1,1,a", "-1"),
            ("5.1,3.5,c", "2"),
            ("5,2,c", "2"),
            ("5,2,c", "-1"),
            ("5,NA,c", "2"),
        ],
    )
    def test_no_row_of_data_is_taken_for_a_header(self, tmp_path, first, label):
        path = write_csv(tmp_path / "plain.csv", [[i % 5, i % 3, "ab"[i % 2]] for i in range(60)], first.split(","))
        guess = guess_columns(path, label)
        assert guess.rows == 61
        assert [column.reference for column in guess.columns] == [0, 1, 2]

    def test_a_label_that_is_a_position_and_another_columns_name_is_asked_about(self, tmp_path):
        path = write_csv(tmp_path / "i.csv", [[i, i % 5, i % 3, 7 + i % 2] for i in range(60)], ["", "0", "1", "2"])
        with pytest.raises(
            DataError, match="--label -2 for the one, --label -1 for .*, got --label 2, the position of"
        ):
            guess_columns(path, "2")
        assert guess_columns(path, "-1").label.counts == {"7": 30, "8": 30}
        assert guess_columns(path, "-2").label.counts == {"0": 20, "1": 20, "2": 20}

    @pytest.mark.parametrize("first", ["0.5,1.5,kind", "1,1,kind", "5,2,kind"])
    def test_a_first_row_that_may_be_either_is_asked_about(self, tmp_path, first):
        path = write_csv(tmp_path / "either.csv", [[i % 5, i % 3, "ab"[i % 2]] for i in range(60)], first.split(","))
        wanted = "--label kind if that row is a header, --label 2 if it is data"
        with pytest.raises(DataError, match=f"either.csv:1: expected {wanted}, got 'kind' in the first row"):
            guess_columns(path, None)
        assert guess_columns(path, "2").rows == 61
        if len(set(first.split(","))) == 3:
            assert guess_columns(path, "kind").rows == 60

    def test_a_column_of_numbers_is_no_label(self, tmp_path):
        rng = np.random.default_rng(0)
        path = write_csv(tmp_path / "prices.csv", rng.normal(size=(50, 3)).round(4), header=["a", "b", "class"])
        with pytest.raises(DataError, match="--label NAME .*no column that looks like a label"):
            guess_columns(path, None)

    def test_a_mostly_empty_column_and_an_empty_one_are_left_out(self, tmp_path):
        rows = [[i * 0.5, "", i if i % 4 == 0 else "NA", i % 2] for i in range(40)]
        path = write_csv(tmp_path / "gaps.csv", rows, ["x", "empty", "rare", "label"])
        assert uses(path) == {"x": "number", "empty": "ignore", "rare": "ignore", "label": "label"}

    def test_a_word_among_numbers_is_pointed_out(self, tmp_path):
        rows = [[i * 0.5, "old" if i == 7 else i % 5, i % 2] for i in range(40)]
        guess = guess_columns(write_csv(tmp_path / "t.csv", rows, ["x", "age", "label"]), None)
        assert guess.columns[1].use == "categorical"
        assert "'old' is no number" in guess.columns[1].why

    def test_a_word_in_a_column_of_many_numbers_is_pointed_out(self, tmp_path):
        rows = [[i % 7, "-" if i == 7 else i * 0.5, i % 2] for i in range(200)]
        column = guess_columns(write_csv(tmp_path / "t.csv", rows, ["x", "income", "label"]), None).columns[1]
        assert column.use == "ignore"
        assert column.why.startswith("200 different values, of which '-' is no number; it is a column of numbers once")

    @pytest.mark.parametrize("name", ["target", "z"])
    def test_a_label_written_as_floats_is_one(self, tmp_path, name):
        rows = [[20 + i % 15, i * 0.25, "" if i == 3 else f"{i % 2}.0"] for i in range(90)]
        path = write_csv(tmp_path / "t.csv", rows, ["age", "width", name])
        assert uses(path) == {"age": "number", "width": "number", name: "label"}
        config, _ = write_config(propose(path), tmp_path / "t.yaml")
        assert train(config, ["solver.epochs=1"], run_dir=tmp_path / "run").model.classes == ("0.0", "1.0")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a;b\n1;2\n", "comma"),
            ("a,b\n1\n", "bad.csv:2: expected 2.*, got 1 cell"),
            ("a,b\n", "no rows"),
            ("", "an empty file"),
        ],
    )
    def test_a_file_that_is_no_table_is_a_message(self, tmp_path, text, message):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            guess_columns(tmp_path / "bad.csv", None)

    def test_a_misspelt_label_gets_a_hint(self, flowers):
        with pytest.raises(DataError, match="did you mean 'species'"):
            guess_columns(flowers, "speces")

    @pytest.mark.parametrize("header", ["a,b,b,label", "a,,,label"])
    def test_a_name_that_stands_twice_is_a_message(self, tmp_path, header):
        path = write_csv(tmp_path / "twice.csv", [[i, i % 5, i % 3, "pq"[i % 2]] for i in range(40)], header.split(","))
        with pytest.raises(
            DataError, match="twice.csv:1: expected each name once.*, got 2 columns named 'b?', the first at 1"
        ):
            guess_columns(path, None)


class TestConfig:
    def test_it_loads_and_every_key_is_commented(self, flowers, tmp_path):
        path, schema = write_config(propose(flowers), tmp_path / "flowers.yaml")
        config = load_config(path)
        assert config.data.label == "species"
        assert config.data.ignore == ("plant_id", "note", "unit")
        assert config.data.categorical == ("site",)
        assert config.data.missing == "mean"
        lines = path.read_text().splitlines()
        assert lines[0] == f"# yaml-language-server: $schema={schema.name}"
        assert json.loads(schema.read_text())["title"] == "twolayer config"
        document = read_document(path, Report())
        leaves = [keys for keys in document.places if len(keys) == 2 or keys == ("seed",)]
        assert len(leaves) > 25
        for keys in leaves:
            assert "  # " in lines[document.places[keys].line - 1]

    def test_paths_hold_wherever_it_is_used_from(self, flowers, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        path, _ = write_config(propose(flowers), tmp_path / "elsewhere" / "mine.yaml")
        monkeypatch.chdir("/")
        assert load_config(path).data.train == str(flowers)
        assert "train: ../flowers.csv" in path.read_text()
        assert "  dir: runs  # " in path.read_text()

    def test_paths_hold_in_a_linked_folder(self, flowers, tmp_path):
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "link").symlink_to("far/away")
        path, _ = write_config(propose(flowers), tmp_path / "link" / "mine.yaml")
        assert "train: ../../flowers.csv" in path.read_text()
        assert load_config(path).data.train == str(flowers)

    def test_a_config_that_is_there_is_not_overwritten(self, flowers, tmp_path):
        (tmp_path / "flowers.yaml").write_text("mine")
        with pytest.raises(FileError, match="is there already"):
            write_config(propose(flowers), tmp_path / "flowers.yaml")
        assert (tmp_path / "flowers.yaml").read_text() == "mine"

    def test_names_that_yaml_would_misread_come_back(self, tmp_path):
        names = ["no", "1e-3", "a: b", "# x", "läng\"e'", "null", "y"]
        rows = [[*(f"{'pqr'[(i + k) % 3]}" for k in range(6)), "uv"[i % 2]] for i in range(30)]
        path = tmp_path / "odd.csv"
        path.write_text(",".join('"' + n.replace('"', '""') + '"' for n in names) + "\n", encoding="utf-8")
        with path.open("a") as file:
            file.writelines(",".join(row) + "\n" for row in rows)
        config, _ = write_config(propose(path, label="y"), tmp_path / "odd.yaml")
        assert load_config(config).data.categorical == tuple(names[:-1])
        assert load_config(config).data.label == "y"

    def test_test_rows_beside_the_training_rows_are_found(self, tmp_path):
        write_csv(tmp_path / "flowers-train.csv", rows_of_flowers())
        test = write_csv(tmp_path / "flowers-test.csv", rows_of_flowers(seed=1))
        proposal = propose(tmp_path / "flowers-train.csv")
        assert proposal.name == "flowers"
        assert proposal.values["data"]["test"] == str(test)

    @pytest.mark.parametrize("kinds", ["ab", "abc"])
    def test_rows_to_be_predicted_beside_the_training_rows_are_no_test_rows(self, tmp_path, kinds):
        rows = [[i * 0.5, "c" if i == 39 else kinds[i % 2]] for i in range(40)]  # with one 'c', none can be held out
        path = write_csv(tmp_path / "train.csv", rows if kinds == "abc" else rows[:-1], ["x", "label"])
        write_csv(tmp_path / "test.csv", [row[:1] for row in rows], ["x"])
        proposal = propose(path)
        assert proposal.values["data"]["test"] == (None if kinds == "abc" else 0.2)
        assert proposal.why["data.test"][-1].startswith("test.csv beside the training rows has no column 'label'")
        config, _ = write_config(proposal, tmp_path / "mine.yaml")
        train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")

    def test_the_one_column_that_the_test_rows_lack_is_the_label(self, tmp_path):
        rows = [[i, i % 2, i * 0.5, "CQS"[i % 3]] for i in range(60)]
        path = write_csv(tmp_path / "train.csv", rows, ["PassengerId", "Survived", "Fare", "Embarked"])
        assert propose(path).values["data"]["label"] == "Embarked"
        write_csv(tmp_path / "test.csv", [[row[0], *row[2:]] for row in rows], ["PassengerId", "Fare", "Embarked"])
        proposal = propose(path)
        assert proposal.values["data"]["label"] == "Survived"
        assert "as the test rows lack it" in proposal.why["data.label"][0]
        proposal = propose(path, "Embarked")
        assert proposal.values["data"]["test"] == 0.2, "rows without a feature cannot be tested on"

    def test_test_rows_without_a_header_are_test_rows(self, tmp_path):
        rows = [[i * 0.5, i % 7, "ab"[i % 2]] for i in range(40)]
        path = write_csv(tmp_path / "train.csv", rows, ["x", "z", "y"])
        test = write_csv(tmp_path / "test.csv", rows, header=None)
        proposal = propose(path)
        assert proposal.values["data"]["test"] == str(test)
        config, _ = write_config(proposal, tmp_path / "mine.yaml")
        assert train(config, ["solver.epochs=1"], run_dir=tmp_path / "run").summary["n_test"] == 40

    def test_a_rare_class_is_never_split_and_is_spoken_of(self, tmp_path):
        rows = [[i * 0.5, "ab"[i % 2]] for i in range(40)] + [[3.3, "c"]]
        proposal = propose(write_csv(tmp_path / "rare.csv", rows, ["x", "label"]))
        assert proposal.values["data"]["test"] is None
        assert proposal.values["data"]["validation"] == 0
        assert proposal.why["solver.class_weight"] == [
            "class 'c' has 1 row of 41; 'balanced' would give it the weight of the others"
        ]
        config, _ = write_config(proposal, tmp_path / "rare.yaml")
        assert train(config, ["solver.epochs=1"], run_dir=tmp_path / "run").summary["n_train"] == 41

    def test_commas_behind_each_row_are_left_out(self, tmp_path):
        rows = [[i * 0.5, i % 5, "pq"[i % 2], "", ""] for i in range(40)]
        path = write_csv(tmp_path / "sheet.csv", rows, ["a", "b", "label", "", ""])
        config, _ = write_config(propose(path), tmp_path / "sheet.yaml")
        assert load_config(config).data.ignore == (3, 4)
        run = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run").run_dir
        assert len(load_model(run).predict_file(path)) == 40

    def test_rows_without_a_label_are_dropped(self, tmp_path):
        rows = [[i * 0.5, "" if i == 4 else "ab"[i % 2]] for i in range(40)]
        proposal = propose(write_csv(tmp_path / "some.csv", rows, ["x", "label"]))
        assert proposal.values["data"]["missing"] == "drop"
        assert proposal.why["data.missing"] == ["1 row has no label: dropped"]
        config, _ = write_config(proposal, tmp_path / "some.yaml")
        result = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")
        assert sum(result.summary[f"n_{part}"] for part in ("train", "validation", "test")) == 39

    def test_a_row_without_a_label_costs_no_row_with_a_gap(self, tmp_path):
        rows = [["" if i % 2 else i * 0.5, i * 0.25 if i % 2 else "", "" if i == 4 else "ab"[i % 2]] for i in range(40)]
        proposal = propose(write_csv(tmp_path / "some.csv", rows, ["x", "z", "label"]))
        assert proposal.values["data"]["missing"] == "mean"
        assert proposal.why["data.missing"][1:] == ["1 row has no label: dropped"]
        config, _ = write_config(proposal, tmp_path / "some.yaml")
        result = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")
        assert sum(result.summary[f"n_{part}"] for part in ("train", "validation", "test")) == 39


def idx(path, array):
    """Writes an IDX file of bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


class TestArrays:
    @pytest.fixture
    def pictures(self):
        y = np.arange(80) % 4
        X = np.random.default_rng(0).integers(0, 50, (80, 6, 6)) + 50 * y[:, None, None]
        return X.astype(np.uint8), y.astype(np.uint8)

    @pytest.mark.parametrize("kind", ["npz", "npy", "idx"])
    @pytest.mark.parametrize("start_from", ["features", "labels"])
    def test_arrays_of_any_kind_become_a_config_that_trains(self, tmp_path, pictures, kind, start_from):
        X, y = pictures
        if kind == "npz":
            np.savez(tmp_path / "toy.npz", X=X, y=y)
            files = {"features": "toy.npz", "labels": "toy.npz"}
        elif kind == "npy":
            files = {"features": "X.npy", "labels": "y.npy"}
            np.save(tmp_path / "X.npy", X)
            np.save(tmp_path / "y.npy", y)
        else:
            files = {"features": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}
            for part in ("train", "t10k"):
                idx(tmp_path / f"{part}-images-idx3-ubyte", X)
                idx(tmp_path / f"{part}-labels-idx1-ubyte", y)
        proposal = propose(tmp_path / files[start_from])
        assert proposal.summary == "80 pictures of 6 x 6, 4 classes"
        assert proposal.name == {"npz": "toy", "npy": "X", "idx": tmp_path.name}[kind]
        config, _ = write_config(proposal, tmp_path / "mine.yaml")
        assert "categorical" not in config.read_text()
        summary = train(config, run_dir=tmp_path / "run").summary
        assert summary["n_test"] == (80 if kind == "idx" else 16)
        assert summary["test_accuracy"] > 0.9

    def test_features_without_labels_are_a_message(self, tmp_path, pictures):
        np.save(tmp_path / "X.npy", pictures[0])
        with pytest.raises(DataError, match="no file with its labels beside it"):
            propose(tmp_path / "X.npy")

    def test_a_label_column_is_for_tables(self, tmp_path, pictures):
        np.savez(tmp_path / "toy.npz", X=pictures[0], y=pictures[1])
        with pytest.raises(FileError, match="--label"):
            propose(tmp_path / "toy.npz", "y")


class TestCommands:
    def test_two_commands_lead_from_a_strangers_csv_to_a_model_and_a_curve(self, tmp_path, run_twolayer):
        write_csv(tmp_path / "flowers.csv", rows_of_flowers(90))
        done = run_twolayer("init", "flowers.csv", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "'species': a guess by its name" in done.stdout
        assert done.stdout.endswith("wrote flowers.yaml; to train: twolayer train flowers.yaml\n")
        done = run_twolayer("train", "flowers.yaml", "--run-dir", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_accuracy"] > 0.8
        assert (tmp_path / "run" / "loss_curve.png").stat().st_size > 5000

    def test_the_command_it_suggests_trains_whatever_the_file_is_called(self, tmp_path, run_twolayer):
        write_csv(tmp_path / "a=b.csv", rows_of_flowers())
        suggested = run_twolayer("init", "a=b.csv", cwd=tmp_path).stdout.rpartition("twolayer ")[2]
        done = run_twolayer(*shlex.split(suggested), "solver.epochs=1", "--run-dir", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 1

    def test_what_cannot_be_used_is_a_message(self, tmp_path, run_twolayer):
        done = run_twolayer("init", "nothing.csv", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "twolayer: nothing.csv: expected a csv, npz, npy or IDX file, got no such file" in done.stderr
        assert list(tmp_path.iterdir()) == []
