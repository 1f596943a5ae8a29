# SPDX-License-Identifier: Apache-2.0
"""Credentials, rows and pairs put together, without a database and without a daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.credentials.keeper import CredentialKeeper
from controller.credentials.keypair import make_key
from controller.ike.delegate import Delegate
from controller.ike.keyring import Keyring
from controller.plan.agent import Agent
from controller.plan.connection import ABLE, ConnConfig, conn_name
from controller.plan.credentials.pins import HOLD_S
from controller.plan.credentials.proof import Proof
from controller.plan.credentials.stock import UNREAD
from controller.plan.pair.facts import Context
from controller.plan.pair.record import Decision
from controller.southbound import ChassisSeen, SouthboundSeen
from controller.state_dir import StateDir
from controller.trust import NOT_OUR_PORTS, UNABLE, Trust
from ovn_ipsec.clock import utc_now
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.observation import Unknown
from ovn_ipsec.model.policy import Auth, Phase
from ovn_ipsec.pki.keys import private_pem
from ovn_ipsec.pki.profile import self_signed
from ovn_ipsec.schema.open_vswitch import PSK_PLAIN, CredentialFiles, LocalChassis, parse_local
from tests import worlds
from tests.contracts.ike_backend import DAY
from tests.fakes.configs import number
from tests.fakes.files import FakeWatch
from tests.fakes.ike import FakeIke
from tests.worlds import A, B


class Rows:
    """What Southbound tells Trust."""

    def __init__(self) -> None:
        self.pins: dict[str, str | None] = {}
        self.changed: dict[str, None] = {}
        self.reporting: set[str] = set()

    def put(self, name: str, text: str | None) -> None:
        """Let a row say something."""
        self.pins[name] = text
        self.changed[name] = None

    def take(self) -> list[ChassisSeen]:
        """See Southbound.changed_chassis."""
        names, self.changed = self.changed, {}
        return [ChassisSeen(name=name, parsed=None, pin=self.pins[name]) for name in names]

    def seen(self) -> SouthboundSeen:
        """See Southbound.observe."""
        return SouthboundSeen(
            policy=Unknown("not asked here"),
            error=None,
            own_pin=self.pins.get(A) or "",
            answer="",
            reporting=frozenset(self.reporting),
            has_row=True,
            sb_global=(True, {}),
        )


@pytest.fixture(autouse=True)
def watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are watched by a fake."""
    monkeypatch.setattr("controller.credentials.keeper.FileWatch", FakeWatch)


class Desk:
    """A Trust and what is around it."""

    def __init__(self, folder: Path, *auth: Auth) -> None:
        state = StateDir(folder / "state")
        state.open()
        self.state = state
        self.trust = Trust(CredentialKeeper(state.path), Keyring(state))
        self.rows = Rows()
        self.ike = FakeIke()
        self.ike.open()
        self.agent = Agent(A, self.trust.configs)
        wanted = replace(worlds.policy(Phase.ENFORCE), auth=auth)
        self.agent.put(wanted, worlds.two_chassis().items())
        self.here: LocalChassis = parse_local({"ovn-remote": "ssl:1.2.3.4:6642"}, {}, "chA")
        (self.name,) = (conn_name(i.pair) for i in self.agent._intents.values())

    def secret(self, folder: Path) -> None:
        """Give it the cluster's secret."""
        path = folder / "psk"
        path.touch(mode=0o600)
        path.write_text("the first secret")
        self.here = replace(self.here, psk_file=str(path))

    def run(self, now: float) -> None:
        """One pass."""
        self.trust.note(self.rows.take(), now)
        for _ in range(2):
            # What the daemon confirms is used in the next pass.
            self.trust.refresh(self.agent, self.here, self.rows.seen(), (now, utc_now()))
            self.trust.keys.load(self.ike)

    def decide(self, now: float) -> Decision:
        """Decide about the pair."""
        context = Context(
            phase=self.agent.policy.phase,
            now=now,
            this_chassis=A,
            quarantine=self.agent.policy.quarantine,
        )
        number(self.agent)
        self.agent.due(now, 64)
        found = self.agent.decide(self.name, context)
        assert found is not None
        if found.record is None or found.record.quarantined:
            self.trust.keys.dirty()
        return found

    def config(self) -> ConnConfig:
        """The connection of the pair."""
        (intent,) = self.agent._intents.values()
        found = self.trust.configs.make(A, intent, self.agent.policy, (1, 2))
        assert found is not None
        return found

    def tidy(self, ike: FakeIke) -> None:
        """Take back what the daemon does not need."""
        self.trust.keys.tidy(ike, self.trust.configs.shared_ids())

    def problems(self) -> str:
        """What is said."""
        return "; ".join(self.trust.problems(self.agent.policy, self.here.remote))

    def error(self) -> str:
        """What stands beside the pair."""
        return self.agent.records[self.name].error


