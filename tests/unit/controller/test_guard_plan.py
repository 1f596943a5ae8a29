# SPDX-License-Identifier: Apache-2.0
"""Differences of guards, and flows joined into pairs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.plan.guard import (
    ClearFlow,
    ClearPair,
    Direction,
    GuardState,
    difference,
    flows_of,
    pairs_of,
)

ports = st.integers(min_value=1, max_value=4)
addresses = st.ip_addresses(v=4, network="10.0.0.0/30")
pairs = st.frozensets(
    st.builds(ClearPair, local=addresses, remote=addresses, out_port=ports, in_port=ports),
    max_size=12,
)
states = st.builds(
    GuardState, ports=st.frozensets(ports), local=st.frozensets(addresses), may_clear=pairs
)
flows = st.frozensets(
    st.builds(
        ClearFlow,
        direction=st.sampled_from(Direction),
        local=addresses,
        remote=addresses,
        port=ports,
    )
)


@given(before=states | st.none(), after=states | st.none())
def test_difference_leads_from_one_to_the_other(
    before: GuardState | None, after: GuardState | None
) -> None:
    """Adding and dropping gives exactly the flows and denials of the new state."""
    change = difference(before, after)
    old = flows_of(before.may_clear) if before else frozenset()
    new = flows_of(after.may_clear) if after else frozenset()
    assert new == (old - change.drop_flows) | change.add_flows
    assert not change.add_flows & old
    assert not change.drop_flows & new
    old_denials = before.denials() if before else frozenset()
    new_denials = after.denials() if after else frozenset()
    assert new_denials == (old_denials - change.drop_denials) | change.add_denials


@given(state=states)
def test_nothing_differs_from_itself(state: GuardState) -> None:
    """No step follows a full apply."""
    assert difference(state, state).is_empty


@given(seen=flows)
def test_pairs_keep_every_flow(seen: frozenset[ClearFlow]) -> None:
    """Joined and half flows together are what was seen, and nothing more."""
    joined, halves = pairs_of(seen)
    assert seen == flows_of(joined) | halves
    assert not flows_of(joined) & halves
