# SPDX-License-Identifier: Apache-2.0
"""northd_ext.policy: rules to what SB is to carry."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID

import pytest

from northd_ext.observe.views import ChassisFacts, EncapFacts, NbView, SbView
from northd_ext.policy.evaluation import evaluate
from northd_ext.policy.intent import Intent, choose
from northd_ext.policy.ledger import Ledger
from northd_ext.policy.settling import Settling
from northd_ext.policy.standing import Vouched
from northd_ext.policy.target import Target, Targeting
from northd_ext.rollout.census import take_census
from northd_ext.rollout.phases import Event, Step, step
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Rule,
    Treatment,
)
from ovn_ipsec.model.status import Digest
from ovn_ipsec.policy.across import end_mode
from ovn_ipsec.policy.classes import RuleBook
from ovn_ipsec.policy.ruleset import RuleSet
from ovn_ipsec.policy.topology import Membership
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.nb_global import ParsedPolicy
from ovn_ipsec.schema.rules import parse_rule

PLACE = Place(table="NB_Global", row=".", key="ovn-ipsec-rule-1")
PAYMENTS = Membership(hosts=frozenset({"payments"}), reaches=frozenset({"payments"}))
ERROR = InputError(table="NB_Global", row=".", key="k", text="t", reason="r")


def rules(*texts: str) -> tuple[Rule, ...]:
    """Rules of falling priority."""
    return tuple(parse_rule(PLACE, max(1, 100 - i), text) for i, text in enumerate(texts))


def asks(*texts: str, **more: object) -> EncryptionPolicy:
    """A policy with these rules."""
    return replace(EncryptionPolicy(enabled=True), rules=rules(*texts), **more)  # type: ignore[arg-type]


def nb(asked: EncryptionPolicy | None, *switches: str, **networks: Mode) -> NbView:
    """A northbound that asks for this."""
    parsed = ParsedPolicy(policy=asked, errors=() if asked else (ERROR,))
    return NbView(asked=parsed, report={}, switches=frozenset(switches), networks=networks)


def hv(number: int, zone: str = "", **more: object) -> ChassisFacts:
    """A chassis in a zone, with what SB carries of it."""
    encap = EncapFacts(
        row=UUID(int=number), label=f"hv{number}", type="geneve", text=None, ip=ip_address(number)
    )
    return ChassisFacts(
        name=f"hv{number}",
        zones=frozenset({zone} - {""}),
        encaps=(encap,),
        **more,  # type: ignore[arg-type]
    )


def carrying(chassis: ChassisFacts, mode: str | None, name: str | None) -> ChassisFacts:
    """The same chassis with these texts in its Encap row."""
    encaps = tuple(replace(e, text=mode, class_text=name) for e in chassis.encaps)
    return replace(chassis, encaps=encaps)


def digest(*profiles: Profile) -> Digest:
    """A controller whose daemon can do these."""
    return Digest(
        generation=1, phase=Phase.OFF, agent="a", profiles=frozenset({Profile.DEFAULT, *profiles})
    )


class Cluster:
    """An SB that is brought to what the plan says, and time."""

    def __init__(self, *members: ChassisFacts) -> None:
        """Start with no policy."""
        self.sb = SbView(policy=None, chassis={c.name: c for c in members})
        self.targeting, self.settling, self.now = Targeting(), Settling(), 0.0
        self.target, self.vouched = Target(policy=None), None

    def look(self, view: NbView) -> Step:
        """One turn as the daemon takes it; what is due is written."""
        self.now += 10.0
        if self.sb.policy is not None:
            told = {"ovn-ipsec-generation": str(self.sb.policy.generation)}
            view = replace(view, report=told | view.report)
        self.vouched = self.vouched and self.vouched.after(view)
        written = self.settling.written_classes(self.sb)
        self.target, ledger = self.targeting.decide(view, self.sb, written, vouched=self.vouched)
        census = take_census(self.sb.policy, ledger)
        taken = step(view, self.sb, self.target, census)
        if taken.event is not None and taken.policy is not None:
            self.vouched = Vouched.by(view, taken.policy.generation)
        plan = evaluate(taken.policy, self.sb.policy, ledger)
        self.refusals = plan.refusals
        changes = plan.changes
        if taken.event is not Event.CHANGE:
            changes = self.settling.due(changes, self.now)
            self.settling.repaired(changes, self.now)
        self.settling.stated(changes)
        by_row = {change.row: change for change in changes}
        chassis = dict(self.sb.chassis)
        for name, facts in chassis.items():
            for encap in facts.encaps:
                change = by_row.get(encap.row)
                if change is not None:
                    chassis[name] = carrying(facts, change.mode, change.class_name)
        self.sb = replace(self.sb, chassis=chassis, policy=taken.policy or self.sb.policy)
        return taken

    def put(self, *members: ChassisFacts) -> None:
        """Replace chassis."""
        chassis = {**self.sb.chassis, **{c.name: c for c in members}}
        self.sb = replace(self.sb, chassis=chassis)

    def at(self, phase: Phase) -> None:
        """Bring the published policy to a phase."""
        assert self.sb.policy is not None
        self.sb = replace(self.sb, policy=replace(self.sb.policy, phase=phase))

    def treats(self, one: str, other: str) -> str:
        """What SB says of the pair of two chassis."""
        policy = self.sb.policy
        assert policy is not None
        names = sorted(str(self.sb.chassis[n].encaps[0].class_text) for n in (one, other))
        found = policy.pairs.get((names[0], names[1]))  # type: ignore[arg-type]
        treatment = found or Treatment(mode=policy.default, profile=policy.profile)
        return f"{treatment.mode}/{treatment.profile}"


def test_rules_become_classes_and_pairs() -> None:
    """Two zones: across is encrypted in another suite, inside is clear; once."""
    cluster = Cluster(hv(1, "a"), hv(2, "a"), hv(3, "b"))
    view = nb(asks("zone:a zone:b require profile=cnsa", "any any off"))
    cluster.put(*(replace(c, digest=digest(Profile.CNSA)) for c in cluster.sb.chassis.values()))
    taken = cluster.look(view)
    assert taken.event is Event.CHANGE
    assert cluster.treats("hv1", "hv3") == "require/cnsa"
    assert cluster.treats("hv1", "hv2") == "off/default"
    assert taken.policy is not None
    assert taken.policy.floor is Mode.OFF
    assert taken.policy.rules == ("100 zone:a zone:b require profile=cnsa", "99 any any off")
    assert end_mode(taken.policy) is Mode.REQUIRE
    assert cluster.look(view).event is None


def test_rules_that_only_prefer_end_in_established() -> None:
    """Nothing is enforced where no pair is required."""
    cluster = Cluster(hv(1))
    taken = cluster.look(nb(asks("any any off", mode=Mode.PREFER)))
    assert taken.policy is not None
    assert end_mode(taken.policy) is Mode.PREFER


def test_missing_network_keeps_the_last_good_policy_over_a_restart() -> None:
    """A rule that names no logical switch changes nothing, also for a northd that just started."""
    cluster = Cluster(hv(1, "a"), hv(2, "b"))
    cluster.look(nb(asks("zone:a zone:b off"), web=Mode.REQUIRE))
    cluster.at(Phase.ENFORCE)
    before = cluster.sb.policy
    bad = nb(asks("network:gone any off"))
    for _ in range(2):
        assert cluster.look(bad).event is None
        assert cluster.sb.policy == before
        (error,) = cluster.target.errors
        assert error.key == "ovn-ipsec-rule-100"
        assert "Logical_Switch" in error.reason
        cluster.targeting, cluster.settling = Targeting(), Settling()
    assert cluster.look(nb(None)).event is None
    assert cluster.treats("hv1", "hv2") == "off/default"
    cluster.put(hv(3, "a"))
    cluster.look(bad)
    cluster.look(bad)
    assert cluster.treats("hv3", "hv2") == "off/default"


def test_junk_among_published_rules_is_passed_over() -> None:
    """Only the lines that can be read are the last good rules."""
    policy = ClusterPolicy(
        generation=1,
        phase=Phase.ENFORCE,
        default=Mode.REQUIRE,
        floor=Mode.OFF,
        rules=("junk", "99999999 any any off", "7 any any off", "switch network:web any prefer"),
    )
    intent = choose(nb(None), policy)
    assert [str(rule) for rule in intent.rules.rules] == ["any any off"]
    assert intent.rules.networks == {"web": Mode.PREFER}
    assert [error.table for error in intent.errors] == ["NB_Global", "SB_Global", "SB_Global"]
    nothing = RuleSet(default=Treatment(mode=Mode.OFF))
    assert choose(nb(None), None) == Intent(policy=None, rules=nothing, errors=(ERROR,))


def test_switched_off_needs_no_sound_rules() -> None:
    """The switch works whatever the rules say."""
    cluster = Cluster(hv(1))
    cluster.look(nb(asks()))
    off = replace(asks("network:gone any off"), enabled=False)
    assert cluster.look(nb(off)).event is Event.DISABLE
    cluster.sb = replace(cluster.sb, memberships=None)
    cluster.at(Phase.ENFORCE)
    named = replace(asks("network:web any off"), enabled=False)
    assert cluster.look(nb(named, "web")).event is Event.DISABLE


def test_unknown_networks_wait_and_joins_follow_at_once() -> None:
    """Nothing is decided before the ports are known; who joins is written without settling."""
    cluster = Cluster(hv(1), hv(2), hv(3))
    cluster.sb = replace(cluster.sb, memberships=None)
    view = nb(asks("network:payments any require", "any any off"), "payments")
    assert cluster.look(view).policy is None
    assert not cluster.target.known
    for _ in range(2):
        assert cluster.targeting.named(view, cluster.sb.policy) == {"payments"}
    members = {"hv1": PAYMENTS, "hv2": PAYMENTS}
    keys = {"payments": frozenset({5})}
    cluster.sb = replace(cluster.sb, memberships=members, tunnel_keys=keys)
    assert cluster.look(view).event is Event.CHANGE
    assert cluster.treats("hv1", "hv2") == "require/default"
    assert cluster.treats("hv1", "hv3") == "off/default"
    cluster.at(Phase.ENFORCE)
    assert cluster.look(view).event is Event.FOLLOW
    assert cluster.sb.policy is not None
    assert cluster.sb.policy.vnis == {5}
    generation = cluster.sb.policy.generation
    cluster.sb = replace(cluster.sb, memberships={**members, "hv3": PAYMENTS})
    cluster.look(view)
    assert cluster.treats("hv1", "hv3") == "require/default"
    assert cluster.sb.policy.generation == generation
    cluster.sb = replace(cluster.sb, memberships=members)
    assert cluster.look(view).event is Event.EASE
    assert cluster.sb.policy.generation == generation + 1
    assert cluster.treats("hv1", "hv3") == "off/default"
    cluster.sb = replace(cluster.sb, memberships=None)
    assert cluster.look(view).event is None


def test_vnis_are_those_that_nothing_weaker_can_reach() -> None:
    """A rule above that is not `require` might let the network pass: then pairs alone decide."""
    keys = {"payments": frozenset({5}), "web": frozenset({6})}
    safe = ("zone:a zone:b require", "network:payments any require", "any any off")
    for texts, wanted in ((safe, {5, 6}), (("zone:a any off", *safe), {6}), ((), {6})):
        cluster = Cluster(hv(1))
        cluster.sb = replace(cluster.sb, tunnel_keys=keys)
        view = nb(asks(*texts), "payments", web=Mode.REQUIRE)
        cluster.look(view)
        assert cluster.sb.policy is not None
        assert cluster.sb.policy.vnis == frozenset()
        cluster.at(Phase.ENFORCE)
        cluster.look(view)
        assert cluster.sb.policy.vnis == wanted


def test_profile_that_a_chassis_cannot_do_is_refused_before_anything_changes() -> None:
    """Who lacks it is named; those who never need it do not matter."""
    members = [replace(hv(n, "a"), digest=digest()) for n in range(1, 6)]
    clear = replace(hv(6, "b"), digest=digest())
    other = EncapFacts(row=UUID(int=9), label="hv9", type="stt", text=None)
    cluster = Cluster(*members, clear, hv(7, "a"), hv(9, digest=digest()))
    cluster.put(replace(cluster.sb.chassis["hv9"], encaps=(other,)))
    cluster.look(nb(asks()))
    before = cluster.sb.policy
    view = nb(asks("zone:b any off", "zone:a any require profile=pq"))
    assert cluster.look(view).event is None
    assert cluster.sb.policy == before
    (error,) = cluster.target.errors
    assert error.text == "pq"
    assert error.reason == "the IKE daemon of hv1, hv2, hv3 and 2 more cannot do it"
    cluster.put(*(replace(c, digest=digest(Profile.PQ)) for c in members))
    assert cluster.look(view).event is Event.CHANGE
    assert cluster.treats("hv1", "hv2") == "require/pq"
    cluster.put(replace(hv(8, "a"), digest=digest()))
    assert cluster.look(view).event is not Event.CHANGE
    assert [error.text for error in cluster.target.errors] == ["pq"]
    assert cluster.target.policy is not None


def test_more_classes_than_sb_can_carry_are_refused() -> None:
    """What every controller would refuse is not published."""
    members = [hv(n, f"z{n}") for n in range(1, 301)]
    cluster = Cluster(*members)
    cluster.look(nb(asks()))
    cluster.at(Phase.ENFORCE)
    before = cluster.sb.policy
    texts = (*(f"zone:z{n} zone:z{n} require" for n in range(1, 301)), "any any off")
    cluster.look(nb(asks(*texts)))
    assert cluster.sb.policy == before
    assert "classes" in cluster.target.errors[0].reason


def test_class_of_its_own_making_is_refused_and_put_right_without_a_new_generation() -> None:
    """A chassis that calls itself another class is named, and the row is written again."""
    cluster = Cluster(hv(1, "lab"), hv(2, "a"), hv(3, "a"))
    view = nb(asks("zone:lab any off"))
    cluster.look(view)
    cluster.at(Phase.ENFORCE)
    assert cluster.sb.policy is not None
    generation = cluster.sb.policy.generation
    lab = cluster.sb.chassis["hv1"].encaps[0].class_text
    cluster.put(carrying(cluster.sb.chassis["hv2"], "require", lab))
    taken = cluster.look(view)
    assert taken.event is None
    (refusal,) = cluster.refusals
    assert (refusal.row, refusal.key, refusal.text) == ("hv2", "options:ovn-ipsec-class", lab)
    cluster.look(view)
    cluster.look(view)
    assert cluster.sb.chassis["hv2"].encaps[0].class_text != lab
    assert cluster.sb.policy.generation == generation


def test_chassis_without_a_controller_is_missed_only_where_it_is_needed() -> None:
    """One that no rule encrypts may run what it likes."""
    chassis = [replace(hv(1, "a"), digest=digest()), replace(hv(2, "a"), digest=digest()), hv(3)]
    sb = SbView(policy=None, chassis={c.name: c for c in chassis})
    policy = ClusterPolicy(
        generation=1, phase=Phase.ESTABLISH, default=Mode.REQUIRE, floor=Mode.OFF
    )
    for texts, absent in (((), ("hv3",)), (("chassis:hv3 any off",), ())):
        book = RuleBook(rules(*texts), Treatment(mode=Mode.REQUIRE))
        ledger = Ledger(book)
        ledger.update(sb.chassis, {}, {})
        assert take_census(policy, ledger).absent == absent


def test_rules_across_zones_write_no_encap_and_no_matrix() -> None:
    """Only the rules, as a new generation: the gateways decide by them and by the rows."""
    gateway = hv(1, "a", is_interconn=True, digest=digest())
    cluster = Cluster(gateway, hv(2, "b", digest=digest()), hv(3, is_remote=True))
    before = cluster.look(nb(asks("zone:a zone:b off"))).policy
    assert before is not None
    labels = {name: found.encaps for name, found in cluster.sb.chassis.items()}
    taken = cluster.look(nb(asks("zone:a zone:b off", "any remote:any off"))).policy
    assert taken is not None
    assert taken.generation > before.generation
    assert taken.rules == ("100 zone:a zone:b off", "99 any remote:any off")
    assert labels == {name: found.encaps for name, found in cluster.sb.chassis.items()}
    assert (taken.pairs, taken.floor) == (before.pairs, before.floor)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("chassis:hv1 remote:any require profile=pq", True),
        ("chassis:hv2 remote:any require profile=pq", False),
        ("any remote:chassis:other require profile=pq", False),
        ("any remote:any require", False),
    ],
)
def test_a_suite_that_a_gateway_cannot_do_across_zones_is_named(
    text: str, *, refused: bool
) -> None:
    """As one that it cannot do within its zone; those that are no gateways have no such pairs."""
    members = (hv(1, is_interconn=True, digest=digest()), hv(2, digest=digest()))
    taken = Targeting().decide(
        nb(asks(text)),
        SbView(policy=None, chassis={c.name: c for c in (*members, hv(9, is_remote=True))}),
        {},
    )[0]
    assert refused == any("pq" in error.text for error in taken.errors)
    assert taken.policy is not None


def test_no_rule_across_zones_opens_a_network_of_this_one() -> None:
    """Its packets stay closed to the guard of every chassis, whatever rule stands above."""
    cluster = Cluster(hv(1))
    cluster.sb = replace(cluster.sb, tunnel_keys={"payments": frozenset({5})})
    for above, vnis in (("any remote:any off", {5}), ("any any off", set())):
        texts = asks(above, "network:payments any require")
        found = Targeting().decide(nb(texts, "payments"), cluster.sb, {})[0]
        assert vnis == found.vnis


def test_classes_are_worked_out_for_changed_chassis_only() -> None:
    """The result is that of a fresh look, whatever came and went."""
    texts = rules("zone:a zone:b off")
    book = RuleBook(texts, Treatment(mode=Mode.REQUIRE))
    remote = replace(hv(9, "a"), is_remote=True)
    stt = replace(hv(8), encaps=(EncapFacts(row=UUID(int=8), label="x", type="stt", text=None),))
    kept = Ledger(book)
    members = {c.name: c for c in (hv(1, "a"), hv(2, "b"), remote, stt)}
    for change in (
        {"hv8": hv(8)},
        {"hv1": hv(1, "b")},
        {"hv3": hv(3, "a")},
        {"hv2": None},
        {},
        {"hv3": hv(3)},
    ):
        fresh = Ledger(RuleBook(texts, Treatment(mode=Mode.REQUIRE)))
        fresh.update(members, {}, {})
        kept.update(members, {}, {})
        assert {n: kept.encaps(n) for n in members} == {n: fresh.encaps(n) for n in members}
        assert kept.matrix == fresh.matrix
        assert kept.present == fresh.present
        members = {n: c for n, c in {**members, **change}.items() if c is not None}


def test_lost_policy_is_restored_before_the_networks_are_known() -> None:
    """SB lost everything: what NB reported is put back, with its classes as soon as they are."""
    cluster = Cluster(hv(1), hv(2))
    cluster.sb = replace(cluster.sb, memberships=None)
    report = {"ovn-ipsec-state": "enforced", "ovn-ipsec-generation": "7"}
    view = replace(nb(asks("network:web any off"), "web"), report=report)
    taken = cluster.look(view)
    assert taken.event is Event.RESTORE
    assert taken.policy is not None
    assert (taken.policy.phase, taken.policy.default) == (Phase.ENFORCE, Mode.REQUIRE)
    cluster.sb = replace(cluster.sb, memberships={"hv1": PAYMENTS})
    assert cluster.look(view).event is Event.CHANGE


def test_text_of_intent_is_what_nb_would_be_given() -> None:
    """Rules in SB can be read back, with what switches ask for before them."""
    view = nb(asks("any any off"), web=Mode.PREFER)
    assert choose(view, None).rules.texts == ("switch network:web any prefer", "100 any any off")
    broken = replace(view, errors=(ERROR,))
    assert choose(broken, None).policy is None


def test_one_chassis_that_cannot_do_a_profile_holds_up_no_policy() -> None:
    """It is named, and its pairs are its own; in quarantine it is not even that."""
    members = [replace(hv(n), digest=digest(Profile.PQ)) for n in range(1, 5)]
    cluster = Cluster(*members, replace(hv(9), digest=digest()))
    asked = asks(profile=Profile.PQ)
    assert cluster.look(nb(asked)).event is Event.CHANGE
    assert [error.text for error in cluster.target.errors] == ["pq"]
    assert "hv9 cannot do it" in cluster.target.errors[0].reason
    assert cluster.treats("hv1", "hv9") == "require/pq"
    cluster.look(nb(replace(asked, quarantine=frozenset({ChassisName("hv9")}))))
    assert cluster.target.errors == ()
