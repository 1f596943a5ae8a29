# SPDX-License-Identifier: Apache-2.0
"""northd_ext.policy.standing: whether what NB asks for is an order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement, product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northd_ext.observe.views import ChassisFacts, EncapFacts, NbView, SbView
from northd_ext.policy.intent import choose
from northd_ext.policy.standing import (
    TABLE,
    InForce,
    Report,
    Standing,
    Vouched,
    generation_in_force,
    in_force,
    judge,
    report_of,
)
from northd_ext.policy.target import Signing, Target, Targeting
from northd_ext.report import make_report
from northd_ext.rollout.census import take_census
from northd_ext.rollout.phases import Step, step
from northd_ext.rollout.progress import JUST_NOW
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    Auth,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Tuning,
)
from ovn_ipsec.policy import ruleset
from ovn_ipsec.policy.classes import RuleBook, Subject
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.nb_global import ParsedPolicy
from ovn_ipsec.schema.rules import parse_rule

PLACE = Place(table="NB_Global", row=".", key="ovn-ipsec-rule-1")
ERROR = InputError(table="SB_Global", row=".", key="ovn-ipsec-phase", text="x", reason="r")
HELD = ClusterPolicy(generation=7, phase=Phase.ENFORCE, default=Mode.REQUIRE, floor=Mode.REQUIRE)
ON = EncryptionPolicy(enabled=True)
SWITCHED_OFF = EncryptionPolicy(enabled=False)
IN_FORCE = {
    InForce.NOTHING: [SbView(chassis={})],
    InForce.DAMAGED: [SbView(chassis={}, error=ERROR, readable_generation=7)],
    InForce.OPEN: [
        SbView(chassis={}, policy=replace(HELD, phase=phase)) for phase in (Phase.OFF, Phase.RELAX)
    ],
    InForce.CLOSED: [
        SbView(chassis={}, policy=replace(HELD, phase=phase))
        for phase in (Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE)
    ],
}
REPORTS = {
    Report.NONE: ["", "junk"],
    Report.OLDER: ["6", "0"],
    Report.SAME: ["7"],
    Report.NEWER: ["8", "1764230000000"],
    Report.FOREIGN: [],
}
CELLS = [
    (state, report, sb, text)
    for (state, report) in TABLE
    for sb, text in product(IN_FORCE[state], REPORTS[report])
    if state is not InForce.NOTHING
]


def nb(asked: EncryptionPolicy | None, generation: str = "", **more: object) -> NbView:
    """A northbound that asks for this, with that in its report."""
    report = {"ovn-ipsec-generation": generation} if generation else {}
    errors = () if asked else (ERROR,)
    stated = frozenset() if asked is None else asked.quarantine
    parsed = ParsedPolicy(policy=asked, errors=errors, quarantine=stated)
    return NbView(asked=replace(parsed, **more), report=report)  # type: ignore[arg-type]


def judged(view: NbView, sb: SbView, vouched: Vouched | None = None) -> Standing:
    """What its word is worth."""
    return judge(view, sb, choose(view, sb.policy), vouched)


def test_table_is_total() -> None:
    """Each state of SB meets each report."""
    assert set(product(InForce, Report)) == set(TABLE)


@pytest.mark.parametrize(("state", "report", "sb", "text"), CELLS)
def test_switch_off_is_an_order_where_the_table_says_so(
    state: InForce, report: Report, sb: SbView, text: str
) -> None:
    """Where it is not, it becomes one by a confirmation, or where the word was ours."""
    view = nb(SWITCHED_OFF, text)
    assert (in_force(sb), report_of(view, sb)) == (state, report)
    assert judged(view, sb).holds is TABLE[state, report]
    assert judged(nb(SWITCHED_OFF, text, confirm=7), sb).holds
    assert judged(view, sb, Vouched.by(view, 7)).holds
    for other in (6, 8, 0):
        assert judged(nb(SWITCHED_OFF, text, confirm=other), sb).holds is TABLE[state, report]
    for vouched in (
        Vouched.by(view, 6),
        Vouched("", 99, 7),
        Vouched("other", view.known_generation, 7),
    ):
        assert judged(view, sb, vouched).holds is TABLE[state, report]


@pytest.mark.parametrize("text", ["", "0", "7"])
def test_beside_a_policy_of_which_nothing_can_be_read_no_report_says_anything(text: str) -> None:
    """Neither that of a northbound that was never switched on, nor a later one."""
    sb = SbView(chassis={}, error=ERROR)
    assert (in_force(sb), generation_in_force(sb)) == (InForce.DAMAGED, 0)
    assert report_of(nb(ON, text), sb) is Report.NONE
    assert not judged(nb(SWITCHED_OFF, text), sb).holds
    assert judged(nb(SWITCHED_OFF, text, confirm=0), sb).holds
    assert judged(nb(ON, text), sb).holds


@pytest.mark.parametrize("text", ["", "junk", "0", "5"])
def test_first_start_is_an_order(text: str) -> None:
    """Where nothing is in force there is nothing to hold; nor where NB alone knows of it."""
    sb = SbView(chassis={})
    assert in_force(sb) is InForce.NOTHING
    assert judged(nb(ON, text), sb).holds
    assert judged(nb(SWITCHED_OFF, text), sb).holds


@pytest.mark.parametrize("text", ["", "6", "7", "8", "1764230000000"])
def test_northbound_of_another_cluster_is_told_by_its_row(text: str) -> None:
    """Whatever generation it speaks of; a row that was restored is the same one."""
    sb = SbView(chassis={}, policy=replace(HELD, origin="a"))
    for origin, report in (("a", report_of(nb(ON, text), sb)), ("b", Report.FOREIGN)):
        view = replace(nb(SWITCHED_OFF, text), origin=origin)
        assert report_of(view, sb) is report
        standing = judged(view, sb)
        assert standing.holds is TABLE[InForce.CLOSED, report]
        northd = Northd(sb)
        for _ in range(3):
            view = northd.look(view)
        assert northd.sb.policy is not None
        assert (northd.sb.policy.phase is Phase.ENFORCE) is not standing.holds
        assert judged(view, SbView(chassis={}, policy=replace(sb.policy, phase=Phase.OFF))).holds


def test_origin_follows_whoever_holds() -> None:
    """One that is confirmed is the origin from then on, and one that is in doubt is not."""
    sb = SbView(chassis={}, policy=replace(HELD, origin="a"))
    for confirm, origin in ((None, "a"), (7, "b")):
        northd = Northd(sb)
        northd.look(replace(nb(replace(ON, rules=WEAK), "7", confirm=confirm), origin="b"))
        assert northd.sb.policy is not None
        assert northd.sb.policy.origin == origin


def test_own_word_is_worth_nothing_once_the_report_is_another() -> None:
    """The report that came makes it needless, and one that went is another database."""
    vouched = Vouched("", None, 7)
    assert vouched.after(nb(ON)) is vouched
    assert vouched.after(nb(ON, "7")) is None
    assert Vouched("", 7, 7).after(nb(ON)) is None
    assert vouched.after(replace(nb(ON), origin="other")) is None


RULES = tuple(parse_rule(PLACE, 9, text) for text in ("zone:a any require",))
CNSA = tuple(parse_rule(PLACE, 9, text) for text in ("zone:a any require profile=cnsa",))
WEAK = tuple(parse_rule(PLACE, 9, text) for text in ("zone:a any off",))
RULED = replace(HELD, rules=("9 zone:a any require profile=cnsa",))
OTHERS: list[tuple[ClusterPolicy, EncryptionPolicy | None, tuple[str, ...]]] = [
    (HELD, ON, ()),
    (HELD, replace(ON, rules=RULES), ()),
    (HELD, None, ("rules that cannot be understood here",)),
    (HELD, SWITCHED_OFF, ("the switch",)),
    (HELD, replace(ON, mode=Mode.PREFER), ("the mode",)),
    (replace(HELD, default=Mode.PREFER), ON, ()),
    (HELD, replace(ON, rules=WEAK), ("the rules",)),
    (RULED, replace(ON, rules=CNSA), ()),
    (RULED, ON, ("the rules",)),
    (replace(HELD, rules=("9 zone:a any off",), vnis=frozenset({5})), ON, ("the rules",)),
    (replace(HELD, profile=Profile.CNSA), ON, ("the profile",)),
    (HELD, replace(ON, profile=Profile.CNSA), ()),
    (HELD, replace(ON, auth=Auth.PSK), ("the authentication",)),
    (replace(HELD, auth=(Auth.PSK, Auth.CA)), ON, ()),
    (HELD, replace(ON, tuning=Tuning(replay_window=0)), ("the replay window",)),
    (replace(HELD, tuning=Tuning(replay_window=0)), ON, ()),
    (replace(HELD, quarantine=frozenset({ChassisName("hv1")})), ON, ("the quarantine",)),
    (
        replace(HELD, quarantine=frozenset({ChassisName("hv1")})),
        replace(ON, quarantine=frozenset({ChassisName("hv1"), ChassisName("hv2")})),
        (),
    ),
]


@pytest.mark.parametrize(("held", "asked", "weaker"), OTHERS)
def test_other_database_is_followed_where_it_weakens_nothing(
    held: ClusterPolicy, asked: EncryptionPolicy | None, weaker: tuple[str, ...]
) -> None:
    """What it asks for less of is named, and how to have it nevertheless."""
    sb = SbView(chassis={}, policy=held)
    standing = judged(nb(asked), sb)
    assert (standing.holds, standing.weaker) == (not weaker, weaker)
    target, _ = Targeting().decide(nb(asked), sb, {})
    assert (target.doubt is not None) is bool(weaker)
    if target.doubt is not None:
        assert target.errors[0] is target.doubt
        assert "options:ovn-ipsec-confirm=7" in target.doubt.reason
        assert all(word in target.doubt.reason for word in weaker)


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        (ON, True),
        (replace(ON, rules=RULES), True),
        (replace(ON, rules=WEAK), False),
        (replace(ON, mode=Mode.PREFER), False),
        (SWITCHED_OFF, False),
    ],
)
def test_beside_a_damaged_policy_only_the_strongest_is_followed(
    asked: EncryptionPolicy, holds: bool
) -> None:
    """Otherwise nothing is published, and what NB was told stays there."""
    sb = IN_FORCE[InForce.DAMAGED][0]
    view = nb(asked)
    target, ledger = Targeting().decide(view, sb, {})
    taken = step(view, sb, target, take_census(sb.policy, ledger))
    assert (target.doubt is None) is holds
    assert (taken == Step(None)) is not holds
    if taken.policy is not None:
        assert taken.policy.generation == 8


def test_doubt_is_degraded_and_leaves_the_generation_alone() -> None:
    """The generation in the report is what tells databases apart: it comes only with a word."""
    sb = SbView(chassis={}, policy=HELD)
    for text, shown in (("", None), ("6", "6"), ("junk", "junk")):
        view = nb(SWITCHED_OFF, text)
        target, ledger = Targeting().decide(view, sb, {})
        report = make_report(view, sb, target, take_census(HELD, ledger), JUST_NOW)
        assert report["ovn-ipsec-state"] == "enforced (degraded)"
        assert report.get("ovn-ipsec-generation") == shown
        assert report["ovn-ipsec-error"].startswith("NB_Global . ovn-ipsec-generation")


def test_readmission_is_a_weakening_too() -> None:
    """A restored northbound lets nobody in whom the authority has put out since."""
    out = frozenset({ChassisName("hv1")})
    sb = SbView(chassis={}, policy=replace(HELD, quarantine=out, revoked=out))
    view = nb(ON, "6", readmit=out)
    target, _ = Targeting().decide(view, sb, {})
    assert target.quarantine == out
    assert target.doubt is not None
    target, _ = Targeting().decide(nb(ON, "7", readmit=out), sb, {})
    assert (target.quarantine, target.revoked, target.doubt) == (frozenset(), out, None)


QUARANTINED = [
    # what SB carries: all, of these the authority's; NB's list; readmitted; the authority; result
    ({"a"}, {"a"}, set(), set(), None, {"a"}),
    ({"a"}, {"a"}, set(), {"a"}, None, set()),
    ({"a"}, set(), set(), set(), None, set()),
    ({"a"}, None, set(), set(), None, {"a"}),
    ({"a", "b"}, None, {"b"}, {"a"}, None, {"b"}),
    ({"a", "b"}, {"a"}, None, set(), None, {"a", "b"}),
    ({"a", "b"}, {"a"}, {"b", "c"}, set(), None, {"a", "b", "c"}),
    ({"a"}, {"a"}, set(), set(), set(), set()),
    ({"a"}, {"a"}, None, set(), {"c"}, {"c"}),
    (set(), set(), {"b"}, {"c"}, {"c"}, {"b"}),
]


@pytest.mark.parametrize(
    ("held", "revoked", "listed", "readmit", "authority", "expected"), QUARANTINED
)
def test_quarantine_is_the_operators_list_and_the_authoritys(  # noqa: PLR0917
    held: set[str],
    revoked: set[str] | None,
    listed: set[str] | None,
    readmit: set[str],
    authority: set[str] | None,
    expected: set[str],
) -> None:
    """Each is lifted by whoever made it, or by the operator's word; unknown is not empty."""
    said: list[frozenset[ChassisName] | None] = [
        None if names is None else frozenset(map(ChassisName, names))
        for names in (held, revoked, listed, readmit, authority)
    ]
    published = replace(HELD, quarantine=said[0] or frozenset(), revoked=said[1])
    parsed = ParsedPolicy(
        policy=None, errors=(ERROR,), quarantine=said[2], readmit=said[3] or frozenset()
    )
    view = NbView(asked=parsed, report={"ovn-ipsec-generation": "7"})
    sb = SbView(chassis={}, policy=published)
    if said[4] is None:
        target, ledger = Targeting().decide(view, sb, {})
        assert target.authorities is None
    else:
        target, ledger = Targeting().decide(view, sb, {}, Signing(authorities="P", revoked=said[4]))
        assert target.authorities == "P"
    assert target.quarantine == expected
    taken = step(view, sb, target, take_census(published, ledger))
    assert taken.policy is not None
    assert taken.policy.quarantine == expected


