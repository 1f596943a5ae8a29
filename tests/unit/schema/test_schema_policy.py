# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.schema nb_global, sb_global, tuning and report: texts to values and back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.mtu import LINK_MAX, MTU_MIN
from ovn_ipsec.model.policy import (
    CLOCK_MAX_MS,
    GENERATION_MAX,
    Auth,
    ClassName,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Rollout,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
    Tuning,
    class_pair,
    next_generation,
)
from ovn_ipsec.model.status import Digest, PairCounts, Room
from ovn_ipsec.schema import fields, nb_global, report, sb_global, tuning
from ovn_ipsec.schema.fields import Place

PLACE = Place(table="T", row="r", key="k")

NUMBERS = {field: st.none() | st.integers(low, high) for field, low, high in tuning.RANGES.values()}
TUNINGS = st.builds(Tuning, force_encapsulation=st.booleans(), **NUMBERS)
POLICIES = st.builds(
    ClusterPolicy,
    generation=st.integers(0, GENERATION_MAX),
    phase=st.sampled_from(Phase),
    default=st.sampled_from(Mode),
    floor=st.sampled_from(Mode),
    auth=st.permutations(Auth).map(tuple),
    tuning=TUNINGS,
)
COUNT = st.integers(0, 10_000_000)
LINE = st.text(st.characters(exclude_categories=("C", "Z")), max_size=120)
DIGESTS = st.builds(
    Digest,
    generation=st.integers(0, GENERATION_MAX),
    phase=st.sampled_from(Phase),
    counts=st.builds(
        PairCounts, clear=COUNT, pending=COUNT, blocked=COUNT, encrypted=COUNT, lingering=COUNT
    ),
    across=st.just(PairCounts()) | st.builds(PairCounts, blocked=COUNT, encrypted=COUNT),
    agent=LINE,
    problem=LINE,
    warning=LINE,
    expires=st.none()
    | st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001 - made aware below
        lambda time: time.replace(microsecond=0, tzinfo=UTC)
    ),
    room=st.none()
    | st.builds(
        Room, underlay=st.integers(MTU_MIN, LINK_MAX), inner=st.integers(0, LINK_MAX), larger=COUNT
    ),
)
OPTIONAL = {sb_global.SCHEMA, sb_global.REVOKED, sb_global.ORIGIN}
JUNK_MAPS = st.dictionaries(
    st.sampled_from([*sb_global.KEYS, *report.KEYS]) | st.text(max_size=20), st.text(max_size=40)
)
GOOD_POLICY = ClusterPolicy(
    generation=1, phase=Phase.PREPARE, default=Mode.REQUIRE, floor=Mode.REQUIRE
)
GOOD_DIGEST = Digest(generation=1, phase=Phase.PREPARE, agent="agent")


@given(TUNINGS)
def test_tuning_round_trip(value: Tuning) -> None:
    """What is formatted is parsed back."""
    assert value == tuning.parse_tuning(PLACE, tuning.format_tuning(value))


@given(POLICIES)
def test_sb_global_round_trip(value: ClusterPolicy) -> None:
    """What is formatted is parsed back, whatever other keys are there."""
    keys = {**sb_global.format_policy(value), "someone-elses": "x"}
    assert value == sb_global.parse_policy(keys)
    assert set(sb_global.KEYS) == set(sb_global.format_policy(value))


@given(DIGESTS)
def test_report_round_trip(value: Digest) -> None:
    """What is formatted is parsed back."""
    assert value == report.parse_digest("hv1", report.format_digest(value))


@given(JUNK_MAPS)
def test_junk_is_refused_and_nothing_else_happens(keys: dict[str, str]) -> None:
    """Any map parses, or is refused with InputError; the NB parser never raises."""
    for parse in (sb_global.parse_policy, lambda k: report.parse_digest("hv1", k)):
        with suppress(InputError):
            parse(keys)
    nb_global.parse_policy(True, keys)


