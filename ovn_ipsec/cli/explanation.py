# SPDX-License-Identifier: Apache-2.0
"""Pure: why the pairs of two chassis are treated as they are, and what to do if that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..model.policy import REMOTE, ClusterPolicy, Mode, Phase, Treatment, network_rule
from ..model.status import Digest, PairState
from ..policy.across import treatment_between
from ..policy.classes import Verdict
from ..policy.judgement import follows, is_closed, quarantined, weakens
from ..policy.pairs import preferred_type
from ..schema import nb_global
from ..schema.network_mtu import RawNetworks, parse_networks
from ..schema.report import printable
from .decisions import Evaluation, effective, is_on, unable, words
from .finding import Finding, Level
from .headroom import findings as mtu_findings
from .headroom import headroom, line_of, treatment_by
from .judge import FIX_KEY, NO_AGENT, NO_NETWORKS, NO_NORTHD, SEE_LOG
from .pairs import Ends, between, end_of, has_tunnels, is_across
from .rows import ONE_ADDRESS
from .settings import Exit
from .view import ChassisView, Snapshot
from .wording import duration

LivePeers = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""What the controller of this host says: by peer, local and remote address."""

SEE_ROLLOUT = "wait for the rollout: ovn-ipsec status"
HELD = (
    "a network still counts for some minutes after its last port has left; if that is not the"
    " reason, read the log of ovn-ipsec-northd"
)
WHO_WRITES = (
    "ovn-ipsec-northd corrects it within seconds; if it comes back, something else writes the row"
)
SEE_NETWORK = (
    "UDP 500 and 4500 and IP protocol 50 must pass between the two, and both certificates must be"
    " valid: docs/howto/diagnose.md"
)
END_QUARANTINE = (
    "once it can be trusted again, remove it from NB_Global options:ovn-ipsec-quarantine; if its"
    " certificate was revoked, it also needs a new one"
)
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLine:
    """One end of a pair."""

    chassis: str
    ip: str
    mode: str
    """options:ovn-ipsec of the Encap row; empty when it says nothing that can be used."""
    class_name: str
    """options:ovn-ipsec-class of it."""
    class_wanted: str
    """The class that the rules put it in."""
    traits: tuple[str, ...]
    """The selectors that it matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine:
    """One pair."""

    type: str
    ends: tuple[EndLine, EndLine]
    decided_by: str
    wanted: Treatment
    """What the rules say now."""
    carried: Treatment | None
    """What SB makes of it; None while encryption is off. A controller takes from a row that was
    weakened without a new generation no less than held before."""
    state: str
    """A word of PairState; or UNKNOWN."""
    why: str
    left: int | None
    """The largest IP packet of a workload that the pair carries in one piece; None: not known."""
    left_because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that `ovn-ipsec explain` says."""

    chassis: tuple[ChassisView, ChassisView]
    pairs: tuple[PairLine, ...]
    reason: str
    """Why there are no pairs; empty when there are."""
    findings: tuple[Finding, ...]
    exit: Exit


def explain(
    snapshot: Snapshot,
    one: str,
    other: str,
    live: LivePeers,
    networks: RawNetworks = NO_NETWORKS,
) -> Explanation:
    """Explain the pairs of two chassis that exist.

    Args:
        snapshot: With the memberships of every network that rules name.
        one: Name of a chassis.
        other: Name of another one.
        live: Empty when neither is this host.
        networks: What gives workloads an MTU.
    """
    first, second = snapshot.chassis[one], snapshot.chassis[other]
    rules = effective(snapshot)
    evaluation = Evaluation(snapshot, rules)
    stale = snapshot.policy is not None and rules.texts != snapshot.policy.rules
    exact = not stale and not rules.named
    findings = [*_cluster(snapshot)]
    for view in (first, second):
        findings += [*_contested(view), *_quarantined(snapshot.policy, view)]
    pairs: list[PairLine] = []
    for ends in between(first, second):
        line = _pair(snapshot, evaluation, ends, live)
        pairs.append(line)
        findings.extend(_of_pair(snapshot, line, stale=stale))
        findings.extend(_of_rows(snapshot, line, classes=exact))
    if pairs:
        asked = any(
            line.carried is not None and line.carried.mode is not Mode.OFF for line in pairs
        )
        findings.extend(_of_chassis(snapshot, (first, second), asked=asked))
        findings.extend(
            Finding(subject="cluster", problem=text, next_step=FIX_KEY)
            for text in unable(snapshot, rules).refused
        )
        findings.extend(_of_mtus(snapshot, (first, second), networks))
    blind = any(line.state == UNKNOWN for line in pairs)
    bad = any(finding.level is Level.PROBLEM for finding in findings)
    return Explanation(
        chassis=(first, second),
        pairs=tuple(pairs),
        reason="" if pairs else why_none(first, second),
        findings=tuple(dict.fromkeys(findings)),
        exit=Exit.DEGRADED if bad else Exit.CANNOT_TELL if blind else Exit.WELL,
    )


