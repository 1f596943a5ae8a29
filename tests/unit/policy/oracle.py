# SPDX-License-Identifier: Apache-2.0
"""A world of rules and encaps, and the oracle that asks every rule about a pair of encaps.

For the tests of classes, which must agree with it, and for the bench, which must be faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from ipaddress import ip_network

from ovn_ipsec.model.policy import Mode, Rule, Selector, SelectorKind, Treatment, strongest
from ovn_ipsec.policy.classes import RuleBook, Subject


@dataclass(frozen=True)
class World:
    """Rules, and the encaps that they are asked about."""

    rules: tuple[Rule, ...]
    default: Treatment
    networks: Mapping[str, Mode]
    subjects: tuple[Subject, ...]

    @property
    def book(self) -> RuleBook:
        """The rules, compiled."""
        return RuleBook(self.rules, self.default, self.networks)


def sees(selector: Selector, one: Subject, other: Subject) -> bool:  # noqa: PLR0911 - a table
    """Whether a selector selects ``one`` where ``other`` is at the far end."""
    argument = selector.argument
    match selector.kind:
        case SelectorKind.ANY:
            return True
        case SelectorKind.CHASSIS:
            return fnmatchcase(one.chassis, argument)
        case SelectorKind.HOST:
            return fnmatchcase(one.hostname, argument)
        case SelectorKind.ZONE:
            return argument in one.zones
        case SelectorKind.AZ:
            return argument in one.azs
        case SelectorKind.CIDR:
            return one.ip is not None and one.ip in _prefix(argument)
        case SelectorKind.NETWORK:
            return argument in one.hosts and argument in other.hosts | other.reaches


_prefix = cache(ip_network)


def oracle(world: World, one: Subject, other: Subject) -> tuple[Treatment, Rule | None]:
    """Ask every rule about a pair of encaps, in the words of the design and not of the code."""

    def matches(left: Selector, right: Selector) -> bool:
        forth = sees(left, one, other) and sees(right, other, one)
        return forth or (sees(left, other, one) and sees(right, one, other))

    ordered = sorted(world.rules, key=lambda rule: -rule.priority)
    rule = next((rule for rule in ordered if matches(*rule.selectors)), None)
    treatment = world.default
    if rule is not None:
        treatment = Treatment(mode=rule.mode, profile=rule.profile or world.default.profile)
    for network, mode in world.networks.items():
        if matches(Selector(SelectorKind.NETWORK, network), Selector(SelectorKind.ANY)):
            treatment = replace(treatment, mode=strongest(treatment.mode, mode))
    return treatment, rule
