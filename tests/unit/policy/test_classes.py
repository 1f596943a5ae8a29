# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.policy.classes: what rules say of a pair of encaps, beside an oracle that asks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.policy import (
    ClassName,
    Mode,
    Profile,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
    class_pair,
)
from ovn_ipsec.policy import classes
from ovn_ipsec.policy.classes import NOTHING, REST, Matrix, RuleBook, Subject, name_of
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import parse_rule
from ovn_ipsec.schema.sb_global import CLASS_NAME
from tests.unit.policy.oracle import World, oracle

NETWORKS = ("web", "my net", "payments")
REQUIRED = Treatment(mode=Mode.REQUIRE, profile=Profile.CNSA)


def looked_up(
    matrix: Matrix, default: Treatment, names: tuple[ClassName | None, ClassName | None]
) -> Treatment:
    """What a controller reads from the classes of both ends."""
    one, other = names
    if one is None or other is None:
        return default
    return matrix.pairs.get(class_pair(one, other), default)


def subject_of(number: int) -> Subject:
    """One of 2^17 encaps: one number is drawn faster than eight fields."""

    def choose(*values: str) -> str:
        nonlocal number
        number, index = divmod(number, len(values))
        return values[index]

    def some(values: Sequence[str]) -> frozenset[str]:
        return frozenset(value for value in values if choose("yes", "no") == "yes")

    address = choose("", "", "", "10.0.0.1", "10.0.1.1", "10.1.0.1", "fd00::1", "fd00:1::1")
    return Subject(
        zones=some("ab"),
        azs=some("ab"),
        hosts=some(NETWORKS),
        reaches=some(NETWORKS),
        chassis=choose("lab-1", "lab-2", "hv-1", "hv-2"),
        hostname=choose("", "a.lab", "b.lab", "lab\n"),
        ip=ip_address(address) if address else None,
    )


SUBJECTS = st.integers(0, 2**17 - 1).map(subject_of)
SELECTORS = st.sampled_from(
    [
        *[Selector(SelectorKind.ANY)] * 3,
        *(Selector(SelectorKind.CHASSIS, glob) for glob in ("lab-*", "*-1", "hv-?", "hv-2")),
        *(Selector(SelectorKind.HOST, glob) for glob in ("*.lab", "?.l*b")),
        *(Selector(SelectorKind.ZONE, zone) for zone in "ab"),
        *(Selector(SelectorKind.AZ, az) for az in "ab"),
        *(
            Selector(SelectorKind.CIDR, p)
            for p in ("10.0.0.0/15", "10.0.0.0/23", "::/0", "fd00::/32")
        ),
        *[Selector(SelectorKind.NETWORK, network) for network in NETWORKS] * 2,
    ]
)
MODES = st.sampled_from(Mode)
RULES = st.lists(
    st.builds(
        Rule,
        priority=st.integers(1, 32767),
        selectors=st.tuples(SELECTORS, SELECTORS),
        mode=MODES,
        profile=st.none() | st.sampled_from(Profile),
    ),
    max_size=6,
    unique_by=lambda rule: rule.priority,
)
WORLDS = st.builds(
    World,
    rules=RULES.map(tuple),
    default=st.builds(Treatment, mode=MODES, profile=st.sampled_from(Profile)),
    networks=st.dictionaries(st.sampled_from(NETWORKS), MODES, max_size=2),
    subjects=st.lists(SUBJECTS, min_size=1, max_size=6).map(tuple),
)


def book_of(*texts: str, default: Treatment = REQUIRED, **networks: Mode) -> RuleBook:
    """Rules in falling priority."""
    place = Place(table="T", row=".", key="k")
    rules = [parse_rule(place, 100 - index, text) for index, text in enumerate(texts)]
    return RuleBook(rules, default, networks)


def host(name: str, *hosts: str, reaches: Sequence[str] = (), zone: str = "") -> Subject:
    """A chassis and the networks on it."""
    zones = frozenset({zone} - {""})
    return Subject(
        chassis=name, zones=zones, hosts=frozenset(hosts), reaches=frozenset({*hosts, *reaches})
    )


def mode_of(book: RuleBook, one: Subject, other: Subject) -> Mode:
    """How a pair is treated, asked from either end."""
    verdicts = {
        book.decide(book.signature(left), book.signature(right))
        for left, right in ((one, other), (other, one))
    }
    (verdict,) = verdicts
    return verdict.treatment.mode


@given(WORLDS)
def test_every_pair_is_decided_as_its_rules_say(world: World) -> None:
    """Total and symmetric, and the rule that decided is named."""
    book = world.book
    for one, other in combinations_with_replacement(world.subjects, 2):
        verdict = book.decide(book.signature(one), book.signature(other))
        assert oracle(world, one, other) == (verdict.treatment, verdict.rule)
        assert verdict == book.decide(book.signature(other), book.signature(one))


