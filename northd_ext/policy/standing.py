# SPDX-License-Identifier: Apache-2.0
"""Pure: whether what NB asks for is an order: NbView and SbView to Standing.

A northbound that is empty, restored from a backup, or another cluster's says ``ipsec=false``, or
has no rules, without anybody having decided that. What tells the northbound that the policy in
force came from is the generation in its report: nobody but northd_ext writes it, and only on the
word of a northbound that holds. A database that was made anew has another row besides, whose UUID
is in SB. TABLE says for every state of both databases whether there is a doubt. Where there is, NB
is followed nevertheless as soon as one of these is so:

- this process has itself just published the policy in force on the word of this northbound, whose
  report is not there yet;
- the operator confirms the generation in force (NB_Global.options:ovn-ipsec-confirm);
- nothing that NB asks for is weaker than what is in force: then there is nothing to hold.

Otherwise what is in force is held, with the phases and the chassis that come and go in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.model.policy import ClusterPolicy, EncryptionPolicy, Mode, Phase
from ovn_ipsec.policy.ruleset import RuleSet
from ovn_ipsec.schema import nb_global

from ..observe.views import NbView, SbView
from .intent import Intent


class InForce(StrEnum):
    """What SB carries."""

    NOTHING = "no policy"
    DAMAGED = "a policy that does not parse"
    OPEN = "off or relax: nothing that could be weakened"
    CLOSED = "prepare, establish or enforce"


class Report(StrEnum):
    """The generation in NB's report, beside the one in force."""

    NONE = "none, or junk"
    OLDER = "an older one"
    SAME = "the same"
    NEWER = "a newer one: SB has lost something, not NB"
    FOREIGN = "any: SB's policy came from a database with another NB_Global row"


TABLE: Mapping[tuple[InForce, Report], bool] = MappingProxyType(
    {
        (InForce.NOTHING, Report.NONE): True,
        (InForce.NOTHING, Report.OLDER): True,
        (InForce.NOTHING, Report.SAME): True,
        (InForce.NOTHING, Report.NEWER): True,
        (InForce.NOTHING, Report.FOREIGN): True,
        (InForce.DAMAGED, Report.NONE): False,
        (InForce.DAMAGED, Report.OLDER): False,
        (InForce.DAMAGED, Report.SAME): True,
        (InForce.DAMAGED, Report.NEWER): True,
        (InForce.DAMAGED, Report.FOREIGN): False,
        (InForce.OPEN, Report.NONE): True,
        (InForce.OPEN, Report.OLDER): True,
        (InForce.OPEN, Report.SAME): True,
        (InForce.OPEN, Report.NEWER): True,
        (InForce.OPEN, Report.FOREIGN): True,
        (InForce.CLOSED, Report.NONE): False,
        (InForce.CLOSED, Report.OLDER): False,
        (InForce.CLOSED, Report.SAME): True,
        (InForce.CLOSED, Report.NEWER): True,
        (InForce.CLOSED, Report.FOREIGN): False,
    }
)
"""Whether such a northbound holds without more ado."""

_OPEN = frozenset({Phase.OFF, Phase.RELAX})


@dataclass(frozen=True, slots=True)
class Vouched:
    """What this process has last published, and on whose word."""

    origin: str
    """NB's row."""
    reported: int | None
    """The generation in NB's report at that time."""
    published: int
    """The generation that SB was given."""

    @classmethod
    def by(cls, nb: NbView, generation: int) -> Vouched:
        """Take a northbound's word for a generation."""
        return cls(nb.origin, nb.known_generation, generation)

    def after(self, nb: NbView) -> Vouched | None:
        """What it is worth from now on: nothing any more once the report is another one."""
        return self if self == Vouched.by(nb, self.published) else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What NB's word is worth."""

    holds: bool
    generation: int = 0
    """The one in force, which the operator would have to confirm."""
    weaker: tuple[str, ...] = ()
    """What NB asks for less of than is in force."""

    def refusal(self, nb: NbView) -> InputError:
        """Why NB is not followed, and what to do, for the operator."""
        reason = (
            f"this is not the database that the policy in force (generation {self.generation}) came"
            f" from, and following it would weaken {', '.join(self.weaker)}; to follow it, set"
            f" options:{nb_global.CONFIRM}={self.generation}"
        )
        return InputError(
            table=nb_global.TABLE,
            row=".",
            key=nb_global.GENERATION,
            text=nb.report.get(nb_global.GENERATION, "")[:20],
            reason=reason,
        )


