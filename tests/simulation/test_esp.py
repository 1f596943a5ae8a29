# SPDX-License-Identifier: Apache-2.0
"""Kernels that cannot do ESP, or cannot any more: modules come and go."""

from __future__ import annotations

from tests.simulation import logs
from tests.simulation.kernel import Sent
from tests.simulation.play import SETTLE_S
from tests.simulation.steps import Step, do
from tests.simulation.world import World

UP = 60.0


def test_each_rollout_asks_whether_there_is_esp_before_anything_is_closed() -> None:
    """Though there was at the last one; it goes on by itself when there is."""
    logs.capture()
    world = World(1, 3)
    try:
        world.run(SETTLE_S)
        world.watch.hitless = True
        do(world, Step(0, "on"))
        world.run(UP)
        assert world.central.state() == "enforced"
        do(world, Step(0, "off"))
        world.run(UP)
        assert world.central.state() == "off"
        for host in world.hosts.values():
            host.kernel.esp = False
        do(world, Step(0, "on"))
        world.run(30.0)
        assert world.central.state() == "preparing (degraded)"
        assert "ESP" in world.central.nb_global["external_ids"]["ovn-ipsec-summary"]
        assert {way.sent.sent for way in world.wire.ways.values()} == {Sent.CLEAR}
        for host in world.hosts.values():
            host.kernel.esp = True
        world.run(2 * UP)
        assert world.central.state() == "enforced"
        assert not world.watch.unmet_ways()
        assert not world.watch.violations
    finally:
        world.close()
