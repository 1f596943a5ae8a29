# SPDX-License-Identifier: Apache-2.0
"""Pure: what the operator asked for, and how far the cluster has followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How a pair is to be treated, weakest first."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"

    @property
    def strength(self) -> int:
        """Rank for comparisons: off 0, prefer 1, require 2."""
        return _STRENGTH[self]


_STRENGTH = {Mode.OFF: 0, Mode.PREFER: 1, Mode.REQUIRE: 2}


def strongest(*modes: Mode) -> Mode:
    """The strongest of the modes given; at least one is needed."""
    return max(modes, key=lambda mode: mode.strength)


class Phase(StrEnum):
    """The steps of a rollout (SB_Global.external_ids:ovn-ipsec-phase)."""

    OFF = "off"
    PREPARE = "prepare"
    ESTABLISH = "establish"
    ENFORCE = "enforce"
    RELAX = "relax"


class Rollout(StrEnum):
    """Whether the rollout waits for every pair, or goes on at once."""

    GATED = "gated"
    IMMEDIATE = "immediate"


class Auth(StrEnum):
    """How chassis prove who they are to each other."""

    CA = "ca"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Typed IKE and ESP settings; None leaves the daemon's or our default.

    Source: ovn-nb(5) NB_Global options ipsec_*; ranges in schema.nb_global.
    """

    force_encapsulation: bool = False
    """UDP encapsulation (RFC 3948) even where no NAT is seen."""
    replay_window: int | None = None
    """Packets; 0 turns the check off (RFC 4303 section 3.4.3)."""
    dpd_delay_s: int | None = None
    dpd_timeout_s: int | None = None
    esp_lifetime_s: int | None = None
    ike_lifetime_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionPolicy:
    """The operator's policy as NB_Global states it."""

    enabled: bool
    mode: Mode = Mode.REQUIRE
    rollout: Rollout = Rollout.GATED
    auth: Auth = Auth.CA
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPolicy:
    """The authoritative policy that northd_ext publishes in SB_Global.external_ids."""

    generation: int
    phase: Phase
    default: Mode
    floor: Mode
    auth: Auth = Auth.CA
    tuning: Tuning = field(default_factory=Tuning)


NO_POLICY = ClusterPolicy(generation=0, phase=Phase.OFF, default=Mode.OFF, floor=Mode.OFF)
"""What holds where northd_ext never wrote anything."""
