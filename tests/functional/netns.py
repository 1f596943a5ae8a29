# SPDX-License-Identifier: Apache-2.0
"""Two joined network namespaces: ``here`` is a chassis, ``there`` has a peer and a stranger."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ovn_ipsec.lab.waiting import stretched

CLONE_NEWNET = 0x40000000
PORT = 6081
VXLAN_PORT = 4789
OTHER_PORT = 7081
"""A dst_port of somebody's choice."""
LOCAL = {4: "10.9.0.1", 6: "fd00:9::1"}
PEER = {4: "10.9.0.2", 6: "fd00:9::2"}
STRANGER = {4: "10.9.0.3", 6: "fd00:9::3"}


def geneve(vni: int) -> bytes:
    """Build the header that OVN sends: one option, an Ethernet frame (RFC 8926, 3.4)."""
    return bytes.fromhex("02006558") + vni.to_bytes(3) + bytes.fromhex("00 0102 8001 00000001")


def vxlan(vni: int) -> bytes:
    """Build a header (RFC 7348, 5)."""
    return bytes.fromhex("08000000") + vni.to_bytes(3) + b"\0"


@dataclass(frozen=True)
class Net:
    """A network namespace, held open by a process."""

    pid: int

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread inside."""
        libc = ctypes.CDLL(None, use_errno=True)
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            assert libc.setns(inside, CLONE_NEWNET) == 0
            yield
        finally:
            assert libc.setns(back, CLONE_NEWNET) == 0
            os.close(back)
            os.close(inside)

    def run(self, *command: str) -> str:
        """Run a command inside."""
        with self.entered():
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def receiver(self, address: str, port: int) -> socket.socket:
        """Bind a socket to a tunnel port inside."""
        with self.entered():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.bind((address, port))
            opened.settimeout(stretched(0.15))
            return opened


@contextmanager
def namespace() -> Iterator[Net]:
    """Hold a new network namespace."""
    command = ["unshare", "-n", "sh", "-c", "echo in; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield Net(pid=holder.pid)
        finally:
            holder.kill()


@dataclass(frozen=True)
class Wire:
    """Both ends, and a socket on each address and port."""

    here: Net
    there: Net
    sockets: dict[tuple[str, int], socket.socket]

    def passes(
        self, source: str, destination: str, *, port: int = PORT, header: bytes = b""
    ) -> bool:
        """Send one clear packet to a tunnel port and see whether it arrives."""
        packet = header + os.urandom(8)
        receiver = self.sockets[destination, port]
        try:
            self.sockets[source, port].sendto(packet, (destination, port))
        except PermissionError:
            return False
        try:
            while receiver.recv(64) != packet:
                pass
        except TimeoutError:
            return False
        return True

    def both_ways(
        self, local: str, remote: str, *, port: int = PORT, header: bytes = b""
    ) -> tuple[bool, bool]:
        """See what passes out and in."""
        return (
            self.passes(local, remote, port=port, header=header),
            self.passes(remote, local, port=port, header=header),
        )


def wait_for_neighbours(found: Wire, local: str, remote: str) -> None:
    """Send until both ends know each other; a new link may lose the first packets."""
    deadline = time.monotonic() + stretched(30)
    while (passed := found.both_ways(local, remote)) != (True, True):
        assert time.monotonic() < deadline, (
            f"{local} and {remote}: {passed}\n"
            f"{found.here.run('ip', 'neighbour')}\n{found.there.run('ip', 'neighbour')}"
        )


@contextmanager
def joined() -> Iterator[Wire]:
    """Join two namespaces, with every address of both known to the other."""
    with namespace() as here, namespace() as there:
        here.run(*f"ip link add v0 type veth peer name v1 netns {there.pid}".split())
        for net, link, hosts in ((here, "v0", "1"), (there, "v1", "23")):
            net.run("ip", "link", "set", "lo", "up")
            net.run("ip", "link", "set", link, "up")
            for host in hosts:
                net.run("ip", "address", "add", f"10.9.0.{host}/24", "dev", link)
                net.run("ip", "address", "add", f"fd00:9::{host}/64", "dev", link, "nodad")
        sockets: dict[tuple[str, int], socket.socket] = {}
        for port in (PORT, VXLAN_PORT, OTHER_PORT):
            for address in LOCAL.values():
                sockets[address, port] = here.receiver(address, port)
            for address in (*PEER.values(), *STRANGER.values()):
                sockets[address, port] = there.receiver(address, port)
        found = Wire(here=here, there=there, sockets=sockets)
        try:
            for version in (4, 6):
                for remote in (PEER[version], STRANGER[version]):
                    wait_for_neighbours(found, LOCAL[version], remote)
            yield found
        finally:
            for opened in sockets.values():
                opened.close()
