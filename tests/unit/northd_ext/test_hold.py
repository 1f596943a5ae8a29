# SPDX-License-Identifier: Apache-2.0
"""northd_ext.observe.hold: memberships begin at once and end after a while."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northd_ext.observe.hold import HOLD_S, Hold
from ovn_ipsec.policy.topology import Membership

N = frozenset(["payments"])
HOSTS = Membership(hosts=N, reaches=N)
REACHES = Membership(reaches=N)


@pytest.fixture
def hold() -> Hold:
    """One that has seen nothing."""
    return Hold()


def test_who_joins_counts_at_once(hold: Hold) -> None:
    """And nothing is due then."""
    assert hold.update(0.0, {"hv1": HOSTS}) == {"hv1": HOSTS}
    assert hold.update(1.0, {"hv1": HOSTS, "hv2": REACHES}) == {"hv1": HOSTS, "hv2": REACHES}
    assert hold.deadline() is None


def test_who_leaves_counts_until_the_hold_is_over(hold: Hold) -> None:
    """To the second, and deadline() says when that is."""
    hold.update(0.0, {"hv1": HOSTS, "hv2": HOSTS})
    both = hold.update(10.0, {"hv2": HOSTS})
    assert both == {"hv1": HOSTS, "hv2": HOSTS}
    assert hold.deadline() == 10.0 + HOLD_S
    assert hold.update(9.9 + HOLD_S, {"hv2": HOSTS}) is both
    assert hold.update(10.0 + HOLD_S, {"hv2": HOSTS}) == {"hv2": HOSTS}
    assert hold.deadline() is None


def test_who_comes_back_in_time_has_never_left(hold: Hold) -> None:
    """The same object comes back all along, and leaving again takes the whole time again."""
    first = hold.update(0.0, {"hv1": HOSTS})
    assert hold.update(10.0, {}) is first
    assert hold.update(200.0, {"hv1": HOSTS}) is first
    assert hold.deadline() is None
    assert hold.update(400.0, {"hv1": HOSTS}) is first
    assert hold.update(500.0, {}) is first
    assert hold.deadline() == 500.0 + HOLD_S


def test_who_comes_back_just_when_it_is_over_has_never_left(hold: Hold) -> None:
    """Nobody has looked in between."""
    first = hold.update(0.0, {"hv1": HOSTS})
    hold.update(1.0, {})
    assert hold.update(2 * HOLD_S, {"hv1": HOSTS}) is first


def test_hosting_is_held_for_itself(hold: Hold) -> None:
    """A chassis that now only reaches the network hosts it for a while longer."""
    hold.update(0.0, {"hv1": HOSTS})
    assert hold.update(1.0, {"hv1": REACHES}) == {"hv1": HOSTS}
    assert hold.update(1.0 + HOLD_S, {"hv1": REACHES}) == {"hv1": REACHES}


def test_each_network_is_held_for_itself(hold: Hold) -> None:
    """What ends takes nothing else along."""
    two = Membership(hosts=N | {"web"}, reaches=N | {"web"})
    hold.update(0.0, {"hv1": two})
    assert hold.update(1.0, {"hv1": HOSTS}) == {"hv1": two}
    assert hold.update(100.0, {}) == {"hv1": two}
    assert hold.update(1.0 + HOLD_S, {}) == {"hv1": HOSTS}
    assert hold.deadline() == 100.0 + HOLD_S


def test_unknown_is_not_empty(hold: Hold) -> None:
    """Before anything was known nobody can say; later nothing changes and nothing ends."""
    assert hold.update(0.0, None) is None
    first = hold.update(1.0, {"hv1": HOSTS})
    hold.update(2.0, {})
    assert hold.update(3.0 + HOLD_S, None) is first
    assert hold.deadline() is None
    assert hold.update(4.0 + HOLD_S, {}) == {}


def test_nothing_seen_is_known() -> None:
    """A cluster without ports is not an unknown one."""
    assert Hold().update(0.0, {}) == {}


def test_no_hold_holds_nothing() -> None:
    """Zero seconds is a length of time."""
    hold = Hold(0.0)
    hold.update(0.0, {"hv1": HOSTS})
    assert hold.update(1.0, {}) == {}


def test_the_same_object_need_not_be_looked_at(hold: Hold) -> None:
    """A topology that has not changed says so by that; what has gone before ends all the same."""
    hold.update(0.0, {"hv1": HOSTS})
    seen: dict[str, Membership] = {}
    assert hold.update(1.0, seen) == {"hv1": HOSTS}
    assert hold.update(1.0 + HOLD_S, seen) == {}


memberships = st.dictionaries(
    st.sampled_from(["hv1", "hv2"]),
    st.builds(
        lambda hosts, more: Membership(hosts=hosts, reaches=hosts | more),
        st.frozensets(st.sampled_from("ab")),
        st.frozensets(st.sampled_from("ab")),
    ).filter(lambda membership: bool(membership.reaches)),
)


@given(st.lists(st.tuples(st.integers(0, 10), st.none() | memberships)))
def test_equals_the_whole_history(steps: list[tuple[int, dict[str, Membership] | None]]) -> None:
    """What counts is what was there when last looked, or at a look less than the hold before."""
    hold, now = Hold(12.0), 0.0
    counts: dict[tuple[str, str, bool], float | None] = {}
    """None while it is there; else when its absence was noted."""
    known = False
    for wait, found in steps:
        now += wait
        result = hold.update(now, found)
        if found is not None:
            known = True
            there = {
                (name, network, hosts)
                for name, membership in found.items()
                for hosts in (True, False)
                for network in (membership.hosts if hosts else membership.reaches)
            }
            counts |= {key: now for key, since in counts.items() if since is None}
            counts |= dict.fromkeys(there)
            counts = {k: since for k, since in counts.items() if since is None or now < since + 12}
        expected = {
            name: Membership(
                hosts=frozenset(n for c, n, hosts in counts if c == name and hosts),
                reaches=frozenset(n for c, n, hosts in counts if c == name and not hosts),
            )
            for name, _, _ in counts
        }
        assert (expected if known else None) == result
        ends = [since + 12 for since in counts.values() if since is not None]
        assert hold.deadline() == (min(ends, default=None) if found is not None else None)


def test_another_time_ends_nothing_before_its_own() -> None:
    """A shorter one counts for those that leave from now on; who has left keeps his time."""
    hold = Hold(100.0)
    everybody = dict.fromkeys(("a", "b"), HOSTS)
    hold.update(0.0, everybody)
    hold.update(1.0, {"b": HOSTS})
    hold.last(10.0)
    found = hold.update(2.0, {})
    assert found is not None
    assert set(found) == {"a", "b"}
    assert hold.deadline() == 12.0
    found = hold.update(12.0, {})
    assert found is not None
    assert set(found) == {"a"}
    assert hold.deadline() == 101.0
