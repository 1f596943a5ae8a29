# SPDX-License-Identifier: Apache-2.0
"""The simulator's IKE daemon keeps the promises of an IkeBackend, and negotiates as charon does."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.plan.connection import ConnConfig
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import OTHER_SECRET, IkeBackendContract, config, ways
from tests.fakes.timeline import Timeline
from tests.simulation.charon import Charon, CharonBackend, Message
from tests.simulation.kernel import Kernel, Sent

A, B = ip_address("10.9.0.1"), ip_address("10.9.0.2")


class Pair:
    """Two daemons and a wire of 5 ms."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.kernels = [Kernel(changed=lambda: None) for _ in range(2)]
        self.lost = 0
        self.number = 0
        self.charons = [
            Charon(self.timeline, kernel, self.send, self.take_number) for kernel in self.kernels
        ]
        self.backends = [
            CharonBackend(charon, lambda _call: None, lambda: None, 7) for charon in self.charons
        ]

    def take_number(self) -> int:
        """Give a number that nobody has."""
        self.number += 1
        return self.number

    def send(self, src: object, dst: object, message: Message) -> None:
        """Deliver a little later."""
        if self.lost:
            self.lost -= 1
            return
        if dst in (A, B):
            there = self.charons[0 if dst == A else 1]
            self.timeline.after(0.005, lambda: there.receive(dst, src, message))  # type: ignore[arg-type]

    def load(self, auths: tuple[Auth, ...] = (Auth.PSK,), **changes: object) -> ConnConfig:
        """Load the mirrored connections; the first is given."""
        there = config("chB", "chA", ("10.9.0.2", "10.9.0.1"))
        here = config()
        here = replace(here, proofs=ways("chA", "chB", *auths))
        there = replace(there, proofs=ways("chB", "chA", *auths), **changes)  # type: ignore[arg-type]
        for backend, one in zip(self.backends, (here, there), strict=True):
            backend.open()
            backend.load(one)
            for child in ("out", "in"):
                backend.install(one.name, child)
        return here

    def up(self) -> list[set[str]]:
        """Children that carry traffic at both ends."""
        return [
            {c.name for ike in charon.ikes.values() for c in ike.children if c.state == "INSTALLED"}
            for charon in self.charons
        ]


@pytest.fixture
def pair() -> Pair:
    """Two daemons."""
    return Pair()


@pytest.fixture
def ike(pair: Pair) -> CharonBackend:
    """One that nobody answers."""
    return pair.backends[0]


class TestSimulatedCharon(IkeBackendContract):
    """The contract."""


def bring_up(pair: Pair) -> ConnConfig:
    """Bring both children up."""
    here = pair.load()
    for child in ("out", "in"):
        pair.backends[0].initiate(here.name, child)
    pair.timeline.run(1.0)
    assert [{"out", "in"}] * 2 == pair.up()
    return here


def test_traps_drop_until_children_are_up(pair: Pair) -> None:
    """Then packets of both ways are protected, and taken in."""
    here = pair.load()
    assert pair.kernels[0].send(A, B, 6081).sent is Sent.WAITS
    pair.backends[0].initiate(here.name, "out")
    pair.timeline.run(1.0)
    packet = pair.kernels[0].send(A, B, 6081)
    assert packet.sent is Sent.ESP
    assert pair.kernels[1].receive(packet, B, A, 6081)
    assert pair.kernels[1].send(B, A, 6081).sent is Sent.WAITS
    pair.backends[0].initiate(here.name, "in")
    pair.timeline.run(1.0)
    packet = pair.kernels[1].send(B, A, 6081)
    assert pair.kernels[0].receive(packet, A, B, 6081)
    (sa,) = pair.charons[0].ikes.values()
    assert len(sa.children) == 2


def test_a_lost_message_is_repeated(pair: Pair) -> None:
    """After four seconds, and the answer, too."""
    here = pair.load()
    pair.lost = 1
    pair.backends[0].initiate(here.name, "out")
    pair.timeline.run(3.0)
    assert [set(), set()] == pair.up()
    pair.timeline.run(2.0)
    assert [{"out"}, {"in"}] == pair.up()


