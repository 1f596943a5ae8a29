# SPDX-License-Identifier: Apache-2.0
"""Texts out of a stream, however it is cut: the same as the ovs library's own parser finds."""

from __future__ import annotations

import json

import ovs.json
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.ovsdb.jsonstream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
TEXTS = st.lists(st.lists(VALUES) | st.dictionaries(st.text(), VALUES), min_size=1, max_size=4)


def read(parser: JsonStream, text: str, size: int) -> tuple[object, str]:
    """Feed a text in parts until it is done; gives what it says, and what is left."""
    while text and not parser.is_done():
        part = text[:size]
        text = text[parser.feed(part) :]
    return parser.finish(), text


@given(TEXTS, st.integers(1, 30), st.booleans(), st.sampled_from(["", " ", "\n\t"]))
def test_texts_are_found_wherever_the_parts_end(
    values: list[object], size: int, ascii_only: bool, gap: str
) -> None:
    """Brackets, quotes and backslashes inside strings end nothing."""
    text = "".join(gap + json.dumps(value, ensure_ascii=ascii_only) for value in values)
    for value in values:
        found, text = read(JsonStream(), text, size)
        assert found == value
    assert text == ""


@given(st.text(alphabet='{}[]":,\\u0041 \n1e-ntrufals', max_size=40), st.integers(1, 9))
def test_no_text_breaks_it_and_what_it_accepts_the_library_accepts(text: str, size: int) -> None:
    """Junk is an error in words; the two agree on whatever both take."""
    found, rest = read(JsonStream(), text, size)
    if isinstance(found, str):
        return
    theirs = ovs.json.Parser()
    taken = theirs.feed(text)
    assert (theirs.is_done(), theirs.finish()) == (True, found)
    assert text[taken:] == rest


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "neither an object nor an array"),
        ('"a string"', "neither an object nor an array"),
        ("}", "neither an object nor an array"),
        ("[1 2]", "it is not JSON"),
        ('{"a": [1}}', "it is not JSON"),
        ('["\\ud800"]', "it is not JSON"),
        ("[" * 100_000 + "]" * 100_000, "it is not JSON"),
        ('["open', "unexpected end"),
        ("", "unexpected end"),
        (" \n", "unexpected end"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, why: str) -> None:
    """The library takes a str for that, and drops the connection."""
    found, _ = read(JsonStream(), text, 4096)
    assert isinstance(found, str)
    assert why in found
