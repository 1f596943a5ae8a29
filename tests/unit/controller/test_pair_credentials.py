# SPDX-License-Identifier: Apache-2.0
"""Two agents whose credentials change under live SAs: nothing is lost, nothing old is left."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.plan.credentials.certificate import describe
from controller.plan.credentials.credential import Credential
from controller.plan.pair import replacement
from ovn_ipsec.model.policy import Auth, ClusterPolicy, Mode, Phase, Revocation
from ovn_ipsec.model.status import PairState
from tests.contracts.ike_backend import OTHER_SECRET, SECRET, Authority, lab
from tests.unit.controller.test_pair_of_chassis import (
    Cluster,
    _disturb,
    classes,
    enforced,
    watched,
)
from tests.worlds import A, B, two_classes

pytestmark = pytest.mark.slow


def using(*auth: Auth, generation: int = 20) -> ClusterPolicy:
    """A policy under enforce."""
    return replace(classes(generation=generation), auth=auth)


def all_up(cluster: Cluster) -> bool:
    """Whether both ends say so, and nothing is left over: of one IKE_SA, or half of two."""
    kept = all(
        sorted(child.name for sa in end.ike.sas.values() for child in sa.children) == ["in", "out"]
        and all(sa.children for sa in end.ike.sas.values())
        for end in cluster.ends
    )
    return kept and cluster.states() == [{PairState.ENCRYPTED}] * 2


def auths(cluster: Cluster) -> list[set[Auth]]:
    """By what the SAs of both ends came about."""
    return [{sa.auth for sa in end.ike.sas.values()} for end in cluster.ends]


def ids(cluster: Cluster) -> list[set[int]]:
    """The IKE_SAs of both ends."""
    return [set(end.ike.sas) for end in cluster.ends]


@pytest.mark.parametrize("apart", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("turned", [False, True])
def test_authentication_turns_in_steps_without_a_loss(apart: float, turned: bool) -> None:
    """Whoever hears of it first; and nothing is made anew for what is only accepted."""
    cluster = enforced(using(Auth.PSK, generation=1))
    if turned:
        cluster.ends = cluster.ends[::-1]
    lost = watched(cluster)
    generation = 20
    for old, new in ((Auth.PSK, Auth.CA), (Auth.CA, Auth.PINNED), (Auth.PINNED, Auth.PSK)):
        for auth in ((old, new), (new, old), (new,)):
            before = ids(cluster)
            generation += 1
            cluster.publish(using(*auth, generation=generation), apart=apart)
            cluster.run(40)
            assert all_up(cluster)
            assert auths(cluster) == [{auth[0]}] * 2
            assert (ids(cluster) == before) == (auth != (new, old))
    assert lost == []


def test_a_way_that_is_not_accepted_any_more_is_left_even_if_the_peer_began_so() -> None:
    """It came while we used another already."""
    cluster = enforced(using(Auth.CA, Auth.PSK, generation=1))
    lost = watched(cluster)
    a, b = cluster.ends
    b.agent.put(using(Auth.PSK, Auth.CA, generation=20))
    cluster.run(60)
    assert Auth.PSK in set().union(*auths(cluster))
    cluster.publish(using(Auth.CA, generation=21))
    cluster.run(60)
    assert all_up(cluster)
    assert auths(cluster) == [{Auth.CA}] * 2
    assert a.agent.policy == b.agent.policy
    assert lost == []


def test_what_must_be_known_of_the_peer_changes_under_live_sas() -> None:
    """The daemon has it, behind its traps too; nothing is made anew for what is only accepted."""
    cluster = enforced(using(Auth.CA, generation=1))
    lost, before = watched(cluster), ids(cluster)
    for revocation in (Revocation.STRICT, Revocation.RELAXED):
        for end in cluster.ends:
            end.credentials = {"revocation": revocation}
            end.agent.touch_all()
        cluster.run(40)
        for end in cluster.ends:
            (conn,) = end.ike.conns.values()
            assert [proof.revocation for proof in conn.proofs] == [revocation]
            assert set(end.ike.traps.values()) == {conn}
        assert ids(cluster) == before
    assert all_up(cluster)
    assert lost == []


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("apart", [3.0, 40.0])
def test_a_secret_is_replaced_without_a_loss(index: int, apart: float) -> None:
    """Accept both, use the new one, drop the old: at either end first."""
    cluster = enforced(using(Auth.PSK, generation=1))
    lost = watched(cluster)
    first = list(ids(cluster))
    steps = ((SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET), (OTHER_SECRET,))
    for secrets in steps:
        for end in (cluster.ends[index], cluster.ends[1 - index]):
            end.credentials = {"secrets": secrets}
            end.agent.touch_all()
            cluster.run(apart)
        if secrets[0] is SECRET:
            assert ids(cluster) == first
    cluster.run(40)
    assert all_up(cluster)
    assert not ids(cluster)[0] & first[0]
    assert lost == []


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("alive", [0.5, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("away", [0.5, 5.0])
@pytest.mark.parametrize("gap", [0.5, 5.0])
def test_a_secret_is_replaced_while_one_controller_dies(
    index: int, alive: float, away: float, gap: float
) -> None:
    """It has begun, and the next one takes what it finds there for made from the old secret.

    The daemon would take that up again: its configuration is the one that shall be.
    """
    cluster = enforced(using(Auth.PSK, generation=1))
    lost, before, dead = watched(cluster), ids(cluster), cluster.ends[index]
    for secrets in ((SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET), (OTHER_SECRET,)):
        for end in cluster.ends:
            end.credentials = {"secrets": secrets}
            end.agent.touch_all()
        if secrets[0] is OTHER_SECRET and len(secrets) > 1:
            cluster.run(alive)
            dead.step = lambda _now: None  # type: ignore[method-assign]
            cluster.run(away)
            del dead.step
            dead.restart(cluster.rows, cluster.policy)
        cluster.run(gap)
    cluster.run(80)
    assert all_up(cluster)
    assert not ids(cluster)[0] & before[0]
    assert lost == []


def test_a_secret_that_only_one_end_has_is_refused_and_said() -> None:
    """What was up stays up; the reason stands beside the pair."""
    cluster = enforced(using(Auth.PSK, generation=1))
    lost = watched(cluster)
    cluster.ends[0].credentials = {"secrets": (OTHER_SECRET,)}
    cluster.ends[0].agent.touch_all()
    cluster.run(60)
    assert cluster.states() == [{PairState.ENCRYPTED}] * 2
    (record,) = cluster.ends[0].agent.records.values()
    assert "AUTHENTICATION_FAILED" in record.error
    assert lost == []
    cluster.ends[1].credentials = {"secrets": (OTHER_SECRET,)}
    cluster.ends[1].agent.touch_all()
    cluster.run(60)
    assert all_up(cluster)
    assert lost == []


@cache
def issued(name: str, *authorities: Authority) -> Credential:
    """A certificate of the first authority, for a chassis that trusts them all."""
    certificate, _ = authorities[0].issue(name)
    return describe("lab", certificate, [one.certificate for one in authorities])


@pytest.mark.parametrize("index", [0, 1])
def test_a_certificate_is_replaced_without_a_loss(index: int) -> None:
    """At the end that initiates, and at the one that does not and so has to do it this once.

    The other end follows and makes what it sends over: a responder would send too early.
    """
    cluster = enforced(using(Auth.CA, generation=1))
    lost = watched(cluster)
    for turn in range(3):
        before = ids(cluster)
        end = cluster.ends[(index + turn // 2) % 2]
        end.credentials = {"ca": describe("lab", lab().issue(end.name)[0], [lab().certificate])}
        end.agent.touch_all()
        cluster.run(40)
        assert all_up(cluster)
        assert not ids(cluster)[0] & before[0]
        for one in cluster.ends:
            senders = [sa for sa in one.ike.sas.values() if "out" in {c.name for c in sa.children}]
            assert [sa.initiator for sa in senders] == [True]
    assert lost == []


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0, 4.0, 7.0, 9.0, 12.0, 17.0, 30.0])
def test_certificates_of_both_ends_are_replaced_one_after_the_other(
    index: int, apart: float
) -> None:
    """However soon the second: what it makes anew is young, and its peer follows all the same."""
    cluster = enforced(using(Auth.CA, generation=1))
    lost = watched(cluster)
    before = ids(cluster)
    for end in cluster.ends:
        end.ike.calls.clear()
    for end in (cluster.ends[index], cluster.ends[1 - index]):
        end.credentials = {"ca": describe("lab", lab().issue(end.name)[0], [lab().certificate])}
        end.agent.touch_all()
        cluster.run(apart)
    cluster.run(60)
    assert all_up(cluster)
    assert not ids(cluster)[0] & before[0]
    tried = [call for end in cluster.ends for call in end.ike.calls if call[0] == "initiate"]
    assert {call[2] for call in tried} == {"out"}
    assert lost == []


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("away", [0.1, 1.0, 5.0, 12.0, 25.0])
def test_certificates_of_both_ends_are_replaced_while_one_controller_is_down(
    index: int, away: float
) -> None:
    """Its IKE daemon goes on answering with the old one meanwhile."""
    cluster = enforced(using(Auth.CA, generation=1))
    lost = watched(cluster)
    before = ids(cluster)
    for end in cluster.ends:
        end.ike.calls.clear()
    up, down = cluster.ends[index], cluster.ends[1 - index]
    up.credentials = {"ca": describe("lab", lab().issue(up.name)[0], [lab().certificate])}
    up.agent.touch_all()
    down.step = lambda _now: None  # type: ignore[method-assign]
    cluster.run(away)
    del down.step
    down.credentials = {"ca": describe("lab", lab().issue(down.name)[0], [lab().certificate])}
    down.restart(cluster.rows, cluster.policy)
    cluster.run(80)
    assert all_up(cluster)
    assert not ids(cluster)[0] & before[0]
    tried = [call for end in cluster.ends for call in end.ike.calls if call[0] == "initiate"]
    assert {call[2] for call in tried} == {"out"} or away > replacement.HAND_OVER_S
    assert lost == []


def test_a_peer_that_does_not_follow_is_not_waited_for() -> None:
    """It may be of another make: both children are made from here, and the old ones go."""
    cluster = enforced(using(Auth.CA, generation=1))
    a, b = cluster.ends
    before = ids(cluster)
    for _ in range(400):
        a.ike.fail_next("initiate")
    b.credentials = {"ca": issued(b.name, lab())}
    b.agent.touch_all()
    cluster.run(40)
    assert all_up(cluster)
    assert not ids(cluster)[0] & before[0]
    assert [sa.initiator for sa in b.ike.sas.values()] == [True]


def test_an_authority_is_replaced_without_a_loss() -> None:
    """Trust both, issue anew, drop the old; only the second makes anything anew."""
    newer = Authority("newer")
    cluster = enforced(using(Auth.CA, generation=1))
    lost = watched(cluster)
    for authorities in ((lab(), newer), (newer, lab()), (newer,)):
        before = ids(cluster)
        for end in cluster.ends:
            old = issued(end.name, *authorities[:1])
            trusted = issued(end.name, *authorities).ca_der
            current = end.config(next(iter(end.agent._intents.values()))).proofs[0]
            own = (
                old
                if authorities[0] is newer
                else replace(old, certificate_der=current.certificate_der)
            )
            end.credentials = {"ca": replace(own, ca_der=trusted)}
            end.agent.touch_all()
        cluster.run(40)
        assert all_up(cluster)
        assert (ids(cluster) == before) == (authorities != (newer, lab()))
    assert lost == []


@pytest.mark.parametrize("index", [0, 1])
def test_what_was_replaced_while_the_controller_was_down_is_not_forgotten(index: int) -> None:
    """Nothing is made anew by a restart alone; with another certificate it is."""
    cluster = enforced(using(Auth.CA, generation=1))
    lost = watched(cluster)
    before = ids(cluster)
    end = cluster.ends[index]
    end.restart(cluster.rows, cluster.policy)
    cluster.run(40)
    assert ids(cluster) == before
    end.credentials = {"ca": issued(end.name, lab())}
    end.restart(cluster.rows, cluster.policy)
    cluster.run(40)
    assert all_up(cluster)
    assert not ids(cluster)[0] & before[0]
    assert lost == []


@pytest.mark.parametrize("cut", [0.5, 1.5, 3.0, 6.0])
@pytest.mark.parametrize("index", [0, 1])
def test_a_restart_amid_a_turn_converges(index: int, cut: float) -> None:
    """Whenever it comes."""
    cluster = enforced(using(Auth.PSK, generation=1))
    lost = watched(cluster)
    for number, auth in enumerate(((Auth.PSK, Auth.CA), (Auth.CA, Auth.PSK), (Auth.CA,)), start=20):
        cluster.publish(using(*auth, generation=number))
        cluster.run(cut)
        cluster.ends[index].restart(cluster.rows, cluster.policy)
        cluster.run(40)
    assert all_up(cluster)
    assert auths(cluster) == [{Auth.CA}] * 2
    assert lost == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["turn", "turn", "secret", "restart", "crash", "start", "fail", "cut"]),
        st.integers(0, 1),
        st.sampled_from([0.5, 3.0, 12.0]),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(EVENTS)
def test_whatever_happens_amid_a_turn_it_converges_and_nothing_is_clear(
    events: list[tuple[str, int, float]],
) -> None:
    """One end may be steps behind, killed, or of another mind for a while."""
    cluster = enforced(using(Auth.PSK, generation=1))
    order = [(Auth.PSK, Auth.CA), (Auth.CA, Auth.PSK), (Auth.CA,)]
    for number, (what, index, seconds) in enumerate(events, start=20):
        if what == "turn" and order:
            cluster.publish(using(*order.pop(0), generation=number), apart=seconds)
        elif what == "secret":
            cluster.ends[index].credentials = {"secrets": (OTHER_SECRET, SECRET)}
            cluster.ends[index].agent.touch_all()
        else:
            _disturb(cluster, what, index, "initiate")
        cluster.run(seconds)
    for end in cluster.ends:
        if not end.ike.running:
            end.ike.start()
    cluster.publish(using(Auth.CA, Auth.PSK, generation=98))
    cluster.run(15, pace=1)
    for end in cluster.ends:
        end.ike.dpd()
    cluster.run(80, pace=1)
    cluster.publish(using(Auth.CA, generation=99))
    cluster.run(20, pace=1)
    assert cluster.states() == [{PairState.ENCRYPTED}] * 2
    assert auths(cluster) == [{Auth.CA}] * 2


def quarantined(*names: str, phase: Phase = Phase.ENFORCE, generation: int = 30) -> ClusterPolicy:
    """A policy that bars some."""
    wanted = classes(phase=phase, generation=generation, lab_prod="off")
    return replace(wanted, quarantine=frozenset(type(A)(name) for name in names))


def nothing_passes(cluster: Cluster) -> bool:
    """Neither encrypted nor in clear, and nothing that could bring it back."""
    return all(
        not end.ike.sas and not end.ike.conns and not end.ike.traps and not end.clear()
        for end in cluster.ends
    )


@pytest.mark.parametrize("name", [A, B])
def test_quarantine_ends_everything_at_once_until_it_is_lifted(name: str) -> None:
    """At the chassis itself, too; then the pair comes up again."""
    cluster = enforced(quarantined())
    cluster.publish(quarantined(name, generation=31))
    cluster.run(1)
    assert nothing_passes(cluster)
    assert cluster.states() == [{PairState.QUARANTINED}] * 2
    for end in cluster.ends:
        assert end.agent.pair_counts().quarantined == 1
        assert end.agent.pair_counts().all_up
    cluster.run(100)
    assert nothing_passes(cluster)
    cluster.publish(quarantined(generation=32))
    cluster.run(60)
    assert all_up(cluster)


def test_a_pair_that_is_clear_by_rule_is_closed_by_quarantine() -> None:
    """And is clear again when that ends."""
    cluster = enforced(quarantined(), two_classes("lab", "prod"))
    cluster.run(20)
    assert cluster.states() == [{PairState.CLEAR}] * 2
    cluster.publish(quarantined(B, generation=31))
    cluster.run(1)
    assert nothing_passes(cluster)
    cluster.publish(quarantined(generation=32))
    cluster.run(20)
    assert cluster.states() == [{PairState.CLEAR}] * 2
    assert all(end.clear() for end in cluster.ends)


def test_quarantine_holds_in_prepare_and_not_when_policy_is_off() -> None:
    """Relax and off say nothing."""
    cluster = Cluster()
    cluster.publish(quarantined(B, phase=Phase.PREPARE))
    cluster.run(3)
    assert nothing_passes(cluster)
    for number, phase in enumerate((Phase.RELAX, Phase.OFF), start=31):
        cluster.publish(quarantined(B, phase=phase, generation=number))
        cluster.run(20)
        assert cluster.states() == [{PairState.CLEAR}] * 2
    assert not any(end.in_force() for end in cluster.ends)


def test_quarantine_outlives_the_rows_of_who_is_in_it() -> None:
    """Lost rows are no way out; the record goes after a while, and the guard denies anyway."""
    cluster = enforced(quarantined())
    cluster.publish(quarantined(B, generation=31))
    cluster.run(1)
    end = cluster.ends[0]
    end.agent.put_chassis(B, None)
    cluster.run(30)
    assert {r.state for r in end.agent.records.values()} == {PairState.QUARANTINED}
    assert not end.clear()
    cluster.run(40)
    assert not end.agent.records
    assert not end.clear()
    assert Mode.OFF is not end.agent.policy.default
