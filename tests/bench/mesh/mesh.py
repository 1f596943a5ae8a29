# SPDX-License-Identifier: Apache-2.0
"""N hosts, each with a tunnel to each other, in a kernel that has ESP (../uml boots it); JSON.

Each host is a network namespace on one bridge, with a charon, a local database and a controller.
The northbound, the southbound, ovn-northd and ovn-ipsec-northd are the real ones, too. Packets to
port 6081 stand for those of tenants: there is no ovs-vswitchd, and so nothing is in them::

    mesh.py FOLDER N
"""

from __future__ import annotations

import json
import platform
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(HERE.parent / "control_plane"), str(HERE.parent / "thousand")]

import inside  # noqa: E402 - after the path
import lab  # noqa: E402
import measure as thousand  # noqa: E402

from ovn_ipsec.lab import namespaces  # noqa: E402

SCHEMAS = ("/usr/share/ovn/ovn-nb.ovsschema", inside.SCHEMAS["sb"])
BRIDGE, FAR = "wire", "p-"
"""And what the names of its ports begin with."""
PORT = 6081
ALL = 3
"""ETH_P_ALL."""
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6
ROOM = 1 << 26
"""Bytes: for all packets of a round."""
UDP, ESP = 17, 50
PATIENCE_S = 900.0
DELETED = 2
"""Connections that somebody deletes."""
PACKETS = 3
"""From each host to each other, in each round."""
PYTHON = {"PYTHONPATH": str(ROOT)}

Result = dict[str, Any]


