# SPDX-License-Identifier: Apache-2.0
"""Shell: the link to the southbound: connect, and hand what changed there to who decides."""

from __future__ import annotations

from collections.abc import Mapping

import ovs.poller
import structlog

from ovn_ipsec import clock
from ovn_ipsec.ovsdb.schemas import SOUTHBOUND
from ovn_ipsec.ovsdb.session import Session, use_tls
from ovn_ipsec.schema.open_vswitch import LocalChassis

from .plan.agent import Agent
from .southbound import Southbound
from .trust import Trust

_log = structlog.get_logger()

TlsFiles = tuple[str, str, str]
"""Paths: private key, certificate, CA of the other end."""


class SouthboundLink:
    """One session at a time, made anew when its remote or our name is another."""

    def __init__(self, tls: TlsFiles | None) -> None:
        """Store what the command line says of TLS; connect() does the rest."""
        self._tls = tls
        self.opened: Southbound | None = None
        self.ready = False
        """Whether the policy has been seen once."""
        self.phase_since = float("-inf")
        """When its phase began, monotonic seconds."""
        self.error = ""
        """What in SB_Global does not parse."""

    def connect(self, here: LocalChassis, name: str, files: TlsFiles | None) -> None:
        """Connect, in place of what there was.

        Args:
            here: Where to.
            name: Of this chassis; its digest is asked for, and those of the chassis that are
                named as stock peers, and no other.
            files: For ssl: remotes, where the command line names none.
        """
        files = self._tls or files
        if files is not None:
            use_tls(*files)
        self.close()
        probe_s = 0.0 if here.remote.startswith("unix:") else here.probe_interval_ms / 1000
        rows = {"Chassis_Private": [["name", "==", one] for one in (name, *sorted(here.psk_plain))]}
        session = Session(here.remote, SOUTHBOUND, probe_interval_s=probe_s, only=rows)
        session.open()
        self.opened = Southbound(session)
        _log.info("southbound_connecting", remote=here.remote)

    @property
    def loaded(self) -> Southbound | None:
        """The southbound, once all its rows have come."""
        found = self.opened
        return found if found is not None and found.session.loaded else None

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""
        return self.opened is not None and self.opened.session.connected

    def seen_global(self) -> tuple[bool, Mapping[str, str]]:
        """SB_Global's ipsec and options; off and empty before they are known."""
        southbound = self.loaded
        if southbound is None:
            return False, {}
        seen = southbound.seen_global()
        return seen.ipsec, seen.options

    def run(self, agent: Agent, trust: Trust) -> None:
        """Take in what has arrived."""
        southbound = self.opened
        if southbound is None or not southbound.session.run():
            return
        failure = southbound.session.failure()
        if failure is not None:
            _log.warning("digest_not_written", reason=failure.diagnostics())
        if not southbound.session.loaded:
            return
        seen = southbound.seen_global()
        self.error = seen.error.diagnostics() if seen.error is not None else ""
        phase = agent.policy.phase
        if agent.put(seen.policy, southbound.changed_chassis()):
            policy = agent.policy
            if policy.phase is not phase:
                self.phase_since = clock.monotonic()
            _log.info("policy", generation=policy.generation, phase=policy.phase.value)
        trust.note(agent, southbound, clock.monotonic())
        for error in agent.take_refusals():
            _log.error("row_refused", reason=error.diagnostics())
        self.ready = True

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Arm the poller with everything that run() could act on."""
        if self.opened is not None:
            self.opened.session.wait(poller)

    def close(self) -> None:
        """Drop the connection."""
        if self.opened is not None:
            self.opened.session.close()
