# SPDX-License-Identifier: Apache-2.0
"""Pure: from rows of both databases to what is healthy, what is not, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..errors import InputError
from ..model.expiry import URGENT
from ..model.policy import ClusterPolicy, Phase
from ..model.status import Digest
from ..policy.judgement import follows
from ..schema import nb_global
from ..schema.nb_global import DEGRADED
from ..schema.network_mtu import RawNetworks, parse_networks
from ..schema.report import parse_digest, printable
from .finding import BLOCKED, CLUSTER, PENDING, Finding, Level
from .headroom import findings as mtu_findings
from .headroom import headroom, treatment_by, trusted
from .rows import row_findings
from .settings import Exit
from .unmanaged import absent, in_quarantine
from .view import RawSouthbound, Southbound, parse_southbound
from .wording import ago, plural

NO_NETWORKS = RawNetworks()
SETTLED = ("off", "enforced", "established")

FIX_KEY = "correct the key that it names; the last good policy stays in force until then"
NO_NORTHD = "start it beside ovn-northd: systemctl start ovn-ipsec-northd; then read its log"
NO_AGENT = "on the chassis: systemctl start ovn-ipsec-controller"
SEE_LOG = "on the chassis: ovn-ipsec doctor; journalctl -u ovn-ipsec-controller"
SEE_NORTHD = "read the log of ovn-ipsec-northd: journalctl -u ovn-ipsec-northd"
WHICH_NORTHBOUND = (
    "check that this is the right northbound, neither empty nor restored. To keep encryption, set"
    " ipsec=true; to give it up, set NB_Global options:ovn-ipsec-confirm=<generation in force>"
)
SEE_PEERS = "on the chassis: ovn-ipsec peers"
RENEW = "put a new certificate in place of the old one; it is picked up without losing a packet"
RENEW_SOON = f"{RENEW}. If it is in no file, its automatic renewal is late; {SEE_LOG}"


class Standing(StrEnum):
    """How a chassis stands to the policy in force."""

    READY = "ready"
    """Its controller has applied it."""
    BEHIND = "behind"
    """Its controller has not."""
    ABSENT = "no controller"
    """It has none, and others wait for it."""
    UNREADABLE = "unreadable report"
    NOT_NEEDED = "not needed"
    """It has no controller, and no rule asks for its pairs."""
    NO_ROW = "no Chassis row"
    """It has a Chassis_Private row only."""
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisLine:
    """One line of the table."""

    name: str
    digest: Digest | None
    """None: no controller of ours, or an unreadable report."""
    standing: Standing = Standing.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that `ovn-ipsec status` says."""

    state: str
    generation: str
    summary: str
    error: str
    chassis: tuple[ChassisLine, ...]
    """Sorted by name."""
    findings: tuple[Finding, ...]
    exit: Exit


def judge(
    nb: Mapping[str, str],
    enabled: bool,
    sb: RawSouthbound,
    now: datetime,
    networks: RawNetworks = NO_NETWORKS,
) -> Status:
    """Judge a cluster.

    Args:
        nb: NB_Global.external_ids.
        enabled: NB_Global.ipsec.
        sb: Rows of the southbound.
        now: Wall time, UTC.
        networks: What gives workloads an MTU.
    """
    state = printable(nb.get(nb_global.STATE, ""), 80)
    seen = parse_southbound(sb)
    held = seen.policy is not None and seen.policy.phase is not Phase.OFF
    active = enabled or held or state not in ("", "off")
    findings = [*_cluster(nb, state, enabled=enabled), *_southbound(seen, state, enabled=enabled)]
    judging = _Judging(nb, state, seen, now)
    lines: list[ChassisLine] = []
    remote = {name for name, view in seen.chassis.items() if view.chassis.is_remote}
    for name in sorted({*sb.privates, *seen.chassis} - remote):
        line, found = judging.chassis(name, sb.privates.get(name, {}), active=active)
        lines.append(line)
        findings.extend(found)
    findings.extend(row_findings(seen, sb.privates) if active else ())
    findings.extend(_mtus(seen, networks))
    summary = printable(nb.get(nb_global.SUMMARY, ""), 2000)
    if state.endswith(DEGRADED) and not any(f.level is Level.PROBLEM for f in findings):
        problem = summary or "something that should hold does not"
        findings.append(Finding(subject=CLUSTER, problem=problem, next_step=SEE_NORTHD))
    return Status(
        state=state or ("unknown" if enabled else "off"),
        generation=printable(nb.get(nb_global.GENERATION, ""), 20),
        summary=summary,
        error=printable(nb.get(nb_global.ERROR, ""), 2000),
        chassis=tuple(lines),
        findings=tuple(findings),
        exit=_exit(state, findings, enabled=enabled),
    )


def _mtus(sb: Southbound, networks: RawNetworks) -> Iterator[Finding]:
    """Warn of what is larger than what is left; only what is in force counts."""
    if sb.policy is None or sb.policy.phase in (Phase.OFF, Phase.RELAX):
        return
    treat, in_udp = treatment_by(sb.policy), sb.policy.tuning.force_encapsulation
    found = headroom(trusted(sb), treat, *parse_networks(networks), in_udp=in_udp)
    yield from mtu_findings(found)


def _exit(state: str, findings: list[Finding], *, enabled: bool) -> Exit:
    bad = any(finding.level is Level.PROBLEM for finding in findings)
    if enabled and not state:
        return Exit.CANNOT_TELL
    return Exit.DEGRADED if bad or (state and state not in SETTLED) else Exit.WELL


