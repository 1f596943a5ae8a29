# SPDX-License-Identifier: Apache-2.0
"""Pure: what NB asks for, or else the last good policy: NbView and ClusterPolicy to Intent.

What cannot be understood leaves the last good policy in force: the rules that SB carries are read
back, so that this holds over a restart too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import (
    ClusterPolicy,
    EncryptionPolicy,
    Mode,
    Rule,
    Selector,
    SelectorKind,
    Treatment,
)
from ovn_ipsec.schema import fields as parse
from ovn_ipsec.schema import nb_global, sb_global
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.rules import PRIORITY_MAX, missing_networks, parse_rule

from .views import NbView

SWITCH = "switch"
"""Stands before a rule that a Logical_Switch asked for, where others have their priority."""


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
    texts: tuple[str, ...] = field(init=False)
    """As SB carries the rules."""
    named: frozenset[str] = field(init=False)
    """Networks that a rule or a switch names: whose chassis have to be known."""

    def __post_init__(self) -> None:
        """Work out what is asked for in every look."""
        own = [f"{SWITCH} {_network_rule(name, mode)}" for name, mode in self.networks.items()]
        texts = (*sorted(own), *(f"{rule.priority} {rule}" for rule in self.rules))
        chosen = {
            selector.argument
            for rule in self.rules
            for selector in rule.selectors
            if selector.kind is SelectorKind.NETWORK
        }
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "named", frozenset(chosen | self.networks.keys()))


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
    return last_good(published, tuple(errors))


def last_good(published: ClusterPolicy | None, errors: tuple[InputError, ...]) -> Intent:
    """Read the rules that SB carries; none where it carries no policy."""
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


class Intents:
    """The last choice: rules are long and seldom change."""

    def __init__(self) -> None:
        """Start with nothing chosen."""
        self._asked: tuple[object, Intent] | None = None
        self._kept: tuple[object, Intent] | None = None

    def chosen(self, nb: NbView, published: ClusterPolicy | None) -> Intent:
        """What to choose: see choose()."""
        key = (nb.asked, nb.errors, nb.switches, nb.networks, _stated(published))
        if self._asked is None or self._asked[0] != key:
            self._asked = (key, choose(nb, published))
        return self._asked[1]

    def last_good(self, published: ClusterPolicy | None) -> Intent:
        """What SB carries: see the function last_good; no other errors than its own."""
        key = _stated(published)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, last_good(published, ()))
        return self._kept[1]

    def named(self, nb: NbView, published: ClusterPolicy | None) -> frozenset[str]:
        """Networks whose chassis have to be known: of what is asked for and of the last good."""
        return self.chosen(nb, published).named | self.last_good(published).named


def _stated(published: ClusterPolicy | None) -> object:
    """What of a published policy is its operator's."""
    return None if published is None else (published.rules, published.default, published.profile)
