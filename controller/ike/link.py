# SPDX-License-Identifier: Apache-2.0
"""Shell: the link to the IKE daemon: connect, observe, follow events, keep its keys in order.

While the daemon is away, nothing is known of it, and the kernel tells whether a pair is protected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain

import structlog

from ovn_ipsec.errors import IkeError, IkeHungError
from ovn_ipsec.model.observation import Known, Unknown

from ..plan.agent import Agent
from ..plan.connection import CHILDREN, ConnName, DaemonSeen, IkeSa
from ..plan.pair.facts import NOTHING_SEEN, ConnSeen
from ..plan.pair.lineage import marks_of
from .apply import after_restart
from .backend import Events, IkeBackend
from .keyring import Keyring

_log = structlog.get_logger()

WhatMade = Callable[[ConnName], str]
RETRY_S = 1.0
RETRY_MAX_S = 30.0
"""Upper limit between two attempts to connect, which doubles: a hanging daemon delays us."""
RECOVERING_S = 60.0
BULK = 40
"""More touched connections than this are read in one dump instead of one by one."""
REST = 4.0
"""How long no other dump is read after one, as a multiple of what it took: where events come
without end, reading everything is not all that we and the daemon do."""


class IkeLink:
    """A backend and what was last seen of it, which is written into the agent."""

    def __init__(
        self,
        backend: IkeBackend,
        keys: Keyring,
        known: WhatMade | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the backend; sync() opens it.

        Args:
            backend: The daemon.
            keys: What it should hold besides connections.
            known: What the SAs were made from that an earlier run of this program has left.
            clock: Monotonic seconds: what a dump takes is measured.
        """
        self.backend = backend
        self.keys = keys
        keys.lost()
        self._known = known or (lambda _name: "")
        self._problem = "not connected yet"
        self._key_problem = ""
        self.version = ""
        self.recovering_until = float("-inf")
        self._since: str | None = None
        self._retry_at = float("-inf")
        self._retry_s = RETRY_S
        self._was_away = False
        """Whether it could not be reached at the first attempt."""
        self._up = False
        self._unread: dict[ConnName, str] = {}
        """Connections whose SAs could not be read, and why: the last observation still counts."""
        self._missed = ""
        """Why a complete observation failed; it still has to be made."""
        self._read_at = float("-inf")
        """When to read again what could not be read."""
        self._ahead: list[Events] = []
        """What was taken from the daemon and not processed yet."""
        self._clock = clock
        self._later: set[ConnName] = set()
        """Connections that are read next, or with the next dump if they are many."""
        self._doubted: dict[ConnName, tuple[IkeSa, ...]] = {}
        """What was seen of suspects when they were to be read once more."""
        self._dump_at = 0.0
        """Before this, no dump is read for many connections at once."""

    @property
    def problem(self) -> str:
        """What is wrong with the daemon, or with what it was given; empty if nothing is."""
        return self._problem or self._missed or self._unread_problem or self._key_problem

    @property
    def _unread_problem(self) -> str:
        first = next(iter(self._unread.items()), None)
        if first is None:
            return ""
        return f"SAs of {len(self._unread)} connections cannot be read: {first[0]}: {first[1]}"

    @property
    def ready(self) -> bool:
        """Whether connections can be loaded and used."""
        return self._up and self.backend.connected

    def outdated(
        self, suspects: Mapping[ConnName, tuple[IkeSa, ...]]
    ) -> frozenset[ConnName] | None:
        """Connections that may have other SAs by now than were seen; None: any of them.

        Until they are read, the kernel must not be compared with what was seen of them. Events
        come late where much is rekeyed, so those that matter are read once more, with the rests
        of all reads: something is missing if the daemon still has the same SAs then.

        Args:
            suspects: What was seen of connections of which the kernel seems to lack something.
        """
        self._ahead.append(self.backend.drain())
        if self._missed or any(events.lost for events in self._ahead):
            return None
        known = frozenset(self._unread).union(*(events.conns for events in self._ahead))
        known |= self._later
        before, waiting = self._doubted, known & self._doubted.keys()
        self._doubted = {name: sas for name, sas in suspects.items() if name not in known}
        fresh = {name for name, sas in self._doubted.items() if sas != before.get(name)}
        self._doubted |= {name: before[name] for name in waiting}
        self._later |= fresh
        return known | fresh

    def sync(self, agent: Agent, now: float) -> bool:
        """Connect if necessary, and process events.

        Returns:
            Whether the daemon came or went: then the kernel has to be audited.
        """
        try:
            return self._sync(agent, now)
        except Exception:
            if not self._up:
                self.backend.close()
            # The daemon reports an event only once: what was not processed is read again.
            self._missed = "its events could not be processed"
            self._read_at = now + RETRY_S
            raise

    def _sync(self, agent: Agent, now: float) -> bool:
        if not self.backend.connected:
            lost = self._lose(agent)
            return self._connect(agent, now) or lost
        self._load_keys(agent, now)
        return self._follow(agent, now)

    def _lose(self, agent: Agent) -> bool:
        if not self._up:
            return False
        self._up = False
        self._unread, self._missed, self._later, self._doubted = {}, "", set(), {}
        self.keys.lost()
        self._problem = "the IKE daemon does not answer"
        _log.error("ike_daemon_lost")
        for name, seen in list(agent.seen.items()):
            agent.put_seen(name, after_restart(seen))
        agent.touch_all()
        return True

    def _connect(self, agent: Agent, now: float) -> bool:
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_S
        try:
            self.backend.open()
        except IkeError as error:
            self._was_away = True
            if isinstance(error, IkeHungError):
                self._retry_at = now + self._retry_s
                self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)
            if self._problem != error.diagnostics():
                _log.warning("ike_daemon_unreachable", reason=error.diagnostics())
            self._problem = error.diagnostics()
            return False
        self._load_keys(agent, now)
        return self._observe(agent, now)

    def _load_keys(self, agent: Agent, now: float) -> None:
        self._key_problem = self.keys.load(self.backend, now)
        if self.keys.take_cleared():
            for name, seen in list(agent.seen.items()):
                agent.put_seen(name, replace(seen, config=""))

    def _observe(self, agent: Agent, now: float) -> bool:
        self._ahead = []
        match self.backend.observe():
            case Unknown(reason=reason):
                self._problem = reason
                self.backend.close()
                return False
            case Known(value=seen):
                pass
        if self._since != seen.since:
            if self._since is not None or self._was_away:
                self.recovering_until = now + RECOVERING_S
            self._since = seen.since
        self.version = seen.version
        self._problem = ""
        agent.able = seen.profiles
        self._up = True
        self._retry_s = RETRY_S
        _log.info(
            "ike_daemon_connected",
            version=seen.version,
            profiles=" ".join(sorted(seen.profiles)),
            connections=len(seen.conns),
        )
        mirror(agent, seen, known=self._known)
        agent.touch_all()
        self._owe(agent, seen, now)
        return True

    def _follow(self, agent: Agent, now: float) -> bool:
        taken, self._ahead = [*self._ahead, self.backend.drain()], []
        for name, message in chain.from_iterable(events.messages for events in taken):
            if agent.put_error(name, message):
                _log.warning("ike_failed", connection=name, reason=message)
        names = self._later.union(*(events.conns for events in taken))
        lost = any(events.lost for events in taken)
        again = now >= self._read_at
        if again:
            names |= self._unread.keys()
        if lost or (self._missed and again):
            self._later = set()
            agent.touch_all()
            self._reread(agent, now)
        elif len(names) > BULK and now < self._dump_at:
            self._later = names
        else:
            self._read_all(agent, names, now)
        # What a session that broke meanwhile left unread is read with the next one.
        return False if self.backend.connected else self._lose(agent)

    def _read_all(self, agent: Agent, names: set[ConnName], now: float) -> None:
        self._later = set()
        in_one = len(names) > BULK
        if in_one:
            self._reread(agent, now)
        for name in sorted(names):
            if not in_one:
                self._read(agent, name, now)
            agent.touch(name)

    def look(self, agent: Agent, name: ConnName) -> None:
        """Read the SAs of one connection now."""
        if self.ready:
            self._read(agent, name, float("-inf"))

    def _read(self, agent: Agent, name: ConnName, now: float) -> None:
        match self.backend.observe_sas(name):
            case Known(value=sas):
                self._unread.pop(name, None)
                agent.put_sas(name, sas)
            case Unknown(reason=reason):
                self._unread[name] = reason
                self._read_at = now + RETRY_S
                agent.put_error(name, reason)

    def _reread(self, agent: Agent, now: float) -> None:
        if not self.backend.connected:
            return
        begin = self._clock()
        found = self.backend.observe()
        self._dump_at = now + REST * (self._clock() - begin)
        match found:
            case Known(value=seen):
                mirror(agent, seen, keep_configs=True)
                self._owe(agent, seen, now)
            case Unknown(reason=reason):
                self._missed = reason
                self._read_at = now + RETRY_S

    def _owe(self, agent: Agent, seen: DaemonSeen, now: float) -> None:
        self._missed, self._unread = "", dict(seen.unreadable)
        self._read_at = now + RETRY_S
        for name, reason in seen.unreadable.items():
            agent.put_error(name, reason)

    def wake_at(self) -> float | None:
        """When to try again, monotonic seconds; None while connected and everything is read."""
        if not self.backend.connected:
            return self._retry_at
        times = [
            self.backend.wake_at(),
            self._read_at if self._unread or self._missed else None,
            self._dump_at if self._later else None,
        ]
        return min((time for time in times if time is not None), default=None)