SUBJECTS = [Subject(chassis=f"hv{n}", zones=frozenset(zone)) for n, zone in enumerate("abc")]
MEMBERS = {
    one.chassis: ChassisFacts(
        name=one.chassis,
        zones=one.zones,
        encaps=(EncapFacts(row=UUID(int=n), label=one.chassis, type="geneve", text=None),),
    )
    for n, one in enumerate(SUBJECTS)
}
TEXTS = st.sampled_from(["", "zone:a any require", "zone:a zone:b prefer", "any any off"])


def some_rules(text: str) -> tuple[object, ...]:
    """One rule, or none."""
    return (parse_rule(PLACE, 9, text),) if text else ()


asked_policies = st.builds(
    EncryptionPolicy,
    enabled=st.booleans(),
    mode=st.sampled_from([Mode.REQUIRE, Mode.PREFER]),
    auth=st.sampled_from(Auth),
    profile=st.sampled_from([Profile.DEFAULT, Profile.CNSA]),
    rules=TEXTS.map(some_rules),
    quarantine=st.sampled_from([frozenset(), frozenset({"hv0"}), frozenset({"hv0", "hv1"})]),
)
strangers = st.builds(
    nb,
    st.none() | asked_policies,
    st.sampled_from(["", "junk", "0", "6"]),
    confirm=st.sampled_from([None, 0, 6]),
    readmit=st.sampled_from([frozenset(), frozenset({"hv0"})]),
)
held_policies = st.builds(
    ClusterPolicy,
    generation=st.just(7),
    phase=st.sampled_from([Phase.PREPARE, Phase.ESTABLISH, Phase.ENFORCE]),
    default=st.sampled_from([Mode.REQUIRE, Mode.PREFER]),
    floor=st.just(Mode.OFF),
    auth=st.sampled_from([(Auth.CA,), (Auth.PSK, Auth.CA)]),
    profile=st.sampled_from([Profile.DEFAULT, Profile.CNSA]),
    rules=TEXTS.map(lambda text: (f"9 {text}",) if text else ()),
    quarantine=st.sampled_from([frozenset(), frozenset({"hv0"})]),
    revoked=st.sampled_from([frozenset(), frozenset({"hv0"})]),
)


