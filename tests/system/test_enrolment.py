# SPDX-License-Identifier: Apache-2.0
"""Enrolment: one command on the central host, nothing on any chassis; over TLS with RBAC."""

from __future__ import annotations

import subprocess

import helpers
import pytest
import scan
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.host import python
from ovn_ipsec.lab.cluster.settings import ClusterSettings
from ovn_ipsec.lab.waiting import wait_until

FOLDER = "/var/lib/ovn-ipsec/ca"
SETTINGS = ClusterSettings(chassis=2, tls=True, rbac=True, northd_socket=True)
REQUEST, ANSWER = "ovn-ipsec-csr", "ovn-ipsec-crt"

pytestmark = pytest.mark.parametrize("cluster", [SETTINGS], ids=["enrolled"], indirect=True)


def test_cluster_without_any_certificate_enrols_itself(cluster: Cluster) -> None:
    """Each chassis gets one in its own name; another's is refused; revoked, it is barred."""
    central = cluster.central
    central.run(python("-m", "ovn_ipsec.cli", "pki", "--ca", FOLDER, "init"))
    for chassis in cluster.chassis.values():
        keys = ["certificate", "private_key", "ca_cert"]
        chassis.run(["ovs-vsctl", "remove", "Open_vSwitch", ".", "other_config", *keys])
        chassis.start_ipsec()
    northd = central.start_ipsec("--ca-dir", FOLDER)
    with helpers.traffic(cluster) as ping:
        helpers.switch(cluster, on=True)
        wait_until(lambda: _asks(cluster), 120, "a request", every=0.02)
        # Killed between request and certificate, or a moment after it: the next one completes it.
        northd.kill()
        northd.start()
        took = helpers.wait_state(cluster, "enforced", 240)
        say("enrolled", seconds=f"{took:.1f}", lost=ping.lost, at=ping.lost_at)
        ping.mark()
        ping.run(2)
        ping.assert_encrypted()
        # h2 asks for a certificate of h1: it keeps its own, and is named.
        wrong = _request_of("h1")
        before = helpers.digest(cluster, "h2")[ANSWER]
        h2 = cluster.chassis["h2"]
        h2.daemons[CONTROLLER].kill()
        where = [["name", "==", "h2"]]
        changes: list[list[object]] = [
            ["external_ids", "delete", ["set", [REQUEST]]],
            ["external_ids", "insert", ["map", [[REQUEST, wrong]]]],
        ]
        table = "Chassis_Private"
        cluster.sb.transact({"op": "mutate", "table": table, "where": where, "mutations": changes})
        log = central.logs / "ovn-ipsec-northd.log"
        wait_until(
            lambda: any("refused" in x and "SAN DNS" in x for x in log.read_text().splitlines()),
            60,
            "the request refused",
        )
        assert helpers.digest(cluster, "h2")[ANSWER] == before
        h2.daemons[CONTROLLER].start()
        helpers.wait_all_encrypted(cluster)
        assert ping.lost == 0
        # Revoked, h2 is in quarantine, and stays there.
        central.run(python("-m", "ovn_ipsec.cli", "pki", "--ca", FOLDER, "revoke", "h2"))
        h1 = cluster.chassis["h1"]
        wait_until(lambda: helpers.states_with(h1, "h2") == {"quarantined"}, 60, "h2 barred")
        ping.mark()
        ping.run(3)
        assert ping.received == 0
        assert ping.clear == {}
    # Neither the authority's key nor that of a chassis is shown to anybody.
    words = ("-m", "ovn_ipsec.cli", "--json", "pki", "--ca", FOLDER, "status")
    shown = central.run(python(*words), check=False)
    assert "h2" in shown.stdout
    looked_for = scan.needles(scan.stored(cluster), cluster.chassis)
    texts = [("pki status", shown.stdout.encode()), *scan.files(cluster), *scan.processes()]
    assert [name for name, text in texts if scan.matches(looked_for, text)] == []


def _asks(cluster: Cluster) -> bool:
    """Tell whether a chassis asks, or has just been answered."""
    keys = {key for name in cluster.chassis for key in helpers.digest(cluster, name)}
    return bool(keys & {REQUEST, ANSWER})


def _request_of(name: str) -> str:
    """Make a certificate request in a chassis' name."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null"]
    words = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    argv = ["openssl", "req", "-new", *key, *words, "-config", "/dev/null"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_chassis_cannot_write_the_row_of_another(cluster: Cluster) -> None:
    """RBAC: with h2's own certificate a write to h1's row is refused by the database."""
    h2 = cluster.chassis["h2"]
    base = "/etc/ovn-ipsec/tls"
    argv = ["ovn-sbctl", "--db=ssl:10.9.0.254:6642", f"--private-key={base}/key.pem"]
    argv += [f"--certificate={base}/cert.pem", f"--ca-cert={base}/ca.pem", "--timeout=20"]
    (row,) = cluster.sbctl(
        "--bare", "--columns=_uuid", "find", "Chassis_Private", "name=h1"
    ).split()
    done = h2.run(
        [*argv, "set", "Chassis_Private", row, f"external_ids:{REQUEST}=junk"], check=False
    )
    assert done.returncode != 0
    assert "RBAC" in done.stderr
