# SPDX-License-Identifier: Apache-2.0
"""Pure: the rules in NB, what each decides, and whether SB has them in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from ...errors import InputError
from ...model.policy import Mode, network_rule
from ...policy.across import End, face_of, treatment_between
from ...policy.ruleset import SWITCH, RuleSet
from ...schema import nb_global
from ...schema.encap import EncapIntent
from ...schema.report import printable
from ...schema.rules import RuleError
from ..decisions import asked, is_on, missing, shadowed, tally, unable, words
from ..pairs import end_of, kinds
from ..settings import Exit
from ..view import ChassisView, Snapshot

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """One line of the table."""

    label: str
    """A priority, SWITCH or DEFAULT."""
    text: str
    pairs: int
    """Pairs of the present cluster that it decides."""
    in_force: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What SB carries."""

    generation: int
    phase: str
    default: str
    floor: str
    modes: dict[str, int]
    """Pairs by mode."""
    vnis: int
    """VNIs that are never clear."""
    leftover: tuple[str, ...]
    """Rules that NB does not ask for (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that `ovn-ipsec policy list` says."""

    switch: bool
    state: str
    lines: tuple[RuleLine, ...]
    errors: tuple[InputError, ...]
    """Of NB, each with its key."""
    problems: tuple[str, ...]
    """What else keeps NB's policy from being taken over."""
    held: InForce | None
    """None: nothing is in force."""
    exit: Exit


def make_listing(snapshot: Snapshot) -> Listing:
    """List the rules; memberships of all networks that they name must be known."""
    rules = asked(snapshot)
    errors = (*snapshot.errors, *snapshot.network_errors, *missing(snapshot, rules.rules))
    ability = unable(snapshot, rules)
    problems = [*ability.refused, *ability.blocked]
    if snapshot.sb_error is not None:
        problems.append(printable(snapshot.sb_error.diagnostics(), 400))
    held = _held(snapshot, rules)
    lines = _lines(snapshot, rules)
    waiting = snapshot.ipsec and not all(line.in_force for line in lines)
    leftover = held is not None and bool(held.leftover)
    return Listing(
        switch=snapshot.ipsec,
        state=printable(snapshot.reported.get(nb_global.STATE, ""), 80),
        lines=lines,
        errors=errors,
        problems=tuple(problems),
        held=held,
        exit=Exit.DEGRADED if errors or problems or waiting or leftover else Exit.WELL,
    )


def _lines(snapshot: Snapshot, rules: RuleSet) -> tuple[RuleLine, ...]:
    counts = tally(snapshot, rules)
    policy = snapshot.policy if is_on(snapshot.policy) else None
    carried = frozenset() if policy is None else frozenset(policy.rules)
    hidden = shadowed(rules.rules)
    lines: list[RuleLine] = []
    for rule in rules.rules:
        notes = []
        if rule.priority in hidden:
            notes.append(f"never applies: {hidden[rule.priority]} matches all its pairs")
        elif not counts.rules.get(rule.priority):
            notes.append("applies to no pair now")
        lines.append(
            RuleLine(
                label=str(rule.priority),
                text=str(rule),
                pairs=counts.rules.get(rule.priority, 0),
                in_force=f"{rule.priority} {rule}" in carried,
                notes=tuple(notes),
            )
        )
    for name, mode in sorted(rules.networks.items()):
        text = str(network_rule(name, mode))
        lines.append(
            RuleLine(
                label=SWITCH,
                text=text,
                pairs=counts.networks.get(name, 0),
                in_force=f"{SWITCH} {text}" in carried,
            )
        )
    default = rules.default
    same = policy is not None and (policy.default, policy.profile) == (
        default.mode,
        default.profile,
    )
    last = RuleLine(label=DEFAULT, text=words(default), pairs=counts.default, in_force=same)
    return (*lines, last)


def _held(snapshot: Snapshot, rules: RuleSet) -> InForce | None:
    policy = snapshot.policy
    if policy is None or not is_on(policy):
        return None
    modes: Counter[str] = Counter({str(mode): 0 for mode in Mode})

    def face(view: ChassisView, intent: EncapIntent) -> Hashable:
        return face_of(policy, End(view.chassis, intent))

    for kind in kinds(snapshot.chassis.values(), face):
        ends = next(kind.examples(1))
        modes[treatment_between(policy, *map(end_of, ends)).mode] += kind.count
    wanted = frozenset(rules.texts)
    return InForce(
        generation=policy.generation,
        phase=str(policy.phase),
        default=str(policy.default),
        floor=str(policy.floor),
        modes=dict(modes),
        vnis=len(policy.vnis),
        leftover=tuple(printable(t, 600) for t in policy.rules if t not in wanted),
    )


def caret_of(error: InputError) -> str:
    """The text of a fault with a caret under it; empty where there is no column to point at."""
    return error.caret() if isinstance(error, RuleError) else ""