def mirror(
    agent: Agent,
    seen: DaemonSeen,
    *,
    keep_configs: bool = False,
    known: WhatMade = lambda _name: "",
) -> None:
    """Write a complete observation into the agent; what the daemon lacks is removed there.

    Pairs of which something differs are decided anew. SAs that could not be read stay as they were:
    unknown does not mean gone.

    Args:
        agent: The agent to update.
        seen: The complete observation.
        keep_configs: Whether this is the daemon that we have loaded; otherwise we did not load its
            configurations, and `known` says what SAs were made from.
        known: The ``settled_mark`` of a connection; empty: none.
    """
    names: set[ConnName] = set(agent.seen) | set(seen.conns) | set(seen.sas)
    names |= {name for name, _ in seen.traps} | set(seen.unreadable)
    for name in names:
        old = agent.seen.get(name, NOTHING_SEEN)
        present = name in seen.conns
        agent.put_seen(
            name,
            ConnSeen(
                config=old.config if keep_configs and present else "",
                marks=old.marks if keep_configs else marks_of(known(name)),
                present=present,
                traps=frozenset(child for child in CHILDREN if (name, child) in seen.traps),
                sas=old.sas if name in seen.unreadable else seen.sas.get(name, ()),
                orphaned=old.orphaned,
                missing=old.missing,
            ),
        )
