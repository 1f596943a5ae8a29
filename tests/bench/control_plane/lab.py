# SPDX-License-Identifier: Apache-2.0
"""What the three measurements share: processes, databases, credentials, and what /proc says.

Everything here runs inside namespaces of its own (see run.py), with its own /etc and /run.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCAL = "zz-local"
"""Sorts behind every peer, so that it is the passive end and initiates nothing for a while."""
LOCAL_IP = "10.200.0.1"
FOLDER = Path("/run/bench")
DATABASE = FOLDER / "db.sock"
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 250.0
IDLE_S = 10.0


def peer_name(index: int) -> str:
    return f"ch{index:05d}"


def peer_ip(index: int) -> str:
    return f"10.{index // 62500}.{index // 250 % 250}.{index % 250 + 1}"


def sh(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def prepare(kind: str) -> None:
    """Make the namespaces look like a small host: addresses, a route, private /etc and folders."""
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1")
    sh("ip", "link", "set", "bench1", "up")
    sh("ip", "address", "add", f"{LOCAL_IP}/8", "dev", "bench0")
    sh("ip", "link", "set", "bench0", "up")
    for folder in (FOLDER, Path("/run/openvswitch"), Path("/run/ovn")):
        folder.mkdir(parents=True)
    if kind == "stock":
        sh("cp", "-a", "/etc", str(FOLDER / "etc"))
        sh("mount", "--bind", str(FOLDER / "etc"), "/etc")


def credentials() -> dict[str, str]:
    """Make a CA and an RSA certificate: RSA is all that the stock daemon can load."""
    files = {name: str(FOLDER / f"{name}.pem") for name in ("ca", "cakey", "key", "cert", "csr")}
    extension = FOLDER / "ext"
    extension.write_text(f"subjectAltName=DNS:{LOCAL}\n")
    make = ("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj")
    sh(*make, "/C=XX/O=bench/CN=ca", "-x509", "-keyout", files["cakey"], "-out", files["ca"])
    sh(*make, f"/C=XX/O=bench/CN={LOCAL}", "-keyout", files["key"], "-out", files["csr"])
    sign = ("openssl", "x509", "-req", "-in", files["csr"], "-CA", files["ca"], "-CAcreateserial")
    sh(*sign, "-CAkey", files["cakey"], "-extfile", str(extension), "-out", files["cert"])
    return files


class Database:
    """One ovsdb-server with the shipped schemas."""

    def __init__(self, schemas: Iterable[str], folder: Path = FOLDER) -> None:
        self.socket = folder / DATABASE.name
        paths = []
        for schema in schemas:
            path = folder / (Path(schema).stem + ".db")
            sh("ovsdb-tool", "create", str(path), schema)
            paths.append(str(path))
        words = (*paths, f"--remote=punix:{self.socket}", f"--unixctl={folder}/ovsdb.ctl")
        self._server = start("ovsdb-server", *words, log=f"ovsdb-server-{folder.name}")
        wait(self.socket.exists, 60)

    def transact(self, name: str, operations: list[dict[str, Any]]) -> list[Any]:
        """Send a transaction (RFC 7047 section 4.1.3), insist on its success, give its results."""
        request = {"method": "transact", "params": [name, *operations], "id": 0}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            # It is there before its server listens on it.
            wait(lambda: sock.connect_ex(str(self.socket)) == 0, 60)
            sock.sendall(json.dumps(request).encode())
            text, answer = b"", None
            while answer is None:
                text += sock.recv(1 << 20)
                try:
                    answer = json.loads(text)
                except ValueError:
                    continue
        results: list[Any] = answer["result"]
        assert answer["error"] is None, answer
        bad = [result for result in results if result and "error" in result]
        assert not bad, bad
        return results


def insert(table: str, row: dict[str, Any], name: str = "") -> dict[str, Any]:
    operation: dict[str, Any] = {"op": "insert", "table": table, "row": row}
    return operation | ({"uuid-name": name} if name else {})


def ovs_map(values: dict[str, str]) -> list[Any]:
    return ["map", [[key, value] for key, value in values.items()]]


def start(*argv: str, env: dict[str, str] | None = None, log: str = "") -> subprocess.Popen[bytes]:
    """Start a daemon that stays in the foreground; the namespace's end is its end."""
    path = FOLDER / ((log or Path(argv[0]).name) + ".log")
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=path.open("wb"),
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )


def wait(done: Callable[[], bool], patience_s: float = PATIENCE_S, pause_s: float = 0.02) -> None:
    end = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience_s} s")
        time.sleep(pause_s)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended (proc(5)).

    Its own threads are counted in nanoseconds, children in ticks.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    own_ns = sum(int(task.read_text().split()[0]) for task in tasks)
    return own_ns / 1e9 + sum(map(int, fields[13:15])) / TICKS


def rss_mb(pid: int) -> float:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in x)
    return int(line.split()[1]) / 1024


def inbound_policies() -> int:
    """How many inbound policies the kernel holds: one for each trap, whoever set it."""
    words = sh("ip", "xfrm", "policy", "count").split()
    return int(words[words.index("IN") + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a change cost until everything was loaded and both processes were quiet again."""

    wall_s: float
    agent_cpu_s: float
    ike_cpu_s: float
    policies_deleted: int
    torn_down: int | None
    """Connections that the agent told the IKE daemon to bring down; None: not observed."""


class Meter:
    """Measures changes to one agent and its IKE daemon."""

    def __init__(self, agent: int | None, ike: int, down: Callable[[], int] | None = None) -> None:
        self.agent, self.ike, self.down = agent, ike, down

    def cost(
        self, change: Callable[[], None], loaded: Callable[[], bool], fresh: bool = False
    ) -> Cost:
        """Make a change, wait until it has arrived and then until nothing happens for 2 s.

        With ``fresh`` the agent is started by the change, and all that it has used counts.
        """
        monitor = (FOLDER / "xfrm.log").open("wb")
        watcher = subprocess.Popen(["ip", "xfrm", "monitor", "policy"], stdout=monitor)
        time.sleep(0.3)
        ike = cpu_s(self.ike)
        agent = 0.0 if fresh else self._agent_cpu_s()
        down = self.down() if self.down else 0
        begin = time.monotonic()
        change()
        wait(loaded)
        wall = time.monotonic() - begin
        self._quiet()
        watcher.terminate()
        watcher.wait()
        monitor.close()
        deleted = (FOLDER / "xfrm.log").read_text().count("Deleted ")
        return Cost(
            wall_s=wall,
            agent_cpu_s=self._agent_cpu_s() - agent,
            ike_cpu_s=cpu_s(self.ike) - ike,
            policies_deleted=deleted,
            torn_down=self.down() - down if self.down else None,
        )

    def idle(self) -> float:
        """Part of one processor, in percent, that the agent uses while nothing happens."""
        assert self.agent is not None
        begin, used = time.monotonic(), cpu_s(self.agent)
        time.sleep(IDLE_S)
        return 100.0 * (cpu_s(self.agent) - used) / (time.monotonic() - begin)

    def _agent_cpu_s(self) -> float:
        return time.process_time() if self.agent is None else cpu_s(self.agent)

    def _quiet(self) -> None:
        used, since = -1.0, time.monotonic()
        end = since + PATIENCE_S
        while time.monotonic() - since < 2.0 and time.monotonic() < end:
            now = cpu_s(self.ike) + (0.0 if self.agent is None else cpu_s(self.agent))
            if now - used > 0.02:
                used, since = now, time.monotonic()
            time.sleep(0.25)
