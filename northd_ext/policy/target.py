# SPDX-License-Identifier: Apache-2.0
"""Pure: what NB asks for, checked against the cluster: rules, networks, cipher suites.

If it cannot be applied, the last good policy stays in force, as if it could not be understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement
from types import MappingProxyType

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import (
    NO_POLICY,
    ClassName,
    ClassPair,
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Phase,
    Profile,
    SelectorKind,
    Treatment,
)
from ovn_ipsec.policy import limits
from ovn_ipsec.policy.across import Across
from ovn_ipsec.policy.classes import Matrix, RuleBook
from ovn_ipsec.policy.judgement import of_classes, weakens, weigh
from ovn_ipsec.policy.ruleset import RuleSet

from ..observe.views import NbView, SbView
from .intent import Intent, Intents
from .ledger import Able, Ledger
from .standing import Vouched, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What the certificate authority beside northd_ext provides."""

    authorities: str = ""
    """PEM bundle of the authorities that chassis should trust."""
    revoked: frozenset[ChassisName] = frozenset()
    """Chassis that were revoked by name, not those of which a single certificate was revoked."""


NO_SIGNING = Signing()
"""Nothing is known of an authority: then what was published about it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What SB should carry besides the phase."""

    policy: EncryptionPolicy | None
    """None: the last good policy stays in force."""
    texts: tuple[str, ...] = ()
    pairs: Mapping[ClassPair, Treatment] = field(default_factory=lambda: MappingProxyType({}))
    floor: Mode | None = None
    """None: the default mode."""
    vnis: frozenset[int] = frozenset()
    weakens: bool = False
    """Whether encaps move to classes with which a pair is protected less."""
    known: bool = True
    """Whether the classes are known; if not, what is published stays."""
    quarantine: frozenset[ChassisName] | None = None
    """None: what is published stays; the same for the next three."""
    revoked: frozenset[ChassisName] | None = None
    authorities: str | None = None
    origin: str | None = None
    doubt: InputError | None = None
    """Why NB is not followed, if it is a database other than the one the policy came from."""
    errors: tuple[InputError, ...] = ()
    """Everything that is wrong, doubt first."""


class _Book:
    """The last rules, compiled, and what they say of the chassis."""

    def __init__(self) -> None:
        self._rules: RuleSet | None = None
        self.ledger = Ledger(None)

    def turn_to(self, rules: RuleSet) -> Ledger:
        if rules != self._rules:
            book = RuleBook(rules.rules, rules.default, rules.networks)
            across = Across(rules.rules, rules.default)
            self._rules, self.ledger = rules, Ledger(book, across if across.rules else None)
        return self.ledger


class Targeting:
    """Remembers rules, classes and sums from one pass to the next; otherwise a pure function."""

    def __init__(self) -> None:
        self._intents = Intents()
        self._asked, self._kept, self._unknown = _Book(), _Book(), Ledger(None)

    def named(self, nb: NbView, published: ClusterPolicy | None) -> frozenset[str]:
        """Networks whose chassis must be known."""
        return self._intents.named(nb, published)

    def decide(
        self,
        nb: NbView,
        sb: SbView,
        written: Mapping[str, ClassName | None],
        signing: Signing = NO_SIGNING,
        vouched: Vouched | None = None,
    ) -> tuple[Target, Ledger]:
        """Determine what SB should carry.

        Args:
            nb: What NB asks for.
            sb: What SB carries.
            written: The class that was last written to each encap, by label.
            signing: What the authority of this process provides, if it has one.
            vouched: What this process last published.

        Returns:
            The target, and the classes and sums behind it, which are valid until the next call.
        """
        intent = self._intents.chosen(nb, sb.policy)
        out = _kept_out(nb, sb.policy, signing)
        standing = judge(nb, sb, intent, vouched, out.revoked)
        errors, doubt = intent.errors, None
        if not standing.holds:
            doubt = standing.refusal(nb)
            errors, intent = (doubt, *errors), self._intents.last_good(sb.policy)
        quarantine = out.doubted if doubt is not None else out.quarantine
        book = self._asked if intent.policy is not None else self._kept
        ledger = self._look(book, intent.rules, sb, written, quarantine)
        if intent.policy is not None and intent.policy.enabled:
            unable, fatal = _unable(ledger)
            too_many = limits.too_many(ledger.size, len(ledger.present))
            errors = (*errors, *unable, *too_many)
            if (fatal or too_many) and not _carries(sb.policy, intent.rules):
                intent = self._intents.last_good(sb.policy)
                ledger = self._look(self._kept, intent.rules, sb, written, quarantine)
        target = replace(
            _target(intent, errors, sb, ledger),
            quarantine=quarantine,
            revoked=out.revoked,
            origin=nb.origin if doubt is None else None,
            doubt=doubt,
        )
        if signing is NO_SIGNING:
            return target, ledger
        return replace(target, authorities=signing.authorities), ledger

    def _look(
        self,
        book: _Book,
        rules: RuleSet,
        sb: SbView,
        written: Mapping[str, ClassName | None],
        quarantine: frozenset[ChassisName],
    ) -> Ledger:
        memberships = sb.memberships if rules.named else {}
        ledger = self._unknown if memberships is None else book.turn_to(rules)
        ledger.update(sb.chassis, memberships or {}, written, quarantine)
        return ledger


