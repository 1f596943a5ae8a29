# SPDX-License-Identifier: Apache-2.0
"""The controller on a host that lacks something: what it says, and whom it keeps waiting."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from netns import Net, namespace
from ovn_ipsec.lab.jsonrpc import answers
from ovsdb import REPOSITORY, wait_until

from controller.plan.boot import BootGuard
from controller.plan.guard import DENY_ALL
from controller.state_dir import StateDir
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase
from ovn_ipsec.schema.sb_global import format_policy

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovn-sbctl", "ovs-appctl")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
MISSING += [str(schema) for schema in (OVS_SCHEMA, SB_SCHEMA) if not schema.exists()]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN and CAP_NET_ADMIN"),
]


class Host:
    """A controller in a namespace of its own, and what systemd hears of it."""

    def __init__(self, folder: Path, net: Net, listener: socket.socket) -> None:
        self.folder, self._net, self._listener = folder, net, listener
        self._processes: list[subprocess.Popen[bytes]] = []
        self.heard: list[str] = []

    def spawn(self, name: str, *argv: str) -> None:
        """Start something that ends with the test."""
        env = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}
        env |= {name: str(self.folder) for name in ("OVS_RUNDIR", "OVN_RUNDIR", "OVN_SYSCONFDIR")}
        with self._net.entered(), (self.folder / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(argv, cwd=REPOSITORY, stdout=log, stderr=log, env=env)
            )

    def end(self) -> None:
        """Kill what was started."""
        for process in self._processes:
            process.kill()
            process.wait()

    def start(self) -> None:
        """Start the controller."""
        where = f"unix:{self.folder}/ovs.sock", f"--vici=unix://{self.folder}/vici"
        state = f"--state-dir={self.folder}/state"
        argv = (sys.executable, "-m", "controller", *where, state, f"--unixctl={self.folder}/ctl")
        self.spawn("controller", *argv)

    def serve(self, name: str, schema: Path) -> None:
        """Start a database."""
        self.run("ovsdb-tool", "create", f"{self.folder}/{name}.db", str(schema))
        files = f"--pidfile={self.folder}/{name}.pid", f"--unixctl={self.folder}/{name}.ctl"
        remote = f"--remote=punix:{self.folder}/{name}.sock"
        self.spawn(name, "ovsdb-server", remote, *files, f"{self.folder}/{name}.db")
        wait_until(lambda: answers(self.folder / f"{name}.sock"), what=f"{name} listens")

    def run(self, *argv: str) -> str:
        """Run a program to its end."""
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=stretched(60)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def vsctl(self, *argv: str) -> None:
        """Run ovs-vsctl."""
        self.run("ovs-vsctl", f"--db=unix:{self.folder}/ovs.sock", "--no-wait", *argv)

    def set(self, **external_ids: str) -> None:
        """Set keys of the local Open_vSwitch row."""
        words = [
            f"external_ids:{key.replace('_', '-')}={text}" for key, text in external_ids.items()
        ]
        self.vsctl("set", "Open_vSwitch", ".", *words)

    def sbctl(self, *argv: str) -> None:
        """Run ovn-sbctl."""
        self.run("ovn-sbctl", f"--db=unix:{self.folder}/sb.sock", *argv)

    def hears(self, pattern: str) -> str:
        """Wait for what systemd is told."""
        while True:
            try:
                said = self._listener.recv(9999).decode()
            except TimeoutError:
                raise AssertionError(f"no {pattern} in {self.heard}: {self.log()}") from None
            self.heard.append(said)
            if re.match(pattern, said):
                return said

    def log(self) -> str:
        """What the controller has logged."""
        return (self.folder / "controller.log").read_text("utf-8")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host on which nothing runs."""
    with ExitStack() as stack:
        net = stack.enter_context(namespace())
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(stretched(30))
        found = Host(tmp_path, net, listener)
        stack.callback(found.end)
        yield found


def keep_guard(host: Host) -> None:
    """Leave a guard that an earlier boot has kept."""
    state = StateDir(host.folder / "state")
    state.open()
    assert state.keep_boot_guard(BootGuard(guard=DENY_ALL, latched=frozenset(), boot="another"))


