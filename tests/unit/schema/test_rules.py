# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.schema.rules: one way of writing, and refusals that point at the fault."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import Mode, Profile, Rule, Selector, SelectorKind
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import (
    RuleError,
    missing_networks,
    parse_rule,
    parse_rules,
    priority_of,
)

PLACE = Place(table="NB_Global", row=".", key="ovn-ipsec-rule-100")

NAMES = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1)
GLOBS = st.from_regex(r"([A-Za-z0-9._?-]|\*(?!\*)){1,20}", fullmatch=True)
PREFIXES = st.builds(
    lambda version, bits, length: ip_network(
        (bits >> (128 - (32, 128)[version]), length % ((32, 128)[version] + 1)), strict=False
    ),
    st.integers(0, 1),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
SELECTORS = st.one_of(
    st.just(Selector(SelectorKind.ANY)),
    st.builds(Selector, st.sampled_from([SelectorKind.CHASSIS, SelectorKind.HOST]), GLOBS),
    st.builds(Selector, st.just(SelectorKind.CIDR), PREFIXES.map(str)),
    st.builds(
        Selector,
        st.sampled_from([SelectorKind.ZONE, SelectorKind.AZ, SelectorKind.NETWORK]),
        NAMES.filter(lambda name: len(name) < 100),
    ),
)
RULES = st.builds(
    Rule,
    priority=st.integers(1, 32767),
    selectors=st.tuples(SELECTORS, SELECTORS),
    mode=st.sampled_from(Mode),
    profile=st.none() | st.sampled_from(Profile),
).filter(lambda rule: rule.mode is not Mode.OFF or rule.profile is None)


def remote(rule: Rule) -> Rule:
    """The same with its first end in another availability zone."""
    first, second = rule.selectors
    return replace(rule, selectors=(replace(first, remote=True), second))


UNKNOWN = {SelectorKind.ZONE, SelectorKind.AZ, SelectorKind.NETWORK}
ACROSS = RULES.filter(
    lambda rule: (
        rule.selectors[0].kind not in UNKNOWN and rule.selectors[1].kind is not SelectorKind.NETWORK
    )
).map(remote)
NEARLY = st.lists(
    st.sampled_from(
        [
            *("any", "zone:", "zone:a", "chassis:", "l*b", "cidr:10.0.0.0/8", "cidr:fe80::%1/64"),
            *(
                "remote:",
                "remote:any",
                "network:",
                '"',
                "\\",
                " ",
                "  ",
                "off",
                "require",
                "profile=",
                "pq",
                ":",
                "\x00",
            ),
        ]
    ),
    max_size=12,
).map("".join)


def refusal(text: str) -> RuleError:
    with pytest.raises(RuleError) as caught:
        parse_rule(PLACE, 1, text)
    return caught.value


@given(RULES)
def test_a_rule_survives_a_round_trip(rule: Rule) -> None:
    """What is shown is what can be written."""
    assert rule == parse_rule(PLACE, rule.priority, str(rule))


@given(st.text(max_size=600) | NEARLY)
def test_a_text_is_a_rule_in_its_one_way_of_writing_or_refused(text: str) -> None:
    """Whatever stands there raises nothing else, and the refusal is one line that points."""
    try:
        rule = parse_rule(PLACE, 7, text)
    except RuleError as caught:
        error = caught
    else:
        assert text == str(rule)
        return
    assert 1 <= error.column <= len(text) + 1
    assert error.diagnostics().isprintable()
    assert f"at column {error.column}: {error.reason}" in error.diagnostics()
    shown, caret = error.caret().split("\n")
    assert shown.isprintable()
    assert caret == " " * (error.column - 1) + "^"


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("zone:dc1 any off", "dc1"),
        ("az:eu-1 any off", "eu-1"),
        ("chassis:lab-* any off", "lab-*"),
        ("host:*.lab?.example any off", "*.lab?.example"),
        ("cidr:192.0.2.0/24 any off", "192.0.2.0/24"),
        ("cidr:2001:db8::/32 any off", "2001:db8::/32"),
        ("network:a/b:c any off", "a/b:c"),
        ('network:"my net" any off', "my net"),
        (r'network:"a \"b\" \\ c" any off', r'a "b" \ c'),
        ('zone:"a,b" any off', "a,b"),
        ('network:"rechnungsprüfung" any off', "rechnungsprüfung"),
        ("any any off", ""),
    ],
)
def test_every_selector_is_understood(text: str, argument: str) -> None:
    """The argument is what the database holds, without quotes and escapes."""
    rule = parse_rule(PLACE, 5, text)
    kind = SelectorKind(text.partition(":")[0].partition(" ")[0])
    assert (Selector(kind, argument), Selector(SelectorKind.ANY)) == rule.selectors
    assert (5, Mode.OFF, None) == (rule.priority, rule.mode, rule.profile)


