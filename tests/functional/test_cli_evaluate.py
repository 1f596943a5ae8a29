# SPDX-License-Identifier: Apache-2.0
"""`ovn-ipsec evaluate` between two hosts without Open vSwitch: real databases, kernel and iperf3.

A veth pair stands for what ovs-vswitchd and the tunnel would make; the test says that ports are up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ovsdb import OVS_SCHEMA, REPOSITORY, Central, missing_programs, wait_until

from ovn_ipsec.cli.evaluate.port import DEVICE, NETWORK
from ovn_ipsec.lab.waiting import stretched

LACKING = [*missing_programs(), *(p for p in ("iperf3", "nsenter") if shutil.which(p) is None)]
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces"),
]
SWITCH = "ovn-ipsec-evaluate/a/b"
SHORT = ("--seconds", "1", "--repeat", "1", "--mtu", "1400", "--yes")
LONG = ("--repeat", "50")
"""It does not end by itself while a test looks."""


@dataclass
class Host:
    """A network and mount namespace with the local database of a chassis."""

    name: str
    folder: Path
    pid: int
    central: Central

    @property
    def env(self) -> dict[str, str]:
        """By which its programs find their databases."""
        return self.central.env | {"OVS_RUNDIR": str(self.folder)}

    def entered(self, *words: str) -> list[str]:
        """The command that runs another one here; its process id is the same."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "--", *words]

    def vsctl(self, *words: str) -> str:
        """Change its local database."""
        database = f"--db=unix:{self.folder}/db.sock"
        return self.central.run("ovs-vsctl", database, "--no-wait", *words)

    def evaluate(self, *words: str) -> subprocess.Popen[str]:
        """Start the command."""
        argv = self.entered(sys.executable, "-m", "ovn_ipsec.cli", "evaluate", "a", "b", *words)
        return subprocess.Popen(
            argv,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )

    def left(self) -> list[str]:
        """Everything that an evaluation makes here, as far as it is there."""
        found = self.vsctl("--bare", "--columns=name", "find", "Interface", "name!=br-int").split()
        names = subprocess.run(
            self.entered("ls", "/run/netns"), check=True, capture_output=True, text=True
        )
        return [*found, *names.stdout.split(), *map(str, self.folder.glob("*.lock"))]


@dataclass
class Pair:
    """Two hosts."""

    central: Central
    a: Host
    b: Host

    def join(self) -> None:
        """What ovs-vswitchd does when the ports are there."""
        ends = [str(self.a.pid), str(self.b.pid)]
        self.central.run(
            *("ip", "link", "add", DEVICE, "netns", ends[0], "type", "veth"),
            *("peer", "name", DEVICE, "netns", ends[1]),
        )

    def rows(self) -> dict[str, list[dict[str, object]]]:
        """All of NB that an evaluation may touch."""
        tables = ("NB_Global", "Logical_Switch", "Logical_Switch_Port")
        rows = {table: self.central.rows("nb", table) for table in tables}
        for row in [row for found in rows.values() for row in found]:
            del row["_version"]
        return rows

    def bind(self) -> None:
        """What ovn-controller and ovn-northd do when the logical ports are there."""
        ports = f"{SWITCH}/1", f"{SWITCH}/2"
        wait_until(lambda: len(self.rows()["Logical_Switch_Port"]) == len(ports), what="ports")
        for name in ports:
            self.central.nbctl("set", "Logical_Switch_Port", name, "up=true")


@contextmanager
def host(central: Central, folder: Path, name: str, address: str) -> Iterator[Host]:
    folder.mkdir()
    central.run("ovsdb-tool", "create", str(folder / "conf.db"), str(OVS_SCHEMA))
    socket = folder / "db.sock"
    central.add(f"db-{name}", ["ovsdb-server", f"--remote=punix:{socket}", str(folder / "conf.db")])
    wait_until(socket.exists, what=f"{socket}")
    script = "mkdir -p /run/netns && mount -t tmpfs none /run/netns && echo in && exec sleep 600"
    command = ["unshare", "-n", "-m", "--", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"in\n"
            made = Host(name=name, folder=folder, pid=holder.pid, central=central)
            central.run(*made.entered("ip", "addr", "add", f"{address}/32", "dev", "lo"))
            made.vsctl("init", "--", "add-br", "br-int")
            ids = (f"external_ids:system-id={name}", f"external_ids:ovn-encap-ip={address}")
            made.vsctl("set", "Open_vSwitch", ".", *ids)
            yield made
        finally:
            holder.kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    central = Central(tmp_path)
    with ExitStack() as stack:
        for kind in ("nb", "sb"):
            central.start_database(kind)
        central.nbctl("init")
        central.sbctl("init")
        hosts = [
            stack.enter_context(host(central, tmp_path / name, name, f"192.0.2.{number}"))
            for number, name in enumerate("ab", 1)
        ]
        yield Pair(central, *hosts)
    for process in central.processes.values():
        process.stop()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=stretched(60))
    return process.returncode, out, errors


