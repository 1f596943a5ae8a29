# SPDX-License-Identifier: Apache-2.0
"""Shell: how this chassis and its peers authenticate: credentials and pins."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import structlog

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Phase
from ovn_ipsec.schema.open_vswitch import LocalChassis

from .credentials.source import (
    NO_FILES,
    NO_PIN_FILES,
    NO_SECRET,
    CredentialInputs,
    CredentialSource,
)
from .ike.keyring import Keyring
from .plan.agent import Agent
from .plan.configs import Configs
from .plan.connection import ABLE, Abilities
from .plan.credentials.pins import Pins
from .plan.credentials.plain import PlainPeers
from .plan.credentials.stock import readable
from .report import refusal_summary
from .southbound import ChassisSeen, SouthboundSeen

_log = structlog.get_logger()

UNABLE = (
    "this chassis cannot authenticate with {}: ovn-ipsec-ike=delegate can only with ca or pinned"
    " (docs/howto/delegate.md)"
)
NOT_OUR_PORTS = (
    "this chassis cannot authenticate with pinned: ovn-controller has the tunnel ports, and does"
    " not name certificates there (docs/howto/delegate.md)"
)


class Trust:
    """The credentials of this chassis and those that its peers have published."""

    def __init__(
        self,
        keeper: CredentialSource,
        keys: Keyring,
        abilities: Abilities = ABLE,
    ) -> None:
        """Start without credentials.

        Args:
            keeper: Where they come from.
            keys: Those that the IKE daemon has confirmed.
            abilities: Of the IKE daemon.
        """
        self._abilities = abilities
        self.owns_ports = True
        """Whether the tunnel ports are ours, as long as nothing else is known; matters where
        ovs-monitor-ipsec goes by them."""
        self.keeper = keeper
        self.keys = keys
        self.configs = Configs()
        """Makes the agent's connections."""
        self._pins = Pins()
        self._plain = PlainPeers()
        self._ways: tuple[Auth, ...] = ()
        self._unpinned: set[str] = set()
        """Chassis whose certificates have not been passed on: they are read when needed."""
        self._unreadable: dict[str, InputError] = {}
        """Of them, those whose certificates ovs-monitor-ipsec cannot use."""

    def note(self, changed: Iterable[ChassisSeen], now: float) -> None:
        """Note what changed rows publish."""
        for one in changed:
            if self._pins.note(one.name, one.pin, now):
                self._unpinned.add(one.name)

    def refresh(
        self,
        agent: Agent,
        here: LocalChassis,
        seen: SouthboundSeen | None,
        times: tuple[float, datetime],
    ) -> None:
        """Check the credentials; a change there marks the pairs that it affects.

        Args:
            agent: It is given what is in use.
            here: What the operator has set up.
            seen: The southbound's contents; None before anything has arrived.
            times: Monotonic seconds, and wall time.
        """
        now, wall = times
        policy = agent.policy
        inputs = CredentialInputs(
            chassis=agent.this_chassis,
            ways=policy.auth,
            authorities=None if seen is None else policy.authorities,
            files=here.files,
            psk_file=here.psk_file,
            crl_file=here.crl_file,
            revocation=here.revocation,
            pin="" if seen is None else seen.own_pin,
            answer="" if seen is None else seen.answer,
            stock=self._abilities.delegated,
        )
        is_new = self.keeper.refresh(inputs, now, wall)
        if is_new or policy.auth != self._ways:
            self._ways = policy.auth
            self.keys.offer(self.keeper.credentials, self.keeper.keys)
            self.keys.dirty()
        # Only what the IKE daemon has confirmed is used.
        credentials = self.keys.credentials.only(self._able())
        self.keys.revoke(self.keeper.crls)
        self.keys.set_ocsp(() if credentials.ca is None else credentials.ca.ca_der, here.ocsp_uri)
        reports = None if seen is None else seen.reporting.__contains__
        self._plain.update(here.psk_plain, reports)
        if self.configs.put_credentials(credentials, self._plain.names):
            self.keys.dirty()
            agent.touch_all()
        self._hand_on(agent, now, wall)

    def _hand_on(self, agent: Agent, now: float, wall: datetime) -> None:
        """Pass the certificates of peers on to the agent, once they are used at all."""
        self._unpinned.update(self._pins.due(now))
        if Auth.PINNED in agent.policy.auth:
            names, self._unpinned = self._unpinned, set()
            for name in sorted(names):
                found = self._usable(name, self._pins.of(name, now, wall))
                if self.configs.put_pins(name, found):
                    agent.touch_peer(name)
        for error in self._pins.take_refusals():
            _log.error("row_refused", reason=error.diagnostics())

    def _usable(self, name: str, pins: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Those of a peer's certificates that whoever makes the SAs can be given."""
        if not self._abilities.delegated:
            return pins
        found, refusal = readable(name, pins)
        self._unreadable.pop(name, None)
        if refusal is not None:
            self._unreadable[name] = refusal
            _log.error("row_refused", reason=refusal.diagnostics())
        return found

    def _able(self) -> frozenset[Auth]:
        """Methods that the IKE daemon can be used with now."""
        auths = self._abilities.auths
        by_others = self._abilities.delegated and not self.owns_ports
        return auths - {Auth.PINNED} if by_others else auths

    @property
    def auths(self) -> frozenset[Auth]:
        """Methods for which everything exists, is valid, and was accepted by the IKE daemon."""
        return (self.keeper.auths - self.keys.lacking) & self._able()

    def wake_at(self) -> float | None:
        """When certificates of peers have to be checked again; None: not by time."""
        return self._pins.wake_at()

    def problems(self, policy: ClusterPolicy, remotes: str) -> list[str]:
        """What is wrong, most important first; while off, only what was set up is checked.

        Args:
            policy: Of the cluster.
            remotes: Where its rows come from.
        """
        words = [*self.keeper.problems(), self._plain.problem]
        if policy.phase is Phase.OFF:
            words = [word for word in words if word not in (NO_FILES, NO_PIN_FILES, NO_SECRET)]
        elif not self._able().issuperset(policy.auth[:1]):
            why = NOT_OUR_PORTS if policy.auth[0] is Auth.PINNED else UNABLE
            words.append(why.format(policy.auth[0]))
        if Auth.PINNED in policy.auth and policy.phase is not Phase.OFF:
            open_ones = [r.strip() for r in remotes.split(",") if not r.strip().startswith("ssl:")]
            if any(open_ones):
                words.append(
                    f"pins are no more trustworthy than {open_ones[0]}, where anybody may write "
                    "any row: use ssl: with RBAC"
                )
            unread = (error for _, error in sorted(self._unreadable.items()))
            words.append(refusal_summary((*self._pins.refusals(), *unread)))
        return [word for word in words if word]
