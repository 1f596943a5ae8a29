# SPDX-License-Identifier: Apache-2.0
"""Pure: what NB asks for, or else the last good policy: NbView and ClusterPolicy to Intent.

If NB's policy cannot be understood, the last good policy stays in force.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.policy import ClusterPolicy, EncryptionPolicy
from ovn_ipsec.policy import ruleset
from ovn_ipsec.policy.ruleset import RuleSet
from ovn_ipsec.schema import nb_global
from ovn_ipsec.schema.rules import missing_networks

from ..observe.views import NbView


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The rules that should apply."""

    policy: EncryptionPolicy | None
    """None: what is published stays, with its rules, because NB's policy cannot be applied."""
    rules: RuleSet
    errors: tuple[InputError, ...] = ()


def choose(nb: NbView, published: ClusterPolicy | None) -> Intent:
    """Choose between what NB asks for and the last good policy."""
    asked, errors = nb.asked.policy, [*nb.asked.errors, *nb.errors]
    fatal = bool(nb.errors)
    if asked is not None:
        unknown = missing_networks(nb_global.TABLE, asked.rules, nb.switches)
        errors += unknown
        if not (fatal or unknown) or not asked.enabled:
            rules = ruleset.asked_for(asked, nb.networks)
            return Intent(policy=asked, rules=rules, errors=tuple(errors))
    return last_good(published, tuple(errors))


def last_good(published: ClusterPolicy | None, errors: tuple[InputError, ...]) -> Intent:
    """Continue with the rules that SB carries, for these reasons."""
    rules, more = ruleset.last_good(published)
    return Intent(policy=None, rules=rules, errors=(*errors, *more))


class Intents:
    """Caches the last choice: rules are long and seldom change."""

    def __init__(self) -> None:
        self._asked: tuple[object, Intent] | None = None
        self._kept: tuple[object, Intent] | None = None

    def chosen(self, nb: NbView, published: ClusterPolicy | None) -> Intent:
        """The choice: see choose()."""
        key = (nb.asked, nb.errors, nb.switches, nb.networks, _stated(published))
        if self._asked is None or self._asked[0] != key:
            self._asked = (key, choose(nb, published))
        return self._asked[1]

    def last_good(self, published: ClusterPolicy | None) -> Intent:
        """What SB carries: see the function last_good; no errors other than its own."""
        key = _stated(published)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, last_good(published, ()))
        return self._kept[1]

    def named(self, nb: NbView, published: ClusterPolicy | None) -> frozenset[str]:
        """Networks whose chassis must be known: those of NB's policy and of the last good one."""
        return self.chosen(nb, published).rules.named | self.last_good(published).rules.named


def _stated(published: ClusterPolicy | None) -> object:
    """The part of a published policy that its operator stated."""
    return None if published is None else (published.rules, published.default, published.profile)
