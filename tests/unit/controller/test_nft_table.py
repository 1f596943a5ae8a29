# SPDX-License-Identifier: Apache-2.0
"""The guard's table as libnftables' JSON: what is written is what is read back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from controller.guard import nft_rules, nft_table
from controller.plan.guard import ClearPair, GuardState, PeerPort, difference, flows_of

FIRST = ClearPair(
    local=ip_address("10.9.0.1"), remote=ip_address("10.9.0.2"), out_port=6081, in_port=6082
)
SECOND = ClearPair(
    local=ip_address("fd00::1"), remote=ip_address("fd00::2"), out_port=4789, in_port=4789
)


def guard(*pairs: ClearPair, vnis: frozenset[int] = frozenset()) -> GuardState:
    return GuardState(
        ports=frozenset({6081, 4789}),
        local=frozenset({ip_address("10.9.0.1"), ip_address("fd00::1")}),
        may_clear=flows_of(pairs),
        vnis=vnis,
    )


class Ruleset:
    """What a kernel would list after the commands."""

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = []
        self.elements: dict[str, list[Any]] = defaultdict(list)

    def run(self, commands: list[dict[str, Any]]) -> None:
        """Take in commands."""
        for command in commands:
            for verb, body in command.items():
                for kind, value in body.items():
                    if kind == "element" and verb == "add":
                        self.elements[value["name"]] += value["elem"]
                    elif kind == "element":
                        for item in value["elem"]:
                            self.elements[value["name"]].remove(item)
                    elif verb == "flush" and kind == "chain":
                        self.objects = [
                            entry
                            for entry in self.objects
                            if entry.get("rule", {}).get("chain") != value["name"]
                        ]
                    elif verb == "add":
                        self.objects.append({kind: value})

    def listing(self) -> list[dict[str, Any]]:
        """List the table."""
        return [
            {kind: {**value, "elem": self.elements[value["name"]]} if kind == "set" else value}
            for entry in self.objects
            for kind, value in entry.items()
        ]


def built(state: GuardState) -> Ruleset:
    ruleset = Ruleset()
    ruleset.run(nft_table.build_commands(state))
    return ruleset


def test_what_is_built_is_what_is_read() -> None:
    """Ports, addresses and flows of both families come back, and nothing is damaged."""
    seen = nft_table.parse_table(built(guard(FIRST, SECOND)).listing())
    assert seen.sound
    assert guard(FIRST, SECOND) == seen.state


def test_change_moves_only_the_elements_that_differ() -> None:
    """One pair goes, another comes."""
    ruleset = built(guard(FIRST))
    commands = nft_table.change_commands(difference(guard(FIRST), guard(SECOND)), frozenset())
    assert all("element" in body for command in commands for body in command.values())
    ruleset.run(commands)
    assert guard(SECOND) == nft_table.parse_table(ruleset.listing()).state


def rules(ruleset: Ruleset) -> list[tuple[str, str]]:
    """Chain and comment of each rule, without the digest."""
    found = [entry["rule"] for entry in ruleset.objects if "rule" in entry]
    return [(rule["chain"], rule["comment"].partition(",")[0]) for rule in found]


def test_other_vnis_write_the_rules_again_and_nothing_else() -> None:
    """The rules of protected networks stand before what may be clear, only while there are any."""
    few, many = frozenset({5}), frozenset(range(1, 100_000, 331))
    now = guard(FIRST)
    ruleset = built(now)
    plain = rules(ruleset)
    for vnis in (few, many, frozenset({4096}), frozenset[int]()):
        after = guard(FIRST, vnis=vnis)
        change = difference(now, after)
        commands = nft_table.change_commands(change, after.vnis)
        kinds = {kind for command in commands for body in command.values() for kind in body}
        assert kinds <= {"chain", "rule", "element"}
        ruleset.run(commands)
        seen = nft_table.parse_table(ruleset.listing())
        assert seen.sound
        assert seen.state == after
        now = after
    assert sorted(rules(ruleset)) == sorted(plain)
    ruleset = built(guard(FIRST, vnis=many))
    out = [comment for chain, comment in rules(ruleset) if chain == "judge_out"]
    assert out[:2] == ["protected networks", "protected networks in VXLAN"]
    comments = [entry["rule"]["comment"] for entry in ruleset.objects if "rule" in entry]
    assert all(len(comment.encode()) < 128 for comment in comments)


def test_keys_beyond_twelve_bits_are_cut_in_vxlan() -> None:
    """As OVN does, which has room for 12 bits there."""
    ruleset = built(guard(vnis=frozenset({5, 4096 + 5, 4096 + 6})))
    found = [
        entry["rule"]["expr"][2]["match"]["right"]
        for entry in ruleset.objects
        if "in VXLAN" in entry.get("rule", {}).get("comment", "")
    ]
    assert found == [{"set": [5, 6]}] * 2


@pytest.mark.parametrize("vnis", [frozenset(), frozenset({6}), frozenset({5, 6})])
def test_rules_for_other_vnis_than_recorded_are_damage(vnis: frozenset[int]) -> None:
    """The digest in the comments ties the rules to the set that records the VNIs."""
    ruleset = built(guard(vnis=frozenset({5})))
    ruleset.elements["vnis"] = sorted(vnis)
    assert nft_table.parse_table(ruleset.listing()).damage == ("rules differ",)


def test_elements_with_a_timeout_or_comment_are_read() -> None:
    """Libnftables wraps such elements."""
    ruleset = built(guard())
    ruleset.elements["ports"] = [{"elem": {"val": 6081}}, 4789]
    assert guard() == nft_table.parse_table(ruleset.listing()).state


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"table": {"name": "ovn_ipsec", "flags": ["dormant"]}}, "dormant"),
        ({"rule": {"chain": "in", "expr": []}}, "rules differ"),
        ({"rule": {"chain": "judge_out", "expr": []}}, "rules differ"),
        ({"chain": {"name": "foreign"}}, "chains differ"),
        ({"set": {"name": "foreign", "type": "mark"}}, "sets differ"),
        ({"counter": {"name": "foreign"}}, "counters differ"),
        ({"map": {"name": "foreign"}}, "a foreign map"),
    ],
)
def test_what_others_add_is_damage(extra: dict[str, Any], words: str) -> None:
    """A table that is not exactly ours is rebuilt."""
    listing = [*built(guard()).listing(), extra]
    assert any(words in what for what in nft_table.parse_table(listing).damage)


def test_a_port_of_a_peers_is_judged_towards_that_peer_only() -> None:
    """Going out, and only behind what is protected already."""
    one = PeerPort(local=FIRST.local, remote=FIRST.remote, port=7000)
    other = PeerPort(local=SECOND.local, remote=SECOND.remote, port=7001)
    state = replace(guard(FIRST), peer_ports=frozenset({one, other}))
    ruleset = built(state)
    assert state == nft_table.parse_table(ruleset.listing()).state
    picked = [comment for chain, comment in rules(ruleset) if chain == "out"]
    assert picked[-2:] == ["a port of a peer's", "a port of a peer's"]
    assert picked.index("protected") < picked.index("tunnel ports")
    assert not [c for chain, c in rules(ruleset) if chain == "in" and "peer" in c]
    fewer = replace(state, peer_ports=frozenset({other}))
    ruleset.run(nft_table.change_commands(difference(state, fewer), frozenset()))
    assert fewer == nft_table.parse_table(ruleset.listing()).state


def test_removal_works_on_a_table_that_is_not_there() -> None:
    """It is made first, so that its deletion cannot fail."""
    assert [["add"], ["delete"]] == [list(c) for c in nft_table.removal_commands()]


def test_probe_leaves_nothing() -> None:
    """The last command of the transaction deletes what the first made, under another name."""
    commands = nft_table.probe_commands()
    assert commands[-1]["delete"] == commands[0]["add"]
    assert commands[0]["add"]["table"]["name"] != nft_rules.TABLE


def test_probe_uses_every_rule() -> None:
    """Those for protected networks as well, with sets to look into."""
    probed = [
        command["add"]["rule"]["expr"]
        for command in nft_table.probe_commands()
        if "rule" in command.get("add", {})
    ]
    ruleset = built(guard(vnis=frozenset({1, 2})))
    assert probed == [entry["rule"]["expr"] for entry in ruleset.objects if "rule" in entry]


def test_counters_of_others_are_not_ours() -> None:
    """A counter of the same name in another table is passed over."""
    mine = {"family": "inet", "table": "ovn_ipsec", "name": "in_denied", "packets": 7}
    listing = [
        {"counter": mine},
        {"counter": {**mine, "table": "x", "packets": 9}},
        {"metainfo": {}},
    ]
    assert {"in_denied": 7} == nft_table.parse_counters(listing)


def test_a_table_made_anew_has_another_number() -> None:
    """Of our table only; one that is not there, or has no number, has none."""
    mine = {"family": "inet", "name": "ovn_ipsec"}
    others = [{"metainfo": {}}, {"table": {**mine, "name": "x", "handle": 3}}]
    assert nft_table.parse_handle([*others, {"table": {**mine, "handle": 9}}]) == "9"
    assert nft_table.parse_handle([*others, {"table": mine}]) == ""
    assert nft_table.parse_handle(others) == ""
