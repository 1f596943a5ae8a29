# SPDX-License-Identifier: Apache-2.0
"""Pure: the nftables table of the guard: its commands and its listing.

Guard states and differences become libnftables' JSON commands, and a listing becomes what the table
holds. ``nft_rules`` has the rules.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from ovn_ipsec.model.chassis import IpAddress

from ..plan.guard import (
    ClearFlow,
    Direction,
    GuardDifference,
    GuardObserved,
    GuardState,
    PeerPort,
)
from .nft_rules import CHAINS, COUNTERS, FAMILY, JUDGES, SETS, TABLE, Command, rules

_AT = {"family": FAMILY, "table": TABLE}
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
    for name, kind in SETS.items():
        commands.append({"add": {"set": {**_AT, "name": name, "type": kind}}})
        commands.append({"flush": {"set": {**_AT, "name": name}}})
    for name, hook in CHAINS.items():
        commands.append({"add": {"chain": {**_AT, "name": name, **hook}}})
    for name in CHAINS:
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
    refilled: list[Command] = []
    if change.add_vnis or change.drop_vnis:
        refilled = [command for name in JUDGES.values() for command in _fill(name, vnis)]
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
    return [*refilled, *_elements("add", added), *_elements("delete", dropped)]


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
        {"add": {"set": {**probe, "name": name, "type": kind}}} for name, kind in SETS.items()
    ]
    for name, hook in CHAINS.items():
        commands.append({"add": {"chain": {**probe, "name": name, **hook}}})
    for name in CHAINS:
        commands += [
            {"add": {"rule": {**probe, "chain": name, "expr": expressions}}}
            for _, expressions in rules(name, _SOME_VNIS)
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


def parse_handle(listing: Iterable[Command]) -> str:
    """Read by which number the kernel knows our table: a table made anew has another one.

    Args:
        listing: the objects of ``list tables``.

    Returns:
        The number; empty if it is not told.
    """
    tables = (entry["table"] for entry in listing if "table" in entry)
    mine = (one for one in tables if (one["family"], one["name"]) == (FAMILY, TABLE))
    return next((str(one.get("handle", "")) for one in mine), "")


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
        expected_rules = {name: [comment for comment, _ in rules(name, vnis)] for name in CHAINS}
        checks: tuple[tuple[str, object, object], ...] = (
            ("counters", set(COUNTERS), self.counters),
            ("sets", SETS, self.sets),
            ("chains", CHAINS, {name: _hook(chain) for name, chain in self.chains.items()}),
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
            for comment, expressions in rules(chain, vnis)
        ),
    ]


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
