# SPDX-License-Identifier: Apache-2.0
"""The nftables table of the guard: its commands and its listing.

Pure. Input: guard states and differences, or a listing. Output: libnftables JSON commands, or
what the table holds.

Outgoing, the chain comes last (priority 300), after any local DNAT or reroute, so that it judges
the packet as it leaves; it still sees it before XFRM and before fragmentation. Incoming, it is in
``input``, not ``prerouting``: there, fragments have been reassembled, so no clear packet can hide
its port, and a packet decrypted from ESP transport mode carries its security path. It comes first
there (priority -300), where the source is still the one on the wire. Both chains pick out clear
tunnel traffic and pass it to a chain that decides which of it may pass. A port that only a peer has
named counts as tunnel traffic towards that peer only.

A protected network is recognised by its VNI, 12 bytes after the start of the UDP header in both
Geneve (RFC 8926, 3.4) and VXLAN (RFC 7348, 5). OVN puts Datapath_Binding.tunnel_key there; in VXLAN
only its lower 12 bits identify it, below the key of the output port (ovn/controller/physical.c
put_encapsulation). So there are two rules: one for the whole VNI of any packet, and one for the
lower 12 bits of packets that are not Geneve with an Ethernet frame. VNI 0, which BFD uses, belongs
to no network.

libnftables' JSON (1.0.6) has no named sets of raw payload, and an anonymous set is part of its
rule. So the rules are rewritten when the VNIs change. A set that no rule uses records them, and a
digest in the comments ties the two together: a comment has room for 128 bytes.

An accept ends only its own chain and a drop is final, so no other table can overrule a drop.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, TypeAlias

from ovn_ipsec.model.chassis import IpAddress

from ..plan.guard import (
    ClearFlow,
    Direction,
    GuardDifference,
    GuardObserved,
    GuardState,
    PeerPort,
)

Command: TypeAlias = dict[str, Any]

FAMILY = "inet"
TABLE = "ovn_ipsec"
COUNTERS = ("out_denied", "out_clear", "in_denied", "in_clear")
_AT = {"family": FAMILY, "table": TABLE}
_FLOW = {4: ["ipv4_addr", "ipv4_addr", "inet_service"], 6: ["ipv6_addr"] * 2 + ["inet_service"]}
_SETS: dict[str, Any] = {
    "ports": "inet_service",
    "local4": "ipv4_addr",
    "local6": "ipv6_addr",
    "clear_out4": _FLOW[4],
    "clear_out6": _FLOW[6],
    "clear_in4": _FLOW[4],
    "clear_in6": _FLOW[6],
    "peer_ports4": _FLOW[4],
    "peer_ports6": _FLOW[6],
    "vnis": "mark",
}
"""No rule uses the local sets, because every source address is denied, nor the VNIs, because no
named type is 24 bits wide. They record the state."""
_HOOKS: dict[str, Command] = {
    "out": {"type": "filter", "hook": "output", "prio": 300, "policy": "accept"},
    "in": {"type": "filter", "hook": "input", "prio": -300, "policy": "accept"},
}
"""Chains that see every packet and pick out the clear tunnel traffic."""
_JUDGES = {"out": "judge_out", "in": "judge_in"}
"""Chains without a hook that decide which of it may pass."""
_CHAINS: dict[str, Command] = {**{name: {} for name in _JUDGES.values()}, **_HOOKS}
"""The chains that rules jump to are created first."""
_INTERFACE = {"out": "oif", "in": "iif"}
_ADDRESSES = {"out": ("saddr", "daddr"), "in": ("daddr", "saddr")}
"""Local, then remote."""
_VNI = {"payload": {"base": "th", "offset": 96, "len": 24}}
_PROTOCOL = {"payload": {"base": "th", "offset": 80, "len": 16}}
"""Geneve's Protocol Type; reserved and 0 in VXLAN."""
_ETHERNET = 0x6558
"""Transparent Ethernet Bridging, the only one that OVN sends (RFC 8926, 3.4)."""
_VXLAN_KEY = 0xFFF
_SOME_VNIS = frozenset({1, 2})
"""Enough to use every expression: both rules exist and look into a set."""


