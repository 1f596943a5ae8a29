# SPDX-License-Identifier: Apache-2.0
"""Pure: what NB asks for, checked against the cluster: rules, networks, cipher suites.

What cannot be understood or done leaves the last good policy in force: the rules that SB carries
are read back, so that this holds over a restart too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    ClassName,
    ClassPair,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
    class_pair,
)
from ovn_ipsec.policy.classes import RuleBook, Signature
from ovn_ipsec.schema import fields as parse
from ovn_ipsec.schema import nb_global, sb_global
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import PRIORITY_MAX, missing_networks, parse_rule

from .classify import Assignment, Classifier
from .views import EncapFacts, NbView, SbView

SWITCH = "switch"
"""Stands before a rule that a Logical_Switch asked for, where others have their priority."""

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The rules that shall hold."""

    policy: EncryptionPolicy | None
    """None: what is published stays, with its rules, since what is asked for cannot be had."""
    default: Treatment
    rules: tuple[Rule, ...] = ()
    networks: Mapping[str, Mode] = field(default_factory=dict)
    """Of logical switches that ask for themselves."""
    errors: tuple[InputError, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """As SB carries the rules."""
        own = [f"{SWITCH} {_network_rule(name, mode)}" for name, mode in self.networks.items()]
        return (*sorted(own), *(f"{rule.priority} {rule}" for rule in self.rules))

    @property
    def named(self) -> frozenset[str]:
        """Networks that a rule or a switch names: whose chassis have to be known."""
        chosen = {
            selector.argument
            for rule in self.rules
            for selector in rule.selectors
            if selector.kind is SelectorKind.NETWORK
        }
        return frozenset(chosen | self.networks.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What the certificate authority beside northd_ext says."""

    authorities: str = ""
    """PEM bundle of what chassis are to trust."""
    barred: frozenset[ChassisName] = frozenset()
    """Chassis whose certificates are revoked."""


NO_SIGNING = Signing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What SB is to carry beside the phase."""

    policy: EncryptionPolicy | None
    """None: the last good policy stays in force."""
    texts: tuple[str, ...] = ()
    pairs: Mapping[ClassPair, Treatment] = field(default_factory=lambda: MappingProxyType({}))
    floor: Mode | None = None
    """None: the default mode."""
    vnis: frozenset[int] = frozenset()
    weakens: bool = False
    """Whether encaps move to classes by which a pair is treated less well."""
    known: bool = True
    """Whether the classes are known; if not, what is published stays."""
    quarantine: frozenset[ChassisName] | None = None
    """None: what is published stays."""
    authorities: str = ""
    errors: tuple[InputError, ...] = ()


def choose(nb: NbView, published: ClusterPolicy | None) -> Intent:
    """Choose between what NB asks for and the last good policy."""
    asked, errors = nb.asked.policy, [*nb.asked.errors, *nb.errors]
    fatal = bool(nb.errors)
    if asked is not None:
        unknown = missing_networks(nb_global.TABLE, asked.rules, nb.switches)
        errors += unknown
        if not (fatal or unknown) or not asked.enabled:
            return Intent(
                policy=asked,
                default=Treatment(mode=asked.mode, profile=asked.profile),
                rules=asked.rules,
                networks=nb.networks,
                errors=tuple(errors),
            )
    return _last_good(published, tuple(errors))


def named(nb: NbView, published: ClusterPolicy | None) -> frozenset[str]:
    """Networks whose chassis have to be known: of what is asked for and of the last good policy."""
    return choose(nb, published).named | _last_good(published, ()).named


def _last_good(published: ClusterPolicy | None, errors: tuple[InputError, ...]) -> Intent:
    if published is None:
        return Intent(policy=None, default=Treatment(mode=Mode.OFF), errors=errors)
    rules: list[Rule] = []
    networks: dict[str, Mode] = {}
    found: list[InputError] = []
    for line in published.rules:
        place = Place(table=sb_global.TABLE, row=".", key=sb_global.RULES)
        head, _, text = line.partition(" ")
        try:
            rule = parse_rule(
                place, 1 if head == SWITCH else parse.integer(place, head, 1, PRIORITY_MAX), text
            )
        except InputError as error:
            found.append(error)
            continue
        if head == SWITCH:
            networks[rule.selectors[0].argument] = rule.mode
        else:
            rules.append(rule)
    return Intent(
        policy=None,
        default=Treatment(mode=published.default, profile=published.profile),
        rules=tuple(rules),
        networks=networks,
        errors=(*errors, *found),
    )


def _network_rule(name: str, mode: Mode) -> str:
    ends = (Selector(SelectorKind.NETWORK, name), Selector(SelectorKind.ANY))
    return str(Rule(priority=1, selectors=ends, mode=mode))


@dataclass(slots=True)
class _Book:
    """One set of rules, compiled once, and what it says of the encaps."""

    key: object = None
    book: RuleBook | None = None
    classifier: Classifier = field(default_factory=Classifier)

    def run(self, intent: Intent, sb: SbView) -> Assignment | None:
        memberships = sb.memberships if intent.named else {}
        if memberships is None:
            return None
        key = (intent.rules, intent.default, tuple(sorted(intent.networks.items())))
        if self.book is None or key != self.key:
            self.key, self.book = key, RuleBook(intent.rules, intent.default, intent.networks)
        return self.classifier.run(self.book, sb.chassis, memberships)


class Targeting:
    """Remembers compiled rules and classes between two looks; otherwise a function of the views."""

    def __init__(self) -> None:
        """Start with nothing compiled."""
        self._asked, self._kept = _Book(), _Book()

    def run(
        self,
        nb: NbView,
        sb: SbView,
        written: Mapping[str, ClassName | None],
        signing: Signing = NO_SIGNING,
    ) -> tuple[Target, Assignment | None]:
        """Work out what SB is to carry.

        Args:
            nb: What is asked for.
            sb: What there is.
            written: The class that was last written to each encap, by label.
            signing: What the authority of this process, if it has one, says.

        Returns:
            The target, and the classes behind it; None when they are not known.
        """
        intent = choose(nb, sb.policy)
        books = self._asked if intent.policy is not None else self._kept
        assignment = books.run(intent, sb)
        errors = intent.errors
        if assignment is not None and intent.policy is not None and intent.policy.enabled:
            unable = [*_unable(sb, assignment), *_too_many(assignment)]
            errors = (*errors, *unable)
            if unable and not _carries(sb.policy, intent):
                intent = _last_good(sb.policy, ())
                assignment = self._kept.run(intent, sb)
        target = _target(intent, errors, sb, assignment, written)
        if nb.asked.policy is not None:
            target = replace(target, quarantine=nb.asked.policy.quarantine | signing.barred)
        return replace(target, authorities=signing.authorities), assignment


def _carries(published: ClusterPolicy | None, intent: Intent) -> bool:
    return (
        published is not None
        and published.phase is not Phase.OFF
        and (published.rules, published.profile) == (intent.texts, intent.default.profile)
    )


def _target(
    intent: Intent,
    errors: tuple[InputError, ...],
    sb: SbView,
    assignment: Assignment | None,
    written: Mapping[str, ClassName | None],
) -> Target:
    if assignment is None:
        off = intent.policy is not None and not intent.policy.enabled
        return Target(policy=intent.policy if off else None, known=False, errors=errors)
    return Target(
        policy=intent.policy,
        texts=intent.texts,
        pairs=assignment.matrix.pairs,
        floor=assignment.matrix.floor,
        vnis=_vnis(intent, sb),
        weakens=_weakens(sb, assignment, intent.default.mode, written),
        errors=errors,
    )


def _unable(sb: SbView, assignment: Assignment) -> list[InputError]:
    """One error for each cipher suite that a chassis cannot do and would have to."""
    if assignment.matrix.profiles <= {Profile.DEFAULT}:
        return []
    needs = {one: _profiles(assignment, one) for one in assignment.present}
    lacking: dict[Profile, list[str]] = {}
    for chassis in sb.chassis.values():
        if chassis.digest is None:
            continue
        for encap in chassis.encaps:
            signature = assignment.signatures.get(encap.row)
            if signature is not None:
                for profile in needs[signature] - chassis.digest.profiles:
                    lacking.setdefault(profile, []).append(chassis.name)
    return [_lacks(profile, sorted(set(names))) for profile, names in sorted(lacking.items())]


def _profiles(assignment: Assignment, one: Signature) -> frozenset[Profile]:
    verdicts = (assignment.book.decide(one, other).treatment for other in assignment.present)
    return frozenset(t.profile for t in verdicts if t.mode is not Mode.OFF)


def _too_many(assignment: Assignment) -> list[InputError]:
    """Refuse classes whose pairs are more than one key of SB can carry."""
    size = len(sb_global.format_pairs(assignment.matrix.pairs))
    if size <= sb_global.TEXT_MAX:
        return []
    reason = f"they make {len(assignment.present)} classes, more than SB_Global can carry"
    return [
        InputError(table=nb_global.TABLE, row=".", key="rules", text=f"{size} bytes", reason=reason)
    ]


def _lacks(profile: Profile, names: list[str]) -> InputError:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return InputError(
        table=nb_global.TABLE,
        row=".",
        key="profile",
        text=str(profile),
        reason=f"the IKE daemon of {', '.join(names[:_NAMED])}{more} cannot do it",
    )


def _vnis(intent: Intent, sb: SbView) -> frozenset[int]:
    """VNIs of networks of which no rule lets anything pass in clear.

    A rule above with another mode might: then the pairs alone decide.
    """
    closed = {name for name, mode in intent.networks.items() if mode is Mode.REQUIRE}
    for rule in sorted(intent.rules, key=lambda rule: -rule.priority):
        if rule.mode is not Mode.REQUIRE:
            break
        kinds = {selector.kind for selector in rule.selectors}
        if kinds == {SelectorKind.NETWORK, SelectorKind.ANY}:
            closed |= {s.argument for s in rule.selectors if s.kind is SelectorKind.NETWORK}
    return frozenset().union(*(sb.tunnel_keys.get(name, frozenset()) for name in closed))


def _weakens(
    sb: SbView,
    assignment: Assignment,
    default: Mode,
    written: Mapping[str, ClassName | None],
) -> bool:
    """Whether a pair is treated less well by the classes that its ends are moved to."""
    if sb.policy is None:
        return False
    moves: set[tuple[ClassName | None, ClassName | None]] = set()
    changed = False
    for encap in _protected(sb, assignment):
        wanted = assignment.class_of(encap.row)
        had = wanted
        if encap.label in written and encap.class_text == written[encap.label]:
            had = written[encap.label]
        changed |= had != wanted
        moves.add((had, wanted))
    if not changed and sb.policy.pairs == assignment.matrix.pairs:
        return False
    published, pairs = sb.policy, assignment.matrix.pairs

    def mode(
        of: Mapping[ClassPair, Treatment], fallback: Mode, ends: tuple[object, object]
    ) -> Mode:
        one, other = ends
        if one is None or other is None:
            return fallback
        found = of.get(class_pair(ClassName(str(one)), ClassName(str(other))))
        return fallback if found is None else found.mode

    return any(
        mode(pairs, default, (new, new_other)).strength
        < mode(published.pairs, published.default, (old, old_other)).strength
        for old, new in moves
        for old_other, new_other in moves
    )


def _protected(sb: SbView, assignment: Assignment) -> Iterator[EncapFacts]:
    return (
        encap
        for chassis in sb.chassis.values()
        for encap in chassis.encaps
        if encap.row in assignment.signatures
    )
