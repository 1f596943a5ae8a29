# SPDX-License-Identifier: Apache-2.0
"""One real controller in a namespace, without an IKE daemon, and what systemd hears of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from netns import Net, namespace
from ovsdb import REPOSITORY, wait_until

from ovn_ipsec.lab.cluster.jsonrpc import answers
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.policy import ClusterPolicy, Mode, Phase
from ovn_ipsec.schema.sb_global import format_policy

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovn-sbctl", "ovs-appctl")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
MISSING += [str(schema) for schema in (OVS_SCHEMA, SB_SCHEMA) if not schema.exists()]


def wakes_of(pid: int) -> int:
    """How often a process has waited for something."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


class Host:
    """A controller in a namespace of its own, and what systemd hears of it."""

    def __init__(self, folder: Path, net: Net, listener: socket.socket) -> None:
        self.folder, self.net, self._listener = folder, net, listener
        self._processes: list[subprocess.Popen[bytes]] = []
        self.heard: list[str] = []

    def spawn(self, name: str, *argv: str) -> subprocess.Popen[bytes]:
        """Start something that ends with the test."""
        env = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}
        env |= {name: str(self.folder) for name in ("OVS_RUNDIR", "OVN_RUNDIR", "OVN_SYSCONFDIR")}
        with self.net.entered(), (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(argv, cwd=REPOSITORY, stdout=log, stderr=log, env=env)
        self._processes.append(process)
        return process

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
        self._controller = self.spawn("controller", *argv)

    def wakes(self) -> int:
        """How often the controller has waited for something."""
        return wakes_of(self._controller.pid)

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

    def publish(self, generation: int, phase: Phase) -> None:
        """Write a policy as northd_ext does."""
        mode = Mode.OFF if phase is Phase.OFF else Mode.REQUIRE
        policy = ClusterPolicy(generation=generation, phase=phase, default=mode, floor=Mode.OFF)
        words = [f"external_ids:{k}={json.dumps(v)}" for k, v in format_policy(policy).items()]
        self.sbctl("set", "SB_Global", ".", *words)

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

    def appctl(self, *words: str) -> str:
        """Ask the controller, with the real ovs-appctl."""
        return self.run("ovs-appctl", "-t", str(self.folder / "ctl"), *words)

    def log(self) -> str:
        """What the controller has logged."""
        return (self.folder / "controller.log").read_text("utf-8")


@contextmanager
def alone(folder: Path) -> Iterator[Host]:
    """A host on which nothing runs."""
    with ExitStack() as stack:
        net = stack.enter_context(namespace())
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        listener.bind(str(folder / "notify"))
        listener.settimeout(stretched(30))
        found = Host(folder, net, listener)
        stack.callback(found.end)
        yield found