def table_commands() -> list[Command]:
    """Create the empty table, unless it exists.

    Returns:
        One command.
    """
    return [{"add": {"table": {"family": FAMILY, "name": TABLE}}}]


def removal_commands() -> list[Command]:
    """Remove the table, even if it does not exist.

    Returns:
        Two commands.
    """
    return [*table_commands(), {"delete": {"table": {"family": FAMILY, "name": TABLE}}}]


def build_commands(state: GuardState) -> list[Command]:
    """Build the whole table, whatever exists of it, keeping its chains and counters.

    Args:
        state: what should be in force.

    Returns:
        The commands; in one transaction, each packet sees either the old rules or the new ones.
    """
    commands = table_commands()
    commands += [{"add": {"counter": {**_AT, "name": name}}} for name in COUNTERS]
    for name, kind in _SETS.items():
        commands.append({"add": {"set": {**_AT, "name": name, "type": kind}}})
        commands.append({"flush": {"set": {**_AT, "name": name}}})
    for name, hook in _CHAINS.items():
        commands.append({"add": {"chain": {**_AT, "name": name, **hook}}})
    for name in _CHAINS:
        commands += _fill(name, state.vnis)
    return commands + _elements("add", _Members.of(state))


def change_commands(change: GuardDifference, vnis: frozenset[int]) -> list[Command]:
    """Change the elements of the sets, and the rules if other VNIs are protected.

    Args:
        change: not empty.
        vnis: all that are protected afterwards.

    Returns:
        The commands of one transaction.
    """
    rules: list[Command] = []
    if change.add_vnis or change.drop_vnis:
        rules = [command for name in _JUDGES.values() for command in _fill(name, vnis)]
    added = _Members(
        ports=change.add_ports,
        local=change.add_local,
        flows=change.add_flows,
        peer_ports=change.add_peer_ports,
        vnis=change.add_vnis,
    )
    dropped = _Members(
        ports=change.drop_ports,
        local=change.drop_local,
        flows=change.drop_flows,
        peer_ports=change.drop_peer_ports,
        vnis=change.drop_vnis,
    )
    return [*rules, *_elements("add", added), *_elements("delete", dropped)]


def probe_commands() -> list[Command]:
    """Use every expression of the guard in a table that the same transaction deletes.

    Returns:
        The commands; the kernel accepts them only if it can enforce the guard.
    """
    probe = {"family": FAMILY, "table": f"{TABLE}_probe"}
    table = {"table": {"family": FAMILY, "name": probe["table"]}}
    commands: list[Command] = [{"add": table}]
    commands += [{"add": {"counter": {**probe, "name": name}}} for name in COUNTERS]
    commands += [
        {"add": {"set": {**probe, "name": name, "type": kind}}} for name, kind in _SETS.items()
    ]
    for name, hook in _CHAINS.items():
        commands.append({"add": {"chain": {**probe, "name": name, **hook}}})
    for name in _CHAINS:
        commands += [
            {"add": {"rule": {**probe, "chain": name, "expr": expressions}}}
            for _, expressions in _rules(name, _SOME_VNIS)
        ]
    return [*commands, {"delete": table}]


def parse_table(listing: Iterable[Command]) -> GuardObserved:
    """Read the listing of the table.

    Rules are recognised by their comments and order, because the form in which libnftables lists an
    expression differs between versions.

    Args:
        listing: the objects of ``list table``.

    Returns:
        The state that the sets record, and what is missing or not ours.
    """
    seen = _Listing()
    for entry in listing:
        for kind, value in entry.items():
            seen.add(kind, value)
    damage = seen.damage()
    state = GuardState(
        ports=frozenset(seen.elements["ports"]),
        local=frozenset(
            ip_address(text) for name in ("local4", "local6") for text in seen.elements[name]
        ),
        may_clear=frozenset(seen.flows()),
        peer_ports=frozenset(seen.peer_ports()),
        vnis=frozenset(seen.elements["vnis"]),
    )
    return GuardObserved(state=state, damage=tuple(damage))


