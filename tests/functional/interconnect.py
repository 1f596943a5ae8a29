# SPDX-License-Identifier: Apache-2.0
"""Two availability zones with databases, ovn-northd and ovn-ic each, as OVN-IC has them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.live import NAMES
from tests.functional.ovsdb import SCHEMAS, Central, missing_programs, wait_until

ZONES = ("az1", "az2")
GATEWAYS = dict(zip(ZONES, NAMES, strict=True))
ADDRESSES = {name: f"10.9.0.{number}" for number, name in enumerate(NAMES, 1)}
IC_KINDS = ("ic-nb", "ic-sb")
IC_PROGRAMS = ("ovn-ic", "ovn-ic-nbctl", "ovn-ic-sbctl")


def missing() -> str:
    """What these tests need and the machine lacks."""
    lacks = [*missing_programs(), *missing_programs(IC_PROGRAMS)]
    lacks += [str(f) for f in map(_schema, IC_KINDS) if not f.exists()]
    return ", ".join(lacks)


def _schema(kind: str) -> Path:
    return SCHEMAS / f"ovn-{kind}.ovsschema"


def _listens(path: Path) -> bool:
    """Whether somebody does: the file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@dataclass
class Zone(Central):
    """The databases and daemons of one availability zone."""

    name: str = ""
    common: Path = field(default_factory=Path)
    """The folder of the databases that all zones share."""

    @property
    def gateway(self) -> str:
        """The chassis that has tunnels to the other zone."""
        return GATEWAYS[self.name]

    @property
    def far(self) -> str:
        """The gateway of the other zone."""
        return next(gateway for zone, gateway in GATEWAYS.items() if zone != self.name)

    def build(self) -> None:
        """Start what a zone has, and make the rows that ovn-controller would."""
        for kind in ("nb", "sb"):
            self.start_database(kind)
        self.start_ovn_northd()
        self.nbctl("set", "NB_Global", ".", f"name={self.name}")
        self.sbctl("chassis-add", self.gateway, "geneve", ADDRESSES[self.gateway])
        self.sbctl("set", "Chassis", self.gateway, "other_config:is-interconn=true")
        self.sbctl("create", "Chassis_Private", f"name={self.gateway}")
        self.start_ic()

    def start_ic(self) -> None:
        """Start ovn-ic."""
        argv = ["ovn-ic", f"--unixctl={self.folder}/ovn-ic.ctl", "--no-chdir"]
        argv += [f"--ovn{kind}-db={self.remote(kind)}" for kind in ("nb", "sb")]
        argv += [f"--{kind}-db=unix:{self.common}/{kind}.sock" for kind in IC_KINDS]
        self.add("ovn-ic", [*argv, f"--pidfile={self.folder}/ovn-ic.pid"])

    def sees_the_other(self) -> bool:
        """Whether ovn-ic has made the row of the other zone's gateway."""
        return self.far in {row["name"] for row in self.rows("sb", "Chassis")}

    def options(self, chassis: str) -> dict[str, str]:
        """Encap.options of a chassis in this zone's southbound."""
        (row,) = [row for row in self.rows("sb", "Encap") if row["chassis_name"] == chassis]
        found = row["options"]
        assert isinstance(found, dict)
        return found

    def watch(self) -> None:
        """Start to record every change of an Encap row, whoever makes it."""
        argv = ["ovsdb-client", "--format=json", "monitor", self.remote("sb"), "OVN_Southbound"]
        watch = self.add("watch", [*argv, "Encap", "chassis_name,ip,type,options"])
        wait_until(lambda: self.gateway in watch.text(), what="the monitor")

    def changes(self, chassis: str) -> list[dict[str, object]]:
        """What the monitor has seen change of a chassis' Encap rows."""
        found = []
        for line in self.processes["watch"].text().splitlines():
            table = json.loads(line)
            found += [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]
        rows = {words["row"] for words in found if words["chassis_name"] == chassis}
        return [x for x in found if x["row"] in rows and x["action"] != "initial"]

    def writers(self, chassis: str) -> list[str]:
        """Comments of the transactions that wrote an Encap row of a chassis, oldest first."""
        known: set[str] = set()
        comments = []
        for line in (self.folder / "sb.db").read_text(encoding="utf-8").splitlines():
            record = {} if line.startswith("OVSDB ") else json.loads(line)
            rows = record.get("Encap", {})
            known |= {
                one for one, row in rows.items() if row and row.get("chassis_name") == chassis
            }
            if known & rows.keys():
                comments.append(str(record.get("_comment", "")))
        return comments


@contextmanager
def zones(folder: Path) -> Iterator[tuple[Zone, Zone]]:
    """Two zones that see each other's gateways, until the test ends."""
    with ExitStack() as stack:
        common = Central(folder)
        made = [Zone(folder / name, name=name, common=folder) for name in ZONES]
        for one in (common, *made):
            stack.callback(lambda one=one: [p.stop() for p in reversed(one.processes.values())])
        for kind in IC_KINDS:
            file, sock = folder / f"{kind}.db", folder / f"{kind}.sock"
            common.run("ovsdb-tool", "create", str(file), str(_schema(kind)))
            argv = ["ovsdb-server", f"--remote=punix:{sock}", f"--unixctl={folder}/{kind}.ctl"]
            common.add(kind, [*argv, f"--pidfile={folder}/{kind}.pid", str(file)])
            wait_until(lambda sock=sock: _listens(sock), what=f"{sock}")
            common.run(f"ovn-{kind}ctl", f"--db=unix:{sock}", "init")
        for zone in made:
            zone.folder.mkdir()
            zone.build()
        for zone in made:
            wait_until(zone.sees_the_other, what=f"the other gateway in {zone.name}")
        yield made[0], made[1]
