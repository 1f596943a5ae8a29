# SPDX-License-Identifier: Apache-2.0
"""How long the switch takes: as long as what it waits for, where there is something to wait for."""

from __future__ import annotations

import pytest

from tests.simulation import logs
from tests.simulation.world import World

QUICK_S = 2.5
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
