# SPDX-License-Identifier: Apache-2.0
"""How long the switch takes: as long as what it waits for, where there is something to wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ovn_ipsec.schema import report
from tests.fakes.ovsdb import RTT_S
from tests.simulation import logs
from tests.simulation.agent import SOUTHBOUND_FD
from tests.simulation.world import World

QUICK_S = 2.0
"""Of these, one is for clear packets that are still on their way; the rest is exchanges."""
SETTLE_S = 8.0


def took(world: World, limit_s: float = 60.0) -> float:
    """Seconds of virtual time from the switch until NB says `enforced`."""
    assert world.run(SETTLE_S)
    world.watch.hitless = True
    world.intent.enabled = True
    world.central.switch(True)
    world.watch.decided()
    began = world.timeline.now
    while world.central.state() != "enforced":
        assert world.timeline.now < began + limit_s, world.central.state()
        assert not world.watch.violations, world.watch.violations
        world.timeline.run_until(world.timeline.now + 0.05)
    return world.timeline.now - began


@pytest.mark.parametrize("seed", [0, 3], ids=["with traffic", "without traffic"])
@pytest.mark.parametrize("hosts", [3, 8])
def test_a_cluster_is_enforced_without_waiting_for_a_timer(hosts: int, seed: int) -> None:
    """Nothing is lost or clear, and no end waits longer than for what it hears of the other."""
    logs.capture()
    world = World(seed, hosts)
    try:
        assert took(world) < QUICK_S
        world.run(20.0)
        assert not world.watch.violations
    finally:
        world.close()


@pytest.mark.parametrize("phase", ["prepare", "establish", "enforce"])
def test_a_report_that_is_awaited_follows_the_write_under_way(phase: str) -> None:
    """Whether a chassis has just reported something else costs it no second."""
    logs.capture()
    world = World(0, 3)
    try:
        assert world.run(SETTLE_S)
        host = world.hosts["hv2"]
        assert host.controller is not None
        southbound = host.controller.program.controller.chassis.southbound  # type: ignore[union-attr]
        publish, refused = southbound.publish, []

        def while_busy(digest: Mapping[str, str], *args: Any, **kwargs: Any) -> bool:
            """The first report of all pairs in that phase comes while another one is written."""
            all_up = phase != "establish" or "encrypted=2" in digest[report.PAIRS]
            if digest[report.PHASE] != phase or not all_up or refused:
                return bool(publish(digest, *args, **kwargs))
            refused.append(digest)
            world.timeline.after(RTT_S, lambda: host.controller.kick(SOUTHBOUND_FD))
            return False

        southbound.publish = while_busy
        assert took(world) < QUICK_S
        assert refused
    finally:
        world.close()
