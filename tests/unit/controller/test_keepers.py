# SPDX-License-Identifier: Apache-2.0
"""The shells around the planner, with fakes: disk, guard, link to the IKE daemon."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.credential_keeper import LOOK_S, CredentialKeeper
from controller.guard.keeper import GuardKeeper
from controller.ike_link import RECOVERING_S, RETRY_S, IkeLink
from controller.plan.agent import Agent
from controller.plan.credential import Secret
from controller.plan.guard import ClearPair, GuardState, flows_of
from controller.plan.ike import ConnName
from controller.state_dir import FIRST_REQID, StateDir
from ovn_ipsec.errors import EdgeError, NftError
from ovn_ipsec.schema.open_vswitch import CredentialFiles
from tests.contracts.ike_backend import NOW, config
from tests.fakes.ike import FakeIke
from tests.fakes.kernel import NO_PACKETS, FakeGuardLayer
from tests.worlds import A

GUARD = GuardState(
    ports=frozenset({6081}), local=frozenset({ip_address("10.0.0.1")}), may_clear=frozenset()
)
PAIR = ClearPair(
    local=ip_address("10.0.0.1"), remote=ip_address("10.0.0.2"), out_port=6081, in_port=6081
)
PROTECTED = replace(GUARD, may_clear=flows_of([PAIR]), vnis=frozenset({5}))
NAME = config().name


def test_reqids_are_the_same_after_a_restart(tmp_path: Path) -> None:
    """Junk lines cost nothing but themselves."""
    first = StateDir(tmp_path / "state")
    first.open()
    assert (FIRST_REQID, FIRST_REQID + 1) == first.reqids(NAME) == first.reqids(NAME)
    with (tmp_path / "state" / "reqids").open("a") as file:
        file.write("junk\n1 ovn-low\n")
    second = StateDir(tmp_path / "state")
    second.open()
    assert first.reqids(NAME) == second.reqids(NAME)
    assert FIRST_REQID + 2 == second.reqids(ConnName("ovn-other"))[0]
    assert 4 == len(second.all_reqids())


def test_the_boot_guard_is_kept_and_taken_away(tmp_path: Path) -> None:
    """Junk in its place is an error, not an open door."""
    state = StateDir(tmp_path)
    state.open()
    assert state.boot_guard() is None
    state.keep_boot_guard(GUARD)
    assert GUARD == state.boot_guard()
    state.keep_boot_guard(PROTECTED)
    assert GUARD == state.boot_guard(), "closed for all needs no VNIs"
    state.keep_boot_guard(None)
    assert state.boot_guard() is None
    (tmp_path / "boot-guard.json").write_text("{")
    with pytest.raises(EdgeError):
        state.boot_guard()


@pytest.mark.parametrize(
    ("before", "after"),
    [(True, False), (False, True), (True, None), (None, True)],
    ids=["close", "open", "remove", "make"],
)
def test_the_first_layer_never_denies_what_another_lets_through(
    before: bool | None, after: bool | None
) -> None:
    """It opens before the others and closes after them: no packet falls into the gap."""
    nft, xfrm = FakeGuardLayer(), FakeGuardLayer()
    steps: list[tuple[GuardState | None, GuardState | None]] = []
    for layer in (nft, xfrm):
        layer.watch = lambda: steps.append((nft.state, xfrm.state))
    keeper = GuardKeeper([nft, xfrm])
    states = {True: replace(PROTECTED, vnis=frozenset()), False: GUARD, None: None}
    keeper.keep(states[before])
    steps.clear()
    assert keeper.keep(states[after])
    assert steps
    for judge, other in steps:
        if judge is not None and other is not None:
            assert judge.may_clear >= other.may_clear
    assert (nft.state, xfrm.state) == (states[after], states[after])


def test_a_failed_layer_is_tried_again_and_the_other_holds() -> None:
    """Each stands alone."""
    one, two = FakeGuardLayer(name="one"), FakeGuardLayer(name="two")
    keeper = GuardKeeper([one, two])
    assert keeper.found() is None
    one.fail_next("apply", NftError("refused"))
    assert not keeper.keep(GUARD)
    assert keeper.holds()
    assert {"one": "refused"} == keeper.problems()
    assert keeper.keep(GUARD)
    assert one.state == two.state == GUARD
    assert {} == keeper.problems()
    assert GUARD == GuardKeeper([one, FakeGuardLayer()]).found()
    assert {"one": NO_PACKETS, "two": NO_PACKETS} == keeper.counters()
    assert {"one": True, "two": True} == keeper.available()


def test_an_audit_puts_back_what_was_flushed() -> None:
    """And says what it found; what cannot be read is left alone."""
    layer = FakeGuardLayer(name="nft")
    keeper = GuardKeeper([layer])
    keeper.keep(GUARD)
    assert [] == keeper.audit()
    layer.flush()
    layer.fail_next("observe", NftError("away"))
    assert [] == keeper.audit()
    assert ["nft: gone"] == keeper.audit()
    assert GUARD == layer.state
    layer.damage = ("a rule",)
    assert ["nft: a rule"] == keeper.audit()
    assert keeper.keep(None)
    assert layer.state is None


def test_a_layer_without_sight_of_vnis_is_not_missing_them() -> None:
    """The other holds them; what an earlier life held is found again."""
    nft, xfrm = FakeGuardLayer(name="nft"), FakeGuardLayer(name="xfrm", sees_vnis=False)
    keeper = GuardKeeper([nft, xfrm])
    assert keeper.keep(PROTECTED)
    assert nft.state == PROTECTED
    assert xfrm.state == replace(PROTECTED, vnis=frozenset())
    assert keeper.audit() == []
    assert keeper.problems() == {}
    calls = len(xfrm.calls)
    assert keeper.keep(replace(PROTECTED, vnis=frozenset({5, 6})))
    assert len(xfrm.calls) == calls, "nothing differs for it"
    keeper.keep(PROTECTED)
    again = GuardKeeper([nft, xfrm])
    assert again.found() == PROTECTED
    nft.state = replace(PROTECTED, vnis=frozenset())
    assert ["nft: not what was put there"] == keeper.audit()
    assert nft.state == PROTECTED


def test_vnis_that_no_layer_holds_are_said() -> None:
    """Only while some pair may be clear: otherwise the other layer denies everything."""
    nft, xfrm = FakeGuardLayer(name="nft"), FakeGuardLayer(name="xfrm", sees_vnis=False)
    keeper = GuardKeeper([nft, xfrm])
    nft.fail_next("rebuild", NftError("refused"))
    assert not keeper.keep(PROTECTED)
    assert keeper.holds()
    assert keeper.problems().keys() == {"nft", "vnis"}
    assert "1 protected network" in keeper.problems()["vnis"]
    assert keeper.keep(PROTECTED)
    assert keeper.problems() == {}
    nft.fail_next("apply", NftError("refused"))
    keeper.keep(replace(PROTECTED, may_clear=frozenset()))
    assert keeper.problems() == {"nft": "refused"}


def test_the_link_connects_again_and_again() -> None:
    """Once in a while, and with our key; then it says so."""
    ike, agent = FakeIke(running=False), Agent(A)
    link = IkeLink(ike)
    link.use_key(Secret(b"key"))
    assert not link.run(agent, 10)
    assert not link.run(agent, 10.5)
    assert 10 + RETRY_S == link.wake_at()
    ike.start()
    assert link.run(agent, 12)
    assert link.ready
    assert ike.loaded_keys
    assert link.wake_at() is None


def test_a_daemon_that_came_back_is_recovering() -> None:
    """What it held is forgotten, and what it holds is read."""
    ike, agent = FakeIke(), Agent(A)
    link = IkeLink(ike)
    link.run(agent, 10)
    ike.load(config())
    ike.initiate(NAME, "out")
    link.run(agent, 11)
    link.run(agent, 12)
    assert agent.seen[NAME].sas
    ike.crash()
    assert link.run(agent, 13)
    assert NAME not in agent.seen
    assert link.problem
    ike.start()
    assert link.run(agent, 15)
    assert 15 + RECOVERING_S == link.recovering_until


def test_what_cannot_be_observed_deletes_nothing() -> None:
    """Unknown is not empty."""
    ike, agent = FakeIke(), Agent(A)
    link = IkeLink(ike)
    link.run(agent, 10)
    ike.load(config())
    ike.initiate(NAME, "out")
    link.look(agent, NAME)
    before = dict(agent.seen)
    ike.fail_next("observe_sas")
    link.look(agent, NAME)
    assert before == agent.seen
    assert link.problem


def test_no_certificate_is_said_and_asked_for_again_in_a_while() -> None:
    """Missing files are refused by name."""
    keeper = CredentialKeeper()
    assert not keeper.run(None, A, 10, NOW)
    assert "set Open_vSwitch" in keeper.problem
    assert 10 + LOOK_S == keeper.wake_at()
    assert not keeper.run(None, A, 10.1, NOW)
    files = CredentialFiles(certificate="/no/c", private_key="/no/k", ca_cert="/no/a")
    assert not keeper.run(files, A, 10.2, NOW)
    assert "/no/" in keeper.problem
