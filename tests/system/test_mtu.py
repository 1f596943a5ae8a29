# SPDX-License-Identifier: Apache-2.0
"""How large packets may be: the computed figures beside the kernel's own, suite by suite."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import helpers
import pytest

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import Host, python
from ovn_ipsec.lab.cluster.workload import WORKLOAD_MTU, ip_batch
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.lab.witness.traffic import Pinger
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


# --- a cluster -------------------------------------------------------------------------------


CLEAR, ENCRYPTED = 1442, 1408
"""What an underlay of 1500 leaves over IPv4: worked out by hand in tests/unit/model/test_mtu.py."""
PINGS = 5


def resize(cluster: Cluster, mtu: int) -> None:
    """Give two workloads another MTU, as their next lease would."""
    for name in ("w1", "w2"):
        ip_batch([f"link set {name} mtu {mtu}"], name)


def answered(cluster: Cluster, size: int) -> int:
    """How many of PINGS packets of so many bytes, which may not be fragmented, are answered."""
    there = cluster.workloads["w2"]
    pinger = Pinger(cluster.workloads["w1"].network, there.ip, size=size - 20 - 8)
    begin = pinger.mark()
    pinger.start()
    try:
        wait_until(lambda: pinger.sent_since(begin) >= PINGS, 60, "pings sent", every=0.05)
        end = pinger.mark()
        return PINGS if not pinger.lost_since(begin, end) else pinger.received_since(begin, end)
    finally:
        pinger.stop()


def wait_all_answered(cluster: Cluster, size: int) -> None:
    """Wait until none is lost: the first few may be, after an interface or a port has changed."""
    wait_until(
        lambda: answered(cluster, size) == PINGS, 30, f"{size} bytes are answered", every=0.1
    )


@contextlib.contextmanager
def interface_of(chassis: Chassis, name: str, mtu: int) -> Iterator[None]:
    """An interface like that of a virtual machine; those of w1 and w2 are moved away from here."""
    chassis.run(["ip", "link", "add", name, "mtu", str(mtu), "type", "veth", "peer", f"{name}p"])
    port = ["--may-exist", "add-port", "br-int", name]
    chassis.run(["ovs-vsctl", *port, "--", "set", "Interface", name, "external_ids:iface-id=vm"])
    try:
        yield
    finally:
        chassis.run(["ovs-vsctl", "--if-exists", "del-port", name])
        chassis.run(["ip", "link", "del", name])


def refreshed(cluster: Cluster, chassis: str, expected: str) -> None:
    """Have a controller look, until it reports what is expected."""

    def reported() -> bool:
        cluster.chassis[chassis].appctl(CONTROLLER, "refresh")
        return helpers.digest(cluster, chassis).get("ovn-ipsec-mtu") == expected

    wait_until(reported, 60, f"{expected} at {chassis}", every=0.5)


def told(host: Host, *words: str) -> tuple[int, Any]:
    """What a command says, and its exit status."""
    done = host.run(python("-m", "ovn_ipsec.cli", "--json", *words), check=False)
    return done.returncode, json.loads(done.stdout)


def test_a_workload_that_is_too_large_is_named_and_what_is_printed_helps(
    switched_off: Cluster,
) -> None:
    """What passes in clear stalls in ESP; status, mtu, explain and doctor say why, and what to set.

    The controllers are asked to look; by themselves they do so once a minute.
    """
    cluster, central = switched_off, switched_off.central
    h1 = cluster.chassis["h1"]
    words = ["create", "DHCP_Options", "cidr=192.168.0.0/24", f"options:mtu={CLEAR}"]
    dhcp = cluster.nbctl(*words).strip()
    try:
        resize(cluster, CLEAR)
        wait_all_answered(cluster, CLEAR)
        with interface_of(h1, "vm", CLEAR):
            refreshed(cluster, "h1", f"underlay=1500 inner={CLEAR} larger=0")
            helpers.enforce(cluster)
            helpers.wait_all_encrypted(cluster)
            for size in (56, ENCRYPTED):
                wait_all_answered(cluster, size)
            assert [answered(cluster, size) for size in (ENCRYPTED + 1, CLEAR)] == [0, 0]
            refreshed(cluster, "h1", f"underlay=1500 inner={ENCRYPTED} larger=2")
            refreshed(cluster, "h2", f"underlay=1500 inner={ENCRYPTED} larger=1")
            assert {(p["path_mtu"], p["inner_mtu"]) for p in helpers.peers(h1)} == {
                (1500, ENCRYPTED)
            }
            command = said_by_everybody(cluster, dhcp)
        cluster.nbctl(*command.removeprefix("ovn-nbctl ").split())
        resize(cluster, ENCRYPTED)
        for name in ("h1", "h2"):
            refreshed(cluster, name, f"underlay=1500 inner={ENCRYPTED} larger=0")
        code, found = told(central, "mtu")
        assert (code, found["left"], found["too_large"]) == (0, ENCRYPTED, [])
        wait_all_answered(cluster, found["left"])
    finally:
        cluster.nbctl("destroy", "DHCP_Options", dhcp)
        resize(cluster, WORKLOAD_MTU)


def said_by_everybody(cluster: Cluster, dhcp: str) -> str:
    """Ask every command that tells of it; returns what is printed to set."""
    central, h1 = cluster.central, cluster.chassis["h1"]
    code, found = told(central, "mtu")
    assert (code, found["left"]) == (1, ENCRYPTED)
    assert "1500 on the underlay, of which ESP with profile default takes 34" in found["because"]
    (network,) = found["too_large"]
    assert (network["row"], network["mtu"]) == ("192.168.0.0/24", CLEAR)
    assert network["command"] == f"ovn-nbctl set DHCP_Options {dhcp} options:mtu={ENCRYPTED}"
    assert found["interfaces"] == [
        {"chassis": "h1", "number": 2, "left": ENCRYPTED},
        {"chassis": "h2", "number": 1, "left": ENCRYPTED},
    ]
    code, status = told(central, "status")
    warnings = {one["subject"]: one for one in status["findings"]}
    assert (code, set(warnings)) == (0, {"cluster", "h1", "h2"})
    assert f"is {CLEAR}, but {ENCRYPTED} is left" in warnings["cluster"]["problem"]
    assert {one["level"] for one in warnings.values()} == {"warning"}
    code, explained = told(central, "explain", "h1", "h2")
    assert (code, [pair["mtu_left"] for pair in explained["pairs"]]) == (0, [ENCRYPTED])
    _, checks = told(h1, "doctor")
    (check,) = (one for one in checks if one["part"] == "MTU")
    assert (
        check["is_well"],
        f"2 interfaces above {ENCRYPTED}: vm {CLEAR} (vm), w1 {CLEAR}" in check["said"],
    ) == (
        False,
        True,
    )
    assert "eth0 has 1500" in check["said"]
    return str(network["command"])