def judge(
    nb: NbView,
    sb: SbView,
    intent: Intent,
    vouched: Vouched | None = None,
    revoked: frozenset[ChassisName] = frozenset(),
) -> Standing:
    """Judge whether what NB asks for is an order.

    Args:
        nb: What it says, and what it was told last.
        sb: What is in force.
        intent: What NB asks for, as far as it can be understood.
        vouched: What this process has last published.
        revoked: Chassis that the certificate authority has revoked by name.
    """
    generation = generation_in_force(sb)
    if TABLE[in_force(sb), report_of(nb, sb)]:
        return Standing(holds=True, generation=generation)
    if vouched == Vouched.by(nb, generation):
        return Standing(holds=True, generation=generation)
    if nb.asked.confirm == generation:
        return Standing(holds=True, generation=generation)
    weaker = weaker_than(sb.policy, nb, intent, revoked)
    return Standing(holds=not weaker, generation=generation, weaker=weaker)


def generation_in_force(sb: SbView) -> int:
    """The generation that SB carries, as far as it can be told; 0 where it cannot."""
    return sb.readable_generation if sb.policy is None else sb.policy.generation


def in_force(sb: SbView) -> InForce:
    """What SB carries."""
    if sb.error is not None:
        return InForce.DAMAGED
    if sb.policy is None:
        return InForce.NOTHING
    return InForce.OPEN if sb.policy.phase in _OPEN else InForce.CLOSED


def report_of(nb: NbView, sb: SbView) -> Report:
    """The generation in NB's report beside the one in force.

    Beside a damaged policy whose generation cannot be read either, no report says anything.
    """
    reported, generation = nb.known_generation, generation_in_force(sb)
    origin = "" if sb.policy is None else sb.policy.origin
    if origin and nb.origin and origin != nb.origin:
        return Report.FOREIGN
    if reported is None or (in_force(sb) is InForce.DAMAGED and generation == 0):
        return Report.NONE
    if reported == generation:
        return Report.SAME
    return Report.OLDER if reported < generation else Report.NEWER


def weaker_than(
    held: ClusterPolicy | None, nb: NbView, intent: Intent, revoked: frozenset[ChassisName]
) -> tuple[str, ...]:
    """Name what NB asks for less of than is in force; what cannot be compared counts as less.

    Args:
        held: What is in force; None where that cannot be read.
        nb: The northbound.
        intent: What it asks for.
        revoked: Chassis that the certificate authority has revoked by name.
    """
    asked = intent.policy
    if nb.asked.is_off:
        return ("the switch",)
    if asked is None:
        return ("rules that cannot be understood here",)
    if held is None:
        return () if _all_required(intent.rules) else ("the rules",)
    kept = (nb.asked.listed or frozenset()) | (revoked - nb.asked.readmit)
    found = [
        (asked.mode.strength < held.default.strength, "the mode"),
        (not _keeps_rules(held, intent.rules), "the rules"),
        (asked.profile.strength < held.profile.strength, "the profile"),
        (asked.auth not in held.auth, "the authentication"),
        (_drops_replays(held, asked), "the replay window"),
        (not held.quarantine <= kept, "the quarantine"),
    ]
    return tuple(word for weaker, word in found if weaker)


def _keeps_rules(held: ClusterPolicy, rules: RuleSet) -> bool:
    """Whether the rules are the same, or nothing could be stronger than what is asked for."""
    plain = not held.vnis and not any("profile=" in text for text in held.rules)
    return rules.texts == held.rules or (plain and _all_required(rules))


def _all_required(rules: RuleSet) -> bool:
    modes = [rules.default.mode, *(rule.mode for rule in rules.rules)]
    return all(mode is Mode.REQUIRE for mode in modes)


def _drops_replays(held: ClusterPolicy, asked: EncryptionPolicy) -> bool:
    return asked.tuning.replay_window == 0 != held.tuning.replay_window
