# SPDX-License-Identifier: Apache-2.0
"""Every chassis of twenty with a tunnel to every other: 190 pairs on one kernel, each encrypted.

As the last of Open vSwitch's own IPsec tests, against our controller and without ovn-controller;
that one asks for answers, this one also for what the wire shows. ``OVN_IPSEC_MESH`` is how many
chassis there are.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import helpers
import proving
import pytest
from helpers import say

from ovn_ipsec.lab import namespaces
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, VSWITCHD, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import ChassisSettings, ClusterSettings
from ovn_ipsec.lab.cluster.workload import ip_batch
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.lab.witness.wire import Kind, Mark

NODES = int(os.environ.get("OVN_IPSEC_MESH", "20"))
"""How many chassis, 5 to 200."""
MESH = ClusterSettings(
    chassis=NODES,
    default=ChassisSettings(ovn_controller=False, other_config={"ovn-ipsec-tunnels": "own"}),
)
LIMIT_S = 900.0
"""Everything at once on two emulated processors."""
ROUND_S = 30.0
UDP_PORT = 7777
DAEMONS = ("ovsdb-server", VSWITCHD, "charon", CONTROLLER)

Ends = tuple[str, str]


# --- traffic between all ---------------------------------------------------------------------


def _ordered(cluster: Cluster) -> set[Ends]:
    """Return every two chassis in both orders."""
    names = list(cluster.chassis)
    return {(one, other) for one in names for other in names if one != other}


def _connect(cluster: Cluster) -> None:
    """Forward each workload's frames to the chassis of their destination; nothing is flooded."""
    workloads = {one.chassis: one for one in cluster.workloads.values()}
    for host in cluster.chassis.values():
        own = workloads[host.name]
        flows, neighbours = [], []
        for key, (tunnel, *_) in helpers.tunnel_ports(host).items():
            there = workloads[key.partition("@")[0]]
            flows += [
                f"in_port={own.name},dl_dst={there.mac},"
                f"actions=set_field:1->tun_id,output:{tunnel}",
                f"in_port={tunnel},dl_dst={own.mac},actions=output:{own.name}",
            ]
            neighbours.append(f"neigh replace {there.ip} lladdr {there.mac} dev {own.name}")
        host.run(["ovs-ofctl", "add-flows", "br-int", "-"], stdin="\n".join(flows) + "\n")
        ip_batch(neighbours, own.name)


@contextlib.contextmanager
def _sockets(cluster: Cluster) -> Iterator[dict[str, socket.socket]]:
    """Open a UDP socket in every workload, by chassis."""
    with contextlib.ExitStack() as stack:
        opened: dict[str, socket.socket] = {}
        for workload in cluster.workloads.values():
            with namespaces.inside_network(workload.network):
                one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                one.bind((workload.ip, UDP_PORT))
            one.setblocking(False)
            opened[workload.chassis] = one
        yield opened


def _unheard(cluster: Cluster) -> set[Ends]:
    """Send a datagram from every workload to every other; return those that did not arrive."""
    ips = {one.chassis: one.ip for one in cluster.workloads.values()}
    names = {ip: name for name, ip in ips.items()}
    missing = _ordered(cluster)
    with _sockets(cluster) as opened, selectors.DefaultSelector() as selector:
        for name, one in opened.items():
            selector.register(one, selectors.EVENT_READ, name)
        for source, target in sorted(missing):
            opened[source].sendto(b"mesh", (ips[target], UDP_PORT))
        end = time.monotonic() + stretched(ROUND_S)
        while missing and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                _, (address, _) = opened[key.data].recvfrom(64)
                missing.discard((names[address], key.data))
    return missing


def _seen(cluster: Cluster, kind: Kind, since: Mark) -> set[Ends]:
    """Return between which chassis, in which direction, there were packets of a kind."""
    names = {host.encap_ips[0]: host.name for host in cluster.chassis.values()}
    return {
        (names[source], names[target])
        for found, source, target in cluster.wire.counts(since)
        if found is kind
    }


# --- what holds of all -----------------------------------------------------------------------


def _pairs_lacking(host: Chassis) -> list[str]:
    """Return the peers with which there are not exactly two CHILD_SAs under a living IKE_SA."""
    found = helpers.peers(host)
    up = {
        str(one["peer"])
        for one in found
        if one["state"] == "encrypted" and one["ike"] and len(one["spis"]) == 2
    }
    return sorted({f"h{number}" for number in range(1, NODES + 1)} - up - {host.name})


