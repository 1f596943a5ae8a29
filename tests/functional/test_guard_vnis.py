# SPDX-License-Identifier: Apache-2.0
"""Protected networks on a real kernel: their VNIs are denied on pairs that may be clear.

The XFRM layer cannot see VNIs; that it goes on with the rest is in test_guard_layers.py.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from controller.guard.keeper import GuardKeeper
from controller.guard.layer import GuardLayer
from controller.guard.nft import NftGuardLayer
from controller.guard.nft_events import NftEvents
from controller.guard.xfrm import XfrmGuardLayer
from controller.plan.guard import GuardCounters, GuardObserved, GuardState
from ovn_ipsec.model.observation import Known
from tests.contracts.guard_layer import guard, pair
from tests.functional.netns import (
    LOCAL,
    PEER,
    PORT,
    STRANGER,
    VXLAN_PORT,
    Net,
    Wire,
    geneve,
    joined,
    vxlan,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN")

SO_RCVBUFFORCE = 33
"""include/uapi/asm-generic/socket.h; not in the socket module."""
VERSIONS = pytest.mark.parametrize("version", [4, 6])
PORTS = pytest.mark.parametrize("port", [PORT, VXLAN_PORT])
CLEAR = [
    pair(PEER[version], local=LOCAL[version], out=port, into=port)
    for version in (4, 6)
    for port in (PORT, VXLAN_PORT)
]
BOTH, NONE = (True, True), (False, False)


def protecting(*vnis: int) -> GuardState:
    """Every pair with the peer may be clear, but not these networks."""
    return replace(guard(*CLEAR), vnis=frozenset(vnis))


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Join two namespaces."""
    with joined() as found:
        yield found


@pytest.fixture
def layer(wire: Wire) -> Iterator[NftGuardLayer]:
    """Open the layer inside."""
    made = NftGuardLayer()
    with wire.here.entered():
        assert made.available() == Known(value=True)
        yield made
        made.close()


def counted(layer: NftGuardLayer) -> GuardCounters:
    """Read the counters."""
    counters = layer.counters()
    assert isinstance(counters, Known)
    return counters.value


@VERSIONS
@PORTS
def test_only_other_networks_are_clear(
    layer: NftGuardLayer, wire: Wire, version: int, port: int
) -> None:
    """On a pair that may be clear VNI 7 passes, VNI 5 is denied and counted, both ways."""
    ends = LOCAL[version], PEER[version]
    header = geneve if port == PORT else vxlan
    layer.apply(None, protecting(5))
    assert wire.both_ways(*ends, port=port, header=header(7)) == BOTH
    assert counted(layer) == GuardCounters(out_denied=0, out_clear=1, in_denied=0, in_clear=1)
    assert wire.both_ways(*ends, port=port, header=header(5)) == NONE
    assert counted(layer) == GuardCounters(out_denied=1, out_clear=1, in_denied=1, in_clear=1)
    assert wire.both_ways(LOCAL[version], STRANGER[version], port=port, header=header(7)) == NONE


@VERSIONS
def test_ovn_has_the_network_in_twelve_bits_of_vxlan(
    layer: NftGuardLayer, wire: Wire, version: int
) -> None:
    """The port's key is above it in VXLAN, a longer key is cut; Geneve's VNI is the network."""
    ends = LOCAL[version], PEER[version]
    layer.apply(None, protecting(5, 0x1006, 0x3000))
    for port_key in (1, 2, 0xFFF):
        to_port = vxlan(port_key << 12 | 5)
        assert wire.both_ways(*ends, port=VXLAN_PORT, header=to_port) == NONE
    assert wire.both_ways(*ends, port=VXLAN_PORT, header=vxlan(1 << 12 | 7)) == BOTH
    assert wire.both_ways(*ends, port=VXLAN_PORT, header=vxlan(2 << 12 | 6)) == NONE
    assert wire.both_ways(*ends, port=VXLAN_PORT, header=vxlan(1 << 12)) == NONE
    assert wire.both_ways(*ends, port=VXLAN_PORT, header=vxlan(0)) == BOTH, "BFD"
    assert wire.both_ways(*ends, header=geneve(1 << 12 | 5)) == BOTH
    assert wire.both_ways(*ends, header=geneve(0x1006)) == NONE
    assert wire.both_ways(*ends, header=geneve(6)) == BOTH


def test_one_two_and_three_hundred_vnis(layer: NftGuardLayer, wire: Wire) -> None:
    """From none to many and back, every byte of a VNI counts, and the counters go on."""
    many = [number * 55_555 + 1 for number in range(300)]
    states = [protecting(), protecting(5), protecting(5, 6), protecting(*many), protecting()]
    ends = LOCAL[4], PEER[4]
    before: GuardState | None = None
    denied = passed = 0
    for state in states:
        layer.apply(before, state)
        before = state
        assert layer.observe() == Known(GuardObserved(state=state))
        for vni in (5, 6, 7, many[1], many[299], many[299] ^ 1, many[299] ^ 1 << 23):
            closed = vni in state.vnis
            assert wire.both_ways(*ends, header=geneve(vni)) == (NONE if closed else BOTH), vni
            denied, passed = denied + closed, passed + (not closed)
        expected = GuardCounters(
            out_denied=denied, out_clear=passed, in_denied=denied, in_clear=passed
        )
        assert counted(layer) == expected
    assert denied > 4


