# SPDX-License-Identifier: Apache-2.0
"""Many rekeys at once, of which the IKE daemons tell late: nobody repairs what is whole."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation import logs
from tests.simulation.charon import CharonBackend
from tests.simulation.host import Host
from tests.simulation.test_times import took
from tests.simulation.world import World

STORM_S = 60.0
EVERY_S = 1.0
"""Between two rekeys of the same children."""


def tell_late(host: Host, delay_s: float) -> CharonBackend:
    """Let the events of an IKE daemon come that late; what it is asked, it answers at once."""
    (backend,) = host.charon.backends
    touched = backend.touched

    def late(conn: object) -> None:
        host.timeline.after(delay_s, partial(touched, conn))  # type: ignore[arg-type]

    backend.touched = late  # type: ignore[method-assign]
    return backend


def rekey_all(host: Host) -> None:
    """Let a third party order it."""
    for ike in list(host.charon.ikes.values()):
        if ike.initiator:
            for child in [one for one in ike.children if one.state == "INSTALLED"]:
                host.charon.rekey(ike, child)


def audit(host: Host) -> None:
    """Let the controller compare the kernel with what it has read."""
    assert host.controller is not None
    host.controller.program.controller.kernel.hurry(host.timeline.now)  # type: ignore[union-attr]


@pytest.mark.parametrize("delay_s", [0.3, 2.5, 8.0])
def test_a_pair_whose_rekey_was_not_told_of_yet_is_whole(delay_s: float) -> None:
    """No controller rekeys a pair once more, and none reports it as incomplete."""
    logs.capture()
    world = World(3, 3)
    try:
        took(world)
        assert world.run(30.0)
        for host in world.hosts.values():
            tell_late(host, delay_s)
        end = world.timeline.now + STORM_S
        while world.timeline.now < end:
            for host in world.hosts.values():
                rekey_all(host)
                audit(host)
            assert world.run(EVERY_S), world.watch.violations
        calls = {name: host.controller.calls for name, host in world.hosts.items()}  # type: ignore[union-attr]
        assert [found["ike.rekey_child"] for found in calls.values()] == [0, 0, 0]
        assert all(found["kernel.dump"] > STORM_S / 4 for found in calls.values())
        assert world.run(30.0)
        assert world.central.state() == "enforced"
    finally:
        world.close()