SELECTOR = "expected a selector (any, chassis:GLOB, "
MODE = "expected a mode (off, prefer, require)"
FAR = "expected any, chassis:GLOB, host:GLOB, cidr:PREFIX after remote:"
BLANK = "expected one blank between words"


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, SELECTOR),
        ("any", 4, SELECTOR),
        ("any any", 8, MODE),
        ("any require off", 5, SELECTOR),
        ("zon:a any off", 1, "did you mean zone?"),
        ("Zone:a any off", 1, "did you mean zone?"),
        ("zone:a any requre", 12, "did you mean require?"),
        ("zone:a any REQUIRE", 12, "did you mean require?"),
        ("zone:a any x", 12, MODE),
        (" any any off", 1, BLANK),
        ("any  any off", 5, BLANK),
        ("any any off ", 12, "expected no blank at the end"),
        ("any any off  ", 13, BLANK),
        ("any any off zone:a", 13, "expected profile=NAME or the end of the rule"),
        ("any any require profil=pq", 17, "did you mean profile=?"),
        ("any any require profile=", 25, "expected a profile (default, "),
        ("any any require profile=cnas", 25, "did you mean cnsa?"),
        ("any any require profile=pq pq", 28, "expected the end of the rule"),
        ("any any off profile=pq", 13, "what is clear has no profile"),
        ("any:x any off", 4, "expected nothing after any"),
        ("any: any off", 4, "expected nothing after any"),
        ("any zone off", 9, "expected zone:NAME"),
        ("any remot:any off", 5, "did you mean remote?"),
        ("any remote off", 5, SELECTOR),
        ("any remote: off", 12, FAR),
        ("remote:az:dc2 any off", 8, FAR),
        ("remote:zone:dc2 any off", 8, FAR),
        ("remote:network:web any off", 8, FAR),
        ("remote:remote:any any off", 8, FAR),
        ("any remote:any:x off", 15, "expected nothing after any"),
        ("any remote:host off", 16, "expected host:GLOB"),
        ("any remote:cidr:10.1.2.3/8 off", 17, "expected 10.0.0.0/8"),
        ("remote:any remote:any off", 12, "one end of a pair is here"),
        ("remote:any network:web off", 12, "expected no network: beside remote:"),
        ("network:web remote:any off", 1, "expected no network: beside remote:"),
        ("any cidr off", 9, "expected cidr:PREFIX"),
        ("any zone: off", 10, "expected a name of "),
        ("zone:a,b any off", 7, "or any other name in double quotes"),
        ('zone:"a any off', 6, 'expected a closing " after this one'),
        ('zone:a"b any off', 7, 'expected a closing " after this one'),
        ('zone:a"b" any off', 7, "or any other name in double quotes"),
        ('zone:"" any off', 6, 'expected "NAME", with '),
        ('zone:"a b"c any off', 6, 'expected "NAME", with '),
        (r'zone:"a\b" any off', 6, 'expected "NAME", with '),
        ('zone:"ab" any off', 6, "expected ab without quotes"),
        ("chassis: any off", 9, "expected a glob of "),
        ("chassis:a** any off", 10, "expected a glob of "),
        ("any host:a[bc] off", 11, "expected a glob of "),
        ('chassis:"a" any off', 9, "expected a glob of "),
        ("cidr:10.1.2.3/8 any off", 6, "expected 10.0.0.0/8"),
        ("cidr:10.1.2.3 any off", 6, "expected 10.1.2.3/32"),
        ("cidr:10.0.0.0/255.0.0.0 any off", 6, "expected 10.0.0.0/8"),
        ("cidr:FE80::/10 any off", 6, "expected fe80::/10"),
        ("cidr:fe80::%1/64 any off", 6, "expected a prefix, such as "),
        ("cidr:ten any off", 6, "expected a prefix, such as "),
        ("any any\toff", 8, "expected only printable characters"),
        ("any any off\n", 12, "expected only printable characters"),
        ("any\u00a0any off", 4, "expected only printable characters"),
        ("any \u202eany off", 5, "expected only printable characters"),
        ("a" * 513, 513, "expected at most 512 characters"),
    ],
)
def test_a_fault_is_pointed_at(text: str, column: int, expected: str) -> None:
    """The column is that of the first fault, and the reason says what belongs there."""
    error = refusal(text)
    assert (column, text) == (error.column, error.text)
    assert expected in error.reason
    assert PLACE.key in error.diagnostics()


