# SPDX-License-Identifier: Apache-2.0
"""Pure: which IKE daemon a chassis uses. Input: what is set, and what is here. Output: Chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Ike(StrEnum):
    """An IKE daemon that a chassis can use."""

    STRONGSWAN = "strongswan"
    LIBRESWAN = "libreswan"
    DELEGATE = "delegate"
    """Whichever a stock ovs-monitor-ipsec drives; the controller drives none."""


class IkeSetting(StrEnum):
    """What an operator can say about it."""

    STRONGSWAN = "strongswan"
    LIBRESWAN = "libreswan"
    DELEGATE = "delegate"
    AUTO = "auto"


NAMES = {
    Ike.STRONGSWAN: "strongSwan",
    Ike.LIBRESWAN: "Libreswan",
    Ike.DELEGATE: "ovs-monitor-ipsec",
}
"""For people."""
LIBRESWANS = "4.x and 5.2"
"""The releases of Libreswan that a controller can drive, for people."""
_LIBRESWANS = re.compile(r"4\.\d|5\.2(?![\d.])")


def is_supported(libreswan: str) -> bool:
    """Tell whether a controller can drive a release of Libreswan, by its version."""
    return _LIBRESWANS.match(libreswan) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class IkesHere:
    """The IKE daemons of this host."""

    running: frozenset[Ike] = frozenset()
    installed: frozenset[Ike] = frozenset()
    unknown: str = ""
    """Why it cannot be told which of them run; empty: it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The IKE daemon to use."""

    ike: Ike
    problem: str = ""
    """Why no daemon may be touched; empty: this one may."""


def choose(wanted: IkeSetting, here: IkesHere, last: Ike | None = None) -> Chosen:
    """Choose the IKE daemon.

    Args:
        wanted: What is set.
        here: What this host has; it matters only for ``auto``.
        last: What was chosen before; None: nothing yet.

    Returns:
        With ``auto``, the one that runs; while none does, the last one, or the only one that is
        installed. While both run, or nobody can tell, none may be touched.
    """
    if wanted is not IkeSetting.AUTO:
        return Chosen(ike=Ike(wanted.value))
    kept = last or _only(here.installed) or Ike.STRONGSWAN
    if here.unknown:
        return Chosen(ike=kept, problem=f"which IKE daemon runs here is not known: {here.unknown}")
    if len(here.running) > 1:
        both = " and ".join(NAMES[one] for one in sorted(here.running, reverse=True))
        return Chosen(
            ike=kept,
            problem=f"{both} both run here: stop one, or name the other in"
            " other_config:ovn-ipsec-ike; until then neither is touched",
        )
    return Chosen(ike=_only(here.running) or kept)


def _only(found: frozenset[Ike]) -> Ike | None:
    return next(iter(found)) if len(found) == 1 else None
