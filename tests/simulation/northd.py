# SPDX-License-Identifier: Apache-2.0
"""The real northd_ext, in virtual time, on simulated databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from northd_ext.daemon import LOCK, Northd
from ovn_ipsec.ovsdb.schemas import NORTHBOUND, SOUTHBOUND_CENTRAL, SOUTHBOUND_NETWORKS
from tests.fakes.ovsdb import FakeSession
from tests.fakes.timeline import TimelineClock

from .central import Central
from .engine import FakePoller, Process


class Quiet:
    """A Service without a process around it."""

    stopping = False
    exporter = None

    def poll(self) -> None:
        """Nobody asks anything."""

    def wait(self, poller: FakePoller) -> None:
        """Nobody will."""

    def tell(self, _doing: str) -> None:
        """Nobody listens."""

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def command(self, *_: Any) -> None:
        """Nobody calls it."""


class GatedSession(FakeSession):
    """A session whose program can end beside each write: before it is sent, and after."""

    gate: Callable[[str], None]

    def transact(self, build: Callable[[Any], None]) -> None:
        """See Session."""
        self.gate("ovsdb.write")
        super().transact(build)
        self.gate("ovsdb.sent")


class NorthdProgram:
    """One northd_ext that runs."""

    def __init__(self, process: Process, central: Central, clock: TimelineClock) -> None:
        def session(number: int, remotes: str, schema: Any, lock: str | None = None) -> FakeSession:
            made = GatedSession(
                remotes,
                schema,
                find=central.find,
                timeline=central.timeline,
                lock=lock,
                owner=process.name,
                wake=lambda: process.kick(number),
                fd=number,
            )
            made.gate = process.gate
            return made

        self.nb = session(1, "tcp:10.1.0.1:6641", NORTHBOUND)
        self.sb = session(2, "tcp:10.1.0.1:6642", SOUTHBOUND_CENTRAL, LOCK)
        ports = session(3, "tcp:10.1.0.1:6642", SOUTHBOUND_NETWORKS)
        self.northd = Northd(Quiet(), self.nb, self.sb, ports, clock=clock)  # type: ignore[arg-type]
        process.closers.append(self.northd.close)
        self.northd.open()

    def step(self) -> None:
        """One turn."""
        self.northd.turn()

    def wait(self, poller: FakePoller) -> None:
        """Say what it waits for."""
        self.northd.wait(poller)  # type: ignore[arg-type]
