# SPDX-License-Identifier: Apache-2.0
"""A port that a tunnel leaves stays guarded: ovn-controller follows its row a moment later."""

from __future__ import annotations

from dataclasses import replace

from controller.plan.guard import ClearFlow, Direction, PeerPort
from controller.plan.pair.ports import TunnelPorts
from tests.contracts.ike_backend import config

NAME, PAIR = config().name, config().pair
MOVED = replace(PAIR, out_port=7001, in_port=7002)
BACK = replace(PAIR, out_port=7003, in_port=7002)


def peers(*ports: int) -> set[PeerPort]:
    return {PeerPort(local=PAIR.local, remote=PAIR.remote, port=port) for port in ports}


def test_the_port_of_before_is_kept_until_there_is_another_or_the_pair_is_gone() -> None:
    """One of each pair, however often a row changes."""
    ports = TunnelPorts()
    ports.put(NAME, None, PAIR)
    assert (set(ports.own), ports.beyond(frozenset())) == ({PAIR.in_port}, peers(PAIR.out_port))
    ports.put(NAME, PAIR, MOVED)
    ports.put(NAME, MOVED, MOVED)
    assert set(ports.own) == {PAIR.in_port, 7002}
    assert ports.beyond(frozenset()) == peers(PAIR.out_port, 7001)
    ports.put(NAME, MOVED, BACK)
    assert (set(ports.own), ports.beyond(frozenset())) == ({7002}, peers(7001, 7003))
    ports.put(NAME, BACK, None)
    assert not ports.own
    assert not ports.beyond(frozenset())
    assert not ports.local


def test_what_may_be_clear_may_be_over_the_port_of_before_too() -> None:
    """Nothing else is: a pair that is closed has no flow that is."""
    flows = frozenset(
        ClearFlow(direction=way, local=PAIR.local, remote=PAIR.remote, port=port)
        for way, port in ((Direction.OUT, 7001), (Direction.IN, 7002))
    )
    ports = TunnelPorts()
    ports.put(NAME, None, PAIR)
    assert flows == ports.with_left(NAME, flows)
    ports.put(NAME, PAIR, MOVED)
    assert frozenset() == ports.with_left(NAME, frozenset())
    left = {(one.direction, one.port) for one in ports.with_left(NAME, flows) - flows}
    assert left == {(Direction.OUT, PAIR.out_port), (Direction.IN, PAIR.in_port)}


def test_what_a_guard_is_made_of_is_the_same_object_while_nothing_changes() -> None:
    """It is asked for in each pass, whatever has changed; the ports of this chassis count there."""
    ports = TunnelPorts()
    ports.put(NAME, None, PAIR)
    assert set(ports.local) == {PAIR.local}
    found = ports.beyond(frozenset({4789}))
    assert found == peers(PAIR.out_port)
    ports.put(NAME, PAIR, PAIR)
    assert ports.beyond(frozenset({4789})) is found
    assert not ports.beyond(frozenset({PAIR.out_port}))
    ports.put(NAME, PAIR, MOVED)
    assert ports.beyond(frozenset({PAIR.out_port})) == peers(7001)
    ports.put("another", None, PAIR)  # type: ignore[arg-type]
    assert ports.beyond(frozenset()) == peers(PAIR.out_port, 7001)
