# SPDX-License-Identifier: Apache-2.0
"""The guard of a host: nothing is taken away that nobody has ordered, nothing held that is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from controller.guard.host import LACKING_S, RETRY_S, HostGuard
from controller.guard.nft import NftError
from controller.plan.guard import ClearFlow, Direction, GuardState, PeerPort
from controller.state_dir import StateDir
from ovn_ipsec.model.observation import Known
from ovn_ipsec.model.policy import Phase
from tests.fakes.kernel import FakeGuardLayer, Operation

US, THEM = ip_address("10.0.0.1"), ip_address("10.0.0.2")
GUARD = GuardState(
    ports=frozenset({6081}),
    local=frozenset({US}),
    may_clear=frozenset(),
    peer_ports=frozenset({PeerPort(local=US, remote=THEM, port=7000)}),
)
AWAY = NftError("away")


def guard_of(folder: Path, *layers: FakeGuardLayer) -> HostGuard:
    state = StateDir(folder)
    state.open()
    return HostGuard(layers, state, "this boot")


def test_what_could_not_be_read_at_the_start_is_left_and_taken_over(tmp_path: Path) -> None:
    """No audit and no retry takes away what nobody has said is to go."""
    layers = [FakeGuardLayer(name=name, state=GUARD) for name in ("nft", "xfrm")]
    guard = guard_of(tmp_path, *layers)
    for layer in layers:
        layer.fail_next("observe", AWAY)
    guard.open()
    assert guard.standing is None
    assert guard.may_stand
    for layer in layers:
        layer.fail_next("observe", AWAY)
    guard.retry(10.0)
    assert guard.wake_at() == 10.0 + RETRY_S
    guard.retry(10.5)
    guard.audit()
    assert [layer.state for layer in layers] == [GUARD, GUARD]
    guard.retry(10.0 + RETRY_S)
    assert guard.standing == guard.start.closed_by == GUARD, "with the ports of peers"
    assert guard.held
    assert guard.wake_at() is None


def test_a_layer_that_is_read_late_is_taken_over_too(tmp_path: Path) -> None:
    """The other one had nothing of ours."""
    nft, xfrm = FakeGuardLayer(name="nft"), FakeGuardLayer(name="xfrm", state=GUARD)
    guard = guard_of(tmp_path, nft, xfrm)
    xfrm.fail_next("observe", AWAY)
    guard.open()
    assert not guard.may_stand
    guard.audit()
    assert nft.state == xfrm.state == guard.standing == GUARD


def test_what_was_ordered_away_is_not_taken_over_again(tmp_path: Path) -> None:
    """Though a layer could not be read until then."""
    layer = FakeGuardLayer(name="nft", state=GUARD)
    guard = guard_of(tmp_path, layer)
    layer.fail_next("observe", AWAY)
    guard.open()
    layer.fail_next("observe", AWAY)
    guard.keep(None, Phase.OFF, frozenset(), 10.0)
    assert not guard.held
    assert layer.state == GUARD
    guard.retry(10.0 + RETRY_S)
    assert layer.state is None
    assert guard.held


def test_what_is_not_put_back_is_not_held_and_is_tried_again(tmp_path: Path) -> None:
    """Each second, and not in every pass."""
    layers = [FakeGuardLayer(name=name) for name in ("nft", "xfrm")]
    guard = guard_of(tmp_path, *layers)
    guard.open()
    assert guard.keep(GUARD, Phase.ENFORCE, frozenset(), 10.0)
    for layer in layers:
        layer.flush()
        layer.fail_next("rebuild", AWAY)
    guard.audit()
    assert not guard.held
    assert not guard.keep(GUARD, Phase.ENFORCE, frozenset(), 10.5)
    assert [layer.state for layer in layers] == [None, None]
    assert guard.wake_at() == 10.0 + RETRY_S
    guard.retry(10.0 + RETRY_S)
    assert [layer.state for layer in layers] == [GUARD, GUARD]
    assert guard.held


@dataclass
class Lacking(FakeGuardLayer):
    """One that this kernel lacks."""

    lacks: bool = True

    def available(self) -> Known[bool]:
        """See GuardLayer."""
        return Known(value=not self.lacks)

    def _raise(self, op: Operation) -> None:
        if self.lacks:
            self.fail_next(op, AWAY)
        super()._raise(op)


def test_a_layer_that_the_kernel_lacks_is_tried_seldom(tmp_path: Path) -> None:
    """The other one follows every change meanwhile; once there is such a layer, it is used."""
    nft, xfrm = Lacking(name="nft"), FakeGuardLayer(name="xfrm")
    guard = guard_of(tmp_path, nft, xfrm)
    guard.open()
    assert guard.keep(GUARD, Phase.ENFORCE, frozenset(), 10.0)
    assert guard.wake_at() == 10.0 + LACKING_S
    tried = len(nft.calls)
    flow = ClearFlow(direction=Direction.IN, local=US, remote=THEM, port=6081)
    other = replace(GUARD, may_clear=frozenset({flow}))
    assert guard.keep(other, Phase.ENFORCE, frozenset(), 11.0)
    guard.retry(11.0 + RETRY_S)
    assert xfrm.state == other
    assert len(nft.calls) == tried
    assert guard.wake_at() == 10.0 + LACKING_S, "a change does not put it off"
    nft.lacks = False
    guard.retry(10.0 + LACKING_S)
    assert nft.state == other
    assert guard.held


def test_it_is_tried_each_second_while_nothing_holds(tmp_path: Path) -> None:
    """Whether the other layer fails, or the kernel lacks both."""
    for other in (FakeGuardLayer(name="xfrm"), Lacking(name="xfrm")):
        guard = guard_of(tmp_path, Lacking(name="nft"), other)
        guard.open()
        other.fail_next("apply", AWAY)
        assert not guard.keep(GUARD, Phase.ENFORCE, frozenset(), 10.0)
        assert guard.wake_at() == 10.0 + RETRY_S


def test_a_layer_that_fails_does_not_wait_for_one_that_is_lacking(tmp_path: Path) -> None:
    """Somebody has flushed it, and it could not be put back."""
    xfrm = FakeGuardLayer(name="xfrm")
    guard = guard_of(tmp_path, Lacking(name="nft"), xfrm)
    guard.open()
    guard.keep(GUARD, Phase.ENFORCE, frozenset(), 10.0)
    xfrm.flush()
    xfrm.fail_next("rebuild", AWAY)
    guard.audit()
    assert guard.wake_at() == 10.0 + RETRY_S
    guard.retry(20.0)
    assert xfrm.state == GUARD


def test_what_the_kernel_may_hold_of_it_is_taken_away(tmp_path: Path) -> None:
    """Whether or not it is tried seldom otherwise."""
    nft, xfrm = Lacking(name="nft"), FakeGuardLayer(name="xfrm")
    guard = guard_of(tmp_path, nft, xfrm)
    guard.open()
    guard.keep(GUARD, Phase.ENFORCE, frozenset(), 10.0)
    nft.state, nft.lacks = GUARD, False
    guard.keep(None, Phase.OFF, frozenset(), 11.0)
    assert nft.state is xfrm.state is None
    assert guard.held
