# SPDX-License-Identifier: Apache-2.0
"""Pure: what the operator reads in NB_Global.external_ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from ovn_ipsec.model.policy import NO_POLICY, ClusterPolicy, EncryptionPolicy, Mode, Phase
from ovn_ipsec.model.status import PairCounts
from ovn_ipsec.policy.across import end_mode
from ovn_ipsec.schema import nb_global
from ovn_ipsec.schema.report import printable

from .observe.views import DEGRADED, STATE_PHASE, NbView, SbView
from .policy.target import Target
from .rollout.census import Census
from .rollout.gate import PATIENCE_S
from .rollout.progress import JUST_NOW, Elapsed

LAG_GRACE_S = 10.0
"""A controller that has not followed a new phase within this time is a laggard."""

NAMED = 5
"""Chassis that are named; the others are counted."""

_WORDS = {
    Phase.OFF: "off",
    Phase.PREPARE: "preparing",
    Phase.ESTABLISH: "establishing",
    Phase.ENFORCE: "enforced",
    Phase.RELAX: "relaxing",
}
_NAME_MAX = 80
_TEXT_MAX = 120
_ERROR_MAX = 300


def make_report(
    nb: NbView, sb: SbView, target: Target, census: Census, elapsed: Elapsed
) -> dict[str, str]:
    """Make the summary for NB_Global.external_ids.

    Args:
        nb: What was last reported.
        sb: What SB carries, and what of it could not be understood.
        target: What NB asks for, and what of it could not be understood or applied.
        census: Taken against that policy.
        elapsed: Since when SB carries it.

    Returns:
        Texts by key, each of bounded length; keys that are missing here are to be removed. The
        generation marks NB as the database from which SB's policy came: it does not change while
        NB is in doubt or SB's generation is not known.
    """
    policy = sb.policy
    errors = [*target.errors, *([sb.error] if sb.error else [])]
    state = state_word(policy, census, elapsed)
    if sb.error is not None:
        state = nb.report.get(nb_global.STATE, state).removesuffix(DEGRADED)
        state = state if state in STATE_PHASE else _WORDS[Phase.OFF]
    if is_degraded(target, sb, policy, census, elapsed):
        state += DEGRADED
    report = {
        nb_global.STATE: state,
        nb_global.GENERATION: str((policy or NO_POLICY).generation),
        nb_global.SUMMARY: summarize(census, target.policy),
    }
    if sb.error is not None or target.doubt is not None:
        del report[nb_global.GENERATION]
        if nb_global.GENERATION in nb.report:
            report[nb_global.GENERATION] = nb.report[nb_global.GENERATION]
    if errors:
        texts = [printable(error.diagnostics(), _ERROR_MAX) for error in errors[:NAMED]]
        report[nb_global.ERROR] = _first(texts, "; ", len(errors))
    return report


def state_word(policy: ClusterPolicy | None, census: Census, elapsed: Elapsed = JUST_NOW) -> str:
    """Name the state.

    A rollout that ends at `prefer` is complete when every chassis has followed, and after a while
    when all but a few have: see gate. A generation that rows have caused does not delay that.
    """
    if policy is None:
        return _WORDS[Phase.OFF]
    ends_here = policy.phase is Phase.ESTABLISH and end_mode(policy) is not Mode.REQUIRE
    ended = census.acknowledged or (elapsed.stated_s >= PATIENCE_S and census.up_but_for_few)
    return "established" if ends_here and ended else _WORDS[policy.phase]


def is_degraded(
    target: Target, sb: SbView, policy: ClusterPolicy | None, census: Census, elapsed: Elapsed
) -> bool:
    """Whether something that should hold does not."""
    if target.doubt is not None or sb.error is not None:
        return True
    if target.policy is None and target.known:
        return True
    if policy is None or policy.phase is Phase.OFF:
        return False
    lagging = bool(census.junk) or (bool(census.behind) and elapsed.step_s >= LAG_GRACE_S)
    if policy.phase is Phase.RELAX:
        return lagging
    ended = state_word(policy, census, elapsed) in ("enforced", "established")
    counts = census.counts.plus(census.across)
    missing = counts.blocked or (ended and counts.pending)
    return bool(lagging or census.absent or census.problems or missing)


def summarize(census: Census, asked: EncryptionPolicy | None = None) -> str:
    """One line: chassis, pairs, problems, warnings; the first few by name."""
    laggards = census.laggards
    head = f"chassis {census.chassis} ready {census.ready} lagging {len(laggards)}"
    if laggards:
        first = nsmallest(NAMED, laggards)
        head += f" ({_first(_named(first), ', ', len(laggards))})"
    parts = [head, _pairs(census.counts)]
    if census.across != PairCounts():
        waits = "" if census.across.all_up else ", not waited for"
        parts.append(f"across zones: {_pairs(census.across)}{waits}")
    if asked is not None and asked.enabled and census.unable(asked.auth):
        unable = census.unable(asked.auth)
        parts.append(f"no {asked.auth} credential: {_first(unable, ', ', len(unable))}")
    if census.problems:
        named = _named(census.problems[:NAMED])
        parts.append(_first(named, "; ", len(census.problems)))
    if census.warnings:
        named = _named(census.warnings[:NAMED])
        parts.append(f"soon: {_first(named, '; ', len(census.warnings))}")
    if census.quarantined:
        named = [printable(name, _NAME_MAX) for name in census.quarantined[:NAMED]]
        parts.append(f"in quarantine: {_first(named, ', ', len(census.quarantined))}")
    return " | ".join(parts)


def _pairs(counts: PairCounts) -> str:
    text = f"pairs {counts.wanted} encrypted {counts.encrypted}"
    text += f" pending {counts.pending} blocked {counts.blocked}"
    return f"{text} quarantined {counts.quarantined}" if counts.quarantined else text


def _named(items: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{printable(name, _NAME_MAX)}: {printable(text, _TEXT_MAX)}" for name, text in items]


def _first(texts: Sequence[str], separator: str, count: int) -> str:
    """Join the first few of a number of texts; the others may be omitted from the input."""
    shown = list(texts[:NAMED])
    if count > NAMED:
        shown.append(f"and {count - NAMED} more")
    return separator.join(shown)