def said(process: subprocess.Popen[str], words: str) -> str:
    """Wait until it has said something: all that it has said so far."""
    assert process.stderr is not None
    text = ""
    for line in process.stderr:
        text += line
        if words in line:
            return text
    raise AssertionError(text)


def test_a_pair_is_measured_and_nothing_is_left(pair: Pair, tmp_path: Path) -> None:
    """Every figure is there, from either end; both hosts and NB are as before."""
    before = pair.rows()
    pair.join()
    far = pair.b.evaluate()
    picture = tmp_path / "picture.svg"
    near = pair.a.evaluate(*SHORT, "--json", "--picture", str(picture))
    pair.bind()
    code, out, errors = ended(near)
    assert code == 0, errors
    assert ended(far)[0] == 0
    found: dict[str, Any] = json.loads(out)
    assert [side["chassis"] for side in found["chassis"]] == ["a", "b"]
    assert (found["one_kernel"], found["inner_mtu"]) == (True, 1400)
    (series,) = found["series"]
    assert (series["profile"], series["state"]) == (None, "unknown")
    for kind in ("one_stream", "four_streams"):
        figures = series["traffic"][kind]
        assert 0 < figures["mbps"]["median"] < 1500
        assert figures["cpu"]["a and b"]["seconds_for_a_gigabyte"]["median"] > 0
        assert 0 < figures["rtt_ms"]["median"] < 1000
    assert series["traffic"]["small_packets"]["pps"]["median"] > 1000
    assert series["traffic"]["idle"]["mbps"] is None
    assert picture.read_text().startswith("<svg ")
    assert pair.rows() == before
    assert (pair.a.left(), pair.b.left()) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_interrupted_leaves_nothing(pair: Pair, number: signal.Signals) -> None:
    """Neither does the other end, which ends because the near one says so."""
    before = pair.rows()
    pair.join()
    far, near = pair.b.evaluate(), pair.a.evaluate(*SHORT, *LONG)
    pair.bind()
    said(near, "1 stream")
    near.send_signal(number)
    assert ended(near)[0] == 1
    assert ended(far)[0] == 0
    assert pair.rows() == before
    assert (pair.a.left(), pair.b.left()) == ([], [])


def test_what_a_killed_one_leaves_is_named_and_deleted_by_the_next(pair: Pair) -> None:
    """In NB, with the rule that it had written, and on both hosts."""
    before = pair.rows()
    pair.join()
    far, near = pair.b.evaluate(), pair.a.evaluate(*SHORT, *LONG)
    pair.bind()
    said(near, "1 stream")
    near.kill()
    far.kill()
    ended(near)
    ended(far)
    assert DEVICE in pair.a.left()
    assert {DEVICE, NETWORK} <= set(pair.b.left())
    key, rule = "ovn-ipsec-rule-100", "chassis:a chassis:b require profile=chacha20"
    pair.central.nbctl("set", "NB_Global", ".", f'options:{key}="{rule}"')
    pair.central.nbctl("set", "Logical_Switch", SWITCH, f"external_ids:ovn-ipsec-evaluate={key}")
    near = pair.a.evaluate("--yes", "--wait", "1")
    errors = said(near, f"has left port {DEVICE} and network namespace {NETWORK}: deleted")
    pair.join()
    assert ended(near)[0] == 2
    assert f"has left NB_Global options:{key}: deleted" in errors
    assert f"has left the logical switch {SWITCH}: deleted" in errors
    far = pair.b.evaluate("--wait", "1")
    said(far, f"has left port {DEVICE}")
    pair.join()
    assert ended(far)[0] == 2
    assert pair.rows() == before
    assert (pair.a.left(), pair.b.left()) == ([], [])


def test_one_at_a_time(pair: Pair) -> None:
    """A second one on the same host is refused, and disturbs nothing."""
    pair.join()
    first = pair.b.evaluate()
    said(first, "waiting for a")
    code, _, errors = ended(pair.b.evaluate())
    assert code == 2
    assert "another evaluation runs on this host" in errors
    first.send_signal(signal.SIGINT)
    assert ended(first)[0] == 1
    assert pair.b.left() == []


def test_nothing_is_loaded_that_nobody_has_confirmed(pair: Pair) -> None:
    """Without a terminal it has to be said beforehand; what it would do is said."""
    before = pair.rows()
    code, _, errors = ended(pair.a.evaluate("--profiles", "none"))
    assert code == 64
    assert "--yes" in errors
    assert "ALL traffic between a and b is in clear text" in errors
    assert pair.rows() == before


def test_what_is_missing_is_said_with_the_remedy(pair: Pair) -> None:
    """iperf3, and a host that is neither of the two."""
    pair.central.run(*pair.a.entered("sh", "-c", "mount --bind /dev/null $(command -v iperf3)"))
    code, _, errors = ended(pair.a.evaluate(*SHORT))
    assert code == 2
    assert "iperf3 is not installed" in errors
    assert "apt-get install iperf3" in errors
    pair.a.vsctl("set", "Open_vSwitch", ".", "external_ids:system-id=c")
    code, _, errors = ended(pair.a.evaluate(*SHORT))
    assert code == 2
    assert "this host is the chassis c: run this on a and b" in errors
