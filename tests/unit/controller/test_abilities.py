# SPDX-License-Identifier: Apache-2.0
"""What is done otherwise for an IKE daemon that cannot do everything."""

from __future__ import annotations

from dataclasses import replace

from controller.plan.agent import Agent
from controller.plan.audit import OwnReqids
from controller.plan.connection import Abilities, fitting
from controller.plan.pair.lineage import Lineage
from controller.plan.pair.replacement import Replacement
from controller.plan.pair.steps import Initiate, Install, Load, TerminateIke
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Phase
from tests.unit.controller.test_pair_plan import (
    LOADED_NEW,
    NEW_CONFIG,
    TRAPPED,
    UP,
    at,
    kinds,
    latched,
    old,
    run,
)

LESS = Abilities(traps=False, beside=False)


def test_a_daemon_that_has_no_traps_is_asked_for_none() -> None:
    """The guard alone protects the pair."""
    seen = replace(UP, config="another")
    record = latched()
    assert Install in kinds(run(record, seen, at(Phase.ENFORCE, 50)))
    assert Install not in kinds(run(record, seen, at(Phase.ENFORCE, 50, abilities=LESS)))


def test_what_cannot_stand_beside_its_successor_makes_room_for_it() -> None:
    """The old IKE_SA ends just before the new one begins, once it is this end's turn."""
    record = replace(latched(), replacement=old(10, 11))
    begun = run(record, LOADED_NEW, at(Phase.ENFORCE, 50, abilities=LESS), config=NEW_CONFIG)
    assert kinds(begun) == [TerminateIke, Initiate]
    beside = run(record, LOADED_NEW, at(Phase.ENFORCE, 50), config=NEW_CONFIG)
    assert kinds(beside) == [Initiate]
    waits = run(record, LOADED_NEW, at(Phase.ENFORCE, 50, "chC", abilities=LESS), config=NEW_CONFIG)
    assert kinds(waits) == []
    down = replace(LOADED_NEW, sas=())
    assert kinds(run(record, down, at(Phase.ENFORCE, 50, abilities=LESS)))[-1:] == [Initiate]


def test_a_daemon_without_a_second_ike_sa_is_given_no_epoch() -> None:
    """It would replace the connection, and end what the peer has begun."""
    lineage = Lineage(superseded_by=1)
    record = replace(latched(), replacement=Replacement(lineage=lineage))
    loads = [s for s in run(record, TRAPPED, at(Phase.ENFORCE, 50)).steps if isinstance(s, Load)]
    assert [load.config.epoch for load in loads] == [1]
    assert Load not in kinds(run(record, TRAPPED, at(Phase.ENFORCE, 50, abilities=LESS)))


def test_small_reqids_stand_for_large_ones() -> None:
    """Each pair has two of its own, for as many as there are; what is small enough stays."""
    assert fitting((1, 2), 16383) == (1, 2)
    found = [fitting((number, number + 1), 16383) for number in range(100_000, 116_000, 2)]
    assert len({one for pair in found for one in pair}) == 16_000
    assert all(0 < one <= 16383 for pair in found for one in pair)
    agent = Agent(ChassisName("chA"))
    assert 5 not in agent.own_reqids(range(100_000, 100_010))
    agent.abilities = Abilities(reqid_max=16383)
    assert 5 in agent.own_reqids(range(100_000, 100_010))
    own = OwnReqids(range(100_000, 100_010), 16383)
    assert all(one in own for one in (0, 1, 16383, 100_003))
    assert 16384 not in own
    assert 5 not in OwnReqids(range(100_000, 100_010), 0)
