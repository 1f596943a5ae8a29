# SPDX-License-Identifier: Apache-2.0
"""A host whose IKE daemon is not clear, or is another one from now on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ovn_ipsec.model.ike import Ike
from tests.simulation import logs
from tests.simulation.agent import ControllerProgram
from tests.simulation.play import SETTLE_S
from tests.simulation.steps import Step, do
from tests.simulation.world import World

UP = 60.0


@pytest.fixture
def world() -> Iterator[World]:
    logs.capture()
    world = World(1, 3)
    try:
        world.run(SETTLE_S)
        do(world, Step(0, "on"))
        world.run(UP)
        assert world.central.state() == "enforced"
        world.watch.hitless = True
        yield world
    finally:
        world.close()


def test_a_second_daemon_is_said_and_changes_nothing(world: World) -> None:
    """With ``auto``: both are left alone, SAs and guard stay; one that is named is used again."""
    host = next(iter(world.hosts.values()))
    host.other_ikes.add(Ike.LIBRESWAN)
    world.run(UP)
    assert world.central.state() == "enforced", "strongSwan is what was said"
    host.set_local("other_config", **{"ovn-ipsec-ike": "auto"})
    world.run(UP)
    assert world.central.state() == "enforced (degraded)"
    assert "both run here" in world.central.nb_global["external_ids"]["ovn-ipsec-summary"]
    host.other_ikes.clear()
    world.run(UP)
    assert world.central.state() == "enforced"
    assert not world.watch.unmet_ways()
    assert not world.watch.violations


def test_another_daemon_takes_over_behind_the_guard(world: World) -> None:
    """Here it finds in the same charon what it needs, so that not even a packet is lost."""
    host = next(iter(world.hosts.values()))
    host.set_local("other_config", **{"ovn-ipsec-ike": "libreswan"})
    world.run(2 * UP)
    assert host.controller is not None
    program = host.controller.program
    assert isinstance(program, ControllerProgram)
    chassis = program.controller.chassis
    assert chassis is not None
    assert chassis.identity.ike.where == "Libreswan"
    assert world.central.state() == "enforced"
    assert not world.watch.unmet_ways()
    assert not world.watch.violations
