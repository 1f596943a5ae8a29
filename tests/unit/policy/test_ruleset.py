# SPDX-License-Identifier: Apache-2.0
"""Rules as NB asks for them, and as SB carries them: the one is read back from the other."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.model.policy import (
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
)
from ovn_ipsec.policy.ruleset import RuleSet, asked_for, last_good

ANY = Selector(SelectorKind.ANY)
POLICY = ClusterPolicy(
    generation=7, phase=Phase.ENFORCE, default=Mode.PREFER, floor=Mode.OFF, profile=Profile.CNSA
)

names = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=9)
selectors = st.one_of(st.just(ANY), st.builds(Selector, st.just(SelectorKind.NETWORK), names))
modes, profiles = st.sampled_from(Mode), st.sampled_from(Profile)


def rule(priority: int) -> st.SearchStrategy[Rule]:
    """A rule; one with the mode off has no profile."""
    said = st.just((Mode.OFF, None)) | st.tuples(modes, st.none() | profiles).filter(
        lambda both: both[0] is not Mode.OFF
    )
    return st.builds(
        lambda ends, how: Rule(priority=priority, selectors=ends, mode=how[0], profile=how[1]),
        st.tuples(selectors, selectors),
        said,
    )


@st.composite
def asked(draw: st.DrawFn) -> RuleSet:
    """What an operator asks for."""
    priorities = sorted(draw(st.sets(st.integers(1, 32767), max_size=4)), reverse=True)
    rules = [draw(rule(n)) for n in priorities]
    policy = EncryptionPolicy(
        enabled=True, mode=draw(modes), profile=draw(profiles), rules=tuple(rules)
    )
    return asked_for(policy, draw(st.dictionaries(names, modes, max_size=3)))


@given(asked())
def test_what_sb_carries_is_what_was_asked_for(rules: RuleSet):
    """Rules, what networks ask for, the default, and which networks are named."""
    carried = replace(
        POLICY, default=rules.default.mode, profile=rules.default.profile, rules=rules.texts
    )
    assert (rules, ()) == last_good(carried)


def test_what_does_not_parse_is_left_out_and_said():
    """A northd of another version, or a hand, may have written it."""
    texts = ("switch network:web any prefer", "200 zone:a any off", "x any any off", "100 junk")
    found, errors = last_good(replace(POLICY, rules=texts))
    assert {"web": Mode.PREFER} == found.networks
    assert ["zone:a any off"] == [str(rule) for rule in found.rules]
    assert Treatment(mode=Mode.PREFER, profile=Profile.CNSA) == found.default
    assert frozenset({"web"}) == found.named
    assert ["x", "junk"] == [error.text for error in errors]
    assert {"ovn-ipsec-rules"} == {error.key for error in errors}


def test_rules_are_in_order_whatever_the_order_in_sb():
    """Highest priority first."""
    found, _ = last_good(replace(POLICY, rules=("1 any any off", "2 any any prefer")))
    assert [2, 1] == [rule.priority for rule in found.rules]


def test_nothing_was_ever_published():
    """No rules, and nothing is encrypted."""
    assert (RuleSet(default=Treatment(mode=Mode.OFF)), ()) == last_good(None)
