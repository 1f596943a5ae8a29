# SPDX-License-Identifier: Apache-2.0
"""What `ovn-ipsec doctor` sees of a host by itself: its addresses, and threads of ovs-vswitchd."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from ovn_ipsec.cli.doctor.host import absent, started_after_s, threads_of, vswitchd_pid
from tests.functional.netns import namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN")

ADDRESSES = ("10.9.0.1", "10.9.0.7", "127.0.0.1", "127.0.0.5", "fd00:9::1", "::1")
ROUTED = "10.77.0.9"
"""Of a prefix that a route makes local."""
HAS = {ip_address(text) for text in (*ADDRESSES, ROUTED)}
LACKS = {ip_address(text) for text in ("10.9.0.2", "10.9.0.0", "10.9.0.255", "fd00:9::2")}


@pytest.mark.parametrize("anybody", [0, 1], ids=["strict", "ip_nonlocal_bind"])
def test_addresses_that_a_host_has_and_lacks(anybody: int) -> None:
    """Second addresses of a network count, and a switch that lets all bind does not deceive."""
    with namespace() as net:
        net.run("ip", "link", "set", "lo", "up")
        net.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        net.run("ip", "link", "set", "v0", "up")
        net.run("ip", "link", "set", "v1", "up")
        for address in ("10.9.0.1/24", "10.9.0.7/24"):
            net.run("ip", "address", "add", address, "dev", "v0")
        net.run("ip", "address", "add", "fd00:9::1/64", "dev", "v0", "nodad")
        net.run("ip", "route", "add", "local", "10.77.0.0/24", "dev", "lo")
        net.run("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100")
        for version in (4, 6):
            net.run("sysctl", "-w", f"net.ipv{version}.ip_nonlocal_bind={anybody}")
        with net.entered():
            lacking = absent(HAS | LACKS)
    # The network's own broadcast addresses can be bound, and nobody names them as an encap.
    assert lacking | {ip_address("10.9.0.0"), ip_address("10.9.0.255")} == LACKS


def test_threads_are_counted_by_kind(tmp_path: Path) -> None:
    """As Open vSwitch names them, with a number behind the kind."""
    names = ("handler1", "handler12", "revalidator3", "handlers", "urcu4")
    script = (
        "import sys, threading, pathlib, time\n"
        "def run(name):\n"
        "    pathlib.Path('/proc/thread-self/comm').write_text(name)\n"
        "    barrier.wait()\n"
        "    stop.wait()\n"
        f"barrier, stop = threading.Barrier({len(names) + 1}), threading.Event()\n"
        f"for name in {names!r}:\n"
        "    threading.Thread(target=run, args=(name,), daemon=True).start()\n"
        "barrier.wait()\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        (tmp_path / "ovs-vswitchd.pid").write_text(f"{program.pid}\n", encoding="ascii")
        assert dict(threads_of(vswitchd_pid(tmp_path))) == {"handler": 2, "revalidator": 1}
        booted = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        assert started_after_s(os.getpid()) <= started_after_s(program.pid) <= booted + 0.01
        program.kill()


@pytest.mark.parametrize("text", [None, "", "nonsense", "-1"])
def test_a_vswitchd_that_does_not_run_cannot_be_looked_at(tmp_path: Path, text: str | None) -> None:
    """That is said, and nothing is concluded."""
    if text is not None:
        (tmp_path / "ovs-vswitchd.pid").write_text(text, encoding="ascii")
    with pytest.raises(OSError, match=r"ovs-vswitchd\.pid|No such file"):
        threads_of(vswitchd_pid(tmp_path))
