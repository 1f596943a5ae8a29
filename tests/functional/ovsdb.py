# SPDX-License-Identifier: Apache-2.0
"""Real ovsdb-servers with OVN's schemas, ovn-northd and our northd, in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ovs.poller

from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.ovsdb.commands import Commands, SetKeys
from ovn_ipsec.ovsdb.schemas import NORTHBOUND, SOUTHBOUND
from ovn_ipsec.ovsdb.session import Session
from ovn_ipsec.ovsdb.waiting import expect

SCHEMAS = Path("/usr/share/ovn")
OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PROGRAMS = (
    "ovsdb-server",
    "ovsdb-tool",
    "ovsdb-client",
    "ovn-northd",
    "ovn-nbctl",
    "ovn-sbctl",
    "ovs-appctl",
)
DATABASES = {"nb": "OVN_Northbound", "sb": "OVN_Southbound"}
QUIET_S = 0.3
"""What is under way over a socket of this machine has come by then."""
REPOSITORY = Path(__file__).resolve().parents[2]


def missing_programs(programs: Iterable[str] = PROGRAMS) -> tuple[str, ...]:
    """What these tests need and the machine lacks."""
    lacks = [name for name in programs if shutil.which(name) is None]
    lacks += [str(path) for path in (SCHEMAS / "ovn-nb.ovsschema",) if not path.exists()]
    return tuple(lacks)


def wait_until(fact: Callable[[], bool], timeout_s: float = 60.0, what: str = "") -> None:
    """Poll until a fact holds."""
    end = time.monotonic() + stretched(timeout_s)
    while not fact():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


def quiet(work: Callable[[], object], *sessions: Session) -> None:
    """Work until nothing has come for a while.

    Args:
        work: Takes in what has come.
        sessions: What it comes by.
    """
    quiet_at = end = time.monotonic() + stretched(10)
    quiet_at = time.monotonic() + stretched(QUIET_S)
    while time.monotonic() < min(quiet_at, end):
        if work():
            quiet_at = time.monotonic() + stretched(QUIET_S)
        poller = ovs.poller.Poller()
        for session in sessions:
            session.wait(poller)
        poller.timer_wait(20)
        poller.block()


@dataclass
class Process:
    """A child process with a log."""

    argv: list[str]
    log: Path
    env: Mapping[str, str]
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.argv, stdout=log, stderr=log, env={**os.environ, **self.env}, cwd=REPOSITORY
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs."""
        if self.running is None:
            return
        self.running.send_signal(number)
        try:
            self.running.wait(5)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Central:
    """Databases and daemons of one test."""

    folder: Path
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """Environment that keeps every program inside the folder."""
        folder = str(self.folder)
        return {
            "OVN_RUNDIR": folder,
            "OVS_RUNDIR": folder,
            "OVN_NB_DB": self.remote("nb"),
            "OVN_SB_DB": self.remote("sb"),
        }

    def remote(self, kind: str) -> str:
        """OVSDB remote of `nb` or `sb`."""
        return f"unix:{self.folder}/ovn{kind}_db.sock"

    def add(self, name: str, argv: list[str]) -> Process:
        """Start a process that ends with the test."""
        program = shutil.which(argv[0])
        process = Process(
            argv=[program or argv[0], *argv[1:]], log=self.folder / f"{name}.log", env=self.env
        )
        self.processes[name] = process
        process.start()
        return process

    def start_database(self, kind: str) -> None:
        """Create and serve a database."""
        file, schema = self.folder / f"{kind}.db", SCHEMAS / f"ovn-{kind}.ovsschema"
        self.run("ovsdb-tool", "create", str(file), str(schema))
        self.serve(kind)

    def serve(self, kind: str) -> None:
        """Serve a database that exists."""
        socket = self.folder / f"ovn{kind}_db.sock"
        self.add(
            f"ovsdb-{kind}",
            [
                "ovsdb-server",
                f"--remote=punix:{socket}",
                f"--unixctl={self.folder}/ovn{kind}.ctl",
                f"--pidfile={self.folder}/ovsdb-{kind}.pid",
                str(self.folder / f"{kind}.db"),
            ],
        )
        wait_until(socket.exists, what=f"{socket}")

    def start_ovn_northd(self) -> None:
        """Start the stock ovn-northd."""
        self.add("ovn-northd", ["ovn-northd", f"--pidfile={self.folder}/ovn-northd.pid"])
        wait_until(lambda: bool(self.rows("sb", "SB_Global")), what="SB_Global row")

    def start_northd(self, name: str = "northd", *options: str) -> Process:
        """Start our northd; several may run under different names."""
        argv = [sys.executable, "-m", "northd_ext", "--log-format=json", "--log-level=debug"]
        argv += options
        argv += [f"--pidfile={self.folder}/{name}.pid", f"--unixctl={self.control(name)}"]
        process = self.add(name, argv)
        wait_until(lambda: self._answers(name), what=f"control socket of {name}")
        return process

    def _answers(self, name: str) -> bool:
        """Whether somebody listens: the socket's file is there a moment earlier."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.control(name)) == 0

    def control(self, name: str) -> str:
        """Control socket of one of our northds."""
        return f"{self.folder}/{name}.ctl"

    def appctl(self, name: str, *command: str) -> str:
        """Ask one of our northds."""
        return self.run("ovs-appctl", "-t", self.control(name), *command)

    def log_events(self, name: str, event: str) -> list[dict[str, str]]:
        """Lines of one of our northds that carry this event."""
        lines = [json.loads(x) for x in self.processes[name].text().splitlines() if x[:1] == "{"]
        return [line for line in lines if line["event"] == event]

    def run(self, *argv: str) -> str:
        """Run a program to its end and return what it printed."""
        done = subprocess.run(
            argv,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=stretched(60),
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.strip()

    def nbctl(self, *argv: str) -> str:
        """Run ovn-nbctl."""
        return self.run("ovn-nbctl", *argv)

    def sbctl(self, *argv: str) -> str:
        """Run ovn-sbctl."""
        return self.run("ovn-sbctl", *argv)

    def query(self, kind: str, *operations: Mapping[str, object]) -> list[dict[str, object]]:
        """Run one transaction (RFC 7047 section 4.1.3) and return its results."""
        request = json.dumps([DATABASES[kind], *operations])
        answer: list[dict[str, object]] = json.loads(
            self.run("ovsdb-client", "transact", self.remote(kind), request)
        )
        assert not any("error" in result for result in answer if result), answer
        return answer

    def rows(self, kind: str, table: str) -> list[dict[str, object]]:
        """All rows of a table, maps as dicts."""
        (answer,) = self.query(kind, {"op": "select", "table": table, "where": []})
        rows = answer["rows"]
        assert isinstance(rows, list)
        return [{key: _plain(value) for key, value in row.items()} for row in rows]

    def keys(self, kind: str) -> dict[str, str]:
        """Our keys in external_ids of NB_Global or SB_Global, without `ovn-ipsec-`."""
        rows = self.rows(kind, f"{kind.upper()}_Global")
        held = rows[0]["external_ids"] if rows else {}
        assert isinstance(held, dict)
        prefix = "ovn-ipsec-"
        return {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}

    def encap_modes(self) -> dict[str, str | None]:
        """options:ovn-ipsec of every encap, by chassis name and type."""
        modes: dict[str, str | None] = {}
        for row in self.rows("sb", "Encap"):
            options = row["options"]
            assert isinstance(options, dict)
            modes[f"{row['chassis_name']}/{row['type']}"] = options.get("ovn-ipsec")
        return modes

    def transactions(self, kind: str) -> list[str]:
        """Comments of our own transactions in the database's log, oldest first."""
        text = self.run("ovsdb-tool", "show-log", str(self.folder / f"{kind}.db"))
        return [line for line in text.splitlines() if "ovn-ipsec-northd" in line]

    @contextmanager
    def database(self, kind: str) -> Iterator[Commands]:
        """Commands on the part of a database that we read."""
        session = Session(self.remote(kind), {"nb": NORTHBOUND, "sb": SOUTHBOUND}[kind])
        session.open()
        with closing(session):
            expect(session, lambda: session.loaded)
            yield Commands(session)

    def report(self, chassis: str, **keys: object) -> None:
        """Write digest keys as a controller would, and the row if there is none."""
        table = "Chassis_Private"
        texts: dict[str, str | None] = {f"ovn-ipsec-{key}": str(keys[key]) for key in keys}
        with self.database("sb") as sb:
            found = sb.run(sb.db_find_rows(table, ("name", "=", chassis)))
            row = found[0] if found else sb.run(sb.db_create_row(table, name=chassis))
            sb.run(SetKeys(sb, table, row.uuid, "external_ids", texts))

    def follow(self, chassis: str, pairs: str = "", **keys: object) -> None:
        """Report that a chassis has applied what SB carries now."""
        policy = self.keys("sb")
        self.report(
            chassis,
            **{
                "generation": policy.get("generation", "0"),
                "phase": policy.get("phase", "off"),
                "pairs": pairs,
                "agent": "fake",
                **keys,
            },
        )


def _plain(value: object) -> object:
    if isinstance(value, list) and len(value) == 2 and value[0] == "map":
        return dict(value[1])
    return value


@contextmanager
def central(folder: Path) -> Iterator[Central]:
    """Both databases and the stock ovn-northd, until the test ends."""
    with ExitStack() as stack:
        made = Central(folder)
        stack.callback(lambda: [process.stop() for process in reversed(made.processes.values())])
        made.start_database("nb")
        made.start_database("sb")
        made.start_ovn_northd()
        yield made
