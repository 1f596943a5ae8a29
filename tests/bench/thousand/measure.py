# SPDX-License-Identifier: Apache-2.0
"""One measurement, in a kernel of its own that has ESP (../uml boots it); it writes JSON.

Every peer is an address, an identity with its key, and a connection of one charon in another
network namespace, which answers. What initiates is a charon that a bare vici client or the
controller drives. Then each SA is rekeyed, on the orders of a third party, alike for both::

    measure.py FOLDER floor|ours N
"""

from __future__ import annotations

import json
import os
import platform
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(HERE.parent / "control_plane")]

import inside  # noqa: E402 - after the path
import lab  # noqa: E402
import vici  # noqa: E402
from cryptography.hazmat.primitives.serialization import (  # noqa: E402
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from controller.ike import messages  # noqa: E402
from controller.plan.connection import CHILDREN, IN, OUT, ConnConfig  # noqa: E402
from ovn_ipsec.schema import sb_global  # noqa: E402
from tests.contracts import ike_backend as ike  # noqa: E402

LOCAL = "aa-local"
"""Sorts before every peer, so that it initiates all pairs."""
FAR = "far"
FAR_VICI = lab.FOLDER / "far.sock"
ANSWERS = "dos_protection = no\n"
"""All peers stand behind one IP stack: nobody may take them for one that asks too often."""
REKEYS_AT_ONCE = 16
PATIENCE_S = 1200.0
IDLE_S = 10.0
MARK = "mark\n"
MODULES = ("esp4", "gcm", "ctr", "ghash-generic", "seqiv", "xfrm_user", "veth")
CIPHER = ("rfc4106(gcm(aes))", "0x" + "5a" * 36, "128")
"""That of the default profile, as ip-xfrm(8) writes it."""
GETSADINFO, SAD_COUNT = 0x23, 1

Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a change cost until all had come and every process was quiet again."""

    wall_s: float
    mark: int
    """Which two lines of `marks` stand for the same time, on the host's clock."""
    agent_cpu_s: float
    ike_cpu_s: float
    peers_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """What is measured; no agent: this process."""

    agent: int | None
    ike: int
    peers: int
    marks: Path

    def used(self) -> tuple[float, float, float]:
        """CPU seconds until now."""
        own = time.process_time() if self.agent is None else lab.cpu_s(self.agent)
        return own, lab.cpu_s(self.ike), lab.cpu_s(self.peers)

    def cost(self, change: Callable[[], None], done: Callable[[], bool]) -> Cost:
        """Make a change, wait until it has arrived, and then until all are quiet."""
        before, begin, mark = self.used(), time.monotonic(), self._mark()
        change()
        lab.wait(done, PATIENCE_S)
        wall_s = time.monotonic() - begin
        self._mark()
        self.quiet()
        return self._since(before, wall_s, mark)

    def idle(self) -> Cost:
        """What is used while the ends only ask each other whether they are alive."""
        before, mark = self.used(), self._mark()
        time.sleep(IDLE_S)
        self._mark()
        return self._since(before, IDLE_S, mark)

    def _mark(self) -> int:
        """Tell the host that a time begins or ends; gives the number of the line."""
        with self.marks.open("a", encoding="ascii") as file:
            at = file.tell() // len(MARK)
            file.write(MARK)
            file.flush()
            os.fsync(file.fileno())
        return at

    def _since(self, before: tuple[float, float, float], wall_s: float, mark: int) -> Cost:
        agent, daemon, peers = (now - was for now, was in zip(self.used(), before, strict=True))
        return Cost(
            wall_s=wall_s, mark=mark, agent_cpu_s=agent, ike_cpu_s=daemon, peers_cpu_s=peers
        )

    def quiet(self) -> None:
        """Wait until they use less than a sixth of the processor, for two seconds.

        A thousand peers that ask each other whether they are alive use some all the time.
        """
        end = time.monotonic() + 120.0
        while time.monotonic() < end:
            before = self.used()
            time.sleep(2.0)
            if sum(self.used()) - sum(before) < 0.33:
                return


def states() -> int:
    """How many SAs the kernel of this namespace holds (XFRM_MSG_GETSADINFO)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 6) as sock:
        sock.sendall(struct.pack("=IHHIII", 20, GETSADINFO, 1, 1, 0, 0))
        answer = sock.recv(4096)
    at = 20
    while at < len(answer):
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == SAD_COUNT:
            return int(struct.unpack_from("=I", answer, at + 4)[0])
        at += (size + 3) & ~3
    raise OSError(answer)


def prepare(count: int) -> None:
    """Let the kernel load what a first SA takes, and make the wire."""
    for module in MODULES:
        subprocess.run(["modprobe", module], check=False, stderr=subprocess.DEVNULL)
    ends = ("src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "1")
    lab.sh("ip", "xfrm", "state", "add", *ends, "mode", "transport", "aead", *CIPHER)
    lab.sh("ip", "xfrm", "state", "flush")
    connect(count)


def connect(count: int) -> None:
    """Make a wire between this namespace and another, which has the addresses of all peers."""
    lab.FOLDER.mkdir()
    lab.sh("ip", "netns", "add", FAR)
    lab.sh("ip", "link", "add", "w0", "type", "veth", "peer", "name", "w0", "netns", FAR)
    lab.sh("ip", "address", "add", f"{lab.LOCAL_IP}/8", "dev", "w0")
    lab.sh("ip", "link", "set", "w0", "up")
    lines = ["link set lo up", "link set w0 up"]
    lines += [f"address add {lab.peer_ip(index)}/8 dev w0" for index in range(count)]
    batch = lab.FOLDER / "addresses"
    batch.write_text("\n".join(lines) + "\n")
    lab.sh("ip", "-n", FAR, "-batch", str(batch))


def session(path: Path) -> vici.Session:
    sock = socket.socket(socket.AF_UNIX)
    # It is there before charon listens on it.
    lab.wait(lambda: sock.connect_ex(str(path)) == 0, 20)
    return vici.Session(sock)


def config(index: int, *, far: bool = False) -> ConnConfig:
    """A connection as the controller makes it, of this end or of a peer."""
    ends, addresses = (LOCAL, lab.peer_name(index)), (lab.LOCAL_IP, lab.peer_ip(index))
    if far:
        ends, addresses = ends[::-1], addresses[::-1]
    return ike.config(*ends, addresses, (100_000 + 2 * index, 100_001 + 2 * index))


def section(conn: ConnConfig) -> dict[str, Any]:
    return messages.connection(conn, conn.proofs[0])


def load_key(control: vici.Session, name: str) -> None:
    key = ike.identity(name)[1]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    control.load_key({"type": "any", "data": pem})


def start_peers(count: int) -> int:
    """One charon that answers for all peers."""
    pid = inside.start_charon(FAR_VICI, ANSWERS, ("ip", "netns", "exec", FAR))
    control = session(FAR_VICI)
    for index in range(count):
        load_key(control, lab.peer_name(index))
        control.load_conn(section(config(index, far=True)))
    return pid


def listened(*kinds: str) -> queue.SimpleQueue[tuple[str, dict[str, Any]]]:
    """Events of the charon that initiates, from now on."""
    found: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
    ready = threading.Event()
    control = session(inside.VICI)

    def listen() -> None:
        for kind, message in control.listen(list(kinds), timeout=0.1):
            ready.set()
            if kind is not None:
                found.put((kind.decode(), message))

    threading.Thread(target=listen, daemon=True).start()
    ready.wait()
    return found


def all_up(count: int) -> Callable[[], bool]:
    """Whether every CHILD_SA is installed, of which the kernel holds two halves each."""
    return lambda: states() >= 2 * len(CHILDREN) * count


def counted() -> dict[str, int]:
    """What the charon that initiates says is up."""
    found = {"ike_sas": 0, "child_sas": 0}
    for item in session(inside.VICI).list_sas({}):
        for sa in item.values():
            found["ike_sas"] += sa["state"] == b"ESTABLISHED"
            children = sa["child-sas"].values()
            found["child_sas"] += sum(child["state"] == b"INSTALLED" for child in children)
    return found


def each_once(processes: Processes, kind: str, orders: list[dict[str, str]]) -> Cost:
    """Rekey SAs, a few at a time, until charon has told of each of them."""
    control, events = session(inside.VICI), listened(kind)

    def order_all() -> None:
        done = 0
        for number, order in enumerate(orders):
            control.rekey(order)
            while number - done >= REKEYS_AT_ONCE:
                events.get(timeout=120.0)
                done += 1
        for _ in range(len(orders) - done):
            events.get(timeout=120.0)

    return processes.cost(order_all, lambda: True)


def rekeys(processes: Processes, count: int) -> Result:
    """The cost of one rekey of each CHILD_SA, and of each IKE_SA."""
    names = [str(config(index).name) for index in range(count)]
    children = [{"ike": name, "child": child} for name in names for child in CHILDREN]
    return {
        "children": asdict(each_once(processes, "child-rekey", children)),
        "ikes": asdict(each_once(processes, "ike-rekey", [{"ike": name} for name in names])),
    }


# The floor: a client that does nothing but load and initiate.


class Bare:
    """It loads each connection, initiates its first child, and does the rest as that comes up."""

    def __init__(self, count: int) -> None:
        """Prepare what it sends."""
        self.seen = 0
        self.control = session(inside.VICI)
        self.events = listened("child-updown")
        self.sections = [section(config(index)) for index in range(count)]

    def bring_up(self) -> None:
        """Until every child has been up."""
        for conn in self.sections:
            self.control.load_conn(conn)
            self._initiate(next(iter(conn)), OUT)
            while not self.events.empty():
                self._follow(self.events.get())
        for _ in range(len(CHILDREN) * len(self.sections) - self.seen):
            self._follow(self.events.get(timeout=600.0))

    def _follow(self, event: tuple[str, dict[str, Any]]) -> None:
        """The second child after the first; after both, their traps."""
        (name, sa), *_ = ((key, value) for key, value in event[1].items() if key != "up")
        (child,) = sa["child-sas"].values()
        self.seen += 1
        if child["name"] == OUT.encode():
            self._initiate(name, IN)
            return
        for trap in CHILDREN:
            self.control.install({"ike": name, "child": trap})

    def _initiate(self, name: str, child: str) -> None:
        for _ in self.control.initiate({"ike": name, "child": child, "timeout": "-1"}):
            pass


def floor(count: int, marks: Path) -> Result:
    daemon = inside.start_charon()
    load_key(session(inside.VICI), LOCAL)
    processes = Processes(agent=None, ike=daemon, peers=start_peers(count), marks=marks)
    bare = Bare(count)
    processes.quiet()
    up = processes.cost(bare.bring_up, all_up(count))
    return result(processes, count, up)


# Ours: the controller, told by a southbound and by a local database.


def credentials(name: str, folder: Path) -> dict[str, str]:
    """The certificate of a chassis, its key and the authority, as files."""
    certificate, key = ike.identity(name)
    parts = {
        "ca": ike.lab().certificate.public_bytes(Encoding.PEM),
        "cert": certificate.public_bytes(Encoding.PEM),
        "key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    files = {}
    for part, pem in parts.items():
        path = folder / f"{part}.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        files[part] = str(path)
    return files


def ours(count: int, marks: Path) -> Result:
    daemon = inside.start_charon()
    peers = start_peers(count)
    database = lab.Database(inside.SCHEMAS.values())
    rows = [lab.insert("SB_Global", {"ipsec": True})]
    rows += inside.chassis_rows(LOCAL, lab.LOCAL_IP, "local", own=True)
    for index in range(count):
        rows += inside.chassis_rows(lab.peer_name(index), lab.peer_ip(index), f"n{index}")
    database.transact("OVN_Southbound", rows)
    settings = {
        "system-id": LOCAL,
        "ovn-remote": f"unix:{lab.DATABASE}",
        "ovn-encap-ip": lab.LOCAL_IP,
        "ovn-encap-type": "geneve",
    }
    local = inside.open_vswitch_row(credentials(LOCAL, lab.FOLDER), settings, [])
    database.transact("Open_vSwitch", [local])
    control = lab.FOLDER / "controller.ctl"
    agent = lab.start(
        *(sys.executable, "-m", "controller", f"unix:{lab.DATABASE}"),
        *("--vici", f"unix://{inside.VICI}", "--unixctl", str(control)),
        *("--pidfile", f"{lab.FOLDER}/controller.pid", "--state-dir", f"{lab.FOLDER}/state"),
        *("--log-file", f"{lab.FOLDER}/controller.log"),
        env={"PYTHONPATH": str(ROOT)},
        log="controller-stderr",
    ).pid
    processes = Processes(agent=agent, ike=daemon, peers=peers, marks=marks)
    lab.wait(control.exists)
    processes.quiet()
    words = {"external_ids": lab.ovs_map(sb_global.format_policy(inside.ENFORCED))}
    order = {"op": "update", "table": "SB_Global", "where": [], "row": words}

    def switch_on() -> None:
        database.transact("OVN_Southbound", [order])

    up = processes.cost(switch_on, all_up(count))
    return result(processes, count, up)


def result(processes: Processes, count: int, up: Cost) -> Result:
    found = counted()
    return {
        "kernel": platform.release(),
        "up": asdict(up),
        **found,
        "idle": asdict(processes.idle()),
        "rekeys": rekeys(processes, count),
        "agent_rss_mb": lab.rss_mb(processes.agent or os.getpid()),
        "ike_rss_mb": lab.rss_mb(processes.ike),
    }


def main() -> None:
    folder, system, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    marks = folder / "marks"
    prepare(count)
    try:
        found = {"floor": floor, "ours": ours}[system](count, marks)
    finally:
        for log in lab.FOLDER.glob("*.log"):
            (folder / log.name).write_bytes(log.read_bytes())
    (folder / "result.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
