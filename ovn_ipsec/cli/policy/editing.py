# SPDX-License-Identifier: Apache-2.0
"""Pure: a change of the rules in NB: what it would do, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...errors import InputError
from ...model.policy import Mode, Rule, SelectorKind
from ...policy.ruleset import RuleSet
from ...schema.fields import Place
from ...schema.nb_global import TABLE
from ...schema.rules import PREFIX, RuleError, is_rule_key, parse_rule
from ..decisions import Difference, asked, difference, effective, missing, shadowed, unable
from ..view import Snapshot, with_options
from .rulefile import free_priority, taken_priorities

Changes = Mapping[str, str | None]
"""Keys of NB_Global.options; None removes one."""
OFF = "encryption is switched off: rules take effect once NB_Global ipsec is true"
CLAIMED = frozenset({SelectorKind.HOST, SelectorKind.ZONE, SelectorKind.AZ, SelectorKind.NETWORK})
"""What a chassis says of itself in rows that it may write; its name it cannot choose under RBAC,
and an address it can only claim where packets to it arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change that may be written."""

    changes: Changes
    now: Snapshot
    then: Snapshot

    @property
    def before(self) -> RuleSet:
        """What northd goes by now."""
        return effective(self.now)

    @property
    def after(self) -> RuleSet:
        """What NB would ask for."""
        return asked(self.then)

    @property
    def named(self) -> frozenset[str]:
        """Networks whose chassis have to be known to assess it."""
        return self.before.named | self.after.named


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What a change would do."""

    difference: Difference
    refusals: tuple[str | RuleError, ...]
    """Faults that it would bring in: northd would keep the last good policy."""
    warnings: tuple[str, ...]


def propose(snapshot: Snapshot, changes: Changes) -> Proposal:
    """Think of a change as made."""
    return Proposal(changes=changes, now=snapshot, then=with_options(snapshot, changes))


def key_of(priority: int) -> str:
    """The key of a rule."""
    return f"{PREFIX}{priority}"


def place_of(priority: int | None) -> Place:
    """Where a rule stands; without a priority it stands nowhere yet."""
    return Place(table=TABLE, row=".", key="rule" if priority is None else key_of(priority))


def to_add(rule: Rule) -> dict[str, str | None]:
    """The change that adds a rule, or puts it in the place of another."""
    return {key_of(rule.priority): str(rule)}


def to_delete(priority: int) -> dict[str, str | None]:
    """The change that deletes a rule."""
    return {key_of(priority): None}


def decide_to_add(
    snapshot: Snapshot, *, text: str, priority: int | None, replace: bool
) -> Changes | str:
    """What adds a rule, or why it cannot be added.

    Args:
        snapshot: The cluster as it is.
        text: The rule; it parses.
        priority: None: the lowest free hundred above the highest that there is.
        replace: Whether it may stand in the place of another.
    """
    chosen = priority or free_priority(taken_priorities(snapshot.options))
    if chosen is None:
        return "no multiple of 100 is left above the highest priority; choose one with --priority"
    if key_of(chosen) in snapshot.options and not replace:
        return f"priority {chosen} is in use; choose another, or use --replace"
    return to_add(parse_rule(place_of(chosen), chosen, text))


def decide_to_delete(snapshot: Snapshot, *, priority: int) -> Changes | str:
    """What deletes a rule, or why it cannot be deleted."""
    if key_of(priority) not in snapshot.options:
        return f"there is no rule with priority {priority}; see ovn-ipsec policy list"
    return to_delete(priority)


def to_replace(options: Mapping[str, str], rules: Iterable[Rule]) -> dict[str, str | None]:
    """The change that puts rules in the place of all that there are, well written or not."""
    changes: dict[str, str | None] = {key: None for key in options if is_rule_key(key)}
    return changes | {key_of(rule.priority): str(rule) for rule in rules}


def assess(proposal: Proposal) -> Assessment:
    """Compare before and after; memberships must be known for every network named."""
    now, then = proposal.now, proposal.then
    before, after = proposal.before, proposal.after
    ability = unable(then, after)
    old: list[str | RuleError] = [*_faults(now), *unable(now, asked(now)).refused]
    new: list[str | RuleError] = [*_faults(then), *ability.refused]
    known = {_words(fault) for fault in old}
    return Assessment(
        difference=difference(now, before, after),
        refusals=tuple(fault for fault in new if _words(fault) not in known),
        warnings=(
            *([] if now.ipsec else [OFF]),
            *(
                f"no change takes effect until this is corrected: {_words(fault)}"
                for fault in new
                if _words(fault) in known
            ),
            *ability.blocked,
            *_changed_shadows(proposal),
            *_claimed(proposal),
        ),
    )


def _faults(snapshot: Snapshot) -> list[str | RuleError]:
    """What keeps a policy from being taken over, RuleErrors as they are."""
    errors: list[InputError] = [*snapshot.network_errors]
    if snapshot.junk:
        errors += snapshot.errors
    errors += missing(snapshot, snapshot.asked.rules)
    return [error if isinstance(error, RuleError) else str(error) for error in errors]


def _words(fault: str | RuleError) -> str:
    return str(fault)


def _changed_shadows(proposal: Proposal) -> list[str]:
    old = shadowed(proposal.now.asked.rules)
    return [
        f"rule {low} never applies: rule {high} matches all of its pairs"
        for low, high in shadowed(proposal.after.rules).items()
        if old.get(low) != high
    ]


def _claimed(proposal: Proposal) -> list[str]:
    """Name the new rules that weaken pairs by what a chassis may say of itself."""
    old = {str(rule) for rule in proposal.now.asked.rules}
    return [
        f"rule {rule.priority} weakens pairs by {kind}:, which any chassis can claim for itself; "
        "chassis: is bound to its certificate"
        for rule in proposal.after.rules
        if rule.mode is not Mode.REQUIRE and str(rule) not in old
        for kind in sorted({one.kind for one in rule.selectors} & CLAIMED)
    ]
