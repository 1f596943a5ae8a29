# SPDX-License-Identifier: Apache-2.0
"""Pure: rows of Datapath_Binding and Port_Binding to the chassis of each logical network.

A network consists of all logical switches with one name. A chassis *hosts* it if one of its ports
is there, or a gateway through which its traffic may pass and be forwarded; the network *reaches* a
chassis that hosts any port of any switch or router connected to it by peer ports, however far away.
So membership may be too wide, in which case too much is encrypted; it is never too narrow. Routes,
ACLs and router policies, which may separate two networks, are not considered.

What counts, and what does not:

- A port is where it is bound, where it is additionally bound, and where it is requested: a chassis
  that the CMS has requested counts before the first packet leaves it.
- A nested port, and a virtual one, is also wherever a port is that may carry it (`parents`). Its
  parents may be on another switch.
- A distributed router's ports are everywhere and have no chassis: they only connect. Its
  chassisredirect port counts at every gateway that may become the active one, because a failover
  must find its tunnels already encrypted.
- A gateway router's ports (l3gateway, on both sides) count where the router is, and connect.
  Behind a join switch this makes the whole cluster one component: everything is reached.
- An external port counts where the gateways of its group are; l2gateway, vtep and remote ports
  (other availability zones) where they are bound, like any other.
- A localnet port has no chassis: what leaves through it is not tunnelled. It connects nothing here,
  although two switches may share the physical network behind their localnet ports.
- A localport is everywhere and never tunnelled. It has no chassis, whatever is requested.

Between two networks, a packet carries the tunnel key of the network in which it is delivered, or of
the router on the way to a gateway. So tunnel keys tell what is inside a network, not what was sent
from it.

Rows may arrive in any order. A peer that does not exist connects nothing yet; a port counts on its
datapath even before the datapath's own row, which only names it, has arrived, and after it is gone.

Ports are counted for each datapath and for each connected component, so a port that appears or
disappears costs the same in any cluster; a peer that does so costs its component, once, at the next
query. Components are reconnected from their datapaths, not from their ports.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Datapath:
    """A Datapath_Binding row: a logical switch or router."""

    name: str
    """external_ids:name; several may have the same name, and one may have none."""
    tunnel_key: int
    is_switch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A Port_Binding row."""

    datapath: UUID
    port: str
    """logical_port: unique in the database."""
    peer: str | None = None
    """options:peer: the port at the other end, on another datapath."""
    parents: frozenset[str] = frozenset()
    """Ports that carry this one, or may carry it: for a nested or a virtual port."""
    chassis: frozenset[str] = frozenset()
    """Names of the chassis where it is, may be, or is wanted."""
    gateway: bool = False
    """Whether a router forwards there (l3gateway, chassisredirect)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """How a chassis is related to the networks that were asked for."""

    hosts: frozenset[str] = frozenset()
    """Networks of which it has a port, or whose traffic a gateway on it forwards."""
    reaches: frozenset[str] = frozenset()
    """Networks whose traffic may come to it or from it; includes all of `hosts`."""


@dataclass(frozen=True, slots=True)
class _Share:
    """What one binding adds to the graph."""

    datapath: UUID
    chassis: frozenset[str]
    gateways: frozenset[str]
    neighbours: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class _Network:
    """The chassis of a network, and what they were computed from."""

    parts: tuple[tuple[frozenset[str], frozenset[str], frozenset[str]], ...] = ()
    hosts: frozenset[str] = _NOBODY
    reaches: frozenset[str] = _NOBODY


class _Tally:
    """How many bindings name each chassis."""

    __slots__ = ("_count", "_names")

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._names: frozenset[str] | None = _NOBODY

    def __bool__(self) -> bool:
        return bool(self._count)

    @property
    def names(self) -> frozenset[str]:
        """The chassis that are named at all; the same object until they change."""
        if self._names is None:
            self._names = frozenset(self._count)
        return self._names

    def add(self, chassis: Iterable[str], by: int) -> None:
        for name in chassis:
            had = self._count[name]
            self._count[name] = had + by
            if not had:
                self._names = None
            elif not had + by:
                del self._count[name]
                self._names = None

    def add_all(self, other: _Tally) -> None:
        self._count.update(other._count)
        self._names = None


@dataclass(slots=True)
class _Component:
    datapaths: set[UUID]
    tally: _Tally
    gateways: _Tally


class _Graph:
    """Datapaths, the links between them, and the chassis of each connected component.

    A component is built when it is needed, follows its ports, and is dropped when a link joins it
    to another one or may have split it.
    """

    def __init__(self) -> None:
        self._tallies: dict[UUID, _Tally] = {}
        self._gateways: dict[UUID, _Tally] = {}
        self._links: defaultdict[UUID, Counter[UUID]] = defaultdict(Counter)
        self._components: dict[UUID, _Component] = {}

    def count(self, share: _Share, by: int) -> None:
        """Add a share (1), or remove it (-1)."""
        component = self._components.get(share.datapath)
        for tallies, chassis in (
            (self._tallies, share.chassis),
            (self._gateways, share.gateways),
        ):
            if chassis:
                tally = tallies.setdefault(share.datapath, _Tally())
                tally.add(chassis, by)
                if not tally:
                    del tallies[share.datapath]
        if component is not None:
            component.tally.add(share.chassis, by)
            component.gateways.add(share.gateways, by)
        for neighbour in share.neighbours:
            self._link(share.datapath, neighbour, by)

    def hosts(self, datapath: UUID) -> frozenset[str]:
        """The chassis of the datapath's own ports."""
        tally = self._tallies.get(datapath)
        return _NOBODY if tally is None else tally.names

    def reached(self, datapath: UUID) -> tuple[frozenset[str], frozenset[str]]:
        """The chassis of all ports connected to it, and the gateways among them."""
        component = self._components.get(datapath) or self._connect(datapath)
        return component.tally.names, component.gateways.names

    def _link(self, one: UUID, other: UUID, by: int) -> None:
        had = self._links[one][other]
        for start, end in ((one, other), (other, one)):
            self._links[start][end] = had + by
            if not had + by:
                del self._links[start][end]
                if not self._links[start]:
                    del self._links[start]
        if not had:
            if self._components.get(one) is not self._components.get(other):
                self._drop(one)
                self._drop(other)
        elif not had + by:
            self._drop(one)

    def _drop(self, datapath: UUID) -> None:
        component = self._components.get(datapath)
        for member in () if component is None else component.datapaths:
            del self._components[member]

    def _connect(self, start: UUID) -> _Component:
        made = _Component({start}, _Tally(), _Tally())
        waiting = [start]
        while waiting:
            datapath = waiting.pop()
            self._components[datapath] = made
            if datapath in self._tallies:
                made.tally.add_all(self._tallies[datapath])
            if datapath in self._gateways:
                made.gateways.add_all(self._gateways[datapath])
            found = self._links.get(datapath, {}).keys() - made.datapaths
            made.datapaths |= found
            waiting.extend(found)
        return made


