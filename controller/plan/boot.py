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
    """What was to be denied when it was written to disk."""

    guard: GuardState
    latched: frozenset[ClearFlow] = frozenset()
    """Flows out of pairs that are never clear again."""
    boot: str = ""
    """The boot in which it was written (/proc/sys/kernel/random/boot_id)."""
    fault: str = ""
    """Why it could not be read, so that everything is denied; empty: it could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """With what this program starts."""

    standing: GuardState | None
    """What is to be in force until the southbound is known; None: nothing was."""
    closed_by: GuardState | None
    """Pairs that this does not let out were closed before. None: only those that are latched."""
    latched: frozenset[ClearFlow] = frozenset()


def start_guard(found: GuardState | None, stored: BootGuard | None, boot: str) -> Start:
    """Put together what is in force at the start.

    Args:
        found: What the kernel has, the layers taken together; None: nothing of ours.
        stored: What the disk has; None: nothing was to be denied.
        boot: The boot in which we are; empty: not known, so that none is the same.
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
    """Deny what either denies; what may be clear is the first one's."""
    return replace(
        one,
        ports=one.ports | other.ports,
        local=one.local | other.local,
        peer_ports=one.peer_ports | other.peer_ports,
        vnis=one.vnis | other.vnis,
    )
