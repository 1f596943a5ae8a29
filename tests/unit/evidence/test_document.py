# SPDX-License-Identifier: Apache-2.0
"""The ledger as a document and as a page: every figure with the time that it covers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from evidence_world import counted, proof, start, state

from ovn_ipsec.evidence.document import Request, document, key_bits, moment
from ovn_ipsec.evidence.events import Alive, Counted, Event, Own, Policy, Proof, Start, Summed
from ovn_ipsec.evidence.ledger import GONE, Ledger
from ovn_ipsec.evidence.page import page
from ovn_ipsec.evidence.values import Certified, Counts, LiveSa, Reading, Sums, Volume

T = 1_764_295_200
"""2025-11-28T02:00:00Z."""
CERTIFIED = Certified(
    subject="CN=h2",
    issuer="CN=ca",
    serial="1f",
    sha256="ab" * 32,
    not_before=T,
    not_after=T + 86_400,
    key="ECDSA secp256r1",
)


def made(*events: Event, now: int, since: int | None = None, running: bool = True) -> Any:
    """The document of some events, as it comes out of JSON; its page can be made of it."""
    ledger = Ledger()
    ledger.apply_all(events)
    asked = Request(now=now, since=since, running=running, version="9")
    found = json.loads(json.dumps(document(ledger, asked)))
    assert page(found).isascii()
    return found


def xfrm(at: int, denied: int) -> Counted:
    counts = Counts(out_denied=denied, in_denied=0)
    return Counted(at=at, layers=(Reading(layer="xfrm", epoch="n", counts=counts),))


def test_nothing_is_known_of_a_chassis_that_nobody_observed():
    """And nothing is nought."""
    found = made(now=T, running=False)
    assert found["observed"]["from"] is found["observed"]["to"] is None
    assert (found["guard"]["clear_passed"], found["guard"]["at_least"]) == (None, True)
    assert found["pairs"] == found["policies"] == found["observed"]["gaps"] == []
    assert "Passed in clear: not known" in page(found)


def test_a_pair_from_the_first_event_to_the_last():
    """As the controller that runs tells it."""
    live = LiveSa(out=True, spi=1, made_at=T, bytes=100, packets=1)
    sums = Sums(ended=Volume(in_bytes=7, in_packets=1), live=(live,), rekeys=2)
    found = made(
        start(T),
        state(T + 5, "encrypted"),
        replace(proof(T + 5), certificate=CERTIFIED),
        Summed(at=T + 9, pair="p", sums=sums),
        now=T + 10,
    )
    (pair,) = found["pairs"]
    assert pair["encrypted_since"] == pair["clear_denied_since"] == "2025-11-28T02:00:05Z"
    assert pair["state_is_current"]
    assert pair["protected"] == {
        "counted_from": "2025-11-28T02:00:05Z",
        "out_bytes": 100,
        "out_packets": 1,
        "in_bytes": 7,
        "in_packets": 1,
        "rekeys": 2,
        "ike_rekeys": 0,
        "at_least": False,
    }
    (method,) = pair["methods"]
    assert (method["key_bits"], method["peer_certificate"]["serial"]) == (256, "1f")
    text = page(found)
    assert "100 bytes in 1 packets sent" in text
    assert "`CN=h2`, issued by `CN=ca`, serial 1f" in text


def test_what_is_read_from_the_journal_ends_with_its_last_line():
    """A pair is what it was, and nobody looks any more."""
    events = (start(T), state(T + 5, "encrypted"), Alive(at=T + 60))
    found = made(*events, now=T + 90, running=False)
    assert (found["source"], found["observed"]["to"]) == ("journal", moment(T + 60))
    (gap,) = found["observed"]["gaps"]
    assert (gap["from"], gap["to"], gap["controller_ended"]) == (
        moment(T + 60),
        moment(T + 90),
        "not orderly",
    )
    (pair,) = found["pairs"]
    assert not pair["state_is_current"]
    assert not pair["not_observed"][0]["same_sas_before_and_after"]
    assert "when it was last seen" in page(found)
    assert made(*events, now=T + 60, running=False)["observed"]["gaps"] == []


def test_counters_that_went_on_cover_a_gap():
    """Those that began anew do not, and what the old ones counted last is not known."""
    begin = (start(T), counted(T + 1, 5), xfrm(T + 1, 8), Alive(at=T + 60), start(T + 100))
    found = made(*begin, counted(T + 101, 9), xfrm(T + 101, 9), now=T + 101)
    assert found["observed"]["gaps"][0]["counted_by"] == ["nft", "xfrm"]
    assert (found["guard"]["clear_denied"], found["guard"]["at_least"]) == (5, False)
    found = made(*begin, counted(T + 101, 3, epoch="t2"), xfrm(T + 101, 9), now=T + 101)
    assert found["observed"]["gaps"][0]["counted_by"] == ["xfrm"]
    assert (found["guard"]["clear_denied"], found["guard"]["at_least"]) == (4, True)
    assert found["guard"]["nft"]["not_counted"] == [{"from": moment(T + 1), "to": moment(T + 101)}]
    assert "began anew" in page(found)
    assert "at least 4" in page(found)


def test_only_what_reaches_beyond_a_time():
    """Figures are counted from the last time at or before it that is known."""
    events = (
        start(T),
        Own(at=T, chassis="h1", certificate=CERTIFIED),
        Policy(at=T, generation=1, phase="establish", applied=True),
        counted(T, 0),
        xfrm(T, 0),
        state(T, "encrypted"),
        state(T, "clear", pair="q"),
        state(T + 1, GONE, pair="q"),
        proof(T),
        Summed(at=T, pair="p", sums=Sums(ended=Volume(out_bytes=10, out_packets=1))),
        state(T + 10, "blocked"),
        state(T + 11, "encrypted"),
        proof(T + 11, auth="psk"),
        counted(T + 20, 4),
        counted(T + 21, 1, epoch="t2"),
        Policy(at=T + 30, generation=2, phase="enforce"),
        Own(at=T + 30, chassis="h1"),
        Alive(at=T + 40),
        start(T + 50),
        counted(T + 60, 6, epoch="t2"),
        xfrm(T + 60, 1),
        state(T + 60, "encrypted", held_since=T + 11),
        Policy(at=T + 60, generation=3, phase="enforce"),
        Summed(at=T + 61, pair="p", sums=Sums(ended=Volume(out_bytes=30, out_packets=3))),
    )
    found = made(*events, now=T + 70, since=T + 55)
    assert found["since"] == moment(T + 55)
    assert found["observed"]["gaps"] == []
    assert [one["generation"] for one in found["policies"]] == [2, 3]
    assert [one["certificate"] for one in found["certificates"]] == [None]
    assert found["guard"]["nft"]["not_counted"] == []
    assert [one["from"] for one in found["guard"]["nft"]["counted"]] == [moment(T + 21)]
    assert (found["guard"]["clear_denied"], found["guard"]["at_least"]) == (6, False)
    (pair,) = found["pairs"]
    assert [span["from"] for span in pair["encrypted"]] == [moment(T + 11)]
    assert [one["authentication"] for one in pair["methods"]] == ["psk"]
    assert pair["protected"]["out_bytes"] == 20
    assert pair["protected"]["counted_from"] == moment(T)
    everything = made(*events, now=T + 70)
    assert len(everything["pairs"]) == 2
    assert len(everything["certificates"]) == 2
    assert [one["to"] for one in everything["pairs"][0]["encrypted"]] == [moment(T + 10), None]
    gone = everything["pairs"][1]
    assert (gone["state"], gone["not_observed"]) == (GONE, [])
    text = page(everything)
    assert "Was encrypted from" in text
    assert "the same SAs were there before and after" in text
    earlier = made(*events, now=T + 70, since=T - 5)
    assert [one["generation"] for one in earlier["policies"]] == [1, 2, 3]
    assert earlier["pairs"][0]["protected"]["counted_from"] == moment(T)


def test_what_is_no_longer_kept_is_said():
    """A number for each, on the page as well."""
    ledger = Ledger()
    ledger.apply_all((start(T), state(T, "encrypted"), proof(T), state(T + 1, "blocked")))
    dropped = {"gaps_dropped": 1, "policies_dropped": 2, "pairs_dropped": 3, "unreadable": 4}
    ledger.host = replace(ledger.host, **dropped)
    ledger.pairs["p"] = replace(ledger.pairs["p"], spans_dropped=5)
    asked = Request(now=T + 2, running=True, version="9")
    text = page({**document(ledger, asked), "problem": "disk `full`"})
    for words in (
        "1 older gap ",
        "2 older ones ",
        "3 pairs ",
        "4 lines ",
        "5 older times ",
        "`disk ?full?`",
        "Its certificate is not known here",
    ):
        assert words in text


def test_an_end_that_nobody_saw_is_one_that_nobody_saw():
    """After a gap behind which the pair has other SAs; rebooted or not."""
    events = (start(T), state(T, "encrypted"), Alive(at=T + 5, stopped=True), start(T + 9, "b2"))
    found = made(*events, state(T + 10, "encrypted"), now=T + 11, since=T)
    assert [span["end_was_seen"] for span in found["pairs"][0]["encrypted"]] == [False, True]
    text = page(found)
    assert "when it was last seen to be" in text
    assert "after an orderly end, with a boot of the machine" in text
    assert "nothing counted" in text


def test_what_passed_is_an_upper_bound_for_each_pair():
    """The guard counts for the whole host."""
    events = (start(T), state(T, "pending"), counted(T, 0), xfrm(T, 0))
    found = made(*events, counted(T + 9, 0, clear=3), now=T + 9)
    assert found["guard"]["clear_passed"] == 6
    assert "at most 6 packets." in page(found)
    lost = made(*events, counted(T + 9, 0, epoch="t2"), now=T + 9)
    assert "no packets that were counted." in page(lost)


def test_texts_of_others_are_no_markup():
    """A name, a subject or an identity is shown as it is, and ends no span."""
    hostile = replace(CERTIFIED, subject="CN=`x`\n# Heading \x1b[31m\u202e")
    events = (start(T), state(T, "encrypted"), replace(proof(T), certificate=hostile))
    text = page(made(*events, now=T))
    assert "`CN=?x??# Heading ?[31m?`" in text
    assert "\n# Heading" not in text


@pytest.mark.parametrize(
    ("suite", "bits"),
    [
        ("AES_GCM_16-256", 256),
        ("AES_CBC-128/HMAC_SHA2_256_128", 128),
        ("CHACHA20_POLY1305", 256),
        ("CHACHA20_POLY1305-256", 256),
        ("NULL", None),
        ("", None),
    ],
)
def test_the_size_of_a_key_stands_in_the_name_of_its_suite(suite: str, bits: int | None):
    """ChaCha20 has only one."""
    assert key_bits(suite) == bits


def test_without_extended_sequence_numbers_nothing_is_said_of_them():
    """Nor of a key whose size is not known."""
    method = Proof(at=T, pair="p", auth="psk", ike="", esp="NULL", esn=False, identity="")
    text = page(made(Start(at=T, boot="", version="1"), state(T, "encrypted"), method, now=T))
    assert "extended" not in text.partition("## How to read")[0]
    assert "the peer proved to be not known" in text


@pytest.mark.parametrize(("epoch", "since"), [("t1", "02:00:05Z"), ("t2", "02:02:00Z")])
def test_that_clear_text_is_denied_is_claimed_only_where_a_layer_counted(epoch: str, since: str):
    """After a gap with other counters nobody knows whether there was a guard in it."""
    found = made(
        start(T),
        state(T + 5, "encrypted"),
        counted(T + 6, 0),
        start(T + 120),
        state(T + 121, "encrypted", held_since=T + 5),
        counted(T + 122, 0, epoch),
        now=T + 130,
    )
    (pair,) = found["pairs"]
    assert pair["clear_denied_since"] == f"2025-11-28T{since}"