class Topology:
    """Datapaths and bindings as far as they have arrived."""

    def __init__(self) -> None:
        self._datapaths: dict[UUID, Datapath] = {}
        self._switches: defaultdict[str, set[UUID]] = defaultdict(set)
        self._bindings: dict[UUID, Binding] = {}
        self._named: defaultdict[str, set[UUID]] = defaultdict(set)
        """By port, the bindings of that name: one, unless rows are still arriving."""
        self._linked_from: defaultdict[str, set[UUID]] = defaultdict(set)
        """By port, the bindings that name it as their peer or parent."""
        self._shares: dict[UUID, _Share] = {}
        self._graph = _Graph()
        self._networks: dict[str, _Network] = {}
        self._found: Mapping[str, Membership] = MappingProxyType({})

    def put_datapath(self, row: UUID, found: Datapath | None) -> None:
        """Set a Datapath_Binding row to its current value; None if it is gone."""
        old = self._datapaths.pop(row, None)
        if old is not None and old.is_switch:
            _discard(self._switches, old.name, row)
        if found is None:
            return
        self._datapaths[row] = found
        if found.is_switch:
            self._switches[found.name].add(row)

    def put_binding(self, row: UUID, found: Binding | None) -> None:
        """Set a Port_Binding row to its current value; None if it is gone."""
        old = self._bindings.pop(row, None)
        if old is not None:
            _discard(self._named, old.port, row)
            for port in _linked_ports(old):
                _discard(self._linked_from, port, row)
        if found is not None:
            self._bindings[row] = found
            self._named[found.port].add(row)
            for port in _linked_ports(found):
                self._linked_from[port].add(row)
        if old == found:
            return
        touched = {row}
        for binding in (old, found):
            if binding is not None:
                touched |= self._linked_from.get(binding.port, set())
        for one in touched:
            self._count(one)

    def memberships(self, networks: frozenset[str]) -> Mapping[str, Membership]:
        """Determine how chassis are related to these networks.

        Returns:
            Memberships by chassis name, without those that have none; the same object as last
            time if nothing has changed. A network that does not exist has no chassis.
        """
        draft: dict[str, Membership] | None = None
        for name in self._networks.keys() | networks:
            old = self._networks.get(name, _Network())
            new = self._network(name, old) if name in networks else _Network()
            if new is old:
                continue
            self._networks[name] = new
            draft = dict(self._found) if draft is None else draft
            for chassis in (old.hosts ^ new.hosts) | (old.reaches ^ new.reaches):
                _rewrite(draft, chassis, name, new)
        for name in self._networks.keys() - networks:
            del self._networks[name]
        if draft is not None:
            self._found = MappingProxyType(draft)
        return self._found

    def vnis(self, networks: frozenset[str]) -> frozenset[int]:
        """Tunnel keys of the switches of these networks (what they mean: see above)."""
        rows = [row for name in networks for row in self._switches.get(name, ())]
        return frozenset(self._datapaths[row].tunnel_key for row in rows)

    def exists(self, network: str) -> bool:
        """Whether there is a switch of this name."""
        return network in self._switches

    def _network(self, name: str, old: _Network) -> _Network:
        """Compute a network, unless the result would be the same as before."""
        rows = sorted(self._switches.get(name, ()))
        parts = tuple((self._graph.hosts(row), *self._graph.reached(row)) for row in rows)
        if parts == old.parts:
            return old
        return _Network(
            parts,
            hosts=_NOBODY.union(*(hosts | gateways for hosts, _, gateways in parts)),
            reaches=_NOBODY.union(*(reached for _, reached, _ in parts)),
        )

    def _count(self, row: UUID) -> None:
        """Update the graph with one binding; new before old, so that links persist."""
        old, new = self._shares.pop(row, None), self._share(row)
        if new is not None:
            self._shares[row] = new
        if old == new:
            return
        if new is not None:
            self._graph.count(new, 1)
        if old is not None:
            self._graph.count(old, -1)

    def _share(self, row: UUID) -> _Share | None:
        binding = self._bindings.get(row)
        if binding is None:
            return None
        parents = [b for port in binding.parents for b in self._of_port(port)]
        peers = () if binding.peer is None else self._of_port(binding.peer)
        return _Share(
            datapath=binding.datapath,
            chassis=binding.chassis.union(*(parent.chassis for parent in parents)),
            gateways=binding.chassis if binding.gateway else _NOBODY,
            neighbours=frozenset(peer.datapath for peer in peers),
        )

    def _of_port(self, port: str) -> list[Binding]:
        return [self._bindings[row] for row in self._named.get(port, ())]


def _linked_ports(binding: Binding) -> frozenset[str]:
    return binding.parents if binding.peer is None else binding.parents | {binding.peer}


def _discard(index: defaultdict[str, set[UUID]], key: str, row: UUID) -> None:
    index[key].discard(row)
    if not index[key]:
        del index[key]


def _rewrite(draft: dict[str, Membership], chassis: str, name: str, network: _Network) -> None:
    """Set what a draft says of one chassis and one network."""
    had, this = draft.pop(chassis, Membership()), frozenset([name])
    hosts = had.hosts | this if chassis in network.hosts else had.hosts - this
    reaches = had.reaches | this if chassis in network.reaches else had.reaches - this
    if reaches:
        draft[chassis] = Membership(hosts=hosts, reaches=reaches)
