"""Files are whole or not there: after success, after every failure and after every kill."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from fault_injection import KILL_AT_EVERY_OPERATION, full_at_every_operation, run_python

from twolayer.utils import files as seam
from twolayer.utils.errors import RunError
from twolayer.utils.files import (
    MAX_JSON_BYTES,
    explained,
    holds,
    json_bytes,
    parse_object,
    read_json,
    write_atomically,
    write_json,
)


def test_bytes_and_their_parts_give_the_same_file(tmp_path):
    parts = [b"a" * 10, b"b" * 100_000, b"", b"c"]
    write_atomically(tmp_path / "one", b"".join(parts))
    write_atomically(tmp_path / "two", iter(parts))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == b"".join(parts)


def test_a_file_holds_given_bytes_only_if_it_has_no_others(tmp_path):
    for content, expected in ((b"abc", True), (b"abcd", False), (b"ab", False), (b"", False)):
        (tmp_path / "f").write_bytes(content)
        assert holds(tmp_path / "f", b"abc") == expected
    assert not holds(tmp_path / "missing", b"")
    assert not holds(tmp_path, b"")


def test_bytes_are_on_the_device_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    done = []
    for name in ("write", "sync", "replace", "sync_folder"):
        real = getattr(seam.Disk, name)
        monkeypatch.setattr(seam.Disk, name, lambda *a, real=real, name=name: (done.append(name), real(*a))[1])
    write_atomically(tmp_path / "f", b"1")
    assert done == ["write", "sync", "replace", "sync_folder"]


@pytest.mark.parametrize("content", [b"new" * 50_000, [b"new" * 10_000] * 5])
def test_a_full_disk_at_any_operation_leaves_the_old_file_or_the_new_one_and_nothing_else(tmp_path, content):
    path = tmp_path / "best.npz"
    path.write_bytes(b"old")
    failures = 0
    for _, error in full_at_every_operation(lambda k: write_atomically(path, content)):
        failures += 1
        assert path.read_bytes() in (b"old", b"new" * 50_000)
        assert [each.name for each in tmp_path.iterdir()] == ["best.npz"]
        assert str(path) in str(error)
        assert "No space left" in str(error)
        assert "free some space" in str(error)
    assert failures >= 5  # create, write, flush, rename, flush the folder
    assert path.read_bytes() == b"new" * 50_000


def test_an_exception_while_the_content_is_made_passes_through_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def content():
        yield b"half of it"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, content())
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("path", "found", "remedy"),
    [
        ("missing/f", "No such file", "check the name, and that its folder exists"),
        ("file/f", "Not a directory", "part of the path is a file"),
        ("folder", "directory", "a folder has that name"),
        ("x" * 250, "too long", "shorter name"),
    ],
)
def test_the_message_names_the_path_the_reason_and_a_remedy(tmp_path, path, found, remedy):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        write_atomically(tmp_path / path, b"1")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / path}: cannot be written: ")
    assert found in message
    assert remedy in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "EIO", "EMFILE"])
def test_every_refusal_of_the_system_has_a_remedy(name):
    code = getattr(errno, name)
    with pytest.raises(RunError, match=f"^runs/a: cannot be written: {os.strerror(code)}; "), explained(Path("runs/a")):
        raise OSError(code, os.strerror(code))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file-size limit")
def test_the_file_size_limit_of_the_system_is_an_error_with_a_remedy(tmp_path):
    program = f"""
import resource
from twolayer.utils.errors import RunError
from twolayer.utils.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically({str(tmp_path / "f")!r}, b"x" * 5000)
except RunError as error:
    print(error)
"""
    assert "File too large; raise the file-size limit" in run_python(program)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_operation_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    program = f"""
{KILL_AT_EVERY_OPERATION}
from pathlib import Path
from twolayer.utils.files import write_atomically
path = Path({str(path)!r})
def check(k):
    assert path.read_bytes() in (b"old", b"new" * 1000)
kill_at_every_operation(lambda k: write_atomically(path, b"new" * 1000), check)
"""
    assert int(run_python(program)) == 5  # create, write, flush, rename, flush the folder
    assert path.read_bytes() == b"new" * 1000


def test_json_comes_back_as_it_went_and_has_null_for_what_json_lacks(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, float("nan")], "a": {"x": float("inf"), "y": "\udcff"}, "t": (1,)})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5, None], "a": {"x": None, "y": "\udcff"}, "t": [1]}
    assert b"NaN" not in json_bytes({"a": float("nan")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 41 + b"}", "over 40 digits"),
        (b"[1]", "expected a JSON object .* got list"),
        (b'{"a": }', "x.json:1:7: not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"", "not JSON"),
        (b" " * (MAX_JSON_BYTES + 1), "at most"),
    ],
)
def test_json_that_is_not_one_small_object_is_refused_with_its_place(text, message):
    with pytest.raises(RunError, match=message):
        parse_object(text, "x.json")


def test_a_json_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match=r"summary\.json: cannot be read: No such file or directory; check the name"):
        read_json(tmp_path / "summary.json")