def _cluster(nb: Mapping[str, str], state: str, *, enabled: bool) -> list[Finding]:
    findings = []
    if enabled and not state:
        problem = "ipsec is on, but no ovn-ipsec-northd has acted on it"
        findings.append(Finding(subject=CLUSTER, problem=problem, next_step=NO_NORTHD))
    if error := nb.get(nb_global.ERROR):
        problem = printable(error, 400)
        findings.append(Finding(subject=CLUSTER, problem=problem, next_step=FIX_KEY))
    return findings


def _southbound(sb: Southbound, state: str, *, enabled: bool) -> list[Finding]:
    """Where the southbound says something else than the northbound."""
    if sb.error is not None:
        problem = printable(sb.error.diagnostics(), 400)
        return [Finding(subject=CLUSTER, problem=problem, next_step=SEE_NORTHD)]
    policy = sb.policy
    if policy is None and state not in ("", "off"):
        problem = f"the northbound says {state}, but the southbound has no policy"
        return [Finding(subject=CLUSTER, problem=problem, next_step=SEE_NORTHD)]
    if enabled or state not in ("", "off") or policy is None or policy.phase is Phase.OFF:
        return []
    problem = (
        f"the northbound says that encryption is off, but generation {policy.generation} is in"
        f" force ({policy.phase})"
    )
    return [Finding(subject=CLUSTER, problem=problem, next_step=WHICH_NORTHBOUND)]


class _Judging:
    """What one chassis is held against."""

    def __init__(self, nb: Mapping[str, str], state: str, sb: Southbound, now: datetime) -> None:
        self._generation = nb.get(nb_global.GENERATION, "")
        self._ended = state.removesuffix(DEGRADED) in ("enforced", "established")
        self._policy = sb.policy
        self._now = now
        self._rows = sb.chassis.keys() | {error.row for error in sb.refused}
        self._absent = absent(sb.policy, sb.chassis)
        self._kept_out = in_quarantine(sb.policy, sb.chassis)

    def chassis(
        self, name: str, external_ids: Mapping[str, str], *, active: bool
    ) -> tuple[ChassisLine, list[Finding]]:
        """Judge a chassis.

        Args:
            name: Of the row.
            external_ids: Of its Chassis_Private.
            active: Whether anything is asked of it; one that is unreadable is told in any case.
        """
        shown = printable(name, 253)
        digest, refused = None, list[Finding]()
        try:
            digest = parse_digest(shown, external_ids)
        except InputError as error:
            refused = [Finding(subject=shown, problem=str(error), next_step=SEE_LOG)]
        if name in self._kept_out:
            return ChassisLine(name=shown, digest=digest, standing=Standing.QUARANTINED), []
        if refused:
            return ChassisLine(name=shown, digest=None, standing=Standing.UNREADABLE), refused
        if digest is None:
            return self._without(name, shown)
        lag = _lag(digest, self._generation, self._policy) if active else ""
        standing = Standing.BEHIND if lag else Standing.READY
        line = ChassisLine(name=shown, digest=digest, standing=standing)
        return line, self._reported(shown, digest, lag) if active else []

    def _without(self, name: str, shown: str) -> tuple[ChassisLine, list[Finding]]:
        if name not in self._absent:
            standing = Standing.NOT_NEEDED if name in self._rows else Standing.NO_ROW
            return ChassisLine(name=shown, digest=None, standing=standing), []
        line = ChassisLine(name=shown, digest=None, standing=Standing.ABSENT)
        return line, [Finding(subject=shown, problem="no controller", next_step=NO_AGENT)]

    def _reported(self, name: str, digest: Digest, lag: str) -> list[Finding]:
        """What a controller says is wrong, or shows."""
        found: list[tuple[str, str, str]] = []
        if digest.problem:
            found.append((digest.problem, SEE_LOG, ""))
        if lag:
            found.append((lag, SEE_LOG, "not at the generation and phase in force"))
        counts, across = digest.counts, digest.across
        if counts.blocked:
            text = f"{plural(counts.blocked, 'pair')} blocked{_far(across.blocked)}"
            found.append((text, SEE_PEERS, BLOCKED))
        if counts.pending and self._ended:
            text = f"{plural(counts.pending, 'pair')} pending{_far(across.pending)}"
            found.append((text, SEE_PEERS, PENDING))
        if digest.expires is not None and digest.expires <= self._now:
            when = f"{ago(digest.expires, self._now)} ({digest.expires:%Y-%m-%d %H:%M} UTC)"
            found.append((f"certificate expired {when}", RENEW, "certificate expired"))
        findings = [
            Finding(subject=name, problem=text, next_step=step, kind=kind)
            for text, step, kind in found
        ]
        return [*findings, *_soon(name, digest, self._now)]


def _far(pairs: int) -> str:
    return f", {pairs} with other availability zones" if pairs else ""


def _lag(digest: Digest, generation: str, policy: ClusterPolicy | None) -> str:
    """How a controller differs from what is in force; empty if it does not.

    Args:
        digest: Its report.
        generation: What the northbound says; empty: nothing.
        policy: What the southbound carries; None where that is not known.
    """
    if policy is None:
        late = str(digest.generation) != (generation or str(digest.generation))
        return f"still at generation {digest.generation}" if late else ""
    if follows((digest.generation, digest.phase), policy):
        return ""
    if digest.generation == policy.generation:
        return f"still in phase {digest.phase}"
    if digest.generation > policy.generation:
        return f"at generation {digest.generation}, newer than the one in force"
    return f"still at generation {digest.generation}"


def _soon(name: str, digest: Digest, now: datetime) -> list[Finding]:
    """What a chassis says will be wrong: it knows how long its certificate lives."""
    if not digest.warning or (digest.expires is not None and digest.expires <= now):
        return []
    near = digest.expires is not None and digest.expires - now < URGENT
    level = Level.URGENT if near else Level.WARNING
    return [Finding(subject=name, problem=digest.warning, next_step=RENEW_SOON, level=level)]