@given(WORLDS)
def test_the_matrix_says_of_every_pair_of_classes_what_rules_say_of_their_encaps(
    world: World,
) -> None:
    """A controller that knows two class names and the matrix needs nothing else."""
    book = world.book
    signatures = [book.signature(subject) for subject in world.subjects]
    matrix = book.matrix(signatures)
    names = [book.class_name(signature) for signature in signatures]
    treatments = [world.default]
    for (one, name), (other, other_name) in combinations_with_replacement(
        zip(world.subjects, names, strict=True), 2
    ):
        treatments.append(oracle(world, one, other)[0])
        assert treatments[-1] == looked_up(matrix, world.default, (name, other_name))
    assert matrix.floor == min((t.mode for t in treatments), key=lambda mode: mode.strength)
    protected = {t.profile for t in treatments if t.mode is not Mode.OFF}
    assert matrix.profiles == {world.default.profile, *protected}
    assert world.default not in matrix.pairs.values()
    assert all(one <= other for one, other in matrix.pairs)


@given(WORLDS)
def test_encaps_of_one_class_are_treated_alike_by_everyone(world: World) -> None:
    """A class is what no rule can tell apart."""
    book = world.book
    alike: dict[ClassName | None, Subject] = {}
    for subject in world.subjects:
        first = alike.setdefault(book.class_name(book.signature(subject)), subject)
        for other in world.subjects:
            assert oracle(world, first, other) == oracle(world, subject, other)


@given(WORLDS, st.randoms(use_true_random=False))
def test_no_order_matters_and_twice_is_once(world: World, random: st.randoms) -> None:
    """Two northds, or one before and after a restart, write the same."""
    rules, subjects = list(world.rules), list(world.subjects)
    random.shuffle(rules)
    random.shuffle(subjects)
    networks = dict(sorted(world.networks.items(), reverse=True))
    one, other = world.book, RuleBook(rules, world.default, networks)
    matrix = one.matrix([one.signature(subject) for subject in world.subjects])
    again = [other.signature(subject) for subject in subjects]
    assert matrix == other.matrix(again) == other.matrix(again)
    for subject in subjects:
        signature = one.signature(subject)
        assert signature == other.signature(subject)
        assert one.class_name(signature) == other.class_name(signature)


@given(WORLDS)
def test_class_names_are_such_as_the_database_takes(world: World) -> None:
    """Different classes have different names, and none is taken for the one of no class."""
    book = world.book
    names = {}
    for subject in world.subjects:
        signature = book.signature(subject)
        name = book.class_name(signature)
        assert names.setdefault(name, signature) == signature
        assert name is None or (CLASS_NAME.match(name) and name[0].isalpha())
        assert (name in (None, REST)) == (signature == NOTHING)


@given(WORLDS, RULES)
def test_a_name_outlives_rules_that_do_not_concern_it(world: World, more: list[Rule]) -> None:
    """A class is renamed only when its encaps match more selectors, or fewer."""
    book, longer = world.book, RuleBook([*world.rules, *more], world.default, world.networks)
    for subject in world.subjects:
        before, after = book.signature(subject), longer.signature(subject)
        if before and set(book.traits(before)) == set(longer.traits(after)):
            assert book.class_name(before) == longer.class_name(after)


def test_without_rules_there_is_one_class_and_no_key() -> None:
    """The cluster's default is all that SB carries."""
    book = RuleBook([], REQUIRED)
    signature = book.signature(host("hv1", "web", zone="a"))
    assert (NOTHING, None, ()) == (signature, book.class_name(signature), book.traits(signature))
    assert Matrix(pairs={}, floor=Mode.REQUIRE, profiles=frozenset({Profile.CNSA})) == book.matrix(
        [signature]
    )


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("any any off", REST),
        ("zone:a any off", REST),
        ("any any require", None),
        ("any any require profile=pq", REST),
        ("zone:a zone:b off", None),
        ("network:web any off", None),
    ],
)
def test_what_matches_only_any_has_a_class_where_that_makes_a_difference(
    rule: str, name: ClassName | None
) -> None:
    """Rules on other encaps cost the rest of the cluster no write."""
    assert name == book_of(rule).class_name(NOTHING)


def test_a_class_has_the_name_of_its_traits() -> None:
    """The name in the database is this one until the text of a selector changes."""
    book = book_of("zone:a any off", "network:web zone:b off")
    signature = book.signature(host("hv1", "web", zone="a"))
    assert ("hosts network:web", "reaches network:web", "zone:a") == book.traits(signature)
    assert "c3notnlx74j6" == book.class_name(signature)


def test_names_that_collide_are_told_apart() -> None:
    """The second one gets the next name, and the first keeps its own."""
    first = name_of(["zone:a"], set())
    second = name_of(["zone:a"], {first})
    assert first != second == name_of(["zone:a"], {first})
    assert CLASS_NAME.match(second)
    assert name_of(["zone:\ud800"], set()) != first