def send(net: Net, rounds: int, *headers: bytes) -> subprocess.Popen[bytes]:
    """Send packets with these headers in turns, from another process."""
    script = (
        "import socket,sys,time\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind((sys.argv[1],0))\n"
        f"for n in range({rounds}):\n"
        f"  [s.sendto(bytes.fromhex(h),(sys.argv[2],{PORT})) for h in sys.argv[3:]]\n"
        "  time.sleep(0.0005)\n"
    )
    texts = [header.hex() for header in headers]
    with net.entered():
        return subprocess.Popen(["python3", "-c", script, PEER[4], LOCAL[4], *texts])


def test_other_vnis_under_load(layer: NftGuardLayer, wire: Wire) -> None:
    """While the set changes no packet of another network is lost, none of a protected passes."""
    rounds = 1500
    receiver = wire.sockets[LOCAL[4], PORT]
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    states = [protecting(5), protecting(5, 6, 8), protecting(*range(100, 400), 5)]
    layer.apply(None, states[0])
    sender = send(wire.there, rounds, geneve(5), geneve(7))
    changed = 0
    while sender.poll() is None:
        layer.apply(states[changed % 3], states[(changed + 1) % 3])
        changed += 1
    arrived: list[bytes] = []
    try:
        while True:
            arrived.append(receiver.recv(64))
    except TimeoutError:
        pass
    assert sender.returncode == 0
    assert changed > 5
    assert arrived == [geneve(7)] * rounds
    assert counted(layer) == GuardCounters(
        out_denied=0, out_clear=0, in_denied=rounds, in_clear=rounds
    )


@contextmanager
def keeping(wire: Wire, *kinds: type[GuardLayer]) -> Iterator[GuardKeeper]:
    """Open a keeper inside, as another life of the controller."""
    layers = [kind() for kind in kinds]
    with wire.here.entered():
        yield GuardKeeper(layers)
    for made in layers:
        made.close()


def handle(wire: Wire, chain: str, comment: str) -> str:
    """Find the handle of a rule."""
    listing = wire.here.run("nft", "-a", "list", "chain", "inet", "ovn_ipsec", chain)
    found = re.search(rf'comment "{comment}, .*# handle (\d+)', listing)
    assert found is not None, listing
    return found[1]


@pytest.mark.parametrize("chain", ["judge_out", "judge_in"])
@pytest.mark.parametrize("comment", ["protected networks", "protected networks in VXLAN"])
def test_deleted_rule_is_put_back(wire: Wire, chain: str, comment: str) -> None:
    """It wakes the loop, the audit says it, and the network is protected again; XFRM is at rest."""
    with keeping(wire, NftGuardLayer, XfrmGuardLayer) as keeper:
        events = NftEvents().open()
        assert keeper.keep(protecting(5, 6))
        assert keeper.audit() == []
        assert keeper.problems() == {}
        assert not events.drain()
        rule = handle(wire, chain, comment)
        wire.here.run("nft", "delete", "rule", "inet", "ovn_ipsec", chain, "handle", rule)
        assert events.drain()
        assert keeper.audit() == ["nft: rules differ"]
        assert keeper.audit() == []
        assert wire.both_ways(LOCAL[4], PEER[4], header=geneve(5)) == NONE
        assert wire.both_ways(LOCAL[4], PEER[4], header=geneve(7)) == BOTH
        events.close()


@pytest.mark.parametrize(
    "damage",
    ["delete element inet ovn_ipsec vnis { 5 }", "add element inet ovn_ipsec vnis { 9 }"],
)
def test_tampered_record_is_put_right(wire: Wire, damage: str) -> None:
    """The set that records the VNIs is tied to the rules."""
    with keeping(wire, NftGuardLayer) as keeper:
        keeper.keep(protecting(5, 6))
        wire.here.run("nft", damage)
        assert keeper.audit() == ["nft: rules differ"]
        assert keeper.audit() == []
    with keeping(wire, NftGuardLayer) as again:
        assert again.found() == protecting(5, 6)


def test_another_life_finds_the_vnis(wire: Wire) -> None:
    """After a restart the guard is what it was, from both layers."""
    state = protecting(5, 70_000)
    with keeping(wire, NftGuardLayer, XfrmGuardLayer) as keeper:
        keeper.keep(state)
    with keeping(wire, NftGuardLayer, XfrmGuardLayer) as again:
        assert again.found() == state
        assert again.keep(state)
        assert again.audit() == []