def decider(verdict: Verdict, *, local: bool = True) -> str:
    """Name what decided a pair; `local` is False for one with another availability zone."""
    by = "the default: no rule matches"
    if not local:
        by = f"the default: no rule with {REMOTE} matches, and no other applies across zones"
    if verdict.rule is not None:
        by = f"rule {verdict.rule.priority}: {verdict.rule}"
    if verdict.network is None:
        return by
    own = network_rule(verdict.network, verdict.treatment.mode)
    return f"the network's own setting, {own}; without it {by}"


def why_none(one: ChassisView, other: ChassisView) -> str:
    """Say why OVN makes no tunnel between two chassis."""
    if one.name == other.name:
        return "a chassis has no tunnel to itself"
    if one.chassis.is_remote and other.chassis.is_remote:
        return "both belong to another availability zone"
    if not has_tunnels(one.chassis, other.chassis):
        if one.chassis.is_remote or other.chassis.is_remote:
            local, far = (other, one) if one.chassis.is_remote else (one, other)
            if not local.chassis.is_interconn:
                zone = f"{far.name} is in another availability zone"
                return f"{zone}, and {local.name} is not a gateway to it"
        return f"their transport zones do not overlap: {_zones(one)} and {_zones(other)}"
    if preferred_type(one.chassis, other.chassis) is None:
        return "they have no tunnel type in common that IPsec covers"
    return "they have no addresses of the same IP version"


def _zones(view: ChassisView) -> str:
    zones = ", ".join(printable(zone, 40) for zone in sorted(view.chassis.zones))
    return f"{view.name} is in {zones or 'none'}"


def _pair(snapshot: Snapshot, evaluation: Evaluation, ends: Ends, live: LivePeers) -> PairLine:
    seen = [evaluation.seen(end.view, end.encap) for end in ends]
    verdict = evaluation.verdict(*seen)
    wanted, decided_by = verdict.treatment, decider(verdict, local=not is_across(ends))
    stronger = None if verdict.rule is not None else _asked_by_others(wanted.mode, ends)
    if stronger is not None:
        wanted, decided_by = replace(wanted, mode=stronger[0]), stronger[1]
    carried = None
    if snapshot.policy is not None and is_on(snapshot.policy):
        carried = treatment_between(snapshot.policy, *map(end_of, ends))
    told = _live(ends, live)
    state, why = told or _state(snapshot.policy, wanted, carried, ends)
    left, left_because = _left(ends, live, carried or wanted, _in_udp(snapshot))
    lines = []
    for end, (signature, face) in zip(ends, seen, strict=True):
        name, traits = None, evaluation.across.matched(face)
        if signature is not None:
            name, traits = evaluation.book.class_name(signature), evaluation.book.traits(signature)
        lines.append(
            EndLine(
                chassis=end.view.name,
                ip=str(end.encap.encap.ip),
                mode=end.encap.mode or "",
                class_name=end.encap.class_name or "",
                class_wanted=name or "",
                traits=traits,
            )
        )
    return PairLine(
        type=ends[0].encap.encap.type,
        ends=(lines[0], lines[1]),
        decided_by=decided_by,
        wanted=wanted,
        carried=carried,
        state=state,
        why=why,
        left=left,
        left_because=left_because,
    )


def _asked_by_others(default: Mode, ends: Ends) -> tuple[Mode, str] | None:
    """What another availability zone asks for of a pair, if that is more than our default."""
    for end in ends:
        asked = end.encap.mode if end.view.chassis.is_remote else None
        if asked is not None and weakens(asked, default):
            return asked, f"the other availability zone, whose row of {end.view.name} says so"
    return None