def test_classes_stay_apart_when_their_names_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """With names of one letter, of which there are 32; the order of the classes is no matter."""
    monkeypatch.setattr(classes, "_NAME_LENGTH", 1)
    zones = [f"z{number}" for number in range(20)]
    subjects = [host(f"h{number}", zone=zone) for number, zone in enumerate(zones)]

    def names(*, backward: bool) -> list[ClassName | None]:
        book = book_of(*(f"zone:{zone} any off" for zone in zones))
        signatures = [book.signature(subject) for subject in subjects]
        book.matrix(signatures[::-1] if backward else signatures)
        return [book.class_name(signature) for signature in signatures]

    assert len(zones) == len(set(names(backward=False)))
    assert names(backward=True) == names(backward=False)


def test_a_network_is_protected_wherever_its_traffic_runs() -> None:
    """Between those that host it, and those it reaches; not on every pair of a chassis."""
    book = book_of("network:payments any require", default=Treatment(mode=Mode.OFF))
    h1 = host("h1", "payments", "public")
    h2 = host("h2", "payments")
    h3 = host("h3", "public")
    routed = host("h4", "third", reaches=["payments"])
    also_routed = host("h5", "third", reaches=["payments"])
    assert Mode.REQUIRE is mode_of(book, h1, h2)
    assert Mode.OFF is mode_of(book, h1, h3)
    assert Mode.REQUIRE is mode_of(book, h1, routed)
    assert Mode.OFF is mode_of(book, routed, also_routed)


def test_hosting_a_network_is_being_reached_by_it() -> None:
    """Also where the topology did not say so."""
    book = book_of("network:web any require", default=Treatment(mode=Mode.OFF))
    bare = Subject(chassis="h1", hosts=frozenset({"web"}))
    assert Mode.REQUIRE is mode_of(book, bare, replace(bare, chassis="h2"))


def test_two_networks_match_where_each_reaches_the_other() -> None:
    """Web servers and databases on two chassis, with a router between them, and without."""
    book = book_of("network:web network:db require", default=Treatment(mode=Mode.OFF))
    web, db = host("h1", "web", reaches=["db"]), host("h2", "db", reaches=["web"])
    assert Mode.REQUIRE is mode_of(book, web, db)
    assert Mode.OFF is mode_of(book, web, host("h3", "db"))
    assert Mode.OFF is mode_of(book, host("h3", "web"), db)
    assert Mode.OFF is mode_of(book, web, web)


def test_a_networks_own_setting_only_strengthens() -> None:
    """It stands above all rules, takes nothing away, and leaves the cipher suite alone."""
    book = book_of("zone:a any off", "any any require profile=pq", web=Mode.PREFER, db=Mode.OFF)
    plain, lab = host("h1", "web"), host("h2", "web", zone="a")
    signatures = (book.signature(plain), book.signature(lab))
    strengthened = book.decide(*signatures)
    assert Treatment(mode=Mode.PREFER, profile=Profile.CNSA) == strengthened.treatment
    assert strengthened.rule is not None
    assert ("web", "zone:a any off") == (strengthened.network, str(strengthened.rule))
    left_alone = book.decide(signatures[0], signatures[0])
    assert Treatment(mode=Mode.REQUIRE, profile=Profile.PQ) == left_alone.treatment
    assert left_alone.network is None


def test_the_strongest_of_several_networks_is_named() -> None:
    """Of two that ask alike, the first by name."""
    modes = {"a": Mode.PREFER, "c": Mode.REQUIRE, "b": Mode.REQUIRE}
    book = RuleBook([], Treatment(mode=Mode.OFF), modes)
    signature = book.signature(host("h1", *modes))
    verdict = book.decide(signature, signature)
    assert (Mode.REQUIRE, "b", None) == (verdict.treatment.mode, verdict.network, verdict.rule)


def test_the_lab_is_clear_and_everything_else_is_not() -> None:
    """What the how-to shows."""
    book = book_of("chassis:lab-* any off")
    subjects = [host("lab-1"), host("hv-1"), host("hv-lab-1")]
    signatures = [book.signature(subject) for subject in subjects]
    matrix = book.matrix(signatures)
    lab, rest, also_rest = map(book.class_name, signatures)
    assert rest == also_rest == REST
    assert lab is not None
    off = Treatment(mode=Mode.OFF, profile=Profile.CNSA)
    assert {class_pair(lab, lab): off, class_pair(lab, REST): off} == matrix.pairs
    assert Mode.OFF is matrix.floor


def test_clear_pairs_need_no_cipher_suite_and_others_need_theirs() -> None:
    """A chassis is not asked for what no pair would use."""
    ends = (Selector(SelectorKind.ANY), Selector(SelectorKind.ANY))
    for mode, expected in ((Mode.OFF, {Profile.CNSA}), (Mode.PREFER, {Profile.CNSA, Profile.PQ})):
        rule = Rule(priority=1, selectors=ends, mode=mode, profile=Profile.PQ)
        assert expected == RuleBook([rule], REQUIRED).matrix([NOTHING]).profiles


def test_a_glob_of_many_stars_costs_no_more_than_its_length() -> None:
    """A chassis chooses its hostname: no text of it may stop the evaluation."""
    book = book_of(f"host:{'*a' * 200}b any off")
    assert NOTHING == book.signature(Subject(chassis="h1", hostname="a" * 100_000))
