# SPDX-License-Identifier: Apache-2.0
"""How large packets may be: the computed figures beside the kernel's own, suite by suite."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import EncapType
from ovn_ipsec.model.mtu import (
    BY_PROFILE,
    ETHERNET_HEADER,
    IP_HEADER,
    TUNNEL_HEADER,
    Wrapping,
    inner_mtu,
    path_mtu,
)
from ovn_ipsec.model.policy import Profile
from ovn_ipsec.paths import path_mtus
from tests.functional.netns import LOCAL, PEER, PORT, Net, Wire, joined

LINKS = (1500, 1501, 1502, 1503, 1400, 8950)
"""Padding to 4 and to 16 rounds each of them in another way."""
GCM = ("aead", "rfc4106(gcm(aes))", "0x" + "11" * 36, "128")
CHACHA = ("aead", "rfc7539esp(chacha20,poly1305)", "0x" + "22" * 36, "128")
CBC = (
    *("auth-trunc", "hmac(sha256)", "0x" + "33" * 32, "128"),
    *("enc", "cbc(aes)", "0x" + "44" * 32),
)
ALGORITHMS = {
    Profile.DEFAULT: GCM,
    Profile.CHACHA20: CHACHA,
    Profile.AES256_SHA256: CBC,
    Profile.CNSA: GCM,
    Profile.PQ: GCM,
}
"""What each profile's SAs are in the kernel: cnsa and pq differ from the default in IKE alone."""
_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
"""IP_MTU, IPV6_MTU."""
_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
"""IP_MTU_DISCOVER, IPV6_MTU_DISCOVER."""
_DO = 2
"""Never in fragments."""
_ETH_P_ALL, _SIOCSIFMTU, _OUTGOING = 3, 0x8922, 4


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """Two namespaces with a link between them, and policies that want ESP from here to there."""
    with joined() as found:
        for version in (4, 6):
            found.here.run(
                *f"ip xfrm policy add src {LOCAL[version]} dst {PEER[version]}".split(),
                *f"proto udp dport {PORT} dir out tmpl src {LOCAL[version]}".split(),
                *f"dst {PEER[version]} proto esp mode transport".split(),
            )
        yield found


@dataclass(frozen=True)
class Case:
    """One SA."""

    version: int
    profile: Profile
    in_udp: bool

    @property
    def wrapping(self) -> Wrapping:
        """What is around a tenant's packet in it."""
        return Wrapping(
            type=EncapType.GENEVE,
            version=self.version,
            esp=BY_PROFILE[self.profile],
            in_udp=self.in_udp,
        )

    def install(self, net: Net) -> None:
        """Make it the only one."""
        net.run("ip", "xfrm", "state", "flush")
        encap = ("encap", "espinudp", "4500", "4500", "::" if self.version == 6 else "0.0.0.0")
        net.run(
            *f"ip xfrm state add src {LOCAL[self.version]} dst {PEER[self.version]}".split(),
            *("proto", "esp", "spi", "0x1234", "mode", "transport"),
            *ALGORITHMS[self.profile],
            *(encap if self.in_udp else ()),
        )


def set_mtu(net: Net, link: str, mtu: int) -> None:
    """Without a fork, which takes the guest a tenth of a second."""
    with net.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFMTU, struct.pack("16si", link.encode(), mtu))


def sender(wire: Wire, version: int) -> socket.socket:
    """A socket that sends as Geneve does, and never in fragments."""
    with wire.here.entered():
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        found = socket.socket(family, socket.SOCK_DGRAM)
    found.setsockopt(*_DISCOVER[version], _DO)
    found.bind((LOCAL[version], 0))
    found.connect((PEER[version], PORT))
    return found


def tap(net: Net) -> socket.socket:
    """Hears what arrives at the other end of the link, before the kernel there acts on it."""
    with net.entered():
        found = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        found.bind(("v1", _ETH_P_ALL))
    found.settimeout(stretched(5))
    return found


def length_on_the_wire(heard: socket.socket, case: Case) -> int:
    """The size of the next packet of the SA, which is whole."""
    udp, esp = 17, 50
    while True:
        packet, origin = heard.recvfrom(65536)
        if origin[2] == _OUTGOING or packet[0] >> 4 != case.version:
            continue
        protocol = packet[9] if case.version == 4 else packet[6]
        assert case.version == 6 or packet[6:8] in (b"\x40\x00", b"\x00\x00"), "a fragment"
        if protocol == (udp if case.in_udp else esp):
            return len(packet)


@pytest.mark.parametrize("version", [4, 6])
def test_computed_figures_are_the_kernels(wire: Wire, version: int) -> None:
    """For every suite, in ESP and in UDP: what fits is sent whole, and one byte more is refused."""
    ends = (ip_address(LOCAL[version]), ip_address(PEER[version]))
    tunnel = TUNNEL_HEADER[EncapType.GENEVE] + ETHERNET_HEADER
    with tap(wire.there) as heard:
        for profile, in_udp in itertools.product(Profile, (False, True)):
            case = Case(version=version, profile=profile, in_udp=in_udp)
            case.install(wire.here)
            for link in LINKS:
                for net, name in ((wire.here, "v0"), (wire.there, "v1")):
                    set_mtu(net, name, link)
                with wire.here.entered():
                    assert path_mtus([ends]) == {ends: link}
                inner = inner_mtu(link, case.wrapping)
                with sender(wire, version) as out:
                    # What the kernel lets through is the outer packet before ESP.
                    told = out.getsockopt(*_MTU[version])
                    assert told - IP_HEADER[version] - 8 - tunnel == inner, (case, link)
                    out.send(bytes(tunnel + inner))
                    sent = length_on_the_wire(heard, case)
                    assert sent == path_mtu(inner, case.wrapping) <= link, (case, link)
                    with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
                        out.send(bytes(tunnel + inner + 1))