@dataclass(frozen=True, slots=True)
class _KeptOut:
    """Chassis with which nobody may communicate."""

    quarantine: frozenset[ChassisName]
    """As NB and the authority say."""
    doubted: frozenset[ChassisName]
    """The same while NB is in doubt: it adds to what is published, and lifts nothing."""
    revoked: frozenset[ChassisName]
    """Those revoked by the authority."""


def _kept_out(nb: NbView, published: ClusterPolicy | None, signing: Signing) -> _KeptOut:
    """Combine the operator's list with the authority's; either may be unknown."""
    held, listed = published or NO_POLICY, nb.asked.listed
    if signing is not NO_SIGNING:
        revoked = signing.revoked
    elif held.revoked is not None:
        revoked = held.revoked
    else:
        revoked = held.quarantine - (listed or frozenset())
    if listed is None:
        listed = held.quarantine - (revoked if held.revoked is None else held.revoked)
    return _KeptOut(
        quarantine=listed | (revoked - nb.asked.readmit),
        doubted=held.quarantine | listed | revoked,
        revoked=revoked,
    )


def _carries(published: ClusterPolicy | None, rules: RuleSet) -> bool:
    return (
        published is not None
        and published.phase is not Phase.OFF
        and (published.rules, published.profile) == (rules.texts, rules.default.profile)
    )


def _target(intent: Intent, errors: tuple[InputError, ...], sb: SbView, ledger: Ledger) -> Target:
    matrix = ledger.matrix
    if matrix is None:
        off = intent.policy is not None and not intent.policy.enabled
        return Target(policy=intent.policy if off else None, known=False, errors=errors)
    default = intent.rules.default.mode
    return Target(
        policy=intent.policy,
        texts=intent.rules.texts,
        pairs=matrix.pairs,
        floor=matrix.floor,
        vnis=_vnis(intent.rules, sb),
        weakens=sb.policy is not None and _weakens(sb.policy, ledger, matrix, default),
        errors=errors,
    )


def _unable(ledger: Ledger) -> tuple[list[InputError], bool]:
    """Name the chassis that cannot do a cipher suite that they would need.

    Returns:
        One error for each suite; and whether so many lack it that the rules cannot be applied:
        a few only lose their own pairs.
    """
    if ledger.matrix is None or ledger.profiles <= {Profile.DEFAULT}:
        return [], False
    lacking: dict[Profile, list[Able]] = {}
    for able in ledger.able:
        for profile in ledger.lacking(able):
            lacking.setdefault(profile, []).append(able)
    names = {profile: ledger.able.names(has) for profile, has in lacking.items()}
    return limits.lacking(names), bool(weigh(names, ledger.tally.members).many)


def _vnis(rules: RuleSet, sb: SbView) -> frozenset[int]:
    """VNIs of the networks of which no rule lets anything pass in clear.

    A higher rule with another mode might do so: then only the pairs decide. Rules across
    availability zones cannot: no rule lets a network's packets pass in clear to other zones.
    """
    closed = {name for name, mode in rules.networks.items() if mode is Mode.REQUIRE}
    for rule in rules.rules:
        if rule.across:
            continue
        if rule.mode is not Mode.REQUIRE:
            break
        kinds = {selector.kind for selector in rule.selectors}
        if kinds == {SelectorKind.NETWORK, SelectorKind.ANY}:
            closed |= {s.argument for s in rule.selectors if s.kind is SelectorKind.NETWORK}
    return frozenset().union(*(sb.tunnel_keys.get(name, frozenset()) for name in closed))


def _weakens(published: ClusterPolicy, ledger: Ledger, matrix: Matrix, default: Mode) -> bool:
    """Whether a pair is protected less by the classes to which its ends are moved."""
    moves: set[tuple[str | None, str | None]] = set()
    for kind in ledger.kinds:
        wanted = ledger.class_of(kind.signature)
        moves.add((kind.class_text if kind.ours else wanted, wanted))
    if all(had == wanted for had, wanted in moves) and published.pairs == matrix.pairs:
        return False

    def weaker(one: tuple[str | None, str | None], other: tuple[str | None, str | None]) -> bool:
        old = _mode(published.pairs, published.default, one[0], other[0])
        new = _mode(matrix.pairs, default, one[1], other[1])
        return new is not old and weakens(old, new)

    return any(weaker(one, other) for one, other in combinations_with_replacement(moves, 2))


def _mode(
    pairs: Mapping[ClassPair, Treatment], default: Mode, one: str | None, other: str | None
) -> Mode:
    """The mode of a pair of classes, either of which may have no name."""
    found = of_classes(pairs, one, other)
    return default if found is None else found.mode
