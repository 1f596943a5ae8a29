# SPDX-License-Identifier: Apache-2.0
"""northd_ext.rollout.phases and northd_ext.rollout.census: when the next phase comes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import UUID

import pytest

from northd_ext.observe.views import ChassisFacts, EncapFacts, NbView, SbView
from northd_ext.policy.ledger import Ledger
from northd_ext.policy.target import Signing, Target, Targeting
from northd_ext.report import state_word, summarize
from northd_ext.rollout.census import Census
from northd_ext.rollout.census import take_census as take_census_of
from northd_ext.rollout.gate import AUTH_PATIENCE_S, PATIENCE_S
from northd_ext.rollout.phases import TRANSITIONS, TURN_S, Event, Step, deadline_s, is_done, step
from northd_ext.rollout.progress import JUST_NOW, Elapsed
from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    Auth,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Rollout,
    Treatment,
    Tuning,
)
from ovn_ipsec.model.status import Digest, PairCounts
from ovn_ipsec.policy.across import Across
from ovn_ipsec.policy.classes import RuleBook
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.nb_global import ParsedPolicy
from ovn_ipsec.schema.rules import parse_rule

ON = EncryptionPolicy(enabled=True)
IMMEDIATE = EncryptionPolicy(enabled=True, rollout=Rollout.IMMEDIATE)
PREFER = EncryptionPolicy(enabled=True, mode=Mode.PREFER)
TUNED = EncryptionPolicy(enabled=True, tuning=Tuning(replay_window=64))
SWITCHED_OFF = EncryptionPolicy(enabled=False)
JUNK = None
ERROR = InputError(table="Chassis_Private", row="hv1", key="k", text="t", reason="r")


def policy(phase: Phase, generation: int = 3, mode: Mode = Mode.REQUIRE) -> ClusterPolicy:
    """A published policy."""
    mode = Mode.OFF if phase is Phase.OFF else mode
    return ClusterPolicy(generation=generation, phase=phase, default=mode, floor=mode)


def northbound(asked: EncryptionPolicy | None, state: str = "", generation: str = "") -> NbView:
    """A northbound that asks for this and reported that."""
    keys = {"ovn-ipsec-state": state, "ovn-ipsec-generation": generation}
    report = {key: text for key, text in keys.items() if text}
    return NbView(asked=ParsedPolicy(policy=asked, errors=()), report=report)


def chassis(
    number: int,
    at: ClusterPolicy | None = None,
    counts: PairCounts | None = None,
    kind: str = "geneve",
    across: PairCounts | None = None,
) -> ChassisFacts:
    """A chassis whose controller follows a policy; without one it has no controller."""
    digest = None
    if at is not None:
        digest = Digest(
            generation=at.generation,
            phase=at.phase,
            counts=counts or PairCounts(),
            across=across or PairCounts(),
            agent="a",
        )
    encap = EncapFacts(row=UUID(int=number), label=str(number), type=kind, text=None)
    return ChassisFacts(name=f"hv{number}", encaps=(encap,), digest=digest)


def take_census(published: ClusterPolicy | None, sb: SbView) -> Census:
    """Count the chassis without any rule."""
    ledger = Ledger(None)
    ledger.update(sb.chassis, {}, {})
    return take_census_of(published, ledger)


def waited(seconds: float) -> Elapsed:
    """All that is published is so old."""
    return Elapsed(step_s=seconds, phase_s=seconds, stated_s=seconds, auth_s=seconds)


def take(
    published: ClusterPolicy | None,
    asked: EncryptionPolicy | None,
    *members: ChassisFacts,
    waited_s: float = 0.0,
    error: InputError | None = None,
    state: str = "",
    generation: str = "",
) -> Step:
    """Take a step in a cluster of these members."""
    sb = SbView(policy=published, error=error, chassis={c.name: c for c in members})
    nb = northbound(asked, state, generation)
    target = Target(policy=asked)
    return step(nb, sb, target, take_census(published, sb), waited(waited_s))


def moved(taken: Step) -> tuple[Phase, int] | None:
    """Where a step led."""
    return None if taken.policy is None else (taken.policy.phase, taken.policy.generation)


def test_table_is_total() -> None:
    """Every event has a place to go from every phase."""
    assert set(product(Phase, Event)) == set(TRANSITIONS)


@pytest.mark.parametrize(("key"), sorted(TRANSITIONS))
def test_restoring_never_weakens(key: tuple[Phase, Event]) -> None:
    """A restored policy is at the phase that it was in."""
    phase, event = key
    if event is Event.RESTORE:
        assert phase is TRANSITIONS[key].phase


def test_whole_way_on_and_off() -> None:
    """Each phase waits for the acknowledgement of the one before; a generation is one policy."""
    up = PairCounts(encrypted=1)
    at = policy(Phase.OFF, 0)
    seen = []
    for asked in [ON] * 4 + [SWITCHED_OFF] * 3:
        taken = take(at, asked, chassis(1, at, up), chassis(2, at, up))
        assert taken.policy is not None
        at = taken.policy
        seen.append((str(at.phase), at.generation))
    expected = [("prepare", 1), ("establish", 1), ("enforce", 1), ("enforce", 1)]
    assert [*expected, ("relax", 2), ("off", 2), ("off", 2)] == seen
    assert (at.default, at.floor) == (Mode.OFF, Mode.OFF)


def test_first_enable() -> None:
    """Where SB never carried a policy, the first one is generation 1 in prepare."""
    taken = take(None, ON)
    assert (moved(taken), taken.event) == ((Phase.PREPARE, 1), Event.CHANGE)


@pytest.mark.parametrize("asked", [SWITCHED_OFF, JUNK])
def test_never_asked_for(asked: EncryptionPolicy | None) -> None:
    """Where it was never switched on nothing is published."""
    assert Step(None) == take(None, asked, chassis(1))


def test_newer_schema_is_left_alone() -> None:
    """A policy that a newer program wrote is not touched."""
    error = InputError(table="SB_Global", row=".", key="ovn-ipsec-schema", text="2", reason="newer")
    assert Step(None) == take(None, ON, error=error, state="enforced", generation="4")


@pytest.mark.parametrize("members", [0, 1])
def test_empty_and_single_chassis_clusters_reach_enforced(members: int) -> None:
    """Where there are no pairs there is nothing to wait for, controller or not."""
    at: ClusterPolicy | None = None
    for _ in range(3):
        at = take(at, ON, *[chassis(n) for n in range(members)]).policy
    assert at is not None
    assert Phase.ENFORCE is at.phase


@pytest.mark.parametrize(
    ("phase", "asked", "expected"),
    [
        (Phase.RELAX, ON, (Phase.PREPARE, 4)),
        (Phase.PREPARE, SWITCHED_OFF, (Phase.RELAX, 4)),
        (Phase.ESTABLISH, SWITCHED_OFF, (Phase.RELAX, 4)),
        (Phase.ENFORCE, SWITCHED_OFF, (Phase.RELAX, 4)),
        (Phase.RELAX, SWITCHED_OFF, (Phase.RELAX, 3)),
        (Phase.PREPARE, TUNED, (Phase.PREPARE, 4)),
        (Phase.ESTABLISH, TUNED, (Phase.ESTABLISH, 4)),
        (Phase.ENFORCE, TUNED, (Phase.ESTABLISH, 4)),
        (Phase.ENFORCE, PREFER, (Phase.ESTABLISH, 4)),
        (Phase.ENFORCE, IMMEDIATE, (Phase.ENFORCE, 3)),
        (Phase.ENFORCE, JUNK, (Phase.ENFORCE, 3)),
        (Phase.RELAX, JUNK, (Phase.RELAX, 3)),
    ],
)
def test_operator_changes_his_mind(
    phase: Phase, asked: EncryptionPolicy | None, expected: tuple[Phase, int]
) -> None:
    """What the operator does in any phase, while a controller has not acknowledged it yet."""
    late = chassis(1, policy(Phase.OFF, 1))
    assert expected == moved(take(policy(phase), asked, late, chassis(2, policy(Phase.OFF, 1))))


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.RELAX])
def test_laggard_is_waited_for_but_not_for_ever(phase: Phase) -> None:
    """A phase goes on without a laggard after its time."""
    at = policy(phase)
    asked = SWITCHED_OFF if phase is Phase.RELAX else ON
    late = chassis(1, policy(phase, 2))
    assert Step(at) == take(at, asked, late, waited_s=59.0)
    assert Event.ADVANCE is take(at, asked, late, waited_s=60.0).event
    assert deadline_s(at) == 60.0


def test_phases_without_end() -> None:
    """Establish and enforce have no time after which they end."""
    assert [deadline_s(p) for p in (None, policy(Phase.ESTABLISH), policy(Phase.ENFORCE))] == [
        None
    ] * 3


AT = policy(Phase.ESTABLISH)
UP = chassis(1, AT, PairCounts(encrypted=1))
ELSEWHERE = ClusterPolicy(
    generation=2, phase=Phase.ESTABLISH, default=Mode.REQUIRE, floor=Mode.REQUIRE
)
HOLDING = {
    "pending": chassis(2, AT, PairCounts(pending=1)),
    "blocked": chassis(2, AT, PairCounts(blocked=1)),
    "old generation": chassis(2, ELSEWHERE, PairCounts(encrypted=1)),
    "old phase": chassis(2, policy(Phase.PREPARE), PairCounts(encrypted=1)),
    "no controller": chassis(2),
    "junk": replace(chassis(2), digest_error=ERROR),
}


@pytest.mark.parametrize("name", HOLDING)
def test_gated_waits(name: str) -> None:
    """One chassis that is not done holds the whole cluster in establish, but not for ever."""
    assert Step(AT) == take(AT, ON, UP, HOLDING[name], waited_s=PATIENCE_S - 1.0)
    assert moved(take(AT, ON, UP, HOLDING[name], waited_s=PATIENCE_S)) == (Phase.ENFORCE, 3)


@pytest.mark.parametrize("name", HOLDING)
def test_gated_waits_for_more_than_a_few_however_long(name: str) -> None:
    """What is wrong with many is no chassis' own doing: that needs the operator."""
    down = HOLDING[name]
    if down.digest is not None and not down.digest.counts.all_up:
        counts = replace(down.digest.counts, pending=2)
        down = replace(down, digest=replace(down.digest, counts=counts))
    many = [replace(down, name=f"hv{n}") for n in range(2, 4)]
    assert Step(AT) == take(AT, ON, UP, *many, waited_s=1e9)