def parse_counters(listing: Iterable[Command]) -> dict[str, int]:
    """Read the named counters.

    Args:
        listing: the objects of ``list counters``.

    Returns:
        Packets by counter name, of our table only.
    """
    found = (entry["counter"] for entry in listing if "counter" in entry)
    return {
        counter["name"]: int(counter["packets"])
        for counter in found
        if (counter["family"], counter["table"]) == (FAMILY, TABLE)
    }


@dataclass(slots=True)
class _Listing:
    chains: dict[str, Command] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    sets: dict[str, Any] = field(default_factory=dict)
    elements: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    counters: set[str] = field(default_factory=set)
    foreign: list[str] = field(default_factory=list)

    def add(self, kind: str, value: Command) -> None:
        match kind:
            case "table":
                if value.get("flags"):
                    self.foreign.append("the table is dormant or has flags")
            case "chain":
                self.chains[value["name"]] = value
            case "rule":
                self.rules[value["chain"]].append(value.get("comment", "foreign"))
            case "set":
                self.sets[value["name"]] = value["type"]
                self.elements[value["name"]] = [_plain(item) for item in value.get("elem", [])]
            case "counter":
                self.counters.add(value["name"])
            case _:
                self.foreign.append(f"a foreign {kind}")

    def damage(self) -> list[str]:
        found = list(self.foreign)
        vnis = frozenset(self.elements["vnis"])
        expected_rules = {name: [comment for comment, _ in _rules(name, vnis)] for name in _CHAINS}
        checks: tuple[tuple[str, object, object], ...] = (
            ("counters", set(COUNTERS), self.counters),
            ("sets", _SETS, self.sets),
            ("chains", _CHAINS, {name: _hook(chain) for name, chain in self.chains.items()}),
            ("rules", expected_rules, dict(self.rules)),
        )
        found += [f"{what} differ" for what, expected, actual in checks if expected != actual]
        return found

    def flows(self) -> list[ClearFlow]:
        return [
            ClearFlow(
                direction=direction,
                local=ip_address(local),
                remote=ip_address(remote),
                port=port,
            )
            for direction in Direction
            for version in (4, 6)
            for local, remote, port in self.elements[f"clear_{direction}{version}"]
        ]

    def peer_ports(self) -> list[PeerPort]:
        return [
            PeerPort(local=ip_address(local), remote=ip_address(remote), port=port)
            for version in (4, 6)
            for local, remote, port in self.elements[f"peer_ports{version}"]
        ]


def _plain(item: Any) -> Any:
    if isinstance(item, dict) and "elem" in item:
        item = item["elem"]["val"]
    return tuple(item["concat"]) if isinstance(item, dict) else item


def _hook(chain: Command) -> Command:
    return {key: chain[key] for key in ("type", "hook", "prio", "policy") if key in chain}


def _fill(chain: str, vnis: frozenset[int]) -> list[Command]:
    return [
        {"flush": {"chain": {**_AT, "name": chain}}},
        *(
            {"add": {"rule": {**_AT, "chain": chain, "comment": comment, "expr": expressions}}}
            for comment, expressions in _rules(chain, vnis)
        ),
    ]


def _rules(chain: str, vnis: frozenset[int]) -> list[tuple[str, list[Command]]]:
    """The rules of a chain in order, each with the comment by which it is recognised."""
    if chain in _HOOKS:
        return _picking(chain)
    return _judging(next(way for way, judge in _JUDGES.items() if judge == chain), vnis)


