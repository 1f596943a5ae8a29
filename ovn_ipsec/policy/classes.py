# SPDX-License-Identifier: Apache-2.0
"""Pure: rules to classes of encaps, and to the treatment of each pair of classes.

Each selector of a rule is a trait that an encap has or does not have; a network gives two, *hosts*
and *reaches*. An encap's signature is the set of its traits, as bits of an integer, and encaps with
the same signature form one class: no rule can tell them apart.

A rule matches a pair of encaps if one has the traits that its first side needs and the other those
of its second side, in either order. A side needs its own selector, and, if the opposite selector is
``network:N``, that it reaches N, since N's traffic comes from there. So ``network:N any`` needs
*hosts N* on one side and *reaches N* on the other.

For each signature, the rules whose first side it satisfies, and those whose second side, are again
bits of an integer, the highest priority lowest. The rules that match a pair are then two ANDs and
an OR, and the lowest bit of the result decides.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from hashlib import sha256
from ipaddress import ip_network
from itertools import combinations_with_replacement
from types import MappingProxyType
from typing import NewType, assert_never

from ..model.chassis import IpAddress
from ..model.policy import (
    ClassName,
    ClassPair,
    Mode,
    Profile,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
    class_pair,
    network_rule,
    strongest,
)

Signature = NewType("Signature", int)
"""The traits of an encap; it is valid only for the RuleBook that made it."""

NOTHING = Signature(0)
"""The signature of an encap that matches no selector but ``any``."""

REST = ClassName("rest")
"""The class of NOTHING, if rules treat it differently than without rules."""

_Match = Callable[[str], object]
_NAME_LENGTH = 11
_NO_NETWORKS: Mapping[str, Mode] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What rules can see of one encap."""

    chassis: str
    hostname: str = ""
    zones: frozenset[str] = frozenset()
    azs: frozenset[str] = frozenset()
    ip: IpAddress | None = None
    """None: the row has an invalid address, and no prefix contains it."""
    hosts: frozenset[str] = frozenset()
    """Logical switches whose ports the chassis hosts, if a rule or a switch names them."""
    reaches: frozenset[str] = frozenset()
    """Logical switches from which traffic can come here through routers, including those hosted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the policy says of a pair, and which part of it says so."""

    treatment: Treatment
    rule: Rule | None
    """The rule that decided; None: no rule matched, and the default applies."""
    network: str | None
    """The network whose own setting made the mode stronger than that; None if none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The treatment of every pair of classes."""

    pairs: Mapping[ClassPair, Treatment]
    """Only those whose treatment is not the default."""
    floor: Mode
    """The weakest mode in it, including the default."""
    profiles: frozenset[Profile]
    """The profiles of the pairs that are ever encrypted, and the default's."""


