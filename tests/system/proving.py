# SPDX-License-Identifier: Apache-2.0
"""Words of the tests about authentication: how chassis prove themselves, and what daemons say."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator

import helpers
import vici

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, VICI_SOCKET, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.pki import Credentials
from ovn_ipsec.lab.waiting import wait_until

AUTH = "ovn-ipsec-auth"
PSK = "/etc/ovn-ipsec/psk"
TURN_S = 240.0
"""A turn has three steps, the last one of 30 s; each makes all SAs anew in emulation."""
REFUSED = (
    "AUTHENTICATION_FAILED",
    "no issuer certificate found",
    "constraint check failed",
    "MAC mismatched",
)

SECRETS: set[str] = set()
"""Every secret of a cluster, and every private key, that this run has placed on a host."""


# --- what the operator does ------------------------------------------------------------------


def option(cluster: Cluster, key: str, text: str | None) -> None:
    """Set an option of NB_Global, or with None remove it."""
    changes: list[list[object]] = [["options", "delete", ["set", [key]]]]
    if text is not None:
        changes.append(["options", "insert", ["map", [[key, text]]]])
    cluster.nb.transact({"op": "mutate", "table": "NB_Global", "where": [], "mutations": changes})


def place_secret(chassis: Chassis, *values: str) -> None:
    """Write the cluster's secrets on a host, the one in use first."""
    SECRETS.update(values)
    chassis.write(PSK, "".join(f"{value}\n" for value in values), 0o600)
    name = f"other_config:ovn-ipsec-psk-file={PSK}"
    chassis.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", name])


def place(chassis: Chassis, credentials: Credentials, folder: str) -> None:
    """Write a certificate, its key and the authorities, and name them to the chassis."""
    SECRETS.add(credentials.private_key)
    chassis.place(credentials, folder)
    chassis.configure_credentials(folder)


def crash(chassis: Chassis) -> None:
    """Kill the controller, and start the next one; it comes up while the test goes on."""
    daemon = chassis.daemons[CONTROLLER]
    daemon.kill()
    daemon.start(wait=False)


# --- what is in force ------------------------------------------------------------------------


def published(cluster: Cluster) -> str:
    """Return the ways that SB names."""
    keys = cluster.sb.row("SB_Global", "external_ids")["external_ids"]
    return str(keys.get(AUTH, ""))


def ways(cluster: Cluster) -> set[str]:
    """Return how the pairs have authenticated, as the IKE daemons say."""
    return {str(one["auth"]) for host in cluster.chassis.values() for one in helpers.peers(host)}


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


def wait_renewed(
    cluster: Cluster, before: dict[tuple[str, str], tuple[str, ...]], of: str = ""
) -> None:
    """Wait until every pair of a chassis, or of all, has other SAs than before."""

    def renewed() -> bool:
        now = helpers.spis(cluster)
        pairs = [ends for ends in before if not of or of in ends]
        return all(now.get(ends) and not set(before[ends]) & set(now[ends]) for ends in pairs)

    wait_until(renewed, helpers.PATIENCE_S, f"new SAs of {of or 'all'}")
    helpers.wait_all_encrypted(cluster)


# --- what the IKE daemons say ----------------------------------------------------------------


def _ask(chassis: Chassis) -> tuple[socket.socket, vici.Session]:
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(chassis.path(VICI_SOCKET)))
    return link, vici.Session(link)


@contextlib.contextmanager
def ike(chassis: Chassis) -> Iterator[vici.Session]:
    """Talk to a host's IKE daemon for the length of a block."""
    link, session = _ask(chassis)
    with link:
        yield session


def held(chassis: Chassis, command: str) -> set[str]:
    """Return the ids of what a host's IKE daemon holds: `get_keys` or `get_shared`."""
    link, session = _ask(chassis)
    with link:
        return {text.decode() for text in getattr(session, command)()["keys"]}


def end_sas(chassis: Chassis) -> None:
    """End every IKE_SA of a host, as somebody with swanctl could: what follows must begin anew."""
    link, session = _ask(chassis)
    with link:
        for found in list(session.list_sas()):
            for sa in found.values():
                wanted = {"ike-id": sa["uniqueid"], "timeout": "-1"}
                list(session.terminate(wanted))


class CharonLog:
    """What a host's IKE daemon writes from now on."""

    def __init__(self, chassis: Chassis) -> None:
        """Begin at its end."""
        self._file = chassis.logs / "charon.log"
        self._start = len(self._file.read_bytes())

    def methods(self, peer: str) -> list[str]:
        """Return by what signatures, or by what else, a peer has proved itself; the last last."""
        return re.findall(rf"authentication of '{peer}' with (.+) successful", self._text())

    def authorities(self) -> set[str]:
        """Return the names of the authorities that have vouched for peers."""
        return set(re.findall(r'using trusted ca certificate ".*CN=(.+)"', self._text()))

    def _text(self) -> str:
        return self._file.read_bytes()[self._start :].decode(errors="replace")


# --- refused ---------------------------------------------------------------------------------


def reasons(chassis: Chassis, peer: str) -> str:
    """Return what a chassis says of why its pairs with a peer are not up."""
    return "; ".join(
        str(one["last_error"]) for one in helpers.peers(chassis) if one["peer"] == peer
    )


def assert_refused(cluster: Cluster, cause: str, clear: Callable[[], object]) -> None:
    """h3 proves itself by something that h1 does not take: both say so, of the other, and why.

    Args:
        cluster: The cluster, with the SAs that there are.
        cause: What the end says that finds it.
        clear: Clear tunnel packets so far: there must be none.
    """
    h1, h3 = cluster.chassis["h1"], cluster.chassis["h3"]
    logs = [(one.logs / f"{CONTROLLER}.log", len(_text(one))) for one in (h1, h3)]
    end_sas(h3)
    ends = ((h1, "h3"), (h3, "h1"))
    wait_until(
        lambda: not any("encrypted" in helpers.states_with(*end) for end in ends), 30, "all ended"
    )

    def both_say() -> bool:
        said = (reasons(h1, "h3"), reasons(h3, "h1"))
        known = all(any(word in text for word in REFUSED) for text in said)
        return known and any(cause in text for text in said)

    try:
        wait_until(both_say, 120, f"both ends say that it is refused, and one {cause!r}")
    except Exception:
        print(reasons(h1, "h3"), "|", reasons(h3, "h1"))
        raise
    for (log, start), peer in zip(logs, ("h3", "h1"), strict=True):
        lines = log.read_text(errors="replace")[start:].splitlines()
        failed = [line for line in lines if "ike_failed" in line and f"ovn-{peer}@" in line]
        assert any(word in line for line in failed for word in REFUSED), lines
    assert not any("encrypted" in helpers.states_with(*end) for end in ends)
    assert not clear()


def _text(chassis: Chassis) -> str:
    return (chassis.logs / f"{CONTROLLER}.log").read_text(errors="replace")
