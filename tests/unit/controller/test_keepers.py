# SPDX-License-Identifier: Apache-2.0
"""The shells around the planner, with fakes: disk, guard, link to the IKE daemon."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest

from controller.guard.keeper import GuardKeeper
from controller.ike.keyring import Keyring
from controller.ike.link import BULK, RECOVERING_S, REST, RETRY_S, IkeLink
from controller.plan.agent import Agent
from controller.plan.credentials.credential import Secret
from controller.plan.guard import ClearPair, GuardState, flows_of
from controller.state_dir import StateDir
from ovn_ipsec.errors import NftError
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import config, lab
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
    assert ["nft: differs from what was installed"] == keeper.audit()
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


def test_the_link_connects_again_and_again(tmp_path: Path) -> None:
    """Once in a while, and with our key; then it says so."""
    ike, agent = FakeIke(running=False), Agent(A)
    keys = Keyring(StateDir(tmp_path))
    keys.want({"id": Secret(b"key")})
    link = IkeLink(ike, keys)
    assert not link.sync(agent, 10)
    assert not link.sync(agent, 10.5)
    assert 10 + RETRY_S == link.wake_at()
    ike.start()
    assert link.sync(agent, 12)
    assert link.ready
    assert ike.loaded_keys
    assert link.wake_at() is None


def test_a_daemon_that_came_back_is_recovering(tmp_path: Path) -> None:
    """What it held is forgotten, and what it holds is read."""
    ike, agent = FakeIke(), Agent(A)
    link = IkeLink(ike, Keyring(StateDir(tmp_path)))
    link.sync(agent, 10)
    ike.load(config())
    ike.initiate(NAME, "out")
    link.sync(agent, 11)
    link.sync(agent, 12)
    assert agent.seen[NAME].sas
    ike.crash()
    assert link.sync(agent, 13)
    assert NAME not in agent.seen
    assert link.problem
    ike.start()
    assert link.sync(agent, 15)
    assert 15 + RECOVERING_S == link.recovering_until


def test_what_cannot_be_observed_deletes_nothing(tmp_path: Path) -> None:
    """Unknown is not empty."""
    ike, agent = FakeIke(), Agent(A)
    link = IkeLink(ike, Keyring(StateDir(tmp_path)))
    link.sync(agent, 10)
    ike.load(config())
    ike.initiate(NAME, "out")
    link.look(agent, NAME)
    before = dict(agent.seen)
    ike.fail_next("observe_sas")
    link.look(agent, NAME)
    assert before == agent.seen
    assert link.problem


OTHER = config(peer="chC").name


def two_connections(tmp_path: Path) -> tuple[FakeIke, IkeLink, Agent]:
    """Both up, and all of it taken in."""
    ike, agent = FakeIke(), Agent(A)
    link = IkeLink(ike, Keyring(StateDir(tmp_path)))
    link.sync(agent, 10)
    for peer in ("chB", "chC"):
        ike.load(config(peer=peer))
        ike.initiate(config(peer=peer).name, "out")
    link.sync(agent, 11)
    assert {NAME, OTHER} == {name for name, seen in agent.seen.items() if seen.sas}
    return ike, link, agent


def test_a_storm_of_events_is_not_answered_with_a_dump_for_each(tmp_path: Path) -> None:
    """The daemon has to do something else, too; what waits is not compared with the kernel."""
    ike, agent, dumps = FakeIke(), Agent(A), count(0.0, 0.5)
    link = IkeLink(ike, Keyring(StateDir(tmp_path)), clock=lambda: next(dumps))
    link.sync(agent, 10)
    names = {(one := config(peer=f"ch{number}")).name: one for number in range(BULK + 1)}

    def storm(child: str) -> None:
        for name, conn in names.items():
            ike.load(conn)
            ike.initiate(name, child)

    storm("out")
    link.sync(agent, 11)
    assert names.keys() == agent.seen.keys()
    storm("in")
    link.sync(agent, 11.1)
    assert {len(list(seen.children())) for seen in agent.seen.values()} == {1}
    assert (link.outdated({}), link.wake_at()) == (names.keys(), 11 + REST * 0.5)
    link.sync(agent, 13)
    assert {len(list(seen.children())) for seen in agent.seen.values()} == {2}
    assert (link.outdated({}), link.wake_at()) == (frozenset(), None)


@pytest.mark.parametrize("lost", [False, True], ids=["one by one", "all at once"])
def test_an_sa_that_cannot_be_read_costs_only_its_connection(tmp_path: Path, lost: bool) -> None:
    """What was seen of it stands, what else has happened is taken in, and it is read again."""
    ike, link, agent = two_connections(tmp_path)
    before = agent.seen[NAME].sas
    ike.unreadable[NAME] = "sent uniqueid=x"
    for conn in [sa.conn for sa in ike.sas.values()]:
        (number,) = (sa.id for sa in ike.sas.values() if sa.conn == conn)
        ike.drop(number)
    if lost:
        ike.lose_events()
    link.sync(agent, 12)
    assert before == agent.seen[NAME].sas
    assert OTHER not in agent.seen or not agent.seen[OTHER].sas
    assert f"1 connections cannot be read: {NAME}: sent uniqueid=x" in link.problem
    assert link.wake_at() == 12 + RETRY_S
    ike.unreadable.clear()
    link.sync(agent, 12.5)
    assert before == agent.seen[NAME].sas
    link.sync(agent, 12 + RETRY_S)
    assert not agent.seen[NAME].sas
    assert (link.problem, link.wake_at()) == ("", None)


def test_events_are_not_lost_with_the_look_that_they_asked_for(tmp_path: Path) -> None:
    """A look that fails while the daemon is there is owed, be it at one connection or at all."""
    ike, link, agent = two_connections(tmp_path)
    for number in list(ike.sas):
        ike.drop(number)
    ike.fail_next("observe_sas")
    link.sync(agent, 12)
    assert 1 == len([name for name in (NAME, OTHER) if agent.seen[name].sas])
    link.sync(agent, 12 + RETRY_S)
    assert not any(agent.seen[name].sas for name in (NAME, OTHER))
    ike.initiate(NAME, "out")
    ike.lose_events()
    ike.fail_next("observe")
    link.sync(agent, 20)
    assert "made to fail" in link.problem
    assert not agent.seen[NAME].sas
    assert link.wake_at() == 20 + RETRY_S
    link.sync(agent, 20 + RETRY_S)
    assert agent.seen[NAME].sas
    assert link.problem == ""


def test_what_has_changed_since_it_was_read_is_outdated_until_it_is_read(tmp_path: Path) -> None:
    """Whoever asks for it takes no event away from the next pass."""
    ike, link, agent = two_connections(tmp_path)
    assert link.outdated({}) == frozenset()
    for number in [number for number, sa in ike.sas.items() if sa.conn == NAME]:
        ike.drop(number)
    assert link.outdated({}) == frozenset({NAME})
    assert link.outdated({}) == frozenset({NAME})
    assert agent.seen[NAME].sas
    ike.fail_next("observe_sas")
    link.sync(agent, 12)
    assert link.outdated({}) == frozenset({NAME}), "it could not be read"
    link.sync(agent, 12 + RETRY_S)
    assert not agent.seen[NAME].sas
    assert link.outdated({}) == frozenset()
    ike.lose_events()
    assert link.outdated({}) is None
    assert link.outdated({}) is None
    ike.fail_next("observe")
    link.sync(agent, 20)
    assert link.outdated({}) is None, "it could not be read either"
    link.sync(agent, 20 + RETRY_S)
    assert link.outdated({}) == frozenset()


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "all at once"])
def test_a_suspect_whose_event_is_late_is_outdated(tmp_path: Path, *, many: bool) -> None:
    """It is read once more; what is missing then, while the SAs are the same, is missing."""
    ike, agent = FakeIke(), Agent(A)
    link = IkeLink(ike, Keyring(StateDir(tmp_path)))
    link.sync(agent, 10)
    peers = [f"ch{number}" for number in range(BULK + 1 if many else 3)]
    configs = [config(peer=peer) for peer in peers]
    for one in configs:
        ike.load(one)
        ike.initiate(one.name, "out")
    link.sync(agent, 11)
    seen = {one.name: agent.seen[one.name].sas for one in configs}
    late = configs[0].name
    for number in [number for number, sa in ike.sas.items() if sa.conn == late]:
        ike.drop(number)
    ike.drain()
    assert link.outdated({}) == frozenset()
    assert link.outdated(seen) == frozenset(seen)
    assert link.outdated(seen) == frozenset(seen), "until they are read"
    ike.fail_next("observe" if many else "observe_sas")
    link.sync(agent, 12)
    assert link.outdated(seen) != frozenset(), "what cannot be read proves nothing"
    link.sync(agent, 12 + RETRY_S)
    assert not agent.seen[late].sas
    seen[late] = ()
    assert link.outdated(seen) == frozenset({late}), "the others have what they had"
    link.sync(agent, 14)
    assert link.outdated(seen) == frozenset()
    assert link.outdated({}) == frozenset()
    assert link.outdated({late: ()}) == frozenset({late}), "a doubt of its own"


def test_the_keyring_gives_what_is_wanted_and_takes_back_what_is_ours(tmp_path: Path) -> None:
    """Over a restart, too; a key of somebody else's stays."""
    ike, state = FakeIke(), StateDir(tmp_path)
    state.open()
    ike.open()
    one, two, theirs = (Secret(text) for text in (b"one", b"two", b"theirs"))
    ids = {key: ike.load_key(key) for key in (theirs,)}
    ids |= {key: FakeIke.key_id(key) for key in (one, two)}
    ring = Keyring(state)
    ring.want({ids[one]: one})
    assert ring.load(ike) == ""
    assert ring.load(ike) == ""
    assert {ids[theirs], ids[one]} == ike.loaded_keys.keys()
    ring.want({ids[two]: two})
    ring.load(ike)
    ring.tidy(ike, frozenset())
    assert {ids[theirs], ids[two]} == ike.loaded_keys.keys()
    assert {ids[two]} == state.key_ids()
    calls = len(ike.calls)
    ring.tidy(ike, frozenset())
    assert len(ike.calls) == calls, "nothing is looked at until something changes"
    again = Keyring(state)
    again.want({ids[one]: one})
    again.load(ike)
    again.tidy(ike, frozenset())
    assert {ids[theirs], ids[one]} == ike.loaded_keys.keys()
    ike.crash()
    ike.start()
    ike.open()
    again.lost()
    again.load(ike)
    assert {ids[one]} == ike.loaded_keys.keys()


