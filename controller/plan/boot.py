# SPDX-License-Identifier: Apache-2.0
"""Pure: the guard with which this program starts, from what the kernel and the disk hold.

The kernel's guard is what an earlier run has left. The one on disk is for a new boot, after which
the kernel has none, except for an nftables ruleset that the boot has restored from a file, which
may be of any age and only ever adds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .guard import ClearFlow, GuardState


@dataclass(frozen=True, slots=True, kw_only=True)
class BootGuard:
    """What had to be denied when it was written to disk."""

    guard: GuardState
    latched: frozenset[ClearFlow] = frozenset()
    """Outgoing flows of pairs that must never be clear again."""
    boot: str = ""
    """The boot in which it was written (/proc/sys/kernel/random/boot_id)."""
    fault: str = ""
    """Why it could not be read, so that everything is denied; empty if it could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What this program starts with."""

    standing: GuardState | None
    """What must be in force until the southbound is known; None: nothing was."""
    closed_by: GuardState | None
    """Pairs that this guard does not let out were closed before. None: only latched pairs were."""
    latched: frozenset[ClearFlow] = frozenset()


def start_guard(found: GuardState | None, stored: BootGuard | None, boot: str) -> Start:
    """Determine what is in force at start.

    Args:
        found: What the kernel has, all layers together; None: nothing of ours.
        stored: What is on disk; None: nothing had to be denied.
        boot: The current boot; empty: not known, so that no stored boot matches.
    """
    if stored is None:
        return Start(standing=found, closed_by=found)
    if found is not None and boot and stored.boot == boot:
        clear = found.may_clear - stored.latched
        standing = replace(joined(found, stored.guard), may_clear=clear)
        return Start(standing=standing, closed_by=standing, latched=stored.latched)
    standing = stored.guard if found is None else joined(found, stored.guard)
    standing = replace(standing, may_clear=frozenset())
    closed_by = standing if stored.fault or boot == stored.boot else None
    return Start(standing=standing, closed_by=closed_by, latched=stored.latched)


def joined(one: GuardState, other: GuardState) -> GuardState:
    """Deny what either denies; what may be clear is taken from the first."""
    return replace(
        one,
        ports=one.ports | other.ports,
        local=one.local | other.local,
        peer_ports=one.peer_ports | other.peer_ports,
        vnis=one.vnis | other.vnis,
    )