def _state(
    policy: ClusterPolicy | None, wanted: Treatment, carried: Treatment | None, ends: Ends
) -> tuple[str, str]:
    """What is in force, as far as both digests leave no other."""
    if policy is None or carried is None:
        return PairState.CLEAR, "encryption is off"
    local = [end.view for end in ends if not end.view.chassis.is_remote]
    names = [end.view.chassis.name for end in ends]
    for name in quarantined(policy.phase, policy.quarantine, names):
        return PairState.QUARANTINED, f"{name} is in quarantine"
    for view in local:
        if view.digest is None and view.digest_error is None and carried.mode is Mode.OFF:
            continue
        if view.digest is None:
            return UNKNOWN, f"{view.name} has no controller that reports"
        if not follows(_reported(view.digest), policy):
            return UNKNOWN, f"{view.name} is still at generation {_place(view.digest)}"
    if weakens(wanted.mode, carried.mode):
        return UNKNOWN, "controllers accept a weaker mode only with a new generation"
    return _deduced(policy, carried, local)


def _deduced(
    policy: ClusterPolicy, carried: Treatment, local: Iterable[ChassisView]
) -> tuple[str, str]:
    """What is in force between chassis that follow the policy."""
    if carried.mode is Mode.OFF:
        both = all(view.digest is not None for view in local)
        who = "both ends follow it" if both else "no controller is needed for that"
        return PairState.CLEAR, f"policy says so, and {who}"
    for view in local:
        if view.digest is not None and view.digest.counts.all_up and view.digest.counts.encrypted:
            return PairState.ENCRYPTED, f"every pair of {view.name} that should be encrypted is"
    closed = is_closed(policy.phase, carried.mode)
    what = "encrypted or dropped, never clear" if closed else "perhaps clear"
    where = " or ".join(view.name for view in local)
    return UNKNOWN, f"{what}: not every pair is up; run this on {where} to see this one"


def _live(ends: Ends, live: LivePeers) -> tuple[str, str] | None:
    for ours, theirs in (ends, ends[::-1]):
        key = (theirs.view.name, str(ours.encap.encap.ip), str(theirs.encap.encap.ip))
        if key in live:
            peer = live[key]
            parts = [f"says the controller of {ours.view.name}"]
            parts += [f"treats it as {peer['mode']}"] if "mode" in peer else []
            since = peer.get("since_s")
            parts += [f"for {duration(since)}"] if isinstance(since, int | float) else []
            parts += [str(peer["suite"])] if peer.get("suite") else []
            parts += [f"last error: {peer['last_error']}"] if peer.get("last_error") else []
            return printable(str(peer.get("state", UNKNOWN)), 40), printable(", ".join(parts), 400)
    return None


def _left(
    ends: Ends, live: LivePeers, treatment: Treatment, in_udp: bool
) -> tuple[int | None, str]:
    """What a pair leaves to workloads, and why: as a controller says, or as the rows let expect."""
    for ours, theirs in (ends, ends[::-1]):
        peer = live.get((theirs.view.name, str(ours.encap.encap.ip), str(theirs.encap.encap.ip)))
        left, path = (peer or {}).get("inner_mtu"), (peer or {}).get("path_mtu")
        if isinstance(left, int):
            return left, f"says the controller of {ours.view.name}, of {path} on the path"
    line = line_of(ends, lambda _ends: treatment, in_udp=in_udp)
    if line.left is None:
        return None, "neither controller reports the MTU of the underlay"
    return line.left, line.words()


def _in_udp(snapshot: Snapshot) -> bool:
    """Whether ESP is to be in UDP everywhere."""
    return (snapshot.policy or snapshot.asked).tuning.force_encapsulation


def _of_mtus(
    snapshot: Snapshot, views: Iterable[ChassisView], networks: RawNetworks
) -> Iterator[Finding]:
    """What is larger than what the pairs leave."""
    asked = snapshot.asked if snapshot.ipsec else None
    treat = treatment_by(snapshot.policy, asked)
    read = parse_networks(networks)
    yield from mtu_findings(headroom(views, treat, *read, in_udp=_in_udp(snapshot)))


def _reported(digest: Digest) -> tuple[int, Phase]:
    return digest.generation, digest.phase


def _place(digest: Digest) -> str:
    return f"{digest.generation} {digest.phase}"


