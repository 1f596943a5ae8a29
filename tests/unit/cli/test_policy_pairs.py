# SPDX-License-Identifier: Apache-2.0
"""Pairs counted by kinds are the pairs that a naive list of all of them has."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_world import chassis, cluster, hosts

from controller.plan.cluster.world import World
from ovn_ipsec.cli.pairs import between, kinds
from ovn_ipsec.cli.view import ChassisView
from ovn_ipsec.model.chassis import ChassisName, IpAddress
from ovn_ipsec.model.policy import NO_POLICY
from ovn_ipsec.schema.encap import EncapIntent, RawChassis, RawEncap, parse_chassis


def face(view: ChassisView, intent: EncapIntent) -> tuple[str, int]:
    """What a question may see of an encap."""
    return view.hostname, intent.encap.ip.version


@st.composite
def row(draw, number: int) -> RawChassis:
    ips = draw(
        st.lists(
            st.sampled_from(
                [f"10.0.0.{number}", f"10.0.1.{number}", f"fd00::{number + 1:x}", "10.9.9.9"]
            ),
            unique=True,
            max_size=3,
        )
    )
    return chassis(
        f"hv{number}",
        *ips,
        zones=draw(st.sets(st.sampled_from("ab"))),
        types=draw(st.sampled_from([("geneve",), ("vxlan",), ("geneve", "vxlan"), ("stt",)])),
        hostname=draw(st.sampled_from("xy")),
        other=draw(st.sampled_from([{}, {"is_remote": "true"}, {"is_interconn": "true"}])),
    )


@given(st.integers(0, 6).flatmap(lambda n: st.tuples(*(row(i) for i in range(n)))))
def test_counting_by_kinds_is_counting_all_pairs(rows: tuple[RawChassis, ...]):
    """The same number for every two faces, and examples that are such pairs."""
    views = list(cluster(*rows).chassis.values())
    every = [ends for one, other in combinations(views, 2) for ends in between(one, other)]
    expected: Counter[frozenset[object]] = Counter(
        frozenset(Counter(face(end.view, end.encap) for end in ends).items()) for ends in every
    )
    found: Counter[frozenset[object]] = Counter()
    for kind in kinds(views, face):
        found[frozenset(Counter(kind.faces).items())] += kind.count
        examples = list(kind.examples(100))
        assert kind.count == len(examples)
        assert set(examples) <= set(every)
    assert expected == found


@given(st.tuples(row(0), row(1)))
def test_pairs_do_not_depend_on_which_chassis_is_named_first(rows: tuple[RawChassis, ...]):
    """They are the same with their ends turned round."""
    one, other = cluster(*rows).chassis.values()
    turned = {(ours, theirs) for theirs, ours in between(other, one)}
    assert set(between(one, other)) == turned


def addresses(
    world: World, local: ChassisName, peer: ChassisName
) -> set[tuple[IpAddress, IpAddress]]:
    """The pairs that one end forms."""
    found = world.pairs_with(local, peer, NO_POLICY).intents
    return {(intent.pair.local, intent.pair.remote) for intent in found}


@given(st.tuples(row(0), row(1), row(2)))
def test_they_are_the_pairs_that_controllers_form(rows: tuple[RawChassis, ...]):
    """Of both ends, where nobody is known to be there: then what two claim is used by neither."""
    views = cluster(*rows).chassis
    world = World()
    for raw in rows:
        world.put(raw.name, parse_chassis(raw))
    for local, peer in permutations(views.values(), 2):
        if local.chassis.is_remote:
            continue
        ends = (local.chassis.name, peer.chassis.name)
        formed = addresses(world, *ends) & {pair[::-1] for pair in addresses(world, *ends[::-1])}
        shown = {
            (ours.encap.encap.ip, theirs.encap.encap.ip) for ours, theirs in between(local, peer)
        }
        assert shown == formed


def test_three_thousand_chassis_are_a_few_kinds():
    """Nothing lists four and a half million pairs."""
    rows = [chassis(f"hv{n}", f"10.1.{n // 250}.{n % 250 + 1}", hostname="x") for n in range(3000)]
    (kind,) = kinds(cluster(*rows).chassis.values(), face)
    assert 3000 * 2999 // 2 == kind.count


def test_a_chassis_has_no_pair_with_itself():
    """Not even with two addresses."""
    view = cluster(chassis("hv1", "10.0.0.1", "10.0.0.2")).chassis["hv1"]
    assert ((), []) == (between(view, view), list(kinds([view], face)))


def test_vxlan_is_used_where_only_that_is_common():
    """OVN prefers geneve, and takes what both have."""
    rows = (
        chassis("hv1", "10.0.0.1", types=("geneve", "vxlan")),
        chassis("hv2", "10.0.0.2", types=("vxlan",)),
    )
    one, other = cluster(*rows).chassis.values()
    assert ["vxlan"] == [ends[0].encap.encap.type for ends in between(one, other)]


def test_a_contested_address_does_not_change_the_tunnel_type():
    """OVN prefers geneve all the same, and there is no pair: nobody uses vxlan instead."""
    rows = (
        chassis("hv1", "10.0.0.1", types=("geneve", "vxlan")),
        *(chassis(name, "10.0.0.9") for name in ("hv2", "hv3")),
    )
    more = RawEncap(type="vxlan", ip="10.0.0.8", options={})
    second = replace(rows[1], encaps=(*rows[1].encaps, more))
    one, other, _ = cluster(rows[0], second, rows[2]).chassis.values()
    assert ((), []) == (between(one, other), list(kinds([one, other], face)))


@pytest.mark.parametrize(("limit", "number"), [(0, 0), (2, 2), (9, 3)])
def test_examples_are_limited(limit: int, number: int):
    """And the smaller chassis name stands first."""
    (kind,) = kinds(cluster(*hosts(3)).chassis.values(), face)
    examples = list(kind.examples(limit))
    assert number == len(examples)
    assert all(one.view.name < other.view.name for one, other in examples)
    assert number == len({f"{one} - {other}" for one, other in examples})
