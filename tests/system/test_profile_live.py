# SPDX-License-Identifier: Apache-2.0
"""A pair changes its cipher suite while traffic flows: two planners, two charons, real ESP."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.ike.apply import apply_steps
from controller.ike.keyring import Keyring
from controller.ike.link import IkeLink
from controller.ike.strongswan import StrongSwan
from controller.plan.agent import Agent
from controller.plan.cluster.world import PairIntent
from controller.plan.connection import SUITES, ConnConfig, IkeSa, conn_name, profile_of
from controller.plan.pair.facts import NOTHING_SEEN, Context
from controller.state_dir import StateDir
from ovn_ipsec.lab.capabilities import missing_capabilities
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Phase, Profile
from ovn_ipsec.model.status import PairState
from tests import worlds
from tests.contracts.ike_backend import LOCAL_IP, PEER_IP, identity, key_id, secret, ways
from tests.fakes.configs import FakeConfigs, number
from tests.functional import charon
from tests.worlds import A, B

LACKING = [name for name in ("root", "esp4") if name in missing_capabilities()]
WHY = charon.missing() or " ".join(LACKING)
pytestmark = pytest.mark.skipif(bool(WHY), reason=f"needs {WHY}")
WAIT_S = 60.0
PACE_S = 0.02
ROWS = {A: worlds.chassis(A, LOCAL_IP), B: worlds.chassis(B, PEER_IP)}

SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 40000)); n = 0
while True:
    s.sendto(b"%d" % n, (sys.argv[2], 6081)); n += 1; time.sleep(0.02)
"""
COUNT = """
import signal, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 6081)); got = set()
def end(*_):
    print(len(got), 1 + max(got) - min(got), flush=True); sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    got.add(int(s.recv(99)))
"""


class End:
    """A chassis whose loop the test turns; no guard, so that the daemon alone is looked at."""

    def __init__(self, name: ChassisName, peer: ChassisName, daemon: charon.Charon) -> None:
        self.name = name
        self.daemon = daemon
        self.agent = Agent(name, FakeConfigs(self.config))
        self.proofs = ways(name, peer, Auth.CA)
        state = StateDir(Path(tempfile.mkdtemp()))
        state.open()
        keys = Keyring(state)
        key = identity(name)[1]
        keys.want({key_id(key): secret(key)})
        self.link = IkeLink(StrongSwan(daemon.uri), keys)

    def config(self, intent: PairIntent) -> ConnConfig:
        """The connection of the pair."""
        suite = SUITES[intent.profile]
        return ConnConfig(
            name=conn_name(intent.pair),
            pair=intent.pair,
            local_id=self.name,
            remote_id=intent.pair.peer,
            reqid_out=100_001,
            reqid_in=100_002,
            ike_proposals=suite.ike,
            esp_proposals=suite.esp,
            tuning=self.agent.policy.tuning,
            proofs=self.proofs,
        )

    def step(self) -> None:
        """One pass of the loop."""
        now = time.monotonic()
        self.link.sync(self.agent, now)
        context = Context(phase=self.agent.policy.phase, now=now, this_chassis=self.name)
        number(self.agent)
        for name in self.agent.due(now, 9):
            if self.agent.retries(name, context):
                self.link.look(self.agent, name)
            decision = self.agent.decide(name, context)
            if decision is not None and self.link.ready:
                seen = self.agent.seen.get(name, NOTHING_SEEN)
                after, failure = apply_steps(self.link.backend, decision.steps, seen)
                assert failure is None
                self.agent.put_seen(name, after)

    def sas(self) -> tuple[IkeSa, ...]:
        """What its daemon holds."""
        return next((seen.sas for seen in self.agent.seen.values()), ())

    def is_settled(self, profile: Profile) -> bool:
        """Whether there is one IKE_SA, of that profile, and the pair is encrypted."""
        states = [record.state for record in self.agent.records.values()]
        return states == [PairState.ENCRYPTED] and [profile] == [*map(profile_of, self.sas())]


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    with charon.two_charons(retransmit_s=8) as (one, other):
        pair = End(A, B, one), End(B, A, other)
        yield pair
        for end in pair:
            end.link.backend.close()


def run(ends: tuple[End, End], until: Callable[[], bool]) -> float:
    """Turn both loops until something is so; how long that took."""
    began = time.monotonic()
    while not until():
        assert time.monotonic() - began < stretched(WAIT_S), [end.agent.records for end in ends]
        for end in ends:
            end.step()
        time.sleep(PACE_S)
    return time.monotonic() - began


def said(profile: Profile, generation: int) -> ClusterPolicy:
    return replace(worlds.policy(Phase.ENFORCE, generation=generation), profile=profile)


def process(end: End, script: str, *words: str) -> subprocess.Popen[str]:
    argv = ["ip", "netns", "exec", end.daemon.netns, sys.executable, "-c", script, *words]
    return subprocess.Popen(argv, text=True, stdout=subprocess.PIPE)


def flow(sender: End, receiver: End) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Fifty packets a second, and who counts them."""
    ips = {A: LOCAL_IP, B: PEER_IP}
    count = process(receiver, COUNT, ips[receiver.name])
    return process(sender, SEND, ips[sender.name], ips[receiver.name]), count


def test_a_suite_changes_under_traffic(ends: tuple[End, End]) -> None:
    """Each in turn, one end two seconds after the other: at most one packet of all is lost."""
    for end in ends:
        end.agent.put(said(Profile.DEFAULT, 1), ROWS.items())
    run(ends, lambda: all(end.is_settled(Profile.DEFAULT) for end in ends))
    flows = [flow(*ends), flow(*ends[::-1])]
    first = time.monotonic() + 5
    run(ends, lambda: time.monotonic() > first)
    order = (Profile.CNSA, Profile.CHACHA20, Profile.AES256_SHA256, Profile.DEFAULT)
    turns = [(late, profile) for late in (0, 1) for profile in order]
    for generation, (late, profile) in enumerate(turns, 2):
        ends[1 - late].agent.put(said(profile, generation))
        began = time.monotonic() + 2
        run(ends, lambda began=began: time.monotonic() > began)  # type: ignore[misc]
        ends[late].agent.put(said(profile, generation))
        took = run(ends, lambda p=profile: all(end.is_settled(p) for end in ends))  # type: ignore[misc]
        print(f"{profile}: settled after {took:.1f} s, {[sa.suite for sa in ends[0].sas()]}")
        assert {child.suite for sa in ends[0].sas() for child in sa.children} == {
            child.suite for sa in ends[1].sas() for child in sa.children
        }
    for sender, count in flows:
        sender.kill()
        sender.communicate()
        time.sleep(stretched(1))
        os.kill(count.pid, 15)
        got, sent = map(int, count.communicate(timeout=stretched(WAIT_S))[0].split())
        print(f"{got} of {sent} packets")
        assert sent > 1000
        assert sent - got <= 1
