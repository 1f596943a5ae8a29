# SPDX-License-Identifier: Apache-2.0
"""One cluster: this machine's strongSwan, strongSwan 6.0, Libreswan 5.2, a stock ovs-monitor-ipsec.

The tests of a cluster follow one another: each goes on from where the one before has left it. The
smaller name of a pair initiates, so a second cluster has the same four in the opposite order.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from itertools import combinations, permutations

import helpers
import proving
import pytest
from helpers import say

from ovn_ipsec.lab.cluster import unpacked
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, MONITOR, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.lab.witness.wire import Kind

NEWER = ChassisSettings(strongswan="strongswan-6.0")
LIBRESWAN = ChassisSettings(libreswan="libreswan-5.2")
STOCK = ChassisSettings(ike=False)
FORWARD = ClusterSettings(chassis=4, rsa=True, special={"h2": NEWER, "h3": LIBRESWAN, "h4": STOCK})
BACKWARD = ClusterSettings(chassis=4, rsa=True, special={"h1": STOCK, "h2": LIBRESWAN, "h3": NEWER})
"""On the one that is left, it is this machine's."""
WHACK = "/usr/libexec/ipsec/whack"

LACK = unpacked.missing(NEWER.strongswan, LIBRESWAN.libreswan)
pytestmark = pytest.mark.skipif(bool(LACK), reason=f"needs {LACK}")
forward = pytest.mark.parametrize("cluster", [FORWARD], indirect=True, ids=["forward"])
either = pytest.mark.parametrize(
    "cluster", [FORWARD, BACKWARD], indirect=True, ids=["forward", "backward"]
)


def stock(cluster: Cluster) -> Chassis:
    """The one with no controller of ours."""
    return next(one for one in cluster.chassis.values() if not one.settings.ike)


def ours(cluster: Cluster) -> list[str]:
    """The others."""
    return [name for name in cluster.chassis if name != stock(cluster).name]


def workload(chassis: str) -> str:
    """The one that runs there."""
    return f"w{chassis[1:]}"


def of_kind(cluster: Cluster, settings: ChassisSettings) -> Chassis:
    return next(one for one in cluster.chassis.values() if one.settings == settings)


@pytest.fixture(scope="module")
def mixed(cluster: Cluster) -> Cluster:
    """All daemons run, and nothing is asked of them yet."""
    stock(cluster).start_stock_ipsec()
    cluster.start_ipsec(ours(cluster))
    # Nobody waits for a chassis without a controller.
    proving.option(cluster, "ovn-ipsec-rollout", "immediate")
    for name in ours(cluster):
        wait_until(lambda name=name: helpers.digest(cluster, name), 120, f"digest of {name}")
    return cluster


def can(cluster: Cluster, one: str, other: str) -> bool:
    """Whether two chassis can encrypt with each other; who cannot: docs/howto/libreswan.md."""
    ends = [cluster.chassis[name] for name in (one, other)]
    return stock(cluster) not in ends or not any(end.settings.libreswan for end in ends)


def enforce(cluster: Cluster, names: Iterable[str] = ()) -> None:
    """Switch on, and wait until ours deny what is clear and these (all) are encrypted."""
    helpers.switch(cluster, on=True)

    def enforced() -> bool:
        digests = [helpers.digest(cluster, name) for name in ours(cluster)]
        return all(one.get("ovn-ipsec-phase") == "enforce" for one in digests)

    wait_until(enforced, helpers.PATIENCE_S, "ours enforce")
    wait_encrypted(cluster, names or cluster.chassis)


def wait_encrypted(cluster: Cluster, names: Iterable[str]) -> None:
    """Wait until ours say that each two of these chassis are encrypted, of those that can be.

    And until the stock daemon has ended what it ends whenever a tunnel port changes: it answers
    nobody before that.
    """
    stock(cluster).run(["ovs-appctl", "-t", MONITOR, "version"], timeout=stretched(180))
    wanted = {ends for ends in permutations(names, 2) if can(cluster, *ends)}
    for name in ours(cluster):
        peers = {other for one, other in wanted if one == name}

        def encrypted(name: str = name, peers: set[str] = peers) -> bool:
            found = [one for one in helpers.peers(cluster.chassis[name]) if one["peer"] in peers]
            up = [one["state"] == "encrypted" and one["ike"] for one in found]
            return len(up) == len(peers) and all(up)

        wait_until(encrypted, helpers.PATIENCE_S, f"{name} encrypted with {sorted(peers)}")


