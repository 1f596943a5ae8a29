# SPDX-License-Identifier: Apache-2.0
"""Both layers of the guard on a real kernel, in network namespaces of their own.

Two namespaces, one veth pair: the guard stands in ``here``; ``there`` has the addresses of
two peers. UDP to the tunnel ports is sent both ways; what the nftables layer makes of VNIs is in
test_guard_vnis.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.guard.layer import GuardLayer
from controller.guard.nft import NftGuardLayer
from controller.guard.nft_events import NftEvents
from controller.guard.xfrm import XfrmGuardLayer
from controller.plan.guard import ClearPair, GuardCounters, GuardObserved, GuardState
from controller.xfrm.socket import XfrmEventSocket
from controller.xfrm.values import XfrmEvents
from ovn_ipsec.model.observation import Known
from tests.contracts.guard_layer import CLOSED, FIRST, GuardLayerContract, guard, pair
from tests.functional.netns import (
    LOCAL,
    OTHER_PORT,
    PEER,
    PORT,
    STRANGER,
    VXLAN_PORT,
    Wire,
    geneve,
    joined,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN")

SO_RCVBUFFORCE = 33
"""include/uapi/asm-generic/socket.h; not in the socket module."""
VERSIONS = pytest.mark.parametrize("version", [4, 6])
OPEN = guard(pair(PEER[4]), pair(PEER[6], local=LOCAL[6]))
LAYERS = (NftGuardLayer, XfrmGuardLayer)


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Join two namespaces."""
    with joined() as found:
        yield found


@pytest.fixture(params=LAYERS, ids=("nft", "xfrm"))
def layer(request: pytest.FixtureRequest, wire: Wire) -> Iterator[GuardLayer]:
    """Open one layer inside; calls work from anywhere, as sockets keep their namespace."""
    made: GuardLayer = request.param()
    with wire.here.entered():
        assert made.available() == Known(value=True)
        yield made
        made.close()


class TestKernel(GuardLayerContract):
    """The contract on both real layers."""


@VERSIONS
def test_only_pairs_in_the_set_pass(layer: GuardLayer, wire: Wire, version: int) -> None:
    """Each layer alone denies both directions by default."""
    layer.apply(None, OPEN)
    assert wire.both_ways(LOCAL[version], PEER[version]) == (True, True)
    assert wire.both_ways(LOCAL[version], STRANGER[version]) == (False, False)
    layer.apply(OPEN, CLOSED)
    assert wire.both_ways(LOCAL[version], PEER[version]) == (False, False)
    layer.apply(CLOSED, None)
    assert wire.both_ways(LOCAL[version], STRANGER[version]) == (True, True)


def test_allowed_loses_nothing_and_denied_gains_nothing(layer: GuardLayer, wire: Wire) -> None:
    """Churn of other pairs, ports and whole rebuilds are not felt."""
    others = [pair(str(ip_address("10.10.0.0") + number)) for number in range(60)]
    now = guard(FIRST)
    layer.apply(None, now)
    for number, other in enumerate(others):
        after = guard(FIRST, other)
        layer.apply(now, after)
        if number % 7 == 0:
            layer.rebuild(after)
        now = after
        assert wire.both_ways(LOCAL[4], PEER[4]) == (True, True)
        if number % 10 == 0:
            assert wire.both_ways(LOCAL[4], STRANGER[4]) == (False, False)


def test_rebuild_under_load(layer: GuardLayer, wire: Wire) -> None:
    """Packets sent by another process meanwhile: all of the allowed arrive, no denied one."""
    layer.apply(None, OPEN)
    script = (
        "import socket,sys,time\n"
        "s=[socket.socket(socket.AF_INET,socket.SOCK_DGRAM) for _ in range(2)]\n"
        "[x.bind((a,0)) for x,a in zip(s,sys.argv[1:3])]\n"
        "for n in range(1500):\n"
        "  [x.sendto(b'%d'%n,(sys.argv[3],6081)) for x in s]; time.sleep(0.0005)\n"
    )
    receiver = wire.sockets[LOCAL[4], PORT]
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    with wire.there.entered():
        sender = subprocess.Popen(["python3", "-c", script, PEER[4], STRANGER[4], LOCAL[4]])
    rebuilt = 0
    while sender.poll() is None:
        layer.rebuild(OPEN)
        rebuilt += 1
    sources: list[str] = []
    try:
        while True:
            sources.append(receiver.recvfrom(64)[1][0])
    except TimeoutError:
        pass
    assert rebuilt > 5
    assert sources == [PEER[4]] * 1500


@VERSIONS
def test_every_tunnel_port_is_closed_to_strangers(
    layer: GuardLayer, wire: Wire, version: int
) -> None:
    """A port that only some pair uses (dst_port) is as closed as the usual one, both ways."""
    local, peer, stranger = LOCAL[version], PEER[version], STRANGER[version]
    clear = pair(peer, local=local, out=VXLAN_PORT, into=OTHER_PORT)
    state = replace(guard(clear), ports=frozenset({PORT, VXLAN_PORT, OTHER_PORT}))
    layer.apply(None, state)
    used = {port: wire.both_ways(local, peer, port=port, header=geneve(7)) for port in state.ports}
    assert used == {PORT: (False, False), VXLAN_PORT: (True, False), OTHER_PORT: (False, True)}
    for port in state.ports:
        passed = wire.both_ways(local, stranger, port=port, header=geneve(7))
        assert passed == (False, False), f"port {port}"
    layer.apply(state, replace(state, ports=frozenset({PORT}), may_clear=frozenset()))
    assert wire.both_ways(local, stranger, port=OTHER_PORT) == (True, True), "no tunnel port now"