def test_shared_keys_that_nothing_uses_are_taken_back(tmp_path: Path) -> None:
    """Ours only; what cannot be read now is read later."""
    ike, ring = FakeIke(), Keyring(StateDir(tmp_path))
    ike.open()
    conn = config(auth=Auth.PSK)
    ike.load(conn)
    (key,) = conn.proofs[0].keys
    ike.loaded_shared.update({"ovn-psk-x-1": b"old", "swanctl": b"theirs"})
    ike.fail_next("shared_keys")
    ring.tidy(ike, frozenset({key.id}))
    assert "ovn-psk-x-1" in ike.loaded_shared
    ring.tidy(ike, frozenset({key.id}))
    assert {key.id, "swanctl"} == ike.loaded_shared.keys()
    ring.dirty()
    ring.tidy(ike, frozenset())
    assert {"swanctl"} == ike.loaded_shared.keys()


def test_a_key_that_is_refused_is_said_and_tried_again(tmp_path: Path) -> None:
    """And a daemon that is away is not asked."""
    ike, ring = FakeIke(), Keyring(StateDir(tmp_path))
    ring.want({FakeIke.key_id(Secret(b"one")): Secret(b"one")})
    assert ring.load(ike) == ""
    ike.open()
    ike.fail_next("load_key")
    assert "made to fail" in ring.load(ike)
    link = IkeLink(ike, ring)
    ike.fail_next("load_key")
    link.sync(Agent(A), 10)
    assert ring.load(ike) == ""
    assert ike.loaded_keys