def _cluster(snapshot: Snapshot) -> list[Finding]:
    found: list[tuple[str, str]] = []
    if snapshot.ipsec and snapshot.policy is None and snapshot.sb_error is None:
        found.append(("ipsec is on, but no ovn-ipsec-northd has acted on it", NO_NORTHD))
    if snapshot.sb_error is not None:
        found.append((snapshot.sb_error.diagnostics(), NO_NORTHD))
    if error := snapshot.reported.get(nb_global.ERROR):
        found.append((error, FIX_KEY))
    return [
        Finding(subject="cluster", problem=printable(text, 400), next_step=step)
        for text, step in found
    ]


def _contested(view: ChassisView) -> list[Finding]:
    return [
        Finding(subject=view.name, problem=f"{other} claims {ip} too", next_step=ONE_ADDRESS)
        for ip, other in sorted(view.rivals, key=str)
    ]


def _quarantined(policy: ClusterPolicy | None, view: ChassisView) -> list[Finding]:
    if policy is None or not quarantined(policy.phase, policy.quarantine, (view.chassis.name,)):
        return []
    problem = "in quarantine: no peer has SAs with it or exchanges clear traffic with it"
    return [Finding(subject=view.name, problem=problem, next_step=END_QUARANTINE)]


def _of_pair(snapshot: Snapshot, line: PairLine, *, stale: bool) -> list[Finding]:
    """What is wrong with one pair.

    Args:
        snapshot: The cluster.
        line: The pair.
        stale: Whether SB does not carry the rules that `line` was decided by.
    """
    subject = " - ".join(f"{end.chassis} {end.ip}" for end in line.ends)
    found: list[Finding] = []
    if line.carried is not None and line.carried != line.wanted and snapshot.ipsec:
        problem = f"rules say {words(line.wanted)}, SB carries {words(line.carried)}"
        step = SEE_ROLLOUT if stale else HELD
        found.append(Finding(subject=subject, problem=problem, next_step=step))
    quarantined = frozenset[str]() if snapshot.policy is None else snapshot.policy.quarantine
    free = quarantined.isdisjoint(end.chassis for end in line.ends)
    if free and line.state in (PairState.PENDING, PairState.BLOCKED):
        problem = f"{line.state}, {line.why}"
        found.append(Finding(subject=subject, problem=problem, next_step=SEE_NETWORK))
    return found


def _of_rows(snapshot: Snapshot, line: PairLine, *, classes: bool) -> list[Finding]:
    """What is wrong with the Encap rows of a pair.

    Args:
        snapshot: The cluster.
        line: The pair.
        classes: Whether northd surely works with what `line` was decided by: the same rules, and
            no network, whose memberships it holds for a while.
    """
    found: list[Finding] = []
    for end in line.ends:
        view = snapshot.chassis[end.chassis]
        if line.carried is None or view.chassis.is_remote or snapshot.policy is None:
            continue
        wrong = _row(end, snapshot.policy.default, classes=classes)
        if wrong:
            name = f"{end.chassis} {end.ip}"
            found.append(Finding(subject=name, problem=wrong, next_step=WHO_WRITES))
    return found


def _row(end: EndLine, default: Mode, *, classes: bool) -> str:
    """How an Encap row differs from what northd writes there."""
    if end.mode != default:
        return f"its Encap row says {end.mode or 'nothing'} instead of {default}"
    if classes and end.class_name != end.class_wanted:
        says, wanted = (
            f"class {n}" if n else "no class" for n in (end.class_name, end.class_wanted)
        )
        return f"its Encap row says {says} instead of {wanted}"
    return ""


def _of_chassis(snapshot: Snapshot, views: Iterable[ChassisView], *, asked: bool) -> list[Finding]:
    """What is wrong with the controllers; nothing is asked of those of another zone.

    Args:
        snapshot: The cluster.
        views: Both chassis.
        asked: Whether a pair of theirs is to be encrypted: else none of them need be there.
    """
    found: list[tuple[str, str, str]] = []
    if snapshot.policy is None or not is_on(snapshot.policy):
        return []
    for view in views:
        if view.chassis.is_remote:
            continue
        if view.digest_error is not None:
            found.append((view.name, view.digest_error.diagnostics(), SEE_LOG))
        elif view.digest is None:
            if asked:
                found.append((view.name, "no controller", NO_AGENT))
        else:
            if view.digest.problem:
                found.append((view.name, view.digest.problem, SEE_LOG))
            if not follows(_reported(view.digest), snapshot.policy):
                place = f"still at generation {_place(view.digest)}"
                found.append((view.name, place, SEE_LOG))
    return [
        Finding(subject=name, problem=printable(text, 400), next_step=step)
        for name, text, step in found
    ]
