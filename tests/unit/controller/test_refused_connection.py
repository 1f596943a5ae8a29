# SPDX-License-Identifier: Apache-2.0
"""What an IKE daemon refuses: it is loaded again, as nobody knows what the daemon has of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.chassis import RETRY_S, Chassis
from controller.identity import Identity
from controller.outside import IkeAddress, SouthboundAddress
from controller.plan.connection import ConnConfig
from controller.plan.pair.facts import ConnSeen
from controller.plan.pair.record import Decision
from controller.plan.pair.steps import Initiate
from controller.state_dir import StateDir
from ovn_ipsec.model.chassis import ChassisName
from tests.contracts.ike_backend import config
from tests.fakes.ike import FakeIke
from tests.fakes.timeline import Timeline, TimelineClock

CONN: ConnConfig = config()
SEEN = ConnSeen(config=CONN.fingerprint, marks=CONN.marks, present=True)


@dataclass(frozen=True, slots=True)
class Driven:
    """A chassis with its IKE daemon, which holds one connection as far as the chassis knows."""

    chassis: Chassis
    daemon: FakeIke
    clock: TimelineClock


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    daemon, clock = FakeIke(), TimelineClock(Timeline())
    outside = SimpleNamespace(
        clock=clock,
        state=StateDir(tmp_path),
        knock=lambda _pair: None,
        ike=lambda _uri: daemon,
        credentials=SimpleNamespace,
        southbound=lambda _address: SimpleNamespace(),
    )
    address = SouthboundAddress(remotes="unix:/x", probe_interval_s=0, digests=("chA",), tls=None)
    identity = Identity(
        name=ChassisName("chA"), southbound=address, ike=IkeAddress(vici="unix:///x")
    )
    chassis = Chassis(identity, outside)  # type: ignore[arg-type]
    chassis.drive_ike([])
    chassis.agent.put_seen(CONN.name, SEEN)
    return Driven(chassis, daemon, clock)


def test_what_was_refused_later_is_loaded_again_and_reported(driven: Driven) -> None:
    """The next pass, a while later, tries again."""
    agent = driven.chassis.agent
    driven.daemon.refused = {CONN.name: "it does not like it"}
    driven.chassis.drive_ike([])
    assert agent.seen[CONN.name].config == ""
    assert agent.wake_at() == driven.clock.monotonic() + RETRY_S
    agent.put_seen(CONN.name, SEEN)
    driven.chassis.drive_ike([])
    assert agent.seen[CONN.name].config == CONN.fingerprint


def test_what_somebody_has_unloaded_is_loaded_again_when_it_is_needed(driven: Driven) -> None:
    """No event tells of it: the first attempt to bring it up does."""
    decision = Decision(record=None, steps=(Initiate(name=CONN.name, child="out"),))
    driven.chassis.drive_ike([(CONN.name, decision)])
    assert driven.chassis.agent.seen[CONN.name].config == ""
    assert driven.chassis.agent.wake_at() == driven.clock.monotonic() + RETRY_S
    driven.daemon.load(CONN)
    driven.chassis.agent.put_seen(CONN.name, SEEN)
    driven.chassis.drive_ike([(CONN.name, decision)])
    assert driven.chassis.agent.seen[CONN.name].config == CONN.fingerprint