def test_other_secrets_are_refused(pair: Pair) -> None:
    """And the IKE_SA is gone."""
    here = pair.load()
    there = next(iter(pair.charons[1].conns.values()))
    wrong = ways("chB", "chA", Auth.PSK, secrets=(OTHER_SECRET,))
    pair.backends[1].load(replace(there, proofs=wrong))
    pair.backends[0].drain()
    pair.backends[0].initiate(here.name, "out")
    pair.timeline.run(1.0)
    assert not pair.charons[0].ikes
    assert "AUTHENTICATION_FAILED" in pair.backends[0].drain().messages[0][1]


def test_other_proposals_are_refused(pair: Pair) -> None:
    """As no proposal was chosen."""
    here = pair.load(ike_proposals=("aes128-sha1-modp1024",))
    pair.backends[0].drain()
    pair.backends[0].initiate(here.name, "out")
    pair.timeline.run(1.0)
    assert "NO_PROPOSAL_CHOSEN" in pair.backends[0].drain().messages[0][1]


def test_a_second_attempt_finds_the_first(pair: Pair) -> None:
    """No second child of the same settings comes beside it."""
    here = bring_up(pair)
    pair.backends[0].initiate(here.name, "out")
    pair.timeline.run(1.0)
    assert [2] == [len(ike.children) for ike in pair.charons[0].ikes.values()]


def test_a_killed_daemon_leaves_its_sas(pair: Pair) -> None:
    """And a new one that puts the traps up again carries on with them, by their reqids."""
    here = bring_up(pair)
    before = pair.kernels[0].send(A, B, 6081)
    pair.charons[0].kill()
    assert pair.kernels[0].send(A, B, 6081) == before
    pair.charons[0].start()
    pair.backends[0].open()
    pair.backends[0].load(here)
    for child in ("out", "in"):
        pair.backends[0].install(here.name, child)
    assert pair.kernels[0].send(A, B, 6081) == before
    assert pair.kernels[1].receive(before, B, A, 6081)


def test_a_stopped_daemon_takes_everything_along(pair: Pair) -> None:
    """Its peer hears of it."""
    bring_up(pair)
    pair.charons[0].stop()
    pair.timeline.run(1.0)
    assert pair.kernels[0].send(A, B, 6081).sent is Sent.CLEAR
    assert not pair.kernels[0].sad
    assert not pair.charons[1].ikes
    assert pair.kernels[1].send(B, A, 6081).sent is Sent.WAITS


def test_a_dead_peer_is_given_up_in_time(pair: Pair) -> None:
    """Thirty seconds of silence, then 165 s of repeating."""
    bring_up(pair)
    pair.charons[1].kill()
    pair.timeline.run(160.0)
    assert pair.charons[0].ikes
    pair.timeline.run(70.0)
    assert not pair.charons[0].ikes


def test_a_rekeyed_child_loses_no_packet(pair: Pair) -> None:
    """Both ends take both, until the old one is deleted."""
    here = bring_up(pair)
    (sa,) = pair.charons[0].ikes.values()
    old = next(child for child in sa.children if child.name == "out")
    pair.backends[0].rekey_child(old.id)
    for _ in range(3000):
        packets = [pair.kernels[0].send(A, B, 6081), pair.kernels[1].send(B, A, 6081)]
        pair.timeline.run(0.005)
        assert pair.kernels[1].receive(packets[0], B, A, 6081)
        assert pair.kernels[0].receive(packets[1], A, B, 6081)
    assert old not in sa.children
    assert [{"out", "in"}] * 2 == pair.up()
    assert here.name in pair.charons[0].conns


def test_a_replaced_configuration_makes_an_ike_sa_of_its_own(pair: Pair) -> None:
    """The old one lives until it is terminated; the newer child is the one that is used."""
    here = bring_up(pair)
    before = pair.kernels[0].send(A, B, 6081)
    changed = replace(here, epoch=1)
    pair.backends[0].load(changed)
    pair.backends[0].initiate(here.name, "out")
    pair.timeline.run(1.0)
    assert len(pair.charons[0].ikes) == 2
    assert pair.kernels[0].send(A, B, 6081) != before
    pair.backends[0].terminate_ike(min(pair.charons[0].ikes))
    pair.timeline.run(1.0)
    assert [1, 1] == [len(charon.ikes) for charon in pair.charons]