def test_nothing_written_is_not_off() -> None:
    """Without the schema key there is no policy, and without the agent key no controller."""
    assert None is sb_global.parse_policy({"other": "x"})
    assert None is report.parse_digest("hv1", {report.GENERATION: "1"})


@pytest.mark.parametrize(
    "key", sorted({*sb_global.KEYS} - {sb_global.RULES, sb_global.AUTHORITIES})
)
def test_sb_global_names_the_bad_key(key: str) -> None:
    """Each key is refused by its own name when it is junk."""
    keys = {**sb_global.format_policy(GOOD_POLICY), key: "junk=junk"}
    with pytest.raises(InputError) as caught:
        sb_global.parse_policy(keys)
    assert caught.value.key.startswith(key)
    assert (caught.value.table, caught.value.row) == ("SB_Global", ".")


@pytest.mark.parametrize("key", sorted({*sb_global.KEYS} - OPTIONAL))
def test_sb_global_names_the_missing_key(key: str) -> None:
    """A policy with a hole in it is no policy."""
    keys = sb_global.format_policy(GOOD_POLICY)
    del keys[key]
    with pytest.raises(InputError, match="missing"):
        sb_global.parse_policy(keys)


@pytest.mark.parametrize(
    "key", [report.GENERATION, report.PHASE, report.PAIRS, report.EXPIRES, report.MTU]
)
def test_report_names_the_bad_key(key: str) -> None:
    """Each key is refused by its own name when it is junk."""
    with pytest.raises(InputError) as caught:
        report.parse_digest("hv1", {**report.format_digest(GOOD_DIGEST), key: "junk"})
    assert ("Chassis_Private", "hv1", key) == (
        caught.value.table,
        caught.value.row,
        caught.value.key,
    )


@pytest.mark.parametrize(
    "text",
    ["inner=1408", "underlay=1500", "underlay=67 inner=1", "underlay=1500 inner=65537", "x"],
)
def test_how_large_packets_may_be_is_told_as_a_whole_and_in_range(text: str) -> None:
    """Half of it would be taken for the other half."""
    with pytest.raises(InputError):
        report.parse_digest("hv1", {**report.format_digest(GOOD_DIGEST), report.MTU: text})


def test_a_word_about_mtus_of_a_later_release_is_passed_over() -> None:
    """No decision depends on it, and an unreadable report would hold up the cluster."""
    keys = {**report.format_digest(GOOD_DIGEST), report.MTU: "underlay=1500 inner=1408 later=x"}
    found = report.parse_digest("hv1", keys)
    assert found is not None
    assert found.room == Room(underlay=1500, inner=1408)


def test_report_texts_are_made_harmless() -> None:
    """What goes to a screen is one short printable line."""
    keys = report.format_digest(replace(GOOD_DIGEST, problem="a\nb\x1b[31m" + "x" * 999))
    assert keys[report.PROBLEM].startswith("a?b?[31m")
    assert len(keys[report.PROBLEM]) == report.PROBLEM_MAX


@pytest.mark.parametrize("text", ["junk", "dpd-delay=1 dpd-delay=2", "dpd-delay=0", "what=1"])
def test_tuning_junk(text: str) -> None:
    """A word that is not a setting in range, or comes twice, is refused."""
    with pytest.raises(InputError):
        tuning.parse_tuning(PLACE, text)


def test_tuning_settings_keep_the_good_ones() -> None:
    """One bad setting costs only itself; both stock switches mean the same."""
    given_ = {"dpd-delay": "1m", "dpd-timeout": "soon", "forceencaps": "yes", "replay-window": "0"}
    value, errors = tuning.parse_settings("T", ".", "ipsec_", given_)
    expected = Tuning(force_encapsulation=True, replay_window=0, dpd_delay_s=60)
    assert expected == value
    assert [error.key for error in errors] == ["ipsec_dpd-timeout"]
    assert Tuning() == tuning.parse_settings("T", ".", "", {"encapsulation": "no"})[0]


