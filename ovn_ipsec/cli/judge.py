# SPDX-License-Identifier: Apache-2.0
"""Pure: rows of both databases to what is well, what is not, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..errors import InputError
from ..model.expiry import URGENT
from ..model.status import Digest
from ..schema import nb_global
from ..schema.report import parse_digest, printable
from .settings import Exit

DEGRADED = " (degraded)"
SETTLED = ("off", "enforced", "established")

NO_NORTHD = "start ovn-ipsec-northd beside ovn-northd, and read its log"
NO_AGENT = "start ovn-ipsec-controller on that chassis"
SEE_LOG = "read the log of ovn-ipsec-controller on that chassis"
SEE_PEERS = "on that chassis: ovn-ipsec peers"
RENEW = "put a new certificate in place of the old one; it is taken without loss"
RENEW_SOON = f"{RENEW}; one that no file holds is late to renew itself: {SEE_LOG}"


class Level(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    """It will be a problem."""
    URGENT = "urgent"
    """It will be one within 7 days."""
    PROBLEM = "problem"


FIX_KEY = "correct the key that it names; the last good policy stays in force until then"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not well."""

    subject: str
    """`cluster`, or a chassis."""
    problem: str
    next_step: str
    level: Level = Level.PROBLEM


@dataclass(frozen=True, slots=True, kw_only=True)
class ChassisLine:
    """One line of the table."""

    name: str
    digest: Digest | None
    """None: no controller of ours, or an unreadable report."""


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
    privates: Mapping[str, Mapping[str, str]],
    now: datetime,
) -> Status:
    """Judge a cluster.

    Args:
        nb: NB_Global.external_ids.
        enabled: NB_Global.ipsec.
        privates: Chassis name to Chassis_Private.external_ids.
        now: Wall time, UTC.
    """
    state = printable(nb.get(nb_global.STATE, ""), 80)
    findings = [*_cluster(nb, state, enabled=enabled)]
    lines: list[ChassisLine] = []
    for name, ids in sorted(privates.items()):
        shown = printable(name, 253)
        digest = None
        try:
            digest = parse_digest(shown, ids)
        except InputError as error:
            findings.append(Finding(subject=shown, problem=str(error), next_step=SEE_LOG))
        else:
            findings.extend(_one(shown, digest, nb, now) if _active(state, enabled) else ())
        lines.append(ChassisLine(name=shown, digest=digest))
    return Status(
        state=state or ("unknown" if enabled else "off"),
        generation=printable(nb.get(nb_global.GENERATION, ""), 20),
        summary=printable(nb.get(nb_global.SUMMARY, ""), 2000),
        error=printable(nb.get(nb_global.ERROR, ""), 2000),
        chassis=tuple(lines),
        findings=tuple(findings),
        exit=_exit(state, findings, enabled=enabled),
    )


def _active(state: str, enabled: bool) -> bool:
    return enabled or state not in ("", "off")


def _exit(state: str, findings: list[Finding], *, enabled: bool) -> Exit:
    if not state:
        return Exit.CANNOT_TELL if enabled else Exit.WELL
    bad = any(finding.level is Level.PROBLEM for finding in findings)
    return Exit.DEGRADED if bad or state not in SETTLED else Exit.WELL


def _cluster(nb: Mapping[str, str], state: str, *, enabled: bool) -> list[Finding]:
    findings = []
    if enabled and not state:
        problem = "ipsec is on, and nothing has answered it"
        findings.append(Finding(subject="cluster", problem=problem, next_step=NO_NORTHD))
    if error := nb.get(nb_global.ERROR):
        problem = printable(error, 400)
        findings.append(Finding(subject="cluster", problem=problem, next_step=FIX_KEY))
    return findings


def _one(name: str, digest: Digest | None, nb: Mapping[str, str], now: datetime) -> list[Finding]:
    if digest is None:
        return [Finding(subject=name, problem="no controller", next_step=NO_AGENT)]
    found: list[tuple[str, str]] = []
    if digest.problem:
        found.append((digest.problem, SEE_LOG))
    if str(digest.generation) != nb.get(nb_global.GENERATION, str(digest.generation)):
        found.append((f"still at generation {digest.generation}", SEE_LOG))
    if digest.counts.blocked:
        found.append((f"{digest.counts.blocked} pairs blocked", SEE_PEERS))
    if digest.expires is not None and digest.expires <= now:
        found.append((f"certificate has expired {digest.expires:%Y-%m-%d %H:%M} UTC", RENEW))
    findings = [Finding(subject=name, problem=text, next_step=step) for text, step in found]
    return [*findings, *_soon(name, digest, now)]


def _soon(name: str, digest: Digest, now: datetime) -> list[Finding]:
    """What a chassis says will be wrong: it knows how long its certificate lives."""
    if not digest.warning or (digest.expires is not None and digest.expires <= now):
        return []
    near = digest.expires is not None and digest.expires - now < URGENT
    level = Level.URGENT if near else Level.WARNING
    return [Finding(subject=name, problem=digest.warning, next_step=RENEW_SOON, level=level)]
