# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec check-wire`: what a packet is, what a few of them prove, and which pairs are meant."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.cli.check_wire import commands, wire
from ovn_ipsec.cli.check_wire.commands import WrongEndError, choose
from ovn_ipsec.cli.check_wire.probes import (
    COUNT,
    OVERHEAD,
    SIZE_MAX,
    Ends,
    Kind,
    Sight,
    classify,
    matches,
    payload,
    sizes,
)
from ovn_ipsec.cli.check_wire.verdict import Outcome, Tried, judge_wire, overall
from ovn_ipsec.cli.settings import Exit
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.chassis import EncapType

MARK = bytes(range(200, 216))
V4 = Ends(
    type=EncapType.GENEVE, local=ip_address("10.0.0.1"), remote=ip_address("10.0.0.2"), port=6081
)
V6 = replace(V4, local=ip_address("fd00::1"), remote=ip_address("fd00::2"))
CIPHER = bytes.fromhex("c0ffee0100000001") + bytes(60)
SIZES = sizes(range(COUNT))
EXPLAIN = "ovn-ipsec explain hv1 hv2"


def packet(
    ends: Ends, protocol: int, body: bytes, *, fragment: int = 0, options: bytes = b""
) -> bytes:
    if isinstance(ends.local, IPv6Address):
        head = bytes.fromhex("60000000") + len(body).to_bytes(2) + bytes([protocol, 64])
        return head + ends.local.packed + ends.remote.packed + body
    length = 20 + len(options) + len(body)
    head = bytes([0x45 + len(options) // 4, 0]) + length.to_bytes(2) + bytes(2)
    head += fragment.to_bytes(2) + bytes([64, protocol, 0, 0])
    return head + ends.local.packed + ends.remote.packed + options + body


def udp(port: int, content: bytes) -> bytes:
    return (
        (50000).to_bytes(2) + port.to_bytes(2) + (8 + len(content)).to_bytes(2) + bytes(2) + content
    )


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("kind", list(EncapType))
def test_a_probe_in_the_clear_is_seen(ends: Ends, kind: EncapType):
    """Of either tunnel and version of IP, and whoever it goes to."""
    clear = packet(ends, 17, udp(ends.port, payload(kind, MARK, 300)))
    sight = classify(clear, ends, MARK)
    assert Sight(kind=Kind.CLEAR, size=len(clear)) == sight
    assert sight == classify(clear, replace(ends, remote=ip_address("10.9.9.9")), MARK)
    assert classify(clear, ends, bytes(reversed(MARK))) is None


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("around", [lambda esp: (50, esp), lambda esp: (17, udp(4500, esp))])
def test_esp_is_seen_with_its_size(ends: Ends, around):
    """By itself or in UDP; what an Ethernet frame is filled up with does not count."""
    seen = packet(ends, *around(CIPHER))
    expected = Sight(kind=Kind.ESP, size=len(CIPHER))
    assert expected == classify(seen, ends, MARK)
    assert expected == classify(seen + bytes(9), ends, MARK)


def test_esp_in_which_a_probe_can_be_read_is_told_apart():
    """A null cipher, or a card that has yet to encrypt it."""
    seen = packet(V4, 50, CIPHER[:8] + udp(6081, payload(EncapType.GENEVE, MARK, 300)))
    found = classify(seen, V4, MARK)
    assert found is not None
    assert Kind.READABLE == found.kind


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\x45",
        b"\x60" + bytes(20),
        bytes(60),
        packet(replace(V4, remote=ip_address("10.0.0.3")), 50, CIPHER),
        packet(replace(V4, local=V4.remote, remote=V4.local), 50, CIPHER),
        packet(V4, 50, CIPHER, fragment=0x2000 | 7),
        packet(V4, 17, udp(4500, bytes(4) + CIPHER)),
        packet(V4, 17, udp(4500, b"\xff")),
        packet(V4, 17, udp(4500, bytes(4) + b"\xff" * 28)),
        packet(V4, 17, udp(6081, CIPHER)),
        packet(V4, 6, CIPHER),
    ],
)
def test_whatever_else_leaves_is_nothing(other: bytes):
    """Other peers, the way back, parts of packets, IKE, keepalives, other tunnel traffic."""
    assert classify(other, V4, MARK) is None


