# SPDX-License-Identifier: Apache-2.0
"""What must hold, looked at whenever something has changed.

- **clear**: once the operator wants a pair encrypted, the chassis has acknowledged that, and the
  way was seen closed, no packet leaves in clear there, and none is taken in, until the operator
  decides otherwise. What databases, daemons or disks say meanwhile is no decision.
- **lost**: while nothing but what the docs call hitless happens, each packet arrives.
- **acknowledged**: a chassis that reports `enforce` has closed what is to be closed.
- **ordered**: northd switches nothing off that the operator has on.
- **work**: passes, calls and log lines of a program per second are bounded, whatever is written.
- **converged** (at the end only): all is as policy says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.plan.pair.lifecycle import LINGER_S
from ovn_ipsec.model.policy import Mode
from tests.fakes.ovsdb import FakeSession, Update

from . import logs
from .kernel import Sent
from .wire import Way

if TYPE_CHECKING:
    from .host import Host
    from .world import World

ACCEPTS_S = 20.0
"""How long after its acknowledgement a chassis may still take clear packets in: the peer changes
over later."""
KNOWN_S = 3.0
"""After which everybody has heard of a new chassis."""
ALIAS_S = LINGER_S + 30.0
"""How long another name of a chassis keeps its pairs denied after its rows have gone: one that was
never up is clear again then, as it was before."""
PASSES = 40.0
CALLS = 120.0
LINES = 20.0
"""Of one program, a second, over WINDOW_S."""
WINDOW_S = 30.0
DISK_BYTES = 64 * 1024
"""What a controller keeps on disk."""
PREPARE_S = 60.0 + 100.0
"""How long `prepare` may last: its own minute, and a northd that is away or cut off meanwhile."""
_ON = ("establish", "enforce")


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must hold does not."""

    at: float
    what: str
    """One of the words above."""
    text: str

    def __str__(self) -> str:
        return f"at {self.at:.3f} {self.what}: {self.text}"


@dataclass(slots=True, eq=False)
class Held:
    """What is known of one way."""

    wanted: Mode
    closed_out: bool = False
    closed_in: bool = False
    used: bool = False
    """Whether a packet has passed since both ends are there."""