@pytest.mark.parametrize(
    ("lacking", "shown"),
    [
        ("database", "no local database: unix:.*/ovs.sock: No such file or directory"),
        ("row", "the local database has no row in table Open_vSwitch"),
        ("system-id", "no system-id: set external_ids:system-id"),
        ("ovn-remote", "ovn-remote is not set: set external_ids:ovn-remote"),
        ("remote that is one", "Open_vSwitch . external_ids:ovn-remote='junk': expected"),
    ],
    ids=lambda value: value.partition(":")[0].replace(" ", "-"),
)
@pytest.mark.parametrize("guarded", [False, True], ids=["no guard", "guard kept"])
def test_a_host_without_anybody_to_ask_keeps_nobody_waiting(
    host: Host, lacking: str, shown: str, guarded: bool
) -> None:
    """READY=1 at once, and where a guard is kept once it stands; and what is lacking is said."""
    if guarded:
        keep_guard(host)
    if lacking != "database":
        host.serve("ovs", OVS_SCHEMA)
    if lacking not in ("database", "row"):
        host.vsctl("init")
        found = {
            "system-id": {"ovn_remote": "tcp:192.0.2.1:6642"},
            "ovn-remote": {"system_id": "hv1"},
            "remote that is one": {"system_id": "hv1", "ovn_remote": "junk"},
        }
        host.set(**found[lacking])
    host.start()
    host.hears("READY=1")
    if guarded:
        assert "table inet ovn_ipsec" in host._net.run("nft", "list", "ruleset")
    host.hears(f"STATUS=waiting: {shown}")
    said = shown.removeprefix("no local database: ").replace("'", ".")
    wait_until(lambda: re.search(said, host.log()) is not None, what="the log says so")


def test_a_host_that_can_ask_waits_for_the_policy(host: Host) -> None:
    """No tunnel is made before it is known what may be clear."""
    host.serve("ovs", OVS_SCHEMA)
    host.vsctl("init")
    host.set(system_id="hv1", ovn_remote=f"unix:{host.folder}/sb.sock")
    host.start()
    host.hears("STATUS=waiting: southbound not reached: .*/sb.sock: No such file or directory")
    assert "READY=1" not in host.heard
    host.serve("sb", SB_SCHEMA)
    host.sbctl("init")
    host.hears("READY=1")
    host.hears("STATUS=waiting: a policy: the southbound has none of ovn-ipsec-northd")


def test_each_thing_that_is_waited_for_is_said_in_turn(host: Host) -> None:
    """By STATUS= and in the log, once each, while a host is set up step by step."""
    host.start()
    host.hears("STATUS=waiting: no local database")
    host.serve("ovs", OVS_SCHEMA)
    host.hears("STATUS=waiting: the local database has no row")
    host.vsctl("init")
    host.hears("STATUS=waiting: no system-id")
    host.set(system_id="hv1")
    host.hears("STATUS=waiting: ovn-remote is not set")
    host.set(ovn_remote=f"unix:{host.folder}/sb.sock")
    host.hears("STATUS=waiting: southbound not reached")
    host.serve("sb", SB_SCHEMA)
    host.sbctl("init")
    host.hears("STATUS=waiting: a policy")
    host.sbctl("chassis-add", "hv1", "geneve", "10.0.0.1")
    policy = ClusterPolicy(generation=5, phase=Phase.PREPARE, default=Mode.REQUIRE, floor=Mode.OFF)
    words = [f"external_ids:{k}={json.dumps(v)}" for k, v in format_policy(policy).items()]
    host.sbctl("set", "SB_Global", ".", *words)
    host.hears("STATUS=waiting: cannot reach the IKE daemon: .*; preparing generation 5, 0 of 0 pairs")
    policy = ClusterPolicy(generation=6, phase=Phase.OFF, default=Mode.OFF, floor=Mode.OFF)
    words = [f"external_ids:{k}={json.dumps(v)}" for k, v in format_policy(policy).items()]
    host.sbctl("set", "SB_Global", ".", *words)
    host.hears("STATUS=off generation 6")
    said = re.findall(r"\|waiting reason='?([a-z -]+)", host.log())
    assert said == [
        "the local database has no row in table ",
        "no system-id",
        "ovn-remote is not set",
        "a policy",
    ]
    assert "|waiting_over " in host.log()