def assert_each_with_each(cluster: Cluster, names: Iterable[str]) -> None:
    """Between each two of these chassis there is traffic, and ESP alone on the wire."""
    for one, other in combinations(names, 2):
        if can(cluster, one, other):
            with helpers.traffic(cluster, workload(one), workload(other)) as ping:
                ping.run(1.5)
                ping.assert_encrypted()
                assert ping.lost == 0, (one, other, ping.lost_at)


def assert_denied(cluster: Cluster) -> None:
    """Between Libreswan and the stock chassis nothing passes, in clear or otherwise."""
    ends = (of_kind(cluster, LIBRESWAN), stock(cluster))
    since = cluster.wire.mark()
    with cluster.pinging(workload(ends[0].name), workload(ends[1].name)) as pinger:
        sent = pinger.mark()
        wait_until(lambda: pinger.sent_since(sent) >= 20, 60, "pings")
        assert pinger.received_since(sent) == 0
    clear = [key for key in cluster.wire.counts(since) if key[0] is Kind.CLEAR]
    assert not [key for key in clear if key[1] in ends[0].encap_ips], clear
    assert "clear" not in helpers.states_with(ends[0], ends[1].name)


def relax(cluster: Cluster) -> None:
    """Switch off; nothing of ours is left, and everybody is in clear."""
    helpers.relax(cluster)
    for name in ours(cluster):
        helpers.wait_clean(cluster.chassis[name])


def rekey(chassis: Chassis) -> None:
    """Make the IKE daemon rekey the children that a chassis sends over."""
    if not chassis.settings.libreswan:
        chassis.run(["swanctl", "--rekey", "--child", "out"])
        return
    shown = chassis.run([WHACK, "--trafficstatus"]).stdout
    for name in sorted(set(re.findall(r'"(ovn-[^"]+)"', shown))):
        chassis.run([WHACK, "--rekey-child", "--asynchronous", "--name", name])


def spis(cluster: Cluster, name: str) -> dict[str, set[str]]:
    """Return the SPIs that one of ours has, by each peer that it can encrypt with."""
    found = helpers.peers(cluster.chassis[name])
    peers = {str(one["peer"]): set(one["spis"]) for one in found}
    return {peer: values for peer, values in peers.items() if can(cluster, name, peer)}


@either
def test_each_with_each_from_off_to_enforced_and_off(mixed: Cluster) -> None:
    """By certificates, all four, and ESP alone; afterwards nothing is left."""
    cluster = mixed
    begin = time.monotonic()
    enforce(cluster)
    say("all encrypted", seconds=f"{time.monotonic() - begin:.1f}")
    assert_each_with_each(cluster, cluster.chassis)
    assert_denied(cluster)
    relax(cluster)


@forward
def test_a_controller_that_is_killed_loses_no_packet(mixed: Cluster) -> None:
    """Each finds in its daemon, of whatever kind, what it has left there."""
    cluster = mixed
    enforce(cluster)
    before = {name: spis(cluster, name) for name in ours(cluster)}
    for name, other in zip(ours(cluster), reversed(ours(cluster)), strict=True):
        target = other if other != name else stock(cluster).name
        with helpers.traffic(cluster, workload(name), workload(target)) as ping:
            cluster.chassis[name].daemons[CONTROLLER].kill()
            ping.run(2)
            cluster.chassis[name].daemons[CONTROLLER].start()
            wait_encrypted(cluster, cluster.chassis)
            ping.run(2)
            say("controller killed", of=name, lost=ping.lost, sent=ping.sent)
            ping.assert_encrypted()
            assert ping.lost == 0, ping.lost_at
    assert {name: spis(cluster, name) for name in ours(cluster)} == before


