# SPDX-License-Identifier: Apache-2.0
"""Pure: from rules and a cluster to what each rule decides, what a change would do, and errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import islice
from typing import NamedTuple

from ..errors import InputError
from ..model.chassis import EncapType
from ..model.policy import (
    ClusterPolicy,
    Mode,
    Phase,
    Profile,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
)
from ..policy import judgement, limits
from ..policy.across import NO_RULE, Across, End, Face, subject_of
from ..policy.classes import REST, RuleBook, Signature, Subject, Verdict
from ..policy.ruleset import RuleSet, asked_for, last_good
from ..policy.topology import Membership
from ..schema import nb_global
from ..schema.encap import EncapIntent
from ..schema.rules import missing_networks
from ..schema.sb_global import format_pairs
from .pairs import Ends, kinds
from .view import ChassisView, Snapshot

EXAMPLES = 20
_NOWHERE = Membership()


def asked(snapshot: Snapshot) -> RuleSet:
    """What NB asks for, as far as it parses."""
    return asked_for(snapshot.asked, snapshot.networks)


def is_on(policy: ClusterPolicy | None) -> bool:
    """Whether SB has a policy in force."""
    return policy is not None and policy.phase is not Phase.OFF


def effective(snapshot: Snapshot) -> RuleSet:
    """What northd goes by: what NB asks for, or the last good policy where that does not parse.

    Nor does it take over what unable() names.
    """
    wanted = asked(snapshot)
    broken = snapshot.broken or bool(missing(snapshot, wanted.rules))
    if snapshot.policy is not None and is_on(snapshot.policy) and broken:
        return last_good(snapshot.policy)[0]
    return wanted


class Seen(NamedTuple):
    """What rules see of an encap; encaps of which they see the same are treated alike."""

    signature: Signature | None
    """Its traits; None for another zone's chassis, for which there are no classes."""
    face: Face
    """The rules across availability zones that it satisfies."""


