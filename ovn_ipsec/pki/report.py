# SPDX-License-Identifier: Apache-2.0
"""Pure: judges a ledger: what is well, what is not, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ..model.chassis import ChassisName
from ..model.expiry import expiry
from .index import Entry, Index, Origin, Role

AUTHORITY_WARN = timedelta(days=180)
"""A rollover takes its time, and no certificate outlives its authority."""
CRL_WARN = timedelta(days=7)
REFRESH = "ovn-ipsec pki refresh, and copy crl.pem to every host that reads it"
ROLLOVER = "ovn-ipsec pki rollover start"


class State(StrEnum):
    """The state of the newest certificate of a chassis."""

    VALID = "valid"
    EXPIRING = "expiring"
    URGENT = "urgent"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One chassis."""

    entry: Entry
    state: State
    left: timedelta
    """Until it expires; negative when it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that is not well."""

    subject: str
    problem: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollover:
    """How far a rollover has come."""

    stage: str
    """`none`, `started` (both are trusted, the old one signs) or `switched` (the new one does)."""
    laggards: tuple[ChassisName, ...] = ()
    """Chassis whose newest certificate is of the old authority, once the new one signs."""
    next_step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that `ovn-ipsec pki status` says."""

    rollover: Rollover
    lines: tuple[Line, ...]
    """Sorted by chassis."""
    troubles: tuple[Trouble, ...]


def judge(index: Index, stale: tuple[str, ...], now: datetime) -> Report:
    """Judge an authority.

    Args:
        index: Its ledger.
        stale: Files that do not follow from it (see `folder.CaFolder.stale`).
        now: Wall time, aware.
    """
    newest = sorted(index.newest().values(), key=lambda entry: entry.chassis)
    lines = tuple(
        Line(entry=entry, state=state_of(entry, now), left=entry.not_after - now)
        for entry in newest
    )
    troubles = [*_authority(index, now), *_files(index, stale, now)]
    troubles += [trouble for line in lines if (trouble := _chassis(line))]
    return Report(rollover=_rollover(index, now), lines=lines, troubles=tuple(troubles))


def state_of(entry: Entry, now: datetime) -> State:
    """Return the state of a certificate."""
    if entry.revoked:
        return State.REVOKED
    return State(expiry(entry.not_before, entry.not_after, now))


def remaining(left: timedelta) -> str:
    """Write what is left of a life: days, and hours below two days."""
    if left < timedelta(0):
        return f"-{remaining(-left)}"
    return f"{left.days}" if left.days >= 2 else f"{left // timedelta(hours=1)}h"


def _rollover(index: Index, now: datetime) -> Rollover:
    if index.in_role(Role.NEXT):
        step = "give ca.pem to every chassis, then: ovn-ipsec pki rollover switch"
        return Rollover(stage="started", next_step=step)
    old = index.in_role(Role.OLD)
    if old is None:
        return Rollover(stage="none")
    laggards = index.laggards(old.number, now)
    step = "ovn-ipsec pki rollover finish"
    if laggards:
        step = "ovn-ipsec pki renew CHASSIS, for each that has a certificate of the old authority"
    return Rollover(stage="switched", laggards=laggards, next_step=step)


def _authority(index: Index, now: datetime) -> list[Trouble]:
    entry = index.signing
    left = entry.not_after - now
    if left >= AUTHORITY_WARN or index.in_role(Role.NEXT):
        return []
    word = "has expired" if left <= timedelta(0) else f"expires in {left.days} days"
    problem = f"the authority {word}; no certificate outlives it"
    return [Trouble(subject=entry.title, problem=problem, next_step=ROLLOVER)]


def _files(index: Index, stale: tuple[str, ...], now: datetime) -> list[Trouble]:
    troubles = [
        Trouble(
            subject=name,
            problem="does not match the index: the last change was interrupted",
            next_step=REFRESH,
        )
        for name in stale
    ]
    revoked = any(entry.revoked and now < entry.not_after for entry in index.certificates)
    if revoked and index.crl_until - now < CRL_WARN:
        problem = f"the list of revoked certificates is valid until {index.crl_until:%Y-%m-%d} only"
        troubles.append(Trouble(subject="crl.pem", problem=problem, next_step=REFRESH))
    return troubles


def _chassis(line: Line) -> Trouble | None:
    entry = line.entry
    if line.state in (State.VALID, State.REVOKED):
        return None
    word = "certificate expires"
    step = f"ovn-ipsec pki renew {entry.chassis}"
    if entry.origin is Origin.SIGN:
        step = f"let it send a new request, or: ovn-ipsec pki renew --same-key {entry.chassis}"
    if line.state is State.EXPIRED:
        word = "certificate expired"
        step += f"; or, if it is gone: ovn-ipsec pki revoke {entry.chassis}"
    problem = f"{word} {entry.not_after:%Y-%m-%d %H:%M} UTC"
    return Trouble(subject=entry.chassis, problem=problem, next_step=step)