@forward
def test_each_rekeys_with_each(mixed: Cluster) -> None:
    """No packet is lost or clear, whichever daemon asks for it."""
    cluster = mixed
    enforce(cluster)
    for name, other in zip(ours(cluster), reversed(ours(cluster)), strict=True):
        target = other if other != name else stock(cluster).name
        before = spis(cluster, name)
        with helpers.traffic(cluster, workload(name), workload(target)) as ping:
            rekey(cluster.chassis[name])

            def rekeyed(name: str = name, old: dict[str, set[str]] = before) -> bool:
                now = spis(cluster, name)
                return all(now[peer] - old[peer] for peer in old)

            wait_until(rekeyed, 60, f"new SAs of {name}")
            wait_encrypted(cluster, cluster.chassis)
            ping.run(2)
            say("rekeyed", by=name, lost=ping.lost, sent=ping.sent)
            ping.assert_encrypted()
            assert ping.lost == 0, ping.lost_at


@forward
@pytest.mark.parametrize("kind", [NEWER, LIBRESWAN], ids=["strongSwan-6.0", "Libreswan-5.2"])
def test_a_daemon_that_is_stopped_leaves_nothing_in_clear(
    mixed: Cluster, kind: ChassisSettings
) -> None:
    """Its SAs and policies go with it; the guard denies until they are back."""
    cluster = mixed
    enforce(cluster)
    chassis = of_kind(cluster, kind)
    daemon = chassis.daemons["pluto" if kind.libreswan else "charon"]
    with helpers.traffic(cluster, "w1", workload(chassis.name)) as ping:
        daemon.stop()
        ping.run(3)
        assert ping.lost > 0
        daemon.start()
        took = ping.wait_answers()
        wait_encrypted(cluster, cluster.chassis)
        say("daemon stopped", of=chassis.name, answers_s=f"{took:.1f}")
        assert ping.clear == {}, ping.clear
        ping.mark()
        ping.run(2)
        ping.assert_encrypted()


@forward
def test_a_chassis_changes_its_daemon_live(mixed: Cluster) -> None:
    """From Libreswan to strongSwan and back while all enforce: denied in between, never clear."""
    cluster = mixed
    enforce(cluster)
    chassis = of_kind(cluster, LIBRESWAN)
    pluto, charon = chassis.daemons["pluto"], chassis.charon()
    with helpers.traffic(cluster, "w1", workload(chassis.name)) as ping:
        for old, new, kind in ((pluto, charon, "strongswan"), (charon, pluto, "libreswan")):
            ping.mark()
            old.stop()
            new.start()
            setting = f"other_config:ovn-ipsec-ike={kind}"
            chassis.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", setting])
            took = ping.wait_answers()
            wait_encrypted(cluster, ours(cluster))
            say("daemon changed", to=kind, answers_s=f"{took:.1f}", lost=ping.lost)
            assert ping.clear == {}, ping.clear
            ping.mark()
            ping.run(2)
            ping.assert_encrypted()
            assert ping.lost == 0, ping.lost_at
    chassis.daemons.pop("charon")


@forward
@pytest.mark.parametrize("way", ["psk", "pinned"])
def test_ours_by_what_a_stock_chassis_cannot_do(mixed: Cluster, way: str) -> None:
    """Each of ours with each other of ours; towards the stock one the guard denies."""
    cluster = mixed
    helpers.relax(cluster)
    names = ours(cluster)
    for name in names:
        proving.place_secret(cluster.chassis[name], "the secret of this cluster")
    proving.option(cluster, proving.AUTH, way)
    try:
        enforce(cluster, names)
        assert_each_with_each(cluster, names)
        assert_denied(cluster)
        found = [one for name in names for one in helpers.peers(cluster.chassis[name])]
        assert {one["auth"] for one in found if one["peer"] in names} == {way}
        relax(cluster)
    finally:
        proving.option(cluster, proving.AUTH, None)
