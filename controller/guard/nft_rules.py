# SPDX-License-Identifier: Apache-2.0
"""Pure: the sets, chains and rules of the guard in nftables, as libnftables' JSON says them.

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

from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

Command: TypeAlias = dict[str, Any]

FAMILY = "inet"
TABLE = "ovn_ipsec"
COUNTERS = ("out_denied", "out_clear", "in_denied", "in_clear")
_FLOW = {4: ["ipv4_addr", "ipv4_addr", "inet_service"], 6: ["ipv6_addr"] * 2 + ["inet_service"]}
SETS: dict[str, Any] = {
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
HOOKS: dict[str, Command] = {
    "out": {"type": "filter", "hook": "output", "prio": 300, "policy": "accept"},
    "in": {"type": "filter", "hook": "input", "prio": -300, "policy": "accept"},
}
"""Chains that see every packet and pick out the clear tunnel traffic."""
JUDGES = {"out": "judge_out", "in": "judge_in"}
"""Chains without a hook that decide which of it may pass."""
CHAINS: dict[str, Command] = {**{name: {} for name in JUDGES.values()}, **HOOKS}
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


class Rule(NamedTuple):
    """A rule, and the comment by which it is recognised."""

    comment: str
    expressions: list[Command]


def rules(chain: str, vnis: frozenset[int]) -> list[Rule]:
    """The rules of a chain, in order.

    Args:
        chain: One of CHAINS.
        vnis: All that are protected.
    """
    if chain in HOOKS:
        return _picking(chain)
    return _judging(next(way for way, judge in JUDGES.items() if judge == chain), vnis)


def _picking(way: str) -> list[Rule]:
    ipsec = {"rt": {"key": "ipsec"}} if way == "out" else {"meta": {"key": "ipsec"}}
    accept: Command = {"accept": None}
    judge: Command = {"goto": {"target": JUDGES[way]}}
    peers = [
        Rule(f"a port of a peer's, IPv{version}", [_lookup(way, version, "peer_ports"), judge])
        for version in (4, 6)
    ]
    return [
        Rule("only UDP", [_match("!=", {"meta": {"key": "l4proto"}}, "udp"), accept]),
        Rule("loopback", [_match("==", {"meta": {"key": _INTERFACE[way]}}, "lo"), accept]),
        Rule("protected", [_match("==", ipsec, right=True), accept]),
        Rule("tunnel ports", [_match("==", _field("udp", "dport"), "@ports"), judge]),
        *(peers if way == "out" else []),
    ]


def _judging(way: str, vnis: frozenset[int]) -> list[Rule]:
    clear: list[Command] = [{"counter": f"{way}_clear"}, {"accept": None}]
    deny: list[Command] = [{"counter": f"{way}_denied"}, {"drop": None}]
    return [
        *(Rule(comment, [*matches, *deny]) for comment, matches in _protected(vnis)),
        Rule("may be clear, IPv4", [_lookup(way, 4, f"clear_{way}"), *clear]),
        Rule("may be clear, IPv6", [_lookup(way, 6, f"clear_{way}"), *clear]),
        Rule("deny", deny),
    ]


def _lookup(way: str, version: int, name: str) -> Command:
    protocol = {4: "ip", 6: "ip6"}[version]
    ends = [_field(protocol, end) for end in _ADDRESSES[way]]
    return _match("==", {"concat": [*ends, _field("udp", "dport")]}, f"@{name}{version}")


def _protected(vnis: frozenset[int]) -> list[Rule]:
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
        Rule(f"protected networks, {len(vnis)}, {digest}", [_match("==", _VNI, {"set": ordered})]),
        Rule(f"protected networks in VXLAN, {len(vnis)}, {digest}", vxlan),
    ]


def _match(operator: str, left: Command, right: str | bool | int | Command) -> Command:
    return {"match": {"op": operator, "left": left, "right": right}}


def _field(protocol: str, name: str) -> Command:
    return {"payload": {"protocol": protocol, "field": name}}
