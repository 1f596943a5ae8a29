# SPDX-License-Identifier: Apache-2.0
"""Pure: what rules say of pairs with chassis of other availability zones.

Such a pair is decided by the rules that have a ``remote:`` selector, and by no others. Nothing is
written for it: whoever asks, on a gateway or elsewhere, decides by the rules in SB_Global and by
the rows of the two chassis. Classes have no part in it, so these rules change no Encap row.

What another zone's row asks for counts only if no rule matches, and then only if it is stronger
than the default of this zone: see treatment_of().
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple, NewType

from ..errors import InputError
from ..model.policy import (
    REMOTE,
    ClusterPolicy,
    Mode,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
    strongest,
)
from ..schema import fields as parse
from ..schema import sb_global
from ..schema.encap import Chassis, EncapIntent
from ..schema.fields import Place
from ..schema.rules import PRIORITY_MAX, parse_rule
from .classes import Subject, Traits, Verdict
from .judgement import treatment_of
from .ruleset import SWITCH

Face = NewType("Face", int)
"""The rules that one end of a pair satisfies, as bits, the highest priority lowest; valid only for
the Across that made it."""

NO_RULE = Face(0)
"""The face of an end that no rule across zones concerns."""


UNREADABLE = Rule(
    priority=1,
    selectors=(Selector(SelectorKind.ANY), Selector(SelectorKind.ANY, remote=True)),
    mode=Mode.REQUIRE,
)
"""What counts in place of a rule across zones that cannot be read, such as one of a newer
ovn-ipsec-northd: whatever it says, no less is protected."""


class End(NamedTuple):
    """One end of a pair."""

    chassis: Chassis
    encap: EncapIntent


class Across:
    """The rules for pairs across availability zones, compiled."""

    def __init__(self, rules: Sequence[Rule], default: Treatment) -> None:
        """Compile the rules.

        Args:
            rules: Highest priority first; those for pairs within the zone are left out.
            default: What applies if no rule matches, and the profile of rules without their own.
        """
        self.default = default
        self.rules = tuple(rule for rule in rules if rule.across)
        sides = [sorted(rule.selectors, key=lambda one: one.remote) for rule in self.rules]
        self._near = _Side([near for near, _ in sides])
        self._far = _Side([far for _, far in sides])

    def near(self, subject: Subject) -> Face:
        """The face of an encap of this zone."""
        return self._near.face(subject) if self.rules else NO_RULE

    def far(self, subject: Subject) -> Face:
        """The face of an encap of another zone."""
        return self._far.face(subject) if self.rules else NO_RULE

    def matched(self, far: Face) -> tuple[str, ...]:
        """The ``remote:`` selectors that an encap of another zone matches, sorted."""
        return self._far.matched(far)

    def decide(self, near: Face, far: Face) -> Verdict:
        """Decide a pair of encaps."""
        both = near & far
        if not both:
            return Verdict(treatment=self.default, rule=None, network=None)
        rule = self.rules[(both & -both).bit_length() - 1]
        return Verdict(treatment=self.treatment(rule), rule=rule, network=None)

    def treatment(self, rule: Rule) -> Treatment:
        """How pairs are treated that a rule decides."""
        return Treatment(mode=rule.mode, profile=rule.profile or self.default.profile)


class _Side:
    """One selector of each rule: all the near ones, or all the far ones."""

    def __init__(self, selectors: Sequence[Selector]) -> None:
        self._selectors = selectors
        self._traits = Traits(set(selectors))
        self._needs = [self._traits.needs(one, one)[0] for one in selectors]

    def face(self, subject: Subject) -> Face:
        has = self._traits.signature(subject)
        return Face(sum(1 << index for index, need in enumerate(self._needs) if has & need == need))

    def matched(self, face: Face) -> tuple[str, ...]:
        found = (one for index, one in enumerate(self._selectors) if face >> index & 1)
        return tuple(sorted(set(map(str, found))))


def stated(policy: ClusterPolicy) -> Across:
    """The rules across zones that SB carries, compiled; the same object while they are the same."""
    return _compiled(policy.rules, Treatment(mode=policy.default, profile=policy.profile))


def ruled(policy: ClusterPolicy, one: End, other: End) -> Treatment | None:
    """What the rules across zones say of a pair; None if they say nothing."""
    if one.chassis.is_remote is other.chassis.is_remote:
        return None
    book = stated(policy)
    if not book.rules:
        return None
    near, far = (other, one) if one.chassis.is_remote else (one, other)
    found = book.decide(book.near(subject_of(near)), book.far(subject_of(far)))
    return None if found.rule is None else found.treatment


def treatment_between(policy: ClusterPolicy, one: End, other: End) -> Treatment:
    """How the policy treats any pair: by the rules across zones, or else as treatment_of() says."""
    return ruled(policy, one, other) or treatment_of(policy, one.encap, other.encap)


def face_of(policy: ClusterPolicy, end: End) -> Hashable:
    """What treatment_between() sees of an end: ends with the same face are treated alike."""
    book, face = stated(policy), NO_RULE
    if end.chassis.is_remote:
        face = book.far(subject_of(end))
    elif end.chassis.is_interconn:
        face = book.near(subject_of(end))
    return end.encap.mode, end.encap.class_name, face


def end_mode(policy: ClusterPolicy) -> Mode:
    """The strongest mode of any pair: only if one is `require` is there an `enforce`.

    A rule across zones counts whether or not there is a pair that it matches: gateways of other
    zones come and go without asking, and the phases of this zone are not for them to turn.
    """
    across = (rule.mode for rule in stated(policy).rules)
    return strongest(policy.default, *(t.mode for t in policy.pairs.values()), *across)


def subject_of(end: End) -> Subject:
    """What rules across zones can see of an encap."""
    return Subject(
        chassis=end.chassis.name,
        hostname=end.chassis.hostname,
        zones=end.chassis.zones,
        azs=end.chassis.azs,
        ip=end.encap.encap.ip,
    )


@lru_cache(maxsize=8)
def _compiled(texts: tuple[str, ...], default: Treatment) -> Across:
    place = Place(table=sb_global.TABLE, row=".", key=sb_global.RULES)
    rules: list[Rule] = []
    for line in texts:
        head, _, text = line.partition(" ")
        if head == SWITCH or REMOTE not in text:
            continue
        try:
            rules.append(parse_rule(place, parse.integer(place, head, 1, PRIORITY_MAX), text))
        except InputError:
            rules.append(UNREADABLE)
    return Across(rules, default)
