# SPDX-License-Identifier: Apache-2.0
"""The guard of a host: nothing is taken away that nobody has ordered, nothing held that is not."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from controller.guard.host import RETRY_S, HostGuard
from controller.guard.nft import NftError
from controller.plan.guard import GuardState, PeerPort
from controller.state_dir import StateDir
from ovn_ipsec.model.policy import Phase
from tests.fakes.kernel import FakeGuardLayer

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