def test_the_caret_stands_under_the_fault() -> None:
    """Two lines for a screen of fixed width."""
    assert "zone:a any requre\n           ^" == refusal("zone:a any requre").caret()
    assert "any?any off\n   ^" == refusal("any\x1bany off").caret()


@pytest.mark.parametrize(
    "digits", ["", "0", "01", "-1", "+1", " 1", "1_0", "32768", "100000", "1a", "\u0661", "1\n"]
)
def test_priorities_have_one_way_of_writing(digits: str) -> None:
    """Two keys never mean the same rule."""
    place = Place(table="T", row=".", key=f"ovn-ipsec-rule-{digits}")
    with pytest.raises(InputError, match="expected the key ovn-ipsec-rule-N, N from 1 to 32767"):
        priority_of(place, "any any off")


def test_all_rules_are_read_and_every_bad_one_is_named() -> None:
    """Highest first; what only looks like a rule's key is a bad rule, not an unknown option."""
    options = {
        "ovn-ipsec-rule-9": "any any off",
        "ovn-ipsec-rule-32767": "any zone:a prefer",
        "ovn-ipsec-rule-10": "any zone:b require profile=pq",
        "ovn-ipsec-rule-8": "any off",
        "ovn-ipsec-rule-08": "any any off",
        "ovn-ipsec-rules": "any any off",
        "ovn-ipsec-mode": "prefer",
    }
    rules, errors = parse_rules("NB_Global", options)
    assert [32767, 10, 9] == [rule.priority for rule in rules]
    keys = ["ovn-ipsec-rule-08", "ovn-ipsec-rule-8", "ovn-ipsec-rules"]
    assert keys == [error.key for error in errors]


def test_a_network_that_does_not_exist_is_pointed_at() -> None:
    """The column is that of the name, wherever in the rule it stands."""
    texts = ["zone:a network:paymnts require", 'network:"my net" network:web off']
    rules = [parse_rule(PLACE, 20 - index, text) for index, text in enumerate(texts)]
    assert () == missing_networks("NB_Global", rules, ["paymnts", "my net", "web"])
    errors = missing_networks("NB_Global", rules, ["payments"])
    assert [16, 9, 26] == [error.column for error in errors]
    assert ["ovn-ipsec-rule-20", *["ovn-ipsec-rule-19"] * 2] == [error.key for error in errors]
    assert errors[0].reason == "expected the name of a Logical_Switch; did you mean payments?"
    assert errors[1].reason == "expected the name of a Logical_Switch"
