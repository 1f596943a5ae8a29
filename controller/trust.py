# SPDX-License-Identifier: Apache-2.0
"""Shell: who this chassis is to its peers, and who they are to it: credentials, pins, configs."""

from __future__ import annotations

import structlog

from ovn_ipsec import clock
from ovn_ipsec.errors import EdgeError
from ovn_ipsec.model.chassis import ChassisName, Pair
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Mode, Phase
from ovn_ipsec.schema.open_vswitch import LocalChassis

from .configs import Configs
from .credential_keeper import NO_FILES, NO_SECRET, CredentialKeeper, Needs
from .ike.backend import IkeBackend
from .keyring import Keyring
from .plan.agent import Agent
from .plan.ike import ConnName
from .plan.pins import KEY, Pins
from .plan.plain import PlainPeers
from .plan.proof import Proof, in_plain, proofs
from .plan.record import NOTHING_SEEN, Decision, PairRecord, settled_mark
from .report import refusal_summary
from .southbound import Southbound
from .state_dir import StateDir

_log = structlog.get_logger()


class Trust:
    """The credentials of this chassis and those that its peers have published."""

    def __init__(self, state: StateDir) -> None:
        """Store where keys are kept; nothing is read yet."""
        self.keeper = CredentialKeeper(state.path)
        self.pins = Pins()
        self.keys = Keyring(state)
        self.configs = Configs(state, self._proofs)
        self._state = state
        self._this: ChassisName | None = None
        self._remote = ""
        self._ways: tuple[Auth, ...] = ()
        self._plain = PlainPeers()

    def note(self, agent: Agent, southbound: Southbound, now: float) -> None:
        """Take in what rows say that have changed."""
        for name, text in southbound.changed_pins():
            if self.pins.note(name, text, now) and name != agent.this_chassis:
                self.configs.forget(name)
                if Auth.PINNED in agent.policy.auth:
                    agent.touch_peer(name)

    def run(
        self, agent: Agent, here: LocalChassis, southbound: Southbound | None, now: float
    ) -> None:
        """Look at the own credentials; what changed there marks every pair."""
        self._this, self._remote = agent.this_chassis, here.remote
        pin, answer = "", ""
        if southbound is not None:
            pin, answer = southbound.published(agent.this_chassis)
        policy = agent.policy
        needs = Needs(
            chassis=agent.this_chassis,
            ways=policy.auth,
            authorities=policy.authorities,
            files=here.files,
            psk_file=here.psk_file,
            crl_file=here.crl_file,
            revocation=here.revocation,
            pin=pin,
            answer=answer,
        )
        is_new = self.keeper.run(needs, now, clock.utc_now())
        if is_new or policy.auth != self._ways:
            self._ways = policy.auth
            self.keys.want(self.keeper.keys)
            self.keys.dirty()
        own = self.keeper.means.ca
        self.keys.revoke(self.keeper.crl.crls)
        self.keys.ask(() if own is None else own.ca_der, here.ocsp_uri)
        digests = None if southbound is None else southbound.has_digest
        if self._plain.run(here.psk_plain, digests) or is_new:
            self.configs.clear()
            agent.touch_all()
        for name in self.pins.due(now):
            self.configs.forget(name)
            agent.touch_peer(name)
        for error in self.pins.take_refusals():
            _log.error("row_refused", reason=error.diagnostics())

    def _proofs(self, pair: Pair, ways: tuple[Auth, ...]) -> tuple[Proof, ...]:
        if self._this is None:
            return ()
        pinned: tuple[bytes, ...] = ()
        if Auth.PINNED in ways:
            pinned = self.pins.of(pair.peer, clock.monotonic(), clock.utc_now())
        if Auth.PSK in ways:
            self.keys.dirty()
        means = self.keeper.means
        found = proofs(means, ways, self._this, pair.peer, pinned)
        if pair.peer in self._plain.names and means.secrets:
            found = in_plain(found, means.secrets[0], pair.remote)
        return found

    def _lack(self, policy: ClusterPolicy, peer: ChassisName) -> str:
        """Why there is no way to authenticate with a peer."""
        if policy.auth == (Auth.PINNED,) and self.keeper.means.pinned is not None:
            return f"{peer} has published no certificate that can be pinned (Chassis {KEY})"
        return f"this chassis has nothing to authenticate with: {', '.join(policy.auth)}"

    def settle(self, agent: Agent, name: ConnName, decision: Decision) -> None:
        """Remember what the SAs of a pair were made from, and say what is in the way of others."""
        record, seen = decision.record, agent.seen.get(name, NOTHING_SEEN)
        if record is None:
            return
        if record.barred:
            self.drop(name)
        elif _is_wanted(record, agent.policy) and not self.configs.has(name):
            agent.put_error(name, self._lack(agent.policy, record.pair.peer))
        elif mark := settled_mark(record, seen):
            try:
                self._state.keep_mark(name, mark)
            except EdgeError as error:
                _log.warning("mark_not_kept", reason=error.diagnostics())

    def drop(self, name: ConnName) -> None:
        """Forget what was made for a pair: it is gone."""
        self.configs.drop(name)
        self.keys.dirty()

    def tidy(self, backend: IkeBackend) -> None:
        """Take keys out of the IKE daemon that nothing uses any more."""
        self.keys.tidy(backend, self.configs.shared_ids())

    def problems(self, policy: ClusterPolicy) -> list[str]:
        """What is wrong, most important first; with the policy off only what was set up."""
        words = [*self.keeper.problems(), self._plain.problem]
        if policy.phase is Phase.OFF:
            words = [word for word in words if word not in (NO_FILES, NO_SECRET)]
        if Auth.PINNED in policy.auth and policy.phase is not Phase.OFF:
            open_ones = [r for r in self._remote.split(",") if r and not r.startswith("ssl:")]
            if open_ones:
                words.append(
                    f"pins are worth no more than {open_ones[0].strip()}, where anybody may write "
                    "any row: use ssl: with RBAC"
                )
            words.append(refusal_summary(self.pins.refusals()))
        return [word for word in words if word]


def _is_wanted(record: PairRecord, policy: ClusterPolicy) -> bool:
    return record.gone_at is None and record.mode is not Mode.OFF and policy.phase is not Phase.OFF
