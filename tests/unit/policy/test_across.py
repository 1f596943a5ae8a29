# SPDX-License-Identifier: Apache-2.0
"""Pairs with other availability zones: which rules decide them, and that others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.chassis import ChassisName, Encap, EncapType
from ovn_ipsec.model.policy import (
    ClassName,
    ClusterPolicy,
    Mode,
    Phase,
    Profile,
    Rule,
    Selector,
    Treatment,
)
from ovn_ipsec.policy.across import (
    NO_RULE,
    Across,
    End,
    end_mode,
    face_of,
    ruled,
    stated,
    subject_of,
    treatment_between,
)
from ovn_ipsec.policy.classes import NOTHING, RuleBook
from ovn_ipsec.policy.judgement import treatment_of
from ovn_ipsec.schema.encap import Chassis, EncapIntent
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import parse_rule
from tests.unit.policy.oracle import sees

DEFAULT = Treatment(mode=Mode.PREFER, profile=Profile.CHACHA20)
PLACE = Place(table="NB_Global", row=".", key="x")
NEAR = ("any", "chassis:gw1", "chassis:gw*", "host:*.one", "zone:z", "az:a", "cidr:10.0.0.0/24")
FAR = ("any", "chassis:gw2", "chassis:gw*", "host:*.two", "cidr:10.0.0.0/24", "cidr:fd00::/8")
LOCAL = ("any any off", "cidr:10.0.0.0/8 any off", "chassis:* host:* require", "network:n any off")


def rules(*texts: str) -> tuple[Rule, ...]:
    return tuple(parse_rule(PLACE, 100 - number, text) for number, text in enumerate(texts))


def policy(*texts: str, **changes) -> ClusterPolicy:
    lines = tuple(f"{100 - number} {text}" for number, text in enumerate(texts))
    made = ClusterPolicy(
        generation=1,
        phase=Phase.ENFORCE,
        default=DEFAULT.mode,
        floor=DEFAULT.mode,
        profile=DEFAULT.profile,
        rules=lines,
    )
    return replace(made, **changes)


def end(name: str, ip: str = "10.0.0.1", mode: Mode | None = None, **flags) -> End:
    """A gateway of this zone, or of another if its name says so."""
    encap = Encap(type=EncapType.GENEVE, ip=ip_address(ip), port=6081, csum=None)
    values = {"zones": frozenset(), "is_remote": name == "gw2", "is_interconn": name == "gw1"}
    intent = EncapIntent(encap=encap, mode=mode)
    made = Chassis(name=ChassisName(name), encaps=(intent,), **(values | flags))
    return End(made, intent)


GW1, GW2 = end("gw1", hostname="h.one"), end("gw2", "10.0.1.1", hostname="h.two")

NAMES = st.sampled_from(["gw1", "gw2", "x"])
HOSTS = st.sampled_from(["h.one", "h.two", "", "a\nb"])
IPS = st.sampled_from(["10.0.0.1", "10.0.1.1", "fd00::1"])
ENDS = st.builds(
    lambda name, ip, host, zones, azs: end(name, ip, hostname=host, zones=zones, azs=azs),
    *(NAMES, IPS, HOSTS, st.frozensets(st.just("z")), st.frozensets(st.just("a"))),
)
BOTH_WAYS = st.sampled_from(["{near} remote:{far} {mode}", "remote:{far} {near} {mode}"])
TEXTS = st.builds(
    lambda form, near, far, mode: form.format(near=near, far=far, mode=mode),
    *(BOTH_WAYS, st.sampled_from(NEAR), st.sampled_from(FAR), st.sampled_from(Mode)),
)


def asked_one_by_one(found: Sequence[Rule], near: End, far: End) -> Rule | None:
    """In the words of the docs: the first rule that has each end in its own zone."""

    def matches(rule: Rule) -> bool:
        (here,) = (one for one in rule.selectors if not one.remote)
        (there,) = (Selector(one.kind, one.argument) for one in rule.selectors if one.remote)
        ours, theirs = subject_of(near), subject_of(far)
        return sees(here, ours, theirs) and sees(there, theirs, ours)

    return next((rule for rule in found if rule.across and matches(rule)), None)


@given(st.lists(TEXTS | st.sampled_from(LOCAL), max_size=8), ENDS, ENDS)
def test_the_first_rule_that_has_each_end_in_its_zone_decides(
    texts: list[str], near: End, far: End
):
    """Whatever other rules there are, and in whatever order it names its ends."""
    found = rules(*texts)
    book = Across(found, DEFAULT)
    expected = asked_one_by_one(found, near, far)
    verdict = book.decide(book.near(subject_of(near)), book.far(subject_of(far)))
    assert expected is verdict.rule
    treatment = DEFAULT if expected is None else replace(DEFAULT, mode=expected.mode)
    assert (treatment, None) == (verdict.treatment, verdict.network)


@given(st.lists(TEXTS, max_size=6), st.lists(st.sampled_from(LOCAL), max_size=4), ENDS)
def test_rules_across_zones_change_nothing_within(texts: list[str], local: list[str], one: End):
    """No class, and so no Encap row, and no treatment."""
    alone, beside = RuleBook(rules(*local), DEFAULT), RuleBook(rules(*local, *texts), DEFAULT)
    for subject in (subject_of(one), subject_of(GW1)):
        signature = alone.signature(subject)
        assert signature == beside.signature(subject)
        assert alone.class_name(signature) == beside.class_name(signature)
        assert alone.decide(signature, NOTHING) == beside.decide(signature, NOTHING)
    assert alone.matrix([NOTHING]) == beside.matrix([NOTHING])


@given(st.lists(st.sampled_from(LOCAL), max_size=4), ENDS, st.sampled_from([None, *Mode]))
def test_rules_from_before_weaken_no_pair_with_another_zone(
    texts: list[str], one: End, asked: Mode | None
):
    """A program that knows rules across zones treats these pairs as one that did not."""
    near = End(replace(one.chassis, is_remote=False), one.encap)
    far = end("gw2", mode=asked)
    held = policy(*texts)
    assert ruled(held, near, far) is None
    assert treatment_between(held, near, far) == treatment_of(held, near.encap, far.encap)
    assert stated(held).rules == ()
    assert end_mode(held) == end_mode(policy())


@pytest.mark.parametrize("asked", [None, *Mode])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chassis:gw1 remote:chassis:gw2 off", Treatment(mode=Mode.OFF, profile=DEFAULT.profile)),
        ("remote:host:*.two any prefer", DEFAULT),
        (
            "any remote:cidr:10.0.1.0/24 require profile=cnsa",
            Treatment(mode=Mode.REQUIRE, profile=Profile.CNSA),
        ),
    ],
)
def test_a_rule_decides_alone_whatever_the_other_row_asks_for(
    text: str, expected: Treatment, asked: Mode | None
):
    """That row carries the other zone's default, not what its rules say of this pair.

    Nor does the floor, which is for pairs within the zone, keep a rule from being obeyed.
    """
    far = End(GW2.chassis, replace(GW2.encap, mode=asked, class_name=ClassName("c")))
    held = policy(text, floor=Mode.REQUIRE)
    assert ruled(held, GW1, far) == ruled(held, far, GW1) == expected
    assert treatment_between(held, GW1, far) == expected


def test_pairs_within_a_zone_are_not_for_these_rules():
    """Nor pairs of two chassis of other zones, which have no tunnels here."""
    held = policy("any remote:any off")
    assert ruled(held, GW1, end("gw3")) is None
    assert ruled(held, GW2, GW2) is None
    assert treatment_between(held, GW1, end("gw3")).mode is DEFAULT.mode


@pytest.mark.parametrize(
    "line",
    [
        "50 any remote:planet:mars off",
        "50 remote:any any off with=care",
        "high any remote:any off",
        "50 any remote:any any off",
    ],
)
def test_a_rule_that_cannot_be_read_protects_as_much_as_any_could(line: str):
    """It may be one of a newer northd. Rules above it count, those below it do not."""
    held = policy(rules=("60 any remote:host:*.two off", line, "40 any remote:any off"))
    assert ruled(held, GW1, GW2) == Treatment(mode=Mode.OFF, profile=DEFAULT.profile)
    other = end("gw2", hostname="elsewhere")
    assert ruled(held, GW1, other) == Treatment(mode=Mode.REQUIRE, profile=DEFAULT.profile)
    assert end_mode(held) is Mode.REQUIRE


def test_what_is_not_meant_for_other_zones_is_not_read():
    """A network may be called what it likes, and rules within the zone are not parsed again."""
    lines = ("50 network:remote:any any require", "switch network:remote: any require", "40 x y")
    assert stated(policy(rules=lines)).rules == ()


def test_a_rule_across_zones_makes_this_zone_enforce():
    """Whether or not a gateway is there that it matches."""
    assert end_mode(policy()) is Mode.PREFER
    assert end_mode(policy("any remote:any off")) is Mode.PREFER
    assert end_mode(policy("any remote:chassis:nobody require")) is Mode.REQUIRE
    pairs = {(ClassName("a"), ClassName("a")): Treatment(mode=Mode.REQUIRE)}
    assert end_mode(policy(pairs=pairs)) is Mode.REQUIRE


@given(st.lists(TEXTS, max_size=6), st.lists(ENDS, min_size=2, max_size=4))
def test_ends_with_the_same_face_are_treated_alike(texts: list[str], ends: list[End]):
    """So pairs can be counted without asking about each."""
    held = policy(*texts)
    near = [end("gw1", hostname=h) for h in ("h.one", "", "h.two")]
    far = [one for one in ends if one.chassis.is_remote]
    seen: dict[object, Treatment] = {}
    for one in near:
        for other in far:
            key = (face_of(held, one), face_of(held, other))
            treatment = treatment_between(held, one, other)
            assert seen.setdefault(key, treatment) == treatment


def test_faces_are_those_of_gateways_alone():
    """No other chassis has tunnels to other zones; without rules, nothing is told apart."""
    held = policy("any remote:any off")
    assert (None, None, NO_RULE) == face_of(held, end("hv1"))
    assert (None, None, 1) == face_of(held, GW1) == face_of(held, GW2)
    assert (None, None, NO_RULE) == face_of(policy(), GW1) == face_of(policy(), GW2)


def test_what_a_remote_chassis_matches_is_said():
    """For `explain`: each selector once."""
    book = Across(
        rules("any remote:any off", "zone:z remote:any off", "any remote:host:x off"), DEFAULT
    )
    assert ("remote:any",) == book.matched(book.far(subject_of(GW2)))
    assert () == book.matched(NO_RULE)