def test_options_of_ip_are_no_part_of_esp():
    """The header says how long it is."""
    seen = classify(packet(V4, 50, CIPHER, options=bytes(8)), V4, MARK)
    assert Sight(kind=Kind.ESP, size=len(CIPHER)) == seen


@given(st.binary(max_size=120))
def test_no_packet_is_too_odd_to_be_looked_at(junk: bytes):
    """It bears no mark."""
    found = classify(junk, V4, MARK)
    assert found is None or found.kind is Kind.ESP


@pytest.mark.parametrize("kind", list(EncapType))
def test_a_probe_is_of_no_network(kind: EncapType):
    """VNI 0, no option, a frame of an experimental type; and as long as it is to be."""
    probe = payload(kind, MARK, 300)
    assert (300, bytes(3)) == (len(probe), probe[4:7])
    assert b"\x88\xb5" == probe[20:22]
    assert MARK == probe[22:38]


@given(st.lists(st.integers(0, 2**16), min_size=COUNT, max_size=COUNT))
def test_probes_are_told_by_their_sizes(jitter: list[int]):
    """Whatever ESP adds, none looks like another; and none is cut or fragmented."""
    chosen = sizes(jitter)
    for size in chosen:
        for added in (OVERHEAD.start, OVERHEAD[-1]):
            found = [one for one in chosen if matches(one, size + 8 + added)]
            assert [size] == found
    assert max(chosen) + 8 + OVERHEAD[-1] + 8 + 40 <= SIZE_MAX


def esp(*chosen: int) -> tuple[Sight, ...]:
    return tuple(Sight(kind=Kind.ESP, size=size + 8 + 36) for size in chosen)


CLEAR = Sight(kind=Kind.CLEAR, size=300)
READABLE = Sight(kind=Kind.READABLE, size=300)


@pytest.mark.parametrize(
    ("tried", "outcome", "said"),
    [
        ({"seen": esp(*SIZES)}, Outcome.ENCRYPTED, "all 10 probes left eth0 as ESP, none in"),
        ({"seen": (*esp(*SIZES), CLEAR)}, Outcome.CLEAR, "1 packets with the mark of 10 probes"),
        ({"seen": (CLEAR, READABLE), "overlooked": 9}, Outcome.CLEAR, "1 packets with the mark"),
        ({"seen": (*esp(*SIZES), READABLE)}, Outcome.UNKNOWN, "1 probes can be read in the ESP"),
        ({"seen": esp(*SIZES), "overlooked": 9}, Outcome.UNKNOWN, "9 packets left eth0 faster"),
        ({"seen": esp(*SIZES[1:])}, Outcome.UNKNOWN, "9 of 10 probes left eth0 as ESP, none in"),
        ({}, Outcome.DENIED, "none of 10 probes left eth0, as ESP or in the clear: they were d"),
        ({"seen": esp(5000)}, Outcome.DENIED, "none of 10 probes left eth0"),
        (
            {"refused": dict.fromkeys(SIZES, "Operation not permitted")},
            Outcome.DENIED,
            "none of 10 probes left eth0, as ESP or in the clear: they were denied "
            "(Operation not permitted)",
        ),
        (
            {"refused": dict.fromkeys(SIZES, "no"), "seen": esp(*SIZES)},
            Outcome.DENIED,
            "none of 10 probes left eth0",
        ),
    ],
)
def test_what_was_seen_is_judged(tried: dict, outcome: Outcome, said: str):
    """ESP of the size of a probe that was refused is somebody else's."""
    verdict = judge_wire(Tried(device="eth0", sizes=SIZES, **tried), EXPLAIN)
    assert outcome == verdict.outcome
    assert verdict.said.startswith(said)
    assert (outcome is Outcome.ENCRYPTED) == (not verdict.next_step)
    if outcome in (Outcome.CLEAR, Outcome.DENIED):
        assert EXPLAIN == verdict.next_step


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], Exit.CANNOT_TELL),
        ([Outcome.ENCRYPTED], Exit.WELL),
        ([Outcome.ENCRYPTED, Outcome.UNKNOWN], Exit.CANNOT_TELL),
        ([Outcome.UNKNOWN, Outcome.DENIED], Exit.DEGRADED),
        ([Outcome.ENCRYPTED, Outcome.CLEAR], Exit.DEGRADED),
    ],
)
def test_several_pairs_are_as_well_as_the_worst(outcomes: list[Outcome], expected: Exit):
    """And none proves nothing."""
    assert expected == overall(outcomes)


