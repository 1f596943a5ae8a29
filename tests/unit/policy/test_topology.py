# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.policy.topology: which chassis a logical network is on, and which it can reach."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ovn_ipsec.policy.topology import Binding, Datapath, Membership, Topology

PAYMENTS = frozenset(["payments"])
ROWS = [UUID(int=number) for number in range(1, 7)]
P, W, R, R2, J = ROWS[:5]
"""Datapath rows: payments, web, two routers, a join switch."""


class World:
    """Rows by short names, put into a topology as they come."""

    def __init__(self) -> None:
        self.topology = Topology()
        self.rows: dict[str, UUID] = {}
        self.datapath(P, "payments")
        self.datapath(W, "web")
        self.datapath(R, "router", is_switch=False)

    def datapath(self, row: UUID, name: str, *, is_switch: bool = True) -> None:
        """A datapath whose tunnel key is the number of its row."""
        found = Datapath(name=name, tunnel_key=row.int, is_switch=is_switch)
        self.topology.put_datapath(row, found)

    def port(
        self,
        name: str,
        datapath: UUID,
        *chassis: str,
        peer: str | None = None,
        on: str = "",
        gateway: bool = False,
    ) -> None:
        """A port, or a change of it; `on` names the ports that carry it."""
        row = self.rows.setdefault(name, UUID(int=100 + len(self.rows)))
        found = Binding(
            datapath=datapath,
            port=name,
            peer=peer,
            parents=frozenset(on.split()),
            chassis=frozenset(chassis),
            gateway=gateway,
        )
        self.topology.put_binding(row, found)

    def gone(self, name: str) -> None:
        """A port that is removed."""
        self.topology.put_binding(self.rows[name], None)

    def link(self, one: UUID, other: UUID) -> None:
        """Two patch ports, each the other's peer."""
        near, far = f"{one.int}-{other.int}", f"{other.int}-{one.int}"
        self.port(near, one, peer=far)
        self.port(far, other, peer=near)

    def hosts(self, network: str = "payments") -> set[str]:
        """Chassis with a port of a network."""
        found = self.topology.memberships(frozenset([network]))
        return {name for name, membership in found.items() if network in membership.hosts}

    def reached(self, network: str = "payments") -> set[str]:
        """Chassis that a network can reach."""
        found = self.topology.memberships(frozenset([network]))
        return {name for name, membership in found.items() if network in membership.reaches}


@pytest.fixture
def world() -> World:
    """Two switches and a router that is not connected yet."""
    return World()


def test_a_chassis_with_a_port_hosts_the_network(world: World) -> None:
    """Bound, additionally bound and requested chassis of a port are all hosts."""
    world.port("p1", P, "hv1", "hv2")
    world.port("w1", W, "hv3")
    both = Membership(hosts=PAYMENTS, reaches=PAYMENTS)
    assert world.topology.memberships(PAYMENTS) == {"hv1": both, "hv2": both}


def test_a_router_reaches_its_other_switches(world: World) -> None:
    """Who only hosts a port behind the router is reached and hosts nothing."""
    world.port("p1", P, "hv1")
    world.port("w1", W, "hv2")
    world.link(P, R)
    world.link(W, R)
    assert world.hosts() == {"hv1"}
    assert world.reached() == {"hv1", "hv2"}
    found = world.topology.memberships(PAYMENTS | {"web"})
    assert found["hv1"] == Membership(hosts=PAYMENTS, reaches=PAYMENTS | {"web"})


def test_all_gateways_of_a_chassisredirect_port_are_reached(world: World) -> None:
    """It stands on the router, has no peer, and names every gateway that may become active."""
    world.port("p1", P, "hv1")
    world.link(P, R)
    world.port("cr-r-public", R, "gw1", "gw2")
    assert world.hosts() == {"hv1"}
    assert world.reached() == {"hv1", "gw1", "gw2"}


def test_a_gateway_hosts_every_network_whose_traffic_it_may_send_on(world: World) -> None:
    """Its second leg, from the gateway to whom it forwards, is the network's traffic too."""
    world.port("p1", P, "hv1")
    world.link(P, R)
    world.port("cr", R, "gw1", "gw2", gateway=True)
    world.port("w1", W, "hv2")
    assert (world.hosts(), world.hosts("web")) == ({"hv1", "gw1", "gw2"}, {"hv2"})
    world.link(R, W)
    assert world.hosts("web") == {"hv2", "gw1", "gw2"}
    world.port("cr", R, "gw2", gateway=True)
    assert world.hosts() == {"hv1", "gw2"}
    world.gone("cr")
    assert world.hosts() == {"hv1"}