@dataclass
class Northd:
    """One northd, as the daemon goes about it, beside an SB."""

    sb: SbView
    targeting: Targeting = field(default_factory=Targeting)
    vouched: Vouched | None = None
    target: Target = field(default_factory=lambda: Target(policy=None))

    def look(self, view: NbView) -> NbView:
        """One turn; returns the northbound with what it is told."""
        self.vouched = self.vouched and self.vouched.after(view)
        self.target, ledger = self.targeting.decide(view, self.sb, {}, vouched=self.vouched)
        census = take_census(self.sb.policy, ledger)
        taken = step(view, self.sb, self.target, census)
        if taken.event is None or taken.policy is None:
            return replace(view, report=make_report(view, self.sb, self.target, census, JUST_NOW))
        self.sb = replace(self.sb, policy=taken.policy, error=None)
        if self.target.doubt is None:
            self.vouched = Vouched.by(view, taken.policy.generation)
        return view


def strength(policy: ClusterPolicy) -> list[object]:
    """All that must not become less: of every pair, and of the whole."""
    rules, errors = ruleset.last_good(policy)
    assert not errors
    book = RuleBook(rules.rules, rules.default, rules.networks)
    signatures = [book.signature(subject) for subject in SUBJECTS]
    pairs = [
        book.decide(one, other).treatment
        for one, other in combinations_with_replacement(signatures, 2)
    ]
    return [
        *(treatment.mode.strength for treatment in pairs),
        *(treatment.profile.strength for treatment in pairs),
        policy.default.strength,
        policy.phase not in (Phase.OFF, Phase.RELAX),
    ]


