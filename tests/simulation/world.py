# SPDX-License-Identifier: Apache-2.0
"""A whole simulated cluster: central, hosts, programs, and who looks at what happens."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

from ovn_ipsec.model.policy import Mode
from tests.fakes.timeline import Timeline, TimelineClock

from . import releases
from .agent import ControllerProgram
from .central import Central
from .engine import Process, Program
from .host import Host
from .intent import Intent
from .northd import NorthdProgram
from .watch import Watch
from .wire import Wire

RESTART_S = 1.0
"""How long systemd waits before it starts a program again that has ended."""
TICK_S = 5.0
"""Between two looks at what needs no event."""


class World:
    """All of it."""

    def __init__(self, seed: int, hosts: int = 3) -> None:
        """Build it, switched off and at rest.

        Args:
            seed: What chance there is comes from it.
            hosts: Number of them.
        """
        releases.install()
        self.random = Random(seed)
        self.timeline = Timeline()
        self.folder = Path(tempfile.mkdtemp(prefix="ovn-ipsec-sim-", dir=_memory()))
        self.central = Central(self.timeline, Random(seed + 1))
        self.wire = Wire(self.timeline, Random(seed + 2))
        self.wire.traffic = seed % 4 != 3
        self.hosts: dict[str, Host] = {}
        self.intent = Intent()
        self.watch = Watch(self)
        self.wire.look = self.watch.look
        self.central.sb.watch.append(self.watch.read)
        self._number = 0x1000
        self.left: set[int] = set()
        """Numbers of hosts that are gone for ever."""
        self.backup = self.central.backup()
        self.northds_until = 0.0
        """Until when none of them is started again."""
        self.northds = [self._northd(f"northd{number}") for number in (1, 2)]
        for process in self.northds:
            process.start()
        for number in range(1, hosts + 1):
            self.join(number)
        self._tick()

    def close(self) -> None:
        """Take its disks away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, seconds: float) -> bool:
        """Let time pass, until something is wrong.

        Returns:
            Whether nothing is.
        """
        end = self.timeline.now + seconds
        while self.timeline.now < end and not self.watch.violations:
            self.timeline.run_until(min(end, self.timeline.now + 1.0))
        return not self.watch.violations

    def join(self, number: int) -> Host:
        """Add a host, with all that runs on it."""
        folder = self.folder / f"hv{number}"
        folder.mkdir(exist_ok=True)
        host = Host(
            self.timeline,
            self.central,
            self.wire,
            number,
            folder=folder,
            take_number=self._take_number,
        )
        for other in list(self.hosts.values())[:1]:
            given = other.stock
            host.stock.put(trusted=given.trusted, authority=given.authority, secrets=given.secrets)
        host.controller = self._controller(host)
        self.hosts[host.name] = host
        self.watch.add(host)
        self.wire.add(host)
        host.boot()
        return host

    def leave(self, host: Host) -> None:
        """Take a host away for ever, in order."""
        host.stop_ovn()
        host.power_off()
        host.gone = True
        self.wire.remove(host)
        del self.hosts[host.name]
        self.left.add(int(host.name[2:]))
        self.watch.remove(host)

    def _take_number(self) -> int:
        self._number += 1
        return self._number

    def _controller(self, host: Host) -> Process:
        def start(process: Process) -> Program:
            return ControllerProgram(process, host)

        process = Process(self.timeline, host.name, start)

        def ended() -> None:
            away_s = max(RESTART_S, host.controller_until - self.timeline.now)
            self.timeline.after(away_s, lambda: process.start() if host.up else None)

        process.on_end = ended
        return process

    def _northd(self, name: str) -> Process:
        def start(process: Process) -> Program:
            return NorthdProgram(process, self.central, TimelineClock(self.timeline))

        process = Process(self.timeline, name, start)

        def ended() -> None:
            away_s = max(RESTART_S, self.northds_until - self.timeline.now)
            self.timeline.after(away_s, process.start)

        process.on_end = ended
        return process

    def _tick(self) -> None:
        self.central.look()
        self.wire.hit_traps()
        self.watch.tick()
        self.timeline.after(TICK_S, self._tick)

    def wanted(self, one: Host, other: Host) -> Mode:
        """What the operator wants of two hosts."""
        return self.intent.mode(one.chassis, other.chassis)


def _memory() -> str | None:
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() else None