def test_nb_defaults() -> None:
    """The switch alone asks for require, gated, by certificates of a CA."""
    expected = EncryptionPolicy(
        enabled=True, mode=Mode.REQUIRE, rollout=Rollout.GATED, auth=Auth.CA, tuning=Tuning()
    )
    nobody: frozenset[ChassisName] = frozenset()
    assert nb_global.ParsedPolicy(
        policy=expected, errors=(), quarantine=nobody
    ) == nb_global.parse_policy(True, {"unrelated": "x"})


def test_nb_options() -> None:
    """Every option is honoured."""
    options = {
        "ovn-ipsec-mode": "prefer",
        "ovn-ipsec-rollout": "immediate",
        "ovn-ipsec-auth": "ca",
        "ovn-ipsec-profile": "cnsa",
        "ovn-ipsec-rule-5": "any any prefer",
        "ovn-ipsec-rule-30": "zone:a any require profile=pq",
        "ipsec_salifetime": "1h",
    }
    parsed = nb_global.parse_policy(True, options)
    any_ = Selector(SelectorKind.ANY)
    zone = Selector(SelectorKind.ZONE, "a")
    high = Rule(priority=30, selectors=(zone, any_), mode=Mode.REQUIRE, profile=Profile.PQ)
    low = Rule(priority=5, selectors=(any_, any_), mode=Mode.PREFER)
    expected = EncryptionPolicy(
        enabled=True,
        mode=Mode.PREFER,
        rollout=Rollout.IMMEDIATE,
        tuning=Tuning(esp_lifetime_s=3600),
        profile=Profile.CNSA,
        rules=(high, low),
    )
    assert (expected, ()) == (parsed.policy, parsed.errors)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("ovn-ipsec-mode", "of"),
        ("ovn-ipsec-mode", "off"),
        ("ovn-ipsec-rollout", "now"),
        ("ovn-ipsec-auth", "none"),
        ("ovn-ipsec-profile", "rot13"),
        ("ovn-ipsec-rule-10", "any any maybe"),
        ("ovn-ipsec-rule-010", "any any off"),
        ("ovn-ipsec-rule10", "any any off"),
    ],
)
def test_nb_junk_that_policy_hangs_on(key: str, text: str) -> None:
    """While the switch is on junk gives no policy; while it is off there is nothing to weaken."""
    parsed = nb_global.parse_policy(True, {key: text})
    assert (None, [key]) == (parsed.policy, [error.key for error in parsed.errors])
    switched_off = nb_global.parse_policy(False, {key: text}).policy
    assert switched_off is not None
    assert not switched_off.enabled


def test_nb_names_every_key_that_is_junk() -> None:
    """Whoever mends one error is not told of the next one only then."""
    options = {
        "ovn-ipsec-mode": "of",
        "ovn-ipsec-profile": "rot13",
        "ovn-ipsec-rule-1": "any",
        "ovn-ipsec-rule-2": "any any",
        "ipsec_what": "y",
    }
    parsed = nb_global.parse_policy(True, options)
    assert parsed.policy is None
    assert list(options) == [error.key for error in parsed.errors]


def test_networks_may_ask_for_themselves() -> None:
    """A switch without the key says nothing."""
    texts = {"my net": "require", "web": "prefer", "db": None}
    modes = {"my net": Mode.REQUIRE, "web": Mode.PREFER}
    assert (modes, ()) == nb_global.parse_networks(texts)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("web", "off", "expected require or prefer"),
        ("web", "Require", "expected require or prefer"),
        ("w\x1beb", "", "expected require or prefer"),
        ("w\neb", "require", "network's name: expected only printable characters"),
        ("", "require", 'network\'s name: expected "NAME"'),
        ("w" * 600, "require", "network's name: expected at most 512 characters"),
    ],
)
def test_a_network_that_asks_for_junk_is_named(name: str, text: str, reason: str) -> None:
    """The row is shown in printable characters only."""
    modes, (error,) = nb_global.parse_networks({name: text, "good": "require"})
    assert {"good": Mode.REQUIRE} == modes
    assert ("Logical_Switch", "other_config:ovn-ipsec", text) == (
        error.table,
        error.key,
        error.text,
    )
    assert reason in error.reason
    assert error.diagnostics().isprintable()