@pytest.mark.parametrize("flushed", LAYERS, ids=("nft", "xfrm"))
def test_other_layer_holds(wire: Wire, flushed: type[GuardLayer]) -> None:
    """Flushing one layer opens nothing, and is seen."""
    with wire.here.entered():
        layers = {kind: kind() for kind in LAYERS}
        for made in layers.values():
            made.apply(None, CLOSED)
    wire.here.run("nft", "flush", "ruleset") if flushed is NftGuardLayer else wire.here.run(
        "ip", "xfrm", "policy", "flush"
    )
    for kind, made in layers.items():
        expected: GuardState | None = None if kind is flushed else CLOSED
        assert made.observe() == Known(GuardObserved(state=expected))
    assert wire.both_ways(LOCAL[4], PEER[4]) == (False, False)
    for made in layers.values():
        made.close()


def test_foreign_entries_are_untouched(layer: GuardLayer, wire: Wire) -> None:
    """Another table, and an IKE daemon's policy with the selector of our allow policy."""
    daemon = f"src {LOCAL[4]} dst {PEER[4]} proto udp dport {PORT} dir out".split()
    layer.apply(None, guard(FIRST))
    wire.here.run("nft", "add", "table", "inet", "other")
    template = f"tmpl src {LOCAL[4]} dst {PEER[4]} proto esp mode transport reqid 7".split()
    wire.here.run("ip", "xfrm", "policy", "add", *daemon, "priority", "366911", *template)
    layer.apply(guard(FIRST), CLOSED)
    layer.rebuild(guard(FIRST))
    layer.apply(guard(FIRST), None)
    assert wire.here.run("nft", "list", "tables").split() == ["table", "inet", "other"]
    policies = wire.here.run("ip", "xfrm", "policy")
    assert "reqid 7" in policies
    assert policies.count("priority") == 1


def test_nft_counts_each_way(wire: Wire) -> None:
    """The counters are the proof."""
    with wire.here.entered():
        made = NftGuardLayer()
        made.apply(None, guard(FIRST))
    wire.both_ways(LOCAL[4], PEER[4])
    wire.both_ways(LOCAL[4], STRANGER[4])
    expected = GuardCounters(out_denied=1, out_clear=1, in_denied=1, in_clear=1)
    assert made.counters() == Known(expected)
    made.close()


def test_xfrm_counts_what_it_denies(wire: Wire) -> None:
    """And says of what it lets through that it does not know."""
    with wire.here.entered():
        made = XfrmGuardLayer()
        made.apply(None, guard(FIRST))
    wire.both_ways(LOCAL[4], PEER[4])
    wire.both_ways(LOCAL[4], STRANGER[4])
    with wire.here.entered():
        found = made.counters()
    expected = GuardCounters(out_denied=1, out_clear=None, in_denied=1, in_clear=None)
    assert found == Known(expected)
    made.close()


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain inet ovn_ipsec out",
        "insert rule inet ovn_ipsec in accept",
        "add chain inet ovn_ipsec foreign",
        "delete element inet ovn_ipsec clear_in4 { 10.9.0.1 . 10.9.0.2 . 6081 }",
    ],
)
def test_nft_damage_is_seen_and_cured(wire: Wire, damage: str) -> None:
    """Damage wakes the loop, is reported, and a rebuild cures it."""
    with wire.here.entered():
        made, events = NftGuardLayer(), NftEvents().open()
        made.apply(None, guard(FIRST))
        assert not events.drain()
        wire.here.run("nft", damage)
        assert events.drain()
        seen = made.observe()
        assert isinstance(seen, Known)
        assert seen != Known(GuardObserved(state=guard(FIRST)))
        made.rebuild(guard(FIRST))
        assert made.observe() == Known(GuardObserved(state=guard(FIRST)))
        events.close()
        made.close()


def test_xfrm_damage_is_seen_and_cured(wire: Wire) -> None:
    """A missing block policy is damage; others' changes are events, ours are not."""
    with wire.here.entered():
        made, events = XfrmGuardLayer(), XfrmEventSocket().open()
        made.apply(None, guard(FIRST))
        own = frozenset({made.socket.port_id})
        assert events.drain(own_ports=own) == XfrmEvents()
        index = wire.here.run("ip", "-s", "xfrm", "policy", "list", "dir", "out", "action", "block")
        number = index.split("index ")[1].split()[0]
        wire.here.run("ip", "xfrm", "policy", "delete", "dir", "out", "index", number)
        assert events.drain(own_ports=own) == XfrmEvents(policy_deleted=True)
        seen = made.observe()
        assert isinstance(seen, Known)
        assert seen.value.damage == ("1 block policies missing",)
        made.rebuild(guard(FIRST))
        assert made.observe() == Known(GuardObserved(state=guard(FIRST)))
        wire.here.run("ip", "xfrm", "policy", "flush")
        assert events.drain(own_ports=own) == XfrmEvents(policies_flushed=True)
        events.close()
        made.close()


def test_two_thousand_pairs(layer: GuardLayer) -> None:
    """The sizes of a large cluster fit into the buffers."""
    many = frozenset(
        ClearPair(
            local=ip_address(LOCAL[4]),
            remote=ip_address("10.20.0.0") + number,
            out_port=PORT,
            in_port=PORT,
        )
        for number in range(2000)
    )
    layer.apply(None, guard(*many))
    assert layer.observe() == Known(GuardObserved(state=guard(*many)))
