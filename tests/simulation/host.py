# SPDX-License-Identifier: Apache-2.0
"""A simulated chassis host: kernel, IKE daemon, local database, disk, stock ovn-controller."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

from ovn_ipsec.model.ike import Ike, IkesHere
from ovn_ipsec.ovsdb.schemas import VSWITCH
from tests.fakes.ovsdb import FakeDatabase, Op, Refused
from tests.fakes.timeline import Timeline, TimelineClock

from .central import Central
from .charon import Charon
from .credentials import Stock
from .engine import Process
from .kernel import Kernel
from .wire import Wire

OVN_START_S = 0.5
"""How long ovn-controller takes until its rows are there."""
BOOT_S = 5.0
"""From a reboot until the first program runs."""
PORTS_S = 3.0
"""From then until ports that are kept on disk send something, whoever runs by then."""


class Host:
    """One of them."""

    def __init__(
        self,
        timeline: Timeline,
        central: Central,
        wire: Wire,
        number: int,
        *,
        folder: Path,
        take_number: Callable[[], int],
    ) -> None:
        """Build it; boot() lets it run.

        Args:
            timeline: When things happen.
            central: Where its rows go.
            wire: What it is connected to.
            number: Of it: gives it a name and an address.
            folder: Its disk.
            take_number: Gives SPIs that nobody else has.
        """
        self.timeline, self.central, self.wire = timeline, central, wire
        self.name = f"hv{number}"
        """Of the machine; its chassis may be renamed."""
        self.chassis = self.name
        self.ip = ip_address(f"10.0.0.{number}")
        self.port = 6081
        self.folder = folder
        self.clock = TimelineClock(timeline)
        self.kernel = Kernel(changed=lambda: wire.changed(self))
        self.other_ikes: set[Ike] = set()
        """IKE daemons that run beside charon."""
        self.charon = Charon(timeline, self.kernel, wire.send, take_number)
        self.stock = Stock(self.chassis)
        self.vswitch = FakeDatabase(timeline, VSWITCH, random=central.sb.random)
        self.up = self.tunnels = False
        self.ovn = False
        """Whether its ovn-controller runs."""
        self.disk_full = False
        self.boots = 0
        self.decides = False
        """Whether its controller has decided about its pairs since the host booted, or was held up;
        until then every one that it does not know is denied."""
        self.gone = False
        """Whether it has left for ever."""
        self.monitor: int | None = None
        """The process id of an ovs-monitor-ipsec that runs here."""
        self.controller_until = 0.0
        """Until when its controller is not started again."""
        self.controller: Process | None = None
        self.encap_types = ("geneve",)
        self._ovn_life = self._life = 0
        bridge = self.vswitch.random.getrandbits(128)
        self._make_local(bridge)

    def _make_local(self, number: int) -> None:
        bridge, row = UUID(int=number), UUID(int=number ^ 1)
        said = {
            "system-id": self.chassis,
            "ovn-remote": "tcp:10.1.0.1:6642",
            "ovn-encap-ip": str(self.ip),
            "ovn-encap-type": "geneve",
            "ovn-bridge": "br-int",
        }
        self.vswitch.transact(
            [
                Op("insert", "Bridge", bridge, {"name": "br-int"}),
                Op(
                    "insert",
                    "Open_vSwitch",
                    row,
                    {
                        "external_ids": said,
                        "other_config": {"ovn-ipsec-tunnels": "adopt"},
                        "bridges": [bridge],
                    },
                ),
            ]
        )
        self._row = row

    def set_local(self, column: str = "external_ids", **keys: str | None) -> None:
        """Set keys of the Open_vSwitch row."""
        self.vswitch.set_keys("Open_vSwitch", self._row, column, **keys)

    # --- its life --------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: what is on disk is all that there is."""
        if self.gone or self.up:
            return
        self.up = True
        self.decides = False
        self.boots += 1
        self._life += 1
        life = self._life
        self.timeline.after(PORTS_S, lambda: self._open_ports(life))
        self.charon.start()
        if self.controller is not None:
            self.controller.start()
        self.start_ovn()

    def _open_ports(self, life: int) -> None:
        if life == self._life:
            self.tunnels = True
            self.wire.changed(self)

    def power_off(self) -> None:
        """Lose everything but the disk; rows stay where they are."""
        self.up = self.tunnels = False
        self.ovn = False
        self._life += 1
        self._ovn_life += 1
        if self.controller is not None:
            self.controller.kill()
        self.charon.kill()
        self.kernel.reboot()

    def reboot(self) -> None:
        """Power off and on."""
        self.power_off()
        self.timeline.after(BOOT_S, self.boot)

    @property
    def state(self) -> Path:
        """Where the controller keeps what it keeps."""
        return self.folder / "state"

    @property
    def reads(self) -> bool:
        """Whether its controller hears at once what changes in the southbound."""
        controller, charon = self.controller, self.charon
        if controller is None or not controller.alive or controller.slow_s or charon.hangs:
            return False
        if any(times > 0 for times in controller.explodes.values()):
            return False
        sessions = [one for one in self.central.sb.sessions if one.owner == self.name]
        return bool(sessions) and not any(one.is_late for one in sessions)

    @property
    def ikes(self) -> IkesHere:
        """Which IKE daemons it has."""
        running = {Ike.STRONGSWAN} if self.charon.running else set()
        return IkesHere(running=frozenset(running | self.other_ikes))

    def start_charon(self) -> None:
        """Start the IKE daemon, if the host runs."""
        if self.up:
            self.charon.start()

    def heal(self) -> None:
        """Let everything run as it should."""
        self.disk_full = False
        self.monitor = None
        self.controller_until = 0.0
        if self.controller is not None and self.up:
            self.controller.start()
        self.charon.hangs = False
        self.vswitch.start()
        self.set_local(ovn_remote="tcp:10.1.0.1:6642")
        if self.stock.broken:
            self.stock.put()
        self.clock.wall_offset_s = 0.0
        if not self.up:
            self.boot()
            return
        self.charon.start()
        if not self.ovn:
            self.start_ovn()
        if self.controller is not None:
            self.controller.slow_s = 0.0
            self.controller.fails.clear()
            self.controller.explodes.clear()
            self.controller.crash_in = None

    # --- ovn-controller --------------------------------------------------------------------------

    def start_ovn(self) -> None:
        """Start it; its rows come a little later, and again whenever they are missing."""
        self.ovn = True
        self._ovn_life += 1
        life = self._ovn_life
        self.timeline.after(OVN_START_S, lambda: self._keep_rows(life))

    def stop_ovn(self, *, restart: bool = False) -> None:
        """End it; without `--restart` it takes its rows along (facts/ovn.md 1.6)."""
        self.ovn = False
        self._ovn_life += 1
        if not restart:
            self.drop_rows(self.chassis)

    def restart_ovn(self, away_s: float, *, restart: bool = False) -> None:
        """End it and start it again."""
        self.stop_ovn(restart=restart)
        self.timeline.after(away_s, lambda: self.start_ovn() if self.up else None)

    def _keep_rows(self, life: int) -> None:
        if life != self._ovn_life or not self.ovn:
            return
        if self.central.sb.up:
            self.make_rows()
            self._follow_port()
        self.timeline.after(1.0, lambda: self._keep_rows(life))

    def _follow_port(self) -> None:
        """Let tunnels run to the port that the row says."""
        sb = self.central.sb
        row = sb.find("Encap", type="geneve", ip=str(self.ip))
        if row is None:
            return
        port = int(sb.tables["Encap"][row]["options"].get("dst_port", "6081"))
        if port != self.port:
            self.port = port
            self.wire.changed(self)

    def make_rows(self) -> None:
        """Write the rows of the chassis where they are not there."""
        sb = self.central.sb
        ops = []
        chassis = sb.find("Chassis", name=self.chassis)
        if chassis is None:
            ops += self._chassis_rows()
            chassis = ops[-1].row
        private = sb.find("Chassis_Private", name=self.chassis)
        if private is None:
            own = {"name": self.chassis, "chassis": [chassis]}
            ops.append(self._insert("Chassis_Private", **own))
        elif sb.tables["Chassis_Private"][private]["chassis"] != (chassis,):
            ops.append(Op("update", "Chassis_Private", private, {"chassis": [chassis]}))
        if ops:
            try:
                sb.transact(ops)
            except Refused:
                return

    def _chassis_rows(self) -> list[Op]:
        encaps = [
            self._insert(
                "Encap",
                type=kind,
                ip=str(self.ip),
                chassis_name=self.chassis,
                options={"csum": "true"} | self._port_option(),
            )
            for kind in self.encap_types
        ]
        rows = [encap.row for encap in encaps]
        return [
            *encaps,
            self._insert("Chassis", name=self.chassis, hostname=self.name, encaps=rows),
        ]

    def _port_option(self) -> dict[str, str]:
        return {} if self.port == 6081 else {"dst_port": str(self.port)}

    def _insert(self, table: str, **values: Any) -> Op:
        uuid = UUID(int=self.central.sb.random.getrandbits(128))
        return Op("insert", table, uuid, values)

    def drop_rows(self, name: str) -> None:
        """Delete the rows of a chassis."""
        sb = self.central.sb
        ops = [
            Op("delete", table, row)
            for table in ("Chassis", "Chassis_Private")
            if (row := sb.find(table, name=name)) is not None
        ]
        if ops and sb.up:
            sb.transact(ops)

    def rewrite_encaps(self) -> None:
        """Replace its Encap rows, as ovn-controller does when a setting changes: keys are lost."""
        sb = self.central.sb
        row = sb.find("Chassis", name=self.chassis)
        if row is not None and sb.up:
            *encaps, chassis = self._chassis_rows()
            new = {"encaps": chassis.values["encaps"]}
            old = sb.tables["Chassis"][row]["encaps"]
            drop = [Op("delete", "Encap", one) for one in old]
            sb.transact([*drop, *encaps, Op("update", "Chassis", row, new)])

    def rename(self, name: str) -> None:
        """Give the chassis another name: ovn-controller takes its old rows away."""
        old, self.chassis = self.chassis, name
        self.stock.rename(name)
        self.set_local(system_id=name)
        self.drop_rows(old)
        if self.ovn:
            self.start_ovn()
