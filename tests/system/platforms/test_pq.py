# SPDX-License-Identifier: Apache-2.0
"""Profile ``pq``: ML-KEM-768 beside X25519 (RFC 9370), where every daemon has it."""

from __future__ import annotations

from collections.abc import Iterator

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.waiting import wait_until

ML_KEM = "ML_KEM_768"
"""How swanctl calls it, in its algorithms and in its SAs."""


@pytest.fixture
def able(enforced: Cluster) -> Iterator[Cluster]:
    """An encrypted cluster whose daemons have ML-KEM; it ends with the suite it began with."""
    h1 = enforced.chassis["h1"]
    if ML_KEM not in h1.run(["swanctl", "--list-algs"]).stdout:
        version = h1.run(["swanctl", "--version"]).stdout.split()[2]
        pytest.skip(f"strongSwan {version} has no {ML_KEM}")
    yield enforced
    _ask(enforced, "default")
    _wait_profile(enforced, "default")


def _ask(cluster: Cluster, profile: str) -> None:
    cluster.nbctl("set", "NB_Global", ".", f"options:ovn-ipsec-profile={profile}")


def _wait_profile(cluster: Cluster, profile: str) -> None:
    def all_have_it() -> bool:
        found = [one for chassis in cluster.chassis.values() for one in helpers.peers(chassis)]
        return len(found) == 6 and all(one["profile"] == profile for one in found)

    wait_until(all_have_it, helpers.PATIENCE_S, f"profile {profile} on every pair")


def _sas(chassis: Chassis) -> list[str]:
    """Return what swanctl says of each IKE SA that is up, with its children."""
    text = chassis.run(["swanctl", "--list-sas", "--raw"]).stdout
    return [line for line in text.splitlines() if "state=ESTABLISHED" in line]


def test_every_sa_becomes_quantum_safe_without_loss_and_back(able: Cluster) -> None:
    """From `default` to `pq` live: IKE SAs and their children agree by ML-KEM; then back."""
    cluster = able
    with helpers.traffic(cluster) as ping:
        _ask(cluster, "pq")
        _wait_profile(cluster, "pq")

        def all_by_ml_kem() -> bool:
            found = [_sas(chassis) for chassis in cluster.chassis.values()]
            return all(len(lines) >= 2 and all(ML_KEM in one for one in lines) for lines in found)

        wait_until(all_by_ml_kem, helpers.PATIENCE_S, f"{ML_KEM} in every IKE SA")
        helpers.wait_all_encrypted(cluster)
        helpers.wait_state(cluster, "enforced")
        ping.run(2)
        say("pq", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()
        _ask(cluster, "default")
        _wait_profile(cluster, "default")

        def none_by_ml_kem() -> bool:
            lines = [line for chassis in cluster.chassis.values() for line in _sas(chassis)]
            return bool(lines) and not any(ML_KEM in line for line in lines)

        wait_until(none_by_ml_kem, helpers.PATIENCE_S, f"no {ML_KEM} in any IKE SA")
        helpers.wait_all_encrypted(cluster)
        ping.run(2)
        say("default again", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        assert ping.lost == 0
        ping.assert_encrypted()