def test_nb_unknown_keys_are_reported() -> None:
    """An own key that nobody knows is named, and the policy stands."""
    parsed = nb_global.parse_policy(True, {"ovn-ipsec-mood": "x", "ipsec_what": "y"})
    assert [error.key for error in parsed.errors] == ["ovn-ipsec-mood", "ipsec_what"]
    assert parsed.policy is not None


def test_classes_rules_and_vnis_survive_a_round_trip() -> None:
    """What northd_ext writes of its rules is what a controller reads, in one order."""
    one, other = ClassName("c1"), ClassName("b2")
    policy = replace(
        GOOD_POLICY,
        profile=Profile.CNSA,
        pairs={
            class_pair(one, other): Treatment(mode=Mode.OFF),
            class_pair(one, one): Treatment(mode=Mode.REQUIRE, profile=Profile.PQ),
        },
        rules=("100 zone:a zone:b require profile=pq", "1 any any off"),
        vnis=frozenset({7, 5}),
    )
    keys = sb_global.format_policy(policy)
    assert keys[sb_global.PAIRS] == "b2:c1=off c1:c1=require/pq"
    assert keys[sb_global.DEFAULT] == "require/cnsa"
    assert keys[sb_global.VNIS] == "5 7"
    assert sb_global.parse_policy(keys) == policy


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (sb_global.PAIRS, "c1=off"),
        (sb_global.PAIRS, "c1:C2=off"),
        (sb_global.PAIRS, "c1:c2=maybe"),
        (sb_global.PAIRS, "c1:c2=off/rot13"),
        (sb_global.PAIRS, "x" * ((1 << 20) + 1)),
        (sb_global.VNIS, "0"),
        (sb_global.VNIS, "16777216"),
    ],
)
def test_junk_among_classes_is_refused_by_key(key: str, text: str) -> None:
    """A matrix that cannot be read is no matrix: the policy before it stays in force."""
    with pytest.raises(InputError) as caught:
        sb_global.parse_policy({**sb_global.format_policy(GOOD_POLICY), key: text})
    assert caught.value.key == key


def test_profiles_have_an_order() -> None:
    """Where two ends differ there is always a stronger one."""
    assert [profile.strength for profile in Profile] == list(range(len(Profile)))


def test_rules_have_one_way_of_writing() -> None:
    """What `policy list` and SB show is what NB would be given."""
    zones = (Selector(SelectorKind.ZONE, "dc1"), Selector(SelectorKind.ANY))
    rule = Rule(priority=1, selectors=zones, mode=Mode.REQUIRE, profile=Profile.CNSA)
    assert str(rule) == "zone:dc1 any require profile=cnsa"
    assert str(replace(rule, profile=None)) == "zone:dc1 any require"


@pytest.mark.parametrize(("text", "wanted"), [("30s", 30), ("5m", 300), ("2d", None), ("x", None)])
def test_hold_of_networks(text: str, wanted: int | None) -> None:
    """A time up to a day; junk keeps the last good policy."""
    parsed = nb_global.parse_policy(True, {nb_global.HOLD: text})
    assert (None if parsed.policy is None else parsed.policy.hold_s) == wanted
    assert [error.key for error in parsed.errors] == ([] if wanted else [nb_global.HOLD])


@pytest.mark.parametrize(("text", "good"), [("h1, h2  h3", 3), ("", 0), ("h1 ../x", None)])
def test_quarantine_is_a_list_of_chassis_names(text: str, good: int | None) -> None:
    """Blanks or commas between; junk keeps the last good policy."""
    parsed = nb_global.parse_policy(True, {nb_global.QUARANTINE: text})
    assert (None if parsed.policy is None else len(parsed.policy.quarantine)) == good


