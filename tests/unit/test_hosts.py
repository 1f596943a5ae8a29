# SPDX-License-Identifier: Apache-2.0
"""What the laboratory's whole hosts are made of, and how their captures are read."""

from __future__ import annotations

import configparser
import struct
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from ovn_ipsec.lab.hosts import recipe, underlay
from ovn_ipsec.lab.hosts.recipe import H1, H2
from ovn_ipsec.lab.witness.wire import Kind

PCAP = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1)


def frame(sender: recipe.HostName, receiver: recipe.HostName, protocol: int, port: int) -> bytes:
    """An Ethernet frame with an IPv4 packet from one host to the other."""
    macs = [bytes.fromhex(host.mac.replace(":", "")) for host in (receiver, sender)]
    addresses = [bytes(map(int, host.address.split("."))) for host in (sender, receiver)]
    ip = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]) + b"".join(addresses)
    return b"".join(macs) + b"\x08\x00" + ip + struct.pack("!HHHH", 1, port, 20, 0) + bytes(20)


def record(at: float, data: bytes) -> bytes:
    return struct.pack("=IIII", int(at), int(at % 1 * 1e6), len(data), len(data)) + data


GENEVE = frame(H1, H2, 17, 6081)
ESP = frame(H2, H1, 50, 0)


def test_a_package_depends_on_the_first_of_alternatives_and_not_on_ours():
    """Versions, architectures and blanks are not part of a name."""
    fields = ["ovn-ipsec-common (= 1), python3:any, charon-systemd (>= 5.9)", "nft | iptables, "]
    assert recipe.dependencies(fields) == {"python3", "charon-systemd", "nft"}


def test_another_package_or_file_makes_another_disk():
    """And the order of packages none."""
    one = recipe.fingerprint("sid", ["a", "b"], b"x")
    assert one == recipe.fingerprint("sid", ["b", "a"], b"x")
    others = (("sid", ["a"], b"x"), ("sid", ["a", "b"], b"y"), ("trixie", ["a", "b"], b"x"))
    assert len({one, *(recipe.fingerprint(*other) for other in others)}) == 4


@pytest.mark.parametrize(
    ("text", "found"),
    [("sid", ("sid", "sid")), (",".join(recipe.MIXED), recipe.MIXED)],
)
def test_hosts_have_one_release_or_two(text: str, found: tuple[str, str]):
    assert recipe.suites_of(text) == found


@pytest.mark.parametrize("text", ["", "bookworm", "sid,", "sid,sid,sid"])
def test_a_release_without_packages_of_ours_is_refused(text: str):
    with pytest.raises(ArgumentTypeError, match="one or two of trixie, sid"):
        recipe.suites_of(text)


def test_only_the_first_host_is_central():
    """The other one masks the units, which are on the disk of both."""
    assert "systemd.mask=ovn-central.service" in recipe.kernel_words(H2).split()
    assert "mask" not in recipe.kernel_words(H1)


def test_each_host_knows_the_key_of_both_by_name_and_address():
    """Without the comment, which says on which machine it was made."""
    line = recipe.known_hosts("ssh-ed25519 AAAA root@somewhere\n")
    assert line == "h1,192.0.2.1,h2,192.0.2.2 ssh-ed25519 AAAA\n"


def test_a_file_of_the_recipe_is_one_that_systemd_can_read():
    """Sections and assignments; a bare word would be ignored with a line in the journal."""
    for name, text in recipe.files().items():
        if name.endswith((".network", ".service", ".conf")):
            parser = configparser.RawConfigParser(strict=False)
            parser.read_string(text)
            assert parser.sections(), name


def test_a_frame_is_counted_where_it_was_sent(tmp_path: Path):
    """Both captures hold it; frames come in the order of time."""
    for number, host in enumerate((H1, H2)):
        content = PCAP + record(1000.5 + number, ESP) + record(1000.25, GENEVE)
        underlay.capture_of(tmp_path, host, 1).write_bytes(content)
    seen = underlay.Underlay(tmp_path).seen()
    assert [(1000.25, Kind.CLEAR, "h1"), (1001.5, Kind.ESP, "h2")] == [
        (one.at, one.kind, one.sender) for one in seen
    ]
    assert (H1.address, H2.address) == (seen[0].source, seen[0].destination)


def test_what_is_behind_a_mark_and_in_later_captures_is_seen(tmp_path: Path):
    """A host that is powered on again has a new capture; half a record is not there yet."""
    first = underlay.capture_of(tmp_path, H1, 1)
    first.write_bytes(PCAP + record(1, GENEVE))
    wire = underlay.Underlay(tmp_path)
    mark = wire.mark()
    assert not wire.counts(mark)
    with first.open("ab") as capture:
        capture.write(record(2, GENEVE) + record(3, GENEVE)[:-1])
    underlay.capture_of(tmp_path, H1, 2).write_bytes(PCAP + record(4, GENEVE))
    assert wire.counts(mark) == {Kind.CLEAR: 2}
    assert wire.counts() == {Kind.CLEAR: 3}