class Wire:
    """What comes to the bridge: how many packets, by source, target and kind."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            frame, (port, _, direction, *_) = self._sock.recvfrom(2048)
            # Each comes in by the port of the host that has sent it.
            if direction == socket.PACKET_OUTGOING or not port.startswith(FAR):
                continue
            if len(frame) < 42 or frame[12:14] != b"\x08\x00":
                continue
            protocol, header = frame[23], 14 + 4 * (frame[14] & 15)
            target_port = struct.unpack_from("!H", frame, header + 2)[0]
            kind = {ESP: "esp", UDP: "clear" if target_port == PORT else ""}.get(protocol, "")
            if kind:
                ends = (socket.inet_ntoa(frame[at : at + 4]) for at in (26, 30))
                self._seen[kind, *ends] += 1

    def take(self) -> dict[str, int]:
        """Count packets by kind, and begin anew."""
        seen, self._seen = self._seen, Counter()
        found: Counter[str] = Counter()
        for (kind, *_), number in seen.items():
            found[kind] += number
        _, missed = struct.unpack("II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        counts = {"clear": found["clear"], "esp": found["esp"], "flows": len(seen)}
        return {**counts, "missed": missed}


def within(name: str) -> AbstractContextManager[None]:
    """Be in the network namespace of a host."""
    return namespaces.inside_network(Path("/run/netns") / name)


@dataclass(slots=True)
class Host:
    """One of them."""

    name: str
    ip: str
    folder: Path
    pids: dict[str, int] = field(default_factory=dict)
    sock: socket.socket | None = None
    received: set[str] = field(default_factory=set)

    @property
    def vici(self) -> Path:
        """The socket of its charon."""
        return self.folder / "vici.sock"

    def connect(self) -> None:
        """Attach its namespace to the wire."""
        lab.sh("ip", "netns", "add", self.name)
        far = f"{FAR}{self.name}"
        lab.sh("ip", "link", "add", far, "type", "veth", "peer", "eth0", "netns", self.name)
        lab.sh("ip", "link", "set", far, "master", BRIDGE, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{self.ip}/16", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            lab.sh("ip", "-n", self.name, *words)
        with within(self.name):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.ip, PORT))
        self.sock.setblocking(False)

    def start(self) -> None:
        """Start its charon, its database and its controller."""
        self.folder.mkdir()
        enter = ("ip", "netns", "exec", self.name)
        charon = inside.start_charon(self.vici, "", enter)
        database = lab.Database([inside.SCHEMAS["vswitch"]], self.folder)
        settings = {
            "system-id": self.name,
            "ovn-remote": f"unix:{lab.DATABASE}",
            "ovn-encap-ip": self.ip,
            "ovn-encap-type": "geneve",
        }
        files = thousand.credentials(self.name, self.folder)
        database.transact("Open_vSwitch", [inside.open_vswitch_row(files, settings, [])])
        controller = lab.start(
            *(*enter, sys.executable, "-m", "controller", f"unix:{database.socket}"),
            *("--vici", f"unix://{self.vici}", "--unixctl", str(self.folder / "ctl")),
            *("--pidfile", str(self.folder / "pid"), "--state-dir", str(self.folder / "state")),
            *("--log-file", str(lab.FOLDER / f"{self.name}.log")),
            env=PYTHON,
            log=f"{self.name}-stderr",
        )
        self.pids = {"controller": controller.pid, "charon": charon}

    def states(self) -> int:
        """How many SAs its kernel holds."""
        with within(self.name):
            return thousand.states()

    def hear(self) -> None:
        """Note from whom packets have come."""
        assert self.sock is not None
        while True:
            try:
                _, (source, _) = self.sock.recvfrom(64)
            except BlockingIOError:
                return
            self.received.add(source)


def column(database: lab.Database, name: str, table: str, column: str) -> list[dict[str, str]]:
    """The maps in one column of all rows of a table."""
    select = {"op": "select", "table": table, "where": [], "columns": [column]}
    (found,) = database.transact(name, [select])
    return [dict(row[column][1]) for row in found["rows"]]


def set_ipsec(database: lab.Database, *, on: bool) -> None:
    order = {"op": "update", "table": "NB_Global", "where": [], "row": {"ipsec": on}}
    database.transact("OVN_Northbound", [order])


def state(database: lab.Database) -> str:
    """The state that an operator reads; degraded: this kernel lacks one layer of the guard."""
    (row,) = column(database, "OVN_Northbound", "NB_Global", "external_ids")
    return row.get("ovn-ipsec-state", "").removesuffix(" (degraded)")


def until(done: Callable[[], bool]) -> float:
    """Wait; returns the seconds that it took."""
    begin = time.monotonic()
    lab.wait(done, PATIENCE_S, 0.1)
    return round(time.monotonic() - begin, 1)


def each_to_each(hosts: list[Host], wire: Wire) -> Result:
    """Let each host send a few packets to each other; who has heard from whom, and as what."""
    for host in hosts:
        host.hear()
        host.received.clear()
    wire.take()
    for number in range(PACKETS):
        for one, other in permutations(hosts, 2):
            assert one.sock is not None
            one.sock.sendto(b"tenant %d" % number, (other.ip, PORT))
            other.hear()
        time.sleep(0.2)
    time.sleep(1.0)
    for host in hosts:
        host.hear()
    return {**wire.take(), "heard": sum(len(host.received) for host in hosts)}


def delete(host: Host, number: int) -> None:
    """Unload connections of a host and end their SAs, as somebody with swanctl(8) would."""
    session = thousand.session(host.vici)
    names = sorted(name for item in session.list_conns() for name in item)[:number]
    for name in names:
        session.unload_conn({"name": name})
        list(session.terminate({"ike": name, "force": "yes", "timeout": "-1"}))


def encrypted(hosts: list[Host]) -> bool:
    """Whether the kernel of each host holds all SAs with each other."""
    wanted = 2 * len(thousand.CHILDREN) * (len(hosts) - 1)
    return all(host.states() >= wanted for host in hosts)


def reported(database: lab.Database, hosts: Iterable[Host]) -> bool:
    """Whether every controller has reported."""
    digests = column(database, "OVN_Southbound", "Chassis_Private", "external_ids")
    return sum("ovn-ipsec-generation" in one for one in digests) >= len(list(hosts))


def run(count: int) -> Result:
    for module in thousand.MODULES:
        subprocess.run(["modprobe", module], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["modprobe", "bridge"], check=False, stderr=subprocess.DEVNULL)
    lab.FOLDER.mkdir()
    lab.sh("ip", "link", "add", BRIDGE, "type", "bridge")
    lab.sh("ip", "link", "set", BRIDGE, "up")
    wire = Wire()
    database = lab.Database(SCHEMAS)
    for name, table in (("OVN_Northbound", "NB_Global"), ("OVN_Southbound", "SB_Global")):
        database.transact(name, [lab.insert(table, {})])
    both = (f"--ovnnb-db=unix:{lab.DATABASE}", f"--ovnsb-db=unix:{lab.DATABASE}")
    lab.start("ovn-northd", *both, f"--unixctl={lab.FOLDER}/northd.ctl")
    lab.start(
        *(sys.executable, "-m", "northd_ext", *both),
        *("--unixctl", f"{lab.FOLDER}/ext.ctl", "--pidfile", f"{lab.FOLDER}/ext.pid"),
        *("--log-file", f"{lab.FOLDER}/ovn-ipsec-northd.log"),
        env=PYTHON,
        log="ext-stderr",
    )
    hosts = []
    begin = time.monotonic()
    for number in range(1, count + 1):
        host = Host(f"h{number:02d}", f"10.9.0.{number}", lab.FOLDER / f"h{number:02d}")
        rows = inside.chassis_rows(host.name, host.ip, host.name, own=True)
        database.transact("OVN_Southbound", rows)
        host.connect()
        host.start()
        hosts.append(host)
    until(lambda: reported(database, hosts))
    found: Result = {"kernel": platform.release(), "hosts": count}
    found["started_s"] = round(time.monotonic() - begin, 1)
    found["before"] = each_to_each(hosts, wire)
    used = {pid: lab.cpu_s(pid) for host in hosts for pid in host.pids.values()}
    set_ipsec(database, on=True)
    found["enforced_s"] = until(lambda: state(database) == "enforced")
    found["encrypted"] = encrypted(hosts)
    for kind in ("controller", "charon"):
        pids = [host.pids[kind] for host in hosts]
        found[f"{kind}_cpu_s"] = round(sum(lab.cpu_s(pid) - used[pid] for pid in pids), 1)
        found[f"{kind}_mb"] = round(max(map(lab.rss_mb, pids)))
    found["enforced"] = each_to_each(hosts, wire)
    delete(hosts[0], DELETED)
    found["deleted"] = not encrypted(hosts)
    found["whole_s"] = until(lambda: encrypted(hosts) and state(database) == "enforced")
    found["reconciled"] = each_to_each(hosts, wire)
    set_ipsec(database, on=False)
    found["off_s"] = until(
        lambda: state(database) == "off" and not any(host.states() for host in hosts)
    )
    found["after"] = each_to_each(hosts, wire)
    return found


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    try:
        found = run(count)
    finally:
        for log in lab.FOLDER.glob("*.log"):
            (folder / log.name).write_bytes(log.read_bytes())
    (folder / "result.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