def pin(name: str = B) -> str:
    return self_signed(make_key(), type(A)(name), 30 * DAY, utc_now())


def test_a_pair_says_what_it_lacks_until_it_has_it(tmp_path: Path) -> None:
    """The own credential, then the peer's; then it is loaded."""
    desk = Desk(tmp_path, Auth.PINNED)
    desk.decide(0)
    assert "nothing to authenticate with: pinned" in desk.error()
    desk = Desk(tmp_path, Auth.PINNED)
    desk.run(0)
    desk.decide(0)
    assert "chB has published no certificate" in desk.error()
    desk.rows.put(B, pin())
    desk.rows.put(A, desk.trust.keeper.pin)
    desk.run(5)
    assert not desk.agent.idle
    (load,) = [s for s in desk.decide(5).steps if hasattr(s, "config")]
    assert [p.auth for p in load.config.proofs] == [Auth.PINNED]
    assert desk.trust.keeper.auths == {Auth.PINNED}
    assert desk.problems() == ""


def test_a_replaced_pin_is_loaded_beside_the_old_one_for_a_while(
    tmp_path: Path,
) -> None:
    """Then alone; a bad one is named and changes nothing."""
    desk = Desk(tmp_path, Auth.PINNED)
    desk.rows.put(B, pin())
    desk.run(0)
    desk.decide(0)
    desk.rows.put(B, "junk")
    desk.run(1)
    desk.decide(1)
    assert "Chassis chB external_ids:ovn-ipsec-cert" in desk.problems()
    desk.run(2)
    counts = []
    for now, text in ((3.0, pin()), (4.0 + HOLD_S, None)):
        if text is not None:
            desk.rows.put(B, text)
        desk.run(now)
        desk.decide(now)
        counts.append(len(desk.config().proofs[0].trusted_der))
    assert counts == [2, 1]


def test_pins_over_an_open_southbound_are_said_to_be_worth_little(tmp_path: Path) -> None:
    """Only while they are used; with the policy off nothing is missing."""
    desk = Desk(tmp_path, Auth.PINNED, Auth.PSK)
    desk.here = replace(desk.here, remote="ssl:1.2.3.4:6642, tcp:1.2.3.5:6642")
    desk.run(0)
    assert "no more trustworthy than tcp:1.2.3.5:6642" in desk.problems()
    assert "no secret" in desk.problems()
    desk.agent.put(replace(desk.agent.policy, phase=Phase.OFF, generation=2))
    assert "tcp" not in desk.problems()
    assert "no secret" not in desk.problems()


def test_a_pair_in_quarantine_has_no_connection_and_no_key(tmp_path: Path) -> None:
    """The daemon's is taken back, too."""
    desk = Desk(tmp_path, Auth.PSK)
    desk.secret(tmp_path)
    desk.run(0)
    ike = FakeIke()
    ike.open()
    for step in desk.decide(0).steps:
        if hasattr(step, "config"):
            ike.load(step.config)
    desk.tidy(ike)
    assert len(ike.loaded_shared) == 1
    quarantined = replace(desk.agent.policy, quarantine=frozenset({B}), generation=2)
    desk.agent.put(quarantined)
    desk.decide(1)
    desk.tidy(ike)
    assert ike.loaded_shared == {}


def test_the_secret_is_the_key_towards_a_named_chassis_without_a_controller(
    tmp_path: Path,
) -> None:
    """Not before the southbound was seen, and never again once it has reported."""
    desk = Desk(tmp_path, Auth.PSK)
    desk.secret(tmp_path)
    desk.run(0)
    assert not _proof(desk, 0).plain
    desk.here = replace(desk.here, psk_plain=frozenset({B}))
    desk.trust.refresh(desk.agent, desk.here, None, (2, utc_now()))
    assert not _proof(desk, 2).plain
    desk.run(4)
    plain = _proof(desk, 4)
    assert (plain.plain, plain.keys[0].value.reveal()) == (True, b"the first secret")
    desk.rows.reporting.add(B)
    desk.run(6)
    assert not _proof(desk, 6).plain
    assert f"{PSK_PLAIN} names {B}" in desk.problems()
    desk.rows.reporting.clear()
    desk.run(8)
    assert not _proof(desk, 8).plain
    desk.here = replace(desk.here, psk_plain=frozenset())
    desk.run(10)
    assert desk.problems() == ""


