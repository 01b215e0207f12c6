"""The quick reader and writer are taken for the standard library's: whatever the bytes, they say the same."""

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.documents import read, written

NUMBERS = st.integers() | st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs, too
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
ODD = [
    b"",
    b"[1,]",
    b"{} {}",
    b'"\x01"',
    b"nul",
    b"\xff",
    b'"\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf{}",
    '{"a": 1}'.encode("utf-16"),
    b'{"a": 1, "a": 2}',
    b"[NaN, Infinity, -Infinity, 1e999, -0]",
    b"[18446744073709551616, -123456789012345678901234567890]",
    b"[" * 500 + b"]" * 500,
    b"[" * 100_000,
]


def by_the_standard_library(text: bytes) -> str:
    try:
        return repr(json.loads(text))
    except (ValueError, RecursionError) as error:
        return repr(error)


@pytest.mark.parametrize("text", ODD)
def test_what_is_odd_is_read_or_refused_as_before(text: bytes) -> None:
    try:
        found = repr(read(text))
    except (ValueError, RecursionError) as error:
        found = repr(error)
    assert found == by_the_standard_library(text)


@given(VALUES)
def test_what_is_written_reads_the_same_for_both(value: Any) -> None:
    text = written(value)
    assert repr(json.loads(text)) == repr(read(text)) == repr(json.loads(json.dumps(value)))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_as_before(text: bytes) -> None:
    try:
        found = repr(read(text))
    except (ValueError, RecursionError) as error:
        found = repr(error)
    assert found == by_the_standard_library(text)


def test_what_is_no_json_goes_to_the_default() -> None:
    frozen = MappingProxyType({"a": MappingProxyType({"b": 1})})
    assert json.loads(written({"x": frozen}, dict)) == {"x": {"a": {"b": 1}}}
    with pytest.raises(TypeError):
        written(object())


def test_what_contains_itself_is_refused() -> None:
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    with pytest.raises(ValueError, match="ircular"):
        written(round_and_round)