def _picking(way: str) -> list[tuple[str, list[Command]]]:
    ipsec = {"rt": {"key": "ipsec"}} if way == "out" else {"meta": {"key": "ipsec"}}
    accept: Command = {"accept": None}
    judge: Command = {"goto": {"target": _JUDGES[way]}}
    peers = [
        (f"a port of a peer's, IPv{version}", [_lookup(way, version, "peer_ports"), judge])
        for version in (4, 6)
    ]
    return [
        ("only UDP", [_match("!=", {"meta": {"key": "l4proto"}}, "udp"), accept]),
        ("loopback", [_match("==", {"meta": {"key": _INTERFACE[way]}}, "lo"), accept]),
        ("protected", [_match("==", ipsec, right=True), accept]),
        ("tunnel ports", [_match("==", _field("udp", "dport"), "@ports"), judge]),
        *(peers if way == "out" else []),
    ]


def _judging(way: str, vnis: frozenset[int]) -> list[tuple[str, list[Command]]]:
    clear: list[Command] = [{"counter": f"{way}_clear"}, {"accept": None}]
    deny: list[Command] = [{"counter": f"{way}_denied"}, {"drop": None}]
    return [
        *((comment, [*matches, *deny]) for comment, matches in _protected(vnis)),
        ("may be clear, IPv4", [_lookup(way, 4, f"clear_{way}"), *clear]),
        ("may be clear, IPv6", [_lookup(way, 6, f"clear_{way}"), *clear]),
        ("deny", deny),
    ]


def _lookup(way: str, version: int, name: str) -> Command:
    protocol = {4: "ip", 6: "ip6"}[version]
    ends = [_field(protocol, end) for end in _ADDRESSES[way]]
    return _match("==", {"concat": [*ends, _field("udp", "dport")]}, f"@{name}{version}")


def _protected(vnis: frozenset[int]) -> list[tuple[str, list[Command]]]:
    if not vnis:
        return []
    ordered = sorted(vnis)
    digest = sha256(" ".join(map(str, ordered)).encode()).hexdigest()[:16]
    vxlan = [
        _match("!=", _PROTOCOL, _ETHERNET),
        _match("!=", _VNI, 0),
        _match(
            "==", {"&": [_VNI, _VXLAN_KEY]}, {"set": sorted({vni & _VXLAN_KEY for vni in vnis})}
        ),
    ]
    return [
        (f"protected networks, {len(vnis)}, {digest}", [_match("==", _VNI, {"set": ordered})]),
        (f"protected networks in VXLAN, {len(vnis)}, {digest}", vxlan),
    ]


def _match(operator: str, left: Command, right: str | bool | int | Command) -> Command:
    return {"match": {"op": operator, "left": left, "right": right}}


def _field(protocol: str, name: str) -> Command:
    return {"payload": {"protocol": protocol, "field": name}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Members:
    """What is added to the sets or removed from them."""

    ports: Iterable[int]
    local: Iterable[IpAddress]
    flows: Iterable[ClearFlow]
    peer_ports: Iterable[PeerPort]
    vnis: Iterable[int]

    @classmethod
    def of(cls, state: GuardState) -> "_Members":
        return cls(
            ports=state.ports,
            local=state.local,
            flows=state.may_clear,
            peer_ports=state.peer_ports,
            vnis=state.vnis,
        )


def _elements(verb: str, found: _Members) -> list[Command]:
    members: dict[str, list[Any]] = defaultdict(list)
    members["ports"] += sorted(found.ports)
    members["vnis"] += sorted(found.vnis)
    for address in found.local:
        members[f"local{address.version}"].append(str(address))
    for flow in found.flows:
        members[f"clear_{flow.direction}{flow.local.version}"].append(
            {"concat": [str(flow.local), str(flow.remote), flow.port]}
        )
    for one in found.peer_ports:
        members[f"peer_ports{one.local.version}"].append(
            {"concat": [str(one.local), str(one.remote), one.port]}
        )
    return [
        {verb: {"element": {**_AT, "name": name, "elem": elements}}}
        for name, elements in members.items()
        if elements
    ]
