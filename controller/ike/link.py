# SPDX-License-Identifier: Apache-2.0
"""Shell: the link to the IKE daemon: connect, observe, follow events, keep its keys in order.

While the daemon is away, nothing is known of it, and the kernel tells whether a pair is protected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from ovn_ipsec.errors import IkeError, IkeHungError
from ovn_ipsec.model.observation import Known, Unknown

from ..plan.agent import Agent
from ..plan.connection import CHILDREN, ConnName, DaemonSeen
from ..plan.pair.facts import NOTHING_SEEN, ConnSeen
from ..plan.pair.lineage import marks_of
from .apply import after_restart
from .backend import IkeBackend
from .keyring import Keyring

_log = structlog.get_logger()

WhatMade = Callable[[ConnName], str]
RETRY_S = 1.0
RETRY_MAX_S = 30.0
"""Between two attempts to reach a daemon: doubling, as one that hangs holds us up each time."""
RECOVERING_S = 60.0
BULK = 40
"""More touched connections than this are read in one dump instead of one by one."""


class IkeLink:
    """One backend and what was last seen of it, written into the agent."""

    def __init__(self, backend: IkeBackend, keys: Keyring, known: WhatMade | None = None) -> None:
        """Store the backend; it is opened by sync().

        Args:
            backend: The daemon.
            keys: What it shall hold besides connections.
            known: What SAs were made from that an earlier life of this program has left.
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
        """Whether it could not be reached when it was first asked."""
        self._up = False
        self._unread: dict[ConnName, str] = {}
        """Connections whose SAs could not be read, and why: what was seen of them before stands."""
        self._missed = ""
        """Why a whole look failed that had to be; it is still owed."""
        self._read_at = float("-inf")
        """When what could not be read is read again."""

    @property
    def problem(self) -> str:
        """What is wrong with the daemon, or with what it was given; empty when nothing is."""
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

    def sync(self, agent: Agent, now: float) -> bool:
        """Connect if need be and take in events.

        Returns:
            Whether the daemon came or went: the kernel has to be looked at.
        """
        try:
            return self._sync(agent, now)
        except Exception:
            if not self._up:
                self.backend.close()
            # What the daemon has told is told once: what was not taken in is read again.
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
        self._unread, self._missed = {}, ""
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
        self._owe(agent, seen, now)
        return True

    def _follow(self, agent: Agent, now: float) -> bool:
        events = self.backend.drain()
        for name, message in events.messages:
            if agent.put_error(name, message):
                _log.warning("ike_failed", connection=name, reason=message)
        names = set(events.conns)
        again = now >= self._read_at
        if again:
            names |= self._unread.keys()
        if events.lost or len(names) > BULK or (self._missed and again):
            if self.backend.connected:
                self._reread(agent, now)
        else:
            for name in sorted(names):
                self._read(agent, name, now)
                agent.touch(name)
        # What a session that broke meanwhile still owed is read when there is another.
        return False if self.backend.connected else self._lose(agent)

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
        match self.backend.observe():
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
        """When to try again, monotonic seconds; None while connected, and all is read."""
        if not self.backend.connected:
            return self._retry_at
        return self._read_at if self._unread or self._missed else None


def mirror(
    agent: Agent,
    seen: DaemonSeen,
    *,
    keep_configs: bool = False,
    known: WhatMade = lambda _name: "",
) -> None:
    """Write a full observation into the agent; what the daemon does not have is gone from there.

    SAs that could not be read stay as they were: unknown is not gone.

    Args:
        agent: Whose picture of the daemon it is.
        seen: All of it.
        keep_configs: Whether it is the daemon that we have loaded; else its configurations are
            somebody else's, and `known` says what SAs were made from.
        known: What ``settled_mark`` said of a connection; empty: nothing.
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
    agent.touch_all()
