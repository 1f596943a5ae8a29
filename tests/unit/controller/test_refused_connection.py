# SPDX-License-Identifier: Apache-2.0
"""What an IKE daemon refuses later than it was asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from controller.chassis import RETRY_S, Chassis
from controller.identity import Identity
from controller.outside import SouthboundAddress
from controller.plan.pair.facts import ConnSeen
from controller.state_dir import StateDir
from ovn_ipsec.model.chassis import ChassisName
from tests.contracts.ike_backend import config
from tests.fakes.ike import FakeIke
from tests.fakes.timeline import Timeline, TimelineClock


def test_what_was_refused_is_loaded_again_and_reported(tmp_path: Path) -> None:
    """Nothing is known of what the daemon has of it; the next pass, a while later, tries again."""
    daemon, clock, conn = FakeIke(), TimelineClock(Timeline()), config()
    outside = SimpleNamespace(
        clock=clock,
        state=StateDir(tmp_path),
        knock=lambda _pair: None,
        ike=lambda _uri: daemon,
        credentials=SimpleNamespace,
        southbound=lambda _address: SimpleNamespace(),
    )
    address = SouthboundAddress(remotes="unix:/x", probe_interval_s=0, digests=("chA",), tls=None)
    identity = Identity(name=ChassisName("chA"), southbound=address, vici="unix:///x")
    chassis = Chassis(identity, outside)  # type: ignore[arg-type]
    chassis.drive_ike([])
    seen = ConnSeen(config=conn.fingerprint, marks=conn.marks, present=True)
    chassis.agent.put_seen(conn.name, seen)
    daemon.refused = {conn.name: "it does not like it"}
    chassis.drive_ike([])
    assert chassis.agent.seen[conn.name].config == ""
    assert chassis.agent.wake_at() == clock.monotonic() + RETRY_S
    chassis.agent.put_seen(conn.name, seen)
    chassis.drive_ike([])
    assert chassis.agent.seen[conn.name].config == conn.fingerprint
