# SPDX-License-Identifier: Apache-2.0
"""Two networks between the same two chassis, one encrypted and one clear, packet by packet.

Each chassis has two encap IPs, and each workload is steered to one of them by the ``encap-ip`` of
its Interface. Rules go by encap IP and by network.
"""

from __future__ import annotations

from collections.abc import Iterator

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind, Mark

SETTINGS = ClusterSettings(chassis=2, default=ChassisSettings(encaps=2))
PUBLIC, PAYMENTS = "10.9.0.0/24", "10.9.1.0/24"
"""Where the first and the second encap IPs are."""
BY_ADDRESS = (f"cidr:{PAYMENTS} any require", "any any off")
"""Not only between two of these: some packets of the network leave for the other address of a
peer, broadcasts as it seems."""
BY_NETWORK = (
    f"cidr:{PUBLIC} cidr:{PUBLIC} off",
    "network:payments any require",
    "any any off",
)
TOUCHING = {"10.9.1.1 10.9.1.2", "10.9.0.1 10.9.1.2", "10.9.1.1 10.9.0.2"}
"""Pairs with an address of the payments network, as h1 sees them."""

pytestmark = [
    pytest.mark.needs_ovn((24, 3), "workloads with an encap IP of their own"),
    pytest.mark.parametrize("cluster", [SETTINGS], ids=["two-encaps"], indirect=True),
]


@pytest.fixture
def steered(product: Cluster) -> Iterator[Cluster]:
    """`payments` and `public` on both chassis, each steered to an encap IP; no rules before."""
    cluster = product
    if "pay1" not in cluster.workloads:
        for index, chassis in enumerate(cluster.chassis.values(), 1):
            for number, (kind, ip) in enumerate(
                zip(("pub", "pay"), chassis.encap_ips, strict=True)
            ):
                name = f"{kind}{index}"
                switch = "public" if kind == "pub" else "payments"
                cluster.add_workload(name, chassis.name, 10 * (number + 1) + index, switch)
                words = ["set", "Interface", name, f"external_ids:encap-ip={ip}"]
                chassis.run(["ovs-vsctl", *words])
        cluster.wait_ports_up()
    yield cluster
    _ask(cluster)
    helpers.relax(cluster)


def _ask(cluster: Cluster, *rules: str) -> None:
    """Set the rules, highest priority first; those before go."""
    held = cluster.nb.row("NB_Global", "options")["options"]
    old = [key for key in held if key.startswith("ovn-ipsec-rule-")]
    new = [[f"ovn-ipsec-rule-{100 - number}", text] for number, text in enumerate(rules)]
    changes = [["options", "delete", ["set", old]], ["options", "insert", ["map", new]]]
    cluster.nb.transact({"op": "mutate", "table": "NB_Global", "where": [], "mutations": changes})


def _wait_pairs(cluster: Cluster, *, encrypted: set[str]) -> None:
    """Wait until the pairs with these local IPs, of h1, are encrypted and the others clear."""
    h1, found = cluster.chassis["h1"], dict[str, set[str]]()

    def settled() -> bool:
        found.clear()
        for one in helpers.peers(h1):
            found.setdefault(f"{one['local']} {one['remote']}", set()).add(str(one["state"]))
        return len(found) == 4 and all(
            states == ({"encrypted"} if ends in encrypted else {"clear"})
            for ends, states in found.items()
        )

    try:
        wait_until(settled, helpers.PATIENCE_S, f"{encrypted} encrypted and the others clear")
    except Exception:
        print(found, helpers.nb_report(cluster))
        raise


def _kinds(cluster: Cluster, since: Mark) -> dict[str, set[Kind]]:
    """Return of what kind the tunnel packets were on each of the two underlay networks."""
    found: dict[str, set[Kind]] = {}
    for kind, source, target in cluster.wire.counts(since):
        if kind in (Kind.CLEAR, Kind.ESP):
            ends = {source.rpartition(".")[0], target.rpartition(".")[0]}
            found.setdefault(" and ".join(sorted(ends)), set()).add(kind)
    return found


def _vni(cluster: Cluster, network: str) -> int:
    where = [["external_ids", "includes", ["map", [["name", network]]]]]
    return int(cluster.sb.row("Datapath_Binding", "tunnel_key", where=where)["tunnel_key"])


def _assert_told_apart(cluster: Cluster) -> None:
    """Ping in both networks at once: one is ESP on its own addresses, the other clear on its."""
    with (
        helpers.traffic(cluster, "pay1", "pay2") as payments,
        helpers.traffic(cluster, "pub1", "pub2") as public,
    ):
        since = cluster.wire.mark()
        payments.run(3)
        assert payments.lost == 0
        assert public.lost == 0
    found = _kinds(cluster, since)
    # From one network to the other goes what was sent to all.
    assert found.pop("10.9.0 and 10.9.1", {Kind.ESP}) == {Kind.ESP}
    assert {"10.9.0": {Kind.CLEAR}, "10.9.1": {Kind.ESP}} == found
    seen = [one for one in cluster.wire.sightings(since) if one.kind is Kind.CLEAR]
    assert {one.vni for one in seen} == {_vni(cluster, "public")}
    say("told apart", clear=len(seen), esp=cluster.wire.total(Kind.ESP, since))


def test_rules_by_encap_ip_tell_two_networks_apart(steered: Cluster) -> None:
    """`cidr:`: what is steered to the second encap IPs is ESP, and the rest is clear."""
    cluster = steered
    helpers.switch(cluster, on=True)
    _ask(cluster, *BY_ADDRESS)
    _wait_pairs(cluster, encrypted=TOUCHING)
    helpers.wait_state(cluster, "enforced")
    _assert_told_apart(cluster)


def test_rules_by_network_tell_two_networks_apart(steered: Cluster) -> None:
    """`network:`, but for the encap IPs of the public network: nothing of it is ever clear."""
    cluster = steered
    helpers.switch(cluster, on=True)
    _ask(cluster, *BY_NETWORK)
    _wait_pairs(cluster, encrypted=TOUCHING)
    helpers.wait_state(cluster, "enforced")
    _assert_told_apart(cluster)
