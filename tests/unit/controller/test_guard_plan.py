# SPDX-License-Identifier: Apache-2.0
"""Differences of guards, and the flows of pairs."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controller.plan.guard import (
    ClearFlow,
    ClearPair,
    Direction,
    GuardState,
    PeerPort,
    difference,
    flows_of,
)

ports = st.integers(min_value=1, max_value=4)
addresses = st.ip_addresses(v=4, network="10.0.0.0/30")
pairs = st.frozensets(
    st.builds(ClearPair, local=addresses, remote=addresses, out_port=ports, in_port=ports),
    max_size=12,
)
flows = st.frozensets(
    st.builds(
        ClearFlow,
        direction=st.sampled_from(Direction),
        local=addresses,
        remote=addresses,
        port=ports,
    ),
    max_size=24,
)
states = st.builds(
    GuardState,
    ports=st.frozensets(ports),
    local=st.frozensets(addresses),
    may_clear=flows,
    vnis=st.frozensets(st.integers(min_value=1, max_value=4)),
    peer_ports=st.frozensets(st.builds(PeerPort, local=addresses, remote=addresses, port=ports)),
)


@given(before=states | st.none(), after=states | st.none())
def test_difference_leads_from_one_to_the_other(
    before: GuardState | None, after: GuardState | None
) -> None:
    """Adding and dropping gives exactly the flows, denials and VNIs of the new state."""
    change = difference(before, after)
    old = before.may_clear if before else frozenset()
    new = after.may_clear if after else frozenset()
    assert new == (old - change.drop_flows) | change.add_flows
    assert not change.add_flows & old
    assert not change.drop_flows & new
    old_denials = before.denials() if before else frozenset()
    new_denials = after.denials() if after else frozenset()
    assert new_denials == (old_denials - change.drop_denials) | change.add_denials
    old_vnis = before.vnis if before else frozenset()
    new_vnis = after.vnis if after else frozenset()
    assert new_vnis == (old_vnis - change.drop_vnis) | change.add_vnis
    assert not change.add_vnis & change.drop_vnis
    old_ports = before.peer_ports if before else frozenset()
    new_ports = after.peer_ports if after else frozenset()
    assert new_ports == (old_ports - change.drop_peer_ports) | change.add_peer_ports
    assert not change.add_peer_ports & change.drop_peer_ports


@given(state=states)
def test_nothing_differs_from_itself(state: GuardState) -> None:
    """No step follows a full apply."""
    assert difference(state, state).is_empty


@given(state=states, vni=st.integers(min_value=5, max_value=9))
def test_one_more_vni_is_a_difference(state: GuardState, vni: int) -> None:
    """Also when nothing else changes."""
    more = replace(state, vnis=state.vnis | {vni})
    assert not difference(state, more).is_empty
    assert not difference(more, state).is_empty


@given(some=pairs)
def test_pair_is_one_flow_each_way(some: frozenset[ClearPair]) -> None:
    """What leaves has the remote's port, what arrives ours."""
    for pair in some:
        out, into = pair.flows()
        assert (out.direction, out.port) == (Direction.OUT, pair.out_port)
        assert (into.direction, into.port) == (Direction.IN, pair.in_port)
    assert len(flows_of(some)) <= 2 * len(some)
