# SPDX-License-Identifier: Apache-2.0
"""Rows of both databases to one snapshot: what is junk costs only itself."""

from __future__ import annotations

from policy_world import chassis, cluster, hosts, published, report

from ovn_ipsec.cli.view import with_options
from ovn_ipsec.model.policy import Mode


def test_an_empty_cluster_is_a_snapshot_too():
    """No SB_Global, no chassis, no options."""
    made = cluster(ipsec=False)
    assert (None, {}, False, ()) == (made.policy, made.chassis, made.broken, made.errors)


def test_a_bad_rule_is_an_error_and_the_good_ones_are_read():
    """Even though a daemon takes none of them over."""
    made = cluster(rules={100: "any any off", 200: "any any of"})
    assert ([100], True, 1) == (
        [r.priority for r in made.asked.rules],
        made.broken,
        len(made.errors),
    )


def test_a_bad_tuning_key_is_an_error_that_keeps_nothing_back():
    """It is reported, and left at its default."""
    made = cluster(options={"ipsec_dpd-delay": "soon"})
    assert (False, 1) == (made.broken, len(made.errors))


def test_other_options_make_another_snapshot():
    """None removes a key."""
    made = cluster(rules={100: "any any of"})
    assert (True, False) == (made.broken, with_options(made, {"ovn-ipsec-rule-100": None}).broken)


def test_switches_of_one_name_are_one_network():
    """What any of them asks for is what the network asks for."""
    made = cluster(switches=[("web", {"ovn-ipsec": "require"}), ("web", {}), ("db", {})])
    assert ({"web": Mode.REQUIRE}, {"web", "db"}) == (made.networks, made.switches)


def test_switches_that_contradict_each_other_are_an_error():
    """Nobody can tell which one is meant, so the last good policy stays."""
    rows = [("web", {"ovn-ipsec": "require"}), ("web", {"ovn-ipsec": "prefer"})]
    made = cluster(switches=rows)
    assert ({}, True, 1) == (made.networks, made.broken, len(made.network_errors))


def test_a_junk_policy_in_sb_is_an_error():
    """It is not the same as none."""
    made = cluster(sb=published() | {"ovn-ipsec-phase": "x"})
    assert (None, "ovn-ipsec-phase") == (made.policy, made.sb_error and made.sb_error.key)


def test_a_chassis_that_cannot_be_a_peer_is_refused_alone():
    """The others are there."""
    made = cluster(chassis("h v", "10.0.0.9"), *hosts(1))
    assert (["hv1"], 1) == (list(made.chassis), len(made.refused))


def test_a_digest_that_does_not_parse_is_an_error_of_its_chassis():
    """The other one is read."""
    rows = {"hv1": report() | {"ovn-ipsec-phase": "x"}, "hv2": report()}
    views = cluster(*hosts(2), privates=rows).chassis
    assert [True, False] == [view.digest_error is not None for view in views.values()]
    assert [True, False] == [view.digest is None for view in views.values()]


def test_an_address_that_two_chassis_claim_is_contested_at_both():
    """One chassis may have it twice, for two tunnel types; another type claims no pair."""
    rows = (
        chassis("hv1", "10.0.0.1", types=("geneve", "vxlan")),
        chassis("hv2", "10.0.0.9"),
        chassis("hv3", "10.0.0.9"),
        chassis("hv4", "10.0.0.9", types=("vxlan",)),
    )
    views = list(cluster(*rows).chassis.values())
    claim = ["geneve 10.0.0.9"]
    found = [[f"{kind} {ip}" for kind, ip in view.contested] for view in views]
    assert [[], claim, claim, []] == found
    assert [set(), {"hv3", "hv4"}, {"hv2", "hv4"}, {"hv2", "hv3"}] == [
        {other for _, other in view.rivals} for view in views
    ]
