# SPDX-License-Identifier: Apache-2.0
"""Pure: whether to obey what NB asks for: NbView and SbView to Standing.

A northbound that is empty, restored from a backup, or another cluster's says ``ipsec=false``, or
has no rules, without anyone having decided that. The northbound from which the policy in force came
is recognised by the generation in its report: only northd_ext writes it, and only into a northbound
that it obeys. A database that was created again also has another row, and the UUID of the right row
is in SB. TABLE says for every state of both databases whether there is a doubt. If there is, NB is
nevertheless followed as soon as one of these is true:

- this process has itself just published the policy in force, as asked by this northbound, whose
  report is not there yet;
- the operator confirms the generation in force (NB_Global.options:ovn-ipsec-confirm);
- nothing that NB asks for is weaker than what is in force: then there is nothing to protect.

Otherwise what is in force is held; its phases go on, and chassis may come and go.
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
    """The generation in NB's report, compared with the one in force."""

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
"""Whether NB is followed without further conditions; false: it is in doubt."""

_OPEN = frozenset({Phase.OFF, Phase.RELAX})


@dataclass(frozen=True, slots=True)
class Vouched:
    """What this process last published, and which northbound asked for it."""

    origin: str
    """NB's row."""
    reported: int | None
    """The generation in NB's report at that time."""
    published: int
    """The generation that was written to SB."""

    @classmethod
    def by(cls, nb: NbView, generation: int) -> Vouched:
        """Note that this northbound asked for this generation."""
        return cls(nb.origin, nb.known_generation, generation)

    def after(self, nb: NbView) -> Vouched | None:
        """What remains of it now: nothing, once NB's report has changed."""
        return self if self == Vouched.by(nb, self.published) else None


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether NB is to be obeyed."""

    holds: bool
    generation: int = 0
    """The one in force, which the operator would have to confirm."""
    weaker: tuple[str, ...] = ()
    """What is weaker in NB than in force."""

    def refusal(self, nb: NbView) -> InputError:
        """For the operator: why NB is not followed, and what to do."""
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
    """Judge whether to obey what NB asks for.

    Args:
        nb: What it asks for, and what was last reported to it.
        sb: What is in force.
        intent: What NB asks for, as far as it can be understood.
        vouched: What this process last published.
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
    """The generation that SB carries, as far as it can be read; 0 if it cannot."""
    return sb.readable_generation if sb.policy is None else sb.policy.generation


def in_force(sb: SbView) -> InForce:
    """What SB carries."""
    if sb.error is not None:
        return InForce.DAMAGED
    if sb.policy is None:
        return InForce.NOTHING
    return InForce.OPEN if sb.policy.phase in _OPEN else InForce.CLOSED


def report_of(nb: NbView, sb: SbView) -> Report:
    """The generation in NB's report, compared with the one in force.

    If SB's policy is damaged and its generation cannot be read either, no report tells anything.
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
    """Name what is weaker in NB than in force; what cannot be compared counts as weaker.

    Args:
        held: What is in force; None if that cannot be read.
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
    """Whether the rules are the same, or nothing could be stronger than what NB asks for."""
    plain = not held.vnis and not any("profile=" in text for text in held.rules)
    return rules.texts == held.rules or (plain and _all_required(rules))


def _all_required(rules: RuleSet) -> bool:
    modes = [rules.default.mode, *(rule.mode for rule in rules.rules)]
    return all(mode is Mode.REQUIRE for mode in modes)


def _drops_replays(held: ClusterPolicy, asked: EncryptionPolicy) -> bool:
    return asked.tuning.replay_window == 0 != held.tuning.replay_window