def pair(peer: str, local: str, remote: str) -> dict:
    return {
        **{"peer": peer, "type": "geneve", "local": local, "remote": remote, "out_port": 6081},
        "state": "encrypted",
    }


PEERS = [pair("hv2", "10.0.0.1", "10.0.0.2"), pair("hv2", "10.1.0.1", "10.1.0.2")]
PEERS += [pair("hv3", "10.0.0.1", "10.0.0.3")]


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("hv1", "hv2", [0, 1]),
        ("10.1.0.1", "hv2", [1]),
        ("hv1", "10.0.0.2", [0]),
        ("10.0.0.1", "10.0.0.3", [2]),
    ],
)
def test_pairs_are_named_by_chassis_or_address(one: str, other: str, found: list[int]):
    """All that are meant."""
    assert [PEERS[number] for number in found] == choose("hv1", one, other, PEERS)


def test_the_wrong_end_and_a_pair_that_is_not_there_are_told_apart():
    """The first of the two has to be this host."""
    with pytest.raises(WrongEndError, match="this host is the chassis hv1, and not hv2"):
        choose("hv1", "hv2", "hv1", PEERS)
    with pytest.raises(EdgeError, match="knows no pair with hv9"):
        choose("hv1", "hv1", "hv9", PEERS)


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    monkeypatch.setattr(commands, "ask", lambda *_words: {"chassis": "hv1"})
    monkeypatch.setattr(commands, "ask_peers", lambda _socket: PEERS)
    done = CliRunner().invoke(main, [*words, "--target", "/x"])
    return done.exit_code, done.output


def test_each_pair_is_shown_with_what_was_proven(monkeypatch: pytest.MonkeyPatch):
    """One that cannot be watched is unknown, and the others are tried all the same."""

    def try_pair(ends: Ends) -> Tried:
        if ends.local == IPv4Address("10.1.0.1"):
            raise EdgeError("cannot watch eth1: Operation not permitted")
        return Tried(device="eth0", sizes=SIZES, seen=esp(*SIZES))

    monkeypatch.setattr(wire, "try_pair", try_pair)
    code, output = asked(monkeypatch, "check-wire", "hv1", "hv2")
    assert 2 == code
    lines = output.splitlines()
    where = "hv2: geneve 10.0.0.1 to 10.0.0.2 port 6081, by its controller encrypted"
    assert f"ok    {where}" == lines[0]
    assert "      all 10 probes left eth0 as ESP, none in the clear" == lines[1]
    assert lines[2].startswith("???   hv2: geneve 10.1.0.1")
    assert "      next: run this as root on the chassis itself" == lines[4]
    code, output = asked(monkeypatch, "--json", "check-wire", "hv1", "10.0.0.2")
    (found,) = json.loads(output)
    assert (0, "encrypted", "10.0.0.1", 6081) == (
        code,
        found["outcome"],
        found["local"],
        found["port"],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hv2", "hv1"), "next: run this on hv2; here: ovn-ipsec check-wire hv1 hv2"),
        (("hv1", "hv9"), "the controller of hv1 knows no pair with hv9"),
    ],
)
def test_what_cannot_be_tried_is_unknown(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, str], said: str
):
    """With what to do instead."""
    code, output = asked(monkeypatch, "check-wire", *words)
    assert 2 == code
    assert said in output


def test_a_pair_that_another_version_tells_of_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch):
    """Its port is needed."""
    monkeypatch.setitem(PEERS[2], "out_port", None)
    code, output = asked(monkeypatch, "check-wire", "hv1", "hv3")
    assert 2 == code
    assert "did not say where a pair is" in output
