# SPDX-License-Identifier: Apache-2.0
"""The connection of a pair as it shall be, and the events of its changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from controller.changes import log_change
from controller.configs import Configs
from controller.plan.agent import Agent
from controller.plan.ike import SUITES
from controller.plan.record import PairRecord
from controller.plan.world import PairIntent
from controller.state_dir import StateDir
from ovn_ipsec.model.policy import Auth, Mode, Profile, Tuning
from ovn_ipsec.model.status import PairState
from tests.contracts.ike_backend import config, ways
from tests.worlds import A, B

INTENT = PairIntent(pair=config().pair, mode=Mode.REQUIRE, csum=None)


@pytest.fixture
def configs(tmp_path: Path) -> Configs:
    state = StateDir(tmp_path)
    state.open()
    return Configs(state, lambda pair, auths: ways(A, pair.peer, *auths))


@pytest.mark.parametrize("profile", Profile)
def test_a_connection_offers_its_pairs_profile_and_nothing_else(
    configs: Configs, profile: Profile
) -> None:
    """Made again when that changes, with the same reqids; else the same one is given."""
    agent = Agent(A)
    first = configs.make(agent, INTENT)
    made = configs.make(agent, replace(INTENT, profile=profile))
    assert first is not None
    assert made is not None
    suite = SUITES[profile]
    assert (suite.ike, suite.esp) == (made.ike_proposals, made.esp_proposals)
    assert (first.reqid_out, first.reqid_in) == (made.reqid_out, made.reqid_in)
    assert made is configs.make(agent, replace(INTENT, profile=profile, mode=Mode.PREFER))
    agent.policy = replace(agent.policy, tuning=Tuning(force_encapsulation=True))
    assert made != configs.make(agent, replace(INTENT, profile=profile))


def test_without_a_way_to_authenticate_there_is_no_connection(tmp_path: Path) -> None:
    """And what was made is made anew when one is another, or the pair was gone."""
    state, found = StateDir(tmp_path), {B: ways(A, B, Auth.PSK)}
    state.open()
    configs = Configs(state, lambda pair, _auths: found[pair.peer])
    agent = Agent(A)
    made = configs.make(agent, INTENT)
    assert made is configs.make(agent, INTENT)
    assert configs.shared_ids() == {made.proofs[0].keys[0].id}
    configs.drop(config().name)
    again = configs.make(agent, INTENT)
    assert made is not again
    configs.clear()
    assert again == configs.make(agent, INTENT)
    found[B] = ways(A, B, Auth.CA)
    assert again == configs.make(agent, INTENT), "nobody said that it is another"
    configs.forget("nobody")
    assert again == configs.make(agent, INTENT)
    configs.forget(B)
    assert again != configs.make(agent, INTENT)
    assert (configs.shared_ids(), configs.has(config().name)) == (frozenset(), True)
    found[B] = ()
    configs.forget(B)
    assert configs.make(agent, INTENT) is None
    assert not configs.has(config().name)


RECORD = PairRecord(name=config().name, pair=config().pair)


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        (None, RECORD, 1),
        (RECORD, RECORD, 0),
        (RECORD, None, 0),
        (RECORD, replace(RECORD, attempts=3), 0),
        (RECORD, replace(RECORD, state=PairState.BLOCKED, mode=Mode.REQUIRE), 1),
        (RECORD, replace(RECORD, profile=Profile.CNSA), 1),
    ],
)
def test_a_pair_is_logged_once_for_each_change(
    before: PairRecord | None, after: PairRecord | None, count: int
) -> None:
    """Of its state, its mode or its profile."""
    with structlog.testing.capture_logs() as logs:
        log_change(before, after)
    assert count == len(logs)
