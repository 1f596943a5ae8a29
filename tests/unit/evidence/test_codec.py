# SPDX-License-Identifier: Apache-2.0
"""Lines of the journal: what is written is read, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.evidence import events
from ovn_ipsec.evidence.codec import decode, encode
from ovn_ipsec.evidence.values import Certified, LiveSa, Sums, Volume

EVENTS = st.one_of(*(st.from_type(kind) for kind in events._KINDS.values()))


@given(event=EVENTS)
def test_what_is_written_is_read(event: events.Event):
    """Each event is one line of ASCII, and comes back whole."""
    text = events.line(event)
    assert text.isascii()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert event == events.parse(text)


def test_what_is_as_without_saying_is_not_written():
    """A thousand pairs have a thousand such lines."""
    assert encode(Sums()) == {}
    assert encode(Sums(ended=Volume(in_bytes=5))) == {"ended": {"in_bytes": 5}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "no object"),
        ("{}", "no kind"),
        ('{"is":"strange","at":1}', "no kind"),
        ('{"is":"alive"}', "lacks at"),
        ('{"is":"alive","at":1,"more":2}', "has no more"),
        ('{"is":"alive","at":"1"}', "expected int"),
        ('{"is":"alive","at":true}', "expected int"),
        ('{"is":"alive","at":1,"stopped":1}', "expected bool"),
        ('{"is":"alive","at":1', "delimiter"),
        ('{"is":"guard","at":1,"layers":3}', "expected a list"),
        ('{"is":"sums","at":1,"pair":"a","sums":[]}', "expected an object"),
        ('{"is":"start","at":1,"boot":"' + "b" * events.LINE_MAX + '","version":"1"}', "longer"),
    ],
)
def test_a_line_is_understood_as_a_whole_or_not_at_all(text: str, why: str):
    """What is not known is not guessed."""
    with pytest.raises(ValueError, match=why):
        events.parse(text)


def test_nothing_may_stand_where_something_may_be_missing():
    """Null is no number and no text."""
    line = json.dumps({"is": "own", "at": 1, "chassis": "h1", "certificate": None})
    assert events.parse(line) == events.Own(at=1, chassis="h1")
    with pytest.raises(ValueError, match="expected int"):
        decode(LiveSa, {"out": True, "spi": None, "made_at": 1, "bytes": 1, "packets": 1})
    with pytest.raises(ValueError, match="lacks issuer"):
        decode(Certified, {"subject": "CN=h1"})
