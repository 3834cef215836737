"""YAML text: values as YAML 1.2 means them, places, and hostile texts that end quickly in a readable error."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML, YAMLError

from twolayer.config import load_config, yaml_value
from twolayer.config.document import MAX_DEPTH, MAX_VALUES, Document, Place, Report, dotted, parse, read_document
from twolayer.utils.errors import ConfigError
from twolayer.utils.text import nearest, shown

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4), max_leaves=12)


def read(text: str) -> tuple[Document | None, list[str]]:
    report = Report()
    document = parse(text, lambda line, column: Place("a.yaml", line, column), report)
    return document, report.error().problems


def value(text: str) -> Any:
    document, problems = read(text)
    assert document is not None
    assert problems == []
    return document.data


def problem(text: str) -> str:
    (only,) = read(text)[1]
    return only


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("+12", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("012", 12),
        ("-.inf", float("-inf")),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"\\x41"', "A"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("{a: [1, {b: }], c}", {"a": [1, {"b": None}], "c": None}),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}]),
        ("[&x 1, &x 2, *x]", [1, 2, 2]),
        ("\ufeffa: 1".removeprefix("\ufeff"), {"a": 1}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
    ],
)
def test_scalars_and_collections_mean_what_yaml_1_2_says(text: str, meant: Any) -> None:
    found = value(text)
    assert found == meant
    assert type(found) is type(meant)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_written_on_one_line_is_read_back_by_us_and_by_ruamel(plain: Any) -> None:
    text = yaml_value(plain)
    assert "\n" not in text
    assert value(text) == plain
    assert YAML(typ="safe", pure=True).load(text) == plain


@settings(max_examples=150, deadline=None)
@given(VALUES, st.booleans())
@example({":0": None}, True)
def test_what_ruamel_writes_is_read_as_ruamel_reads_it(plain: Any, flow: bool) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    stream = io.StringIO()
    yaml.dump(plain, stream)
    try:
        meant = yaml.load(stream.getvalue())
    except YAMLError:  # ruamel writes {":0": 1} as {:0: 1} and cannot read it itself
        assert "not valid YAML" in problem(stream.getvalue())
    else:
        assert value(stream.getvalue()) == meant


def test_every_key_and_item_knows_its_line_and_column() -> None:
    document, _ = read("a: 1\nb:\n  c: [x, {d: 2}]\n")
    assert document is not None
    places = {dotted(path): place[1:] for path, place in document.places.items()}
    assert places == {"": (1, 1), "a": (1, 1), "b": (2, 1), "b.c": (3, 3), "b.c[0]": (3, 7), "b.c[1]": (3, 10)} | {
        "b.c[1].d": (3, 11)
    }
    assert str(document.place(("b", "missing"))) == "a.yaml:2:1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/object/apply:os.system [x]", "a.yaml:1:1: a: tags are refused"),
        ("a: !mine {b: 1}", "a: tags are refused, got '!mine'"),
        ("a: !!str 1", "a: tags are refused"),
        ("a: !<tag:yaml.org,2002:str> 1", "a: tags are refused"),
        ("a: &x ! 1", "a: tags are refused"),
        ("a: !mine &x {b: 1}", "a: tags are refused, got '!mine'"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second document starts here"),
        ("a: *x", "a.yaml:1:4: not valid YAML: found undefined alias 'x'"),
        ("a: &x [*x]", "levels, aliases written out"),
        ("a: 1\n? [b]\n: 2\n", "a.yaml:2:3: a key must be a plain name"),
        ("a: 1\n b: 2\n", "a.yaml:2:2: the indentation fits no line above"),
        ("a: 'open", "a.yaml:1:4: the quote that opens here is never closed"),
        ("\ta: 1", "a.yaml:1:1: a tab; YAML is indented with spaces"),
        ("a: b\x01", "a.yaml:1:5: the character U+0001 is not allowed in YAML"),
        ("a: 1\nb: \x00", "a.yaml:2:4: the character U+0000"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
        ("a: " + "9" * 5000, "a.yaml:1:1: a: a number of 5000 digits is too long"),
        ("[" * 1000, f"a.yaml:1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH} levels"),
        ("- " * 1000, "nested deeper than"),
        ("{a: " * 1000, "nested deeper than"),
        ("? " * 1000, "nested deeper than"),
        ("- a\n" * MAX_VALUES, f"more than {MAX_VALUES} values"),
    ],
)
def test_what_is_no_plain_document_is_reported_with_its_place(text: str, said: str) -> None:
    assert said in problem(text)


@pytest.mark.parametrize(
    ("first", "opened", "entry", "closed"), [("[x, x]", "[", "", "]"), ("{z: 1}", "{", "z: ", "}")], ids=["list", "key"]
)
def test_an_alias_bomb_ends_quickly_in_an_error(first: str, opened: str, entry: str, closed: str) -> None:
    """The values of a key given many times are read as well, to report all problems."""
    resource = pytest.importorskip("resource")
    lines = [f"a: &a0 {first}"]
    lines += [f"b{i}: &a{i} {opened}{', '.join([f'{entry}*a{i - 1}'] * 10)}{closed}" for i in range(1, 15)]
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read("\n".join(lines))[0] is None
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_a_deep_chain_of_aliases_is_as_deep_as_it_is_written_out() -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 30))]
    assert "levels, aliases written out" in problem("\n".join(lines))
    assert any("levels, aliases written out" in each for each in read("a: &x {b: {}, b: *x}")[1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed: 1\n# caf\xe9\n", "a.yaml:2:6: is not UTF-8 text"),
        ("seed: 1\n".encode("utf-16"), "a.yaml: is UTF-16 text; save it as UTF-8"),
        (b"\x1f\x8b\x08\x00\xff", "a.yaml:1:2: is not UTF-8 text"),
        (b"#" * 300_000, "a.yaml: is larger than 256 KiB"),
        (bytes(100), "a.yaml:1:1: the character U+0000"),
    ],
)
def test_a_file_that_is_not_text_is_reported_as_such(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "a.yaml")
    (message,) = caught.value.problems
    assert said in message


def test_a_byte_order_mark_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\ndata:\r\n  train: {generator: toy}\r\n")
    config = load_config(path)
    assert config.seed == 3
    document = read_document(path, Report())
    assert document is not None
    assert str(document.place(("data", "train"))) == f"{path}:3:3"


def test_found_values_and_names_stay_on_one_short_line() -> None:
    for found in ("a\nb" * 100, 10**500, {"a": 1}, [1] * 9, {}, None, True, float("nan"), "\ud800", 10**5000):
        assert len(shown(found)) <= 60
        assert "\n" not in shown(found)
    assert dotted(("a", "b\nc", 3, "", "d")) == "a.'b\\nc'[3].''.d"


def test_the_nearest_name_is_found_and_a_far_one_is_not() -> None:
    assert nearest("Learning-Rate", ["reg", "learning_rate"]) == "learning_rate"
    assert nearest("lr", ["reg", "learning_rate"]) == "learning_rate"
    assert nearest("lr", ["reg"]) is None
    assert nearest("x" * 100_000, ["reg"]) is None