def _wait_whole(cluster: Cluster) -> None:
    """Wait until every pair has its two CHILD_SAs, as both ends and their kernels say."""
    for host in cluster.chassis.values():
        try:
            wait_until(lambda one=host: not _pairs_lacking(one), LIMIT_S, f"all of {host.name}")
            wait_until(
                lambda one=host: _kernel_sas(one) == 4 * (NODES - 1), 60, f"SAs of {host.name}"
            )
        except Exception:
            print(host.name, _pairs_lacking(host), _kernel_sas(host))
            raise


def _kernel_sas(host: Chassis) -> int:
    """Return how many SAs a kernel has, in and out; what an acquire waits for has SPI 0."""
    text = host.run(["ip", "xfrm", "state"]).stdout
    spis = [line.split()[3] for line in text.splitlines() if line.strip().startswith("proto esp")]
    return sum(int(spi, 16) != 0 for spi in spis)


def _own_mib(pid: int) -> float:
    """Return the memory of a process, its share of what it has in common with others, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _say_memory(cluster: Cluster) -> None:
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    used = int(meminfo["MemTotal"].split()[0]) - int(meminfo["MemAvailable"].split()[0])
    largest = {
        name.replace("-", "_"): f"{max(_own_mib(host.daemons[name].pid) for host in hosts):.0f}"
        for hosts in [list(cluster.chassis.values())]
        for name in DAEMONS
    }
    say("mesh, MiB of the largest of each kind, and all", **largest, all=used // 1024)


def _forget(host: Chassis, peers: set[str]) -> None:
    """Take connections and SAs from under the controller, as somebody with swanctl could."""
    with proving.ike(host) as session:
        names = [
            name.decode() if isinstance(name, bytes) else str(name)
            for name in session.get_conns()["conns"]
        ]
        gone = [name for name in names if name.removeprefix("ovn-").partition("@")[0] in peers]
        assert len(gone) == len(peers), names
        for name in gone:
            session.unload_conn({"name": name})
            list(session.terminate({"ike": name, "timeout": "-1"}))


@pytest.mark.parametrize("cluster", [MESH], ids=["mesh"], indirect=True)
def test_every_pair_of_a_mesh_is_encrypted_and_made_again(cluster: Cluster) -> None:
    """From clear to ``enforced``: two CHILD_SAs for each pair, ESP between all, nothing clear.

    Two connections that somebody takes from a daemon come back, and no other pair notices.
    """
    hosts = list(cluster.chassis.values())
    words = [["chassis-add", host.name, "geneve", *host.encap_ips] for host in hosts]
    cluster.sbctl(*(word for one in words for word in ("--", *one)))
    for host in hosts:
        # Before there are tunnels: as a learning switch each would flood into all the others.
        host.run(["ovs-vsctl", "set-fail-mode", "br-int", "secure"])
    begin = time.monotonic()
    cluster.start_ipsec()
    for host in hosts:
        ready = f"the ports of {host.name}"
        wait_until(
            lambda one=host: helpers.has_tunnel_ports(one, NODES - 1), LIMIT_S, ready, every=1.0
        )
    say("mesh, ports", nodes=NODES, seconds=f"{time.monotonic() - begin:.1f}")
    _connect(cluster)
    since = cluster.wire.mark()
    _unheard(cluster)
    assert not _unheard(cluster)
    assert _seen(cluster, Kind.CLEAR, since) == _ordered(cluster)

    begin = time.monotonic()
    took = helpers.enforce(cluster, LIMIT_S)
    since = cluster.wire.mark()
    _wait_whole(cluster)
    whole = time.monotonic() - begin
    say(
        "mesh, enforced",
        pairs=len(_ordered(cluster)) // 2,
        seconds=f"{took:.1f}",
        whole=f"{whole:.1f}",
    )
    _say_memory(cluster)
    _unheard(cluster)
    assert not _unheard(cluster)
    assert _seen(cluster, Kind.ESP, since) == _ordered(cluster)
    assert _seen(cluster, Kind.CLEAR, since) == set()

    before, h1 = helpers.spis(cluster), cluster.chassis["h1"]
    begin = time.monotonic()
    _forget(h1, {"h2", "h5"})
    wait_until(
        lambda: (
            not _pairs_lacking(h1)
            and not any(
                set(before["h1", peer]) & set(helpers.spis(cluster)["h1", peer])
                for peer in ("h2", "h5")
            )
        ),
        LIMIT_S,
        "the two pairs made again",
    )
    _wait_whole(cluster)
    say("mesh, made again", seconds=f"{time.monotonic() - begin:.1f}")
    after = helpers.spis(cluster)
    changed = {frozenset(ends) for ends in before if before[ends] != after[ends]}
    assert changed == {frozenset({"h1", "h2"}), frozenset({"h1", "h5"})}
    assert not _unheard(cluster)
    assert _seen(cluster, Kind.CLEAR, since) == set()
    helpers.wait_state(cluster, "enforced")
