# SPDX-License-Identifier: Apache-2.0
"""Edge: a policy rule for two chassis that stands for the time of a measurement only.

Its key is written down on the logical switch of the measurement before the rule is: should this
program be killed, the next one knows what to delete.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import EdgeError
from ...model.policy import Mode, Profile, Rule, Selector, SelectorKind
from ..policy.change import change_rules
from ..policy.editing import Changes, key_of, to_add
from ..policy.rulefile import free_priority, taken_priorities
from ..settings import Settings
from ..view import Snapshot
from .network import Network
from .values import NONE


def rule_of(network: Network, priority: int, profile: str) -> Rule:
    """The rule by which two chassis do what is measured.

    Args:
        network: Of the two chassis.
        priority: Of the rule.
        profile: NONE: no encryption.
    """
    ends = (
        Selector(SelectorKind.CHASSIS, network.one),
        Selector(SelectorKind.CHASSIS, network.other),
    )
    if profile == NONE:
        return Rule(priority=priority, selectors=ends, mode=Mode.OFF)
    return Rule(priority=priority, selectors=ends, mode=Mode.REQUIRE, profile=Profile(profile))


def is_of(network: Network, text: str) -> bool:
    """Whether a rule is one that rule_of() makes."""
    words = [NONE, *Profile]
    return text in {str(rule_of(network, 1, profile)) for profile in words}


class TemporaryRule:
    """The rule, which is there or not."""

    def __init__(
        self, settings: Settings, network: Network, note: Callable[[str | None], None]
    ) -> None:
        """Store where.

        Args:
            settings: Where the databases are.
            network: Of the two chassis.
            note: Writes down which key is ours.
        """
        self._settings, self._network, self._note = settings, network, note
        self._priority: int | None = None

    def put(self, profile: str) -> None:
        """Write the rule, or another one in its place.

        Raises:
            EdgeError: The policy would not take it, or a database does not answer.
        """

        def decide(snapshot: Snapshot) -> Changes | str:
            if not snapshot.ipsec:
                return (
                    "encryption is switched off, so no profile can be tried: leave out --profiles"
                )
            if self._priority is None:
                self._priority = free_priority(taken_priorities(snapshot.options))
                if self._priority is None:
                    return "no multiple of 100 is left above the highest priority of the rules"
                self._note(key_of(self._priority))
            return to_add(rule_of(self._network, self._priority, profile))

        found = change_rules(self._settings, decide, dry_run=False)
        if isinstance(found, str):
            raise EdgeError(found)
        if not found.written:
            raise EdgeError(f"no rule for {profile}: {found.assessment.refusals[0]}")

    def remove(self) -> None:
        """Delete it, if it is there.

        Raises:
            EdgeError: A database refuses or does not answer.
        """
        if self._priority is not None:
            delete(self._settings, self._network, key_of(self._priority))
            self._note(None)
            self._priority = None


def delete(settings: Settings, network: Network, key: str) -> bool:
    """Delete a rule that was written down, unless it is another one by now.

    Returns:
        Whether it was there.

    Raises:
        EdgeError: A database refuses or does not answer.
    """

    def decide(snapshot: Snapshot) -> Changes | str:
        ours = is_of(network, snapshot.options.get(key, ""))
        return {key: None} if ours else f"{key} is not ours"

    found = change_rules(settings, decide, dry_run=False)
    if isinstance(found, str):
        return False
    if not found.written:
        raise EdgeError(f"{key} cannot be deleted: {found.assessment.refusals[0]}")
    return True
