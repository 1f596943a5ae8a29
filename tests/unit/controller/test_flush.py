# SPDX-License-Identifier: Apache-2.0
"""``--flush`` takes everything of ours away, and only that."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.flush import flush
from controller.guard.host import HostGuard
from controller.guard.keeper import GuardKeeper
from controller.ike.keyring import Keyring
from controller.plan.boot import BootGuard
from controller.plan.credentials.credential import Secret
from controller.plan.guard import GuardState
from controller.state_dir import StateDir
from ovn_ipsec.errors import EdgeError, IkeError, NftError
from ovn_ipsec.model.policy import Phase
from tests.fakes.ike import FakeIke
from tests.fakes.kernel import FakeGuardLayer
from tests.worlds import policy

STATE = GuardState(
    ports=frozenset({6081}), local=frozenset({ip_address("10.0.0.1")}), may_clear=frozenset()
)


def enforced(folder: Path) -> tuple[StateDir, FakeGuardLayer]:
    state, layer = StateDir(folder), FakeGuardLayer()
    state.open()
    state.keep_boot_guard(BootGuard(guard=STATE))
    state.keep_policy(policy(Phase.ENFORCE))
    layer.apply(None, STATE)
    return state, layer


def test_guard_and_boot_guard_are_gone(tmp_path: Path) -> None:
    """Nothing is denied afterwards, not even after a reboot."""
    state, layer = enforced(tmp_path)
    flush(state, HostGuard([layer], state, ""), [FakeIke()])
    assert state.boot_guard() is None
    assert state.policy() is None
    assert GuardKeeper([layer]).found() is None


def test_keys_of_ours_are_taken_back(tmp_path: Path) -> None:
    """Private ones that were given, shared ones by their ids; others stay."""
    state, layer = enforced(tmp_path)
    ike, ours, theirs = FakeIke(), Secret(b"ours"), Secret(b"theirs")
    ike.open()
    ring = Keyring(state)
    ring.want({FakeIke.key_id(ours): ours})
    ring.load(ike)
    kept = ike.load_key(theirs)
    ike.loaded_shared.update({"ovn-psk-chB-1": b"x", "swanctl": b"y"})
    ike.set_ocsp((b"authority",), "http://responder/")
    flush(state, HostGuard([layer], state, ""), [ike])
    assert ({kept}, {"swanctl"}) == (ike.loaded_keys.keys(), ike.loaded_shared.keys())
    assert ike.ocsp == ((), "")


def test_guard_goes_without_the_daemon_too(tmp_path: Path) -> None:
    """A daemon that is away has nothing to unload."""
    state, layer = enforced(tmp_path)
    ike = FakeIke()
    ike.fail_next("open", IkeError("away"))
    flush(state, HostGuard([layer], state, ""), [ike])
    assert GuardKeeper([layer]).found() is None


def test_a_daemon_that_is_away_keeps_nothing_in_another(tmp_path: Path) -> None:
    """Each that this host has is flushed on its own."""
    state, layer = enforced(tmp_path)
    away, ike = FakeIke(), FakeIke()
    away.fail_next("open", IkeError("away"))
    ike.open()
    ike.loaded_shared["ovn-psk-chB-1"] = b"x"
    flush(state, HostGuard([layer], state, ""), [away, ike])
    assert ike.loaded_shared == {}


def test_guard_that_stays_is_an_error(tmp_path: Path) -> None:
    """And then the boot guard stays as well."""
    state, layer = enforced(tmp_path)
    layer.fail_next("apply", NftError("no"))
    with pytest.raises(EdgeError, match="guard not removed"):
        flush(state, HostGuard([layer], state, ""), [FakeIke()])
    kept = state.boot_guard()
    assert kept is not None
    assert kept.guard.local == STATE.local
