# SPDX-License-Identifier: Apache-2.0
"""Encrypt only what needs it: zones, networks, a lab, profiles; four chassis, stock OVN."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind, Mark

ZONE_OF = {"h1": "dc1", "h2": "dc1", "h3": "dc2", "h4": "dc2"}
SETTINGS = ClusterSettings(
    chassis=4,
    special={
        name: ChassisSettings(
            external_ids={"ovn-transport-zones": f"all,{zone}"},
        )
        for name, zone in ZONE_OF.items()
    },
)
PREFIX = "ovn-ipsec-"
HOLD_S = 5

pytestmark = pytest.mark.parametrize("cluster", [SETTINGS], ids=["four"], indirect=True)


# --- words -----------------------------------------------------------------------------------


def ask(cluster: Cluster, *rules: str, **options: str) -> None:
    """Set the rules, highest priority first, and other options; what was set before goes."""
    wanted = {f"{PREFIX}rule-{100 - number}": text for number, text in enumerate(rules)}
    wanted |= {f"{PREFIX}{name}": text for name, text in options.items()}
    held = cluster.nb.row("NB_Global", "options")["options"]
    old = [key for key in held if key.startswith(PREFIX)]
    changes: list[list[object]] = [["options", "delete", ["set", old]]]
    changes.append(["options", "insert", ["map", [list(item) for item in wanted.items()]]])
    cluster.nb.transact({"op": "mutate", "table": "NB_Global", "where": [], "mutations": changes})


def error(cluster: Cluster) -> str:
    """Return what the operator reads of what was refused."""
    return helpers.nb_report(cluster).get("ovn-ipsec-error", "")


def states(cluster: Cluster) -> dict[tuple[str, str], str]:
    """Return the state of every pair, seen from the end with the smaller name."""
    return {
        (name, str(peer["peer"])): str(peer["state"])
        for name, chassis in cluster.chassis.items()
        for peer in helpers.peers(chassis)
        if name < str(peer["peer"])
    }


def wait_states(cluster: Cluster, encrypted: Iterable[tuple[str, str]]) -> None:
    """Wait until these pairs are encrypted, and all others clear."""
    wanted = set(encrypted)

    def settled() -> bool:
        found = states(cluster)
        return len(found) == 6 and all(
            state == ("encrypted" if ends in wanted else "clear") for ends, state in found.items()
        )

    try:
        wait_until(settled, helpers.PATIENCE_S, f"{wanted} encrypted and the others clear")
    except Exception:
        print(states(cluster), helpers.nb_report(cluster))
        raise


def seen(cluster: Cluster, one: str, other: str, since: Mark) -> set[Kind]:
    """Return what tunnel traffic between two chassis looks like since a moment."""
    ips = {name: cluster.chassis[name].encap_ips[0] for name in (one, other)}
    return {
        kind
        for (kind, source, target) in cluster.wire.counts(since)
        if {source, target} == set(ips.values()) and kind in (Kind.CLEAR, Kind.ESP)
    }


def wait_wire(
    cluster: Cluster, ping: helpers.Traffic, ends: tuple[str, str], wanted: set[Kind]
) -> None:
    """Wait until traffic between two chassis is of these kinds alone: they change over in turn."""

    def is_so() -> bool:
        since = cluster.wire.mark()
        ping.run(1)
        return seen(cluster, *ends, since) == wanted

    wait_until(is_so, helpers.PATIENCE_S, f"{' and '.join(map(str, wanted))} between {ends}")


def clear_between(cluster: Cluster, one: str, other: str, since: Mark) -> int:
    """Return how many clear tunnel packets two chassis have exchanged since a moment."""
    ips = {cluster.chassis[name].encap_ips[0] for name in (one, other)}
    flows = cluster.wire.counts(since).items()
    return sum(f.count for (kind, *ends), f in flows if kind is Kind.CLEAR and set(ends) == ips)


ACROSS = [("h1", "h3"), ("h1", "h4"), ("h2", "h3"), ("h2", "h4")]
INSIDE = [("h1", "h2"), ("h3", "h4")]


@pytest.fixture
def on(product: Cluster) -> Iterator[Cluster]:
    """Encryption is on with no rules: every pair is encrypted; rules go after the test."""
    helpers.revive(product)
    ask(product)
    helpers.enforce(product)
    # The state may still be that of the rules before, under which some pairs were clear.
    helpers.wait_all_encrypted(product)
    yield product
    ask(product)


# --- zones -----------------------------------------------------------------------------------


def test_zones_are_told_apart_and_turned_round_live(on: Cluster) -> None:
    """Across two zones ESP, inside one Geneve, each proven on the wire; then the other way."""
    cluster = on
    with helpers.traffic(cluster, "w1", "w3") as across, helpers.traffic(cluster) as inside:
        ask(cluster, "zone:dc1 zone:dc2 require", "any any off")
        wait_states(cluster, ACROSS)
        helpers.wait_state(cluster, "enforced")
        wait_wire(cluster, inside, ("h1", "h2"), {Kind.CLEAR})
        since = cluster.wire.mark()
        across.run(2)
        assert seen(cluster, "h1", "h3", since) == {Kind.ESP}
        assert seen(cluster, "h1", "h2", since) == {Kind.CLEAR}
        say("zones", across_lost=across.lost, inside_lost=inside.lost)
        assert across.lost == 0
        assert inside.lost <= 1
        across.mark()
        inside.mark()
        since = cluster.wire.mark()
        ask(cluster, "zone:dc1 zone:dc1 require", "zone:dc2 zone:dc2 require", "any any off")
        wait_states(cluster, INSIDE)
        helpers.wait_state(cluster, "enforced")
        wait_wire(cluster, across, ("h1", "h3"), {Kind.CLEAR})
        say("zones turned round", across_lost=across.lost, inside_lost=inside.lost)
        assert across.lost <= 1
        assert inside.lost <= 1
        since = cluster.wire.mark()
        across.run(2)
        assert seen(cluster, "h1", "h3", since) == {Kind.CLEAR}
        assert seen(cluster, "h1", "h2", since) == {Kind.ESP}
        ask(cluster)
        helpers.wait_all_encrypted(cluster)
        since = cluster.wire.mark()
        across.run(2)
        assert cluster.wire.total(Kind.CLEAR, since) == 0


# --- networks --------------------------------------------------------------------------------


@pytest.fixture
def networks(on: Cluster) -> Cluster:
    """`payments` on h1 and h2, `public` on h1 and h3, `third` on h4 behind a router."""
    cluster = on
    if "pay1" not in cluster.workloads:
        for number, (name, chassis, switch) in enumerate(
            (
                ("pay1", "h1", "payments"),
                ("pay2", "h2", "payments"),
                ("pub1", "h1", "public"),
                ("pub3", "h3", "public"),
            ),
            10,
        ):
            cluster.add_workload(name, chassis, number, switch)
        cluster.wait_ports_up()
    return cluster


def test_network_is_encrypted_wherever_its_traffic_runs(networks: Cluster) -> None:
    """A port of it that appears is protected before its first packet, and let go after it left."""
    cluster = networks
    key = cluster.sb.row(
        "Datapath_Binding", "tunnel_key", where=[["external_ids", "includes", NAMED]]
    )["tunnel_key"]
    with (
        helpers.traffic(cluster, "pay1", "pay2") as payments,
        helpers.traffic(cluster, "pub1", "pub3") as public,
    ):
        ask(cluster, "network:payments any require", "any any off", hold=f"{HOLD_S}s")
        wait_states(cluster, [("h1", "h2")])
        helpers.wait_state(cluster, "enforced")
        assert payments.lost == 0
        assert public.lost <= 1
        wait_wire(cluster, public, ("h1", "h3"), {Kind.CLEAR})
        since = cluster.wire.mark()
        payments.run(2)
        assert seen(cluster, "h1", "h2", since) == {Kind.ESP}
        assert seen(cluster, "h1", "h3", since) == {Kind.CLEAR}
        public.mark()
        # A port appears on h3, and talks at once.
        cluster.add_workload("pay3", "h3", 20, "payments")
        with cluster.pinging("pay3", "pay1") as first:
            begin = time.monotonic()
            mark = first.mark()
            wait_until(lambda: first.received_since(mark) > 5, 120, "answers to pay3")
            say("payments on h3", first_answers_s=f"{time.monotonic() - begin:.1f}")
            wait_states(cluster, [("h1", "h2"), ("h1", "h3"), ("h2", "h3")])
        clear = [one for one in cluster.wire.sightings(since) if one.kind is Kind.CLEAR]
        assert clear, "public was clear before"
        assert not [one for one in clear if one.vni == key]
        say("public meanwhile", lost=public.lost, at=public.lost_at)
        assert public.lost <= 1
        # It goes; after the hold the pairs are clear again.
        public.mark()
        cluster.nbctl("lsp-del", "pay3")
        wait_states(cluster, [("h1", "h2")])
        say("public after it left", lost=public.lost, at=public.lost_at)
        assert public.lost <= 1
        assert payments.lost == 0


NAMED = ["map", [["name", "payments"]]]


def test_network_is_protected_through_a_router(networks: Cluster) -> None:
    """What payments can reach by a router is encrypted towards it, and nothing else is."""
    cluster = networks
    ask(cluster, "network:payments any require", "any any off", hold=f"{HOLD_S}s")
    wait_states(cluster, [("h1", "h2")])
    cluster.add_workload("third4", "h4", 40, "third")
    words = "lr-add r"
    for number, switch in enumerate(("payments", "third"), 1):
        port, mac = f"r-{switch}", f"00:00:00:00:10:0{number}"
        words += f" -- lrp-add r {port} {mac} 172.31.{number}.1/24"
        words += f" -- lsp-add {switch} {switch}-r -- lsp-set-type {switch}-r router"
        words += f" -- lsp-set-addresses {switch}-r router"
        words += f" -- lsp-set-options {switch}-r router-port={port}"
    cluster.nbctl(*words.split())
    wait_states(cluster, [("h1", "h2"), ("h1", "h4"), ("h2", "h4")])
    helpers.wait_state(cluster, "enforced")
    cluster.nbctl("lr-del", "r", "--", "lsp-del", "payments-r", "--", "lsp-del", "third-r")
    wait_states(cluster, [("h1", "h2")])


# --- a lab, and who only says so -------------------------------------------------------------


def test_lab_is_clear_and_nobody_joins_it_by_itself(on: Cluster) -> None:
    """`chassis:h4 any off`: its pairs are clear; h2 calls itself of its class, and is refused."""
    cluster = on
    rest = [("h1", "h2"), ("h1", "h3"), ("h2", "h3")]
    with helpers.traffic(cluster) as ping:
        ask(cluster, "chassis:h4 any off")
        wait_states(cluster, rest)
        helpers.wait_state(cluster, "enforced")
        options = {
            str(row["chassis_name"]): row["options"]
            for row in cluster.sb.rows("Encap", "chassis_name", "options")
        }
        lab, own = (options[name].get("ovn-ipsec-class") for name in ("h4", "h2"))
        assert lab
        assert lab != own
        ping.mark()
        where = [["chassis_name", "==", "h2"]]
        key = ["set", ["ovn-ipsec-class"]]
        changes: list[list[object]] = [
            ["options", "delete", key],
            ["options", "insert", ["map", [["ovn-ipsec-class", lab]]]],
        ]
        operation = {"op": "mutate", "table": "Encap", "where": where, "mutations": changes}
        cluster.sb.transact(operation)

        def put_right() -> bool:
            row = cluster.sb.row("Encap", "options", where=where)
            return row["options"].get("ovn-ipsec-class") == own

        wait_until(put_right, 60, "the class of h2 put right")
        ping.run(3)
        assert ping.lost == 0
        ping_clear = clear_between(cluster, "h1", "h2", ping._wire_mark)
        assert ping_clear == 0
        log = (cluster.central.logs / "ovn-ipsec-northd.log").read_text()
        (line,) = [x for x in log.splitlines() if "|refused" in x and "-class" in x]
        for word in ("table=Encap", "h2", "options:ovn-ipsec-class", lab, "reason="):
            assert word in line
        wait_states(cluster, rest)


# --- profiles --------------------------------------------------------------------------------


def test_profiles_are_mixed_and_changed_without_loss(on: Cluster) -> None:
    """h1-h2 in another suite than the rest, live; one that a daemon cannot do changes nothing."""
    cluster = on
    with helpers.traffic(cluster) as ping:
        ask(cluster, "chassis:h1 chassis:h2 require profile=cnsa")

        def suites() -> dict[str, str]:
            found = helpers.peers(cluster.chassis["h1"])
            return {str(one["peer"]): str(one["profile"]) for one in found}

        wanted = {"h2": "cnsa", "h3": "default", "h4": "default"}
        wait_until(lambda: suites() == wanted, 60, "profiles at h1")
        log = cluster.chassis["h1"].logs / "charon.log"
        chosen = "selected proposal: IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384"
        wait_until(lambda: chosen in log.read_text(errors="replace"), 60, "an SA of the suite")
        helpers.wait_all_encrypted(cluster)
        helpers.wait_state(cluster, "enforced")
        say("profile changed", lost=ping.lost, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()
        before = helpers.generation(cluster)
        ask(cluster, "chassis:h1 chassis:h2 require profile=pq")
        wait_until(lambda: "pq" in error(cluster), 30, "pq refused")
        assert "h1" in error(cluster)
        assert helpers.generation(cluster) == before
        assert suites() == wanted
        ping.run(1)
        assert ping.lost == 0
