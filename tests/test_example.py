"""example: shipped data and configs, out of the package and into a folder, ready to train."""

from __future__ import annotations

import pytest
from conftest import ROOT

from twolayer import load_config
from twolayer.commands.example import example_names, write_example
from twolayer.data import load_dataset
from twolayer.utils.errors import FileError

NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_every_shipped_config_is_an_example():
    assert example_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_the_shipped_config_with_its_data_beside_it(name, tmp_path):
    config, schema, *data = write_example(name, tmp_path)
    ours, shipped = load_config(config), load_config(ROOT / "configs" / f"{name}.yaml")
    assert ours.model_dump(exclude={"data"}) == shipped.model_dump(exclude={"data"})
    assert config.read_text().splitlines()[0].endswith(f"$schema={schema.name}")
    assert schema.is_file()
    assert all(path.is_relative_to(tmp_path / "data") for path in data)
    rows = [load_dataset(**each.data.model_dump()) for each in (ours, shipped)]
    assert repr(rows[0]) == repr(rows[1])
    assert sorted(rows[0].digests.values()) == sorted(rows[1].digests.values())


def test_a_second_call_changes_nothing_and_no_file_of_the_user_is_overwritten(tmp_path):
    config = write_example("optdigits", tmp_path)[0]
    write_example("optdigits", tmp_path)
    config.write_text("mine")
    with pytest.raises(FileError, match="already exists with other content"):
        write_example("optdigits", tmp_path)
    assert config.read_text() == "mine"


def test_a_wrong_name_gets_a_hint():
    with pytest.raises(FileError, match="did you mean 'optdigits'"):
        write_example("optdigit")


def test_the_command_writes_into_the_current_folder_and_lists(tmp_path, run_twolayer):
    done = run_twolayer("example", cwd=tmp_path)
    assert done.stdout.split() == NAMES
    done = run_twolayer("example", "letter", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("to train: twolayer train letter.yaml\n")
    assert (tmp_path / "data" / "letter-test.csv.gz").is_file()