def test_every_daemon_is_told_whom_to_ask(tmp_path: Path) -> None:
    """Once; one that cannot fetch is a problem until nobody is to be asked."""
    ike, ring = FakeIke(), Keyring(StateDir(tmp_path))
    link = IkeLink(ike, ring)
    ring.set_ocsp((b"ca",), "http://a/")
    link.sync(Agent(A), 10)
    assert (ike.ocsp, link.problem) == (((b"ca",), "http://a/"), "")
    ring.set_ocsp((b"ca",), "http://a/")
    link.sync(Agent(A), 11)
    assert ike.calls.count(("set_ocsp",)) == 1
    ike.fetches = False
    link.sync(Agent(A), 12)
    assert "plugin curl is missing" in link.problem
    ike.crash()
    link.sync(Agent(A), 13)
    ike.start()
    link.sync(Agent(A), 15)
    assert ike.ocsp == ((b"ca",), "http://a/")
    ring.set_ocsp((b"ca",), "")
    link.sync(Agent(A), 16)
    assert (ike.ocsp, link.problem) == (((), ""), "")


def test_revocation_lists_are_given_to_every_daemon(tmp_path: Path) -> None:
    """Once each; and to the next one again."""
    ike, ring = FakeIke(), Keyring(StateDir(tmp_path))
    crl = lab().revoked()
    ring.revoke((crl,))
    ike.open()
    ike.fail_next("load_crl")
    assert "made to fail" in ring.load(ike)
    ring.load(ike)
    ring.revoke((crl,))
    ring.load(ike)
    assert 1 == len(ike.loaded_crls)
    ike.crash()
    ike.start()
    ring.lost()
    ike.open()
    ring.load(ike)
    assert 1 == len(ike.loaded_crls)
