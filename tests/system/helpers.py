# SPDX-License-Identifier: Apache-2.0
"""Words of the system tests: what an operator asks, and what the traffic is to show."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.lab.witness.traffic import Pinger
from ovn_ipsec.lab.witness.wire import FlowKey, Kind

KEY = "ovn-ipsec"
"""Our key in Encap.options."""

_NEIGHBOURS = " priority 1 "
"""That of the policies by which a pluto lets ICMPv6 pass that neighbours find each other by."""

PATIENCE_S = 120.0
"""Emulation is some twenty times slower than iron; nothing is waited for longer than this, on a
machine of the usual speed (``stretched``)."""

PORTS_S = 3.0
"""After ovn-controller has replaced its tunnel ports; what is lost by then is its own."""

PORTS_LOST = 40
"""More than this is not its doing: 2 to 3 were seen; 32 on a busy machine, in one 1.0 s loop. Both
figures are stretched on a slow machine."""

LEAST_RATE = 10.0
"""Pings a second that are to be sent, of twenty: a window without traffic shows nothing."""

CHANGE_LOST = 1
"""What may be lost later than that, when the ends of a pair change over."""


def say(fact: str, **values: object) -> None:
    """Print what was measured, for whoever reads the log of a run."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    print(f"MEASURED {fact}: {words}", flush=True)


# --- the databases ---------------------------------------------------------------------------


def switch(cluster: Cluster, *, on: bool) -> None:
    """Set NB_Global.ipsec, as the operator does."""
    update = {"op": "update", "table": "NB_Global", "where": [], "row": {"ipsec": on}}
    cluster.nb.transact(update)


def nb_report(cluster: Cluster) -> dict[str, str]:
    """Return NB_Global.external_ids."""
    found: dict[str, str] = cluster.nb.row("NB_Global", "external_ids")["external_ids"]
    return found


def summary(cluster: Cluster) -> str:
    """Return the summary that the operator reads."""
    return nb_report(cluster).get("ovn-ipsec-summary", "")


def state(cluster: Cluster) -> str:
    """Return the state of the cluster as the operator reads it."""
    return nb_report(cluster).get("ovn-ipsec-state", "")


def generation(cluster: Cluster) -> str:
    """Return the generation of the policy that SB carries."""
    row = cluster.sb.row("SB_Global", "external_ids")
    return str(row["external_ids"].get("ovn-ipsec-generation", ""))


def wait_state(cluster: Cluster, wanted: str, timeout: float = PATIENCE_S) -> float:
    """Wait for a state, to the letter, and return how long it took."""
    begin = time.monotonic()
    try:
        wait_until(lambda: state(cluster) == wanted, timeout, f"state {wanted}", every=0.1)
    except Exception:
        print(nb_report(cluster), {name: digest(cluster, name) for name in cluster.chassis})
        raise
    return time.monotonic() - begin


def digest(cluster: Cluster, chassis: str) -> dict[str, str]:
    """Return what a chassis says of itself in SB, by our keys."""
    rows = cluster.sb.rows("Chassis_Private", "external_ids", where=[["name", "==", chassis]])
    values = rows[0]["external_ids"] if rows else {}
    return {key: text for key, text in values.items() if key.startswith("ovn-ipsec-")}


def problem(cluster: Cluster, chassis: str) -> str:
    """Return what a chassis says is wrong with it."""
    return digest(cluster, chassis).get("ovn-ipsec-problem", "")


def pair_counts(cluster: Cluster, chassis: str) -> dict[str, int]:
    """Return how many pairs of a chassis are in each state, from its digest."""
    words = digest(cluster, chassis).get("ovn-ipsec-pairs", "").split()
    return {name: int(number) for name, _, number in (word.partition("=") for word in words)}


def encap_mode(cluster: Cluster, chassis: str) -> str | None:
    """Return what a chassis' Encap row says of encryption."""
    row = cluster.sb.row("Encap", "options", where=[["chassis_name", "==", chassis]])
    text: str | None = row["options"].get(KEY)
    return text