class Evaluation:
    """One set of rules, asked about one cluster."""

    def __init__(self, snapshot: Snapshot, rules: RuleSet) -> None:
        """Compile the rules."""
        self.rules = rules
        self.book = RuleBook(rules.rules, rules.default, rules.networks)
        self.across = Across(rules.rules, rules.default)
        self._memberships = snapshot.memberships

    def seen(self, view: ChassisView, intent: EncapIntent) -> Seen:
        """What the rules see of an encap."""
        end = End(view.chassis, intent)
        if view.chassis.is_remote:
            return Seen(None, self.across.far(subject_of(end)))
        face = self.across.near(subject_of(end)) if view.chassis.is_interconn else NO_RULE
        membership = self._memberships.get(view.name, _NOWHERE)
        signature = self.book.signature(
            Subject(
                chassis=view.name,
                hostname=view.hostname,
                zones=view.chassis.zones,
                azs=view.azs,
                ip=intent.encap.ip,
                hosts=membership.hosts,
                reaches=membership.reaches,
            )
        )
        return Seen(signature, face)

    def verdict(self, one: Seen, other: Seen) -> Verdict:
        """What the rules say of a pair."""
        if one.signature is None or other.signature is None:
            return self.across.decide(one.face, other.face)
        return self.book.decide(one.signature, other.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many pairs each part of the policy decides."""

    rules: Mapping[int, int]
    """By priority."""
    networks: Mapping[str, int]
    """Pairs that a network's own setting makes stronger than rules do."""
    default: int
    total: int


def tally(snapshot: Snapshot, rules: RuleSet) -> Tally:
    """Count the pairs of the cluster by what decides them."""
    evaluation = Evaluation(snapshot, rules)
    by_rule: Counter[int] = Counter()
    by_network: Counter[str] = Counter()
    default = 0
    for kind in kinds(snapshot.chassis.values(), evaluation.seen):
        verdict = evaluation.verdict(*kind.faces)
        if verdict.network is not None:
            by_network[verdict.network] += kind.count
        elif verdict.rule is not None:
            by_rule[verdict.rule.priority] += kind.count
        else:
            default += kind.count
    total = default + by_rule.total() + by_network.total()
    return Tally(rules=by_rule, networks=by_network, default=default, total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Pairs that would be treated otherwise than now."""

    old: Treatment
    new: Treatment
    count: int
    examples: tuple[Ends, ...]

    @property
    def weakens(self) -> bool:
        """Whether the new mode is weaker."""
        return self.new.mode.strength < self.old.mode.strength


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What other rules would change."""

    changes: tuple[Change, ...]
    """Weakened pairs first, then by what they become."""
    same: int
    """Pairs that stay as they are."""

    @property
    def weakened(self) -> int:
        """Pairs that get a weaker mode."""
        return sum(change.count for change in self.changes if change.weakens)


def difference(snapshot: Snapshot, before: RuleSet, after: RuleSet) -> Difference:
    """Compare two sets of rules over all pairs of the cluster."""
    old, new = Evaluation(snapshot, before), Evaluation(snapshot, after)
    counts: Counter[tuple[Treatment, Treatment]] = Counter()
    examples: dict[tuple[Treatment, Treatment], list[Ends]] = {}
    same = 0

    def face(view: ChassisView, intent: EncapIntent) -> tuple[Seen, Seen]:
        return old.seen(view, intent), new.seen(view, intent)

    for kind in kinds(snapshot.chassis.values(), face):
        (one, one_new), (other, other_new) = kind.faces
        key = (old.verdict(one, other).treatment, new.verdict(one_new, other_new).treatment)
        if key[0] == key[1]:
            same += kind.count
            continue
        counts[key] += kind.count
        shown = examples.setdefault(key, [])
        shown.extend(kind.examples(EXAMPLES - len(shown)))
    changes = [
        Change(old=key[0], new=key[1], count=count, examples=tuple(examples[key]))
        for key, count in counts.items()
    ]
    changes.sort(key=lambda change: (not change.weakens, words(change.old), words(change.new)))
    return Difference(changes=tuple(changes), same=same)


def first_examples(changes: Iterable[Change]) -> tuple[tuple[Change, Ends], ...]:
    """At most EXAMPLES of all changes, those that weaken first."""
    pairs = ((change, ends) for change in changes for ends in change.examples)
    return tuple(islice(pairs, EXAMPLES))


def words(treatment: Treatment) -> str:
    """A treatment as people read it: `require`, `require cnsa`."""
    if treatment.mode is Mode.OFF or treatment.profile is Profile.DEFAULT:
        return str(treatment.mode)
    return f"{treatment.mode} {treatment.profile}"


def missing(snapshot: Snapshot, rules: Iterable[Rule]) -> tuple[InputError, ...]:
    """Selectors of networks that do not exist."""
    return missing_networks(nb_global.TABLE, rules, snapshot.switches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inability:
    """What of rules chassis cannot do, or SB not carry."""

    refused: tuple[str, ...]
    """Why northd would not take rules over that it understands."""
    blocked: tuple[str, ...]
    """What a few chassis cannot do: their pairs are blocked, and the rules hold."""


def unable(snapshot: Snapshot, rules: RuleSet) -> Inability:
    """Say what of rules cannot be done."""
    evaluation = Evaluation(snapshot, rules)
    held: dict[tuple[Signature, tuple[EncapType, Face]], list[ChassisView]] = {}
    far: set[tuple[EncapType, Face]] = set()
    for view in snapshot.chassis.values():
        for intent in view.chassis.encaps:
            signature, face = evaluation.seen(view, intent)
            gate = (intent.encap.type, face)
            if signature is None:
                far.add(gate)
            else:
                held.setdefault((signature, gate), []).append(view)
    present = {signature for signature, _ in held}
    matrix = evaluation.book.matrix(present)
    named = {one: evaluation.book.class_name(one) or REST for one in present}
    met = limits.meetings(matrix, named.values(), rules.default)
    lacking: dict[Profile, set[str]] = {}
    reporting: set[str] = set()
    for (one, (kind, near)), views in held.items():
        beyond = (evaluation.across.decide(near, face) for of, face in far if of is kind)
        needed = [*met[named[one]], *(v.treatment for v in beyond if v.rule is not None)]
        for view in views:
            if view.digest is not None:
                reporting.add(view.name)
                for profile in judgement.lacking(needed, view.digest.profiles):
                    lacking.setdefault(profile, set()).add(view.name)
    names = {profile: sorted(found) for profile, found in lacking.items()}
    weighed = judgement.weigh(names, len(reporting))
    refused = [
        *limits.lacking(weighed.many),
        *limits.too_many(len(format_pairs(matrix.pairs)), len(present)),
    ]
    return Inability(
        refused=tuple(f"{error.key} {error.text}: {error.reason}" for error in refused),
        blocked=tuple(
            f"{error.key} {error.text}: {error.reason}, and its pairs with it are blocked"
            for error in limits.lacking(weighed.few)
        ),
    )


def shadowed(rules: Iterable[Rule]) -> dict[int, int]:
    """Rules that can never decide, whatever chassis there are.

    Returns:
        By priority, the higher priority of a rule that matches all of its pairs. One that only
        several rules together leave nothing to is not found.
    """
    ordered = sorted(rules, key=lambda rule: -rule.priority)
    found: dict[int, int] = {}
    for index, rule in enumerate(ordered):
        for above in ordered[:index]:
            if covers(above.selectors, rule.selectors):
                found[rule.priority] = above.priority
                break
    return found


def covers(wide: tuple[Selector, Selector], narrow: tuple[Selector, Selector]) -> bool:
    """Whether every pair that `narrow` selects is selected by `wide`; False when in doubt."""
    return any(
        _covers(wide[0], one) and _covers(wide[1], other) for one, other in (narrow, narrow[::-1])
    )


def _covers(wide: Selector, narrow: Selector) -> bool:
    if wide.remote is not narrow.remote:
        return False
    if wide == narrow or wide.kind is SelectorKind.ANY:
        return True
    if wide.kind is not narrow.kind:
        return False
    if wide.kind is SelectorKind.CIDR:
        one, other = ip_network(wide.argument), ip_network(narrow.argument)
        return (
            one.version == other.version
            and one.prefixlen <= other.prefixlen
            and other.network_address in one
        )
    if wide.kind in (SelectorKind.CHASSIS, SelectorKind.HOST):
        forms = {"*": ".*", "?": "[^*]"}
        pattern = "".join(forms.get(c, re.escape(c)) for c in wide.argument)
        return re.fullmatch(pattern, narrow.argument) is not None
    return False