def test_a_gateway_router_connects_and_counts(world: World) -> None:
    """A l3gateway port has a chassis on either side, and what lies behind it is reached."""
    world.datapath(R2, "gateway", is_switch=False)
    world.datapath(J, "join")
    world.port("p1", P, "hv1")
    world.link(P, R)
    world.link(R, J)
    world.port("gw-j", R2, "gw1", peer="j-gw")
    world.port("j-gw", J, "gw1", peer="gw-j")
    world.port("w1", W, "hv2")
    world.link(W, R2)
    assert world.hosts("join") == {"gw1"}
    assert world.reached() == {"hv1", "gw1", "hv2"}


def test_a_l3gateway_that_moves_keeps_its_component(world: World) -> None:
    """The link of a port whose chassis changes is never taken away in between."""
    world.port("gw-p", R, "gw1", peer="p-gw")
    world.port("p-gw", P, "gw1", peer="gw-p")
    assert world.reached() == {"gw1"}
    world.port("gw-p", R, "gw2", peer="p-gw")
    assert world.reached() == {"gw1", "gw2"}
    world.port("p-gw", P, "gw2", peer="gw-p")
    assert world.reached() == {"gw2"}


def test_ports_without_a_chassis_do_not_count(world: World) -> None:
    """A localnet and a localport have none: they host nothing and connect nothing."""
    world.port("net-p", P)
    world.port("net-w", W)
    world.port("w1", W, "hv2")
    assert world.topology.memberships(PAYMENTS) == {}


def test_a_nested_port_is_where_its_parent_is(world: World) -> None:
    """Also on another switch, and before its own row names a chassis."""
    world.port("c1", P, on="vm1")
    assert world.hosts() == set()
    world.port("vm1", W, "hv1")
    assert world.hosts() == {"hv1"}
    world.port("vm1", W, "hv2")
    assert world.hosts() == {"hv2"}
    world.port("c1", P, "hv3", on="vm1")
    assert world.hosts() == {"hv2", "hv3"}
    world.gone("vm1")
    assert world.hosts() == {"hv3"}


def test_a_virtual_port_is_where_any_of_its_parents_is(world: World) -> None:
    """Whoever may claim it counts."""
    world.port("vm1", W, "hv1")
    world.port("vm2", W, "hv2")
    world.port("vip", P, on="vm1 vm2 vip")
    assert world.hosts() == {"hv1", "hv2"}


def test_a_link_waits_for_its_peer(world: World) -> None:
    """A patch port alone connects nothing; either end's word is enough once both are there."""
    world.port("w1", W, "hv2")
    world.port("p-w", P, peer="w-p")
    assert world.reached() == set()
    world.port("w-p", W)
    assert world.reached() == {"hv2"}
    world.gone("w-p")
    assert world.reached() == set()


def test_a_removed_link_splits_the_component(world: World) -> None:
    """Unless a second one, or a loop, still holds it together."""
    world.port("w1", W, "hv2")
    world.link(P, R)
    world.link(R, W)
    world.link(W, P)
    assert world.reached() == {"hv2"}
    world.gone("1-2")
    world.gone("2-1")
    assert world.reached() == {"hv2"}
    world.gone("3-2")
    assert world.reached() == set()
    assert world.reached("web") == {"hv2"}


def test_a_port_that_is_its_own_peer_connects_nothing(world: World) -> None:
    """Nor do two of one switch."""
    world.port("p1", P, "hv1", peer="p1")
    world.port("p2", P, peer="p1")
    assert world.reached() == {"hv1"}


def test_switches_of_one_name_are_one_network(world: World) -> None:
    """Their chassis and their keys count together; a router of that name is no network."""
    world.datapath(W, "payments")
    world.datapath(R, "payments", is_switch=False)
    world.port("p1", P, "hv1")
    world.port("w1", W, "hv2")
    world.port("cr", R, "gw")
    assert world.hosts() == {"hv1", "hv2"}
    assert world.reached() == {"hv1", "hv2"}
    assert world.topology.vnis(PAYMENTS) == {P.int, W.int}