def write_encap_mode(cluster: Cluster, chassis: str, text: str | None) -> None:
    """Write it, and nothing else of the row; None deletes our key."""
    changes: list[list[object]] = [["options", "delete", ["set", [KEY]]]]
    if text is not None:
        changes.append(["options", "insert", ["map", [[KEY, text]]]])
    where = [["chassis_name", "==", chassis]]
    cluster.sb.transact({"op": "mutate", "table": "Encap", "where": where, "mutations": changes})


# --- one chassis -----------------------------------------------------------------------------


def peers(chassis: Chassis) -> list[dict[str, Any]]:
    """Return the pairs of a chassis as its controller sees them."""
    found: list[dict[str, Any]] = json.loads(chassis.appctl(CONTROLLER, "peers/show", "json"))
    return found


def states_with(chassis: Chassis, peer: str) -> set[str]:
    """Return the states of a chassis' pairs with one peer."""
    return {str(one["state"]) for one in peers(chassis) if one["peer"] == peer}


def spis(cluster: Cluster) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the SPIs of every pair by chassis and peer."""
    return {
        (name, str(peer["peer"])): tuple(peer["spis"])
        for name, chassis in cluster.chassis.items()
        for peer in peers(chassis)
    }


def all_encrypted(chassis: Chassis, *, number: int) -> bool:
    """Tell whether so many pairs are there, and each is encrypted under a living IKE SA."""
    found = peers(chassis)
    up = [one for one in found if one["state"] == "encrypted" and one["ike"]]
    return len(up) == len(found) == number and not any(one["orphaned"] for one in up)


def tunnel_ports(chassis: Chassis) -> dict[str, tuple[object, ...]]:
    """Return the tunnel ports by ovn-chassis-id: what they are, which row, which port number."""
    interfaces = {one["_uuid"]: one for one in chassis.ovs.rows("Interface")}
    found: dict[str, tuple[object, ...]] = {}
    for port in chassis.ovs.rows("Port", "external_ids", "interfaces"):
        peer, one = port["external_ids"].get("ovn-chassis-id"), interfaces.get(port["interfaces"])
        # A port that has come since the interfaces were read is seen the next time.
        if peer and one:
            options = tuple(sorted(one["options"].items()))
            found[peer] = (one["name"], one["type"], options, one["_uuid"], one["ofport"])
    return found


def has_tunnel_ports(chassis: Chassis, number: int) -> bool:
    """Tell whether so many tunnel ports are there, and vswitchd has given each its number."""
    found = tunnel_ports(chassis).values()
    return len(found) == number and all(isinstance(one[4], int) and one[4] > 0 for one in found)


def has_table(chassis: Chassis) -> bool:
    """Tell whether our nftables table is there."""
    return "ovn_ipsec" in chassis.run(["nft", "list", "tables"]).stdout


def xfrm_policies(chassis: Chassis) -> list[str]:
    """Return the kernel's IPsec policies but for those of the IKE daemon's own sockets.

    Nor those that a pluto has for neighbour discovery as long as it runs.
    """
    text = chassis.run(["ip", "xfrm", "policy"]).stdout
    found = [line.strip() for line in text.splitlines() if line.strip().startswith("dir ")]
    return [line for line in found if not (chassis.settings.libreswan and _NEIGHBOURS in line)]


def leftovers(chassis: Chassis) -> list[str]:
    """Return what reminds of IPsec on a host: policies, SAs, our table, our connections."""
    states = chassis.run(["ip", "xfrm", "state"]).stdout.splitlines()
    found = [*xfrm_policies(chassis), *(line for line in states if line.startswith("src "))]
    if has_table(chassis):
        found.append("nftables table")
    if chassis.settings.libreswan:
        shown = chassis.run(["/usr/libexec/ipsec/whack", "--status"]).stdout.splitlines()
        return found + [line for line in shown if '"ovn-' in line]
    loaded = chassis.run(["swanctl", "--list-conns"]).stdout.splitlines()
    return found + [line for line in loaded if line.startswith("ovn-")]


def wait_clean(chassis: Chassis) -> None:
    """Wait until nothing reminds of IPsec on a host."""
    try:
        wait_until(lambda: not leftovers(chassis), 30, f"nothing of ours on {chassis.name}")
    except LabError as error:
        raise AssertionError(f"{error}: {leftovers(chassis)}") from error


def _moment(at: float) -> str:
    """Write a monotonic time as the logs do."""
    moment = utc_now() - timedelta(seconds=time.monotonic() - at)
    return f"{moment:%H:%M:%S.%f}"


# --- traffic ---------------------------------------------------------------------------------


class PortsWatch:
    """When the tunnel ports of some hosts were replaced: rows of OVSDB, looked at all the time."""

    def __init__(self, hosts: Iterable[Chassis]) -> None:
        """Start to look."""
        self._hosts = tuple(hosts)
        self._stopping = threading.Event()
        self.changed_at: list[float] = []
        """Monotonic seconds, rising."""
        self._seen = [self._rows(host) for host in self._hosts]
        self._thread = threading.Thread(target=self._work, name="ports", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop to look."""
        self._stopping.set()
        self._thread.join()

    def explains(self, at: float) -> bool:
        """Tell whether a packet sent then fell into the gap of a replacement."""
        return any(change - 0.5 <= at <= change + stretched(PORTS_S) for change in self.changed_at)

    def _work(self) -> None:
        while not self._stopping.wait(0.1):
            for number, host in enumerate(self._hosts):
                with contextlib.suppress(Exception):
                    now = self._rows(host)
                    if now != self._seen[number]:
                        self._seen[number] = now
                        self.changed_at.append(time.monotonic())

    @staticmethod
    def _rows(host: Chassis) -> frozenset[str]:
        rows = host.ovs.rows("Interface", "_uuid", "type")
        return frozenset(str(row["_uuid"]) for row in rows if row["type"] in ("geneve", "vxlan"))