class RuleBook:
    """The operator's rules, compiled."""

    def __init__(
        self,
        rules: Sequence[Rule],
        default: Treatment,
        networks: Mapping[str, Mode] = _NO_NETWORKS,
    ) -> None:
        """Compile the rules.

        Args:
            rules: In any order; those that match pairs across availability zones are left out.
            default: What applies if no rule matches, and the profile of rules without their own.
            networks: What networks ask for: as the rule ``network:N any MODE``, except that it
                never makes a pair weaker than the rules do.
        """
        self.default = default
        within = (rule for rule in rules if not rule.across)
        self._rules = sorted(within, key=lambda rule: (-rule.priority, str(rule)))
        self._sugar = sorted(networks.items(), key=lambda item: (-item[1].strength, item[0]))
        sides = [rule.selectors for rule in self._rules]
        sides += [network_rule(name, mode).selectors for name, mode in self._sugar]
        self._traits = Traits({selector for side in sides for selector in side})
        self._needs = [self._traits.needs(*side) for side in sides]
        self._faces: dict[Signature, tuple[int, int]] = {}
        self._verdicts: dict[tuple[int, int], Verdict] = {}
        self._labels: dict[Signature, tuple[tuple[str, ...], ClassName]] = {}
        self._names: dict[Signature, ClassName] = {}
        self._taken: set[ClassName] = set()
        self._rest = self._shapes_nothing()

    def signature(self, subject: Subject) -> Signature:
        """Return the traits of an encap."""
        return self._traits.signature(subject)

    def traits(self, signature: Signature) -> tuple[str, ...]:
        """Return the selectors that make a class, in words: `zone:dc1`, `reaches network:web`."""
        return self._label(signature)[0]

    def class_name(self, signature: Signature) -> ClassName | None:
        """Name a class: the same traits have the same name, whatever other rules there are.

        Returns:
            None for NOTHING, if every pair with it has the default treatment.
        """
        if signature == NOTHING:
            return REST if self._rest else None
        name = self._names.get(signature)
        if name is None:
            traits, name = self._label(signature)
            if name in self._taken:
                name = name_of(traits, self._taken)
            self._names[signature] = name
            self._taken.add(name)
        return name

    def decide(self, one: Signature, other: Signature) -> Verdict:
        """Decide a pair of encaps; the order of the two does not matter."""
        first, second = self._face(one), self._face(other)
        matching = (first[0] & second[1]) | (first[1] & second[0])
        number = len(self._rules)
        key = (_lowest(matching & ((1 << number) - 1)), _lowest(matching >> number))
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._verdict(*key)
        return verdict

    def matrix(self, signatures: Collection[Signature]) -> Matrix:
        """Decide every pair of classes, including each class with itself.

        From then on the book remembers only these classes, and if the names of two collide,
        they are told apart in the order of their traits.
        """
        kept = set(signatures)
        self._faces = {one: face for one, face in self._faces.items() if one in kept}
        self._labels = {one: label for one, label in self._labels.items() if one in kept}
        self._names.clear()
        self._taken.clear()
        pairs: dict[ClassPair, Treatment] = {}
        ordered = sorted(kept, key=self.traits)
        named = [(signature, self.class_name(signature) or REST) for signature in ordered]
        for (one, name), (other, other_name) in combinations_with_replacement(named, 2):
            treatment = self.decide(one, other).treatment
            if treatment is not self.default:
                pairs[class_pair(name, other_name)] = treatment
        occurring = {id(treatment): treatment for treatment in (self.default, *pairs.values())}
        modes = (treatment.mode for treatment in occurring.values())
        return Matrix(
            pairs=pairs,
            floor=min(modes, key=lambda mode: mode.strength),
            profiles=frozenset(
                treatment.profile
                for treatment in occurring.values()
                if treatment.mode is not Mode.OFF or treatment is self.default
            ),
        )

    def _label(self, signature: Signature) -> tuple[tuple[str, ...], ClassName]:
        """The traits in words, and the name made from them."""
        label = self._labels.get(signature)
        if label is None:
            traits = self._traits.words(signature)
            label = self._labels[signature] = (traits, name_of(traits, ()))
        return label

    def _face(self, signature: Signature) -> tuple[int, int]:
        """The rules whose first side, and whose second side, a signature satisfies, as bits."""
        face = self._faces.get(signature)
        if face is None:
            first = second = 0
            for index, (left, right) in enumerate(self._needs):
                first |= (signature & left == left) << index
                second |= (signature & right == right) << index
            face = self._faces[signature] = (first, second)
        return face

    def _shapes_nothing(self) -> bool:
        """Whether some rule treats some pair with NOTHING in it differently from the default."""
        first, second = self._face(NOTHING)
        either = first | second
        return any(
            either >> index & 1 and self._treatment(rule) is not self.default
            for index, rule in enumerate(self._rules)
        )

    def _treatment(self, rule: Rule) -> Treatment:
        return self._same(Treatment(mode=rule.mode, profile=rule.profile or self.default.profile))

    def _same(self, treatment: Treatment) -> Treatment:
        """The default object itself if equal: the matrix compares by identity, which is fast."""
        return self.default if treatment == self.default else treatment

    def _verdict(self, index: int, sugar: int) -> Verdict:
        rule = None if index < 0 else self._rules[index]
        treatment = self.default if rule is None else self._treatment(rule)
        network = None
        if sugar >= 0:
            name, asked = self._sugar[sugar]
            mode = strongest(treatment.mode, asked)
            if mode is not treatment.mode:
                treatment = self._same(Treatment(mode=mode, profile=treatment.profile))
                network = name
        return Verdict(treatment=treatment, rule=rule, network=network)


