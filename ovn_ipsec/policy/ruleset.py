# SPDX-License-Identifier: Apache-2.0
"""Pure: everything that decides about a pair, as NB asks for it or as SB carries it.

If what NB asks for cannot be applied, the last good rules stay in force; they are read back from
SB, so that this also works after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InputError
from ..model.policy import (
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Rule,
    SelectorKind,
    Treatment,
    network_rule,
)
from ..schema import fields as parse
from ..schema import sb_global
from ..schema.fields import Place
from ..schema.rules import PRIORITY_MAX, parse_rule

SWITCH = "switch"
"""Precedes a rule that a Logical_Switch asked for, in place of the priority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Rules, what networks ask for, and what applies if neither says anything."""

    default: Treatment
    rules: tuple[Rule, ...] = ()
    """Highest priority first."""
    networks: Mapping[str, Mode] = field(default_factory=dict)
    """Logical switches with a mode of their own."""
    texts: tuple[str, ...] = field(init=False)
    """The rules as SB carries them."""
    named: frozenset[str] = field(init=False)
    """Networks that a rule or a switch names: their chassis must be known."""

    def __post_init__(self) -> None:
        """Compute once what is used again and again."""
        own = [f"{SWITCH} {network_rule(name, mode)}" for name, mode in self.networks.items()]
        texts = (*sorted(own), *(f"{rule.priority} {rule}" for rule in self.rules))
        chosen = {
            selector.argument
            for rule in self.rules
            for selector in rule.selectors
            if selector.kind is SelectorKind.NETWORK
        }
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "named", frozenset(chosen | self.networks.keys()))


def asked_for(policy: EncryptionPolicy, networks: Mapping[str, Mode]) -> RuleSet:
    """What NB asks for.

    Args:
        policy: Of NB_Global.
        networks: Of logical switches, by name.
    """
    default = Treatment(mode=policy.mode, profile=policy.profile)
    return RuleSet(default=default, rules=policy.rules, networks=networks)


def last_good(published: ClusterPolicy | None) -> tuple[RuleSet, tuple[InputError, ...]]:
    """Read back the rules that SB carries.

    Returns:
        Those that parse (none if SB carries no policy), and the errors of the others.
    """
    if published is None:
        return RuleSet(default=Treatment(mode=Mode.OFF)), ()
    rules: list[Rule] = []
    networks: dict[str, Mode] = {}
    errors: list[InputError] = []
    place = Place(table=sb_global.TABLE, row=".", key=sb_global.RULES)
    for line in published.rules:
        head, _, text = line.partition(" ")
        try:
            priority = 1 if head == SWITCH else parse.integer(place, head, 1, PRIORITY_MAX)
            rule = parse_rule(place, priority, text)
        except InputError as error:
            errors.append(error)
            continue
        if head == SWITCH:
            networks[rule.selectors[0].argument] = rule.mode
        else:
            rules.append(rule)
    default = Treatment(mode=published.default, profile=published.profile)
    rules.sort(key=lambda rule: -rule.priority)
    return RuleSet(default=default, rules=tuple(rules), networks=networks), tuple(errors)