def _proof(desk: Desk, now: float) -> Proof:
    """How the pair is to authenticate."""
    desk.decide(now)
    return desk.config().proofs[0]


def test_a_method_that_the_ike_daemon_is_not_given_is_said(tmp_path: Path) -> None:
    """And neither used nor reported, whatever this chassis has."""
    desk = Desk(tmp_path, Auth.PSK)
    desk.secret(tmp_path)
    desk.run(0.0)
    policy = desk.agent.policy
    assert desk.trust.auths == {Auth.PSK}
    assert not [word for word in desk.trust.problems(policy, "ssl:1.2.3.4:6642") if word]
    abilities = replace(ABLE, auths=frozenset({Auth.CA}))
    desk.trust = Trust(CredentialKeeper(desk.state.path), Keyring(desk.state), abilities)
    desk.agent = Agent(A, desk.trust.configs)
    desk.agent.put(policy, worlds.two_chassis().items())
    desk.run(1.0)
    assert desk.trust.auths == frozenset()
    (said,) = desk.trust.problems(policy, "ssl:1.2.3.4:6642")
    assert said == UNABLE.format("psk")
    assert not desk.trust.problems(replace(policy, phase=Phase.OFF), "ssl:1.2.3.4:6642")
    desk.decide(2.0)
    assert desk.error() == "this chassis has nothing to authenticate with: psk"


def delegated(desk: Desk, files: CredentialFiles) -> None:
    """Let ovs-monitor-ipsec make the SAs."""
    policy = desk.agent.policy
    desk.trust = Trust(CredentialKeeper(desk.state.path), Keyring(desk.state), Delegate.abilities)
    desk.agent = Agent(A, desk.trust.configs)
    desk.agent.abilities = Delegate.abilities
    desk.agent.put(policy, worlds.two_chassis().items())
    desk.here = replace(desk.here, files=files)


def test_pins_can_be_used_with_the_stock_daemon_where_the_ports_are_ours(tmp_path: Path) -> None:
    """ovn-controller names no certificates on its own, and the operator makes ours."""
    desk, key = Desk(tmp_path, Auth.PINNED), make_key()
    (tmp_path / "own.crt").write_text(self_signed(key, A, 30 * DAY, utc_now()))
    (tmp_path / "own.key").write_bytes(private_pem(key))
    paths = [str(tmp_path / f"own.{end}") for end in ("crt", "key")]
    delegated(desk, CredentialFiles(certificate=paths[0], private_key=paths[1], ca_cert=""))
    desk.rows.put(B, self_signed(make_key(), B, 30 * DAY, utc_now()))
    desk.trust.owns_ports = True
    desk.run(0.0)
    desk.rows.put(A, desk.trust.keeper.pin)
    desk.run(100.0)
    remotes = "ssl:1.2.3.4:6642"
    assert desk.trust.auths == {Auth.PINNED}
    assert desk.trust.problems(desk.agent.policy, remotes) == []
    assert desk.config().proofs[0].trusted_der == desk.trust.configs.pins_of(B)
    desk.trust.owns_ports = False
    desk.run(200.0)
    assert desk.trust.auths == frozenset()
    assert desk.trust.problems(desk.agent.policy, remotes) == [NOT_OUR_PORTS]


def test_a_peers_certificate_that_the_stock_daemon_cannot_read_costs_that_peer(
    tmp_path: Path,
) -> None:
    """It is named while its row says so."""
    desk = Desk(tmp_path, Auth.PINNED)
    delegated(desk, CredentialFiles(certificate="", private_key="", ca_cert=""))
    desk.trust.owns_ports = True
    long_name = ChassisName("b" * 65)
    desk.rows.put(long_name, self_signed(make_key(), long_name, 30 * DAY, utc_now()))
    desk.run(0.0)
    assert desk.trust.configs.pins_of(long_name) == ()
    said = "; ".join(desk.trust.problems(desk.agent.policy, "ssl:1.2.3.4:6642"))
    assert UNREAD in said
    assert long_name in said