class Traffic:
    """Pings between two workloads, and what the wire shows of all hosts meanwhile."""

    def __init__(self, cluster: Cluster, pinger: Pinger, hosts: tuple[Chassis, Chassis]) -> None:
        """Count from now."""
        self._cluster = cluster
        self._pinger = pinger
        self._names = {ip: host.name for host in hosts for ip in host.encap_ips}
        self.ports = PortsWatch(hosts)
        self.mark()

    def mark(self) -> None:
        """Count from now."""
        self._ping_mark = self._pinger.mark()
        self._wire_mark = self._cluster.wire.mark()

    @property
    def sent(self) -> int:
        """Pings since the mark."""
        return self._pinger.sent_since(self._ping_mark)

    @property
    def lost(self) -> int:
        """Pings since the mark that were never answered."""
        return self._pinger.lost_since(self._ping_mark)

    @property
    def lost_at(self) -> list[str]:
        """When the lost pings were sent, as the logs write it; at most some twenty of them."""
        times = self._pinger.lost_times(self._ping_mark)
        return [_moment(one) for one in times[:: len(times) // 20 + 1]]

    @property
    def received(self) -> int:
        """Answers to pings since the mark, so far."""
        return self._pinger.received_since(self._ping_mark)

    @property
    def clear(self) -> dict[FlowKey, int]:
        """Clear tunnel packets since the mark, between any two hosts."""
        return self._flows(Kind.CLEAR)

    @property
    def esp(self) -> dict[tuple[str, str], int]:
        """ESP packets since the mark between the two hosts of the pings, by their names."""
        found: dict[tuple[str, str], int] = {}
        for (_, source, target), count in self._flows(Kind.ESP).items():
            if source in self._names and target in self._names:
                ends = (self._names[source], self._names[target])
                found[ends] = found.get(ends, 0) + count
        return found

    def wait_answers(self, number: int = 5, timeout: float = PATIENCE_S) -> float:
        """Wait for answers to pings that are sent from now on; return how long it took."""
        begin = self._pinger.mark()

        def answered() -> bool:
            return self._pinger.received_since(begin) >= number

        wait_until(answered, timeout, f"{number} answers", every=0.05)
        return time.monotonic() - begin.at

    def run(self, seconds: float) -> None:
        """Let it go on for so long, and on a slow machine until there was traffic to look at."""
        begin = self._pinger.mark()
        time.sleep(seconds)

        def shown() -> bool:
            return self._pinger.sent_since(begin) >= LEAST_RATE * seconds

        wait_until(shown, PATIENCE_S, "pings sent", every=0.05)

    def assert_only_ports_lost(self) -> None:
        """Since the mark, a turn of the switch: what was lost is ovn-controller's own doing."""
        times = self._pinger.lost_times(self._ping_mark)
        others = [_moment(at) for at in times if not self.ports.explains(at)]
        ports = [_moment(at) for at in self.ports.changed_at]
        assert len(others) <= CHANGE_LOST, f"lost {others}, ports replaced {ports}"
        assert len(times) <= stretched(PORTS_LOST), self.lost_at

    def assert_encrypted(self) -> None:
        """Since the mark: no clear packet between any two hosts, ESP in both directions."""
        assert self.clear == {}, self._leaks()
        assert len(self.esp) == 2, self.esp

    def assert_in_clear(self) -> None:
        """Since the mark: no ESP, and Geneve in both directions between the two hosts.

        A broadcast of one of them (an ARP request) may show as a flow to a third host.
        """
        assert not self.esp, self.esp
        ends = {
            (self._names[source], self._names[target])
            for _, source, target in self.clear
            if source in self._names and target in self._names
        }
        assert len(ends) == 2, self.clear

    def _leaks(self) -> list[str]:
        """Who was clear, when, and how often."""
        flows = self._cluster.wire.counts(self._wire_mark)
        return [
            f"{source} to {target} {_moment(flow.first)} to {_moment(flow.last)} x {flow.count}"
            for (kind, source, target), flow in flows.items()
            if kind is Kind.CLEAR
        ]

    def _flows(self, kind: Kind) -> dict[FlowKey, int]:
        flows = self._cluster.wire.counts(self._wire_mark)
        return {key: flow.count for key, flow in flows.items() if key[0] is kind}


@contextlib.contextmanager
def traffic(
    cluster: Cluster, source: str = "w1", target: str = "w2", *, rate: float = 20.0
) -> Iterator[Traffic]:
    """Ping for the length of a block, so often a second; it begins with the first answers."""
    one, other = (cluster.chassis[cluster.workloads[name].chassis] for name in (source, target))
    with cluster.pinging(source, target, rate=rate) as pinger:
        started = Traffic(cluster, pinger, (one, other))
        try:
            started.wait_answers()
            started.mark()
            yield started
        finally:
            started.ports.stop()


# --- states to begin with --------------------------------------------------------------------


def revive(cluster: Cluster) -> None:
    """Start every daemon again that an earlier test left dead."""
    for host in (cluster.central, *cluster.chassis.values()):
        for daemon in host.daemons.values():
            if not daemon.is_alive:
                daemon.start()


def enforce(cluster: Cluster, timeout: float = PATIENCE_S) -> float:
    """Switch encryption on and wait until all of it holds; return how long it took."""
    switch(cluster, on=True)
    return wait_state(cluster, "enforced", timeout)


def relax(cluster: Cluster, timeout: float = PATIENCE_S) -> float:
    """Switch encryption off and wait until nothing of it is left in the report."""
    switch(cluster, on=False)
    return wait_state(cluster, "off", timeout)


def wait_all_encrypted(
    cluster: Cluster, names: Iterable[str] | None = None, *, each: int = 1
) -> None:
    """Wait until every pair of these chassis (all by default) is encrypted.

    Args:
        cluster: Where.
        names: Of the chassis.
        each: How many pairs two chassis form.
    """
    for name in names or cluster.chassis:
        chassis, number = cluster.chassis[name], each * (len(cluster.chassis) - 1)

        def up(one: Chassis = chassis, wanted: int = number) -> bool:
            return all_encrypted(one, number=wanted)

        wait_until(up, PATIENCE_S, f"all pairs of {name} encrypted")
