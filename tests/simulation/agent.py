# SPDX-License-Identifier: Apache-2.0
"""The real controller, in virtual time, on a simulated host: its outside is made of simulations."""

from __future__ import annotations

from collections.abc import Iterable

from controller.daemon import Controller, Settings
from controller.evidence.journal import FileJournal
from controller.kernel.tables import KernelEvents
from controller.outside import Outside, SouthboundAddress
from controller.ports.keeper import PortKeeper
from controller.state_dir import StateDir
from controller.xfrm.values import XfrmPolicy, XfrmState
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.evidence.events import JOURNAL
from ovn_ipsec.model.observation import Known, Unknown
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND, VSWITCH
from tests.fakes.ovsdb import FakeDatabase, FakeSession

from .charon import CharonBackend
from .engine import FakePoller, Process
from .host import Host
from .keeper import SimKeeper
from .layers import SimLayer

VSWITCH_FD, SOUTHBOUND_FD, IKE_FD, KERNEL_FD = 10, 11, 20, 30


class SimTables:
    """See KernelTables."""

    def __init__(self, process: Process, host: Host) -> None:
        self._process, self._kernel = process, host.kernel
        self._waiting = KernelEvents()

    def open(self) -> None:
        """Subscribe to events."""
        self._process.gate("kernel.open")
        self._kernel.listeners.append(self._note)

    def close(self) -> None:
        """Unsubscribe."""
        if self._note in self._kernel.listeners:
            self._kernel.listeners.remove(self._note)

    def _note(self, what: str) -> None:
        old = self._waiting
        self._waiting = KernelEvents(
            guard_touched=old.guard_touched or what == "guard",
            flushed=old.flushed or what == "flushed",
            deleted=old.deleted or what == "deleted",
        )
        self._process.kick(KERNEL_FD)

    def filenos(self) -> list[int]:
        """What stands for the sockets; one is readable for as long as events wait."""
        if self._waiting != KernelEvents():
            self._process.kick(KERNEL_FD)
        return [KERNEL_FD]

    def drain(self) -> KernelEvents:
        """Take what events wait."""
        found, self._waiting = self._waiting, KernelEvents()
        return found

    def dump(self) -> tuple[tuple[XfrmPolicy, ...], tuple[XfrmState, ...]]:
        """Read both tables."""
        self._process.gate("kernel.dump")
        return self._kernel.policies(), self._kernel.states()

    def delete_states(self, states: Iterable[XfrmState]) -> None:
        """Delete SAs."""
        self._process.gate("kernel.delete")
        self._kernel.delete(states)

    def delete_policies(self, policies: Iterable[XfrmPolicy]) -> None:
        """Delete policies."""
        self._process.gate("kernel.delete")
        self._kernel.delete_policies(policies)

    def esp(self, versions: Iterable[int]) -> Known[bool] | Unknown:
        """Whether this kernel can do ESP."""
        self._process.gate("kernel.esp")
        return Known(self._kernel.esp)


class SimDisk(StateDir):
    """The real files, on a disk that can be full, and a program that can end beside each write."""

    def __init__(self, process: Process, host: Host) -> None:
        super().__init__(host.state)
        self._process, self._host = process, host

    def _append(self, name: str, line: str) -> None:
        if why := self._in_the_way():
            self._problems[name] = why
            self._torn.add(name)
        else:
            super()._append(name, line)

    def _replace(self, name: str, text: str) -> bool:
        why = self._in_the_way()
        return self._fails(name, why) if why else super()._replace(name, text)

    def _in_the_way(self) -> str:
        try:
            self._process.gate("disk.write")
        except EdgeError:
            return "Input/output error"
        return "No space left on device" if self._host.disk_full else ""


UNDERLAY_MTU = 1500


class SimJournal(FileJournal):
    """The real file on the same disk."""

    def __init__(self, process: Process, host: Host) -> None:
        super().__init__(host.state / JOURNAL)
        self._process, self._host = process, host

    def append(self, lines: str) -> None:
        """Add lines."""
        self._check()
        super().append(lines)

    def replace(self, lines: str) -> None:
        """Keep these lines alone."""
        self._check()
        super().replace(lines)

    def _check(self) -> None:
        self._process.gate("journal.write")
        if self._host.disk_full:
            raise EdgeError("No space left on device")


class ControllerProgram:
    """One controller that runs."""

    def __init__(self, process: Process, host: Host) -> None:
        self._process, self._host = process, host
        self.controller = Controller(Settings(), self._outside())
        process.closers.append(self.controller.close)
        self.controller.open()

    def _outside(self) -> Outside:
        process, host = self._process, self._host
        gate = process.gate
        return Outside(
            clock=host.clock,
            vswitch=self._vswitch(),  # type: ignore[arg-type]
            southbound=self._southbound,  # type: ignore[arg-type]
            layers=tuple(SimLayer(name, host.kernel, gate) for name in ("nft", "xfrm")),
            ike=lambda _uri: CharonBackend(host.charon, gate, lambda: process.kick(IKE_FD), IKE_FD),
            ikes=lambda _vici: host.ikes,
            kernel=SimTables(process, host),
            state=SimDisk(process, host),
            journal=SimJournal(process, host),
            credentials=lambda: SimKeeper(host, process.kick),  # type: ignore[arg-type, return-value]
            ports=PortKeeper(host.folder),
            knock=lambda pair: host.wire.knock(host, pair.remote),
            monitor_ipsec=lambda: host.monitor,
            name_override=lambda: None,
            path_mtus=lambda ends: dict.fromkeys(ends, UNDERLAY_MTU),
            boot=f"boot {host.boots}",
        )

    def _vswitch(self) -> FakeSession:
        process, host = self._process, self._host
        return FakeSession(
            "unix:db.sock",
            VSWITCH,
            find=lambda _remotes: host.vswitch,
            timeline=host.timeline,
            owner=host.name,
            wake=lambda: process.kick(VSWITCH_FD),
            fd=VSWITCH_FD,
        )

    def _southbound(self, address: SouthboundAddress) -> FakeSession:
        process, host = self._process, self._host

        def find(remotes: str) -> FakeDatabase | None:
            return host.central.find(remotes) if host.up else None

        return FakeSession(
            address.remotes,
            SOUTHBOUND,
            find=find,
            timeline=host.timeline,
            only={"Chassis_Private": [["name", "==", name] for name in address.digests]},
            owner=host.name,
            wake=lambda: process.kick(SOUTHBOUND_FD),
            fd=SOUTHBOUND_FD,
        )

    def step(self) -> None:
        """One pass."""
        self.controller.step()
        chassis = self.controller.chassis
        if chassis is not None and chassis.synced and self._host.reads:
            # Of a southbound whose policy it refuses it takes no new chassis in, and a layer that
            # has not taken what was decided denies more.
            self._host.decides = not chassis.held_because and self.controller.guard.held

    def wait(self, poller: FakePoller) -> None:
        """Say what it waits for."""
        self.controller.wait(poller)
