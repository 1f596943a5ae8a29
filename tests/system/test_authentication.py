# SPDX-License-Identifier: Apache-2.0
"""How chassis prove who they are: changed live, rolled over live, refused, put in quarantine."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import helpers
import pytest
import vici
from helpers import say

from ovn_ipsec.lab.chassis import CONTROLLER, VICI_SOCKET, Chassis
from ovn_ipsec.lab.cluster import Cluster
from ovn_ipsec.lab.pki import Authority
from ovn_ipsec.lab.settings import CREDENTIALS
from ovn_ipsec.lab.waiting import wait_until

AUTH = "ovn-ipsec-auth"
QUARANTINE = "ovn-ipsec-quarantine"
PSK = "/etc/ovn-ipsec/psk"
HANDOVER_LOST = 6
"""0.3 s: where one end alone makes both children, the responder sends before the emulated
initiator can receive; 3 were seen. Where both ends take part nothing is lost (decision 0014)."""
TURN_S = 240.0
"""A turn has three steps, the last one of 30 s; each makes all SAs anew in emulation."""


def option(cluster: Cluster, key: str, text: str | None) -> None:
    """Set an option of NB_Global, or with None remove it."""
    changes: list[list[object]] = [["options", "delete", ["set", [key]]]]
    if text is not None:
        changes.append(["options", "insert", ["map", [[key, text]]]])
    cluster.nb.transact({"op": "mutate", "table": "NB_Global", "where": [], "mutations": changes})


def ways(cluster: Cluster) -> set[str]:
    """Return how the pairs have authenticated, as the IKE daemons say."""
    return {str(one["auth"]) for host in cluster.chassis.values() for one in helpers.peers(host)}


def published(cluster: Cluster) -> str:
    """Return the ways that SB names."""
    keys = cluster.sb.row("SB_Global", "external_ids")["external_ids"]
    return str(keys.get(AUTH, ""))


def turn(cluster: Cluster, way: str) -> None:
    """Ask for a way, and wait until it is the only one and every pair has authenticated by it."""
    option(cluster, AUTH, way)

    def turned() -> bool:
        return published(cluster) == way and ways(cluster) == {way}

    try:
        wait_until(turned, TURN_S, f"everybody by {way}", every=0.5)
    except Exception:
        print(published(cluster), ways(cluster), helpers.nb_report(cluster))
        raise
    helpers.wait_all_encrypted(cluster)


def place_secret(chassis: Chassis, *values: str) -> None:
    """Write the cluster's secrets on a host, the one in use first."""
    chassis.write(PSK, "".join(f"{value}\n" for value in values), 0o600)
    name = f"other_config:ovn-ipsec-psk-file={PSK}"
    chassis.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", name])


