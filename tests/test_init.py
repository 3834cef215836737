"""init: what an unknown file seems to hold, and a config that loads, trains and says why."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import struct
import subprocess
import sys

import numpy as np
import pytest

from twolayer import load_config, train
from twolayer.commands.init import name_of, propose, write_config
from twolayer.config.document import Report, read_document
from twolayer.data.profile import guess_table
from twolayer.utils.errors import DataError, FileError


def rows_of_flowers(n=60, seed=0):
    """Two numbers that separate three species, an identifier, a note, a site, a constant, and gaps."""
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
    return {column.name: column.use for column in guess_table(path, label).columns}


def why(path, label=None):
    return {column.name: column.why for column in guess_table(path, label).columns}


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
        reasons = why(flowers)
        assert reasons["plant_id"] == "an identifier: a different whole number in each row"
        assert reasons["note"].startswith("text with 60 different values in 60 rows")
        assert reasons["site"] == "3 different values"
        assert reasons["species"] == "a guess, by its name, the last column, 3 different values; --label NAME sets it"

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
        assert uses(path) == {str(k): "label" if k == at else "number" for k in range(3)}

    @pytest.mark.parametrize(
        ("last", "label"), [("Survived", True), ("target", True), ("is_churn", True), ("Embarked", False)]
    )
    def test_a_name_that_labels_have_beats_the_last_place(self, tmp_path, last, label):
        rows = [[i + 1, i % 2, i * 0.5, "CQS"[i % 3]] for i in range(60)]
        path = write_csv(tmp_path / "t.csv", rows, ["PassengerId", last, "Fare", "port"])
        assert guess_table(path).candidates[0].name == (last if label else "port")
        assert guess_table(path).is_clear == label or not label

    @pytest.mark.parametrize(
        ("name", "by_name"),
        [
            ("final_status", True),
            ("is fraud?", True),
            ("port_of_call", False),
            ("said_yes", False),
            ("y_y", False),
            ("port", False),
        ],
    )
    def test_a_name_counts_only_with_a_word_that_labels_have(self, tmp_path, name, by_name):
        rows = [["pq"[i % 2], i * 0.5, "CQS"[i % 3]] for i in range(60)]
        guess = guess_table(write_csv(tmp_path / "t.csv", rows, ["a", "x", name]))
        found = {candidate.name: candidate for candidate in guess.candidates}
        assert ("by its name" in found[name].signs) == by_name
        assert found[name].points > found["a"].points  # the last column

    def test_what_only_looks_like_a_feature_is_left_out_with_its_reason(self, tmp_path):
        rng = np.random.default_rng(1)
        rows = [
            [i, f"{rng.integers(1 << 60):016x}", f"2026-{1 + i % 12:02d}-0{1 + i % 9}", f"It was a day {i} like any",
             f"{1 + i % 12}/3/26", f'"1,{100 + i}"', i * 0.5, "ab"[i % 2]]
            for i in range(60)
        ]  # fmt: skip
        path = write_csv(tmp_path / "t.csv", rows, ["", "hash", "day", "text", "date", "price", "x", "y"])
        assert uses(path) == dict.fromkeys(["Unnamed: 0", "hash", "day", "text", "date", "price"], "ignore") | {
            "x": "number", "y": "label"
        }  # fmt: skip
        reasons = why(path)
        assert "identifier" in reasons["Unnamed: 0"]
        assert "hash" in reasons["hash"]
        assert "free text" in reasons["text"]
        assert reasons["day"].startswith("dates")
        assert reasons["date"].startswith("dates")
        assert reasons["price"] == "numbers written as '1,100': write 1100"

    def test_a_range_is_no_date(self, tmp_path):
        rows = [[f"{10 + i % 5}.5-{13 + i % 5}", i * 0.5, "ab"[i % 2]] for i in range(60)]
        path = write_csv(tmp_path / "t.csv", rows, ["range", "x", "y"])
        assert uses(path) == {"range": "categorical", "x": "number", "y": "label"}

    def test_a_quantity_is_no_label(self, tmp_path):
        rng = np.random.default_rng(0)
        rows = [[*rng.normal(size=3).round(4), "ab"[i % 2]] for i in range(50)]
        path = write_csv(tmp_path / "prices.csv", [row[:3] for row in rows], ["a", "b", "class"])
        with pytest.raises(DataError, match="but quantities: 'class'; this program classifies"):
            guess_table(path)
        path = write_csv(tmp_path / "prices.csv", rows, ["a", "b", "target", "size"])
        proposal = propose(path)
        assert proposal.values["data"]["label"] == "size"
        assert "'target' is a quantity" in proposal.warnings[0]
        with pytest.raises(DataError, match="expected a label of classes, got 'target', a quantity with 50 different"):
            propose(path, "target")

    def test_a_mostly_empty_column_and_an_empty_one_are_left_out(self, tmp_path):
        rows = [[i * 0.5, "", i if i % 4 == 0 else "NA", i % 2] for i in range(40)]
        path = write_csv(tmp_path / "gaps.csv", rows, ["x", "empty", "rare", "label"])
        assert uses(path) == {"x": "number", "empty": "ignore", "rare": "ignore", "label": "label"}

    def test_a_word_among_numbers_is_pointed_out(self, tmp_path):
        rows = [[i * 0.5, "old" if i == 7 else i % 5, "-" if i == 7 else i * 0.5, i % 2] for i in range(200)]
        path = write_csv(tmp_path / "t.csv", rows, ["x", "age", "income", "label"])
        assert uses(path) == {"x": "number", "age": "categorical", "income": "ignore", "label": "label"}
        assert "'old' is no number" in why(path)["age"]
        assert "'-' is no number; it is a column of numbers once" in why(path)["income"]

    @pytest.mark.parametrize("name", ["target", "z"])
    def test_a_label_written_as_floats_is_one(self, tmp_path, name):
        rows = [[20 + i % 15, i * 0.25, "" if i == 3 else f"{i % 2}.0"] for i in range(90)]
        path = write_csv(tmp_path / "t.csv", rows, ["age", "width", name])
        assert uses(path) == {"age": "number", "width": "number", name: "label"}
        config, _ = write_config(propose(path), tmp_path / "t.yaml")
        assert train(config, ["solver.epochs=1"], run_dir=tmp_path / "run").model.classes == (0, 1)

    def test_a_column_that_gives_the_label_away_is_named(self, tmp_path):
        rng = np.random.default_rng(0)
        y = rng.integers(2, size=400)
        names = ["noise", "copy", "risk", "label"]
        rows = [[f"{rng.normal():.3f}", ["no", "yes"][k], f"{k + rng.uniform(0, 0.9):.3f}", k] for k in y]
        leaks = guess_table(write_csv(tmp_path / "t.csv", rows, names)).leaks
        assert [(leak.name, leak.is_copy) for leak in leaks] == [("copy", True), ("risk", False)]
        assert "100.0% of held-out rows" in str(leaks[0])

    def test_many_columns_of_noise_beside_few_rows_are_no_leaks(self, tmp_path):
        rng = np.random.default_rng(0)
        rows = [[*rng.integers(2, size=3000), "ab"[i % 2]] for i in range(44)]
        assert not guess_table(write_csv(tmp_path / "t.csv", rows, [f"g{j}" for j in range(3000)] + ["y"])).leaks

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n1\n", "bad.csv:2: expected 2.*, got 1"),
            ("a,b\n", "no rows"),
            ("", "an empty file"),
            ('{"a": 1}\n', "got JSON"),
        ],
    )
    def test_a_file_that_is_no_table_is_a_message(self, tmp_path, text, message):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            propose(tmp_path / "bad.csv")

    def test_a_misspelt_label_gets_a_hint(self, flowers):
        with pytest.raises(DataError, match="did you mean 'species'"):
            propose(flowers, "speces")

    def test_a_name_that_two_columns_have_is_a_message(self, tmp_path):
        rows = [[i * 0.5, i % 5, i % 3, "pq"[i % 2]] for i in range(40)]
        path = write_csv(tmp_path / "twice.csv", rows, ["a", "b", "b", "label"])
        with pytest.raises(DataError, match="twice.csv:1: expected each name once.*, got 2 columns named 'b'"):
            propose(path)


class TestConfig:
    def test_it_loads_and_every_key_is_commented(self, flowers, tmp_path):
        path, schema = write_config(propose(flowers), tmp_path / "flowers.yaml")
        config = load_config(path)
        assert config.data.label == "species"
        assert config.data.ignore == ("plant_id", "note", "unit")
        assert config.data.header is True
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

    def test_paths_hold_from_any_folder(self, flowers, tmp_path, monkeypatch):
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

    def test_only_an_unedited_config_is_replaced(self, flowers, tmp_path):
        path, _ = write_config(propose(flowers), tmp_path / "flowers.yaml")
        write_config(propose(flowers, "site"), path)
        assert load_config(path).data.label == "site"
        path.write_text(path.read_text().replace("epochs: 200", "epochs: 7"))
        edited = path.read_text()
        with pytest.raises(FileError, match="or an edited one; --force replaces it"):
            write_config(propose(flowers), path)
        assert path.read_text() == edited
        write_config(propose(flowers), path, force=True)
        assert load_config(path).data.label == "species"

    def test_a_wide_table_gives_a_short_config_that_trains(self, tmp_path):
        rng = np.random.default_rng(0)
        G = 3000
        rows = [
            [*(f"{rng.normal(2 * (i % 2)):.2f}" if j in (5, 17) else 0 for j in range(G)), "ab"[i % 2]]
            for i in range(24)
        ]
        path = write_csv(tmp_path / "genes.csv", rows, [*(f"GENE_{j:05d}" for j in range(G)), "kind"])
        proposal = propose(path)
        assert sum(map(len, proposal.why.values())) < 20
        config, _ = write_config(proposal, tmp_path / "genes.yaml")
        assert config.stat().st_size < 16_000
        result = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")
        assert result.model.preparation.columns == ("GENE_00005", "GENE_00017")
        assert len(result.model.predict_file(path)) == 24

    def test_an_imbalanced_label_gets_weights_and_a_monitor(self, tmp_path):
        rows = [[i * 0.5, "ab"[i % 10 == 3]] for i in range(300)]
        values = propose(write_csv(tmp_path / "rare.csv", rows, ["x", "label"])).values["solver"]
        assert (values["class_weight"], values["monitor"]) == ("balanced", "val_balanced_accuracy")

    def test_a_frame_gives_the_values_that_its_file_gives(self, flowers):
        pandas = pytest.importorskip("pandas")
        from_file, from_frame = propose(flowers), propose(pandas.read_csv(flowers))
        from_file.values["data"].pop("train")
        from_file.values["data"].pop("header")
        assert from_frame.values == from_file.values

    def test_test_rows_in_the_same_npz_are_test_rows(self, tmp_path):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(60, 3)), np.arange(60) % 2
        np.savez(tmp_path / "m.npz", x_train=X[:40], y_train=y[:40], x_test=X[40:], y_test=y[40:])
        config, _ = write_config(propose(tmp_path / "m.npz"), tmp_path / "m.yaml")
        summary = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run").summary
        assert (summary["n_test"], summary["n_train"] + summary["n_validation"]) == (20, 40)

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
        path = write_csv(tmp_path / "train.csv", rows, ["PassengerId", "Alive", "Fare", "Embarked"])
        assert propose(path).values["data"]["label"] == "Embarked"
        write_csv(tmp_path / "test.csv", [[row[0], *row[2:]] for row in rows], ["PassengerId", "Fare", "Embarked"])
        proposal = propose(path)
        assert proposal.values["data"]["label"] == "Alive"
        assert "the test rows do not have it" in proposal.why["data.label"][0]
        proposal = propose(path, "Embarked")
        assert proposal.values["data"]["test"] == 0.2, "rows without a feature cannot be tested on"

    def test_test_rows_beside_it_are_tested_on(self, tmp_path):
        rows = [[i * 0.5, i % 7, "ab"[i % 2]] for i in range(40)]
        path = write_csv(tmp_path / "train.csv", rows, ["x", "z", "y"])
        test = write_csv(tmp_path / "test.csv", rows, ["x", "z", "y"])
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

    def test_rows_without_a_label_are_dropped(self, tmp_path):
        rows = [[i * 0.5, "" if i == 4 else "ab"[i % 2]] for i in range(40)]
        proposal = propose(write_csv(tmp_path / "some.csv", rows, ["x", "label"]))
        assert proposal.values["data"]["missing"] == "drop"
        assert proposal.why["data.missing"] == ["rows without a label are dropped (1)"]
        config, _ = write_config(proposal, tmp_path / "some.yaml")
        result = train(config, ["solver.epochs=1"], run_dir=tmp_path / "run")
        assert sum(result.summary[f"n_{part}"] for part in ("train", "validation", "test")) == 39

    def test_a_row_without_a_label_costs_no_row_with_a_gap(self, tmp_path):
        rows = [["" if i % 2 else i * 0.5, i * 0.25 if i % 2 else "", "" if i == 4 else "ab"[i % 2]] for i in range(40)]
        proposal = propose(write_csv(tmp_path / "some.csv", rows, ["x", "z", "label"]))
        assert proposal.values["data"]["missing"] == "mean"
        assert proposal.why["data.missing"][1:] == ["rows without a label are dropped (1)"]
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
    def test_two_commands_lead_from_an_unknown_csv_to_a_model_and_a_curve(self, tmp_path, run_twolayer):
        write_csv(tmp_path / "flowers.csv", rows_of_flowers(90))
        done = run_twolayer("init", "flowers.csv", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "'species': a guess, by its name" in done.stdout
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
        assert "twolayer: nothing.csv: expected a table (CSV, Parquet, Feather, xlsx), npz" in done.stderr
        assert "got no such file" in done.stderr
        assert list(tmp_path.iterdir()) == []


LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "twolayer", *sys.argv[1:]])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
class TestTheQuestionAtATerminal:
    @pytest.fixture
    def answered(self, tmp_path):
        """Return a function that answers the questions of `init` and returns exit code, screen and the chosen label."""
        rng = np.random.default_rng(0)
        rows = [(str(rng.choice(["a", "b"])), i / 7, "xyz"[i % 3], "pq"[i % 2]) for i in range(60)]
        table = write_csv(tmp_path / "t.csv", rows, ["alpha", "num", "beta", "gamma"])
        out = tmp_path / "t.yaml"

        def run(*answers):
            master, terminal = os.openpty()
            command = [sys.executable, "-c", LAUNCH, "init", str(table), "--out", str(out)]
            process = subprocess.Popen(
                command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
            )
            os.close(terminal)
            screen, left = b"", list(answers)
            with contextlib.suppress(OSError):  # the end of a terminal, on Linux
                while True:
                    # a Ctrl-C that comes between the prompt and the wait for its answer has no effect: once more
                    if not left and not select.select([master], [], [], 5)[0]:
                        os.write(master, answers[-1])
                        continue
                    data = os.read(master, 4096)
                    if not data:
                        break
                    screen += data
                    if left and screen.count(b"[1]: ") > len(answers) - len(left):
                        os.write(master, left.pop(0))
            os.close(master)
            label = load_config(out).data.label if out.exists() else None
            return process.wait(), screen.decode(), label

        return run

    @pytest.mark.parametrize(
        ("answers", "label"),
        [
            ([b"2\n"], "alpha"),
            ([b"beta\n"], "beta"),
            ([b"\n"], "gamma"),
            ([b"nonsense\n", b"beta\n"], "beta"),
            ([b"num\n", b"9\n", b"1\n"], "gamma"),
        ],
    )
    def test_a_number_or_a_name_chooses_and_anything_else_is_asked_again(self, answered, answers, label):
        code, screen, chosen = answered(*answers)
        assert (code, chosen) == (0, label)
        assert "label 1?     'gamma': the last column, 2 different values" in screen
        assert screen.count("Error: ") == len(answers) - 1
        assert "Traceback" not in screen

    @pytest.mark.parametrize("key", [b"\x04", b"\x03"], ids=["Ctrl-D", "Ctrl-C"])
    def test_the_end_of_the_input_and_ctrl_c_write_nothing(self, answered, key):
        code, screen, chosen = answered(key)
        assert (code, chosen) == (130, None)
        assert screen.endswith("\ntwolayer: interrupted\r\n")


def test_a_class_that_is_spelt_as_nothing_is_named_where_one_class_is_left(tmp_path):
    write_csv(tmp_path / "t.csv", [[i, i % 7, ("NA", "EU")[i % 2]] for i in range(40)], ["a", "b", "y"])
    with pytest.raises(
        DataError, match="two classes or more, got 'y' with 1; 20 rows without a label; .* data.missing_values"
    ):
        guess_table(tmp_path / "t.csv", "y")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("flowers.csv", "flowers"),
        ("flowers.tsv.gz", "flowers"),
        ("flowers-train.parquet", "flowers"),
        ("wine.red", "wine.red"),
        ("wine.white", "wine.white"),
        ("digits-images-idx3-ubyte.gz", "digits"),
    ],
)
def test_a_config_is_named_after_the_file_without_an_ending_that_says_its_format(file, name):
    assert name_of(file) == name
