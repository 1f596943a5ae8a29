# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the product: databases emptied and restored, a host that begins anew."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import helpers
from proving import option

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.waiting import wait_until

NORTHD = "ovn-ipsec-northd"
CONFIRM = "ovn-ipsec-confirm"
"""NB_Global.options: by its value, the generation in force, NB is the cluster's own again."""
SHOWN_S = 4.0
"""How long a state is looked at in which nothing is to happen."""
HOLD = """
import socket, time
held = socket.create_server(("127.0.0.1", {port}))
time.sleep(3600)
"""


# --- what a program says ---------------------------------------------------------------------


def status(chassis: Chassis) -> dict[str, object]:
    """Return what a controller says of itself when it is asked."""
    found: dict[str, object] = json.loads(chassis.appctl(CONTROLLER, "status", "json"))
    return found


def complaints(chassis: Chassis) -> str:
    """Return what a controller says is wrong, when it is asked."""
    found = status(chassis)["problems"]
    return "; ".join(map(str, found)) if isinstance(found, list) else ""


def guards(chassis: Chassis) -> bool:
    """Tell whether a host has its guard: our table, and policies that deny."""
    denied = "action block" in chassis.run(["ip", "xfrm", "policy"]).stdout
    return helpers.has_table(chassis) and denied


def answers_in_s(chassis: Chassis) -> float:
    """Return how long a controller takes to answer."""
    begin = time.monotonic()
    status(chassis)
    return time.monotonic() - begin


def error(cluster: Cluster) -> str:
    """Return what northd says is wrong with the policy."""
    return helpers.nb_report(cluster).get("ovn-ipsec-error", "")


# --- databases -------------------------------------------------------------------------------


def backup(cluster: Cluster, kind: str) -> Path:
    """Copy a database as it is now, as an operator does: ``nb`` or ``sb``."""
    copy = cluster.central.folder / f"{kind}.backup"
    remote = f"unix:/run/ovn/ovn{kind}_db.sock"
    done = cluster.central.run(["sh", "-c", f"ovsdb-client backup {remote} > {copy}"])
    assert done.returncode == 0
    return copy


def replace(cluster: Cluster, kind: str, content: Path | None) -> None:
    """Put another database in the place of one, while its server is down; None: an empty one."""
    central = cluster.central
    file = central.folder / f"{kind}.db"
    server = central.daemons[f"ovsdb-{kind}"]
    server.stop()
    file.unlink()
    if content is None:
        schema = f"/usr/share/ovn/ovn-{kind}.ovsschema"
        central.run(["ovsdb-tool", "create", str(file), schema])
    else:
        shutil.copy(content, file)
    server.start()


def forget_policy(cluster: Cluster) -> None:
    """Take every key of ours out of SB_Global, as somebody does who cleans up."""
    keys = cluster.sb.row("SB_Global", "external_ids")["external_ids"]
    ours = [key for key in keys if key.startswith("ovn-ipsec-")]
    assert ours
    changes = [["external_ids", "delete", ["set", ours]]]
    cluster.sb.transact({"op": "mutate", "table": "SB_Global", "where": [], "mutations": changes})


@contextlib.contextmanager
def another_northbound(cluster: Cluster) -> Iterator[None]:
    """Keep ovn-northd from following what is done to NB; in the end the own one is back.

    It would take the logical network away, and with it all traffic that could be clear.
    """
    kept = backup(cluster, "nb")
    cluster.central.appctl("ovn-northd", "pause")
    try:
        yield
    finally:
        replace(cluster, "nb", kept)
        cluster.central.appctl("ovn-northd", "resume")
        # What it says of the state is from before: northd has to say it again.
        stale = [["external_ids", "delete", ["set", ["ovn-ipsec-state"]]]]
        where: list[object] = []
        cluster.nb.transact(
            {"op": "mutate", "table": "NB_Global", "where": where, "mutations": stale}
        )
        confirm(cluster)
        helpers.enforce(cluster)
        option(cluster, CONFIRM, None)


def confirm(cluster: Cluster) -> None:
    """Say that NB is the cluster's own, as the operator does."""
    wait_until(lambda: cluster.nb.rows("NB_Global", "ipsec"), 60, "a row of NB_Global")
    option(cluster, CONFIRM, helpers.generation(cluster))


# --- a host that begins anew -----------------------------------------------------------------


@contextlib.contextmanager
def taken(chassis: Chassis, port: int) -> Iterator[None]:
    """Somebody else has a port of a host for the length of a block."""
    holder = chassis.popen([sys.executable, "-c", HOLD.format(port=port)])
    looks = ["ss", "-Hltn", f"sport = :{port}"]
    try:
        wait_until(lambda: str(port) in chassis.run(looks).stdout, 30, f"port {port} taken")
        yield
    finally:
        holder.kill()
        holder.wait()


def tear(chassis: Chassis) -> list[str]:
    """Leave half of each file that the controller keeps; returns their names."""
    folder = chassis.path("/var/lib/ovn-ipsec")
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] + b"\x00\xff")
    return sorted(file.name for file in files)


def recovers(chassis: Chassis) -> bool:
    """Start the controller as it is usually started; False when it ends at once."""
    try:
        chassis.start_ipsec()
    except LabError:
        return False
    return True


@contextlib.contextmanager
def cut_off(chassis: Chassis, address: str) -> Iterator[None]:
    """A host that cannot reach an address, for the length of a block."""
    chassis.run(["ip", "route", "add", "blackhole", f"{address}/32"])
    try:
        yield
    finally:
        chassis.run(["ip", "route", "del", "blackhole", f"{address}/32"])


class TableWatch:
    """Whether our table of nftables was taken away at any time: every event of the kernel."""

    def __init__(self, chassis: Chassis) -> None:
        """Start to listen."""
        self._log = chassis.logs / "nft-monitor.log"
        with self._log.open("w") as output:
            self._process = chassis.popen(["nft", "monitor", "tables"], stdout=output)
        # It listens when it tells of a table that is made for nothing else.
        wait_until(lambda: self._tells(chassis), 30, "nft monitor listens")

    def _tells(self, chassis: Chassis) -> bool:
        chassis.run(["nft", "add table inet probe; delete table inet probe"])
        return "inet probe" in self._log.read_text()

    def stop(self) -> str:
        """Stop, and return the lines that tell of its end."""
        self._process.terminate()
        self._process.wait()
        text = self._log.read_text()
        lines = text.splitlines()
        return "\n".join(line for line in lines if "delete" in line and "ovn_ipsec" in line)
