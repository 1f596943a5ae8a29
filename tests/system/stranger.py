# SPDX-License-Identifier: Apache-2.0
"""A stranger on the underlay: a host of nobody that sends clear Geneve in another host's name."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from ovn_ipsec.lab import namespaces
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.workload import Workload, host_lines, ip_batch
from ovn_ipsec.lab.errors import CommandError

NAME = "stranger"
ADDRESS = "10.9.0.200"
GENEVE = 6081
PORT = 7777
"""Where the workload listens for what the stranger smuggles in."""


@contextlib.contextmanager
def on_the_underlay() -> Iterator[Path]:
    """Plug the stranger into the underlay for the length of a block; gives its namespace."""
    link = f"link add us type veth peer name eth0 netns {NAME}"
    ip_batch([f"netns add {NAME}", link, "link set us master underlay up"])
    ip_batch(host_lines([ADDRESS], []), NAME)
    try:
        yield Path("/run/netns") / NAME
    finally:
        with contextlib.suppress(CommandError):
            ip_batch(["link del us", f"netns del {NAME}"], force=True)


@contextlib.contextmanager
def listener(workload: Workload) -> Iterator[socket.socket]:
    """Listen on UDP in a workload, without blocking."""
    with namespaces.inside_network(workload.network):
        heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with heard:
        heard.bind((workload.ip, PORT))
        heard.setblocking(False)
        yield heard


def received(heard: socket.socket) -> list[bytes]:
    """Return what has come so far."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(heard.recv(2048))
    return found


def inject(network: Path, cluster: Cluster, source: str, target: str, text: bytes) -> None:
    """Send a workload a datagram in clear Geneve, as the chassis of another one would.

    Source of the tunnel metadata: ovn-architecture(7), "Tunnel Encapsulations": option class
    0x0102, type 0x80, ingress and egress port; the VNI is the datapath's key.
    """
    one, other = cluster.workloads[source], cluster.workloads[target]
    ends = [cluster.chassis[workload.chassis].encap_ips[0] for workload in (one, other)]
    frame = _frame(one, other, text)
    ingress, egress = (_port_key(cluster, name) for name in (source, target))
    option = struct.pack("!HBBHH", 0x0102, 0x80, 1, ingress, egress)
    vni = _datapath_key(cluster, source)
    geneve = struct.pack("!BBHI", len(option) // 4, 0x40, 0x6558, vni << 8) + option + frame
    datagram = struct.pack("!HHHH", 50000, GENEVE, 8 + len(geneve), 0) + geneve
    with namespaces.inside_network(network):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        raw.sendto(_ipv4(ends[0], ends[1], datagram), (ends[1], 0))


def _frame(one: Workload, other: Workload, text: bytes) -> bytes:
    datagram = struct.pack("!HHHH", PORT, PORT, 8 + len(text), 0) + text
    macs = (bytes.fromhex(workload.mac.replace(":", "")) for workload in (other, one))
    return b"".join(macs) + b"\x08\x00" + _ipv4(one.ip, other.ip, datagram)


def _ipv4(source: str, target: str, datagram: bytes) -> bytes:
    ends = [ipaddress.IPv4Address(text).packed for text in (source, target)]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, *ends)
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + datagram


def _port_key(cluster: Cluster, name: str) -> int:
    where = [["logical_port", "==", name]]
    return int(cluster.sb.row("Port_Binding", "tunnel_key", where=where)["tunnel_key"])


def _datapath_key(cluster: Cluster, name: str) -> int:
    where = [["logical_port", "==", name]]
    uuid = cluster.sb.row("Port_Binding", "datapath", where=where)["datapath"]
    itself: list[object] = ["_uuid", "==", ["uuid", uuid]]
    return int(cluster.sb.row("Datapath_Binding", "tunnel_key", where=[itself])["tunnel_key"])