def held(chassis: Chassis, command: str) -> list[str]:
    """Return the ids of what a host's IKE daemon holds: `get-keys` or `get-shared`."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(chassis.path(VICI_SOCKET)))
        answer = getattr(vici.Session(link), command.replace("-", "_"))()
    return sorted(text.decode() for text in answer["keys"])


@pytest.fixture
def by_ca(enforced: Cluster) -> Iterator[Cluster]:
    """Everybody authenticates by certificates, before the test and after it."""
    yield enforced
    option(enforced, QUARANTINE, None)
    if published(enforced) != "ca":
        helpers.relax(enforced)
    option(enforced, AUTH, None)


# --- ways ------------------------------------------------------------------------------------


def test_authentication_turns_live_and_back(by_ca: Cluster) -> None:
    """From certificates to a secret, to pins, to certificates: at most one ping lost each time."""
    cluster, secret = by_ca, secrets.token_hex(32)
    for chassis in list(cluster.chassis.values())[1:]:
        place_secret(chassis, secret)
    with helpers.traffic(cluster) as ping:
        option(cluster, AUTH, "psk")
        wait_until(lambda: "no psk credential: h1" in helpers.summary(cluster), 60, "h1 named")
        assert published(cluster) == "ca psk"
        place_secret(cluster.chassis["h1"], secret)
        for way in ("psk", "pinned", "ca"):
            ping.mark()
            before = helpers.spis(cluster)
            turn(cluster, way)
            say("turned", way=way, lost=ping.lost, sent=ping.sent, at=ping.lost_at)
            assert ping.lost <= 1
            ping.assert_encrypted()
            assert not any(
                set(before[ends]) & set(now) for ends, now in helpers.spis(cluster).items()
            )
    helpers.wait_state(cluster, "enforced")
    for found in _everything(cluster):
        assert secret not in found


def _everything(cluster: Cluster) -> Iterator[str]:
    """Yield the logs, databases and command lines of all hosts."""
    for host in (cluster.central, *cluster.chassis.values()):
        for log in host.logs.glob("*"):
            yield log.read_text(errors="replace")
    for database in (cluster.central.folder / "nb.db", cluster.central.folder / "sb.db"):
        yield database.read_text(errors="replace")
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_text(errors="replace")
        except OSError:
            continue


# --- rollover --------------------------------------------------------------------------------


def test_certificate_and_key_of_one_chassis_are_rolled_over(by_ca: Cluster) -> None:
    """A new key at the same path: every SA of h1 is made anew by it, and the old one is gone."""
    cluster, h1 = by_ca, by_ca.chassis["h1"]
    before, keys = helpers.spis(cluster), set(held(h1, "get-keys"))
    with helpers.traffic(cluster) as ping:
        h1.place(cluster.authority.issue("h1"))
        _wait_renewed(cluster, before, "h1")

        def exchanged() -> bool:
            now = set(held(h1, "get-keys"))
            return (len(keys - now), len(now - keys)) == (1, 1)

        wait_until(exchanged, 30, "one key exchanged for another")
        say("certificate rolled over", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost <= HANDOVER_LOST
        ping.assert_encrypted()
    after = helpers.spis(cluster)
    assert after["h2", "h3"] == before["h2", "h3"]


def _wait_renewed(
    cluster: Cluster, before: dict[tuple[str, str], tuple[str, ...]], of: str
) -> None:
    """Wait until every pair of a chassis, or of all, has other SAs than before."""

    def renewed() -> bool:
        now = helpers.spis(cluster)
        pairs = [ends for ends in before if not of or of in ends]
        return all(now.get(ends) and not set(before[ends]) & set(now[ends]) for ends in pairs)

    wait_until(renewed, helpers.PATIENCE_S, f"new SAs of {of or 'all'}")
    helpers.wait_all_encrypted(cluster)


def test_authority_is_rolled_over_while_controllers_die(by_ca: Cluster) -> None:
    """Trust both, issue by the new one, drop the old one; a controller is killed at each step."""
    cluster = by_ca
    old = cluster.authority
    new = Authority(cluster.folder / "pki2", "lab CA 2")
    new.open()
    hosts = list(cluster.chassis.values())
    with helpers.traffic(cluster) as ping:
        for chassis in hosts:
            chassis.write(f"{CREDENTIALS}/ca.pem", old.certificate + new.certificate)
        _crash(hosts[0])
        wait_until(lambda: not any(helpers.problem(cluster, h.name) for h in hosts), 60, "no fault")
        ping.run(3)
        before = helpers.spis(cluster)
        for number, chassis in enumerate(hosts):
            own = new.issue(chassis.name)
            chassis.write(f"{CREDENTIALS}/cert.pem", own.certificate)
            chassis.write(f"{CREDENTIALS}/key.pem", own.private_key, 0o600)
            if number == 1:
                _crash(chassis)
        _wait_renewed(cluster, before, "")
        for chassis in hosts:
            chassis.write(f"{CREDENTIALS}/ca.pem", new.certificate)
        _crash(hosts[2])
        helpers.wait_all_encrypted(cluster)
        ping.run(5)
        lost = ping.lost
        say("authority rolled over", lost=lost, sent=ping.sent, at=ping.lost_at)
        assert lost <= HANDOVER_LOST
        ping.assert_encrypted()
        helpers.wait_state(cluster, "enforced")
        # What the old authority signs is not accepted any more.
        h3, good, bad = cluster.chassis["h3"], new.issue("h3"), old.issue("h3")
        h3.write(f"{CREDENTIALS}/cert.pem", bad.certificate)
        h3.write(f"{CREDENTIALS}/key.pem", bad.private_key, 0o600)
        wait_until(lambda: bool(helpers.problem(cluster, "h3")), 60, "the old authority refused")
        h3.place(good)
        wait_until(lambda: not helpers.problem(cluster, "h3"), 60, "put right")
        assert ping.lost == lost
        assert ping.clear == {}
    cluster.authority = new


def _crash(chassis: Chassis) -> None:
    daemon = chassis.daemons[CONTROLLER]
    daemon.kill()
    daemon.start()


def test_secret_is_rolled_over_without_loss(by_ca: Cluster) -> None:
    """Load the new one, use it, drop the old one: no ping lost, and the new one alone is held."""
    cluster = by_ca
    first, second = secrets.token_hex(32), secrets.token_hex(32)
    hosts = list(cluster.chassis.values())
    helpers.relax(cluster)
    for chassis in hosts:
        place_secret(chassis, first)
    option(cluster, AUTH, "psk")
    helpers.enforce(cluster)
    helpers.wait_all_encrypted(cluster)
    assert ways(cluster) == {"psk"}
    with helpers.traffic(cluster) as ping:
        before = helpers.spis(cluster)
        held_before = held(hosts[0], "get-shared")
        for values in ((first, second), (second, first), (second,)):
            for chassis in hosts:
                place_secret(chassis, *values)
            wanted = len(values) * (len(hosts) - 1)
            for chassis in hosts:
                wait_until(
                    lambda one=chassis, n=wanted: len(held(one, "get-shared")) == n,
                    60,
                    f"{wanted} secrets held",
                )
            helpers.wait_all_encrypted(cluster)
        _wait_renewed(cluster, before, "")
        assert not set(held(hosts[0], "get-shared")) & set(held_before)
        ping.run(3)
        say("secret rolled over", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()


# --- refused ---------------------------------------------------------------------------------


def test_wrong_secret_is_refused_and_said_on_both_sides(by_ca: Cluster) -> None:
    """h3 has another secret: its pairs do not come up, both ends say so; the others do."""
    cluster, h1, h3 = by_ca, by_ca.chassis["h1"], by_ca.chassis["h3"]
    helpers.relax(cluster)
    for chassis in cluster.chassis.values():
        place_secret(chassis, "a secret of everybody but h3")
    place_secret(h3, "another secret that h3 was given")
    option(cluster, AUTH, "psk")
    helpers.switch(cluster, on=True)
    wait_until(lambda: helpers.states_with(h1, "h2") == {"encrypted"}, 120, "h1-h2 encrypted")

    def said(chassis: Chassis, peer: str) -> bool:
        return any(
            one["peer"] == peer and "authentication" in str(one["last_error"]).lower()
            for one in helpers.peers(chassis)
        )

    wait_until(lambda: said(h1, "h3"), 120, "h1 says why")
    wait_until(lambda: said(h3, "h1"), 120, "h3 says why")
    assert "encrypted" not in helpers.states_with(h1, "h3") | helpers.states_with(h3, "h1")
    place_secret(h3, "a secret of everybody but h3")
    helpers.wait_all_encrypted(cluster)
    helpers.wait_state(cluster, "enforced")


# --- quarantine ------------------------------------------------------------------------------


def test_quarantine_ends_sas_at_once_and_keeps_them_ended(by_ca: Cluster) -> None:
    """Nothing passes to or from h3, in ESP or in clear; the others notice nothing."""
    cluster, h3 = by_ca, by_ca.chassis["h3"]
    others = [cluster.chassis[name] for name in ("h1", "h2")]
    with (
        helpers.traffic(cluster) as ping,
        helpers.traffic(cluster, "w1", "w3") as barred,
    ):
        before = helpers.spis(cluster)
        option(cluster, QUARANTINE, "h3")
        wait_until(
            lambda: all(helpers.states_with(one, "h3") == {"quarantined"} for one in others),
            30,
            "h3 in quarantine",
        )
        wait_until(lambda: not _sas_with(others[0], h3), 30, "no SA with h3")
        barred.mark()
        barred.run(5)
        assert barred.received == 0
        assert (barred.esp, barred.clear) == ({}, {})
        assert not _sas_with(others[1], h3)
        helpers.wait_state(cluster, "enforced")
        assert "quarantined" in helpers.summary(cluster)
        option(cluster, QUARANTINE, None)
        barred.wait_answers(20, 120)
        helpers.wait_all_encrypted(cluster)
        assert ping.lost == 0
        ping.assert_encrypted()
    assert helpers.spis(cluster)["h1", "h2"] == before["h1", "h2"]


def _sas_with(chassis: Chassis, peer: Chassis) -> list[str]:
    (address,) = peer.encap_ips
    lines = chassis.run(["ip", "xfrm", "state"]).stdout.splitlines()
    return [line for line in lines if address in line.split()]