def name_of(traits: Iterable[str], taken: Container[ClassName]) -> ClassName:
    """Make the name of a class from its traits alone, or the next one if that is taken."""
    text = repr(sorted(traits))
    name, salt = _hashed(text), 0
    while name in taken:
        salt += 1
        name = _hashed(f"{salt} {text}")
    return name


def _hashed(text: str) -> ClassName:
    digest = b32encode(sha256(text.encode(errors="replace")).digest())
    return ClassName("c" + digest[:_NAME_LENGTH].decode().lower())


def _lowest(bits: int) -> int:
    """The number of the lowest bit that is set; -1 when none is."""
    return (bits & -bits).bit_length() - 1


class Traits:
    """One bit for each selector, two for each network, and how to find them for a Subject."""

    def __init__(self, selectors: set[Selector]) -> None:
        """Compile the selectors; whether one is for other zones makes no difference here."""
        self._words: list[str] = []
        self._own: dict[Selector, int] = {}
        self._globs: list[tuple[SelectorKind, _Match, int]] = []
        self._zones: dict[str, int] = {}
        self._azs: dict[str, int] = {}
        self._prefixes: dict[tuple[int, int], dict[int, int]] = {}
        self.networks: dict[str, tuple[int, int]] = {}
        for selector in sorted(selectors, key=str):
            self._add(selector)

    def needs(self, left: Selector, right: Selector) -> tuple[int, int]:
        """The traits that each side of a rule must have."""
        return self._own[left] | self._reached(right), self._own[right] | self._reached(left)

    def signature(self, subject: Subject) -> Signature:
        """Return what an encap has."""
        bits = 0
        for kind, match, bit in self._globs:
            if match(subject.chassis if kind is SelectorKind.CHASSIS else subject.hostname):
                bits |= bit
        for zone in self._zones.keys() & subject.zones:
            bits |= self._zones[zone]
        for az in self._azs.keys() & subject.azs:
            bits |= self._azs[az]
        for network in self.networks.keys() & subject.hosts:
            bits |= self.networks[network][0] | self.networks[network][1]
        for network in self.networks.keys() & subject.reaches:
            bits |= self.networks[network][1]
        if subject.ip is not None:
            bits |= self._within(subject.ip)
        return Signature(bits)

    def words(self, signature: Signature) -> tuple[str, ...]:
        """Return it in words."""
        words: list[str] = []
        rest = int(signature)
        while rest:
            words.append(self._words[_lowest(rest)])
            rest &= rest - 1
        return tuple(words)

    def _add(self, selector: Selector) -> None:
        if selector.kind is SelectorKind.ANY:
            self._own[selector] = 0
            return
        if selector.kind is SelectorKind.NETWORK:
            hosts, reaches = self._bit(f"hosts {selector}"), self._bit(f"reaches {selector}")
            self.networks[selector.argument] = (hosts, reaches)
            self._own[selector] = hosts
            return
        bit = self._own[selector] = self._bit(str(selector))
        match selector.kind:
            case SelectorKind.CHASSIS | SelectorKind.HOST:
                matches = re.compile(translate(selector.argument)).match
                self._globs.append((selector.kind, matches, bit))
            case SelectorKind.ZONE:
                self._zones[selector.argument] = bit
            case SelectorKind.AZ:
                self._azs[selector.argument] = bit
            case SelectorKind.CIDR:
                network = ip_network(selector.argument)
                starts = self._prefixes.setdefault((network.version, int(network.netmask)), {})
                starts[int(network.network_address)] = bit
            case _:
                assert_never(selector.kind)

    def _bit(self, word: str) -> int:
        self._words.append(word)
        return 1 << len(self._words) - 1

    def _reached(self, selector: Selector) -> int:
        if selector.kind is SelectorKind.NETWORK:
            return self.networks[selector.argument][1]
        return 0

    def _within(self, ip: IpAddress) -> int:
        bits = 0
        for (version, mask), starts in self._prefixes.items():
            if version == ip.version:
                bits |= starts.get(int(ip) & mask, 0)
        return bits
