# SPDX-License-Identifier: Apache-2.0
"""Connections that somebody unloads from an IKE daemon, as ``swanctl --load-conns`` does."""

from __future__ import annotations

import pytest

from tests.simulation import logs
from tests.simulation.host import Host
from tests.simulation.test_times import took
from tests.simulation.world import World

QUIET = 3
"""A seed without traffic: a packet would make the traps of a real daemon start anew."""
LIMIT_S = 60.0
"""The end that answers starts by itself only after half a minute."""


def unload(host: Host) -> None:
    """Unload all connections of a host, and end their SAs; no event tells of the first."""
    host.charon.conns.clear()
    for ike in list(host.charon.ikes.values()):
        host.charon.terminate(ike, force=False)


def whole(world: World) -> bool:
    """Tell whether each host has its connections and both children of each."""
    others = len(world.hosts) - 1
    return all(
        len(host.charon.conns) == others
        and sum(len(ike.children) for ike in host.charon.ikes.values()) >= 2 * others
        for host in world.hosts.values()
    )


@pytest.mark.parametrize("who", ["hv1", "hv3"], ids=["starts", "answers"])
def test_connections_that_were_unloaded_come_back(who: str) -> None:
    """Without another start of anything; what is not there meanwhile is closed, not clear."""
    logs.capture()
    world = World(QUIET, 3)
    try:
        took(world)
        assert world.run(20.0)
        assert whole(world)
        world.watch.hitless = False
        unload(world.hosts[who])
        end = world.timeline.now + LIMIT_S
        while not whole(world):
            assert world.timeline.now < end
            assert world.run(0.5), world.watch.violations
        assert world.run(20.0), world.watch.violations
        assert world.central.state() == "enforced"
    finally:
        world.close()