class Watch:
    """Looks at ways, digests and work."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: list[Violation] = []
        self.hitless = False
        """Whether every packet has to arrive."""
        self.acknowledged: dict[str, tuple[str, str]] = {}
        """Generation and phase by chassis."""
        self._held: dict[tuple[str, str], Held] = {}
        self._hosts: dict[str, Host] = {}
        self._since: dict[str, float] = {}
        """When the row of a chassis came."""
        self._alias_left: dict[str, float] = {}
        """When the last row of another name of a host went."""
        self._prepare_since: float | None = None
        self._work: list[tuple[float, dict[str, tuple[int, int, int]]]] = []
        self.peak: Counter[str] = Counter()
        """The most of each kind of work."""

    def violate(self, what: str, text: str) -> None:
        """Take down what does not hold."""
        self.violations.append(Violation(self._world.timeline.now, what, text))

    def add(self, host: Host) -> None:
        """Take note of a new host."""
        for other in self._hosts.values():
            for key in ((host.name, other.name), (other.name, host.name)):
                self._held[key] = Held(self._world.wanted(host, other))
        self._hosts[host.name] = host

    def remove(self, host: Host) -> None:
        """Forget a host."""
        del self._hosts[host.name]
        for key in [key for key in self._held if host.name in key]:
            del self._held[key]

    def rebooted(self, host: Host) -> None:
        """Take note that packets of a host are lost until it is back."""
        for key, held in self._held.items():
            if host.name in key:
                held.used = False

    def decided(self) -> None:
        """Take note that the operator has decided something."""
        for (one, other), held in self._held.items():
            wanted = self._world.wanted(self._hosts[one], self._hosts[other])
            if wanted is not held.wanted:
                held.wanted = wanted
                if wanted is Mode.OFF:
                    held.closed_out = held.closed_in = False

    def forget(self) -> None:
        """Forget what was closed."""
        for held in self._held.values():
            held.closed_out = held.closed_in = False

    # --- ways ------------------------------------------------------------------------------------

    def look(self, way: Way) -> None:
        """What happens to packets on a way has changed."""
        held = self._held.get((way.src.name, way.dst.name))
        if held is None:
            return
        if held.wanted is not Mode.OFF:
            if (way.sent.sent is Sent.CLEAR or way.stray) and held.closed_out:
                self.violate("clear", f"{way}: leaves in clear, and was closed")
                held.closed_out = False
            if way.accepts_clear and way.dst.tunnels and held.closed_in:
                self.violate("clear", f"{way}: clear packets are taken in, and were not")
                held.closed_in = False
            self._close(way, held)
        if not (way.src.tunnels and way.dst.tunnels):
            held.used = False
        elif way.passes:
            held.used = True
        elif self.hitless and held.used:
            self.violate("lost", f"{way}: {way.arriving.sent} (now {way.sent.sent}) does not pass")

    def _close(self, way: Way, held: Held) -> None:
        for host in (way.src, way.dst):
            # What it has not heard of yet is denied, and is no decision of it.
            host.decides = host.decides and host.reads
        if held.closed_out and held.closed_in:
            return
        if held.wanted is not Mode.OFF and self._known(way.src) and self._known(way.dst):
            closed = way.sent.sent not in (Sent.CLEAR, Sent.NOTHING) and not way.stray
            if closed and way.src.decides and self._follows(way.src, _ON):
                held.closed_out = True
            taken = way.accepts_clear or not (way.dst.tunnels and way.dst.decides)
            if not taken and self._follows(way.dst, _ON):
                held.closed_in = True

    def _known(self, host: object) -> bool:
        """Whether a chassis has been there for all to see: one that is not is denied anyway."""
        chassis: str = host.chassis  # type: ignore[attr-defined]
        name: str = host.name  # type: ignore[attr-defined]
        known = self._since.get(chassis, float("inf")) + KNOWN_S
        settled = self._alias_left.get(name, float("-inf")) + ALIAS_S
        return self._world.timeline.now >= max(known, settled)

    def _follows(self, host: object, phases: tuple[str, ...]) -> bool:
        """Whether a chassis has acknowledged what the operator wants now."""
        said = self._world.central.policy()
        chassis: str = host.chassis  # type: ignore[attr-defined]
        generation, phase = self.acknowledged.get(chassis, ("", ""))
        return phase in phases and generation == said.get("generation") and self._reflects(said)

    def _reflects(self, said: dict[str, str]) -> bool:
        intent = self._world.intent
        on = said.get("phase") not in ("off", "relax", None)
        if on is not intent.enabled:
            return False
        if not on:
            return True
        rules = {str(rule) for rule in intent.rules.values()}
        found = {line.partition(" ")[2] for line in said.get("rules", "").splitlines()}
        default = said.get("default", "").partition("/")[0]
        return default == str(intent.default) and rules == found

    # --- databases -------------------------------------------------------------------------------

    def read(self, update: Update) -> None:
        """Rows of the southbound have changed."""
        for table, _, old, new in update:
            if table == "Chassis_Private":
                row = new or old
                assert row is not None
                keys = {} if new is None else new["external_ids"]
                now = (keys.get("ovn-ipsec-generation", ""), keys.get("ovn-ipsec-phase", ""))
                if not self._says_itself(row["name"]):
                    # A database that is restored says what was true once.
                    self.acknowledged.pop(row["name"], None)
                elif self.acknowledged.get(row["name"]) != now:
                    self.acknowledged[row["name"]] = now
                    self._acknowledge(row["name"])
            elif table == "Chassis":
                row = new or old
                assert row is not None
                if new is None:
                    self._since.pop(row["name"], None)
                    for host in self._hosts.values():
                        if row["name"].startswith(host.name) and row["name"] != host.chassis:
                            self._alias_left[host.name] = self._world.timeline.now
                else:
                    self._since.setdefault(row["name"], self._world.timeline.now)
            elif table == "SB_Global":
                self._ordered(
                    "" if old is None else old["external_ids"].get("ovn-ipsec-phase", ""),
                    "" if new is None else new["external_ids"].get("ovn-ipsec-phase", ""),
                )

    def _says_itself(self, chassis: str) -> bool:
        """Whether it is the chassis' own program that writes now."""
        by = self._world.central.sb.by
        host = next((h for h in self._hosts.values() if h.chassis == chassis), None)
        return host is not None and isinstance(by, FakeSession) and by.owner == host.name

    def _ordered(self, old: str, new: str) -> None:
        by = self._world.central.sb.by
        off = ("off", "relax")
        ours = isinstance(by, FakeSession) and by.owner.startswith("northd")
        if ours and new in off and old not in off and self._world.intent.enabled:
            self.violate("ordered", f"northd goes from {old or 'nothing'} to {new}")

    def _acknowledge(self, chassis: str) -> None:
        host = next((h for h in self._hosts.values() if h.chassis == chassis), None)
        if host is None:
            return
        for way in self._ways(host):
            self._close(way, self._held[way.src.name, way.dst.name])
        if self._follows(host, ("enforce",)):
            for way in self._ways(host):
                wanted = self._held[way.src.name, way.dst.name].wanted
                if way.src is host and wanted is Mode.REQUIRE and way.sent.sent is Sent.CLEAR:
                    self.violate("acknowledged", f"{chassis} reports enforce: {way} is clear")
            now = self.acknowledged[chassis]
            self._world.timeline.after(ACCEPTS_S, lambda: self._look_in(host, now))

    def _look_in(self, host: Host, said: tuple[str, str]) -> None:
        if self._hosts.get(host.name) is not host or self.acknowledged.get(host.chassis) != said:
            return
        if not host.tunnels or not self._follows(host, ("enforce",)):
            return
        for way in self._ways(host):
            held = self._held[way.src.name, way.dst.name]
            is_wanted = held.wanted is Mode.REQUIRE and self._known(way.src)
            if way.dst is host and is_wanted and way.accepts_clear:
                self.violate("acknowledged", f"{host.chassis} reports enforce: takes {way} clear")

    def _ways(self, host: Host) -> list[Way]:
        ways = self._world.wire.ways.values()
        return [way for way in ways if host in (way.src, way.dst)]

    # --- work ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at what grows, and at what has lasted."""
        for way in self._world.wire.ways.values():
            self._close(way, self._held[way.src.name, way.dst.name])
        now = self._world.timeline.now
        self._look_at_phase(now)
        self._look_at_disks()
        found = {p.name: p for p in self._world.northds}
        found |= {h.name: h.controller for h in self._hosts.values() if h.controller is not None}
        counts = {
            name: (process.passes, sum(process.calls.values()), logs.lines[name])
            for name, process in found.items()
        }
        self._work.append((now, counts))
        while self._work[0][0] < now - WINDOW_S:
            self._work.pop(0)
        since, before = self._work[0]
        if now - since < WINDOW_S - 1:
            return
        for name, count in counts.items():
            if name not in before:
                continue
            rates = [
                (new - old) / (now - since) for new, old in zip(count, before[name], strict=True)
            ]
            kinds = (("passes", PASSES), ("calls", CALLS), ("log lines", LINES))
            for (kind, limit), rate in zip(kinds, rates, strict=True):
                self.peak[kind] = max(self.peak[kind], int(rate))
                if rate > limit:
                    self.violate("work", f"{name}: {rate:.0f} {kind} a second")
                    self._work.clear()
                    return

    def _look_at_phase(self, now: float) -> None:
        if self._world.central.policy().get("phase") != "prepare":
            self._prepare_since = None
        elif self._prepare_since is None:
            self._prepare_since = now
        elif now > self._prepare_since + PREPARE_S:
            self.violate("converged", f"in prepare for {now - self._prepare_since:.0f} s")

    def _look_at_disks(self) -> None:
        for host in self._hosts.values():
            if host.state.is_dir():
                size = sum(path.stat().st_size for path in host.state.iterdir())
                if size > DISK_BYTES:
                    self.violate("work", f"{host.name}: {size} bytes on disk")

    # --- the end ---------------------------------------------------------------------------------

    def unmet(self) -> list[str]:
        """What is not as policy says."""
        world, found = self._world, []
        intent = world.intent
        said = world.central.policy()
        if said and not self._reflects(said):
            found.append(f"the southbound carries {said.get('phase')} {said.get('rules')!r}")
        ends = {Mode.OFF: "off", Mode.PREFER: "established", Mode.REQUIRE: "enforced"}
        modes = [intent.default, *(rule.mode for rule in intent.rules.values())]
        by_strength = [Mode.OFF, Mode.PREFER, Mode.REQUIRE].index
        strongest = max(modes, key=by_strength)
        # A rule that another one covers wholly may count or not.
        in_force = max((held.wanted for held in self._held.values()), key=by_strength)
        expected = ends[strongest] if intent.enabled else "off"
        if world.central.state() not in {expected, ends[in_force]}:
            summary = world.central.nb_global["external_ids"]
            found.append(f"NB says {world.central.state()!r} and not {expected!r}: {summary}")
        return [*found, *self.unmet_ways()]

    def unmet_ways(self) -> list[str]:
        """Ways that are not as policy says."""
        found = []
        for way in self._world.wire.ways.values():
            held = self._held[way.src.name, way.dst.name]
            if not (way.src.tunnels and way.dst.tunnels):
                continue
            sent = Sent.CLEAR if held.wanted is Mode.OFF else Sent.ESP
            if way.sent.sent is not sent or not way.passes:
                found.append(f"{way}: {way.sent.sent}, passes {way.passes}; wanted {held.wanted}")
            elif held.wanted is Mode.REQUIRE and way.accepts_clear:
                found.append(f"{way}: clear packets are taken in")
        return found
