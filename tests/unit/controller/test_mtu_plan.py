# SPDX-License-Identifier: Apache-2.0
"""How large packets may be over the pairs of a chassis, and when that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller import report
from controller.mtu import LOOK_S, SETTLE_S, MtuWatch
from controller.plan.agent import Agent
from controller.plan.mtu import Ends, inner_mtus, room_of
from controller.plan.pair.facts import Context
from ovn_ipsec.model.mtu import Interface
from ovn_ipsec.model.policy import Phase, Tuning
from ovn_ipsec.model.status import PairState, Room
from tests import worlds
from tests.unit.controller.test_agent_plan import NAME, UP, agent_of, both_up, settle
from tests.unit.controller.test_stock import agent as decided
from tests.worlds import B

ONE, TWO, THREE = (ip_address(f"10.0.0.{n}") for n in (1, 2, 3))
PATHS: dict[Ends, int] = {(ONE, TWO): 1500, (ONE, THREE): 1500}
TAP = Interface(name="tap1", port="vm1", mtu=1442)


def lefts(agent: Agent, paths: dict[Ends, int] = PATHS) -> dict[str, int]:
    return {pair.peer: left for pair, left in inner_mtus(agent, paths)}


@pytest.mark.parametrize(
    ("phase", "left"), [(Phase.OFF, 1442), (Phase.ESTABLISH, 1408), (Phase.ENFORCE, 1408)]
)
def test_esp_counts_from_when_a_pair_is_to_be_encrypted(phase: Phase, left: int) -> None:
    """Not only once it is: then it would be too late."""
    assert lefts(decided(worlds.two_chassis(), phase)) == {B: left}


def test_what_was_negotiated_counts() -> None:
    """The suite of the SA that is up, and that it is in UDP; both ends know it."""
    agent = agent_of(worlds.two_chassis())
    settle(agent)
    assert lefts(agent) == {B: 1408}
    sa = both_up()
    for changes, left in (
        ({"suite": "AES_CBC-256/HMAC_SHA2_256_128"}, 1400),
        ({"udp_encap": True}, 1400),
        ({"udp_encap": True, "suite": "AES_CBC-256/HMAC_SHA2_256_128"}, 1384),
    ):
        children = tuple(replace(child, **changes) for child in sa.children)
        agent.put_seen(NAME, replace(UP, sas=(replace(sa, children=children),)))
        assert lefts(agent) == {B: left}, changes


def test_encapsulation_that_is_forced_counts_before_anything_is_up() -> None:
    """What is negotiated counts then."""
    agent = agent_of(worlds.two_chassis())
    agent.put(replace(agent.policy, generation=2, tuning=Tuning(force_encapsulation=True)))
    settle(agent)
    assert lefts(agent) == {B: 1400}
    agent.put_seen(NAME, UP)
    assert lefts(agent) == {B: 1408}


def test_a_path_of_which_nothing_is_known_is_left_out() -> None:
    """It neither counts as large nor as small."""
    agent = decided(worlds.three_chassis())
    assert room_of(agent, {}, ()) is None
    assert room_of(agent, {(ONE, THREE): 1400}, ()) == Room(underlay=1400, inner=1308)
    rows = {row["peer"]: (row["path_mtu"], row["inner_mtu"]) for row in report.peers(agent, 0, {})}
    assert rows == {"chB": (None, None), "chC": (None, None)}


def test_a_narrow_path_lowers_what_is_left_and_not_the_underlay() -> None:
    """A router on the way said so; and the interfaces that are larger are counted."""
    agent = decided(worlds.three_chassis())
    paths = PATHS | {(ONE, TWO): 1450}
    assert room_of(agent, paths, (TAP, replace(TAP, mtu=1358))) == Room(
        underlay=1500, inner=1356, larger=2
    )
    rows = {row["peer"]: row["inner_mtu"] for row in report.peers(agent, 0, paths)}
    assert rows == {"chB": 1356, "chC": 1408}


def test_of_two_addresses_the_smaller_underlay_counts() -> None:
    """A workload's packets may leave from either."""
    agent = decided(worlds.mixed_families() | {B: worlds.chassis(B, "10.0.0.2", "fd00::2")})
    six = (ip_address("fd00::1"), ip_address("fd00::2"))
    assert room_of(agent, {(ONE, TWO): 9000, six: 1500}, ()) == Room(underlay=1500, inner=1388)


def test_a_pair_whose_peer_is_gone_does_not_count() -> None:
    """Its SAs are held for a while, but nothing is sent there."""
    agent = agent_of(worlds.two_chassis())
    agent.put_seen(NAME, UP)
    settle(agent)
    agent.put_chassis(B, None)
    settle(agent)
    (record,) = agent.records.values()
    assert record.state is PairState.LINGERING
    assert room_of(agent, PATHS, ()) is None


def test_a_chassis_says_in_words_how_large_packets_may_be() -> None:
    """Nothing where it is not known."""
    room = {"underlay": 1500, "inner": 1408, "larger": 0}
    assert report.room_text(None) == ""
    assert report.room_text(room) == "1500 on the underlay, 1408 left to workloads"
    assert report.room_text(room | {"larger": 2}).endswith(", but 2 interfaces with a larger MTU")


# --- when it is asked ----------------------------------------------------------------------------


class Kernel:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.mtu = 1500

    def __call__(self, ends: Iterable[Ends]) -> dict[Ends, int]:
        """Say the same of each."""
        self.asked += 1
        return dict.fromkeys(ends, self.mtu)


def test_it_is_asked_every_minute_and_after_pairs_have_changed() -> None:
    """In all other passes nothing is asked."""
    kernel, agent = Kernel(), decided(worlds.two_chassis())
    watch = MtuWatch(kernel)
    for now in (0.0, 0.1, SETTLE_S, LOOK_S - 0.1):
        watch.look(agent, now, lambda: (TAP,))
    assert kernel.asked == 1
    assert watch.wake_at() == LOOK_S
    kernel.mtu = 1400
    watch.look(agent, LOOK_S, lambda: (TAP,))
    assert (kernel.asked, watch.seen.room) == (2, Room(underlay=1400, inner=1308, larger=1))
    agent.put_chassis("chC", worlds.three_chassis()[worlds.C])
    agent.put_reqids(next(iter(agent.unnumbered())), (3, 4))
    for name in agent.due(200.0, 9):
        agent.decide(name, Context(phase=Phase.ENFORCE, now=200.0, this_chassis=worlds.A))
    watch.look(agent, LOOK_S + 1, lambda: (TAP,))
    assert (kernel.asked, watch.wake_at()) == (2, LOOK_S + 1 + SETTLE_S)
    watch.hurry(LOOK_S + 2)
    watch.look(agent, LOOK_S + 2, lambda: (TAP,))
    assert (kernel.asked, set(watch.seen.paths)) == (3, {(ONE, TWO), (ONE, THREE)})


def test_interfaces_that_cannot_be_read_are_those_that_were_last_seen() -> None:
    """What is unknown is not none."""
    watch, agent = MtuWatch(Kernel()), decided(worlds.two_chassis())
    watch.look(agent, 0.0, lambda: (TAP,))
    watch.look(agent, LOOK_S, lambda: None)
    assert watch.seen.interfaces == (TAP,)
    watch.look(agent, 2 * LOOK_S, lambda: ())
    assert watch.seen.room == Room(underlay=1500, inner=1408)
