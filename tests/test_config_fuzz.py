"""Good configs broken at random, in their bytes and in their structure: each is accepted, and then dumps to the same
config, or is refused with every error placed; nothing else ever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twolayer.config import Config, config_from_dict, dump_config, load_config
from twolayer.config.document import Report, read_document
from twolayer.utils.errors import ConfigError

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
TOKENS = [
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b": ",
        b"- ",
        b"? ",
        b"\n",
        b"\r",
        b"\t",
        b"  ",
        b"'",
        b'"',
        b"#",
        b"|",
        b">",
        b"@",
        b"`",
    ),
    *(
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!",
        b"!!python/name:os.system ",
        b"---\n",
        b"...\n",
        b"%YAML 1.1\n",
        b"\\ud800",
        b"\\x",
    ),
    *(b"null", b"true", b"-1", b"1e999", b".nan", b"0x1f", b"9" * 500, b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85"),
]
KEYS = [
    "seed",
    "data",
    "train",
    "generator",
    "features",
    "solver",
    "optimizer",
    "reg",
    "class_weight",
    "dir",
    "a.b",
    "",
]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["adam", "spiral"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "a.yaml"


def require_one_line_each(problems: list[str], starts: tuple[str, ...] = ("",)) -> None:
    assert problems
    for problem in problems:
        assert problem.startswith(starts)
        assert problem.isprintable()


def require_round_trip(config: Config, path: Path) -> None:
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path, require_files=False) == config


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SHIPPED)).read_bytes())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["byte", "token", "cut", "copy"])):
            case "byte":
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "token":
                content[at:at] = draw(st.sampled_from(TOKENS)) * draw(st.sampled_from([1, 1, 2, 30]))
            case "cut":
                del content[at : at + draw(st.integers(1, 60))]
            case "copy":
                start = draw(st.integers(0, len(content)))
                content[at:at] = content[start : start + draw(st.integers(1, 80))]
    return bytes(content)


@settings(max_examples=150, deadline=None)
@given(content=broken_bytes())
def test_broken_bytes_are_accepted_or_refused_with_places(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        config = load_config(path, require_files=False)
    except ConfigError as error:
        require_one_line_each(error.problems, (f"{path}:", "... and "))
    else:
        require_round_trip(config, path)


@st.composite
def broken_structures(draw: st.DrawFn) -> Any:
    document = read_document(draw(st.sampled_from(SHIPPED)), Report())
    assert document is not None
    data = document.data
    for _ in range(draw(st.integers(1, 3))):
        holder = draw(st.sampled_from([data, *(v for v in data.values() if isinstance(v, dict))]))
        key = draw(st.sampled_from([*holder, *KEYS]))
        if draw(st.booleans()):
            holder[key] = draw(VALUES)
        else:
            holder.pop(key, None)
    return data


OVERRIDES = st.builds(
    lambda keys, text: ".".join(keys) + "=" + text,
    st.lists(st.sampled_from(KEYS), max_size=3),
    st.text(max_size=6) | st.sampled_from(["1", "{a: 1}", "[", "adam", "!!x 1", "*a", "- 1"]),
) | st.text(max_size=6)


@settings(max_examples=150, deadline=None)
@given(data=broken_structures(), overrides=st.lists(OVERRIDES, max_size=2))
def test_broken_structures_are_accepted_or_refused_by_key(path: Path, data: Any, overrides: list[str]) -> None:
    try:
        config = config_from_dict(data, overrides, require_files=False)
    except ConfigError as error:
        require_one_line_each(error.problems)
    else:
        require_round_trip(config, path)