def cluster(count: int, *others: ChassisFacts, down: int = 0) -> list[ChassisFacts]:
    """So many chassis that follow, with so many pairs down at each, and others."""
    counts = PairCounts(encrypted=count - down, pending=down)
    return [*(chassis(n, AT, counts) for n in range(1, count + 1)), *others]


HOSTILE = {
    "claims the impossible": (0, chassis(99, AT, PairCounts(blocked=10**7))),
    "is up with nobody": (1, chassis(99, AT, PairCounts(pending=40))),
    "is up with nobody, and says it is": (1, chassis(99, AT, PairCounts(encrypted=40))),
    "says nothing": (1, chassis(99)),
    "says it is further": (0, chassis(99, policy(Phase.ENFORCE, 10**15), PairCounts())),
    "says junk": (1, replace(chassis(99), digest_error=ERROR)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("honest", [1, 2, 9, 40])
def test_one_chassis_holds_nothing_up_whatever_it_says(name: str, honest: int) -> None:
    """After a while the others go on without it, and it is named where it can be."""
    down, rogue = HOSTILE[name]
    members = cluster(honest, rogue, down=down)
    assert moved(take(AT, ON, *members, waited_s=PATIENCE_S)) == (Phase.ENFORCE, 3)


def test_a_tenth_is_spared_and_no_more() -> None:
    """Of forty chassis four are gone without, and four pairs of each; then five."""
    silent = [chassis(100 + n) for n in range(5)]
    for gone, phase in ((4, Phase.ENFORCE), (5, Phase.ESTABLISH)):
        members = cluster(36, *silent[:gone], down=gone)
        assert moved(take(AT, ON, *members, waited_s=1e9)) == (phase, 3)


def test_chassis_with_more_encaps_may_lack_more_pairs() -> None:
    """A pair is counted for each of its encaps; the widest chassis may be the one at fault."""
    wide = replace(chassis(99), encaps=tuple(chassis(900 + n).encaps[0] for n in range(4)))
    members = cluster(9, wide, down=4)
    assert moved(take(AT, ON, *members, waited_s=1e9)) == (Phase.ENFORCE, 3)
    members = cluster(9, wide, down=5)
    assert moved(take(AT, ON, *members, waited_s=1e9)) == (Phase.ESTABLISH, 3)


def test_sum_of_the_pairs_is_bounded_by_what_there_is() -> None:
    """Nobody has more pairs than there are encaps to have them with."""
    rogue = chassis(99, AT, PairCounts(blocked=10**7, lingering=10**7))
    sb = SbView(policy=AT, chassis={c.name: c for c in cluster(3, rogue)})
    counts = take_census(AT, sb).counts
    assert (counts.blocked, counts.encrypted, counts.lingering) == (3, 9, 10_000)


FAR = replace(chassis(9), is_remote=True)
"""The gateway of another availability zone."""


@pytest.mark.parametrize("down", [PairCounts(pending=1), PairCounts(blocked=1)])
def test_no_gate_waits_for_another_zone(down: PairCounts) -> None:
    """Its pairs are told apart, are bounded by its encaps, and degrade the state."""
    gateway = chassis(1, AT, down.plus(PairCounts(encrypted=1)), across=down)
    near = chassis(2, AT, PairCounts(encrypted=1))
    assert moved(take(AT, ON, gateway, near, FAR)) == (Phase.ENFORCE, 3)
    members = {c.name: c for c in (gateway, near, FAR)}
    census = take_census(AT, SbView(policy=AT, chassis=members))
    assert (PairCounts(encrypted=2), down) == (census.counts, census.across)
    alone = take_census(AT, SbView(policy=AT, chassis={"hv1": gateway, "hv2": near}))
    assert (PairCounts(encrypted=2), PairCounts()) == (alone.counts, alone.across)


def test_a_controller_that_does_not_tell_its_pairs_apart_is_waited_for() -> None:
    """One of an earlier release reports all of its pairs as one number."""
    gateway = chassis(1, AT, PairCounts(encrypted=1, pending=1))
    near = chassis(2, AT, PairCounts(encrypted=1))
    assert moved(take(AT, ON, gateway, near, FAR)) == (Phase.ESTABLISH, 3)
    census = take_census(AT, SbView(policy=AT, chassis={c.name: c for c in (gateway, near, FAR)}))
    assert PairCounts(encrypted=2, pending=1) == census.counts


def test_what_is_claimed_to_be_across_and_is_not_among_all_pairs_counts_for_nothing() -> None:
    """A chassis that says so hides no more than its own pairs."""
    liar = chassis(1, AT, PairCounts(encrypted=1), across=PairCounts(blocked=10**7, encrypted=9))
    near = chassis(2, AT, PairCounts(pending=1))
    census = take_census(AT, SbView(policy=AT, chassis={c.name: c for c in (liar, near, FAR)}))
    assert (PairCounts(pending=1), PairCounts(encrypted=1)) == (census.counts, census.across)


def test_the_width_of_another_zone_excuses_nobody() -> None:
    """How many pairs a few chassis may account for depends on those of this zone alone."""
    wide = replace(FAR, encaps=tuple(chassis(900 + n).encaps[0] for n in range(9)))
    members = cluster(9, wide, down=2)
    assert moved(take(AT, ON, *members, waited_s=1e9)) == (Phase.ESTABLISH, 3)


@pytest.mark.parametrize(
    ("far", "kind", "gateway", "expected"),
    [
        ([FAR], "geneve", True, ("hv1",)),
        ([FAR], "geneve", False, ()),
        ([FAR], "vxlan", True, ()),
        ([], "geneve", True, ()),
    ],
)
def test_a_gateway_without_a_controller_is_missed(
    far: list[ChassisFacts], kind: str, *, gateway: bool, expected: tuple[str, ...]
) -> None:
    """Even where it is the only chassis of its zone: others have tunnels to it."""
    near = replace(chassis(1, kind=kind), is_interconn=gateway)
    members = {c.name: c for c in (near, *far)}
    assert expected == take_census(AT, SbView(policy=AT, chassis=members)).absent


@pytest.mark.parametrize(
    ("default", "rule", "expected"),
    [
        (Mode.REQUIRE, "any any off", ("hv1",)),
        (Mode.PREFER, "any any require", ()),
    ],
)
def test_what_other_zones_miss_follows_from_the_default(
    default: Mode, rule: str, expected: tuple[str, ...]
) -> None:
    """No rule matches those pairs."""
    place = Place(table="NB_Global", row=".", key="ovn-ipsec-rule-10")
    book = RuleBook((parse_rule(place, 10, rule),), Treatment(mode=default))
    ledger = Ledger(book)
    near = replace(chassis(1), is_interconn=True)
    ledger.update({c.name: c for c in (near, FAR)}, {}, {})
    assert ledger.matrix is not None
    at = replace(AT, default=default, floor=Mode.OFF, pairs=ledger.matrix.pairs)
    assert expected == take_census_of(at, ledger).absent
    ledger.update({"hv1": near}, {}, {})
    assert () == take_census_of(at, ledger).absent


@pytest.mark.parametrize(
    ("default", "text", "expected"),
    [
        (Mode.REQUIRE, "any remote:any off", ()),
        (Mode.REQUIRE, "any remote:chassis:other off", ("hv1",)),
        (Mode.PREFER, "chassis:hv1 remote:chassis:hv9 require", ("hv1",)),
        (Mode.PREFER, "chassis:hv2 remote:any require", ()),
    ],
)
def test_what_other_zones_miss_follows_from_rules_across(
    default: Mode, text: str, expected: tuple[str, ...]
) -> None:
    """A gateway that no such rule encrypts needs no controller for other zones."""
    place = Place(table="NB_Global", row=".", key="ovn-ipsec-rule-10")
    found = (parse_rule(place, 10, text),)
    treatment = Treatment(mode=default)
    ledger = Ledger(RuleBook(found, treatment), Across(found, treatment))
    near = replace(chassis(1), is_interconn=True)
    ledger.update({c.name: c for c in (near, FAR)}, {}, {})
    at = replace(AT, default=default, floor=Mode.OFF, rules=(f"10 {text}",))
    assert expected == take_census_of(at, ledger).absent
    ledger.update({"hv1": near}, {}, {})
    assert () == take_census_of(at, ledger).absent


def test_a_gateway_is_missed_until_the_last_of_the_other_zone_is_gone() -> None:
    """Rules may see no difference between several of them."""
    treatment = Treatment(mode=Mode.REQUIRE)
    near = replace(chassis(1), is_interconn=True)
    others = {name: replace(FAR, name=name) for name in ("hv8", "hv9")}
    ledger = Ledger(RuleBook((), treatment))
    for left, expected in ((("hv8", "hv9"), ("hv1",)), (("hv9",), ("hv1",)), ((), ())):
        ledger.update({"hv1": near, **{name: others[name] for name in left}}, {}, {})
        assert expected == take_census_of(AT, ledger).absent


def test_a_rule_across_zones_is_enforced_where_all_else_is_preferred() -> None:
    """The phase follows the strongest mode of all rules."""
    at = replace(AT, default=Mode.PREFER, floor=Mode.PREFER)
    census = take_census(at, SbView(policy=at, chassis={"hv1": chassis(1, at)}))
    assert not is_done(at, Rollout.GATED, census, JUST_NOW)
    assert "established" == state_word(at, census)
    at = replace(at, rules=("100 any remote:any require",))
    assert is_done(at, Rollout.GATED, census, JUST_NOW)
    assert "establishing" == state_word(at, census)


@pytest.mark.parametrize("name", HOLDING)
def test_immediate_does_not_wait(name: str) -> None:
    """`immediate` enforces whoever is not ready."""
    assert moved(take(AT, IMMEDIATE, UP, HOLDING[name])) == (Phase.ENFORCE, 3)


@pytest.mark.parametrize(
    "other",
    [
        chassis(2, kind="stt"),
        chassis(2, kind="vxlan"),
        replace(chassis(2), is_remote=True),
        replace(chassis(2), encaps=()),
    ],
)
def test_who_is_not_waited_for(other: ChassisFacts) -> None:
    """A chassis without a controller that has no pair with the others holds nothing up."""
    assert moved(take(AT, ON, UP, other)) == (Phase.ENFORCE, 3)


def test_prefer_stops_at_establish() -> None:
    """In mode prefer clear text is never denied to all, not even with `immediate`."""
    at = policy(Phase.ESTABLISH, mode=Mode.PREFER)
    asked = replace(PREFER, rollout=Rollout.IMMEDIATE)
    assert Step(at) == take(at, asked, chassis(1, at, PairCounts(encrypted=1)))


def test_junk_policy_keeps_the_rollout_going() -> None:
    """While NB holds junk the last good policy stays in force and its phases go on."""
    assert moved(take(AT, JUNK, UP)) == (Phase.ENFORCE, 3)


@pytest.mark.parametrize("phase", [Phase.OFF, Phase.ENFORCE])
def test_resting_phases_wait_for_the_operator(phase: Phase) -> None:
    """Off and enforce end only by the operator."""
    at = policy(phase)
    sb = SbView(policy=at, chassis={})
    assert not is_done(at, Rollout.IMMEDIATE, take_census(at, sb), waited(1e9))


@pytest.mark.parametrize(
    ("state", "asked", "expected"),
    [
        ("enforced", ON, (Phase.ENFORCE, 8)),
        ("enforced (degraded)", ON, (Phase.ENFORCE, 8)),
        ("enforced", JUNK, (Phase.ENFORCE, 8)),
        ("enforced", TUNED, (Phase.ENFORCE, 8)),
        ("enforced", PREFER, (Phase.ESTABLISH, 8)),
        ("enforced", SWITCHED_OFF, (Phase.RELAX, 8)),
        ("established", PREFER, (Phase.ESTABLISH, 8)),
        ("established", JUNK, (Phase.ESTABLISH, 8)),
        ("preparing", ON, (Phase.PREPARE, 8)),
        ("relaxing", ON, (Phase.PREPARE, 8)),
        ("relaxing", SWITCHED_OFF, (Phase.RELAX, 8)),
        ("off", ON, (Phase.PREPARE, 8)),
        ("off", SWITCHED_OFF, None),
    ],
)
def test_rebuilt_southbound(
    state: str, asked: EncryptionPolicy | None, expected: tuple[Phase, int] | None
) -> None:
    """An SB without our keys goes on where NB says the cluster was, as a new generation."""
    taken = take(None, asked, chassis(1), chassis(2), state=state, generation="7")
    assert expected == moved(taken)


@pytest.mark.parametrize("state", ["enforced (degraded)", "off", ""])
def test_two_databases_that_know_nothing_switch_nothing_off(state: str) -> None:
    """Chassis may know better; what the state says in such an NB was written in doubt."""
    assert moved(take(None, SWITCHED_OFF, chassis(1), state=state)) is None


@pytest.mark.parametrize(
    ("state", "mode"), [("enforced", Mode.REQUIRE), ("established", Mode.PREFER)]
)
def test_rebuilt_southbound_with_junk_policy(state: str, mode: Mode) -> None:
    """What the mode was follows from how far the cluster was."""
    taken = take(None, JUNK, state=state, generation="7")
    assert taken.policy is not None
    assert (mode, mode) == (taken.policy.default, taken.policy.floor)


@pytest.mark.parametrize(
    ("stored", "state", "asked", "expected"),
    [
        (Phase.OFF, "enforced", ON, (Phase.ENFORCE, 8)),
        (Phase.ENFORCE, "establishing", ON, (Phase.ENFORCE, 8)),
        (Phase.ENFORCE, "off", SWITCHED_OFF, (Phase.RELAX, 8)),
        (Phase.OFF, "off", SWITCHED_OFF, (Phase.OFF, 8)),
    ],
)
def test_southbound_restored_from_a_backup(
    stored: Phase, state: str, asked: EncryptionPolicy, expected: tuple[Phase, int]
) -> None:
    """An SB older than NB's report goes on at the stronger of the two phases."""
    assert expected == moved(take(policy(stored), asked, state=state, generation="7"))


@pytest.mark.parametrize(
    ("state", "expected"),
    [("enforced", (Phase.ENFORCE, 8)), ("", (Phase.ESTABLISH, 8))],
)
def test_damaged_southbound_policy(state: str, expected: tuple[Phase, int]) -> None:
    """A policy in SB that does not parse is written again; without a report, at establish."""
    error = InputError(table="SB_Global", row=".", key="ovn-ipsec-phase", text="x", reason="r")
    assert expected == moved(take(None, ON, error=error, state=state, generation="7"))


CA, PIN = Auth.CA, Auth.PINNED
PINNED = replace(ON, auth=PIN)


@pytest.mark.parametrize(
    ("auth", "ready", "up", "waited_s", "expected"),
    [
        ((CA,), False, False, 0.0, (CA, PIN)),
        ((CA, PIN), False, True, 1e9, (CA, PIN)),
        ((CA, PIN), True, False, 0.0, (PIN, CA)),
        ((PIN, CA), True, False, 1e9, (PIN, CA)),
        ((PIN, CA), True, True, TURN_S - 1.0, (PIN, CA)),
        ((PIN, CA), True, True, TURN_S, (PIN,)),
        ((PIN,), True, True, TURN_S, (PIN,)),
    ],
)
def test_authentication_turns_one_step_at_a_time(
    auth: tuple[Auth, ...], ready: bool, up: bool, waited_s: float, expected: tuple[Auth, ...]
) -> None:
    """Accept both; use the new one once all can; drop the old one once all pairs are up."""
    at = replace(policy(Phase.ENFORCE), auth=auth)
    members = []
    for number in (1, 2, 3):
        one = chassis(number, at, PairCounts(encrypted=2) if up else PairCounts(blocked=2))
        able = frozenset({CA, PIN}) if ready or number == 1 else frozenset({CA})
        members.append(with_auths(one, able))
    taken = take(at, PINNED, *members, waited_s=waited_s)
    assert taken.policy is not None
    assert (taken.policy.auth, taken.policy.phase) == (expected, Phase.ENFORCE)
    turned = expected != auth
    assert taken.event is (Event.TURN if turned else None)
    assert taken.policy.generation == at.generation + int(turned)


def with_auths(one: ChassisFacts, auths: frozenset[Auth]) -> ChassisFacts:
    """The same chassis with these ways to prove who it is."""
    assert one.digest is not None
    return replace(one, digest=replace(one.digest, auths=auths))


@pytest.mark.parametrize(
    ("auth", "expected"), [((CA, PIN), (PIN, CA)), ((PIN, CA), (PIN,))], ids=["use", "drop"]
)
@pytest.mark.parametrize(
    ("auths", "counts"),
    [({CA}, PairCounts(blocked=10)), (set(), PairCounts(encrypted=10)), ({CA, PIN}, None)],
)
def test_one_chassis_vetoes_no_other_authentication(
    auth: tuple[Auth, ...],
    expected: tuple[Auth, ...],
    auths: set[Auth],
    counts: PairCounts | None,
) -> None:
    """It is waited for, since credentials are handed out by people, but not for ever."""
    at = replace(policy(Phase.ENFORCE), auth=auth)
    rogue = with_auths(chassis(9, at, counts), frozenset(auths))
    if counts is None:
        rogue = with_auths(chassis(9, policy(Phase.PREPARE, 1)), frozenset(auths))
    able = frozenset({CA, PIN})
    few_down = PairCounts(encrypted=2, blocked=1)
    members = [with_auths(chassis(n, at, few_down), able) for n in range(1, 4)]
    waiting = take(at, PINNED, *members, rogue, waited_s=AUTH_PATIENCE_S - 1.0)
    assert waiting.event is None
    taken = take(at, PINNED, *members, rogue, waited_s=AUTH_PATIENCE_S)
    assert taken.policy is not None
    assert taken.policy.auth == expected


def test_chassis_in_quarantine_holds_no_gate() -> None:
    """Not the phase, not the authentication, not for a moment; and it is named as what it is."""
    rogue = with_auths(chassis(9, AT, PairCounts(blocked=9)), frozenset())
    members = {c.name: c for c in cluster(2, rogue, replace(chassis(8), digest_error=ERROR))}
    ledger = Ledger(None)
    ledger.update(members, {}, {}, frozenset({"hv9", "hv8", "gone"}))
    census = take_census_of(AT, ledger)
    assert (census.all_up, census.members, census.chassis) == (True, 2, 4)
    assert census.laggards == ()
    assert census.unable(CA) == ("hv1", "hv2")
    assert summarize(census).endswith(" | in quarantine: hv8, hv9")
    ledger.update(members, {}, {}, frozenset({"hv8"}))
    census = take_census_of(AT, ledger)
    assert (census.all_up, census.members) == (False, 3)
    ledger.update({}, {}, {}, frozenset({"hv8"}))
    census = take_census_of(AT, ledger)
    assert (census.chassis, census.members, census.ends, census.widest) == (0, 0, frozenset(), 0)


def test_authentication_starts_as_it_is_asked_for() -> None:
    """From off there is nothing to turn from."""
    taken = take(policy(Phase.OFF), PINNED)
    assert taken.policy is not None
    assert taken.policy.auth == (PIN,)


def test_laggard_in_authentication_is_named() -> None:
    """Who lacks the credential is in the summary."""
    at = policy(Phase.ENFORCE)
    census = take_census(at, SbView(policy=at, chassis={"hv1": chassis(1, at)}))
    assert "no pinned credential: hv1" in summarize(census, PINNED)
    assert "credential" not in summarize(census, replace(PINNED, enabled=False))


def test_quarantine_follows_at_once_and_ends_with_the_policy() -> None:
    """NB's list and the authority's are put together; junk in NB keeps the last one."""
    at = replace(policy(Phase.ENFORCE), quarantine=frozenset({ChassisName("hv9")}))
    sb = SbView(policy=at, chassis={})
    asked = northbound(
        replace(ON, quarantine=frozenset({ChassisName("hv1")})), generation=str(at.generation)
    )
    signing = Signing(authorities="PEM", revoked=frozenset({ChassisName("hv2")}))
    target, _ = Targeting().decide(asked, sb, {}, signing)
    taken = step(asked, sb, target, take_census(at, sb))
    assert taken.policy is not None
    assert (taken.event, taken.policy.generation) == (Event.FOLLOW, at.generation)
    assert taken.policy.quarantine == {"hv1", "hv2"}
    assert taken.policy.authorities == "PEM"
    target, _ = Targeting().decide(northbound(JUNK), sb, {})
    taken = step(northbound(JUNK), sb, target, take_census(at, sb))
    assert taken.policy is not None
    assert taken.policy.quarantine == {"hv9"}
    taken = take(replace(at, phase=Phase.RELAX), SWITCHED_OFF, waited_s=1e9)
    assert taken.policy is not None
    assert taken.policy.quarantine == frozenset()
    counts = PairCounts(quarantined=2)
    others = {f"hv{n}": replace(chassis(n), is_remote=True) for n in (2, 3)}
    census = take_census(at, replace(sb, chassis={"hv1": chassis(1, at, counts), **others}))
    assert summarize(census).endswith("blocked 0 quarantined 2")
    assert census.all_up