@given(held_policies, st.lists(st.tuples(strangers, st.integers(1, 3)), min_size=1, max_size=6))
def test_no_other_northbound_weakens_what_is_in_force(
    held: ClusterPolicy, sequence: list[tuple[NbView, int]]
) -> None:
    """Whatever databases come one after another, and none of them confirmed."""
    northd = Northd(SbView(chassis=MEMBERS, policy=held))
    before = strength(held)
    for number, (stranger, turns) in enumerate(sequence):
        view = replace(stranger, origin=str(number))
        for _ in range(turns):
            view = northd.look(view)
            policy = northd.sb.policy
            assert policy is not None
            after = strength(policy)
            assert all(new >= old for new, old in zip(after, before, strict=True))  # type: ignore[operator]
            assert policy.quarantine >= held.quarantine
            assert policy.auth[0] in held.auth
            before = after


@given(held_policies, strangers)
def test_confirmation_makes_any_northbound_the_one_that_holds(
    held: ClusterPolicy, stranger: NbView
) -> None:
    """It is followed from then on, also after it has been told, and needs no second word."""
    northd = Northd(SbView(chassis=MEMBERS, policy=held))
    view = northd.look(replace(stranger, asked=replace(stranger.asked, confirm=7)))
    assert northd.target.doubt is None
    view = replace(view, asked=replace(view.asked, confirm=None))
    for _ in range(3):
        view = northd.look(view)
        assert northd.target.doubt is None
    if view.asked.is_off:
        assert northd.sb.policy is not None
        assert northd.sb.policy.phase in (Phase.RELAX, Phase.OFF)


def test_emptied_northbound_is_told_in_the_midst_of_everything() -> None:
    """Switched on, followed, emptied: held; switched on again: followed; switched off: off."""
    northd = Northd(SbView(chassis={}))
    view = nb(ON)
    for _ in range(5):
        view = northd.look(view)
    assert northd.sb.policy is not None
    assert northd.sb.policy.phase is Phase.ENFORCE
    for _ in range(3):
        view = northd.look(nb(SWITCHED_OFF))
        assert northd.sb.policy.phase is Phase.ENFORCE
    assert view.known_generation is None
    for _ in range(2):
        view = northd.look(replace(nb(ON), report=view.report))
    assert view.known_generation == northd.sb.policy.generation
    for _ in range(2):
        view = northd.look(replace(nb(SWITCHED_OFF), report=view.report))
    assert northd.sb.policy.phase is Phase.OFF
