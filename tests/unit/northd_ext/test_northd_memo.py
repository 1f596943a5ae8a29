# SPDX-License-Identifier: Apache-2.0
"""northd_ext.policy.target, ledger, tally: what is remembered is what a fresh look would find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from northd_ext.observe.views import ChassisFacts, EncapFacts, NbView, SbView
from northd_ext.policy.evaluation import SbPlan, evaluate
from northd_ext.policy.groups import Groups
from northd_ext.policy.ledger import Ledger
from northd_ext.policy.target import Target, Targeting
from northd_ext.rollout.census import Census, take_census
from northd_ext.rollout.phases import Step, step
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import (
    Auth,
    ClassName,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Treatment,
)
from ovn_ipsec.model.status import Digest, PairCounts
from ovn_ipsec.policy.classes import RuleBook
from ovn_ipsec.policy.topology import Membership
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.nb_global import ParsedPolicy
from ovn_ipsec.schema.rules import parse_rule

NAMES = ("hv1", "hv2", "hv3", "hv4")
SWITCHES = frozenset({"web", "db"})
PLACE = Place(table="NB_Global", row=".", key="ovn-ipsec-rule-1")
ERROR = InputError(table="Chassis_Private", row="hv1", key="k", text="t", reason="r")
RULES = (
    (),
    ("zone:a zone:b off",),
    ("zone:a any require profile=cnsa", "any any off"),
    ("network:web any require", "zone:b any prefer", "any any off"),
    ("chassis:hv1 any off", "network:db network:web prefer"),
    ("network:gone any off",),
)
PUBLISHED = (
    "2 zone:a zone:b off",
    "1 network:web any require",
    "switch network:db any require",
    "junk",
)
# Names that the rules above really make, so that rows carry right ones too.
CLASSES = tuple(
    str(book.class_name(signature))
    for texts in (RULES[1], RULES[3])
    for book in [
        RuleBook(
            tuple(parse_rule(PLACE, 9 - n, text) for n, text in enumerate(texts)),
            Treatment(mode=Mode.REQUIRE),
        )
    ]
    for signature in range(1, 4)
)


def few(*values: object) -> st.SearchStrategy:
    """One of these."""
    return st.sampled_from(values)


class_texts = few(None, "junk", *CLASSES)
digests = st.builds(
    Digest,
    generation=few(1, 2),
    phase=few(Phase.ESTABLISH, Phase.ENFORCE),
    agent=st.just("a"),
    counts=st.builds(PairCounts, encrypted=few(0, 2), pending=few(0, 1), quarantined=few(0, 1)),
    across=st.builds(PairCounts, encrypted=few(0, 1, 3), pending=few(0, 1)),
    problem=few("", "no certificate", "clock"),
    warning=few("", "expires"),
    profiles=few(frozenset({Profile.DEFAULT}), frozenset({Profile.DEFAULT, Profile.CNSA})),
    auths=few(frozenset(), frozenset({Auth.CA}), frozenset({Auth.CA, Auth.PSK})),
    expires=few(None, datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)),
)


@st.composite
def facts(draw: st.DrawFn) -> ChassisFacts:
    """A chassis with up to two encaps, which may have the same label."""
    name = draw(few(*NAMES))
    number = NAMES.index(name)
    encaps = tuple(
        EncapFacts(
            row=UUID(int=2 * number + place),
            label=f"{name}/{draw(few(0, place))}",
            type=draw(few("geneve", "geneve", "vxlan", "stt")),
            text=draw(few(None, "require", "prefer", "junk")),
            class_text=draw(class_texts),
            ip=ip_address(number + 1),
        )
        for place in range(draw(few(1, 2, 0)))
    )
    digest = draw(st.none() | digests)
    return ChassisFacts(
        name=name,
        is_remote=draw(few(False, False, False, True)),
        zones=draw(few(frozenset(), frozenset({"a"}), frozenset({"a", "b"}))),
        encaps=encaps,
        digest=digest,
        digest_error=draw(few(None, ERROR)) if digest is None else None,
    )


known_memberships = st.dictionaries(
    few(*NAMES),
    st.builds(
        lambda hosts, more: Membership(hosts=hosts, reaches=hosts | more),
        few(frozenset(), frozenset({"web"})),
        few(frozenset(), SWITCHES),
    ),
)
memberships = st.one_of(st.none(), *[known_memberships] * 4)
sound_policies = st.builds(
    EncryptionPolicy,
    enabled=few(True, True, True, True, False),
    mode=few(Mode.REQUIRE, Mode.PREFER, Mode.OFF),
    auth=few(Auth.CA, Auth.PSK),
    quarantine=few(frozenset(), frozenset({"hv1"}), frozenset({"hv1", "hv3"})),
    rules=few(
        *(tuple(parse_rule(PLACE, 9 - n, text) for n, text in enumerate(texts)) for texts in RULES)
    ),
)
policies = st.one_of(st.none(), *[sound_policies] * 4)
published = st.none() | st.builds(
    ClusterPolicy,
    generation=few(1, 2),
    phase=few(*Phase),
    default=few(Mode.REQUIRE, Mode.PREFER),
    floor=st.just(Mode.OFF),
    auth=few((Auth.CA,), (Auth.CA, Auth.PSK), (Auth.PSK, Auth.CA)),
    rules=st.lists(few(*PUBLISHED), unique=True).map(tuple),
)
networks = st.dictionaries(few(*SWITCHES), few(*Mode))
labels = st.builds(lambda name, place: f"{name}/{place}", few(*NAMES), few(0, 1))
changes = st.one_of(
    st.tuples(st.just("chassis"), facts()),
    st.tuples(st.just("digest"), st.tuples(few(*NAMES), digests)),
    st.tuples(st.just("gone"), few(*NAMES)),
    st.tuples(st.just("memberships"), memberships),
    st.tuples(st.just("asked"), policies),
    st.tuples(st.just("networks"), networks),
    st.tuples(st.just("published"), published),
    st.tuples(st.just("follow"), st.booleans()),
    st.tuples(st.just("generation"), few("1", "2", "junk")),
    st.tuples(st.just("written"), st.tuples(labels, class_texts)),
    st.tuples(st.just("unwritten"), labels),
)


@dataclass
class World:
    """Everything that a decision looks at."""

    chassis: dict[str, ChassisFacts] = field(default_factory=dict)
    written: dict[str, ClassName | None] = field(default_factory=dict)
    memberships: Mapping[str, Membership] | None = field(default_factory=dict)
    asked: EncryptionPolicy | None = None
    networks: Mapping[str, Mode] = field(default_factory=dict)
    policy: ClusterPolicy | None = None
    generation: str = "2"

    def change(self, what: str, to: object, decided: ClusterPolicy | None) -> None:
        """Change something, in place where an edge does."""
        match what, to:
            case "chassis", ChassisFacts() as one:
                self.chassis[one.name] = one
            case "digest", (str() as name, Digest() as digest):
                if name in self.chassis:
                    self.chassis[name] = replace(self.chassis[name], digest=digest)
            case "gone", str() as name:
                self.chassis.pop(name, None)
            case "written", (str() as label, text):
                self.written[label] = text
            case "unwritten", str() as label:
                self.written.pop(label, None)
            case "follow", _:
                self.policy = decided
            case "published", _:
                self.policy = to  # type: ignore[assignment]
            case _:
                setattr(self, what, to)

    def decide(self, targeting: Targeting) -> tuple[Target, Census, Step, SbPlan]:
        """One turn, as the daemon takes it."""
        errors = () if self.asked else (ERROR,)
        nb = NbView(
            asked=ParsedPolicy(policy=self.asked, errors=errors),
            report={"ovn-ipsec-generation": self.generation},
            switches=SWITCHES,
            networks=self.networks,
        )
        sb = SbView(policy=self.policy, chassis=self.chassis, memberships=self.memberships)
        target, ledger = targeting.decide(nb, sb, self.written)
        census = take_census(sb.policy, ledger)
        taken = step(nb, sb, target, census)
        return target, census, taken, evaluate(taken.policy, sb.policy, ledger)


def told(found: tuple[Target, Census, Step, SbPlan]) -> list[object]:
    """Make it comparable: errors are equal when they say the same."""
    target, census, taken, plan = found
    errors = [str(error) for error in (*target.errors, *plan.refusals)]
    return [replace(target, errors=(), doubt=None), census, taken, plan.changes, errors]


@given(st.lists(facts(), min_size=2), policies, memberships, st.lists(changes, min_size=8))
def test_what_is_remembered_is_what_a_fresh_look_finds(
    first: list[ChassisFacts],
    asked: EncryptionPolicy | None,
    members: Mapping[str, Membership] | None,
    sequence: list[tuple[str, object]],
) -> None:
    """After any sequence of changes."""
    world = World({one.name: one for one in first}, memberships=members, asked=asked)
    kept = Targeting()
    decided: ClusterPolicy | None = None
    for what, to in sequence:
        world.change(what, to, decided)
        found = world.decide(kept)
        assert told(world.decide(Targeting())) == told(found)
        decided = found[2].policy


def test_chassis_that_did_not_change_is_not_looked_at_again() -> None:
    """An entry made from the same objects, or equal networks, stays the same object."""
    encap = EncapFacts(row=UUID(int=1), label="hv1", type="geneve", text=None)
    one, other = (ChassisFacts(name=name, encaps=(encap,)) for name in ("hv1", "hv2"))
    texts = (parse_rule(PLACE, 1, "network:web any off"),)
    ledger = Ledger(RuleBook(texts, Treatment(mode=Mode.REQUIRE)))

    def hosts() -> dict[str, Membership]:
        return {"hv1": Membership(hosts=frozenset({"web"}), reaches=frozenset({"web"}))}

    ledger.update({"hv1": one, "hv2": other}, hosts(), {})
    before, matrix = {name: ledger.encaps(name) for name in ("hv1", "hv2")}, ledger.matrix
    ledger.update({"hv2": replace(other), "hv1": one}, hosts(), {})
    assert before["hv1"] is ledger.encaps("hv1")
    assert before["hv2"] is not ledger.encaps("hv2")
    assert before["hv2"] == ledger.encaps("hv2")
    assert matrix is ledger.matrix


def test_what_was_written_is_noticed_without_any_row_that_changes() -> None:
    """Also that nothing was, and that no class was, which is not the same."""
    encap = EncapFacts(row=UUID(int=1), label="hv1/0", type="geneve", text=None)
    chassis = {"hv1": ChassisFacts(name="hv1", encaps=(encap,))}
    ledger, found = Ledger(None), []
    writings: tuple[dict[str, ClassName | None], ...]
    writings = ({}, {"hv1/0": None}, {"hv1/0": ClassName("c")}, {"hv2/0": None}, {})
    for written in writings:
        ledger.update(chassis, {}, written)
        found.append(ledger.encaps("hv1")[0][1].ours)
    assert found == [None, True, False, None, None]


def test_lists_of_names_are_made_once_and_do_not_pile_up() -> None:
    """Until a name changes its keys; asking for ever new keys costs no memory."""
    groups: Groups[int] = Groups()
    groups.put("b", 1, 2)
    groups.put("a", 2)
    found = groups.names([2, 3])
    assert found == ("a", "b")
    groups.put("b", 1, 2)
    assert found is groups.names([3, 2])
    groups.put("b", 1)
    assert [groups.names([key]) for key in (1, 2)] == [("b",), ("a",)]
    groups.put("a")
    assert (list(groups), len(groups)) == ([1], 1)
    told = groups.told({1: "one"})
    assert told == (("b", "one"),)
    assert told is groups.told({1: "one"})
    assert groups.told({1: "another"}) == (("b", "another"),)
    for key in range(100):
        assert groups.names([key]) == (("b",) if key == 1 else ())
    assert len(groups._listed) < 10