def test_a_renamed_switch_takes_its_ports_along(world: World) -> None:
    """The old name is gone at once."""
    world.port("p1", P, "hv1")
    assert world.hosts() == {"hv1"}
    world.datapath(P, "billing")
    assert world.hosts() == set()
    assert world.hosts("billing") == {"hv1"}
    assert not world.topology.exists("payments")
    assert world.topology.exists("billing")
    assert world.topology.vnis(PAYMENTS) == frozenset()


def test_ports_outlive_their_datapath(world: World) -> None:
    """Without its row nobody can ask for the network; its ports are still reached by others."""
    world.port("p1", P, "hv1")
    world.port("w1", W, "hv2")
    world.link(P, W)
    world.topology.put_datapath(W, None)
    world.topology.put_datapath(W, None)
    assert world.hosts("web") == set()
    assert world.reached() == {"hv1", "hv2"}


def test_a_host_that_loses_its_port_may_still_be_reached(world: World) -> None:
    """As long as it has another port behind the router."""
    world.port("p1", P, "hv1")
    world.port("w1", W, "hv1")
    world.link(P, W)
    assert world.hosts() == {"hv1"}
    world.gone("p1")
    assert world.hosts() == set()
    assert world.reached() == {"hv1"}


def test_a_link_joins_what_was_asked_for_before(world: World) -> None:
    """Seen from either side."""
    world.port("p1", P, "hv1")
    world.port("w1", W, "hv2")
    assert world.reached() | world.reached("web") == {"hv1", "hv2"}
    world.link(P, W)
    assert world.reached() == {"hv1", "hv2"}
    assert world.reached("web") == {"hv1", "hv2"}


def test_nothing_new_is_the_same_object(world: World) -> None:
    """So a caller sees at a glance that it has nothing to do."""
    world.port("p1", P, "hv1")
    before = world.topology.memberships(PAYMENTS)
    world.port("p1", P, "hv1")
    world.port("p2", P, "hv1")
    world.port("w1", W, "hv2")
    assert world.topology.memberships(PAYMENTS) is before
    assert world.topology.memberships(PAYMENTS | {"nothing"}) is before
    assert world.topology.memberships(frozenset()) == {}


def test_a_caller_cannot_change_what_it_got(world: World) -> None:
    """Nor does it change under the caller."""
    world.port("p1", P, "hv1")
    before = world.topology.memberships(PAYMENTS)
    world.port("p1", P, "hv2")
    assert set(world.topology.memberships(PAYMENTS)) == {"hv2"}
    assert set(before) == {"hv1"}


NAMES = ("payments", "web", "")
PORTS = ("a", "b", "c", "d")
CHASSIS = ("hv1", "hv2")
DATAPATHS = ROWS[:4]

datapaths = st.builds(
    Datapath,
    name=st.sampled_from(NAMES),
    tunnel_key=st.integers(1, 5),
    is_switch=st.booleans(),
)
bindings = st.builds(
    Binding,
    datapath=st.sampled_from(DATAPATHS),
    port=st.sampled_from(PORTS),
    peer=st.sampled_from((None, *PORTS)),
    parents=st.sampled_from([frozenset(), frozenset("a"), frozenset("ab")]),
    chassis=st.sampled_from([frozenset(), *map(frozenset, [CHASSIS[:1], CHASSIS[1:], CHASSIS])]),
    gateway=st.booleans(),
)


def naive(
    datapaths: dict[UUID, Datapath], bindings: dict[UUID, Binding], networks: frozenset[str]
) -> dict[str, Membership]:
    """Memberships of all rows, computed as the docstring tells, without memory."""
    where = {
        row: b.chassis.union(*(o.chassis for o in bindings.values() if o.port in b.parents))
        for row, b in bindings.items()
    }
    linked = {
        frozenset([b.datapath, other.datapath])
        for b in bindings.values()
        for other in bindings.values()
        if b.peer == other.port
    }
    found: dict[str, Membership] = {}
    for network in networks:
        for start in (row for row, d in datapaths.items() if d.is_switch and d.name == network):
            connected = {start}
            while more := {x for link in linked if link & connected for x in link} - connected:
                connected |= more
            for row, b in bindings.items():
                for name in where[row] if b.datapath in connected else ():
                    had = found.get(name, Membership())
                    passes = b.gateway and name in b.chassis
                    own = b.datapath == start or passes
                    hosts = had.hosts | ({network} if own else frozenset())
                    found[name] = Membership(hosts=hosts, reaches=had.reaches | {network})
    return found


