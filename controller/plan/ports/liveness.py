# SPDX-License-Identifier: Apache-2.0
"""Whether an ovn-controller runs that serves this bridge, and so who owns its tunnel ports.

Pure. Input: what was seen of its pidfile, its control socket and the processes. Output: a verdict
(alive, dead or unknown), and from that and the setting the owner.

*Unknown is never dead.* One sign of life is enough for alive; for dead, every sign has to be
missing, and everything that could have shown one has to have been visible. ovn-controller reaches
ovs-vswitchd over a unix socket, so the one that serves our bridge runs on our kernel: if we see all
processes of this kernel, and none of that name, there is none. Seeing only those of our own PID
namespace proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ovn_ipsec.schema.open_vswitch import Tunnels

TAKE_OVER_AFTER_S = 30.0
"""How long ovn-controller has to be dead before its ports are ours: longer than any restart."""


class Life(StrEnum):
    """What is known of ovn-controller."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Lock(StrEnum):
    """The lock on a pidfile, which its process holds from its start to its end."""

    HELD = "held"
    """By whomever: the lock of a process that has ended is gone."""
    FREE = "free"
    """The file was left behind, or this is a copy of it."""
    NO_FILE = "no file"
    UNREADABLE = "unreadable"


class Answer(StrEnum):
    """A control socket that somebody connects to."""

    ACCEPTED = "accepted"
    NOBODY = "nobody"
    """Refused, or no such socket."""
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What one look has found."""

    lock: Lock
    answer: Answer
    here: int
    """Processes of that name in our network namespace."""
    elsewhere: int
    """Those in another one, or of whom that cannot be told."""
    hidden: str
    """Why not all processes of this kernel can be seen; empty when they can."""
    bridge_remote: bool = False
    """external_ids:ovn-bridge-remote: the bridge may be driven from another machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome and what it rests on."""

    life: Life
    reason: str


def judge(signs: Signs) -> Verdict:
    """Tell whether ovn-controller is alive.

    Args:
        signs: Of one look.

    Returns:
        Dead only when nothing speaks for life and nothing was out of sight.
    """
    found = _sign_of_life(signs)
    if found:
        return Verdict(life=Life.ALIVE, reason=found)
    unseen = _out_of_sight(signs)
    if unseen:
        return Verdict(life=Life.UNKNOWN, reason=unseen)
    return Verdict(life=Life.DEAD, reason="no process of that name runs on this kernel")


def _sign_of_life(signs: Signs) -> str:
    if signs.lock is Lock.HELD:
        return "its pidfile is locked"
    if signs.answer is Answer.ACCEPTED:
        return "its control socket answers"
    return "a process of that name runs here" if signs.here else ""


def _out_of_sight(signs: Signs) -> str:
    if signs.lock is Lock.UNREADABLE:
        return "its pidfile cannot be read"
    if signs.answer is Answer.UNCLEAR:
        return "its control socket cannot be asked"
    if signs.elsewhere:
        return "a process of that name runs in another network namespace"
    if signs.hidden:
        return signs.hidden
    return "ovn-bridge-remote lets another machine drive the bridge" if signs.bridge_remote else ""


def who_owns(setting: Tunnels, *, life: Life, own_row_present: bool, dead_for_s: float) -> bool:
    """Decide whether the tunnel ports are ours to create, repair and delete.

    Args:
        setting: other_config:ovn-ipsec-tunnels.
        life: What is known of ovn-controller now.
        own_row_present: Whether SB has the Chassis row of this chassis. An ovn-controller that was
            told to go takes the row with it; then nobody should have tunnels.
        dead_for_s: For how many seconds it has been known dead without a break; at our start 0.

    Returns:
        True for own, False for adopt.
    """
    if setting is not Tunnels.AUTO:
        return setting is Tunnels.OWN
    return life is Life.DEAD and own_row_present and dead_for_s >= TAKE_OVER_AFTER_S