def test_quarantine_does_not_hang_on_anything_else_in_nb() -> None:
    """A rule that is junk leaves the lists alone; a list that is junk is not an empty one."""
    keys = {nb_global.QUARANTINE: "h1", nb_global.READMIT: "h2", "ovn-ipsec-rule-1": "junk"}
    parsed = nb_global.parse_policy(True, keys)
    assert (parsed.policy, parsed.quarantine, parsed.readmit) == (None, {"h1"}, {"h2"})
    assert nb_global.parse_policy(True, {nb_global.QUARANTINE: "../x"}).quarantine is None
    parsed = nb_global.parse_policy(True, {nb_global.READMIT: "../x"})
    assert (parsed.policy is None, parsed.readmit) == (False, frozenset())
    assert [error.key for error in parsed.errors] == [nb_global.READMIT]


@pytest.mark.parametrize(
    ("text", "wanted"), [("7", 7), ("1764230000000", 1764230000000), ("x", None)]
)
def test_confirmation_is_a_generation(text: str, wanted: int | None) -> None:
    """Junk in it is reported and confirms nothing; the policy is another matter."""
    parsed = nb_global.parse_policy(True, {nb_global.CONFIRM: text})
    assert (parsed.confirm, parsed.policy is None) == (wanted, False)
    assert [error.key for error in parsed.errors] == ([] if wanted else [nb_global.CONFIRM])
    assert nb_global.parse_policy(False, {}).is_off
    assert not parsed.is_off


def test_barred_of_an_older_program_is_not_said() -> None:
    """Then nobody knows who put a chassis into quarantine, which is not the same as nobody."""
    keys = sb_global.format_policy(replace(GOOD_POLICY, quarantine=frozenset({ChassisName("h1")})))
    del keys[sb_global.REVOKED], keys[sb_global.ORIGIN]
    parsed = sb_global.parse_policy(keys)
    assert parsed is not None
    assert (parsed.quarantine, parsed.revoked, parsed.origin) == ({"h1"}, None, "")


def test_generation_of_a_damaged_policy_is_read_where_it_can_be() -> None:
    """A restored northbound is told by it even then."""
    keys = {**sb_global.format_policy(GOOD_POLICY), sb_global.PHASE: "junk"}
    assert sb_global.readable_generation(keys) == GOOD_POLICY.generation
    assert sb_global.readable_generation({sb_global.GENERATION: "-1"}) == 0


@given(st.integers(0, GENERATION_MAX - 1), st.integers(0, 2**60))
def test_generations_only_rise_whatever_the_clock_says(last: int, wall_ms: int) -> None:
    """A clock that goes back lowers nothing, one that is broken counts for nothing."""
    after = next_generation(last, wall_ms)
    assert last < after <= GENERATION_MAX
    assert after <= max(last + 1, CLOCK_MAX_MS)
    assert fields.generation(PLACE, str(after)) == after


@pytest.mark.parametrize(
    ("last", "wall_ms", "expected"),
    [
        (0, 1_764_230_000_000, 1_764_230_000_000),
        (1_764_230_000_000, 1_764_230_000_000, 1_764_230_000_001),
        (1_764_230_000_000, 5, 1_764_230_000_001),
        (7, CLOCK_MAX_MS + 1, 8),
        (GENERATION_MAX, 0, GENERATION_MAX),
    ],
)
def test_next_generation(last: int, wall_ms: int, expected: int) -> None:
    """The later of the time and the next number."""
    assert expected == next_generation(last, wall_ms)


def test_authentication_names_at_least_one_way() -> None:
    """An empty list would accept nobody, and is junk."""
    keys = {**sb_global.format_policy(GOOD_POLICY), sb_global.AUTH: " "}
    with pytest.raises(InputError, match="expected one or more"):
        sb_global.parse_policy(keys)