class AnyOrder(RuleBasedStateMachine):
    """Rows come, change and go in any order; somebody asks after most of the changes."""

    def __init__(self) -> None:
        super().__init__()
        self.topology = Topology()
        self.datapaths: dict[UUID, Datapath] = {}
        self.bindings: dict[UUID, Binding] = {}
        for row, name in ((P, "payments"), (W, "web")):
            self.put_datapath(row, Datapath(name=name, tunnel_key=row.int, is_switch=True))

    @rule(row=st.sampled_from(DATAPATHS), found=st.none() | datapaths)
    def put_datapath(self, row: UUID, found: Datapath | None) -> None:
        """A datapath as it is now."""
        self.topology.put_datapath(row, found)
        self.datapaths.pop(row, None)
        if found is not None:
            self.datapaths[row] = found

    @rule(
        puts=st.lists(st.tuples(st.sampled_from(ROWS), bindings | bindings | st.none()), max_size=4)
    )
    def put_bindings(self, puts: list[tuple[UUID, Binding | None]]) -> None:
        """Bindings as they are now."""
        for row, found in puts:
            self.topology.put_binding(row, found)
            self.bindings.pop(row, None)
            if found is not None:
                self.bindings[row] = found
            self.ask(frozenset(NAMES[: row.int % 3]))

    @rule(networks=st.frozensets(st.sampled_from((*NAMES, "none"))))
    def ask(self, networks: frozenset[str]) -> None:
        """What it remembers is what is computed from all rows."""
        expected = naive(self.datapaths, self.bindings, networks)
        assert expected == self.topology.memberships(networks)

    @invariant()
    def switches(self) -> None:
        """Names and keys are those of the rows."""
        for network in NAMES:
            rows = [d for d in self.datapaths.values() if d.is_switch and d.name == network]
            assert bool(rows) == self.topology.exists(network)
            expected = {d.tunnel_key for d in rows}
            assert expected == self.topology.vnis(frozenset([network]))

    def teardown(self) -> None:
        """Rows that are gone leave nothing behind."""
        self.put_bindings([(row, None) for row in list(self.bindings)])
        graph = self.topology._graph
        assert ({}, {}) == (graph._tallies, graph._links)
        assert not self.topology._named
        assert not self.topology._linked_from


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(stateful_step_count=20)


@given(st.lists(st.tuples(st.sampled_from(ROWS), bindings), max_size=8), st.randoms())
def test_order_of_rows_does_not_matter(rows: list[tuple[UUID, Binding]], random) -> None:
    """The last word on each row is what counts, whenever it comes."""
    last = dict(rows)
    shuffled = list(last.items())
    random.shuffle(shuffled)
    one, other = Topology(), Topology()
    for topology, puts in ((one, list(last.items())), (other, shuffled)):
        topology.put_datapath(P, Datapath(name="payments", tunnel_key=1, is_switch=True))
        for row, found in puts:
            topology.put_binding(row, found)
    assert one.memberships(PAYMENTS) == other.memberships(PAYMENTS)


def test_a_port_costs_nothing_in_a_large_component() -> None:
    """Only the tally is touched: the component of a thousand switches stays put together."""
    topology = Topology()
    hub = UUID(int=10**6)
    topology.put_datapath(P, Datapath(name="payments", tunnel_key=1, is_switch=True))
    for number in range(1000):
        row = P if not number else UUID(int=2000 + number)
        names = (f"in{number}", f"out{number}")
        pairs = zip((row, hub), names, reversed(names), strict=True)
        for side, (datapath, port, peer) in enumerate(pairs):
            found = Binding(datapath=datapath, port=port, peer=peer)
            topology.put_binding(UUID(int=10_000 + 2 * number + side), found)
    topology.memberships(PAYMENTS)
    component = topology._graph._components[P]
    assert len(component.datapaths) == 1001
    vif = Binding(datapath=UUID(int=2500), port="vm", chassis=frozenset(["hv1"]))
    topology.put_binding(ROWS[5], vif)
    assert topology.memberships(PAYMENTS)["hv1"] == Membership(reaches=PAYMENTS)
    assert topology._graph._components[P] is component
